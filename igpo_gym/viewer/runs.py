"""What a page shows: recorded runs, with what their episodes are paid under any rewards."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from igpo_gym.agents.rollouts.branches import Leaf, compared
from igpo_gym.agents.rollouts.records import (
    MALFORMED,
    check_kept,
    read_recordings,
    recorded_split,
    set_of,
    what_is_wrong,
)
from igpo_gym.agents.training.advantages import advantages, turn_states
from igpo_gym.agents.training.estimators import DEFAULT, Estimator, resolve_estimator
from igpo_gym.data.files import lines
from igpo_gym.episode import UNREAD, Episode
from igpo_gym.errors import DataError
from igpo_gym.rewards import resolve_reward
from igpo_gym.rewards.split import Split, split
from igpo_gym.specs import from_file
from igpo_gym.storage import PACKED

Terms: TypeAlias = Sequence[Mapping[str, float]]
"""For each turn the weighted terms that it is paid."""

LIMIT = 64_000_000
"""How many characters of episodes a page holds: browsers open that in about two seconds."""

LARGEST = 16 * LIMIT
"""The bytes of a recording that is read as a whole, to find out whether a page holds it."""

RECORDED = "as recorded"
"""What a reward is called whose name a record does not tell."""

_NOISE = 1e-3
"""By how much a term may differ that is computed anew with the same model."""


@dataclass(frozen=True, slots=True)
class Paid:
    """An episode under one reward."""

    terms: Terms
    split: Split | None
    """Gains and outcome; None where the reward is not known here, and there is no advantage."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An episode of a page."""

    settings: Mapping[str, Any]
    """What its record says that it was made with."""
    episode: Episode
    paid: dict[str, Paid]
    """By reward, the recorded one first."""

    def says_as(self, other: Shown) -> bool:
        """Whether it is the same attempt as another, and every message of it is the same."""
        ours, theirs = self.episode, other.episode
        return (
            compared(self.settings, ours) == compared(other.settings, theirs)
            and ours.attempt == theirs.attempt
            and [turn.message for turn in ours.turns] == [turn.message for turn in theirs.turns]
        )


@dataclass(frozen=True, slots=True)
class ShownRun:
    """The episodes of one file."""

    name: str
    episodes: list[Shown] = field(default_factory=list)

    def advantages(self, reward: str, estimator: str | Estimator = DEFAULT) -> list[list[float]]:
        """For each episode the advantage of each turn under a reward; empty for one whose split is not known.

        The batch is the whole run, a group is all attempts at one question in one step of a trainer; a turn
        that branches share has their mean. Raises ValueError where the estimator does not take such turns.
        """
        found: list[list[float]] = [[] for _ in self.episodes]
        known = {
            place: paid.split
            for place, each in enumerate(self.episodes)
            if (paid := each.paid.get(reward)) and paid.split
        }
        if not known:
            return found
        episodes = [self.episodes[place] for place in known]
        made = advantages(
            list(known.values()),
            [Leaf.of(compared(each.settings, each.episode), each.episode) for each in episodes],
            resolve_estimator(estimator),
            [turn_states(each.episode) for each in episodes],
        )
        for place, own in zip(known, made, strict=True):
            found[place] = own.tolist()
        return found


def read_runs(files: Sequence[str | Path], start: int = 0, count: int | None = None) -> list[ShownRun]:
    """The runs of some files, in their order; of each recording ``count`` episodes from number ``start`` on.

    A file is a recording, or what ``igpo-gym relabel`` wrote about the recording in front of it: as lines of
    rewards, or as records. Line n is about episode n. Records are known by their messages: where each line is
    the same attempt as that of an earlier recording, and says the same, they are not another run, but the
    same one under another reward. Advantages are those among the episodes that are read. Raises DataError
    for a file that is neither, for one that does not belong to the recording, and, where all episodes are
    asked for, for one of more than ``LARGEST`` bytes.
    """
    runs: list[ShownRun] = []
    for file in map(Path, files):
        if _is_priced(file):
            if not runs:
                raise DataError(file, "holds rewards without episodes: name the recording in front of it")
            _add(file, runs[-1], _priced(file, runs[-1], start))
            continue
        if count is None:
            _check_size(file)
        run = _recorded(file, {run.name for run in runs}, start, count)
        original = next((earlier for earlier in runs if _same_messages(run, earlier)), None)
        if original is None:
            runs.append(run)
        else:
            _add(file, original, [each.paid for each in run.episodes])
    if not any(run.episodes for run in runs):
        behind = f" from number {start} on" if start else ""
        raise DataError(files[0] if files else "", f"there are no episodes to show{behind}")
    return runs


def _check_size(file: Path) -> None:
    if file.suffix.lower() not in PACKED and file.stat().st_size <= LARGEST:
        return
    sizes = [len(line) for _, line in lines(file)]
    if (size := sum(sizes)) > LARGEST:
        raise DataError(
            file,
            f"{len(sizes)} episodes of {size / 1e9:.1f} GB are more than one page shows: give --episodes "
            f"(about {len(sizes) * LIMIT // size} fit), and --start for the next",
        )


