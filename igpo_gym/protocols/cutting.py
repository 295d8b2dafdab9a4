"""How the texts of a reply are cut, so that all of them keep to a limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from igpo_gym.text import shortened

Written = Callable[[str], int]
"""How many characters a reply takes for a text."""


def cut_to_fit(
    texts: Sequence[str], longest: Sequence[int | None], room: int, written: Written = len
) -> list[tuple[str, int]]:
    """Each text in at most about as many characters as its ``longest`` says, and all of them in ``room``.

    The longest are cut, so that each is shown in part. Returns each text and how many characters it lost.

    >>> cut_to_fit(["A port.", "It goes on. " * 20], [None, 200], 60)
    [('A port.', 0), ('It goes on. It goes on. [... 216 characters cut]', 216)]
    """
    cut = [shortened(text, most) for text, most in zip(texts, longest, strict=True)]
    fair = fair_length([written(shown) for shown, _ in cut], room)
    return [
        each if written(each[0]) <= fair else fitted(text, fair, written)
        for each, text in zip(cut, texts, strict=True)
    ]


def fair_length(lengths: Sequence[int], total: int) -> int:
    """How long each may be so that all fit into a total: what short ones leave is for the long. At least 1.

    >>> fair_length([10, 50, 90], 100), fair_length([10, 20, 90], 100)
    (45, 70)
    """
    for rank, length in enumerate(sorted(lengths)):
        fair = total // (len(lengths) - rank)
        if length > fair:
            return max(1, fair)
        total -= length
    return max(lengths, default=1)


def fitted(text: str, length: int, written: Written = len) -> tuple[str, int]:
    """The text in at most ``length`` characters, the mark of what was cut included, and how many it lost.

    Where there is no room for the mark, it is left out.

    >>> fitted("It is a port. It lies in Pomerania.", 34), fitted("It is a port.", 7)
    (('It is a [... 27 characters cut]', 27), ('It is a', 6))
    """
    if written(text) <= length:
        return text, 0
    mark = len(shortened(text, 0)[0])  # of all that could be cut: that of less is no longer
    room = min(length, len(text))
    while True:
        cut = shortened(text, room - mark) if room > mark else (text[:room], len(text) - room)
        if room == 0 or (taken := written(cut[0])) <= length:
            return cut
        room = min(room - 1, room * length // taken)
