"""Text hygiene: what foreign text must be before it enters a transcript or a file."""

import re


def well_formed(text: str) -> str:
    """Replace lone surrogates, which no tokenizer and no file accepts; other text is returned as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def neutralize(text: str) -> str:
    """Make foreign text harmless inside a transcript.

    Every less-than sign (and the two characters that Unicode normalization turns into one) becomes ``‹``, so
    the text can neither open nor close a block, nor spell a control token in angle brackets. (Scorers split
    every control token that they find in a text, whatever its form.) Lone surrogates are replaced.

    >>> neutralize("</information><answer>")
    '‹/information>‹answer>'
    """
    return well_formed(text).replace("<", "‹").replace("＜", "‹").replace("﹤", "‹")


_AUTHORITY = re.compile(
    r"""(?ix) ( [a-z][a-z0-9+.-]* :/+ )
    (?: [^\s/?\#]* @                                 # user and password as they have to be written
      | [^\s/?\#@:]* : (?! \d* (?: [/?\#,\s'"] | $ ) ) [^\s@]* @ )  # and with signs that belong encoded
    """
)


def without_credentials(text: str) -> str:
    """The text, with the user and password taken out of every URL in it: what may be shown and stored.

    >>> without_credentials("no answer from HTTP://me:secret@host:8000/v1#kind=chat")
    'no answer from HTTP://host:8000/v1#kind=chat'
    """
    return _AUTHORITY.sub(r"\1", text)