def _recorded(file: Path, names: Iterable[str], start: int, count: int | None) -> ShownRun:
    run = ShownRun(_unlike(file.stem, names))
    stop = None if count is None else start + count
    for settings, episode in islice(read_recordings(file), start, stop):
        run.episodes.append(Shown(settings, episode, _paid(settings, episode, file)))
    return run


def _paid(settings: Mapping[str, Any], episode: Episode, file: Path) -> dict[str, Paid]:
    """What a record says that its episode was paid, and would be paid under other rewards."""
    if not episode.rewards:
        return {}
    if "priced" in episode.extra:  # the first of these is what the record's episode was paid
        try:
            turns = _turns(episode.extra["priced"], episode)
        except MALFORMED as problem:
            raise DataError(
                file, f"the rewards of {episode.question.id!r} are malformed: {problem}"
            ) from None
        return {name: Paid(terms, _split(episode, terms, name, file)) for name, terms in turns.items()}
    name = str(settings.get("reward") or RECORDED)
    try:
        divided = recorded_split(episode)
    except ValueError:
        divided = None
    return {name: Paid(episode.rewards, divided or _split(episode, episode.rewards, name, file))}


def _turns(rewards: Mapping[str, Any], episode: Episode) -> dict[str, list[dict[str, float]]]:
    """By reward what ``igpo-gym relabel`` says of each turn. Raises what a wrong shape raises."""
    turns = {
        name: [{term: float(value) for term, value in terms.items()} for terms in paid["turns"]]
        for name, paid in rewards.items()
    }
    for name, each in turns.items():
        if len(each) != len(episode.turns):
            raise ValueError(f"{name} pays {len(each)} turns, but there are {len(episode.turns)}")
        if not all(math.isfinite(value) for terms in each for value in terms.values()):
            raise ValueError(f"{name} pays what is not finite")
    return turns


def _is_priced(file: Path) -> bool:
    """Whether a file's lines hold rewards alone."""
    _, line = next(lines(file), (1, b"null"))
    try:
        first = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and "format" not in first and {"question_id", "rewards"} <= first.keys()


def _priced(file: Path, run: ShownRun, start: int) -> list[dict[str, Paid]]:
    """What each episode of a run, which begins at number ``start``, is paid, from lines of rewards."""
    found: list[dict[str, Paid]] = []
    for (number, line), own in zip(islice(lines(file), start, None), run.episodes, strict=False):
        try:
            record = json.loads(line)
            if not _is_about(record, own):
                raise ValueError(f"it is not about that line of {run.name}, the recording in front of it")
            check_kept(record)
            turns = _turns(record["rewards"], own.episode)
        except MALFORMED as problem:
            raise DataError(
                file, f"not what igpo-gym relabel writes ({what_is_wrong(problem)})", number
            ) from problem
        told = {UNREAD: record[UNREAD]} if UNREAD in record else {}
        episode = replace(own.episode, extra={**own.episode.extra, **told})
        found.append({name: Paid(terms, _split(episode, terms, name, file)) for name, terms in turns.items()})
    return found


def _is_about(record: Mapping[str, Any], shown: Shown) -> bool:
    """Whether a line of rewards names the set (where it names one), the question and the attempt of an
    episode."""
    known = set_of(shown.settings)
    ours = known, shown.episode.question.id, shown.episode.attempt
    return (record.get("questions", known), record["question_id"], record["attempt"]) == ours


def _add(file: Path, run: ShownRun, paid: Sequence[Mapping[str, Paid]]) -> None:
    """Add what a file says of a run's episodes, in their order, of all or of the first ones."""
    for each, own in zip(run.episodes, paid, strict=False):
        for name, one in own.items():
            known = each.paid.get(name)
            if known is None or not _close(known.terms, one.terms):
                each.paid[name if known is None else _unlike(f"{name} ({file.stem})", each.paid)] = one


def _close(ours: Terms, theirs: Terms) -> bool:
    """Whether two payments differ by no more than what computing beliefs anew may."""
    return len(ours) == len(theirs) and all(
        one.keys() == other.keys() and all(math.isclose(one[n], other[n], abs_tol=_NOISE) for n in one)
        for one, other in zip(ours, theirs, strict=True)
    )


def _same_messages(run: ShownRun, other: ShownRun) -> bool:
    """Whether a run's episodes are those with which another begins."""
    return 0 < len(run.episodes) <= len(other.episodes) and all(
        ours.says_as(theirs) for ours, theirs in zip(run.episodes, other.episodes, strict=False)
    )


def _split(episode: Episode, terms: Terms, reward: str, file: Path) -> Split | None:
    """The split under a reward that a file names; None for one that is not known here."""
    try:
        function = resolve_reward(from_file("reward", reward, file))
        return split(replace(episode, rewards=[dict(each) for each in terms]), function)
    except ValueError:
        return None


def _unlike(name: str, names: Iterable[str]) -> str:
    """The name, or the name with the first number that makes it another than all these."""
    taken, number, made = set(names), 2, name
    while made in taken:
        made, number = f"{name} {number}", number + 1
    return made
