"""How an episode is laid out in a record, and what is checked where it is made of one again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import chain
from typing import Any, SupportsAbs

from igpo_gym.agents.rollouts.records.shapes import checked, fits
from igpo_gym.agents.rollouts.records.version1 import episode_fields as version1_fields
from igpo_gym.data.protection import hidden, sealed
from igpo_gym.data.scores import JUDGE, PARTS, all_scores, final_scores
from igpo_gym.episode import (
    UNREAD,
    Action,
    Answer,
    Belief,
    BeliefView,
    Branch,
    EndReason,
    Episode,
    Invalid,
    Passage,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.numbers import ROUNDING
from igpo_gym.rewards import RewardFunction, split

FORMAT = 2

DEEPEST = 100
"""How deep the values of a record may be: what shows or writes them again calls itself for each level."""

_KNOWN = frozenset(
    (
        *(
            "settings",
            "format",
            "question",
            "attempt",
            "branch",
            "max_turns",
            "end",
            "prediction",
            "em",
            "f1",
            "cover_em",
            PARTS.name,
            JUDGE,
        ),
        *("prompt", "turns", "beliefs", "views", "measured", "instruments", "rewards"),
    )
)
"""What an episode is made of, and what follows from it; what else a record holds is kept."""


def to_record(
    episode: Episode, reward: RewardFunction | None = None, *, clear_text: bool = False
) -> dict[str, Any]:
    """An ended episode as JSON values, with its scores for whoever reads the file without this package.

    A question of a protected set, and what was played of it, is shown without texts
    (:mod:`igpo_gym.data.protection`), unless ``clear_text`` asks for them. With the ``reward`` that it
    was paid, the record tells how it splits into the turns' gains and the outcome (see
    :func:`igpo_gym.rewards.split`). docs/records.md describes every field.
    """
    divided = {} if reward is None else {"split": dataclasses.asdict(split(episode, reward))}
    record = {
        "format": FORMAT,
        "question": _question_record(episode.question),
        "attempt": episode.attempt,
        **({} if episode.branch is None else {"branch": dataclasses.asdict(episode.branch)}),
        "max_turns": episode.max_turns,
        "end": episode.end,
        "prediction": episode.prediction,
        **final_scores(episode),
        "prompt": [_segment_record(segment) for segment in episode.prompt],
        "turns": [_turn_record(turn) for turn in episode.turns],
        "beliefs": [_belief_record(belief) for belief in episode.beliefs],
        "views": [
            {
                **dataclasses.asdict(view),
                "beliefs": [_belief_record(beliefs[view]) for beliefs in episode.views],
            }
            for view in (episode.views[0] if episode.views else ())
        ],
        "measured": episode.measured,
        "instruments": dict(episode.instruments),
        "rewards": episode.rewards,
        **episode.extra,
        **divided,
    }
    question = episode.question
    if clear_text or not question.protected or hidden(question):
        return record
    return sealed(question, record, all_scores(episode))


def from_record(record: Mapping[str, Any]) -> Episode:
    """The episode that :func:`to_record` wrote, or a record of version 1.

    AttributeError, KeyError, TypeError or ValueError for anything else, such as an episode without turns.
    """
    if not record["turns"]:
        raise ValueError("an episode without turns")
    if not _within(record, DEEPEST):
        raise ValueError(f"lists and objects that stand in each other more than {DEEPEST} deep")
    fields = version1_fields(record) if record["format"] == 1 else record
    check_kept(fields)
    episode = Episode(
        question=_question(fields["question"]),
        prompt=tuple(map(_segment, fields["prompt"])),
        turns=[_turn(turn) for turn in fields["turns"]],
        beliefs=[_belief(belief) for belief in fields["beliefs"]],
        views=_views(fields.get("views", [])),
        measured=[dict(values) for values in fields.get("measured", [])],
        instruments=dict(fields.get("instruments", {})),
        rewards=fields["rewards"],
        end=None if fields["end"] is None else EndReason(fields["end"]),
        attempt=fields.get("attempt", 0),
        max_turns=fields.get("max_turns"),
        branch=Branch(**fields["branch"]) if fields.get("branch") else None,
        extra={name: value for name, value in fields.items() if name not in _KNOWN},
    )
    if hidden(episode.question) and not {"em", "f1"} <= fields.get("sealed", {}).keys():
        raise ValueError("a hidden question without the scores of its answer")
    checked(episode)
    if len(episode.rewards) not in (0, len(episode.turns)):
        raise ValueError(f"rewards of {len(episode.rewards)} turns, in an episode of {len(episode.turns)}")
    told = (*episode.rewards, episode.extra.get("sealed", {}))
    if not all(math.isfinite(value) for values in told for value in values.values()):
        raise ValueError("a reward or a score that is not finite")
    return episode


def _within(value: Any, depth: int) -> bool:
    """Whether lists and objects stand in each other no deeper than that."""
    inner = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(_within(each, depth - 1) for each in inner if isinstance(each, dict | list))


_KEPT = {UNREAD: list[int], "sealed": dict[str, float]}
"""What an episode keeps beside its fields and others compute with, and of which type it is."""


def check_kept(record: Mapping[str, Any]) -> None:
    """Raise TypeError where what others compute with is of a wrong type."""
    for name, kind in _KEPT.items():
        if name in record and not fits(record[name], kind):
            raise TypeError(f"the {name} of an episode must be {kind}")


def _question_record(question: Question) -> dict[str, Any]:
    """A question without what few have."""
    values = dataclasses.asdict(question)
    common = {
        "protected": False,
        "parts": (),
        "evidence_titles": (),
        "evidence_match": "id",
        "evidence_texts": (),
    }
    return {name: value for name, value in values.items() if common.get(name) != value}


def _question(record: Mapping[str, Any]) -> Question:
    lists = ("answers", "evidence", "evidence_titles", "evidence_texts", "parts")
    return Question(**{**record, **{name: tuple(record.get(name, ())) for name in lists}})


def _belief_record(belief: Belief) -> dict[str, Any]:
    known = {
        "token_log_probs": belief.token_log_probs,
        "joined": belief.joined,
        "weights": belief.weights,
        "unread": belief.unread,
    }
    return {"log_probs": belief.log_probs, **{name: value for name, value in known.items() if value}}


def _belief(record: Mapping[str, Any]) -> Belief:
    tokens = record.get("token_log_probs", ())
    joined = tuple(record.get("joined", ()))
    weights = str(record.get("weights", ""))
    told = tuple(record["log_probs"]), tuple(tuple(answer) for answer in tokens)
    belief = Belief(*told, joined, weights, record.get("unread", False))
    if not belief.log_probs or not all(each <= ROUNDING for each in belief.log_probs):
        raise ValueError(f"no log-probabilities of answers: {belief.log_probs!r:.60}")
    return belief


def _views(records: list[dict[str, Any]]) -> list[dict[BeliefView, Belief]]:
    """For each state the beliefs by all views, from all states' beliefs by each."""
    tracks = {
        BeliefView(**{name: value for name, value in record.items() if name != "beliefs"}): record["beliefs"]
        for record in records
    }
    states = zip(*tracks.values(), strict=True)
    return [{view: _belief(belief) for view, belief in zip(tracks, state, strict=True)} for state in states]


