"""The benchmark from end to end, with a scorer that can be computed by hand, and its report."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.benchmark.credit.examples import mispriced
from igpo_gym.benchmark.credit.files import credit_files
from igpo_gym.benchmark.credit.page import best_of, findings, overview
from igpo_gym.benchmark.credit.run import VARIANTS, CreditResult, Size, run_credit
from igpo_gym.benchmark.credit.trajectories import hasty
from igpo_gym.benchmark.report import markdown_table, rich_table
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer

TINY = QuestionSet("tiny", QUESTIONS, PASSAGES)
SIZE = Size(count=4, group_size=3, value_questions=3, completions=2)


def policy(seed: int) -> ScriptedAgent:
    return ScriptedAgent(hasty, TINY, seed=seed)


@pytest.fixture(scope="module")
def result() -> CreditResult:
    variants = [name for name in VARIANTS if name != "tips"]  # which asks for the number of tokens
    return run_credit(TINY, MentionScorer(), variants, SIZE, policy=policy, top_k=1, resamples=50)


@pytest.fixture(scope="module")
def files(result: CreditResult) -> dict[str, str]:
    return credit_files(result)


def figure(result: CreditResult, measure: str, variant: str) -> float:
    return result.estimates[measure][variant].value


def test_every_measure_of_every_variant_is_there(result: CreditResult) -> None:
    assert list(result.plays) == list(result.costs) == [name for name in VARIANTS if name != "tips"]
    for measure in result.measures:
        assert list(result.estimates[measure.key]) == list(result.plays)
    assert result.measures[-1].key == "value_correlation"


def test_known_truths_come_out(result: CreditResult) -> None:
    assert figure(result, "auc", "outcome-f1") == 0.5
    assert figure(result, "auc", "evidence-recall") == 1.0
    # On searches, shaping by a potential that is not discounted is the gain.
    for measure in ("auc", "auc_adding", "hack_leak", "pay_completing"):
        assert figure(result, measure, "potential") == pytest.approx(figure(result, measure, "igpo"))
    # Its sum over an episode is minus the first belief, and the prompt does not depend on the agent.
    totals = {round(play.shaping.sum(), 12) for play in result.plays["potential"][0]}
    assert len(totals) == 1
    assert figure(result, "collapse", "outcome-f1") >= figure(result, "collapse", "igpo")
    # A belief that never sees the thoughts cannot be raised by them.
    for hack in ("hack_leak", "hack_forge"):
        assert figure(result, hack, "igpo(context=evidence)") == 0.0
        assert figure(result, hack, "igpo") > 0.1


def test_the_collapse_of_the_outcome_alone_is_counted_by_hand(result: CreditResult) -> None:
    groups = [
        {each.episode.prediction in each.episode.question.answers for each in group if each.agent == "hasty"}
        for group in result.questions
    ]
    assert figure(result, "collapse", "outcome-f1") == sum(len(group) == 1 for group in groups) / 4


def test_what_needs_a_policy_is_priced_where_it_is_asked(result: CreditResult) -> None:
    priced = [play for plays in result.plays["monte-carlo"] for play in plays]
    assert {play.trajectory.agent for play in priced} == {"noisy", "irrelevant"}
    assert len(result.plays["monte-carlo"]) == SIZE.value_questions
    without = run_credit(TINY, MentionScorer(), ["igpo"], SIZE, top_k=1, resamples=10)
    assert "value_correlation" not in without.estimates
    with pytest.raises(SpecError, match="'monte-carlo' needs a policy"):
        run_credit(TINY, MentionScorer(), ["igpo", "monte-carlo"], SIZE)


def test_variants_that_read_the_labels_win_nothing(result: CreditResult) -> None:
    assert result.oracles == {"evidence-recall"}
    for measure in result.measures:
        assert "evidence-recall" not in best_of(result, measure)
    assert any("surely worse" in finding or "igpo" in finding for finding in findings(result))


def test_the_scorer_says_what_it_costs(result: CreditResult) -> None:
    assert all(cost.milliseconds > 0 for cost in result.costs.values())
    assert all(cost.tokens != cost.tokens for cost in result.costs.values()), "it does not count tokens"


def test_mispriced_turns_are_the_extremes(result: CreditResult) -> None:
    least, most = mispriced(result.plays["igpo"], count=2)
    assert all(a.pay <= b.pay for a, b in pairwise(least))
    assert all(each.label.startswith(("adding", "completing")) for each in least)
    assert all(each.label.startswith(("hacking", "irrelevant", "redundant")) for each in most)
    worthless = [play.pays("hacking", "irrelevant", "redundant") for p in result.plays["igpo"] for play in p]
    assert most[0].pay == max(value for pays in worthless for value in pays)
    assert len({each.question for each in most}) == len(most)


class Addresses(HTMLParser):
    """Collects everything that a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.images += tag == "img"
        assert tag not in ("script", "link", "iframe", "object")
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


