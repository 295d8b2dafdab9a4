"""What a page's script reads: a summary of every episode, and the episodes themselves, as JSON values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from igpo_gym.agents.rollouts.branches import compared, steps_of
from igpo_gym.agents.training.estimators import DEFAULT, Estimator, resolve_estimator
from igpo_gym.data.evidence import found_evidence, seen_evidence
from igpo_gym.data.protection import hidden
from igpo_gym.data.scores import final_scores
from igpo_gym.episode import BELIEF, Action, Answer, BeliefView, Episode, Invalid, Question, Turn
from igpo_gym.text import without_credentials
from igpo_gym.viewer.marks import blocks, marked
from igpo_gym.viewer.runs import Shown, ShownRun

TokenNames = Callable[[str], Sequence[str]]
"""From an answer to the texts of the tokens that a scorer reads it as."""


@dataclass(frozen=True, slots=True)
class Data:
    """All that a page shows."""

    summary: dict[str, Any] = field(default_factory=dict)
    """``runs``, ``questions``, and of every episode in ``episodes`` what the lists show."""
    details: list[dict[str, Any]] = field(default_factory=list)
    """Of every episode what its own view shows."""


def page_data(
    runs: Sequence[ShownRun], estimator: str | Estimator = DEFAULT, token_names: TokenNames | None = None
) -> Data:
    """The data of a page.

    ``token_names`` spells the tokens of gold answers, which records do not hold; without it, or where it
    tells another number of them, they are numbered. Raises ValueError where the estimator does not take the
    turns.
    """
    estimator = resolve_estimator(estimator)
    questions: dict[tuple[str, str], int] = {}
    told: list[dict[str, Any]] = []
    keys: set[str] = set()
    groups: dict[tuple[int, Hashable], int] = {}
    data = Data()
    for number, run in enumerate(runs):
        rewards = list(dict.fromkeys(name for each in run.episodes for name in each.paid))
        worth = {name: run.advantages(name, estimator) for name in rewards}
        for place, each in enumerate(run.episodes):
            question = each.episode.question
            if (question.id, question.text) not in questions:
                questions[question.id, question.text] = len(questions)
                told.append(asked(question))
            group = number, compared(each.settings, each.episode)
            advantages = {name: values[place] for name, values in worth.items() if values[place]}
            data.summary.setdefault("episodes", []).append(
                {
                    "key": _key(number, each.episode, keys),
                    "run": number,
                    "question": questions[question.id, question.text],
                    "group": groups.setdefault(group, len(groups)),
                    **summary(each),
                }
            )
            data.details.append(details(each, advantages, token_names))
    data.summary.update(runs=[run.name for run in runs], questions=told, estimator=estimator.name)
    return data


def as_json(value: Any) -> str:
    """A value as compact JSON that can stand in a ``<script>`` block: it holds no ``<``.

    >>> as_json({"text": "</script>", "gain": float("nan"), "belief": 1 / 3})
    '{"text":"\\\\u003c/script>","gain":null,"belief":0.33333}'
    """
    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def summary(shown: Shown) -> dict[str, Any]:
    """What lists show of an episode; one that runs or was aborted has no score."""
    episode, settings = shown.episode, shown.settings
    beliefs = [belief.prob for belief in episode.beliefs]
    return {
        "attempt": episode.attempt,
        "step": next((str(step) for step in steps_of(settings, episode) if step is not None), None),
        "branch": None if episode.branch is None else [episode.branch.attempt, episode.branch.turn],
        "end": episode.end or "running",
        "turns": len(episode.turns),
        "prediction": episode.prediction,
        "agent": str(settings.get("agent", "")),
        "set": without_credentials(str(settings.get("questions") or episode.question.source)),
        "scores": final_scores(episode),
        "beliefs": beliefs,
        "unread": [state for state in sorted(episode.unread) if episode.is_unread(state)],
        "gain": episode.belief_gain,
        "returns": {
            name: sum(value for terms in paid.terms for value in terms.values())
            for name, paid in shown.paid.items()
        },
    }


def details(
    shown: Shown, advantages: Mapping[str, Sequence[float]], token_names: TokenNames | None = None
) -> dict[str, Any]:
    """What the view of an episode shows."""
    episode = shown.episode
    return {
        "settings": {
            name: value
            for name, value in shown.settings.items()
            if value not in (None, "") and not name.endswith(("_hash", "_fingerprint"))
        },
        "prompt": [{"role": segment.role, "text": segment.text} for segment in episode.prompt],
        "turns": [_turn(episode, turn) for turn in episode.turns],
        "rewards": {
            name: {"terms": [dict(terms) for terms in paid.terms], "advantages": advantages.get(name)}
            for name, paid in shown.paid.items()
        },
        "answers": _answer_tokens(episode, token_names),
        "views": _views(episode),
        "measured": episode.measured,
    }


def asked(question: Question) -> dict[str, Any]:
    """What is shown of a question."""
    return {
        "id": question.id,
        "text": question.text,
        "answers": question.answers,
        "hops": question.hops,
        "source": question.source,
        "evidence": len(question.evidence),
        "protected": hidden(question),
    }


def _key(run: int, episode: Episode, taken: set[str]) -> str:
    """How an episode is called in the page's address."""
    key = base = f"{run + 1}.{episode.question.id}.{episode.attempt + 1}"
    number = 2
    while key in taken:  # several sets of questions in one file may share ids
        key, number = f"{base}.{number}", number + 1
    taken.add(key)
    return key


