"""What the scripts that draw the documents' pictures share."""

from __future__ import annotations

from pathlib import Path

LARGEST = 150_000
"""Bytes of a picture."""


def told(picture: Path) -> None:
    """Print how large a picture is. SystemExit for one that is too large to keep."""
    size = picture.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{picture} has {size} bytes; at most {LARGEST} are allowed")
    print(picture, size)
