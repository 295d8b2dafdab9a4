"""What the belief server and its clients say to each other: requests and beliefs as JSON.

Nothing that is read here is believed: what is not as it should be is a ValueError that names the field and
shows no answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from igpo_gym.episode import Author, Belief, Role, Segment
from igpo_gym.protocols import ANSWER_PROBE, AnswerProbe
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.prompts import belief_of
from igpo_gym.text import well_formed

KIND = "igpo-gym beliefs"
"""How a belief server names itself."""

WEIGHTS_TOKEN = "IGPO_GYM_WEIGHTS_TOKEN"
"""The environment variable with the token that ``POST /weights`` wants, at the server and at the trainer."""

MAX_ANSWERS = 1024
"""How many answers a request may ask about."""

TOO_LONG = "too_long"
"""The key under which the server says, in the place of a belief, that a transcript is too long."""


@dataclass(frozen=True, slots=True)
class WireRequest:
    """A request as it comes over the wire."""

    request: BeliefRequest
    ids: tuple[int, ...] | None = None
    """The transcript in token ids, in the place of the request's segments."""
    session: str = ""
    """A hint: requests of one session are read next to each other."""


def write_request(request: BeliefRequest) -> dict[str, Any]:
    """A request as JSON.

    >>> prompt = Segment("environment", "user", "Where is Danzig?")
    >>> asked = write_request(BeliefRequest((prompt,), ("Poland",), AnswerProbe("It is in ", ".")))
    >>> asked["segments"]
    [{'author': 'environment', 'role': 'user', 'text': 'Where is Danzig?'}]
    >>> read_request(asked).request.probe.prefix
    'It is in '
    """
    return {
        "segments": [_written(segment) for segment in request.segments],
        "answers": list(request.answers),
        "probe": {"prefix": request.probe.prefix, "suffix": request.probe.suffix},
    }


def _written(segment: Segment) -> dict[str, Any]:
    written = {"author": segment.author, "role": segment.role, "text": segment.text}
    if segment.ids is None:
        return written
    return {**written, "ids": list(segment.ids), "vocabulary": segment.vocabulary}


def read_request(item: Any) -> WireRequest:
    """A request from JSON: a transcript (``segments``, chat ``messages`` or token ``ids``), ``answers``, and
    perhaps a ``probe`` and a ``session``. Raises ValueError for what is none.
    """
    if not isinstance(item, dict):
        raise ValueError("a request must be an object with a transcript and answers")
    given = [name for name in _TRANSCRIPTS if name in item]
    if len(given) != 1:
        raise ValueError(
            f"a request has one of {', '.join(_TRANSCRIPTS)}, not {' and '.join(given) or 'none'}"
        )
    answers = tuple(_text(answer, "an answer") for answer in _list(item, "answers"))
    if not 0 < len(answers) <= MAX_ANSWERS:
        raise ValueError(f"a request has 1 to {MAX_ANSWERS} answers, not {len(answers)}")
    session = _text(item.get("session", ""), "session")
    request = BeliefRequest((), answers, _probe(item.get("probe")))
    if given == ["ids"]:
        return WireRequest(request, _ids(item["ids"], "ids"), session)
    read = _TRANSCRIPTS[given[0]]
    segments = tuple(read(each) for each in _list(item, given[0]))
    return WireRequest(replace(request, segments=segments), None, session)


def write_belief(belief: Belief) -> dict[str, Any]:
    """A belief as JSON: for each answer its mean log-probability and those of its tokens, in nats."""
    written = {"log_probs": belief.log_probs, "token_log_probs": belief.token_log_probs}
    return {**written, "joined": belief.joined} if belief.joined else written


def read_belief(item: Any, answers: int, weights: str) -> Belief:
    """A belief in so many answers from JSON. Raises ValueError for what is none.

    >>> read_belief({"token_log_probs": [[-1.0, -3.0]]}, 1, "v1").log_probs
    (-2.0,)
    """
    tokens = item.get("token_log_probs") if isinstance(item, dict) else None
    if not isinstance(tokens, list) or len(tokens) != answers or not all(map(_are_numbers, tokens)):
        raise ValueError(f"its answer has no token_log_probs of {answers} answers")
    joined = item.get("joined", ())
    if not isinstance(joined, (list, tuple)) or not all(isinstance(each, bool) for each in joined):
        raise ValueError("joined is no list of true and false")
    return replace(belief_of(tokens), joined=tuple(joined), weights=weights)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and bool(values) and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    """Whether it can be a log-probability: no bool, no nan, no number beyond all floats."""
    return type(value) in (int, float) and -sys.float_info.max <= value <= sys.float_info.max


def _segment(item: Any) -> Segment:
    if not isinstance(item, dict):
        raise ValueError("a segment must be an object with author, role and text")
    ids = item.get("ids")
    return Segment(
        _one_of(item.get("author"), get_args(Author), "author"),
        _one_of(item.get("role"), get_args(Role), "role"),
        _text(item.get("text"), "text"),
        None if ids is None else _ids(ids, "ids"),
        vocabulary=_text(item.get("vocabulary", ""), "vocabulary"),
    )


def _message(item: Any) -> Segment:
    if not isinstance(item, dict):
        raise ValueError("a message must be an object with role and content")
    role = _one_of(item.get("role"), get_args(Role), "role")
    content = _text(item.get("content"), "content")
    return Segment("agent" if role == "assistant" else "environment", role, content)


_TRANSCRIPTS: Mapping[str, Callable[[Any], Any]] = {"segments": _segment, "messages": _message, "ids": int}
"""The forms of a transcript, and what reads one part of each."""


def _list(item: Mapping[str, Any], name: str) -> list[Any]:
    found = item.get(name)
    if not isinstance(found, list):
        raise ValueError(f"{name} must be a list")
    return found


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {type(value).__name__}")
    return well_formed(value)


def _one_of(value: Any, known: tuple[Any, ...], name: str) -> Any:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r:.40}")
    return value


def _ids(value: Any, name: str) -> tuple[int, ...]:
    # True is an int to Python, and no token id.
    if not isinstance(value, list) or not all(type(number) is int and number >= 0 for number in value):
        raise ValueError(f"{name} must be a list of token ids")
    return tuple(value)


def _probe(value: Any) -> AnswerProbe:
    if value is None:
        return ANSWER_PROBE
    if not isinstance(value, dict):
        raise ValueError("probe must be an object with prefix and suffix")
    return AnswerProbe(_text(value.get("prefix"), "prefix"), _text(value.get("suffix", ""), "suffix"))
