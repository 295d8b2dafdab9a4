"""The episodes of an agent loop worker as records, in a file of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from uuid import uuid4

from igpo_gym.adapters.session import Sessions
from igpo_gym.agents.rollouts.records import RolloutFile
from igpo_gym.episode import Episode


@dataclass(frozen=True, slots=True, eq=False)
class Recorder:
    """A rollout file that several threads write to."""

    file: RolloutFile
    lock: Lock = field(default_factory=Lock)

    def write(self, episode: Episode) -> None:
        """Append an ended episode; one without a turn is no record."""
        if episode.turns:
            with self.lock:
                self.file.write(episode)


@lru_cache(maxsize=8)
def recorder(folder: str, sessions: Sessions, scorer: str | None) -> Recorder:
    """The recorder of this process for a folder, made at the first call; its file's name is its own.

    ``scorer`` is how the settings name a scorer that the sessions do not hold.
    """
    named = {} if scorer is None else {"scorer": scorer}
    settings = json.loads(json.dumps({**sessions.described, **named}, default=repr))
    path = Path(folder) / f"worker-{uuid4().hex[:8]}.jsonl"
    return Recorder(RolloutFile(path, settings, reward=sessions.engine.reward))