def _segment_record(segment: Segment) -> dict[str, Any]:
    """A segment without what it does not know."""
    values = {field: getattr(segment, field.name) for field in dataclasses.fields(segment)}
    return {field.name: value for field, value in values.items() if value != field.default}


def _segment(record: Mapping[str, Any]) -> Segment:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in record.items()
    }
    return Segment(**fields)


def _turn_record(turn: Turn) -> dict[str, Any]:
    return {
        "message": turn.message,
        "action": {"kind": turn.action.kind, **dataclasses.asdict(turn.action)},
        "segments": [_segment_record(segment) for segment in turn.segments],
        "results": [_result_record(result) for result in turn.results],
        "observation": turn.observation,
        "cut": turn.cut,
    }


def _result_record(result: ToolResult) -> dict[str, Any]:
    """A result; a score that is no finite number, which JSON does not have, is 0."""
    values = dataclasses.asdict(result)
    for passage in chain.from_iterable(values["passages"]):
        if isinstance(score := passage["score"], SupportsAbs) and not abs(score) < math.inf:
            passage["score"] = 0.0
    return values


def _turn(record: Mapping[str, Any]) -> Turn:
    return Turn(
        message=record["message"],
        action=_action(record["action"]),
        segments=tuple(map(_segment, record["segments"])),
        results=tuple(map(_result, record["results"])),
        observation=record["observation"],
        cut=record["cut"],
    )


def _result(record: Mapping[str, Any]) -> ToolResult:
    passages = tuple(tuple(Passage(**passage) for passage in found) for found in record["passages"])
    return ToolResult(record["text"], passages, record["failed"])


def _action(record: Mapping[str, Any]) -> Action:
    kind = record["kind"]
    if kind == ToolCalls.kind:
        return ToolCalls(tuple(ToolCall(call["tool"], call["arguments"]) for call in record["calls"]))
    return Answer(record["text"]) if kind == Answer.kind else Invalid(record["reason"])
