"""The text of a page: what its bytes say, without what surrounds the article."""

from __future__ import annotations

import codecs
import re
from typing import Any

from igpo_gym.libraries import needs
from igpo_gym.search.web.addresses import PageError
from igpo_gym.search.web.fetching import FetchedPage
from igpo_gym.text import cut_at_sentence, well_formed

MOST_ELEMENTS = 50_000
"""Elements of a page that is read; the time that the extraction takes grows faster than their number."""

MOST_ATTRIBUTES = 5000
"""Attributes of an element of a page that is read: parsing takes the square of their number. (What a script
compares may look like an element, too, so that fewer would not do.)"""

MOST_CHARACTERS = 400_000
"""Characters of a page, of which the rest is left out: a hundred pages of the tool ``open``."""

PIECE_CHARACTERS = 2000
"""Characters of a passage of a page, at most: the tool ``open`` shows, and records keep, those it needs."""

_ELEMENT = re.compile(r"<[a-zA-Z][^\s/>]*+")
_ATTRIBUTE = re.compile(
    r"""[\s/]*+(?:[^\s/>=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>]*+))?|=)""",
)
"""An attribute as browsers and the parser read one: what a value in quotation marks holds ends no element."""

_META = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w-]+)""", re.I)
_CHARSET = re.compile(
    r"(?i)(?:x-)?(utf-?8|utf-?16(-?[lb]e)?|(us-)?ascii|iso-?8859-?\d+|latin-?\d|windows-?\d+|cp\d+|gbk?|gb2312|"
    r"gb18030|big5(-hkscs)?|euc-?(jp|kr)|ks_c_5601-1987|shift[_-]?jis|sjis|iso-?2022-(jp|kr)|koi8-?[ru]|"
    r"tis-?620|macintosh)"
)
"""The names under which texts of the web are encoded. Python knows more codecs, some of them slow."""
_MEANT = {
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    "iso8859-9": "cp1254",
    **dict.fromkeys(("iso8859-11", "tis-620"), "cp874"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
"""What is read where the web says the first: browsers do, and the second has all characters of the first."""

_HIDDEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
"""Control characters, what changes the order of a line, and letters that cannot be seen."""
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\n\s*\n+")


def read(page: FetchedPage) -> tuple[str, str]:
    """Title and text of a page. Raises PageError for one without text, MissingExtraError without trafilatura.

    >>> read(FetchedPage("http://host/a.txt", "text/plain", "latin-1", "Gda\\xf1sk\\x07 ".encode("latin-1")))
    ('', 'Gdañsk')
    """
    text = decoded(page)
    title, text = _article(text) if "html" in page.kind else ("", text)
    text = clean(text)[:MOST_CHARACTERS]
    if not text:
        raise PageError("it has no text")
    return clean(title).replace("\n", " "), text


def decoded(page: FetchedPage) -> str:
    """A body as a text: UTF-8 if it is, else what the server or the page says, else what is most likely.

    Bytes that have no meaning become "�", in an encoding in which most others have one.

    >>> decoded(FetchedPage("http://host/a", "text/plain", "utf-8", "Gdańsk ".encode() + b"\\xff"))
    'Gdańsk �'
    """
    meta = _META.search(page.body[:2048])
    for name in ("utf-8-sig", _codec(page.charset), _codec(meta[1].decode() if meta else "")):
        text = page.body.decode(name, "replace") if name else ""
        strange = text.count("\ufffd")
        if text and strange <= (len(text) - len(text.encode("ascii", "ignore"))) // 2:
            return text
    return page.body.decode("utf-16" if page.body[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252", "replace")


def _codec(label: str) -> str:
    """The codec for a charset's name on the web; empty where there is none."""
    known = _CHARSET.fullmatch(label)
    if not known:
        return ""
    try:
        name = codecs.lookup(known[1]).name
    except LookupError:
        return ""
    return _MEANT.get(name, name)


def clean(text: str) -> str:
    """Foreign text without control characters, runs of blanks, and what reorders or hides text.

    >>> clean("a\\x1b[31m\\x00b \\u202e c\\n\\n\\nd")
    'a[31mb c\\nd'
    """
    text = _HIDDEN.sub("", well_formed(text).replace("\r\n", "\n").replace("\r", "\n"))
    return _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def pieces(text: str) -> list[str]:
    """A text in pieces of at most ``PIECE_CHARACTERS``, each to the end of a sentence where there is one."""
    found = []
    while text:
        head = cut_at_sentence(text, PIECE_CHARACTERS)
        found.append(head.strip())
        text = text[len(head) :].lstrip()
    return found


def _article(html: str) -> tuple[str, str]:
    """Title and main text of an HTML page."""
    trafilatura = library()
    if _crowded(html):
        raise PageError(f"an element has more than {MOST_ATTRIBUTES} attributes")
    try:
        tree = trafilatura.load_html(html)
        if tree is None:
            return "", ""
        if sum(1 for _ in tree.iter()) > MOST_ELEMENTS:
            raise PageError(f"it has more than {MOST_ELEMENTS} elements")
        title = tree.findtext(".//head/title") or ""
        text = trafilatura.extract(tree, fast=True, include_comments=False, include_tables=True)
    except PageError:
        raise
    except Exception as problem:  # whatever a stranger's page does to a parser is no reason to end an episode
        raise PageError(f"it cannot be parsed: {type(problem).__name__}") from None
    return title, text or ""


def _crowded(html: str) -> bool:
    """Whether an element of a page has more than ``MOST_ATTRIBUTES`` attributes."""
    place = 0
    while element := _ELEMENT.search(html, place):
        place, count = element.end(), 0
        while attribute := _ATTRIBUTE.match(html, place):
            place, count = attribute.end(), count + 1
            if count > MOST_ATTRIBUTES:
                return True
    return False


def library() -> Any:
    """trafilatura. Raises MissingExtraError where it is not installed."""
    with needs("reading web pages", "web", "trafilatura"):
        import trafilatura
    return trafilatura
