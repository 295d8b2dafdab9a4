"""How far long work is: bars on a terminal, lines elsewhere. Builds tell it on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Passes items through, and shows how many have passed under a name."""

    def __call__(self, items: Iterable[T], name: str, total: int | None) -> Iterable[T]:
        """The items."""
        ...


def in_lines(items: Iterable[T], name: str, total: int | None, say: Callable[[str], None]) -> Iterator[T]:
    """The items; at each tenth of them a line, as a log file shows what a bar shows on a terminal.

    Where nobody knows how many there are, there is a line at each :data:`MANY`.

    >>> list(in_lines("abcd", "letters", 4, print))
    letters: 1 of 4
    letters: 2 of 4
    letters: 3 of 4
    letters: 4 of 4
    ['a', 'b', 'c', 'd']
    """
    told = 0
    for done, item in enumerate(items, 1):
        yield item
        reached = 10 * done // max(1, total) if total is not None else done // MANY
        if reached > told:
            told = reached
            say(f"{name}: {done:,}" + (f" of {total:,}" if total is not None else ""))


MANY = 1_000_000
"""After how many items of an unknown number a line is written."""


@contextmanager
def tracking(shown: bool, remaining: bool = False) -> Iterator[Track]:
    """A bar for each stream of items, with the time that it took, or that ``remaining`` ones will take.

    >>> with tracking(shown=False) as track:
    ...     list(track([1, 2], "reading", 2))
    [1, 2]
    """
    if not shown:
        yield lambda items, name, total: items
        return
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda items, name, total: in_lines(items, name, total, console.out)
        return
    time = bars.TimeRemainingColumn() if remaining else bars.TimeElapsedColumn()
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(), time)
    with bars.Progress(*columns, console=console) as progress:
        yield lambda items, name, total: progress.track(items, total=total, description=name)
