"""``igpo-gym compare`` on made-up recordings whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from typer.testing import CliRunner

from igpo_gym.agents.rollouts.records import RolloutFile
from igpo_gym.benchmark.evaluation.measures import measure_named
from igpo_gym.benchmark.evaluation.paired import Played, compare, verdict_rows, verdict_table
from igpo_gym.cli import app
from igpo_gym.episode import Answer, EndReason, Episode, Question, Segment, Turn

runner = CliRunner()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = runner.invoke(app, ["compare", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def write(
    name: str,
    right: str,
    *,
    questions: str = "world:test",
    texts: str = "Where is {}?",
    gold: str = "Danzig",
    ids: str = "q{}",
    append: bool = False,
    attempt: int = 0,
    **settings: Any,
) -> None:
    """A recording of a question for each sign of ``right``: "+" is answered rightly, "-" wrongly."""
    if not append:
        Path(name).unlink(missing_ok=True)
    kept = {"questions": questions, **settings}
    with RolloutFile(
        Path(name), kept, others=[] if not append else ["world:test", "mine/one.jsonl", "yours/one.jsonl"]
    ) as file:
        for number, sign in enumerate(right):
            question = Question(ids.format(number), texts.format(number), (gold,))
            episode = Episode(question, (Segment("environment", "user", "?"),), attempt=attempt)
            said = gold if sign == "+" else "=HYPERLINK() | <b>[red]x\x1b[2J"
            segment = Segment("agent", "assistant", said)
            episode.append(Turn(said, Answer(said), (segment,)), EndReason.ANSWERED)
            episode.rewards.append({})
            file.write(episode)


def as_json(*arguments: str) -> dict[str, Any]:
    run("a.jsonl", "b.jsonl", *arguments, "--table", "c.json")
    found: dict[str, Any] = json.loads(Path("c.json").read_text())
    return found


def test_who_is_better_by_how_much_and_where() -> None:
    write("a.jsonl", "++--------+", top_k=3, agent="one")
    write("b.jsonl", "+-+++++++-+", top_k=5, agent="two")
    found = as_json("--examples", "20")
    (row,) = found["sets"]
    assert (row["both"], row["only_first"], row["only_second"], row["neither"]) == (2, 1, 7, 1)
    assert (row["first"], row["second"]) == pytest.approx((3 / 11, 9 / 11))
    differences = [0, -1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    assert row["difference"] == pytest.approx(sum(differences) / 11)
    assert row["p_value"] == pytest.approx(stats.binomtest(1, 8).pvalue)  # McNemar's exact test
    ends = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (row["low"], row["high"]) == pytest.approx((ends.low, 1.0))
    assert ends.high > 1  # which no difference of shares can be
    assert found["settings"] == [
        {"setting": "top_k", "first": 3, "second": 5},
        {"setting": "agent", "first": "one", "second": "two"},
    ]
    listed = {each["id"]: each["scores"] for each in found["questions"]}
    assert listed == {f"q{n}": [1, 0] if d < 0 else [0, 1] for n, d in enumerate(differences) if d}
    assert [each["id"] for each in found["questions"]][-1] == "q1"
    assert (
        "No difference in em that can be told from chance over 11 questions (p = 0.070)." in found["verdict"]
    )


def test_two_questions_of_one_id_in_one_file_are_refused() -> None:
    write("a.jsonl", "+" * 6)
    write("b.jsonl", "+" * 6)
    write("b.jsonl", "-" * 6, texts="Who is {}?", append=True, attempt=1)
    assert "b.jsonl: two questions have the id 'q0', with other texts" in run("a.jsonl", "b.jsonl", code=2)
    assert "b.jsonl: two questions have the id" in run("b.jsonl", "a.jsonl", code=2)


def test_an_attempt_that_stands_twice_in_one_file_is_refused() -> None:
    for name in ("a.jsonl", "b.jsonl"):
        write(name, "++++--")
    lines = Path("b.jsonl").read_text().splitlines(keepends=True)
    Path("b.jsonl").write_text("".join((*lines, lines[2])))
    for files in (("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl")):
        assert "b.jsonl: attempt 0 at 'q2' stands there twice" in run(*files, code=2)
    # A trainer plays it again in another step.
    steps = [line.replace('"format"', f'"step": {step}, "format"') for step in (1, 2) for line in lines]
    Path("b.jsonl").write_text("".join(steps))
    assert "over 6 questions" in run("a.jsonl", "b.jsonl")


def test_an_aborted_episode_is_not_told_as_missing() -> None:
    write("a.jsonl", "++++--")
    write("b.jsonl", "++++--")
    first, *others = Path("b.jsonl").read_text().splitlines(keepends=True)
    Path("b.jsonl").write_text("".join((first.replace('"end": "answered"', '"end": "aborted"'), *others)))
    assert "1 questions of a.jsonl were not played in b.jsonl, or have no em there" in run(
        "a.jsonl", "b.jsonl"
    )


def test_a_setting_that_differs_in_several_sets_is_told_of_each() -> None:
    for name, place in (("a.jsonl", "mine"), ("b.jsonl", "yours")):
        write(name, "+-+-+-", questions=f"{place}/one.jsonl")
        write(name, "+++---", append=True, questions=f"{place}/two.jsonl", texts="Who is {}?")
    changed = [(each["setting"], each["first"], each["second"]) for each in as_json()["settings"]]
    assert changed == [("questions", f"mine/{one}.jsonl", f"yours/{one}.jsonl") for one in ("one", "two")]


def test_a_clear_difference_is_called_one() -> None:
    write("a.jsonl", "-" * 9 + "+")
    write("b.jsonl", "+" * 9 + "+")
    output = run("a.jsonl", "b.jsonl", "--examples", "2")
    assert "The second is better by 0.900 in em over 10 questions (p = 0.0039)." in output
    assert "the settings are the same" in output
    assert output.count("Where is") == 2
    assert "The first is better by 0.900" in run("b.jsonl", "a.jsonl")
    assert "\x1b" not in output  # what an agent wrote does not drive the terminal
    assert "[red]x" in output


def test_more_of_what_is_no_score_is_not_better() -> None:
    questions = [Question(f"q{number}", "Where?", ("Danzig",)) for number in range(9)]

    def played(turns: int) -> dict[str, Played]:
        made = Played()
        for number, question in enumerate(questions):
            made.add(Episode(question, ()), turns + number % 3)
        return {"world:test": made}

    found = compare(played(1), played(3), measure_named("turns"))
    assert found.sentence == "The second has more by 2.000 in turns over 9 questions (p = 0.0039)."
    assert "neither" not in [row[0].text for row in verdict_table(found).rows], "none is right in turns"
    assert "only_first" not in verdict_rows(found)[0]


def test_a_graded_score_is_tested_by_turning_signs() -> None:
    for name, attempts in (("a.jsonl", ("+++---", "+-----")), ("b.jsonl", ("++++++", "+-+-++"))):
        write(name, attempts[0])
        write(name, attempts[1], append=True, questions="again", attempt=1)
        lines = Path(name).read_text().replace('"questions": "again"', '"questions": "world:test"')
        Path(name).write_text(lines)
    (row,) = as_json("--metric", "f1")["sets"]
    # Means over two attempts: 1 .5 .5 0 0 0 and 1 .5 1 .5 1 1.
    differences = [0, 0, 0.5, 0.5, 1, 1]
    assert row["difference"] == pytest.approx(0.5)
    theirs = stats.permutation_test((differences,), sum, permutation_type="samples")
    assert row["p_value"] == pytest.approx(theirs.pvalue)
    assert (row["only_first"], row["only_second"], row["both"], row["neither"]) == (0, 3, 3, 0)


def test_several_sets_are_compared_set_by_set_and_together() -> None:
    for name, right in (("a.jsonl", "-----+"), ("b.jsonl", "++++++")):
        write(name, right)
        write(name, right[::-1], append=True, questions="jsonl:x.jsonl", texts="Who is {}?")
    rows = as_json()["sets"]
    assert [(row["set"], row["questions"]) for row in rows] == [
        ("world:test", 6),
        ("jsonl:x.jsonl", 6),
        ("all questions", 12),
    ]
    alone, both = stats.binomtest(0, 5).pvalue, stats.binomtest(0, 10).pvalue
    assert [row["p_value"] for row in rows] == pytest.approx([2 * alone, 2 * alone, both])  # Holm


def test_a_set_of_another_place_is_the_same_set() -> None:
    write("a.jsonl", "+-+-+-", questions="jsonl:/mine/dev.jsonl")
    write("b.jsonl", "+-+-++--", questions="jsonl:dev.jsonl#limit=8")
    found = as_json()
    assert [row["questions"] for row in found["sets"]] == [6]
    assert (found["only_in_first"], found["only_in_second"]) == (0, 2)
    assert "2 questions of b.jsonl were not played in a.jsonl, or have no em there, and are left out" in run(
        "a.jsonl", "b.jsonl"
    )


def test_sets_that_have_nothing_in_common_are_not_paired_by_their_ids() -> None:
    for name, own in (("a.jsonl", "nq"), ("b.jsonl", "2wiki")):
        write(name, "+-+-+-")
        write(name, "+++---", append=True, questions=f"jsonl:{own}.jsonl", texts=f"{own} {{}}?")
    found = as_json()
    assert [(row["set"], row["questions"]) for row in found["sets"]] == [("world:test", 6)]
    assert (found["only_in_first"], found["only_in_second"]) == (6, 6)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"texts": "Where was {}?"},
            "6 of 6 questions of 'world:test' have another text in the second, such as 'q0'",
        ),
        ({"gold": "Gdańsk"}, "6 of 6 questions of 'world:test' have other gold answers in the second"),
        ({"ids": "p{}"}, "no question in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(other: dict[str, str], message: str) -> None:
    write("a.jsonl", "+-+-+-")
    write("b.jsonl", "+-+-+-", **other)  # type: ignore[arg-type]
    output = run("a.jsonl", "b.jsonl", code=2)
    assert message in output
    assert "Danzig" not in output
    assert "both are the same file" in run("a.jsonl", "./a.jsonl", code=2)
    Path("empty.jsonl").write_text("")
    assert "holds no episode that can be scored" in run("a.jsonl", "empty.jsonl", code=2)
    assert "missing.jsonl: no such file" in run("a.jsonl", "missing.jsonl", code=2)


def test_few_questions_are_not_judged_and_files_are_harmless() -> None:
    write("a.jsonl", "++-")
    write("b.jsonl", "---")
    output = run("a.jsonl", "b.jsonl", "--table", "c.md", "--table", "c.csv")
    assert "No difference in em that can be told from chance over 3 questions (fewer than five)." in output
    assert Path("c.csv").read_text().splitlines()[1].split(",")[:3] == ["world:test", "em", "3"]
    assert "| em | world:test |\n| --- | --- |\n| questions | 3 |" in Path("c.md").read_text()
