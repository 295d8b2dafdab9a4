"""``igpo-gym doctor``: what is installed, what is missing, and what to install for what."""

from __future__ import annotations

import os
import platform
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

import igpo_gym
from igpo_gym.cli.common import AsJson, console, explained
from igpo_gym.libraries import DISTRIBUTION, allows, installed, requirements

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = Path(igpo_gym.__file__).parent

PURPOSES = {
    "serve": "igpo-gym serve search, serve beliefs, play --web",
    "web": "search on the web: text out of pages",
    "dense": "search by meaning: dense and hybrid indexes",
    "mcp": "tools of MCP servers, and a search as one",
    "data": "parquet files, .zst files, hf:NAME",
    "gguf": "models from GGUF files",
    "lora": "training an adapter: igpo-gym train --lora",
    "8bit": "igpo-gym train --optimizer adamw-8bit (CUDA)",
    "bench": "figures of igpo-gym bench and of evaluations",
    "plots": "render_mode='rgb_array'",
    "tensorboard": "the trainer's log in TensorBoard",
    "wandb": "igpo-gym train --wandb",
    "minari": "igpo-gym export --format minari",
    "sb3": "stable-baselines3",
    "torchrl": "TorchRL",
    "rllib": "RLlib",
    "trl": "TRL",
    "verl": "verl",
    "verifiers": "verifiers",
    "inspect": "Inspect",
    "skyrl": "SkyRL",
    "gem": "GEM",
    "openenv": "OpenEnv",
    "aviary": "aviary",
    "tinker": "the Tinker cookbook",
    "atropos": "Atropos",
    "swift": "ms-swift",
    "nemo": "NeMo Gym (Python 3.12 and newer)",
}
"""What each extra is for."""


def doctor(as_json: AsJson = False) -> None:
    """Show what is installed and what is missing: versions, devices, extras, models, caches.

    Examples:

      igpo-gym doctor

      igpo-gym doctor --json

    Nothing is downloaded or changed. The exit status is 1 if a library that the package needs is missing or
    too old.
    """
    with explained():
        found = facts()
    if as_json:
        console.print_json(data=found)
    else:
        _print(found)
    raise typer.Exit(int(any(lacks for lacks in found["required"].values())))


def facts() -> dict[str, Any]:
    """All that the command tells, as values of JSON.

    >>> sorted(facts())
    ['caches', 'devices', 'extras', 'libraries', 'models', 'required', 'versions']
    """
    by_extra = dict(requirements())
    required = by_extra.pop("", [])
    return {
        "versions": {
            DISTRIBUTION: igpo_gym.__version__,
            "Python": platform.python_version(),
            "system": platform.platform(),
        },
        "libraries": {each.name: installed(each.name) for each in required},
        "required": {each.name: _lacks(each) for each in required},
        "devices": devices(),
        "extras": {
            extra: {
                "for": purpose,
                "missing": _missing(by_extra.get(extra)),
                "install": f"pip install '{DISTRIBUTION}[{extra}]'",
            }
            for extra, purpose in PURPOSES.items()
        },
        "models": models(),
        "caches": caches(),
    }


def _lacks(requirement: Requirement) -> str:
    """What is wrong with a requirement here, or an empty text."""
    version = installed(requirement.name)
    if version is None:
        return f"{requirement.name}{requirement.specifier}"
    if not allows(requirement, version):
        return f"{requirement.name}{requirement.specifier} (here: {version})"
    return ""


def _missing(asked: list[Requirement] | None) -> list[str]:
    """What an extra lacks. One that asks for nothing here is made for another Python."""
    if not asked:
        return ["not known" if asked is None else "not for this Python"]
    return [lack for each in asked if (lack := _lacks(each))]


def devices() -> list[str]:
    """Where a model can run; the first is what ``device="auto"`` takes."""
    try:
        import torch
    except (ImportError, OSError) as problem:  # the latter where a library that it loads is broken
        return [f"none: torch cannot be imported ({problem})"]
    found = []
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        found.append(f"cuda:{number} ({about.name}, {_size(about.total_memory)})")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads of torch)"]


def models() -> dict[str, int]:
    """The models that are on this machine, with their bytes: those of the package, and the hub's cache."""
    from igpo_gym.lm.names import PACKAGED

    found = {name: _bytes(PACKAGE / "models" / name) for name in PACKAGED}
    try:
        from huggingface_hub import scan_cache_dir
        from huggingface_hub.errors import CacheNotFound
    except ImportError:
        return found
    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, ValueError, OSError):  # none, a file in its place, or one that cannot be read
        return found
    hub = {each.repo_id: each.size_on_disk for each in repositories if each.repo_type == "model"}
    return found | dict(sorted(hub.items()))


def caches() -> dict[str, dict[str, Any]]:
    """The folders of caches: where they are, what changes that, and their bytes."""
    from igpo_gym.storage import cache_dir

    found = {"igpo_gym": ("IGPO_GYM_CACHE", cache_dir())}
    try:
        from huggingface_hub import constants
    except ImportError:
        pass
    else:
        found["Hugging Face hub"] = ("HF_HUB_CACHE", Path(constants.HF_HUB_CACHE))
    return {
        name: {"folder": str(folder), "variable": variable, "bytes": _bytes(folder)}
        for name, (variable, folder) in found.items()
    }


def _bytes(folder: Path) -> int:
    """The size of a folder's files; links, and what goes meanwhile, count as nothing."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                about = Path(place, name).lstat()
                found += about.st_size if stat.S_ISREG(about.st_mode) else 0
    return found


def _size(count: int) -> str:
    """Bytes as a text.

    >>> _size(512), _size(1_700_000), _size(150_323_855_360)
    ('512 B', '1.6 MiB', '140.0 GiB')
    """
    size, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1024 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _print(found: Mapping[str, Any]) -> None:
    for table in _tables(found):
        console.print(table)
    if not found["required"]:
        console.print(f"{DISTRIBUTION} is not installed here: its requirements are not known", markup=False)
    elif wrong := [lacks for lacks in found["required"].values() if lacks]:
        names = " ".join(f"'{each.partition(' (')[0]}'" for each in wrong)
        console.print(f"[bold red]WRONG[/bold red] what the package needs: pip install {escape(names)}")


def _tables(found: Mapping[str, Any]) -> Iterator[Table]:
    yield _table(
        "versions",
        {**found["versions"], **{name: each or "missing" for name, each in found["libraries"].items()}},
    )
    first, *others = found["devices"]
    yield _table("devices", {"auto": first, **{device.partition(" ")[0]: device for device in others}})
    extras = Table("extra", Column("for", overflow="fold"), Column("missing", overflow="fold"))
    for name, about in found["extras"].items():
        extras.add_row(name, escape(about["for"]), escape(", ".join(about["missing"])) or "ok")
    extras.caption = f"pip install '{DISTRIBUTION}[NAME]' installs one".replace("[", r"\[")
    yield extras
    yield _table("models", {name: _size(count) for name, count in found["models"].items()})
    yield _table(
        "caches",
        {
            name: f"{about['folder']}: {_size(about['bytes'])} ({about['variable']} moves it)"
            for name, about in found["caches"].items()
        },
    )


def _table(title: str, rows: Mapping[Any, str]) -> Table:
    table = Table(title, Column("", overflow="fold", ratio=1))
    for name, value in rows.items():
        table.add_row(str(name), escape(value))
    return table
