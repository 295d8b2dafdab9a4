"""``igpo-gym eval``: the table against figures that are computed here from the lines of the file."""

from __future__ import annotations

import csv
import json
import math
import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner

from igpo_gym.cli import app
from tests.conftest import PASSAGES, QUESTIONS

runner = CliRunner()

WORLD = "world:test#documents=60,questions=12"
OTHER = "world:test#documents=60,questions=9,seed=3"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = runner.invoke(app, ["eval", *arguments], env={"COLUMNS": "300"})
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def records(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_the_usual_metrics_are_those_of_the_package() -> None:
    import typer

    from igpo_gym.benchmark.evaluation.measures import USUAL

    commands: Any = typer.main.get_command(app)
    _, command, _ = commands.resolve_command(typer.Context(commands), ["eval"])
    (option,) = [each for each in command.params if each.name == "metrics"]
    assert option.default == ",".join(USUAL)


# What SQuAD's script does, written down once more.


def normal(text: str) -> str:
    text = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def em(record: dict[str, Any]) -> float:
    said = record["prediction"]
    return float(said is not None and normal(said) in map(normal, record["question"]["answers"]))


def f1(record: dict[str, Any]) -> float:
    best = 0.0
    for gold in record["question"]["answers"] if record["prediction"] is not None else ():
        words, right = normal(record["prediction"]).split(), normal(gold).split()
        if (words[:1] + right[:1]).count("yes") + (words[:1] + right[:1]).count("no"):
            best = max(best, float(words == right))
            continue
        common = sum((Counter(words) & Counter(right)).values())
        best = max(best, 2 * common / (len(words) + len(right)) if common else 0.0)
    return best


def figures(chosen: list[dict[str, Any]]) -> dict[str, float]:
    turns = [record["turns"] for record in chosen]
    calls = [
        [
            call["tool"]
            for turn in each
            if turn["action"]["kind"] == "tools"
            for call in turn["action"]["calls"]
        ]
        for each in turns
    ]
    n = len(chosen)
    return {
        "em": sum(map(em, chosen)) / n,
        "f1": sum(map(f1, chosen)) / n,
        "searches": sum(each.count("search") for each in calls) / n,
        "opens": sum(each.count("open") for each in calls) / n,
        "turns": sum(map(len, turns)) / n,
        "invalid messages": sum(turn["action"]["kind"] == "invalid" for each in turns for turn in each) / n,
        "answered": sum(record["end"] == "answered" for record in chosen) / n,
        "turns exhausted": sum(record["end"] == "turns exhausted" for record in chosen) / n,
        "search failures": sum(r["failed"] for each in turns for turn in each for r in turn["results"]) / n,
    }


def test_the_table_is_that_of_the_records(place: Path) -> None:
    sets = ("--questions", WORLD, "--questions", OTHER)
    files = [part for end in ("json", "csv", "md") for part in ("--table", f"t.{end}")]
    output = run("--agent", "noisy", *sets, "--tools", "search + open", "--out", "a.jsonl", *files)
    assert "21 questions, 21 episodes" in output
    table = json.loads(Path("t.json").read_text())
    own = [
        figures([r for r in records("a.jsonl") if r["settings"]["questions"] == s]) for s in (WORLD, OTHER)
    ]
    assert [each["set"] for each in table["sets"]] == [WORLD, OTHER]
    assert [each["questions"] for each in table["sets"]] == [12, 9]
    for found, expected in zip(table["sets"], own, strict=True):
        assert {name: found["estimates"][name]["mean"] for name in expected} == pytest.approx(expected)
        assert "tokens" not in found["estimates"]  # a script has none
    averages = {name: (own[0][name] + own[1][name]) / 2 for name in own[0]}
    assert {name: table["average"][name]["mean"] for name in averages} == pytest.approx(averages)
    rows = {
        (row["set"], row["measure"]): row for row in csv.DictReader(Path("t.csv").read_text().splitlines())
    }
    assert float(rows["average", "em"]["mean"]) == pytest.approx(averages["em"])
    line = next(line for line in Path("t.md").read_text().splitlines() if line.startswith("| em "))
    assert [cell.split()[0] for cell in line.strip("| ").split(" | ")] == [
        "em",
        *(f"{each['em']:.3f}" for each in (*own, averages)),
    ]


def test_intervals_are_over_questions_and_those_of_scipy(place: Path) -> None:
    run("--agent", "noisy", "--questions", WORLD, "--attempts", "3", "--out", "a.jsonl", "--table", "t.json")
    found = json.loads(Path("t.json").read_text())["sets"][0]
    assert (found["questions"], found["episodes"]) == (12, 36)
    by_question: dict[str, list[float]] = {}
    for record in records("a.jsonl"):
        by_question.setdefault(record["question"]["id"], []).append(f1(record))
    means = [sum(each) / 3 for each in by_question.values()]
    mean = sum(means) / 12
    assert found["estimates"]["f1"]["mean"] == pytest.approx(mean)
    # Student's t over the questions' means, on the log-odds scale.
    reach = stats.t.ppf(0.975, 11) * stats.sem(means) / (mean * (1 - mean))
    odds = math.log(mean / (1 - mean))
    ends = [1 / (1 + math.exp(-each)) for each in (odds - reach, odds + reach)]
    assert [found["estimates"]["f1"][end] for end in ("low", "high")] == pytest.approx(ends)


def test_below_five_questions_there_is_no_interval(place: Path) -> None:
    output = run(
        "--agent", "noisy", "--questions", WORLD, "--limit", "4", "--out", "a.jsonl", "--table", "t.json"
    )
    estimates = json.loads(Path("t.json").read_text())["sets"][0]["estimates"]
    assert {each["low"] for each in estimates.values()} == {None}
    assert "no interval stands where fewer than five questions" in output
    assert output.endswith("igpo-gym view a.jsonl")


def test_it_goes_on_where_it_stopped_whatever_the_sets(place: Path) -> None:
    whole = ("--agent", "noisy", "--questions", f"{WORLD} + {OTHER}")
    run(*whole, "--out", "whole.jsonl", "--table", "whole.json")
    run("--agent", "noisy", "--questions", OTHER, "--limit", "2", "--out", "a.jsonl")
    first = Path("a.jsonl").read_bytes()
    run(*whole, "--out", "a.jsonl", "--table", "a.json")
    assert Path("a.jsonl").read_bytes().startswith(first)
    assert json.loads(Path("a.json").read_text()) == json.loads(Path("whole.json").read_text())
    Path("a.jsonl").write_bytes(Path("a.jsonl").read_bytes()[:-100])  # a crash within a line
    run(*whole, "--out", "a.jsonl", "--table", "a.json")
    assert json.loads(Path("a.json").read_text()) == json.loads(Path("whole.json").read_text())
    assert len(records("a.jsonl")) == 21
    assert "made with other settings (questions" in run(
        "--agent", "noisy", "--questions", OTHER, "--out", "a.jsonl", code=2
    )


def test_questions_that_the_agent_cannot_read_are_counted(place: Path) -> None:
    asked = [{"question": "Who? " * (9000 if n == 1 else 1), "answers": ["A"]} for n in range(3)]
    Path("q.jsonl").write_text("".join(json.dumps(each) + "\n" for each in asked))
    Path("c.jsonl").write_text(json.dumps({"id": "1", "title": "Port", "text": "A port."}))
    play = ("--agent", "nano", "--questions", "jsonl:q.jsonl", "--search", "bm25:c.jsonl", "--max-turns", "1")
    told = run(*play, "--max-tokens", "4", "--out", "e.jsonl")
    assert "2 questions, 2 episodes" in told
    assert "1 episodes are left out: the agent, or the scorer, cannot read their prompts" in told
    assert json.loads(Path("e.card.json").read_text())["scores"]["left_out"] == 1


def test_an_episode_that_stands_there_twice_is_told(place: Path) -> None:
    play = ("--agent", "expert", "--questions", WORLD, "--limit", "3", "--out", "e.jsonl")
    run(*play)
    first = Path("e.jsonl").read_text().splitlines(keepends=True)[0]
    with Path("e.jsonl").open("a") as file:
        file.write(first)
    assert "e.jsonl: attempt 0 at " in run(*play, code=2)


def test_sets_that_share_ids_stay_apart_when_they_are_relabeled(place: Path) -> None:
    for name in ("a", "b"):
        lines = [json.dumps({"question": f"Where is {name}{n}?", "answers": ["x"]}) for n in range(6)]
        Path(f"{name}.jsonl").write_text("\n".join(lines))
    Path("corpus.jsonl").write_text(json.dumps({"_id": "1", "title": "", "text": "where"}))
    both = ("--questions", "a.jsonl + b.jsonl", "--search", "bm25:corpus.jsonl")
    run("--agent", "scripted", *both, "--out", "played.jsonl")
    assert len({record["question"]["id"] for record in records("played.jsonl")}) == 6
    command = ["relabel", "played.jsonl", "--out", "priced.jsonl", "--reward"]
    told = runner.invoke(app, [*command, "f1"]).output.split("│")
    assert [each.strip() for each in told[-3:-1]] == ["12", "12"]  # questions, episodes
    result = runner.invoke(app, [*command, "monte-carlo", "--policy", "scripted"])
    assert result.exit_code == 2
    told = "played.jsonl, line 7: played with other settings than line 1 (questions)"
    assert told in " ".join(result.output.split())


def test_each_set_has_a_search_of_its_own(place: Path) -> None:
    lines = [json.dumps({"id": q.id, "question": q.text, "answers": q.answers}) for q in QUESTIONS]
    Path("q.jsonl").write_text("\n".join(lines))
    corpus = [json.dumps({"_id": p.id, "title": p.title, "text": p.text}) for p in PASSAGES]
    Path("corpus.jsonl").write_text("\n".join(corpus))
    sets = ("--questions", WORLD, "--questions", "jsonl:q.jsonl", "--agent", "scripted")
    output = run(*sets, "--search", "none", "--search", "bm25:corpus.jsonl", "--out", "a.jsonl")
    assert " world " in output  # a set is called by its source where that is its own
    found = [
        (record["settings"]["search"], passage["id"])
        for record in records("a.jsonl")
        for passage in record["turns"][0]["results"][0]["passages"][0]
    ]
    assert {name for name, _ in found} == {None, "bm25:corpus.jsonl"}
    assert {id_ for name, id_ in found if name} <= {p.id for p in PASSAGES}
    assert "bring no passages to search" in run(*sets, "--out", "b.jsonl", code=2)
    three = [part for _ in range(3) for part in ("--search", "none")]
    assert "3 retrievers for 2 sets" in run(*sets, *three, "--out", "b.jsonl", code=2)
    assert "are given twice" in run("--questions", f"{WORLD} + {WORLD}", "--out", "b.jsonl", code=2)


def test_a_file_with_several_sources_has_a_column_for_each(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from igpo_gym.data.interface import QuestionSet
    from igpo_gym.specs import register, unregister

    mixed = [replace(q, source="nq" if place % 2 else "=tq") for place, q in enumerate(QUESTIONS)]
    register("questions", "mixed", lambda: QuestionSet("mixed", tuple(mixed), PASSAGES))
    try:
        run(
            "--questions",
            "mixed",
            "--agent",
            "expert",
            "--out",
            "a.jsonl",
            "--table",
            "t.csv",
            "--table",
            "t.md",
        )
    finally:
        unregister("questions", "mixed")
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert {row["set"] for row in rows} == {"nq", "'=tq", "average"}  # no spreadsheet takes it for a formula
    assert Path("t.md").read_text().startswith("| measure | =tq | nq | average |")


def test_mistakes_are_told_before_anything_is_played(place: Path) -> None:
    Path("q.jsonl").write_text(json.dumps({"question": "Who?", "answers": ["A"]}))
    for arguments, message in (
        (("--out", "a.jsonl", "--metrics", "em,bleu"), "bleu"),
        (("--out", "a.jsonl", "--table", "t.xls"), "t.xls says no form of a table by its ending"),
        ((), "give --out"),
        (("--out", "a.jsonl", "--agent", "oracle:missing/model", "--questions", f"{WORLD} + q.jsonl"),
         "oracle:missing/model needs gold evidence, but question '1' of 'jsonl:q.jsonl' names none"),
    ):  # fmt: skip
        assert message in run(*arguments, code=2)
    assert not Path("a.jsonl").exists()


def test_a_judge_has_a_row_of_its_own(place: Path) -> None:
    from igpo_gym.specs import register, unregister

    class Capitals:
        """Finds right what begins with A to M."""

        version = "capitals/1"

        def grade(self, questions: Any, answers: Any, predictions: Any) -> list[str]:
            return ["correct" if each[0] < "N" else "incorrect" for each in predictions]

    register("judge", "capitals", Capitals)
    options = ("--judge", "capitals", "--agent", "noisy", "--questions", WORLD, "--out", "a.jsonl")
    try:
        run(*options, "--table", "t.json")
    finally:
        unregister("judge", "capitals")
    found = json.loads(Path("t.json").read_text())["sets"][0]["estimates"]
    said = [record["prediction"] for record in records("a.jsonl")]
    graded = [float(each is not None and each[0] < "N") for each in said]
    assert found["judge"]["mean"] == pytest.approx(sum(graded) / 12)
    equal = [verdict == em(record) for verdict, record in zip(graded, records("a.jsonl"), strict=True)]
    assert found["judge agrees with em"]["mean"] == pytest.approx(sum(equal) / 12)
    card = json.loads(Path("a.card.json").read_text())
    assert (card["settings"]["judge"], card["decided_by"]["judge"]) == ("capitals", "capitals/1")


def test_an_aborted_episode_has_neither_score_nor_verdict() -> None:
    from igpo_gym.benchmark.evaluation.measures import measures
    from igpo_gym.episode import EndReason, Episode

    episode = Episode(QUESTIONS[0], (), end=EndReason.ABORTED)
    episode.measured = [{"judge": None}]
    values = {each.name: each.value(episode) for each in measures(("em",))}
    assert (values["em"], values["judge"], values["judge agrees with em"]) == (None, None, None)
    assert values["aborted"] == 1.0


def test_closed_book_and_oracle_are_recorded_as_what_they_are(place: Path) -> None:
    run("--agent", "oracle:expert", "--questions", WORLD, "--out", "o.jsonl", "--table", "o.json")
    run("--agent", "closed-book:guesser", "--questions", WORLD, "--out", "c.jsonl", "--table", "c.json")
    oracle, closed = (json.loads(Path(f"{name}.json").read_text())["sets"][0]["estimates"] for name in "oc")
    assert (oracle["em"]["mean"], oracle["searches"]["mean"], oracle["turns"]["mean"]) == (1, 1, 2)
    assert (closed["searches"]["mean"], closed["turns"]["mean"]) == (0, 1)
    kept = [records(f"{name}.jsonl")[0]["settings"] for name in "oc"]
    told = [(each["agent"], each["tools"], each["max_turns"], each["on_limit"]) for each in kept]
    assert told == [
        ("oracle:expert", "gold-evidence", 1, "answer"),
        ("closed-book:guesser", "", 1, "truncate"),
    ]


def test_a_card_runs_the_same_again(place: Path) -> None:
    options = ("--agent", "noisy", "--questions", WORLD, "--questions", OTHER, "--top-k", "2", "--seed", "4")
    run(*options, "--metrics", "em_strict,f1_mlqa(language=de)", "--limit", "7", "--out", "a.jsonl")
    card = json.loads(Path("a.card.json").read_text())
    assert card["settings"]["questions"] == [WORLD, OTHER]
    assert card["decided_by"]["packages"]["igpo-gym"]
    assert "{question}" in card["decided_by"]["prompt"][0]["text"]
    assert all(each["questions_hash"] for each in card["decided_by"]["sets"].values())
    assert card["decided_by"]["sets"][OTHER]["retrievers"] == [{"type": "BM25Index", "passages": 60}]
    output = run("--like", "a.card.json")
    assert "what decides the figures: as on a.card.json" in output
    assert "the figures: as on a.card.json" in output
    assert records("a.again.jsonl") == records("a.jsonl")
    assert json.loads(Path("a.again.card.json").read_text()) == card
    run("--like", "a.card.json", "--questions", WORLD, "--out", "one.jsonl")

    # One of the first format, which called the number of questions otherwise.
    settings = {"episodes" if name == "limit" else name: each for name, each in card["settings"].items()}
    Path("first.card.json").write_text(json.dumps({**card, "card": 1, "settings": settings}))
    run("--like", "first.card.json")
    assert json.loads(Path("first.again.card.json").read_text()) == card
    assert records("one.jsonl") == records("a.jsonl")[:7]
    # The command line comes before the card, and what differs is named.
    output = run("--like", "a.card.json", "--top-k", "1", "--out", "b.jsonl")
    assert records("b.jsonl")[0]["settings"]["top_k"] == 1
    card["decided_by"]["packages"]["igpo-gym"] = "0.0.1"
    card["decided_by"]["sets"][WORLD]["questions_hash"] = "other"
    Path("old.card.json").write_text(json.dumps(card))
    output = run("--like", "old.card.json")
    assert 'packages, igpo-gym: "0.0.1" then' in output
    assert f'sets, {WORLD}, questions_hash: "other" then' in output


def test_a_card_tells_of_episodes_that_other_versions_have_played(place: Path) -> None:
    options = ("--agent", "noisy", "--questions", WORLD, "--out", "a.jsonl")
    run(*options, "--limit", "2")
    card = json.loads(Path("a.card.json").read_text())
    assert "earlier_packages" not in card["decided_by"]
    old = {**card["decided_by"]["packages"], "numpy": "1.0"}
    card["decided_by"]["packages"] = old
    Path("a.card.json").write_text(json.dumps(card))
    assert "played with other versions of packages" in run(*options, "--limit", "3")
    run(*options, "--limit", "4")
    decided = json.loads(Path("a.card.json").read_text())["decided_by"]
    assert decided["earlier_packages"] == [old]
    assert decided["packages"] != old


def test_a_card_that_cannot_be_read_is_told_before_anything_is_played(place: Path) -> None:
    arguments = ("--agent", "expert", "--questions", WORLD, "--out", "played.jsonl", "--limit")
    run(*arguments, "2")
    before = Path("played.jsonl").read_bytes()
    Path("played.card.json").write_text('{"card": 9}')
    told = run(*arguments, "4", code=2)
    assert "played.card.json: no card of an evaluation" in told
    assert "episodes" not in told
    assert Path("played.jsonl").read_bytes() == before


def test_a_card_is_a_file_and_names_no_code(place: Path) -> None:
    run("--agent", "noisy", "--questions", WORLD, "--limit", "1", "--out", "a.jsonl")
    card = json.loads(Path("a.card.json").read_text())
    for name, value, shown in (
        ("agent", "closed-book:os.path:join", "policy 'os.path:join'"),
        ("questions", ["world", "os.path:join"], "questions 'os.path:join'"),
        ("search", ["os.path:join"], "search 'os.path:join'"),
        ("metrics", "em,os.path:join", "metric 'os.path:join'"),
        ("tools", "os.path:join", "tool 'os.path:join'"),
    ):
        changed = {**card, "settings": {**card["settings"], name: value}}
        Path("bad.card.json").write_text(json.dumps(changed))
        output = run("--like", "bad.card.json", "--out", "b.jsonl", code=2)
        assert f"names the {shown}" in output
        assert "--trust-imports" in output
    assert "no card of an evaluation" in run("--like", "a.jsonl", code=2)
    Path("c.json").write_text('{"top_k": 2}')
    assert "give --config or --like, not both" in run("--like", "a.card.json", "--config", "c.json", code=2)
    Path("next.card.json").write_text(json.dumps({**card, "card": 3}))
    assert "a card of format 3; this version reads formats 1 to 2" in run("--like", "next.card.json", code=2)


def test_no_credentials_stand_in_a_card(place: Path) -> None:
    from igpo_gym.specs import register, unregister

    register("policy", "told", lambda where, questions, protocol: _Silent(), form="told:URL")
    try:
        run(
            "--agent",
            "told:http://me:secret@host",
            "--questions",
            WORLD,
            "--limit",
            "1",
            "--out",
            "a.jsonl",
        )
    finally:
        unregister("policy", "told")
    text = Path("a.card.json").read_text() + Path("a.jsonl").read_text()
    assert "secret" not in text
    assert "told:http://host" in text


class _Silent:
    def act(self, episodes: Any) -> list[str]:
        return ["<answer>nothing</answer>" for _ in episodes]
