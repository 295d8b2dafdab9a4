"""Metrics by name, and what an episode's answer scores: said once for info, records, rewards and libraries.

A metric of one's own is registered, and then stands wherever one is named (``f1(metric=first-word)``):

>>> from igpo_gym.specs import register, unregister
>>> @register("metric", "first-word")
... def first_word(case: bool = False) -> Metric:
...     def word(text: str) -> str:
...         return (text if case else text.lower()).split()[0]
...     def score(said: str | None, gold: Sequence[str]) -> float:
...         return float(said is not None and word(said) in map(word, gold))
...     return Metric("first-word", score)
>>> resolve_metric("first-word")("Danzig port", ["danzig"]), resolve_metric("first-word(case=1)").name
(1.0, 'first-word(case=True)')
>>> unregister("metric", "first-word")
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import igpo_gym.specs as specs
from igpo_gym.data.metrics import (
    Score,
    cover_exact_match,
    exact_match,
    f1,
    igpo_f1,
    squad_exact_match,
    squad_f1,
    strict_match,
)
from igpo_gym.data.mlqa import check_language, mlqa_exact_match, mlqa_f1
from igpo_gym.data.parts import share_of_parts
from igpo_gym.data.protection import hidden
from igpo_gym.episode import Episode
from igpo_gym.errors import SpecError
from igpo_gym.numbers import finite_number
from igpo_gym.parameters import make, read_call
from igpo_gym.text import restored


@dataclass(frozen=True, slots=True)
class Metric:
    """What a prediction scores against gold answers, the best of which counts.

    >>> METRICS["em"]("The Tin Drum", ["tin drum"])
    1.0
    """

    name: str
    score: Score
    rule: str = ""
    """In a sentence."""
    source: str = ""
    """Whose rule it is."""
    parts: bool = False
    """Whether it is asked about ``Question.parts`` instead of the answers, where a question has them."""

    def __call__(self, prediction: str | None, answers: Sequence[str]) -> float:
        """The score of a prediction (None: there is none)."""
        return self.score(prediction, answers)


_HOTPOTQA = "HotpotQA, 1809.09600"
_SQUAD = "SQuAD 1.1, 1606.05250"

METRICS: dict[str, Metric] = {
    "em": Metric("em", exact_match, "equal normal forms", _HOTPOTQA),
    "f1": Metric("f1", f1, "F1 over the multiset of words; yes, no and noanswer are equal or 0", _HOTPOTQA),
    "cover_em": Metric("cover_em", cover_exact_match, "the answer stands in the prediction", "common"),
}
"""The metrics of every episode, by name, each in [0, 1]."""

RIGHT = 0.5
"""The score from which an answer, or the mean of a question's attempts, counts as right."""

JUDGE = "judge"
"""The name of the instrument that holds a judge's verdicts, and of the score that follows from them."""

PARTS = Metric(
    "fanoutqa_loose",
    share_of_parts,
    "share of the answer's parts that stand in the prediction",
    "FanOutQA, 2402.14116",
    parts=True,
)
"""The metric of the questions whose answers have parts."""


def em_mlqa(language: str = "en") -> Metric:
    """MLQA's exact match; its script is told the language of the answers, and so is this."""
    check_language(language)
    return Metric(
        "em_mlqa",
        partial(mlqa_exact_match, language=language),
        "as em, without Unicode's punctuation, by the language's articles and words",
        "MLQA, 1910.07475",
    )


def f1_mlqa(language: str = "en") -> Metric:
    """MLQA's F1."""
    check_language(language)
    return Metric(
        "f1_mlqa",
        partial(mlqa_f1, language=language),
        "F1 over the multiset of MLQA's words",
        "MLQA, 1910.07475",
    )


_PLAIN: dict[str, Metric] = {
    **METRICS,
    "em_strict": Metric("em_strict", strict_match, "as em, punctuation between digits kept", "this package"),
    "em_squad1": Metric("em_squad1", squad_exact_match, "the script to the letter", _SQUAD),
    "f1_squad1": Metric("f1_squad1", squad_f1, "the script to the letter", _SQUAD),
    "em_mlqa": em_mlqa(),
    "f1_mlqa": f1_mlqa(),
    "igpo_f1": Metric("igpo_f1", igpo_f1, "F1 over sets of words, articles kept", "IGPO, 2510.14967"),
}
"""The metrics of the package, each without arguments."""

