"""The card of an evaluation: everything that decides its figures, in a file that another person can run.

``settings`` are the options of ``igpo-gym eval``; ``decided_by`` is what they stood for on the machine where
it was played: versions, fingerprints, the prompt as it was written; ``scores`` is the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from igpo_gym.benchmark.evaluation.measures import Measure
from igpo_gym.benchmark.report import json_text
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Question
from igpo_gym.errors import DataError
from igpo_gym.lm.policy import Policy
from igpo_gym.search.interface import facts_of
from igpo_gym.storage import written_file
from igpo_gym.text import without_credentials

FORMAT = 2

_RENAMED = {"episodes": "limit"}
"""The settings of format 1 that have another name now."""

PACKAGES = ("igpo-gym", "numpy", "torch", "transformers", "bm25s")
"""Packages on whose version a figure may depend."""


def card_of(out: Path) -> Path:
    """Where the card of a recording lies: beside it.

    >>> card_of(Path("runs/nano.jsonl")).as_posix()
    'runs/nano.card.json'
    """
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.card.json")


def again(card: Path) -> Path:
    """Where an evaluation that is played again from a card is recorded, unless another file is named.

    >>> again(Path("runs/nano.card.json")).as_posix()
    'runs/nano.again.jsonl'
    """
    return card.with_name(f"{card.name.removesuffix('.json').removesuffix('.card')}.again.jsonl")


def packages() -> dict[str, str]:
    """The versions of what is installed of ``PACKAGES``."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def earlier_packages(path: Path) -> list[dict[str, str]]:
    """Other versions with which episodes were played that stand beside a card; none without a card."""
    if not path.exists():
        return []
    decided = read_card(path)["decided_by"]
    known = [*decided.get("earlier_packages", []), decided.get("packages", {})]
    return [each for place, each in enumerate(known) if each != packages() and each not in known[:place]]


def prompt_of(engine: Engine) -> list[dict[str, str]]:
    """The messages that open an episode, with ``{question}`` where the question stands."""
    segments = engine.protocol.prompt(Question("", "{question}", ("-",)))
    return [{"role": segment.role, "text": segment.text} for segment in segments]


def set_facts(question_set: QuestionSet, engine: Engine, fingerprints: Mapping[str, Any]) -> dict[str, Any]:
    """What a set and its search are, beyond their specs."""
    retrievers = [each for tool in engine.tools if (each := getattr(tool, "retriever", None)) is not None]
    return {
        "questions": len(question_set.questions),
        "passages": len(question_set.passages),
        **{name: value for name, value in fingerprints.items() if value},
        "retrievers": list(map(_retriever, retrievers)),
    }


def _retriever(retriever: Any) -> dict[str, Any]:
    """What a retriever is. Numbers among its facts count what it has done so far, and are left out."""
    known: dict[str, Any] = {"type": type(retriever).__name__}
    if isinstance(retriever, Sized):
        known["passages"] = len(retriever)
    texts = {name: value for name, value in facts(retriever).items() if isinstance(value, str)}
    return {**known, **{name: without_credentials(value) for name, value in texts.items()}}


def facts(thing: Any) -> dict[str, Any]:
    """What a policy or a retriever tells about itself; of a policy that wraps another, what that tells."""
    inner = getattr(thing, "agent", None)
    return facts_of(thing) or ({} if inner is None else facts(inner))


def decided_by(
    engine: Engine,
    policy: Policy,
    agent_fingerprint: str,
    measures: Sequence[Measure],
    sets: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What decides the figures beside the settings, as it is now."""
    return {
        "packages": packages(),
        "agent": {"fingerprint": agent_fingerprint, **facts(policy)},
        "prompt": prompt_of(engine),
        "judge": str(getattr(engine.judge, "version", "")),
        "measures": {each.name: each.meaning for each in measures},
        "sets": dict(sets),
    }


def write_card(
    path: Path, settings: Mapping[str, Any], decided: Mapping[str, Any], scores: Mapping[str, Any]
) -> None:
    """Write a card; one that is there is replaced."""
    card = {"card": FORMAT, "settings": settings, "decided_by": decided, "scores": scores}
    with written_file(path) as file:
        file.write(json_text(card))


def read_card(path: Path) -> dict[str, Any]:
    """A card. Raises DataError for what is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise DataError(path, f"not JSON that can be read ({problem})") from None
    parts = ("settings", "decided_by", "scores")
    if not isinstance(found, dict) or not all(isinstance(found.get(part), dict) for part in parts):
        raise DataError(path, "no card of an evaluation, as igpo-gym eval writes it beside its records")
    if found.get("card") not in (1, FORMAT):
        told = f"this version reads formats 1 to {FORMAT}"
        raise DataError(path, f"a card of format {found.get('card')!r}; {told}")
    if found["card"] == 1:  # which had another word for the number of questions
        settings = found["settings"]
        found["settings"] = {_RENAMED.get(name, name): value for name, value in settings.items()}
    return found


def differences(then: Any, now: Any, name: str = "") -> Iterator[str]:
    """What differs between two values of JSON, a line for each place.

    >>> list(differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}))
    ['a, c: 2 then, 3 now']
    """
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in {**then, **now}:
            yield from differences(then.get(key), now.get(key), f"{name}, {key}" if name else str(key))
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for place, (old, new) in enumerate(zip(then, now, strict=True)):
            yield from differences(old, new, f"{name}[{place}]")
    elif then != now:
        yield f"{name}: {_short(then)} then, {_short(now)} now"


def _short(value: Any) -> str:
    text = json.dumps(without_credentials(value), ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
