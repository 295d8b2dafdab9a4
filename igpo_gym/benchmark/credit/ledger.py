"""What the credit benchmark has priced so far, kept so that a run which was ended goes on from there."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.agents.rollouts.records import json_line, to_record
from igpo_gym.agents.rollouts.resumed import ResumedFile, part_of, whole_lines
from igpo_gym.benchmark.credit.pricing import Shapings, Trajectories
from igpo_gym.benchmark.credit.setup import GroupPricing, Setup
from igpo_gym.episode import Episode
from igpo_gym.errors import DataError
from igpo_gym.search.interface import facts_of
from igpo_gym.specs import fingerprint

PRICED = "priced.jsonl"
"""The file in the folder of the report, with ``.part`` behind its name; gone when the report is there."""


class Ledger:
    """A line of JSON for each group of trajectories, in the order in which they are priced.

    Opened again with the same settings it gives what it has, and the rest is made. Raises DataError for what
    a run with other settings left and for a line that does not tell what its group is paid, and
    BudgetSpentError where the meter's budget is used up.
    """

    def __init__(self, folder: Path, setup: Setup, meter: Meter) -> None:
        self._meter = meter
        self._groups = [(each, group) for each in setup.pricings for group in each.groups]
        self._part = part_of(folder / PRICED)
        for each in setup.pricings:
            meter.watch(each.pricer.scorer, each.pricer.policy)
        self._known: deque[Shapings] = deque()
        self._file = ResumedFile(folder / PRICED, _made(setup), self._take)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.leave()

    def paid(self, pricing: GroupPricing, make: Callable[[], Shapings]) -> Shapings:
        """What the next group is paid, which ``make`` tells where it is not known."""
        if self._known:
            return self._known.popleft()
        self._meter.check(self._file.done, len(self._groups), "groups of trajectories")
        found: list[Shapings] = []
        self._meter.add(pricing.spending(lambda: found.append(make())))
        self._file.write({**_named(*self._groups[self._file.done]), "paid": found[0]})
        return found[0]

    def _take(self, line: dict[str, Any]) -> None:
        """Keep a line that an earlier run has left."""
        number = len(self._known)
        if number >= len(self._groups) or not _tells(line, *self._groups[number]):
            raise DataError(
                self._part, "not what this group of trajectories is paid; remove the file", number + 1
            )
        self._known.append(line["paid"])


def _named(pricing: GroupPricing, group: Trajectories) -> dict[str, str]:
    """What tells a group from the others of a run."""
    return {"what": pricing.what, "question_id": group[0].question}


def _tells(line: dict[str, Any], pricing: GroupPricing, group: Trajectories) -> bool:
    """Whether a line tells what each variant pays each turn of this group, or that its prompt is too long."""
    named, paid = _named(pricing, group), line.get("paid")
    if not isinstance(paid, dict) or {name: line.get(name) for name in named} != named:
        return False
    try:
        lengths = {name: [len(turns) for turns in own] for name, own in paid.items()}
        finite = all(
            pay is None or math.isfinite(pay) for own in paid.values() for turns in own for pay in turns
        )
    except (OverflowError, TypeError):
        return False
    turns = [len(each.labels) for each in group]
    return finite and lengths in ({}, {function.name: turns for function in pricing.functions})


def _made(setup: Setup) -> dict[str, Any]:
    """What tells that a run with other settings has left a file."""
    return {
        **setup.settings,
        "rewards": [function.name for function in setup.functions],
        "scorer_fingerprint": fingerprint(setup.settings["scorer"]),
        "policy_fingerprint": str(facts_of(setup.yardstick.pricer.policy) or ""),
        "trajectories_hash": _hash(each.episode for group in setup.played for each in group),
    }


def _hash(episodes: Iterable[Episode]) -> str:
    """Of all that was played: the questions with their answers, what was said, and what was found."""
    digest = hashlib.blake2b(digest_size=8)
    for episode in episodes:
        digest.update(json_line(to_record(episode, clear_text=True)).encode())
    return digest.hexdigest()


def forget(folder: Path) -> None:
    """Remove what is kept in a folder whose report has been written."""
    part_of(folder / PRICED).unlink(missing_ok=True)


def priced_groups(folder: Path, setup: Setup) -> int:
    """How many groups an ended run has left in a folder. Raises DataError for one with other settings."""
    return whole_lines(folder / PRICED, _made(setup))
