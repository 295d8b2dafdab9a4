"""The verdict: scorers whose behavior is known, by rule or by how they were made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from math import log
from pathlib import Path

import numpy as np
import pytest

from igpo_gym.benchmark.fit.bounds import BOUNDS, Bound, verdict
from igpo_gym.benchmark.fit.measures import MEASURES, script
from igpo_gym.benchmark.fit.run import FitResult, measure_fit, run_fit
from igpo_gym.benchmark.report import json_text
from igpo_gym.episode import Belief, Question, Segment
from igpo_gym.errors import SpecError, TranscriptTooLongError
from igpo_gym.protocols import TAGS
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.statistics import Estimate
from tests.benchmark.fit.test_cases import world_cases

SHARED = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[3] / "../shared")) / "data"
HOTPOT = SHARED / "hotpotqa/dev300.jsonl"
SURE, UNSURE = 0.8, 0.1


@dataclass
class Ruled:
    """Believes an answer where a rule says so of the transcript."""

    believes: Callable[[Sequence[Segment], str], bool]

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        return [
            Belief(tuple(log(SURE if self.believes(each.segments, a) else UNSURE) for a in each.answers))
            for each in requests
        ]


def text(segments: Sequence[Segment], author: str = "") -> str:
    return "".join(each.text for each in segments if author in ("", each.author))


def states_string(segments: Sequence[Segment], answer: str) -> bool:
    return answer in text(segments, "environment")


@cache
def evidence() -> tuple[str, ...]:
    """The texts of all questions' evidence, as it stands in the corpus."""
    return tuple(passage.text for case in world_cases(60) for passage in case.gold)


def reads(segments: Sequence[Segment], answer: str) -> bool:
    """A reader: the answer stands in a passage as it was written, with nothing put in."""
    shown = text(segments, "environment")
    return any(answer in each and each in shown for each in evidence())


def believes_thoughts(segments: Sequence[Segment], answer: str) -> bool:
    return reads(segments, answer) or f"the answer is {answer}" in text(segments, "agent")


def measured(rule: Callable[[Sequence[Segment], str], bool], count: int = 50) -> FitResult:
    return measure_fit(Ruled(rule), world_cases(count), TAGS)


def test_a_scorer_that_pays_for_the_answer_s_string_alone_is_not_fit() -> None:
    found = measured(states_string)
    assert found.verdict == "not fit"
    assert found.why == "string_pays"
    assert found.measures["string_pays"].value == pytest.approx(1)
    assert found.measures["beats_string"].value == pytest.approx(0.5)


def test_a_reader_is_fit() -> None:
    found = measured(reads)
    assert (found.verdict, found.why) == ("fit", "")
    assert found.measures["gain"].value == pytest.approx(SURE - UNSURE)
    assert found.measures["string_pays"].value == pytest.approx(0)


def test_who_believes_thoughts_is_fit_with_the_context_evidence() -> None:
    found = measured(believes_thoughts)
    assert (found.verdict, found.why) == ("fit with context=evidence", "claim_pays")
    assert found.measures["claim_pays"].value == pytest.approx(1)


def test_who_believes_nothing_or_all_is_not_fit() -> None:
    for always in (True, False):
        found = measured(lambda segments, answer, always=always: always)
        assert found.verdict == "not fit"
        assert found.states["right_evidence"] == found.states["never_helps"] == "fails"
        assert found.measures["never_helps"].value == 1


def test_below_fifty_questions_there_is_no_verdict() -> None:
    assert measured(reads, 49).verdict == measured(states_string, 49).verdict == "no verdict"


def test_transcripts_that_are_too_long_are_left_out_and_told() -> None:
    cases = world_cases(9)
    long = {case.question.text for case in cases[:3]}

    class Short(Ruled):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            if any(each in text(requests[0].segments) for each in long):
                raise TranscriptTooLongError("too long", (0,))
            return super().score(requests)

    found = measure_fit(Short(reads), cases, TAGS)
    assert found.too_long == tuple(case.question.id for case in cases[:3])
    assert list(found.beliefs) == [case.question.id for case in cases[3:]]


def test_measures_are_what_they_are_called() -> None:
    names = {"bare": 0.2, "gold": 0.6, "reversed": 0.5, "foreign": 0.1, "planted": 0.2}
    names |= {"contradicted": 0.4, "claimed": 0.3, "unclaimed": 0.05, "bare 1": 0.2, "gold 1": 0.3}
    question = Question("q", "?", ("a",), ("p", "r"))
    found = {each.key: each.of([question], [names]).value for each in MEASURES}
    assert found["gain"] == pytest.approx(0.4)
    assert found["foreign_gain"] == pytest.approx(-0.1)
    assert found["string_pays"] == pytest.approx(0.1 / 0.5)
    assert found["claim_pays"] == pytest.approx(0.25 / 0.5)
    assert found["contradiction_costs"] == pytest.approx(0.2 / 0.5)
    assert (found["right_evidence"], found["beats_string"], found["never_helps"]) == (1, 1, 0)


