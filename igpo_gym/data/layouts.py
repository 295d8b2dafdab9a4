"""The loader of a question file that is given without its format, found out by the file's first record."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path

from igpo_gym.data.files import json_lines, open_bytes
from igpo_gym.data.hotpotqa import load_hotpotqa
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.jsonl import load_jsonl

HOTPOTQA_FIELDS = {"supporting_facts", "context"}
"""What a record of HotpotQA has, and no plain one."""


def load_any(path: str) -> QuestionSet:
    """The questions of a file, in whichever of the known layouts it is; the set's name says which was taken.

    A JSON array, and records with HotpotQA's fields, are HotpotQA; other JSON lines are plain. Raises
    DataError for what is wrong with the file.
    """
    return load_hotpotqa(path) if _is_hotpotqa(Path(path)) else load_jsonl(path)


def _is_hotpotqa(path: Path) -> bool:
    with open_bytes(path) as file, suppress(OSError, EOFError, ValueError):
        if file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            return True
    with suppress(ValueError):
        return any(HOTPOTQA_FIELDS & record.keys() for _, record in islice(json_lines(path), 1))
    return False  # the loader says what is wrong with it, and where