def _turn(episode: Episode, turn: Turn) -> dict[str, Any]:
    question = episode.question
    seen = seen_evidence(question, [turn])
    golden = [each for each in turn.passages if found_evidence(question, [each]) & seen]
    answers = () if hidden(question) else question.answers
    told = next((each for each in turn.segments if each.author == "agent"), None)
    tokens = None
    if told is not None and told.log_probs is not None and told.tokens:
        tokens = {"texts": told.tokens, "log_probs": told.log_probs}
    return {
        "action": _action(turn.action),
        "message": [[tag, marked(text, (), answers)] for tag, text in blocks(turn.message)],
        "tokens": tokens,
        "weights": told.weights if told else "",
        "reply": marked(turn.observation.strip("\n"), [each.text for each in golden], answers)
        if turn.observation
        else [],
        "passages": [[each.title or each.id, each in golden] for each in turn.passages],
        "cut": turn.cut,
        "failed": turn.failed,
    }


def _action(action: Action) -> dict[str, Any]:
    if isinstance(action, Answer):
        return {"kind": "answer", "text": action.text}
    if isinstance(action, Invalid):
        return {"kind": "invalid", "text": action.reason}
    return {"kind": "tools", "calls": [[call.tool, _arguments(call.arguments)] for call in action.calls]}


def _arguments(arguments: Mapping[str, Any]) -> str:
    """A call's arguments in a line: the first one alone as it is, others with their names."""
    texts = [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in arguments.values()
    ]
    named = [f"{name}={text}" for name, text in zip(arguments, texts, strict=True)]
    return ", ".join([*texts[:1], *named[1:]])


def _answer_tokens(episode: Episode, names: TokenNames | None) -> list[dict[str, Any]]:
    """For each gold answer its tokens, and for each state the log-probability of each of them."""
    states = [belief.token_log_probs for belief in episode.beliefs]
    if not states or not all(states):
        return []
    found = []
    for place, answer in enumerate(episode.question.answers[: min(map(len, states))]):
        rows = [state[place] for state in states]
        texts = list(names(answer)) if names and not hidden(episode.question) else []
        fits = all(len(row) == len(texts) for row in rows)
        found.append({"answer": answer, "tokens": texts if fits else None, "log_probs": rows})
    return found


def _views(episode: Episode) -> list[dict[str, Any]]:
    """The beliefs by views that are asked about the answer's probability, beside the one that is drawn."""
    first = episode.views[0] if episode.views else {}
    return [
        {"name": _view_name(view), "beliefs": [state[view].prob for state in episode.views]}
        for view in first
        if view.draw is None
    ]


def _view_name(view: BeliefView) -> str:
    parts = (view.context, view.span, view.model)
    usual = (BELIEF.context, BELIEF.span, BELIEF.model)
    return ", ".join(part for part, plain in zip(parts, usual, strict=True) if part != plain)


def _plain(value: Any) -> Any:
    """A value of JSON's types, with five digits; what is no finite number is None."""
    if isinstance(value, bool | str | int) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    number = float(value)
    return float(f"{number:.5g}") if math.isfinite(number) else None
