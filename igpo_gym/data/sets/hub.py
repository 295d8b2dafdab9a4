"""Sets of the Hugging Face hub, or folders on this machine, through the ``datasets`` library.

A folder holds files of a data set, or what ``save_to_disk`` wrote. ``hf:NAME[:config][:split]``: the split
is that of its name, else ``validation``, ``dev``, ``test`` or ``train``, the first that is there. The layout
of its records is found out like that of a file (:mod:`igpo_gym.data.layouts`). No code of a data set is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.layouts import layout_of
from igpo_gym.data.reading import read_set
from igpo_gym.data.rows import Row
from igpo_gym.errors import DataError, SpecError, first_line
from igpo_gym.hub import unreachable
from igpo_gym.libraries import needs

SPLITS = ("validation", "dev", "test", "train")
"""Which split is taken where none is named."""

_SAVED = ("state.json", "dataset_dict.json")
"""Files by which what ``save_to_disk`` wrote is known."""


def load_hub(name: str) -> QuestionSet:
    """The questions of a data set. SpecError for one that cannot be had, DataError for what is in it."""
    place, *rest = name.split(":")
    records = _split(place, rest)
    rows = [Row(record, number, "row") for number, record in enumerate(records, 1)]
    if not rows:
        raise DataError(name, "the data set has no rows")
    layout = layout_of(rows[0], Path(name))
    return read_set("hf", name, layout.question, records=rows)


def _split(place: str, rest: list[str]) -> Iterable[dict[str, Any]]:
    with needs("the questions hf:NAME", "data", "datasets"):
        import datasets

        from igpo_gym.data.arrow import records_as_meant
    if len(rest) > 2:
        raise SpecError(f"hf:{':'.join([place, *rest])} has too many parts; write hf:NAME[:config][:split]")
    datasets.config.HF_DATASETS_TRUST_REMOTE_CODE = (
        False  # releases that run code would ask on standard input
    )
    if not Path(place).exists() and not datasets.config.HF_HUB_OFFLINE:
        datasets.config.HF_HUB_OFFLINE = bool(unreachable())  # or it would try again and again
    if Path(place).is_file():
        raise SpecError(f"{place} is a file: write it without hf:")
    try:
        config, rest = _config(datasets, place, rest)
        with _silent(datasets):
            saved = any((Path(place) / name).is_file() for name in _SAVED)
            found = datasets.load_from_disk(place) if saved else datasets.load_dataset(place, config)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as problem:
        choose = (line for line in str(problem).splitlines() if "available configs" in line)
        told = next((f"{line}; write hf:{place}:CONFIG" for line in choose), first_line(problem))
        raise SpecError(f"the data set {place!r} cannot be had: {told}") from problem
    if not isinstance(found, dict):
        found = {str(found.split or "train"): found}
    wanted = rest[-1] if rest else next((split for split in SPLITS if split in found), next(iter(found)))
    if wanted not in found:
        raise SpecError(f"the data set {place!r} has no split {wanted!r}; it has: {', '.join(found)}")
    return records_as_meant(found[wanted])


@contextmanager
def _silent(datasets: Any) -> Iterator[None]:
    """Without the library's progress bars."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _config(datasets: Any, place: str, rest: list[str]) -> tuple[str | None, list[str]]:
    """The configuration that is named, if one is, and what is named behind it."""
    if len(rest) == 2:
        return rest[0], rest[1:]
    if rest and rest[0] in datasets.get_dataset_config_names(place):
        return rest[0], []
    return None, rest
