"""The page: its data, its style and its script in one file that asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from igpo_gym.agents.training.estimators import DEFAULT, Estimator
from igpo_gym.errors import DataError
from igpo_gym.storage import written_file
from igpo_gym.text import well_formed
from igpo_gym.viewer.data import Data, TokenNames, as_json, page_data
from igpo_gym.viewer.runs import LIMIT, ShownRun

PARTS = ("vendor/htm-preact.js", "format.js", "charts.js", "turn.js")
"""The scripts that every page with episodes needs; the first is a library (see its LICENSE)."""

SCRIPTS = (*PARTS, "data.js", "lists.js", "episode.js", "tree.js", "sides.js", "main.js")
"""The page's script is these files one after the other."""


def write_page(
    out: str | Path,
    runs: Sequence[ShownRun],
    advantages: str | Estimator = DEFAULT,
    token_names: TokenNames | None = None,
) -> int:
    """Write a page about some runs to a file; returns how many episodes it shows.

    Raises DataError for more than a page holds, with the number of episodes that fit.
    """
    data = page_data(runs, advantages, token_names)
    page = render(data, ", ".join(run.name for run in runs))
    with written_file(Path(out)) as file:
        file.write(page)
    return len(data.details)


def render(data: Data, title: str) -> str:
    """The page as HTML. Raises DataError for more than it holds."""
    details = [as_json(each) for each in data.details]
    _check_size(title, details)
    return document(title, _script(), web("style.css"), as_json(data.summary), details)


def document(
    title: str, script: str, style: str, summary: str, details: Sequence[str] = (), live: bool = False
) -> str:
    """A page that runs no other script than its own. ``summary`` and ``details`` are from :func:`as_json`.

    It asks for nothing, or, where it is ``live``, for what its own server says.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("igpo_gym.viewer", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = environment.get_template("page.html.jinja").render(
        title=title,
        live=live,
        script=Markup(script),
        script_hash=digest,
        style=Markup(style),
        summary=Markup(summary),  # it holds no "<"
        details=[Markup(each) for each in details],
    )
    return well_formed(page)


def _check_size(title: str, details: Sequence[str]) -> None:
    room = LIMIT
    for fit, each in enumerate(details):
        room -= len(each)
        if room < 0:
            raise DataError(
                title,
                f"{len(details)} episodes are more than one page holds ({LIMIT // 1_000_000} MB); the first "
                f"{fit} fit: give --episodes {fit}, and --start {fit} for a page of the next",
            )


def joined(sources: Sequence[str]) -> str:
    """Scripts as one: the first, a library, keeps its own scope, and the rest is one function."""
    library, *own = sources
    return library + '\n(() => {\n"use strict";\n' + "\n".join(own) + "\n})();\n"


@cache
def _script() -> str:
    return joined([web(name) for name in SCRIPTS])


@cache
def web(name: str, package: str = "igpo_gym.viewer") -> str:
    """The text of a file of a package's folder ``web``."""
    return files(package).joinpath("web", name).read_text(encoding="utf-8")
