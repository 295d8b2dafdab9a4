"""What the commands that play share: what is kept with each episode, and playing questions into a file."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igpo_gym.cli.common import console, progress
from igpo_gym.cli.options import NO_OPTIONS
from igpo_gym.config import EnvConfig, Names, marks, shown
from igpo_gym.errors import SpecError

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.branches import Branching
    from igpo_gym.agents.rollouts.costs import Meter
    from igpo_gym.agents.rollouts.estimates import Work
    from igpo_gym.data.interface import QuestionSet
    from igpo_gym.envs.engine import Engine
    from igpo_gym.episode import Episode, Question
    from igpo_gym.lm.policy import Policy, Sampling


@dataclass(frozen=True, slots=True)
class Recording:
    """What is kept with each recorded episode."""

    settings: dict[str, Any]
    """The arguments of the environment and of the policy, as far as an episode depends on them."""
    fingerprints: dict[str, Any]
    """What tells that questions, models or an index of the same name are others by the time of a resume."""

    @classmethod
    def of(cls, config: EnvConfig, question_set: QuestionSet, agent: str, sampling: Sampling) -> Recording:
        """What the episodes of a policy hold."""
        from igpo_gym.specs import fingerprint
        from igpo_gym.text import without_credentials

        kept = {name: value for name, value in shown(config).items() if name not in NOT_OF_AN_EPISODE}
        drawn = {name: getattr(sampling, name) for name in SAMPLING}
        texts = {name: getattr(config, name) for name in marks(EnvConfig, Names) if name != "questions"}
        texts["agent"] = agent
        questions = question_set.questions
        return cls(
            {"agent": without_credentials(agent), **kept, **drawn},
            {
                "questions_hash": _digest((each.id, each.text, each.answers) for each in questions),
                "evidence_hash": _digest((each.id, each.evidence) for each in questions),
                "parts_hash": _digest((each.id, each.parts, each.evidence_texts) for each in questions),
                "passages_hash": question_set.fingerprint,
                **{f"{name}_fingerprint": fingerprint(text) for name, text in texts.items()},
            },
        )


NOT_OF_AN_EPISODE = ("group_size", "order", "search_cache", *NO_OPTIONS)
"""The arguments that say which episodes there are, where answers to searches come from, or what is shown of
episodes: none depends on these."""

SAMPLING = ("temperature", "top_p", "max_tokens", "seed")
"""How a policy samples."""


def record(
    engine: Engine,
    policy: Policy,
    questions: Sequence[Question],
    out: Path,
    recording: Recording,
    batch_size: int,
    group_size: int,
    clear_text: bool = False,
    others: Collection[str] = (),
    branching: Branching | None = None,
    meter: Meter | None = None,
) -> int:
    """Play what the file does not have yet into it, with a progress bar; returns how many episodes.

    ``others`` are the question sets of this run that stand in the file beside this one. Where the ``meter``'s
    budget is used up no question is begun any more; raises BudgetSpentError if some were left out.
    """
    from igpo_gym.agents.rollouts.collect import collect
    from igpo_gym.agents.rollouts.costs import Meter
    from igpo_gym.agents.rollouts.records import RolloutFile

    settings, fingerprints = recording.settings | recording.fingerprints, recording.fingerprints
    meter = meter or Meter()
    meter.watch(policy, engine.scorer, engine.reference, engine.policy)
    with RolloutFile(out, settings, fingerprints, engine.reward, others, clear_text=clear_text) as file:
        size = branching.leaves(group_size) if branching else group_size
        wanted = {(question.id, attempt) for question in questions for attempt in range(size)}
        remaining = len(wanted - file.done)
        began, turns, ended = time.perf_counter(), 0, 0
        recorded = _branching_still(out, wanted - file.done) if branching and file.done else ()
        done = frozenset(file.done)
        played = collect(
            engine, policy, meter.until(questions), batch_size, group_size, done, branching, recorded
        )
        for episode in progress(played, "episodes", remaining):
            meter.saw(episode)
            ended += 1
            if not episode.turns:  # aborted before its first turn, of which it was told: it has no branches
                ended += branching.count if branching else 0
                continue
            file.write(episode)
            turns += len(episode.turns)
        seconds = time.perf_counter() - began
    what = f"episodes of {settings['questions']}" if others else "episodes"
    meter.check(len(wanted) - remaining + ended, len(wanted), what)
    if remaining:
        console.print(f"{remaining} episodes, {turns} steps, {seconds / max(turns, 1):.4f} s a step")
    return remaining


def _branching_still(out: Path, missing: Collection[tuple[str, int]]) -> list[Episode]:
    """The recorded episodes on questions of which attempts are missing.

    Raises SpecError where a record holds no texts, from which nothing can go on.
    """
    from igpo_gym.agents.rollouts.records import read_rollouts
    from igpo_gym.data.protection import hidden

    asked = {question for question, _ in missing}
    found = [each for each in read_rollouts(out) if each.question.id in asked and each.branch is None]
    if any(hidden(each.question) for each in found):
        raise SpecError(f"{out} holds no texts of protected questions to branch from: begin another file")
    return found


def _digest(values: Iterable[tuple[Any, ...]]) -> str:
    digest = hashlib.sha256()
    for value in values:
        digest.update(repr(value).encode("utf-8", "replace"))
    return digest.hexdigest()[:16]


def episodes_left(
    engine: Engine,
    policy: Policy,
    questions: Sequence[Question],
    out: Path,
    recording: Recording,
    batch_size: int,
    group_size: int,
    others: Collection[str] = (),
) -> Work:
    """The episodes that :func:`record` would play, as a work for an estimate."""
    from igpo_gym.agents.rollouts.costs import Meter
    from igpo_gym.agents.rollouts.estimates import Work, played
    from igpo_gym.agents.rollouts.records import recorded

    settings = recording.settings | recording.fingerprints
    done = recorded(out, settings, recording.fingerprints, others)
    left = [
        question for question in questions for place in range(group_size) if (question.id, place) not in done
    ]
    meter = Meter()
    meter.watch(policy, engine.scorer, engine.reference, engine.policy)
    return Work("episodes", len(left), played(engine, policy, left, batch_size, meter), meter)
