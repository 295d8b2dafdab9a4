"""Gold answers as texts: whatever a file or a program gives becomes the texts that are asked and compared.

A text stands without the blanks at its ends. A bool is ``yes`` or ``no``, a number is written as Python does
(1.0 as ``1``), a list joins its items by ", ", and a dictionary is ``key: value; key: value`` in its own
order, with what is nested in it in parentheses:

>>> answer_text({"Danzig": 1457, "partners": ["Elbing", "Thorn"], "port": {"open": True}})
'Danzig: 1457; partners: Elbing, Thorn; port: (open: yes)'
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from igpo_gym.data.files import literal

UNANSWERABLE = ("unanswerable", "cannot be answered", "unknown")
"""The answers of a question that its texts do not answer."""

HINT = f" (If this cannot be known, the answer is: {UNANSWERABLE[0]}.)"
"""What ends every question of a set that has unanswerable ones."""

_PLAIN = frozenset({str, bool, int, float, list, tuple, dict, type(None)})


def answers_of(value: Any) -> tuple[str, ...]:
    """The answer and its aliases from a value or a list of values, in its order and without repeats.

    A dictionary is one answer, unless it is the object in which SQuAD (``text``, ``answer_start``) or
    TriviaQA (``value``, ``aliases``) has several, or a list has such objects. NumPy's and pyarrow's arrays
    and numbers are taken for Python's.

    Raises ValueError, which never shows an answer, for what is no answer, and for a list that is written as
    text (``"['a', 'b']"``).

    >>> answers_of([" Danzig ", "Gdańsk", "Danzig"]), answers_of(True), answers_of([1927, 1927.0])
    (('Danzig', 'Gdańsk'), ('yes',), ('1927',))
    >>> answers_of("['Danzig', 'Gdańsk']")
    Traceback (most recent call last):
    ValueError: a list written as text, not a list
    """
    value = plain(value)
    given = value if isinstance(value, list | tuple) else [value]
    values = [answer for each in given for answer in _held(plain(each))]
    if not values:
        raise ValueError("an empty list")
    return tuple(dict.fromkeys(answer_text(each) for each in values))


def _held(value: Any) -> list[Any]:
    """The answers in an object that holds some beside other things; any other value alone."""
    for name, beside in (("text", "answer_start"), ("value", "aliases")):
        if isinstance(value, Mapping) and name in value and beside in value:
            fields = (name,) if name == "text" else (name, beside)
            found = [plain(value[each]) for each in fields]
            return [one for each in found for one in (each if isinstance(each, list | tuple) else [each])]
    return [value]


def answer_text(value: Any) -> str:
    """One answer as text, see :mod:`igpo_gym.data.answers`. ValueError for what is none."""
    value = plain(value)
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise ValueError("an empty text")
        if listed(text):
            raise ValueError("a list written as text, not a list")
        return text
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(value).removesuffix(".0")
    if isinstance(value, list | tuple | Mapping) and value:
        return _nested(value)
    raise ValueError(f"{'an empty ' * (value in ([], (), {}))}{type(value).__name__}, which is no answer")


def plain(value: Any) -> Any:
    """A value of NumPy or pyarrow as Python's own; any other as it is."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str):
        return str(value)
    for name in ("as_py", "to_pylist"):
        if callable(convert := getattr(value, name, None)):
            return _of_arrow(convert(), value, one=name == "as_py")
    if not callable(convert := getattr(value, "tolist", None)):
        return value
    kind = getattr(value, "dtype", None)
    if getattr(kind, "kind", "") == "f" and value.dtype.itemsize < 8:
        return value.astype(str).astype(float).tolist()  # 0.1, and not what single precision makes of it
    return convert()


def _of_arrow(given: Any, value: Any, *, one: bool) -> Any:
    if not hasattr(value, "type"):
        return given
    from igpo_gym.data.arrow import meant_by

    if (meant := meant_by(value.type)) is None:
        return given
    return meant(given) if one else [meant(each) for each in given]


def listed(text: str) -> bool:
    """Whether a text is a list, tuple, set or dictionary of texts as Python, NumPy or JSON writes it.

    >>> listed('["Danzig"]'), listed("['Danzig' 'Gdańsk']"), listed("[1, 2]"), listed("(Untitled)")
    (True, True, False, False)
    """
    if text.startswith("array("):
        return True
    if (text[:1], text[-1:]) not in (("[", "]"), ("(", ")"), ("{", "}")):
        return False
    found = literal(text)
    if isinstance(found, dict):
        found = list(found)
    return isinstance(found, list | tuple | set) and all(isinstance(each, str) for each in found)


def _nested(value: Any) -> str:
    if not isinstance(value, Mapping):
        return ", ".join(_within(each) for each in value)
    return "; ".join(f"{str(key).strip()}: {_within(each)}" for key, each in value.items())


def _within(value: Any) -> str:
    """A value inside another: dictionaries, and lists of more than plain values, stand in parentheses."""
    value = plain(value)
    text = answer_text(value)
    flat = isinstance(value, list | tuple) and not any(isinstance(each, list | Mapping) for each in value)
    return text if flat or not isinstance(value, list | tuple | Mapping) else f"({text})"
