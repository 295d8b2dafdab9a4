"""Running a language model: loading, chat rendering, prefix cache, attention, decoding, HTTP transport."""

PACKAGED = ("nano", "nano-base")
"""The language models that ship with the package."""
