"""The benchmark from end to end, with a scorer that can be computed by hand, and its report."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.branches import compared
from igpo_gym.agents.rollouts.costs import Meter
from igpo_gym.benchmark.charts import _interval_figure
from igpo_gym.benchmark.cost import Cost
from igpo_gym.benchmark.credit.examples import mispriced
from igpo_gym.benchmark.credit.files import credit_files
from igpo_gym.benchmark.credit.ledger import Ledger, priced_groups
from igpo_gym.benchmark.credit.page import best_of, findings, overview
from igpo_gym.benchmark.credit.recordings import RECORDS, REWARDS, mispriced_files
from igpo_gym.benchmark.credit.run import TURN_NUMBER, CreditResult, run_credit
from igpo_gym.benchmark.credit.setup import VARIANTS, Setup, Size, prepared
from igpo_gym.benchmark.credit.trajectories import hasty
from igpo_gym.benchmark.report import Cell, Table, csv_text, markdown_table, rich_table
from igpo_gym.cli import app
from igpo_gym.config import EnvConfig
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Question
from igpo_gym.errors import DataError, SpecError
from igpo_gym.rewards import resolve_reward
from igpo_gym.rewards.relabel import relabel
from igpo_gym.rewards.split import split
from igpo_gym.statistics import Estimate, over_seeds
from igpo_gym.viewer.runs import read_runs
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer

TINY = QuestionSet("tiny", QUESTIONS, PASSAGES)


def environment(questions: QuestionSet = TINY) -> EnvConfig:
    return EnvConfig(questions=questions, scorer=MentionScorer(), top_k=1)


SIZE = Size(count=4, group_size=3, value_questions=3, completions=2)


def policy(seed: int) -> ScriptedAgent:
    return ScriptedAgent(hasty, TINY, seed=seed)


@pytest.fixture(scope="module")
def result() -> CreditResult:
    variants = [name for name in VARIANTS if name != "tips"]  # which asks for the number of tokens
    return run_credit(environment(), variants, SIZE, policy=policy)


@pytest.fixture(scope="module")
def files(result: CreditResult) -> dict[str, str]:
    return credit_files(result)


def figure(result: CreditResult, measure: str, variant: str) -> float:
    return result.estimates[measure][variant].value


def test_every_measure_of_every_variant_is_there(result: CreditResult) -> None:
    expected = [*(name for name in VARIANTS if name != "tips"), TURN_NUMBER]
    assert list(result.plays) == list(result.costs) == expected
    for measure in result.measures:
        assert list(result.estimates[measure.key]) == list(result.plays)
    assert result.measures[-1].key == "value_correlation"


def test_known_truths_come_out(result: CreditResult) -> None:
    for measure in ("auc", "auc_adding", "auc_hacking"):
        assert figure(result, measure, "outcome-f1") == figure(result, measure, TURN_NUMBER) == 0.5
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


def test_a_turn_that_a_reward_leaves_out_is_a_member_of_no_set() -> None:
    spec = "gain(every=2) + f1"
    plays = [each for group in run_credit(environment(), [spec], SIZE).plays[spec] for each in group]
    assert max(len(each.split.gains) for each in plays) > 2
    for each in plays:
        assert [gain is None for gain in each.split.gains] == [
            n % 2 == 0 for n in range(len(each.split.gains))
        ]


def test_a_turn_that_the_scorer_cannot_read_has_no_gain_as_in_training(result: CreditResult) -> None:
    whole = [sum(len(s.text) for s in each.episode.segments) for group in result.questions for each in group]
    scorer = MentionScorer(longest=sorted(whole)[len(whole) // 2])
    found = run_credit(replace(environment(), scorer=scorer), ["igpo", "evidence-recall"], SIZE)
    igpo, recall = (
        [play for group in found.plays[name] for play in group] for name in ("igpo", "evidence-recall")
    )
    function = resolve_reward("igpo")
    for play in igpo:
        (priced,) = relabel([play.trajectory.episode], ["igpo"], scorer)
        assert (
            play.split.gains == split(replace(priced.episode, rewards=priced.rewards["igpo"]), function).gains
        )
    assert any(None in play.split.gains for play in igpo)
    assert not any(None in play.split.gains for play in recall), "which asks for no belief"


def test_questions_whose_prompt_is_too_long_are_left_out_and_told(result: CreditResult) -> None:
    prompts = {
        group[0].question: sum(len(s.text) for s in group[0].episode.prompt) for group in result.questions
    }
    longest = max(prompts.values())
    expected = tuple(name for name, length in prompts.items() if length == longest)
    config = replace(environment(), scorer=MentionScorer(longest=longest - 1))
    found = run_credit(config, ["igpo", "f1", "monte-carlo"], SIZE, policy=policy)
    assert found.too_long == expected
    kept = [name for name in prompts if name not in expected]
    assert [group[0].question for group in found.questions] == kept
    for name in ("igpo", "f1", TURN_NUMBER):
        assert [group[0].trajectory.question for group in found.plays[name]] == kept
    assert f"the questions {', '.join(expected)}." in findings(found)[1]
    assert json.loads(credit_files(found)["credit.json"])["too_long"] == list(expected)
    mispriced_files(found, config.scorer)
    with pytest.raises(SpecError, match="the scorer reads the prompt of none of the 4 questions"):
        run_credit(replace(environment(), scorer=MentionScorer(longest=10)), ["igpo"], SIZE)


def test_what_was_priced_on_other_data_is_not_gone_on_with(tmp_path: Path) -> None:
    def setup(questions: QuestionSet) -> Setup:
        return prepared(environment(questions), ["igpo"], SIZE, None, 0)

    ours = setup(TINY)
    with Ledger(tmp_path, ours, Meter()) as ledger:
        ledger.paid(ours.cheap, lambda: {"igpo": [[0.5]]})
    assert priced_groups(tmp_path, setup(TINY)) == 1
    answered = [replace(each, answers=("Elbing",)) for each in QUESTIONS]
    evidence = [replace(each, text=f"{each.text} Indeed.") for each in PASSAGES]
    for other in (QuestionSet("tiny", answered, PASSAGES), QuestionSet("tiny", QUESTIONS, evidence)):
        with pytest.raises(DataError, match=r"left by a run with other settings \(trajectories_hash\)"):
            priced_groups(tmp_path, setup(other))


def test_a_line_that_is_not_of_its_group_is_not_gone_on_with(tmp_path: Path) -> None:
    part = tmp_path / "priced.jsonl.part"
    run_credit(environment(), ["igpo"], SIZE, folder=tmp_path)
    whole = part.read_text().splitlines()
    run_credit(environment(), ["igpo"], SIZE, folder=tmp_path)
    assert part.read_text().splitlines() == whole
    first = json.loads(whole[0])
    pays = first["paid"]["igpo"]
    bare = {name: value for name, value in first.items() if name != "paid"}
    unlike = [
        {"igpo": [[float("nan"), *pays[0][1:]], *pays[1:]]},
        {"igpo": [pays[0][1:], *pays[1:]]},
        {"igpo": [["0.5", *pays[0][1:]], *pays[1:]]},
        {"igpo": pays[1:]},
        {"igpo": 3},
        {"tips": pays},
        [],
    ]
    for number, lines in (
        (2, [whole[0], whole[0], *whole[2:]]),
        (1, [whole[1], whole[0], *whole[2:]]),
        (5, [*whole, whole[0]]),
        (1, [json.dumps(bare)]),
        *((1, [json.dumps(bare | {"paid": paid})]) for paid in unlike),
    ):
        part.write_text("".join(f"{line}\n" for line in lines))
        told = rf"priced\.jsonl\.part, line {number}: not what this group of trajectories is paid"
        with pytest.raises(DataError, match=told):
            run_credit(environment(), ["igpo"], SIZE, folder=tmp_path)


def test_what_needs_a_policy_is_priced_where_it_is_asked(result: CreditResult) -> None:
    priced = [play for plays in result.plays["monte-carlo"] for play in plays]
    assert {play.trajectory.agent for play in priced} == {"noisy", "irrelevant"}
    assert len(result.plays["monte-carlo"]) == SIZE.value_questions
    without = run_credit(environment(), ["igpo"], SIZE)
    assert "value_correlation" not in without.estimates
    with pytest.raises(SpecError, match="'monte-carlo' needs a policy"):
        run_credit(environment(), ["igpo", "monte-carlo"], SIZE)


def test_variants_that_read_the_labels_or_nothing_win_nothing(result: CreditResult) -> None:
    assert result.apart == {"evidence-recall": "reads the gold evidence", TURN_NUMBER: "reads nothing"}
    for measure in result.measures:
        assert not result.apart.keys() & best_of(result, measure)


def test_four_questions_show_nothing(result: CreditResult) -> None:
    assert not any(best_of(result, measure) for measure in result.measures)
    assert not any("[" in cell.detail for table in overview(result) for row in table.rows for cell in row)
    first, *others = findings(result)
    assert first.startswith("4 questions show that everything works, not which reward is better")
    assert all("no variant is shown to be better" in other for other in others)


def test_a_run_says_how_well_it_knows(result: CreditResult) -> None:
    def told(half: float, count: int) -> str:
        found = {name: Estimate(0.7, 0.7 - half, 0.7 + half, count) for name in result.plays}
        estimates = result.estimates | {"auc": found}
        return findings(replace(result, estimates=estimates, questions=result.questions[:1] * count))[0]

    assert "8 questions the AUC of a variant is known to about ±0.30: too few to rank rewards" in told(0.3, 8)
    assert told(0.05, 60).endswith("about ±0.05.")


def test_the_best_are_marked_and_told(result: CreditResult) -> None:
    draw = np.random.default_rng(0)
    base = draw.normal(0.5, 0.1, 30)
    found = {name: over_seeds(base + draw.normal(0, 0.01, 30)) for name in result.plays}
    found |= {"igpo": over_seeds(base + 0.3), "watermark": over_seeds(base + 0.3 + draw.normal(0, 0.01, 30))}
    many = replace(result, estimates=result.estimates | {"auc": found})
    assert best_of(many, many.measure("auc")) == {"igpo", "watermark"}
    assert any("not shown to be worse: " in finding for finding in findings(many))
    assert "**" in markdown_table(overview(many)[0])
    assert 'class="best"' in credit_files(many)["report.html"]


def test_the_scorer_says_what_it_costs(result: CreditResult) -> None:
    assert result.costs[TURN_NUMBER] == Cost(0.0, 0.0)
    costs = [cost for name, cost in result.costs.items() if name != TURN_NUMBER]
    assert all(cost.milliseconds > 0 for cost in costs)
    assert all(cost.tokens != cost.tokens for cost in costs), "it does not count tokens"


def test_mispriced_turns_are_the_extremes(result: CreditResult) -> None:
    least, most = mispriced(result.plays["igpo"], count=2)
    assert all(a.pay <= b.pay for a, b in pairwise(least))
    assert all(each.label.startswith(("adding", "completing")) for each in least)
    assert all(each.label.startswith(("hacking", "irrelevant", "redundant")) for each in most)
    worthless = [play.pays("hacking", "irrelevant", "redundant") for p in result.plays["igpo"] for play in p]
    assert most[0].pay == max(value for pays in worthless for value in pays)
    assert len({each.question for each in most}) == len(most)


def test_mispriced_turns_can_be_looked_at(result: CreditResult, tmp_path: Path) -> None:
    texts = mispriced_files(result, MentionScorer())
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (run,) = read_runs([tmp_path / RECORDS, tmp_path / REWARDS])
    least, most = mispriced(result.plays["igpo"], count=1)
    for example in (*least, *most):
        (shown,) = [
            each
            for each in run.episodes
            if each.settings["agent"] == example.agent
            and each.episode.turns == example.trajectory.episode.turns
            and each.episode.question.id == example.trajectory.episode.question.id
            and f"igpo ({example.pay:+.3f})" in str(each.episode.measured)
        ][:1]
        assert shown.paid["igpo"].terms[example.turn - 1]["igpo"] == pytest.approx(example.pay)
        told = shown.episode.measured[example.turn]
        assert example.label == told["oracle"]
        assert len(shown.episode.beliefs) == shown.episode.states
    attempts = {(compared(each.settings, each.episode), each.episode.attempt) for each in run.episodes}
    assert len(attempts) == len(run.episodes)
    bare = mispriced_files(result, None)
    assert '"beliefs": []' in bare[RECORDS]


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


def test_the_report_explains_every_measure(result: CreditResult, files: dict[str, str]) -> None:
    page = files["report.html"].replace("&#39;", "'").replace("&#34;", '"')
    for measure in result.measures:
        if not measure.key.startswith(("auc_hop_", "pay_", "teacher_alpha")):
            assert measure.meaning in page
    for name in result.plays:
        assert name in page
    assert "<nan" not in page
    assert ">nan" not in page


def test_questions_are_quoted_in_the_report() -> None:
    """Text of a data set is data: it cannot write into the page."""
    odd = QuestionSet(
        "odd", [Question(q.id, f"<script>{q.text}", q.answers, q.evidence) for q in QUESTIONS], PASSAGES
    )
    files = credit_files(run_credit(environment(odd), ["igpo"], SIZE))
    for name in ("report.html", "tables.md"):
        assert "<script>" not in files[name]
        assert "&lt;script&gt;" in files[name]


def test_text_in_markdown_stands_as_it_is() -> None:
    odd = Cell("a|b *c* `d`\ne", "![x](http://y) [z](w) <b> &amp;", best=True)
    (*_, row) = markdown_table(Table(("name",), ((odd,),))).splitlines()
    assert row == (r"| **a\|b \*c\* \`d\` e** !\[x]\(http://y) [z]\(w) &lt;b&gt; &amp;amp; |")


def test_a_spreadsheet_takes_no_text_for_a_formula() -> None:
    texts = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "a=b", ""]
    text = csv_text([{"-name": each, "pay": -0.5} for each in texts], ("-name", "pay"))
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert header == ["'-name", "pay"]
    assert [row[0] for row in rows] == ["'=1+1", "'+1", "'-1", "'@a", "'\tx", "'\nx", "a=b", ""]
    assert {row[1] for row in rows} == {"-0.5"}


def test_the_titles_of_panels_do_not_touch(result: CreditResult) -> None:
    titles = [result.measure(key).title for key in ("auc", "auc_completing", "auc_adding")]
    panels = {title: {"igpo(context=evidence)": Estimate(0.5, 0.4, 0.6, 9)} for title in titles}
    figure = _interval_figure(panels, {}, {}, {})
    figure.draw_without_rendering()
    boxes = [axis.title.get_window_extent() for axis in figure.axes] + [
        axis._left_title.get_window_extent() for axis in figure.axes
    ]
    boxes = sorted((box for box in boxes if box.width > 0), key=lambda box: box.x0)
    assert len(boxes) == 3
    assert all(a.x1 + 5 < b.x0 for a, b in pairwise(boxes))
    assert boxes[-1].x1 <= figure.bbox.x1


def test_a_label_is_parted_from_its_note(files: dict[str, str]) -> None:
    assert "evidence-recall <small>reads the gold evidence</small>" in files["report.html"]


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


@pytest.mark.parametrize("command", [("credit",), ("train", "--model", "missing")])
def test_a_missing_extra_is_told_before_anything_is_made(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("igpo_gym.libraries.find_spec", lambda name: None)
    out = tmp_path / "out"
    ended = CliRunner().invoke(app, ["bench", *command, "--scorer", "missing", "--out", str(out)])
    assert ended.exit_code == 2
    assert "pip install 'igpo-gym[bench]'" in " ".join(ended.output.split())
    assert not out.exists()


def test_questions_without_evidence_are_refused() -> None:
    bare = [Question("1", "Who?", ("x",)), Question("2", "Who?", ("y",), ("drum",))]
    with pytest.raises(SpecError, match="'1' names no gold evidence"):
        run_credit(environment(QuestionSet("bare", bare, PASSAGES)), ["igpo"], Size(count=2))
    with pytest.raises(SpecError, match="unknown reward 'ipgo'"):
        run_credit(environment(), ["ipgo"], SIZE)
