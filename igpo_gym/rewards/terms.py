"""The table of reward terms: each prices one turn of an episode by one idea.

A term is a name, a function of ``(episode, turn)`` and what it reads. Turns count from 1; the function may
look at anything up to and including its turn. One that pays on the last turn of an episode as on any other
says so (``last_turn=True``): else that turn has no gain. Write your own like this:

>>> from igpo_gym.rewards import TERMS, RewardFunction, RewardTerm
>>> brevity = RewardTerm("brevity", lambda episode, turn: -len(episode.turns[turn - 1].message) / 1e3,
...                      last_turn=True)
>>> RewardFunction("mine", ((1.0, TERMS["f1"]), (0.5, brevity))).name
'mine'

Registered, or named as "package.module:attribute", it has its place in every sum that is written as a text:

>>> from igpo_gym.rewards import resolve_reward
>>> from igpo_gym.specs import register, unregister
>>> @register("term", "brevity")
... def brief(scale: float = 1000.0) -> RewardTerm:
...     return RewardTerm("brevity", lambda episode, turn: -len(episode.turns[turn - 1].message) / scale)
>>> [term.name for _, term in resolve_reward("f1 + 0.5*brevity(scale=10)").terms]
['f1', 'brevity(scale=10.0)']
>>> unregister("term", "brevity")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import igpo_gym.specs as specs
from igpo_gym.data.evidence import seen_evidence
from igpo_gym.data.scores import JUDGE, Metric, judged, resolve_metric, score
from igpo_gym.episode import BELIEF, Answer, EndReason, Episode, Invalid
from igpo_gym.parameters import Parameter, defaults, make
from igpo_gym.rewards.gains import (
    document_gain,
    gain,
    log_gain,
    measured_gain,
    new_best,
    shaping,
    teacher_gain,
    value_gain,
)
from igpo_gym.rewards.interface import RewardTerm
from igpo_gym.tools.searching import queries

specs.register("instrument", JUDGE, "igpo_gym.rewards.verdicts:Verdicts", form=JUDGE)
for _name in ("http", "https"):
    specs.register("judge", _name, "igpo_gym.rewards.judge:RemoteJudge", form="http://HOST:PORT/v1")


@dataclass(frozen=True, slots=True)
class _AtTheEnd:
    """``metric`` of the prediction, paid on the last turn; a truncated episode predicts nothing."""

    metric: Metric

    def __call__(self, episode: Episode, turn: int) -> float:
        if not episode.done or turn != len(episode.turns):
            return 0.0
        return score(self.metric, episode)


def _verdict(episode: Episode, turn: int) -> float:
    """1 where the judge finds the answer correct, on the last turn. Raises ValueError without a verdict."""
    if not episode.done or turn != len(episode.turns):
        return 0.0
    verdict = judged(episode)
    if verdict is None:
        raise ValueError(f"no judge was asked about the episode on {episode.question.id!r}: give judge=")
    return verdict


def _malformed(episode: Episode, turn: int) -> float:
    """1 at the episode's first invalid message, or at an end without an answer if there was none; else 0."""
    if any(isinstance(played.action, Invalid) for played in episode.turns[: turn - 1]):
        return 0.0
    unanswered = episode.truncated and episode.end is not EndReason.ABORTED and turn == len(episode.turns)
    return float(unanswered or isinstance(episode.turns[turn - 1].action, Invalid))


def _seen_before(episode: Episode, turn: int) -> set[tuple[str, str]]:
    """What earlier turns have shown: a part of a document is not the whole of it."""
    return {(passage.id, passage.text) for played in episode.turns[: turn - 1] for passage in played.passages}


def _evidence_recall(episode: Episode, turn: int) -> float:
    """The share of the gold passages that this turn is the first to find. Raises ValueError without gold."""
    gold = set(episode.question.evidence)
    if not gold:
        raise ValueError(f"evidence-recall needs gold evidence; question {episode.question.id!r} names none")
    found = seen_evidence(episode.question, [episode.turns[turn - 1]])
    return len(found - seen_evidence(episode.question, episode.turns[: turn - 1])) / len(gold)


