"""The terminal: what is printed may come from any file, agent or server, and must not drive it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from igpo_gym.text import printable


class Terminal(Console):
    """A console that shows control characters, within whatever is printed, as ``�``.

    >>> Terminal().print("gone\\x1b[2J", markup=False)
    gone�[2J
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """A text with markup, as it is measured and rendered."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Whatever is printed is made of texts, and each that is none with markup comes through here."""
        if isinstance(renderable, Text) and (shown := printable(renderable.plain)) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = shown
        return super().render(renderable, options)
