"""The folder of a run: the settings that it holds, and whether others may go on in it."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from igpo_gym.agents.training.settings import Settings
from igpo_gym.config import Names, marks, shown
from igpo_gym.errors import DataError
from igpo_gym.specs import fingerprint
from igpo_gym.storage import changed, written_file

NOT_OF_A_RUN = ("search_cache", "sampler", "cache_gib", "batch_gib")
"""The arguments that decide where something comes from or lies, and not what it is."""

_NAMES = marks(Settings, Names)
_WITH_FILES = ("questions", "search", "scorer", "policy", "tool")
"""The kinds whose specs may name files."""


def fingerprints(settings: Settings) -> dict[str, str]:
    """What tells that a model, questions or an index of the same name are others by the time of a resume."""
    named = {
        name: getattr(settings, name)
        for name, names in _NAMES.items()
        if names.kind in _WITH_FILES and name not in NOT_OF_A_RUN
    }
    return {
        f"{name}_fingerprint": fingerprint(value if _NAMES[name].is_spec(value) else None)
        for name, value in named.items()
    }


def agree(out: Path, settings: Settings) -> None:
    """Raise ValueError if the folder holds a run with other settings, or whose files are others by now.

    A run may have another length, but not less than it has made, unless its curriculum or its learning rate
    depends on its length; and what it finds its answers, its samples and its memory in may be another.
    Fingerprints that it does not hold are not compared.
    """
    path, now = out / "settings.json", fingerprints(settings)
    if not path.exists():
        return
    theirs = {field.name: field.default for field in fields(settings)} | _stored(path)
    ours = shown(settings) | now
    if not settings.curriculum and settings.schedule == "constant":
        from igpo_gym.agents.training.checkpoint import updates_made  # which imports torch

        made = updates_made(out / "state.pt") or 0
        if settings.updates < made:
            raise ValueError(f"{out} has made {made} updates already: --updates may not be less")
        theirs["updates"] = settings.updates
    theirs |= {name: ours[name] for name in NOT_OF_A_RUN}
    if names := changed(theirs, ours, now):
        raise ValueError(f"{out} holds a run with other settings ({names}); choose another folder")


def _stored(path: Path) -> dict[str, Any]:
    """The settings that a run has written. DataError where the file is damaged."""
    advice = "give back what the run wrote, or choose another folder"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise DataError(path, f"no JSON that can be read: {advice}") from None
    if not isinstance(found, dict):
        raise DataError(path, f"a {type(found).__name__} and not the settings of a run: {advice}")
    return found


def keep(out: Path, settings: Settings) -> None:
    """Write settings and fingerprints into a run's folder; ``--config`` reads the file."""
    with written_file(out / "settings.json") as file:
        file.write(json.dumps(shown(settings) | fingerprints(settings), indent=2) + "\n")