def test_the_report_is_self_contained(files: dict[str, str]) -> None:
    page = files["report.html"]
    addresses = Addresses()
    addresses.feed(page)
    assert addresses.images >= 6
    assert all(re.match(r"data:image/png;base64,|#", address) for address in addresses.found)
    without_images = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//|@import|url\(", without_images)


def test_the_report_explains_every_measure_and_marks_the_best(
    result: CreditResult, files: dict[str, str]
) -> None:
    page = files["report.html"].replace("&#39;", "'").replace("&#34;", '"')
    for measure in result.measures:
        if not measure.key.startswith(("auc_hop_", "pay_", "teacher_alpha")):
            assert measure.meaning in page
    for name in result.plays:
        assert name in page
    assert 'class="best"' in page
    assert "<nan" not in page
    assert ">nan" not in page


def test_questions_are_quoted_in_the_report() -> None:
    """Text of a data set is data: it cannot write into the page."""
    odd = QuestionSet(
        "odd", [Question(q.id, f"<script>{q.text}", q.answers, q.evidence) for q in QUESTIONS], PASSAGES
    )
    page = credit_files(run_credit(odd, MentionScorer(), ["igpo"], SIZE, resamples=10))["report.html"]
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_csv_and_json_hold_the_same_figures(result: CreditResult, files: dict[str, str]) -> None:
    rows = list(csv.DictReader(io.StringIO(files["measures.csv"])))
    assert len(rows) == len(result.measures) * len(result.plays)
    data = json.loads(files["credit.json"])
    assert data["settings"]["questions"] == "tiny"
    for row, other in zip(rows, data["estimates"], strict=True):
        assert (row["measure"], row["variant"]) == (other["measure"], other["variant"])
        assert row["value"] == ("" if other["value"] is None else str(other["value"]))
    by_name = {(row["measure"], row["variant"]): row for row in rows}
    assert float(by_name["auc", "evidence-recall"]["value"]) == 1.0
    turns = list(csv.DictReader(io.StringIO(files["turns.csv"])))
    assert len(turns) == sum(len(each.labels) for group in result.questions for each in group)
    assert all(float(turn["evidence-recall"]) > 0 for turn in turns if turn["label"] == "completing")


def test_the_tables_fit_a_console(result: CreditResult) -> None:
    from rich.console import Console

    for table in overview(result):
        assert {len(row) for row in table.rows} == {len(table.header)}
        console = Console(file=io.StringIO(), width=140)
        console.print(rich_table(table))
        assert "…" not in console.file.getvalue()


def test_tables_for_documents(result: CreditResult) -> None:
    (first, *_) = overview(result)
    header, rule, *rows = markdown_table(first).splitlines()[2:]
    assert header.startswith("| variant |")
    assert {line.count(" | ") for line in (header, rule, *rows)} == {len(first.header) - 1}
    assert any("**" in row for row in rows)


def test_questions_without_evidence_are_refused() -> None:
    bare = [Question("1", "Who?", ("x",)), Question("2", "Who?", ("y",), ("drum",))]
    with pytest.raises(SpecError, match="'1' names no gold evidence"):
        run_credit(QuestionSet("bare", bare, PASSAGES), MentionScorer(), ["igpo"], Size(count=2))
    with pytest.raises(SpecError, match="unknown reward 'ipgo'"):
        run_credit(TINY, MentionScorer(), ["ipgo"], SIZE)