def test_evidence_that_helps_in_one_wording_or_order_has_helped() -> None:
    (never,) = (each for each in MEASURES if each.key == "never_helps")
    question = Question("q", "?", ("a",))
    flat = dict.fromkeys(("bare", "gold", "reversed", "bare 1", "gold 1", "bare 2", "gold 2"), 0.2)
    assert never.of([question], [flat]).value == 1
    for name in ("gold", "reversed", "gold 1", "gold 2"):
        assert never.of([question], [flat | {name: 0.3}]).value == 0


def test_a_claim_that_fails_decides_and_one_that_is_open_leaves_no_verdict() -> None:
    holds = dict.fromkeys((each.key for each in BOUNDS), "holds")
    assert verdict(holds, 50) == "fit"
    for each in BOUNDS:
        for state in ("fails", "open"):
            expected = {
                "scorer": {"fails": "not fit", "open": "no verdict"}[state],
                "thoughts": "fit with context=evidence",
                "warning": "fit",
            }[each.about]
            assert verdict({**holds, each.key: state}, 50) == expected
    assert verdict({**holds, "gain": "open", "never_helps": "fails"}, 50) == "not fit"


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.key)
def test_an_interval_decides_by_both_its_ends(bound: Bound) -> None:
    inside, outside = (0.1, -0.1) if bound.at_least else (-0.1, 0.1)

    def state(*ends: float) -> str:
        low, high = sorted(bound.value + end for end in ends)
        return bound.state(Estimate((low + high) / 2, low, high, 60))

    assert state(inside, inside / 2) == "holds"
    assert state(outside, outside / 2) == "fails"
    assert state(inside, outside) == "open"
    nan = float("nan")
    assert bound.state(Estimate(nan, nan, nan, 60)) == "fails"
    within = bound.value + inside
    assert bound.state(Estimate(within, nan, nan, 60, np.full(60, within))) == "holds"  # all say the same
    assert bound.state(Estimate(within, nan, nan, 60, np.full(60, nan))) == "open"  # one carries it alone


def test_the_table_of_the_docs_is_the_table_of_the_code() -> None:
    page = (Path(__file__).parents[3] / "docs/fit.md").read_text(encoding="utf-8")
    effects = {"scorer": "not fit", "thoughts": "`context=evidence`", "warning": "a warning"}
    for each in BOUNDS:
        kind = "at least" if each.at_least else "at most"
        assert f"| `{each.key}` | {each.claim} | {kind} {each.value:g} | {effects[each.about]} |" in page
    assert [field.name for field in fields(Bound)][:2] == ["key", "claim"]


def test_scripts_are_told_apart() -> None:
    assert [script(each) for each in ("一九二七", "Ελλάδα", "Γ Gamma", "12.5 %", "?")] == [
        *("Cjk", "Greek", "Greek", "digits", "signs")
    ]


def test_questions_without_evidence_are_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"id": "1", "question": "Who?", "answer": "Grass"}\n')
    with pytest.raises(SpecError, match="check scorer needs gold evidence, but question '1'"):
        run_fit("nano", str(file))


def test_the_report_is_json_without_nan() -> None:
    report = json.loads(json_text(measured(reads).report()))
    assert report["verdict"] == "fit"
    assert [claim["key"] for claim in report["claims"]] == [each.key for each in BOUNDS]
    assert report["measures"]["aliases"]["value"] is None  # every question has one answer
    assert report["cost_a_turn"]["tokens"] is None


def test_a_belief_server_is_judged_as_the_model_that_it_serves() -> None:
    pytest.importorskip("fastapi")
    from tests.scorers.test_server import served

    with served(TransformersScorer.load("nano", "cpu")) as url:
        there = run_fit(f"beliefs:{url}", "world:test", limit=2)
    here = run_fit("nano", "world:test", limit=2)
    for question, beliefs in here.beliefs.items():
        assert there.beliefs[question] == pytest.approx(beliefs, abs=1e-4)
    assert there.cost.tokens > here.cost.tokens > 0, "all that is sent: what it caches is its own affair"


@pytest.mark.slow
def test_nano_is_fit_in_its_world() -> None:
    assert run_fit("nano", "world:test", limit=60).verdict == "fit"


@pytest.mark.slow
@pytest.mark.skipif(not HOTPOT.is_file(), reason="the real cuts are not beside this checkout")
def test_nano_is_not_fit_for_hotpotqa() -> None:
    found = run_fit("nano", f"hotpotqa:{HOTPOT}", limit=50)
    assert found.verdict == "not fit"
    assert found.states["gain"] == "fails"


@pytest.mark.slow
def test_random_weights_in_nano_s_shape_are_not_fit() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from igpo_gym.lm.loading import load_model
    from igpo_gym.scorers.local import TransformersScorer

    trained, tokenizer = load_model("nano", "cpu")
    torch.manual_seed(0)
    random = AutoModelForCausalLM.from_config(trained.config).eval()
    found = run_fit(TransformersScorer(random, tokenizer), "world:test", limit=50)
    assert found.verdict == "not fit"
    assert found.states["gain"] == found.states["right_evidence"] == "fails"
