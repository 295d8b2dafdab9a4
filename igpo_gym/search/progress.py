"""Progress bars of long builds, on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Passes items through, and shows how many have passed under a name."""

    def __call__(self, items: Iterable[T], name: str, total: int | None) -> Iterable[T]:
        """The items."""
        ...


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

    time = bars.TimeRemainingColumn() if remaining else bars.TimeElapsedColumn()
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(), time)
    with bars.Progress(*columns, console=Console(stderr=True)) as progress:
        yield lambda items, name, total: progress.track(items, total=total, description=name)
