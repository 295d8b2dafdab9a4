"""What the text of a question says, whatever signs it is written with: by this two questions are one.

Answers are compared otherwise, by the rules of the published scripts (:mod:`igpo_gym.data.metrics`), which
know ASCII's punctuation alone, and join what it parts.
"""

from __future__ import annotations

import re
import unicodedata

from igpo_gym.data.metrics import normalize
from igpo_gym.text import folded

_ARTICLES = frozenset({"a", "an", "the"})

_APOSTROPHES = dict.fromkeys(map(ord, "'’‘‛′`´ʹʻʼˈ＇"))
"""Those of them that are letters or marks to Unicode too, so they go before anything is folded."""

_POINTS = re.compile(r"(?<=[^\W\d_])\.(?=[^\W\d_])")
"""Those between two letters."""

_MEANING = re.compile(r"[+=±×÷#%$€£¥]|(?<=\d)[./^](?=\d)|(?<!\w)[-−](?=\d)")
"""Signs that make another question: C++, C#, -5, 1.5, 1/2, 5%."""

_WORDS = {"+": "plus", "-": "minus", "−": "minus", ".": "point"}
"""For those whose names in Unicode are not the same for all signs of one meaning, or not plain."""


def wording(text: str) -> str:
    """The words of a question's text: letters and digits of any script, and symbols such as emoji.

    Compatible forms and letter case are one (NFKC, casefold), English articles go, and so do apostrophes and
    the points of initials, without a gap; a sign that means something is a word, and other punctuation parts
    words. A text without words stays as it is.

    >>> wording("Who designed C++?"), wording("What is -5 + 1.5?")
    ('who designed c plus plus', 'what is minus 5 plus 1 point 5')
    >>> wording("Who wrote  Poland’s “The Tin Drum”, 1958–1959?")
    'who wrote polands tin drum 1958 1959'
    >>> wording("In the U.S.A. ¿Quién? 谁写了铁皮鼓？"), wording("?!")
    ('in usa quién 谁写了铁皮鼓', '?!')
    """
    signs = "".join(map(_sign, _POINTS.sub("", _spelled(folded(text.translate(_APOSTROPHES))))))
    return " ".join(word for word in signs.split() if word not in _ARTICLES) or text.strip()


def forms(text: str) -> frozenset[str]:
    """The forms by which a question is known: its wording, and the normal form that answers are compared by.

    Two texts that share one of them are one question.

    >>> forms("Is 1,000 more?") & forms("Is 1000 more?"), forms("Who’s “he”?") & forms('Whos "he"?')
    (frozenset({'is 1000 more'}), frozenset({'whos he'}))
    """
    return frozenset((wording(text), normalize(_spelled(folded(text))) or text.strip()))


def _spelled(text: str) -> str:
    """The text with a word for each sign that means something."""
    return _MEANING.sub(lambda sign: f" {_WORDS.get(sign[0]) or unicodedata.name(sign[0])} ", text)


def _sign(sign: str) -> str:
    """A sign of a word as it is; a space for one that parts words, nothing for one that is not seen."""
    kind = unicodedata.category(sign)
    if kind[0] in "LMN" or kind == "So":
        return sign
    return "" if kind == "Cf" else " "  # Cf: a soft hyphen, a mark of direction
