"""Answers in parts, such as a dictionary or a list: how many of their texts a prediction names.

The rule is the loose accuracy of FanOutQA's script (Zhu et al., 2024, arXiv 2402.14116).

>>> parts_of({"Danzig": 1457, "a port": True})
('Danzig', '1457', 'a port', 'yes')
>>> share_of_parts("Danzig has 1,457 ships.", ["Danzig", "1457", "a port", "yes"])
0.5
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from igpo_gym.data.answers import answer_text

_THOUSANDS = re.compile(r"(?:\d+,)+\d+(?:\.\d+)?")
_MARKS = re.compile(r"[,.?!:;]")


def parts_of(answer: Any) -> tuple[str, ...]:
    """The texts of an answer, nested or not: keys and values, in its order.

    Truths and numbers are written as in :mod:`igpo_gym.data.answers`. The texts are what ``Question.parts``
    holds.
    """
    return tuple(_texts(answer))


def _texts(answer: Any) -> Iterator[str]:
    if isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from (*_texts(key), *_texts(value))
    elif isinstance(answer, list | tuple):
        for each in answer:
            yield from _texts(each)
    elif isinstance(answer, bool | int | float):
        yield answer_text(answer)
    else:
        yield str(answer).strip()


def share_of_parts(prediction: str | None, parts: Sequence[str]) -> float:
    """The share of the parts that stand in the prediction, in [0, 1]; no prediction has none.

    Both are compared as whole words, in lower case and NFC, without the marks ``,.?!:;`` and the commas of
    thousands. Raises TypeError for parts that are one string.
    """
    if isinstance(parts, str):
        raise TypeError("parts must be a sequence of strings, found one string")
    if prediction is None:
        return 0.0
    said = _normalized(prediction)
    return sum(_stands_in(_normalized(part), said) for part in parts) / len(parts)


def _normalized(text: str) -> str:
    text = unicodedata.normalize("NFC", text).lower()
    text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
    return " ".join(_MARKS.sub("", text).split())


def _stands_in(part: str, said: str) -> bool:
    # The script's \b would never find a part that begins or ends with a sign, such as "$5".
    return re.search(rf"(?<!\w){re.escape(part)}(?!\w)", said) is not None
