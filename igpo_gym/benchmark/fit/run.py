"""From a scorer and questions with evidence to beliefs, measures, claims and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from igpo_gym.benchmark.cost import Cost, cost_of
from igpo_gym.benchmark.fit.bounds import BOUNDS, State, Verdict, verdict
from igpo_gym.benchmark.fit.cases import TRANSCRIPTS, Case, make_cases, requests
from igpo_gym.benchmark.fit.measures import MEASURES, Beliefs, by_script
from igpo_gym.config import EnvConfig
from igpo_gym.data import resolve_questions
from igpo_gym.data.evidence import require_evidence
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode, Passage, Question, ToolCall, distinct
from igpo_gym.errors import SpecError, TranscriptTooLongError
from igpo_gym.progress import Track, untracked
from igpo_gym.protocols import TextProtocol
from igpo_gym.scorers.interface import AnswerScorer, ask
from igpo_gym.statistics import Estimate
from igpo_gym.text import without_credentials
from igpo_gym.tools.evidence import GOLD_EVIDENCE
from igpo_gym.tools.interface import Tool

_TIMED = 5
"""For how many questions the cost of a turn is measured."""

_LENDERS = 300
"""How many questions at most lend evidence to those that are asked."""


@dataclass(frozen=True, slots=True)
class FitResult:
    """Everything that is found out about a scorer."""

    settings: dict[str, Any]
    verdict: Verdict
    measures: dict[str, Estimate]
    """By the keys of ``MEASURES``."""
    states: dict[str, State]
    """By the keys of ``BOUNDS``; a claim of which the questions tell nothing is not there."""
    scripts: dict[str, Estimate]
    """The mean gain for each script in which answers are written."""
    cost: Cost
    """Of an episode of one search: the beliefs before and after it."""
    beliefs: dict[str, Beliefs]
    """By question."""
    too_long: tuple[str, ...]
    """The questions that are left out, since the scorer reads no transcript of such length."""

    @property
    def why(self) -> str:
        """What the verdict hangs on, in words."""
        decisive = ("fails", "open") if self.verdict != "not fit" else ("fails",)
        about = "thoughts" if self.verdict == "fit with context=evidence" else "scorer"
        keys = [each.key for each in BOUNDS if each.about == about and self.states.get(each.key) in decisive]
        return ", ".join(keys)

    def report(self) -> dict[str, Any]:
        """All of it for a file."""
        meanings = {each.key: each.meaning for each in MEASURES}
        return {
            "verdict": self.verdict,
            "because": self.why,
            "settings": self.settings,
            "questions": len(self.beliefs),
            "too_long": self.too_long,
            "claims": [
                {**asdict(each), "state": self.states.get(each.key), **_ends(self.measures[each.key])}
                for each in BOUNDS
            ],
            "measures": {
                key: {"meaning": meanings[key], **_ends(found)} for key, found in self.measures.items()
            },
            "gain_by_script": {name: _ends(found) for name, found in self.scripts.items()},
            "cost_a_turn": asdict(self.cost),
            "transcripts": TRANSCRIPTS,
            "beliefs": self.beliefs,
        }


def _ends(found: Estimate) -> dict[str, float | int]:
    return {"value": found.value, "low": found.low, "high": found.high, "questions": found.units}


def run_fit(
    scorer: str | AnswerScorer,
    questions: str | QuestionSet,
    search: str | None = None,
    protocol: str | TextProtocol = "tags",
    limit: int = 100,
    track: Track = untracked,
) -> FitResult:
    """Ask a scorer about the first ``limit`` questions, and say whether it is fit.

    The gold evidence is that which came with the questions, else the documents of ``search``; later questions
    only lend theirs. Raises SpecError for questions without evidence, and ScoringError if a belief fails.
    Questions whose transcripts are longer than the scorer reads are left out and told.

    >>> found = run_fit("nano", "world:test", limit=5)
    >>> found.verdict, found.measures["right_evidence"].value
    ('no verdict', 1.0)
    """
    read = resolve_questions(questions)
    require_evidence("igpo-gym check scorer", read)
    lenders = replace(read, questions=read.questions[: max(limit, _LENDERS)])
    config = EnvConfig(
        questions=lenders,
        search=search,
        protocol=protocol,
        scorer=scorer,
        tools=GOLD_EVIDENCE,
        reward="outcome-f1",
    )
    question_set, engine = assemble(config)
    if engine.scorer is None:
        raise SpecError("there is no scorer to check: give a model or the URL of a server")
    cases = make_cases(question_set.questions, _evidence(engine.tools[0], question_set.questions), limit)
    settings = {
        "scorer": without_credentials(scorer) if isinstance(scorer, str) else type(scorer).__name__,
        "questions": without_credentials(read.name),
        "search": search and without_credentials(search),
        "protocol": engine.protocol.name,
        "limit": limit,
    }
    return measure_fit(engine.scorer, cases, engine.protocol, settings, track)


def _evidence(tool: Tool, questions: Sequence[Question]) -> list[tuple[Passage, ...]]:
    call = ToolCall(tool.spec.name, {"query": ""})
    results = tool.run([(Episode(question, ()), call) for question in questions])
    return [distinct(result.passages) for result in results]


def measure_fit(
    scorer: AnswerScorer,
    cases: Sequence[Case],
    protocol: TextProtocol,
    settings: dict[str, Any] | None = None,
    track: Track = untracked,
) -> FitResult:
    """The scorer's beliefs about these cases, and what they come to."""
    cost = _cost(scorer, cases[:_TIMED], protocol)
    asked: list[Question] = []
    beliefs: dict[str, Beliefs] = {}
    too_long: list[str] = []
    for case in track(cases, "asking", len(cases)):
        about = requests(case, protocol)
        try:
            found = ask(scorer, list(about.values()))
        except TranscriptTooLongError:
            too_long.append(case.question.id)
            continue
        asked.append(case.question)
        beliefs[case.question.id] = {name: belief.prob for name, belief in zip(about, found, strict=True)}
    all_beliefs = list(beliefs.values())
    measures = {each.key: each.of(asked, all_beliefs) for each in MEASURES}
    states = {each.key: each.state(measures[each.key]) for each in BOUNDS if measures[each.key].units}
    return FitResult(
        settings=settings or {},
        verdict=verdict(states, len(asked)),
        measures=measures,
        states=states,
        scripts=by_script(asked, all_beliefs),
        cost=cost,
        beliefs=beliefs,
        too_long=tuple(too_long),
    )


def _cost(scorer: AnswerScorer, cases: Sequence[Case], protocol: TextProtocol) -> Cost:
    """What beliefs after the prompt and after a search cost; nan where the scorer does not tell."""
    about = [requests(case, protocol) for case in cases]
    asked = [each[name] for each in about for name in ("bare", "gold")]
    try:
        cost = cost_of(scorer, partial(ask, scorer, asked), len(cases))
    except TranscriptTooLongError:
        return Cost(math.nan, math.nan)
    return replace(cost, tokens=cost.tokens or math.nan)  # an older belief server does not tell
