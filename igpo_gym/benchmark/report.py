"""Reports: values that a console table, a page and files are made from.

A :class:`Page` becomes one HTML file with everything in it, images included, which a browser shows without a
network.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table as RichTable

from igpo_gym.libraries import require
from igpo_gym.statistics import Estimate
from igpo_gym.storage import written_file

NOTHING = "–"
"""What stands where a statistic is not defined."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in a table."""

    text: str
    detail: str = ""
    """Said more quietly, such as an interval."""
    best: bool = False
    """Whether it is marked as among the best of its column."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """A picture within the page."""

    source: str
    """A ``data:`` address that holds the image itself."""
    alt: str
    """What it shows, for who cannot see it."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page: words, then pictures, then tables."""

    title: str
    words: tuple[str, ...] = ()
    images: tuple[Image, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A report."""

    title: str
    lead: str
    """What it is about, in a few sentences."""
    findings: tuple[str, ...]
    """What it comes to, a sentence each."""
    sections: tuple[Section, ...]


def number(value: float, unit: str = "number") -> str:
    """A figure as it is shown: two decimals or whole percents, with a true minus sign."""
    if math.isnan(value):
        return NOTHING
    if unit == "percent":
        text = f"{100 * value:.0f}%"
    else:
        text = f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    text = text.replace("-", "−")
    return text.lstrip("−") if text in ("−0%", "−0.00") else text


def estimate_cell(estimate: Estimate, unit: str = "number", best: bool = False) -> Cell:
    """An estimate with its interval as a cell."""
    interval = f"[{number(estimate.low, unit)}, {number(estimate.high, unit)}]"
    return Cell(number(estimate.value, unit), "" if math.isnan(estimate.low) else interval, best)


def estimate_text(estimate: Estimate, unit: str = "number") -> str:
    """An estimate with its interval within a sentence.

    >>> estimate_text(Estimate(0.5, 0.25, 0.75, 10))
    '0.50 [0.25, 0.75]'
    >>> estimate_text(Estimate(0.5, math.nan, math.nan, 1), "percent")
    '50%'
    """
    cell = estimate_cell(estimate, unit)
    return f"{cell.text} {cell.detail}".strip()


def p_text(p: float) -> str:
    """A p-value as it is shown.

    >>> p_text(0.04), p_text(1e-6), p_text(math.nan)
    ('0.040', '< 0.001', '–')
    """
    return NOTHING if math.isnan(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001"


def rich_table(table: Table) -> RichTable:
    """The table for the console; the best of a column are green."""
    shown = RichTable(title=escape(table.caption) or None)
    for name in table.header:
        shown.add_column(escape(name), overflow="fold")
    for row in table.rows:
        shown.add_row(*map(_markup, row))
    return shown


def _markup(cell: Cell) -> str:
    text = f"[bold green]{escape(cell.text)}[/]" if cell.best else escape(cell.text)
    return f"{text}\n[dim]{escape(cell.detail)}[/]" if cell.detail else text


def markdown_table(table: Table) -> str:
    """The table for a document in Markdown; the best of a column are bold."""
    lines = [list(map(_plain, table.header)), ["---"] * len(table.header)]
    lines += [[_markdown(cell) for cell in row] for row in table.rows]
    caption = f"{_plain(table.caption)}\n\n" if table.caption else ""
    return caption + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _markdown(cell: Cell) -> str:
    text = f"**{_plain(cell.text)}**" if cell.best else _plain(cell.text)
    return f"{text} {_plain(cell.detail)}".strip()


def _plain(text: str) -> str:
    """Text that Markdown shows as it stands, on one line: it opens no tag, cell, link, code or emphasis."""
    shown = re.sub(r"[\\`*_|~]", r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))
    return shown.replace("](", "]\\(").replace("![", "!\\[")


def require_extra() -> None:
    """Raise MissingExtraError where a report could not be made, before anything is measured for it."""
    require("a benchmark's report", "bench", "matplotlib")


def render(page: Page) -> str:
    """The page as self-contained HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("igpo_gym.benchmark", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(page=page)


def page_files(page: Page) -> dict[str, str]:
    """``report.html`` for people, and its tables, but for empty ones, in ``tables.md`` for documents."""
    tables = [table for section in page.sections for table in section.tables if table.rows]
    return {"report.html": render(page), "tables.md": "\n".join(map(markdown_table, tables))}


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV with a header; numbers that are not defined stay empty.

    A text that a spreadsheet would take for a formula begins with an apostrophe; numbers are left alone.

    >>> print(csv_text([{"query": "=1+1", "pay": -0.5}], ("query", "pay")), end="")
    query,pay
    '=1+1,-0.5
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(_defused, columns))
    writer.writerows([_defused(row.get(name, "")) for name in columns] for row in rows)
    return text.getvalue()


def _defused(value: Any) -> Any:
    if isinstance(value, str):
        text = value.replace("\r\n", "\n").replace("\r", "\n")  # a lone "\r" is not quoted, and ends a row
        return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\n")) else text
    return "" if _undefined(value) else value


def json_text(value: Any) -> str:
    """A value as JSON; numbers that are not defined become null, since JSON has no nan."""
    return json.dumps(_jsonable(value), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _jsonable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    return None if _undefined(value) else value


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts into a folder, by name; each appears, or replaces what was there, once it is whole."""
    for name, text in files.items():
        with written_file(folder / name) as file:
            file.write(text)
