"""Episodes that TRL played, as our records: a file for each step and process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from igpo_gym.agents.rollouts.records import RolloutFile
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode, Turn

if TYPE_CHECKING:
    from trl import GRPOTrainer


class Records:
    """A folder of records: ``train-STEP-PROCESS.jsonl`` and ``eval-STEP-PROCESS.jsonl``.

    Their settings tell whose beliefs these are, and their messages the version of the weights: the number of
    optimizer steps. A step that an earlier process has made, before the checkpoint from which this one goes
    on, is made again, and so is its file.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._begun: set[Path] = set()

    def keep(self, episodes: Sequence[Episode], engine: Engine, trainer: GRPOTrainer) -> None:
        """Append a batch's episodes to the file of its step."""
        mode, step = ("train" if trainer.model.training else "eval"), int(trainer.state.global_step)
        path = self._folder / f"{mode}-{step:06d}-{trainer.accelerator.process_index}.jsonl"
        if path not in self._begun:
            path.unlink(missing_ok=True)
            self._begun.add(path)
        scorer = getattr(engine.scorer, "told", None) or type(engine.scorer).__name__
        settings = {"trainer": "trl", "mode": mode, "step": step, "scorer": scorer}
        with RolloutFile(path, settings, reward=engine.reward) as file:
            for episode in episodes:
                if episode.turns:
                    file.write(replace(episode, turns=list(map(_without_unknown, episode.turns))))


def _without_unknown(turn: Turn) -> Turn:
    """The turn without log-probabilities that the engine did not tell: JSON has no nan."""
    return replace(
        turn,
        segments=tuple(
            replace(segment, log_probs=None) if any(map(isnan, segment.log_probs or ())) else segment
            for segment in turn.segments
        ),
    )