for _name, _metric in {
    **_PLAIN,
    "em_mlqa": em_mlqa,
    "f1_mlqa": f1_mlqa,
    "igpo": _PLAIN["igpo_f1"],  # short for rewards: f1(metric=igpo)
    PARTS.name: PARTS,
}.items():
    specs.register("metric", _name, _metric)


def resolve_metric(metric: str | Metric) -> Metric:
    """A metric by its name, with parameters in parentheses or without; one that is made already passes.

    Raises SpecError, with the names that exist, for one that is not known.

    >>> resolve_metric("em_mlqa(language=es)")("El río", ["rio", "río"])
    1.0
    """
    if isinstance(metric, Metric):
        return metric
    made: Metric = make("metric", *read_call(metric, "em_mlqa(language=es)"))
    return made


def score(metric: str | Metric, episode: Episode) -> float:
    """A metric of the episode's answer; 0 without one.

    Prediction and gold answers are compared as if foreign text had not been neutralized: an agent that copies
    what it was shown is right. Raises ValueError for a value that is no finite number.
    """
    (value,) = _scores(episode, (resolve_metric(metric),)).values()
    return value


def _scores(episode: Episode, metrics: Iterable[Metric]) -> dict[str, float]:
    """Several metrics of the episode's answer, by name, see :func:`score`."""
    question, prediction = episode.question, episode.prediction
    said = None if prediction is None else restored(prediction)
    answers = [restored(each) for each in question.answers]
    found = {}
    for metric in metrics:
        value: Any
        if metric.parts and question.parts:
            value = metric.score(said, [restored(each) for each in question.parts])
        elif metric.parts:  # the answer is its one part, whichever of its names is said
            value = max(metric.score(said, [each]) for each in answers)
        else:
            value = metric.score(said, answers)
        if not isinstance(value, bool) and finite_number(value) is None:
            raise ValueError(
                f"the metric {metric.name!r} gives {value!r}, which is no finite number, for the answer to "
                f"the question {question.id!r}"
            )
        found[metric.name] = float(value)
    return found


def judged(episode: Episode) -> float | None:
    """1 where a judge found the answer correct, else 0; None where no judge was asked about the episode."""
    last = episode.measured[-1] if episode.measured else {}
    if JUDGE not in last:
        return None
    value = last[JUDGE]
    if value is None:
        return 0.0  # there is no answer
    known = isinstance(value, Mapping) and "verdict" in value  # else the instrument is somebody's own
    return float(value["verdict"] == "correct") if known else None


def recorded_score(metric: str | Metric, episode: Episode) -> float | None:
    """A metric of the episode's answer; where its texts are hidden what its record tells, None if nothing."""
    if not hidden(episode.question):
        return score(metric, episode)
    known: float | None = episode.extra["sealed"].get(resolve_metric(metric).name)
    return known


def final_score(metric: str | Metric, episode: Episode) -> float | None:
    """:func:`recorded_score`, but None for an episode that runs or was aborted: it has no score."""
    return recorded_score(metric, episode) if episode.has_outcome else None


def require_recorded(metric: str | Metric, questions: str) -> None:
    """Raise SpecError for a metric that records of protected ``questions`` do not tell."""
    name = resolve_metric(metric).name
    if name not in (known := (*_PLAIN, PARTS.name)):
        raise SpecError(
            f"records of {questions}, which is protected, hold no texts that {name} could compare: give "
            f"--clear-text, or of the metrics {', '.join(known)}"
        )


def scores(episode: Episode) -> dict[str, float]:
    """Exact match, F1 and cover exact match of an ended episode; the recorded where its texts are hidden.

    For an answer in parts the share of those too, and where a judge was asked its verdict (``judge``).
    """
    if hidden(episode.question):
        usual = (*METRICS, PARTS.name, JUDGE)
        return {name: value for name, value in episode.extra["sealed"].items() if name in usual}
    found = _scores(episode, (*METRICS.values(), PARTS) if episode.question.parts else METRICS.values())
    if (verdict := judged(episode)) is not None:
        found[JUDGE] = verdict
    return found


def final_scores(episode: Episode) -> dict[str, float]:
    """:func:`scores`; empty for an episode that runs or was aborted: it has none."""
    return scores(episode) if episode.has_outcome else {}


def final_verdict(episode: Episode) -> float | None:
    """:func:`judged`, but None for an episode that runs or was aborted: it has no verdict."""
    return judged(episode) if episode.has_outcome else None


def all_scores(episode: Episode) -> dict[str, float]:
    """:func:`scores`, and every other metric of the package without arguments: what hashes cannot tell."""
    return {name: score(metric, episode) for name, metric in _PLAIN.items()} | scores(episode)
