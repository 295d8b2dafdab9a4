"""What is left of a run, as works for an estimate: updates and validations that are made and not kept.

A validation plays all its episodes, and has the scorer price the first of them, which are kept as samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.agents.rollouts.estimates import Work
from igpo_gym.agents.training.checkpoint import updates_made
from igpo_gym.agents.training.folder import agree
from igpo_gym.agents.training.questions import question_sets
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.samples import KEPT
from igpo_gym.agents.training.settings import Settings
from igpo_gym.episode import Episode
from igpo_gym.rewards.relabel import relabel

PIECE = 8
"""Validation episodes that are played at a time: few, so that seconds hold several pieces."""


def validations(settings: Settings, begun: bool, done: int) -> int:
    """How many a run still makes after so many updates; it begins with one.

    >>> validations(Settings(updates=25, validate_every=10), begun=False, done=0)
    4
    >>> validations(Settings(updates=25, validate_every=10), begun=True, done=10)
    2
    """
    return (not begun) + sum(map(settings.validates, range(done + 1, settings.updates + 1)))


class Rehearsal:
    """A run whose model, from where its folder left it, is loaded when a piece is made. It writes nothing.

    Raises ValueError if the folder holds a run with other settings, or a checkpoint that is damaged.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        agree(folder, settings)
        self._folder, self._settings = folder, settings
        made = updates_made(folder / "state.pt")  # the log of a run that was killed is ahead of it
        self._begun, self._done = made is not None, made or 0
        self._examined = len(question_sets(settings)[1].questions)
        self._played: list[list[Episode]] = []
        self.meter = Meter()

    @cached_property
    def _run(self) -> Run:
        run = Run(self._folder, self._settings, meter=self.meter)
        run.resume()
        return run

    @property
    def left(self) -> tuple[int, int, int]:
        """How many updates it still makes, how many validation episodes, and how many of these are priced."""
        trials = validations(self._settings, self._begun, self._done)
        priced = min(KEPT, self._examined) if self._settings.scorer not in (None, "none") else 0
        return self._settings.updates - self._done, trials * self._examined, trials * priced

    def works(self, alike: Sequence[Rehearsal] = ()) -> list[Work]:
        """Its updates, its validation episodes and its samples, with those of runs that cost as much."""
        lefts = map(sum, zip(*(each.left for each in (self, *alike)), strict=True))
        names = ("updates", "validation episodes", "samples of them")
        pieces = (self._updates(), self._trials(), self._samples())
        return [Work(*each, self.meter) for each in zip(names, lefts, pieces, strict=True)]

    def _updates(self) -> Iterator[int]:
        run = self._run
        yield 0
        while True:
            run.update()
            yield 1

    def _trials(self) -> Iterator[int]:
        run, waiting = self._run, iter(self._run.unseen)
        run.examine()
        yield 0
        while batch := list(islice(waiting, PIECE)):
            played = list(collect(run.referee, run.policy, batch, PIECE))
            for episode in played:
                self.meter.saw(episode)
            self._played.append(played)
            yield len(played)

    def _samples(self) -> Iterator[int]:
        for played in self._played:
            scorer, protocol = self._run.scorer, self._settings.protocol
            yield len(list(relabel(played, ["igpo"], scorer, protocol=protocol, partial=True)))

    def close(self) -> None:
        """Let go of what was loaded."""
        if "_run" in self.__dict__:
            self.__dict__.pop("_run").close()
