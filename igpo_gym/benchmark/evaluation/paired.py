"""Two evaluations of the same questions: which is better, by how much, on which questions.

Everything is paired: a question that only one of them played takes no part. What differs in the settings is
what is compared, and is told; other questions, or other gold answers, under the same ids are refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from igpo_gym.agents.rollouts.branches import compared
from igpo_gym.agents.rollouts.records import read_recordings, set_of
from igpo_gym.benchmark.evaluation.measures import Measure
from igpo_gym.benchmark.evaluation.table import shown
from igpo_gym.benchmark.report import NOTHING, Cell, Table
from igpo_gym.data import protection
from igpo_gym.data.scores import RIGHT
from igpo_gym.episode import Episode, Question
from igpo_gym.statistics import LEVEL, Estimate, difference, holm, mean_over, sign_flip


@dataclass(slots=True)
class Played:
    """What a file holds of one set."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    questions: dict[str, Question] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    predictions: dict[str, str | None] = field(default_factory=dict)
    """Of each question's first attempt in the file."""

    def add(self, episode: Episode, score: float) -> None:
        """Add an episode with its score. ValueError where its id is that of another question."""
        id_ = episode.question.id
        known = self.questions.setdefault(id_, episode.question)
        if any(read(known) != read(episode.question) for read in (_text, _golds)):
            raise ValueError(f"two questions have the id {id_!r}, with other texts or other gold answers")
        self.scores.setdefault(id_, []).append(score)
        self.predictions.setdefault(id_, episode.prediction)


def _text(question: Question) -> str:
    """A question's text; of a protected one the hash, which is all that most of its records tell."""
    return protection.shown(question, question.text)


def _golds(question: Question) -> list[list[str]]:
    """The same of its gold answers, and of the parts of one."""
    return [
        [protection.shown(question, each) for each in told] for told in (question.answers, question.parts)
    ]


@dataclass(frozen=True, slots=True)
class Pair:
    """A question that both played."""

    set: str
    question: Question
    scores: tuple[float, float]
    predictions: tuple[str | None, str | None]

    @property
    def difference(self) -> float:
        """By how much the second has more."""
        return self.scores[1] - self.scores[0]


@dataclass(frozen=True, slots=True)
class PairedVerdict:
    """What the pairs of one set say, or those of all sets."""

    name: str
    first: Estimate
    second: Estimate
    difference: Estimate
    """The second minus the first, with the interval over questions."""
    p_value: float
    """That of the sign-flip test; where there are several sets, corrected over them by Holm's method."""
    right: Mapping[str, int]
    """Of a score: on how many questions "only first" is right, "only second", "both" and "neither"."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two evaluations, question by question."""

    measure: Measure
    pairs: tuple[Pair, ...]
    verdicts: tuple[PairedVerdict, ...]
    """One for each set; the last is about all questions, where there are several sets."""
    settings: tuple[tuple[str, Any, Any], ...]
    """What differs: the name of a setting, and its two values."""
    unpaired: tuple[int, int]
    """How many questions the first alone has figures of, and the second alone."""

    @property
    def sentence(self) -> str:
        """What it comes to, in a sentence."""
        found = self.verdicts[-1]
        by, over = abs(found.difference.value), f"over {found.difference.units} questions"
        if not found.p_value < LEVEL:
            told = "fewer than five" if math.isnan(found.p_value) else f"p = {found.p_value:.3f}"
            return f"No difference in {self.measure.name} that can be told from chance {over} ({told})."
        greater = "The second" if found.difference.value > 0 else "The first"
        is_ahead = "is better" if self.measure.score else "has more"
        return f"{greater} {is_ahead} by {by:.3f} in {self.measure.name} {over} (p = {found.p_value:.2g})."

    def largest(self, count: int) -> list[Pair]:
        """The pairs that differ most, those in which the second has more before the others."""
        differing = [pair for pair in self.pairs if pair.difference]
        return sorted(differing, key=lambda pair: (-abs(pair.difference), -pair.difference))[:count]


def read_played(file: Path, measure: Measure) -> dict[str, Played]:
    """The episodes of a file by set, scored. Episodes that the measure says nothing of are left out.

    Raises DataError for what is no recording, and ValueError for a file without an episode, or with one that
    stands there twice.
    """
    sets: dict[str, Played] = {}
    seen: set[tuple[Hashable, int]] = set()
    for settings, episode in read_recordings(file):
        if (attempt := (compared(settings, episode), episode.attempt)) in seen:
            raise ValueError(
                f"{file}: attempt {episode.attempt} at {episode.question.id!r} stands there twice"
            )
        seen.add(attempt)
        value = measure.value(episode)
        if value is not None:
            played = sets.setdefault(set_of(settings), Played(settings))
            try:
                played.add(episode, value)
            except ValueError as problem:
                raise ValueError(f"{file}: {problem}") from None
    if not sets:
        raise ValueError(f"{file} holds no episode that can be scored")
    return sets


