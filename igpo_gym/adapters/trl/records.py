"""Episodes that TRL played, as our records: a file for each step and process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igpo_gym.agents.rollouts.records import RolloutFile
from igpo_gym.episode import Episode
from igpo_gym.rewards import RewardFunction

if TYPE_CHECKING:
    from trl import GRPOTrainer


def record(
    folder: str | Path, episodes: Sequence[Episode], reward: RewardFunction, trainer: GRPOTrainer
) -> Path:
    """Append the batch's episodes to ``FOLDER/train-STEP-PROCESS.jsonl`` (or ``eval-...``), and return it.

    Their messages tell the version of the weights: the number of optimizer steps.
    """
    mode, step = ("train" if trainer.model.training else "eval"), int(trainer.state.global_step)
    path = Path(folder) / f"{mode}-{step:06d}-{trainer.accelerator.process_index}.jsonl"
    with RolloutFile(path, {"trainer": "trl", "mode": mode, "step": step}, reward=reward) as file:
        for episode in episodes:
            if episode.turns:
                file.write(episode)
    return path
