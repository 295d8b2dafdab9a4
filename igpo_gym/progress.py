"""How far something long is: bars where there is a terminal, plain lines where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Passes items through, and shows how many have passed under a name."""

    def __call__(self, items: Iterable[T], name: str, total: int | None, /) -> Iterable[T]:
        """The items."""
        ...


def untracked(items: Iterable[T], name: str, total: int | None, /) -> Iterable[T]:
    """The items, and nothing is shown."""
    return items


def told(
    items: Iterable[T], name: str, total: int | None, every: int, tell: Callable[[str], None]
) -> Iterator[T]:
    """The items; after each ``every`` of them, and after the last, a line goes to ``tell``.

    >>> list(told("abcde", "letters", 5, 2, print))
    letters: 2 of 5
    letters: 4 of 5
    letters: 5 of 5
    ['a', 'b', 'c', 'd', 'e']
    """
    of = "" if total is None else f" of {total:,}"
    number = 0
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            tell(f"{name}: {number:,}{of}")
    if number % every:
        tell(f"{name}: {number:,}{of}")


LINE_EVERY = 100_000
"""After how many passages, or other small things, a line is written where there is no terminal."""


@contextmanager
def tracking(shown: bool, remaining: bool = False) -> Iterator[Track]:
    """A bar on standard error for each stream of items, with the time that it took, or that ``remaining``
    ones will take. Without a terminal it is a line after every ``LINE_EVERY`` of them, and after the last.

    >>> with tracking(shown=False) as track:
    ...     list(track([1, 2], "reading", 2))
    [1, 2]
    """
    if not shown:
        yield untracked
        return
    from rich import progress as bars

    from igpo_gym.terminal import Terminal

    console = Terminal(stderr=True)
    if not console.is_terminal:

        def tell(line: str) -> None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

        yield lambda items, name, total: told(items, name, total, LINE_EVERY, tell)
        return
    time = bars.TimeRemainingColumn() if remaining else bars.TimeElapsedColumn()
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.MofNCompleteColumn(), time)
    with bars.Progress(*columns, console=console) as progress:
        yield lambda items, name, total: progress.track(items, total=total, description=name)