def compare(first: Mapping[str, Played], second: Mapping[str, Played], measure: Measure) -> Comparison:
    """Pair two evaluations question by question.

    Sets belong together that have the same spec, or else a question in common; where each file has one set,
    these do. Raises ValueError where that leaves no question that both have, and where a question of both has
    another text, or other gold answers.
    """
    partners = _partners(first, second)
    pairs = [pair for ours, theirs in partners for pair in _pairs(ours, first[ours], second[theirs])]
    if not pairs:
        raise ValueError("the two files have no question in common, so there is nothing to compare")
    names = list(dict.fromkeys(pair.set for pair in pairs))
    verdicts = [_verdict(name, [pair for pair in pairs if pair.set == name], measure) for name in names]
    if len(verdicts) > 1:
        corrected = holm([each.p_value for each in verdicts])
        verdicts = [replace(each, p_value=p) for each, p in zip(verdicts, corrected, strict=True)]
        verdicts.append(_verdict("all questions", pairs, measure))
    differing = (
        change
        for ours, theirs in partners
        for change in _changes(first[ours].settings, second[theirs].settings)
    )
    counts = tuple(
        sum(len(each.questions) for each in file.values()) - len(pairs) for file in (first, second)
    )
    return Comparison(
        measure, tuple(pairs), tuple(verdicts), tuple(_distinct(differing)), (counts[0], counts[1])
    )


def _partners(first: Mapping[str, Played], second: Mapping[str, Played]) -> list[tuple[str, str]]:
    """The names of the sets that belong together."""
    found = {name: name for name in first if name in second}
    left = [name for name in first if name not in found]
    right = [name for name in second if name not in found]
    for ours in left:
        for theirs in right:
            related = len(first) == len(second) == 1 or _related(first[ours], second[theirs])
            if related and theirs not in found.values():
                found.setdefault(ours, theirs)
    return [(name, found[name]) for name in first if name in found]


def _related(first: Played, second: Played) -> bool:
    """Whether a question of both has the same text: line numbers as ids say nothing."""
    return any(
        id_ in second.questions and _text(second.questions[id_]) == _text(question)
        for id_, question in first.questions.items()
    )


def _pairs(name: str, first: Played, second: Played) -> list[Pair]:
    common = [id_ for id_ in first.questions if id_ in second.questions]
    for noun, read in (("another text", _text), ("other gold answers", _golds)):
        other = [id_ for id_ in common if read(first.questions[id_]) != read(second.questions[id_])]
        if other:
            raise ValueError(
                f"the files cannot be compared: {len(other)} of {len(common)} questions of {name!r} have "
                f"{noun} in the second, such as {other[0]!r}"
            )
    return [
        Pair(
            name,
            first.questions[id_],
            (fmean(first.scores[id_]), fmean(second.scores[id_])),
            (first.predictions[id_], second.predictions[id_]),
        )
        for id_ in common
    ]


_RIGHT = {
    "only first": (True, False),
    "only second": (False, True),
    "both": (True, True),
    "neither": (False, False),
}
"""Whether first and second are right on a question."""


def _verdict(name: str, pairs: Sequence[Pair], measure: Measure) -> PairedVerdict:
    units = [(pair.set, pair.question.id) for pair in pairs]
    first, second = (
        mean_over([pair.scores[side] for pair in pairs], units, measure.bounds) for side in (0, 1)
    )
    ahead, most = difference(second, first), measure.bounds[1] - measure.bounds[0]
    found = [(pair.scores[0] >= RIGHT, pair.scores[1] >= RIGHT) for pair in pairs]
    return PairedVerdict(
        name,
        first,
        second,
        replace(ahead, low=max(ahead.low, -most), high=min(ahead.high, most)),
        sign_flip([pair.difference for pair in pairs]),
        {who: found.count(right) for who, right in _RIGHT.items()} if measure.score else {},
    )


def _changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    for name in {**first, **second}:
        if first.get(name) != second.get(name):
            yield name, first.get(name), second.get(name)


def _distinct(changes: Iterable[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    return list({json.dumps(change, default=str): change for change in changes}.values())


def verdict_table(comparison: Comparison) -> Table:
    """A column for each set: both means, the difference, the test, and of a score who is right where."""
    names = ("questions", "first", "second", "second - first", "p", *comparison.verdicts[0].right)
    columns = [
        (
            Cell(str(each.difference.units)),
            shown(each.first),
            shown(each.second),
            shown(each.difference),
            Cell(NOTHING if math.isnan(each.p_value) else f"{each.p_value:.3g}"),
            *(Cell(str(count)) for count in each.right.values()),
        )
        for each in comparison.verdicts
    ]
    rows = tuple((Cell(name), *cells) for name, *cells in zip(names, *columns, strict=True))
    return Table((comparison.measure.name, *(each.name for each in comparison.verdicts)), rows)


def verdict_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each set, with every figure."""
    return [
        {
            "set": each.name,
            "metric": comparison.measure.name,
            "questions": each.difference.units,
            "first": each.first.value,
            "second": each.second.value,
            "difference": each.difference.value,
            "low": each.difference.low,
            "high": each.difference.high,
            "p_value": each.p_value,
            **{who.replace(" ", "_"): count for who, count in each.right.items()},
        }
        for each in comparison.verdicts
    ]


def as_json(comparison: Comparison, count: int) -> dict[str, Any]:
    """All figures, what differs in the settings, and the questions that differ most.

    Of protected questions with hashes in the place of texts.
    """
    return {
        "metric": comparison.measure.name,
        "verdict": comparison.sentence,
        "sets": verdict_rows(comparison),
        "settings": [
            {"setting": name, "first": ours, "second": theirs} for name, ours, theirs in comparison.settings
        ],
        "only_in_first": comparison.unpaired[0],
        "only_in_second": comparison.unpaired[1],
        "questions": [
            {
                "set": pair.set,
                "id": pair.question.id,
                "question": protection.shown(pair.question, pair.question.text),
                "scores": list(pair.scores),
                "predictions": [
                    None if text is None else protection.shown(pair.question, text)
                    for text in pair.predictions
                ],
            }
            for pair in comparison.largest(count)
        ],
    }
