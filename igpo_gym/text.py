"""Text hygiene: what foreign text must be before it enters a transcript or a file."""


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
