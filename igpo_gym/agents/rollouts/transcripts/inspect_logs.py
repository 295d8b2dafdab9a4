"""Logs of Inspect (``.eval`` or ``.json``), sample by sample, through the library ``inspect_ai``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from igpo_gym.agents.rollouts.transcripts.fields import about, number
from igpo_gym.agents.rollouts.transcripts.interface import Transcript, TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.messages import are_messages, dialogue
from igpo_gym.data.rows import Row
from igpo_gym.errors import DataError
from igpo_gym.libraries import needs

_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's grades as numbers: correct, partly correct, incorrect, no answer."""


def samples(path: Path) -> Iterator[Row]:
    """The samples of a log, one at a time. DataError for what is no log; MissingExtraError without
    inspect_ai."""
    with needs("reading Inspect's logs", "inspect", "inspect_ai"):
        from inspect_ai.log import read_eval_log_samples
    number = 0
    try:
        for sample in read_eval_log_samples(
            str(path),
            all_samples_required=False,
            resolve_attachments=True,
            exclude_fields={"events", "store"},
        ):
            number += 1
            yield Row(sample.model_dump(mode="json", exclude={"events", "store"}), number, "entry")
    except DataError:
        raise
    except Exception as problem:  # the library raises what it meets
        raise DataError(
            path, f"not a whole log of Inspect after sample {number}: {_reason(problem):.200}"
        ) from None


def _reason(problem: Exception) -> str:
    """What the library raised. Of pydantic's errors the fields and what they should be: its own text shows
    their values, which may be gold answers."""
    if not callable(errors := getattr(problem, "errors", None)):
        return repr(problem)
    return ", ".join(f"{'.'.join(map(str, each['loc']))}: {each['type']}" for each in errors())


def fits(fields: Mapping[str, Any]) -> bool:
    """Whether a record is a sample of a log."""
    return {"input", "target", "messages", "epoch"} <= fields.keys() and are_messages(fields["messages"])


def read(row: Row) -> list[Transcript]:
    """The transcript of a sample. Its epochs are attempts at one question."""
    fields = row.fields
    told = about({name: fields.get(name) for name in ("target", "metadata", "id", "error")})
    asked = fields.get("input")
    told = replace(
        told,
        question=asked if isinstance(asked, str) else told.question,
        stopped=str(fields.get("limit") or fields.get("error") or ""),
        told={name: _number(score) for name, score in _scores(fields) if _number(score) is not None},
    )
    return [dialogue(fields["messages"], told)]


def _scores(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    scores = fields.get("scores")
    return [
        (f"scores.{name}", score.get("value"))
        for name, score in (scores.items() if isinstance(scores, Mapping) else ())
        if isinstance(score, Mapping)
    ]


def _number(value: Any) -> Any:
    return _GRADES.get(value) if isinstance(value, str) else number(value)


LAYOUT = TranscriptLayout("inspect", "a sample of a log, with input, target, messages and epoch", fits, read)
