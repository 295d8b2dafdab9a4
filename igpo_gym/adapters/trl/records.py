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


def record(folder: str | Path, episodes: Sequence[Episode], engine: Engine, trainer: GRPOTrainer) -> Path:
    """Append the batch's episodes to ``FOLDER/train-STEP-PROCESS.jsonl`` (or ``eval-...``), and return it.

    Their settings tell whose beliefs these are, and their messages the version of the weights: the number of
    optimizer steps.
    """
    mode, step = ("train" if trainer.model.training else "eval"), int(trainer.state.global_step)
    path = Path(folder) / f"{mode}-{step:06d}-{trainer.accelerator.process_index}.jsonl"
    scorer = getattr(engine.scorer, "told", None) or type(engine.scorer).__name__
    settings = {"trainer": "trl", "mode": mode, "step": step, "scorer": scorer}
    with RolloutFile(path, settings, reward=engine.reward) as file:
        for episode in episodes:
            if episode.turns:
                file.write(replace(episode, turns=list(map(_told, episode.turns))))
    return path


def _told(turn: Turn) -> Turn:
    """The turn without log-probabilities that the engine did not tell: JSON has no nan."""
    return replace(
        turn,
        segments=tuple(
            replace(segment, log_probs=None) if any(map(isnan, segment.log_probs or ())) else segment
            for segment in turn.segments
        ),
    )