def _redundancy(episode: Episode, turn: int) -> float:
    """Minus the share of the turn's passages that an earlier turn had found; 0 where it found none."""
    found = [(passage.id, passage.text) for passage in episode.turns[turn - 1].passages]
    seen = _seen_before(episode, turn)
    return -sum(passage in seen for passage in found) / len(found) if found else 0.0


def _search_cost(episode: Episode, turn: int) -> float:
    return float(len(queries(episode.turns[turn - 1].action)))


def _no_search(episode: Episode, turn: int) -> float:
    """1 for an answer in an episode without any search; it is the last turn."""
    answered = isinstance(episode.turns[turn - 1].action, Answer)
    return float(answered and not any(queries(played.action) for played in episode.turns[:turn]))


def _f1(metric: str = "f1") -> RewardTerm:
    """The F1 of the answer, on the last turn, or another ``metric`` of it."""
    return RewardTerm(
        "f1",
        _AtTheEnd(resolve_metric(metric)),
        outcome=True,
        formula="F1 of the answer, or another metric of it, at the end",
        source="SQuAD, HotpotQA",
    )


_PLAIN = (
    RewardTerm(
        "evidence-recall",
        _evidence_recall,
        evidence=True,
        last_turn=True,
        searches=True,
        formula="gold passages found first / gold passages",
        source="StepSearch family, 2505.15107",
    ),
    RewardTerm(
        "redundancy",
        _redundancy,
        last_turn=True,
        searches=True,
        formula="- passages seen before / passages",
        source="StepSearch family, 2505.15107",
    ),
    RewardTerm(
        "search-cost",
        _search_cost,
        last_turn=True,
        searches=True,
        formula="how many queries it searches for: subtract it",
        source="common",
    ),
    RewardTerm(
        "format-penalty",
        _malformed,
        outcome=True,
        formula="1 for the first invalid message, or for an end without an answer: subtract it",
        source="common",
    ),
    RewardTerm(
        "no-search",
        _no_search,
        outcome=True,
        searches=True,
        formula="1 for an answer without any search before it: subtract it",
        source="torchtitan's search example",
    ),
    RewardTerm(
        "em",
        _AtTheEnd(resolve_metric("em")),
        outcome=True,
        formula="exact match, at the end",
        source="SQuAD, HotpotQA",
    ),
    RewardTerm(
        "judge",
        _verdict,
        instruments=(JUDGE,),
        outcome=True,
        formula="1 where a judge finds the answer correct, at the end",
        source="common",
    ),
)
"""The terms without parameters."""


MAKERS: dict[str, Callable[..., RewardTerm] | RewardTerm] = {
    "gain": gain,
    "log-gain": log_gain,
    "new-best": new_best,
    "shaping": shaping,
    "teacher-gain": teacher_gain,
    "document-gain": document_gain,
    "value-gain": value_gain,
    "f1": _f1,
    **{term.name: term for term in _PLAIN},
}
"""The package's terms: a function from parameters, all of which have defaults, to the term, or the term."""

for _name, _make in MAKERS.items():
    specs.register("term", _name, _make)


def parameters(name: str) -> dict[str, Parameter]:
    """The parameters of a term with their defaults. Raises SpecError for an unknown term."""
    return defaults("term", name)


def make_term(name: str, **given: Parameter) -> RewardTerm:
    """A term by name, with parameters (or their texts). Its own name shows those that are not the defaults.

    ``name`` is one of the package's terms, one that was registered, or "package.module:attribute".

    >>> make_term("gain", context="evidence", aliases="max").name
    'gain(context=evidence)'

    Raises SpecError for a name or parameter that is not known, and for values that do not fit.
    """
    term: RewardTerm = make("term", name, given)
    if term is not specs.maker("term", name):
        object.__setattr__(term, "made_of", (name, given))
    return term


TERMS = {name: make_term(name) for name in MAKERS}
"""The package's terms by name, with their default parameters; b_t is the belief after turn t."""

INFORMATION_GAIN = RewardTerm("gain", measured_gain, (BELIEF,), formula="b_t - b_{t-1}")
"""The gain as it is measured, the last turn of an episode that runs out of turns included."""
