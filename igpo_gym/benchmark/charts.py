"""Charts, as images that a page holds within itself."""

from __future__ import annotations

import base64
import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from igpo_gym.benchmark.report import Image, number
from igpo_gym.libraries import needs
from igpo_gym.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOT, _BEST, _LINE, _QUIET = "#34495e", "#0b6e4f", "#b0b8c1", "#667080"


def _figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Any]]:
    """A figure of that size in inches with panels side by side. It needs no display and no global state."""
    with needs("a benchmark's charts", "bench", "matplotlib"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    return figure, list(axes)


def _style(axis: Any, grid: str = "both", hidden: Sequence[str] = ("top", "right")) -> None:
    """A pale grid behind what is drawn, small numbers, and no line at the ``hidden`` sides."""
    axis.grid(axis=grid, color="#eef1f4")
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)
    for side in hidden:
        axis.spines[side].set_visible(False)


def _image(figure: Figure, alt: str) -> Image:
    held = io.BytesIO()
    figure.savefig(held, format="png", dpi=140)
    return Image(f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}", alt)


def intervals(
    panels: Mapping[str, Mapping[str, Estimate]],
    best: Mapping[str, frozenset[str]],
    units: Mapping[str, str],
    references: Mapping[str, float],
    alt: str,
) -> Image:
    """A dot with its 95% interval for each name, in a panel for each measure.

    ``best``, ``units`` and ``references`` (a dashed line) are by panel, and may lack one.
    """
    return _image(_interval_figure(panels, best, units, references), alt)


_TITLE = 30
"""Letters of a panel's title on a line: more would run into the title beside it."""


def _interval_figure(
    panels: Mapping[str, Mapping[str, Estimate]],
    best: Mapping[str, frozenset[str]],
    units: Mapping[str, str],
    references: Mapping[str, float],
) -> Figure:
    names = list(dict.fromkeys(name for estimates in panels.values() for name in estimates))
    figure, axes = _figure(1.6 + 3.1 * len(panels), 1.1 + 0.3 * len(names), len(panels))
    for axis, (title, estimates) in zip(axes, panels.items(), strict=True):
        percent = units.get(title) == "percent"
        for place, name in enumerate(names):
            shown = estimates.get(name)
            if shown is None or math.isnan(shown.value):
                continue
            color = _BEST if name in best.get(title, ()) else _DOT
            if not math.isnan(shown.low):
                axis.plot([shown.low, shown.high], [place, place], color=color, linewidth=2, alpha=0.5)
            axis.plot([shown.value], [place], "o", color=color, markersize=5)
        if title in references:
            axis.axvline(references[title], color=_LINE, linestyle="--", linewidth=1, zorder=0)
        if percent:
            axis.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f}%")
        axis.set_title(textwrap.fill(title, _TITLE), fontsize=9, loc="left")
        _style(axis, grid="x", hidden=("top", "right", "left"))
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figure


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    values: Sequence[Sequence[float]],
    low: float,
    high: float,
    alt: str,
) -> Image:
    """A table of numbers as colors, from ``low`` over the middle (pale) to ``high``, with the numbers."""
    figure, (axis,) = _figure(1.8 + 0.85 * len(columns), 0.8 + 0.3 * len(rows))
    axis.imshow(values, cmap="RdYlGn", vmin=low, vmax=high, aspect="auto", alpha=0.75)
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            axis.text(x, y, number(value), ha="center", va="center", fontsize=8)
    axis.set_xticks(range(len(columns)), columns, fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0)
    for side in ("top", "right", "bottom", "left"):
        axis.spines[side].set_visible(False)
    return _image(figure, alt)


def scatter(panels: Mapping[str, Mapping[str, tuple[float, float]]], y: str, alt: str) -> Image:
    """A named point for each pair of numbers, in a panel for each x; all have the same y."""
    figure, axes = _figure(1.2 + 2.6 * len(panels), 3.0, len(panels))
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        for name, place in points.items():
            axis.plot(*place, "o", color=_DOT, markersize=4)
            axis.annotate(name, place, fontsize=6, color=_QUIET, xytext=(3, 3), textcoords="offset points")
        axis.set_title(textwrap.fill(title, _TITLE), fontsize=9, loc="left")
        _style(axis)
    axes[0].set_ylabel(y, fontsize=9)
    return _image(figure, alt)


def lines(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, Estimate]]]],
    y: str,
    alt: str,
    level: float | None = None,
) -> Image:
    """A line with its 95% band for each name, in a panel for each kind of x; all have the same y.

    The points of a line are pairs of x and an estimate. A dashed line is at ``level``. A name has one color
    in all panels, whichever of them have it.
    """
    return _image(line_figure(panels, y, level), alt)


def line_figure(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, Estimate]]]], y: str, level: float | None
) -> Figure:
    """The figure of :func:`lines`."""
    names = dict.fromkeys(name for named in panels.values() for name in named)
    colors = {name: f"C{place}" for place, name in enumerate(names)}
    figure, axes = _figure(1.2 + 3.3 * len(panels), 3.4, len(panels))
    from matplotlib.lines import Line2D

    for axis, (title, named) in zip(axes, panels.items(), strict=True):
        for name, points in named.items():
            x, color = [at for at, _ in points], colors[name]
            axis.plot(x, [each.value for _, each in points], color=color, linewidth=1.5)
            low, high = ([getattr(each, end) for _, each in points] for end in ("low", "high"))
            axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        if level is not None:
            axis.axhline(level, color=_LINE, linestyle="--", linewidth=1, zorder=0)
        axis.set_xlabel(title, fontsize=9)
        axis.locator_params(axis="x", nbins=5)
        _style(axis)
    axes[0].set_ylabel(y, fontsize=9)
    handles = [Line2D([], [], color=color, linewidth=1.5, label=name) for name, color in colors.items()]
    axes[0].legend(handles=handles, fontsize=8, frameon=False)
    return figure
