"""Recorded episodes, priced: by what, and the lines that say what each is paid."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igpo_gym.episode import UNREAD
from igpo_gym.specs import fingerprint
from igpo_gym.text import without_credentials

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.costs import Meter
    from igpo_gym.episode import Episode
    from igpo_gym.protocols import TextProtocol
    from igpo_gym.rewards import RewardFunction
    from igpo_gym.rewards.relabel import Priced


@dataclass(frozen=True, slots=True)
class FilePricing:
    """What the episodes of a file are priced by."""

    file: Path
    settings: Mapping[str, Any]
    """Those of the recording, with those of the command line in their places."""
    rewards: Sequence[RewardFunction]
    corpus: Any
    context: Mapping[str, Any]
    """What instruments are made from; a judge and an agent stand in it."""
    protocol: str | TextProtocol
    """The one that the episodes were played with; with their tools, where transcripts are written anew."""
    page_chars: int
    """How long the pages are that their ``open`` shows."""
    batch_size: int
    meter: Meter

    @property
    def models(self) -> dict[str, str]:
        """The models that are named, without credentials; "none" is one that is not asked."""
        named = {name: self.settings.get(name) for name in ("scorer", "reference")}
        return {name: without_credentials(text) for name, text in named.items() if isinstance(text, str)}

    def readers(self) -> list[Any]:
        """Who reads transcripts: the models, and the agent that completes episodes."""
        from igpo_gym.scorers import resolve_scorer

        return [*(resolve_scorer(self.settings[name]) for name in self.models), self.context.get("policy")]

    def described(self, options: Mapping[str, str | None], records: bool) -> dict[str, Any]:
        """What the output depends on, as each line of it says: a killed run goes on where it is equal."""
        chosen = {**options, **self.models, "protocol": self.settings["protocol"]}
        return {
            "file": self.file.name,
            "fingerprint": fingerprint(self.file),
            "rewards": [function.name for function in self.rewards],
            "records": records,
            **self._fingerprints(self.models),
            **{name: without_credentials(text) for name, text in chosen.items() if isinstance(text, str)},
        }

    def anew(self) -> dict[str, Any]:
        """What takes the place of a recording's settings in a record: the models that were asked, and the
        reward. Of other models all stays."""
        asked = {name: text for name, text in self.models.items() if text != "none"}
        return {**asked, **self._fingerprints(asked), "reward": self.rewards[0].name}

    def _fingerprints(self, models: Iterable[str]) -> dict[str, Any]:
        return {f"{name}_fingerprint": fingerprint(self.settings[name]) for name in models}

    def priced(self, skip: int) -> Iterator[tuple[Priced, dict[str, Any]]]:
        """The episodes behind the first ``skip``, each with the settings of its record, until the budget is
        used up."""
        from igpo_gym.agents.rollouts.costs import Spent, in_episode
        from igpo_gym.protocols import ReplyLimits
        from igpo_gym.rewards.relabel import relabel

        recorded: deque[dict[str, Any]] = deque()
        judged = "judge" in self.context
        for each in relabel(
            self.meter.until(_episodes(self.file, recorded, skip)),
            self.rewards,
            self.settings.get("scorer"),
            reference=self.settings.get("reference"),
            corpus=self.corpus,
            context=self.context,
            protocol=self.protocol,
            limits=ReplyLimits.of(self.settings),
            page_chars=self.page_chars,
            batch_size=self.batch_size,
            partial=True,
        ):
            self.meter.add(Spent(verdicts=int(in_episode(each.episode).verdicts) if judged else 0))
            yield each, recorded.popleft()

    def batches(self, skip: int) -> Iterator[int]:
        """Price a batch after another; yields how many episodes each has."""
        priced = self.priced(skip)
        while batch := list(islice(priced, self.batch_size)):
            yield len(batch)


def _episodes(file: Path, made: deque[dict[str, Any]], skip: int) -> Iterator[Episode]:
    """The episodes of a file behind the first ``skip``; the settings of each are added to ``made``."""
    from igpo_gym.agents.rollouts.records import read_recordings

    for settings, episode in read_recordings(file, skip):
        made.append(settings)
        yield episode


def line_of(priced: Priced, settings: dict[str, Any]) -> dict[str, Any]:
    """What an episode is paid, as JSON values."""
    from igpo_gym.agents.rollouts.records import set_of

    rewards = {
        name: {"return": priced.returns[name], "turns": turns} for name, turns in priced.rewards.items()
    }
    question = priced.episode.question.id
    return {
        "questions": set_of(settings),
        "question_id": question,
        "attempt": priced.episode.attempt,
        **({UNREAD: priced.episode.extra[UNREAD]} if UNREAD in priced.episode.extra else {}),
        "rewards": rewards,
    }


def record_of(
    priced: Priced, line: dict[str, Any], reward: RewardFunction, settings: dict[str, Any]
) -> dict[str, Any]:
    """The episode's record, paid ``reward``, with what each reward would pay beside it (``priced``)."""
    from igpo_gym.agents.rollouts.records import to_record
    from igpo_gym.rewards.split import Split

    extra = {
        name: value
        for name, value in priced.episode.extra.items()
        if name not in ("relabeled", "priced", "split")
    }
    episode = replace(priced.episode, extra=extra)
    if priced.rewards:
        record = to_record(replace(episode, rewards=priced.rewards[reward.name]), reward)
    else:  # nothing was measured, so that it is a member of no set
        unpaid = Split((None,) * len(episode.turns), None, last_gain=True)
        record = {**to_record(episode), "split": asdict(unpaid)}
    return {"settings": settings, **record, "priced": line["rewards"]}
