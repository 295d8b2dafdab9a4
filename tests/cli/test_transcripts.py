"""``igpo-gym import``, ``show``, and ``relabel`` of what was imported."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.agents.rollouts.transcripts import read_transcripts
from igpo_gym.cli import app
from igpo_gym.cli.common import console
from igpo_gym.lm.names import packaged_folder
from igpo_gym.rewards.relabel import relabel
from igpo_gym.specs import fingerprint

runner = CliRunner()


def run(*arguments: str, code: int = 0) -> str:
    result = runner.invoke(app, arguments)
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(console, "width", 200)
    return tmp_path


def transcript(number: int, answer: str) -> dict[str, Any]:
    text = (
        f"<search>port {number}</search>\n\n<information>Doc 1(Title: Port {number}) It is in Salman.\n"
        f"</information>\n\n<answer>{answer}</answer>"
    )
    return {
        "id": f"q{number}",
        "question": f"Where is port {number}?",
        "golden_answers": ["Salman"],
        "text": text,
    }


@pytest.fixture
def logs(place: Path) -> Path:
    records = [transcript(number, "Salman" if number % 2 else "Vistula") for number in range(6)]
    Path("logs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records) + "broken\n")
    return place / "logs.jsonl"


def test_logs_are_imported_priced_and_shown(logs: Path) -> None:
    told = run("import", "logs.jsonl", "--out", "records.jsonl")
    assert "6 episodes: 6 of the layout search-r1 (6 answered)" in told
    assert "1 records cannot be read: logs.jsonl, line 7: not JSON" in told
    shown = run("show", "records.jsonl", "--id", "q1")
    assert "imported: layout search-r1, line 2" in shown
    assert "Where is port 1?" in shown
    assert "F1 1.00; gold answer: Salman" in shown
    assert "reward" not in shown

    run("relabel", "records.jsonl", "--reward", "igpo", "--reward", "f1", "--scorer", "nano", "--records",
        "--out", "priced.jsonl", "--batch-size", "4")  # fmt: skip
    priced = list(read_rollouts("priced.jsonl"))
    anew = list(relabel(read_transcripts(logs, unread=lambda problem: None), ["igpo", "f1"], "nano"))
    for record, each in zip(priced, anew, strict=True):
        assert record.rewards == [pytest.approx(terms, abs=1e-6) for terms in each.rewards["igpo"]]
        assert len(record.beliefs) == 2
        assert record.extra["priced"]["f1"]["return"] == each.returns["f1"]
    model = Path("model")
    shutil.copytree(packaged_folder("nano"), model)
    run("relabel", "priced.jsonl", "--reward", "f1", "--scorer", "none", "--records", "--out", "kept.jsonl")
    run(
        "relabel",
        "priced.jsonl",
        "--reward",
        "gain",
        "--scorer",
        "model",
        "--records",
        "--out",
        "other.jsonl",
    )
    kept, other = (
        json.loads(Path(name).read_text().splitlines()[0])["settings"]
        for name in ("kept.jsonl", "other.jsonl")
    )
    assert (kept["scorer"], kept["reward"]) == ("nano", "f1"), "the beliefs are those of nano"
    assert (other["scorer"], other["reward"]) == ("model", "gain")
    assert other["scorer_fingerprint"] == fingerprint(model) == kept["scorer_fingerprint"], "it is a copy"
    worst = run("show", "priced.jsonl", "--worst")
    assert "F1 0.00" in worst
    assert "belief" in worst
    assert "reward" in worst
    assert "F1 1.00" in run("show", "priced.jsonl", "--best", "--by", "f1")
    run("import", "priced.jsonl", "--out", "again.jsonl")
    first, again = (
        json.loads(Path(name).read_text().splitlines()[0]) for name in ("priced.jsonl", "again.jsonl")
    )
    assert again == first
    (first_id, *_) = [
        json.loads(line)["question"]["id"] for line in Path("priced.jsonl").read_text().splitlines()
    ]
    twice = Path("priced.jsonl").read_text() * 2
    Path("twice.jsonl").write_text(twice)
    for options, episodes in (
        ((), 2),
        (("--episodes", "1"), 1),
        (("--worst",), 1),
        (("--best", "--episodes", "2"), 2),
    ):
        assert run("show", "twice.jsonl", "--id", first_id, *options).count("gold answer:") == episodes
    for options in (("--id", first_id), ("--episodes", "1"), ("--worst",), ("--best",), ("--by", "f1")):
        assert "--summary is of all" in run("show", "priced.jsonl", "--summary", *options, code=2)
    assert "--metric is for the --summary" in run("show", "priced.jsonl", "--metric", "f1", code=2)
    table = run("show", "priced.jsonl", "--summary")
    assert "6 episodes, 3 right by em" in table
    assert "AUC: gain of a search tells a right answer" in table
    assert "6 have no beliefs" in run("show", "records.jsonl", "--summary")


def test_an_aborted_episode_is_shown_without_a_score(logs: Path) -> None:
    run("import", "logs.jsonl", "--out", "records.jsonl")
    first, *others = map(json.loads, Path("records.jsonl").read_text().splitlines())
    Path("records.jsonl").write_text(
        "".join(f"{json.dumps(each)}\n" for each in (first | {"end": "aborted"}, *others))
    )
    assert "aborted: no score; gold answer:" in run("show", "records.jsonl")
    assert "aborted" not in run("show", "records.jsonl", "--worst", "--episodes", "5")
    summary = run("show", "records.jsonl", "--summary")
    assert "5 episodes, " in summary
    assert "1 were aborted, and are neither right nor wrong" in summary


def test_episodes_that_stand_in_a_file_twice_are_told(logs: Path) -> None:
    run("import", "logs.jsonl", "--out", "records.jsonl")
    once = Path("records.jsonl").read_text().splitlines(keepends=True)
    other = {**json.loads(once[1]), "attempt": 1}, {**json.loads(once[1]), "step": 2}
    told = "3 of the episodes in rows.jsonl stand there more than once, word for word, and each counts"
    commands = (
        ("show", "rows.jsonl", "--summary"),
        ("show", "rows.jsonl", "--best"),
        ("view", "rows.jsonl", "--out", "page.html"),
        ("export", "rows.jsonl", "--format", "sft", "--tokenizer", "nano", "--out", "sft.jsonl"),
        ("relabel", "rows.jsonl", "--reward", "f1", "--scorer", "none", "--out", "priced.jsonl"),
    )
    for lines, doubled in (
        ([*once, once[0], once[0], once[3].rstrip("\n")], True),
        # Another attempt, and the same one in another step of a trainer, are other episodes.
        ([*once, *(f"{json.dumps(each)}\n" for each in other)], False),
    ):
        Path("rows.jsonl").write_text("".join(lines))
        for command in commands:
            output = run(*command)
            assert (told in output) is doubled, command
            Path("priced.jsonl").unlink(missing_ok=True)
    Path("rows.jsonl").write_text("".join(once * 2))
    run("relabel", "rows.jsonl", "--reward", "f1", "--scorer", "none", "--out", "priced.jsonl")
    output = run("view", "rows.jsonl", "priced.jsonl", "--episodes", "7", "--out", "page.html")
    assert "1 of the episodes in rows.jsonl" in output
    assert "in priced.jsonl" not in output


def test_records_of_this_package_keep_their_questions(logs: Path) -> None:
    run("import", "logs.jsonl", "--out", "records.jsonl")
    before = Path("records.jsonl").read_text()
    assert '"settings": {}' in before.splitlines()[0]
    other = {"question": "Where is port 0?", "answers": ["elsewhere"]}
    Path("other.jsonl").write_text(json.dumps(other))
    run("import", "records.jsonl", "--questions", "jsonl:other.jsonl", "--out", "again.jsonl")
    assert Path("again.jsonl").read_text() == before


def test_what_is_longer_than_the_scorer_reads_is_left_out_of_pricing_and_told(place: Path) -> None:
    text = "<search>{0}</search>\n\n<information>Doc 1(Title: A) {1}</information>\n\n<answer>Salman</answer>"
    logs = [
        {
            "id": f"q{n}",
            "question": asked,
            "golden_answers": ["Salman"],
            "response": text.format("port", page),
        }
        for n, (asked, page) in enumerate(
            [("Where?", "A port."), ("Where is it? " * 3000, "A port."), ("And where?", "A port. " * 5000)]
        )
    ]
    Path("logs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in logs))
    run("import", "logs.jsonl", "--out", "records.jsonl")
    options = ("--reward", "igpo", "--scorer", "nano")
    for form in ((), ("--records",)):
        told = run("relabel", "records.jsonl", *options, *form, "--out", f"p{len(form)}.jsonl")
        assert "1 episodes are not priced: their prompts are longer than the scorer reads" in told
        assert "1 episodes are longer than the scorer reads" in told
    lines, records = (
        [json.loads(line) for line in Path(f"p{n}.jsonl").read_text().splitlines()] for n in (0, 1)
    )
    assert (
        [each.get("unread") for each in lines]
        == [each.get("unread") for each in records]
        == [None, [0, 1], [1]]
    )
    assert [each["split"]["gains"] for each in records[1:]] == [[None, None], [None]]
    assert records[1]["rewards"] == records[1]["beliefs"] == []
    told = run("relabel", "p1.jsonl", "--reward", "igpo", "--scorer", "none", "--out", "again.jsonl")
    assert "1 episodes are not priced: their prompts are longer than the scorer reads" in told
    again = [json.loads(line) for line in Path("again.jsonl").read_text().splitlines()]
    assert [each["rewards"] for each in again] == [each["rewards"] for each in lines]
    export = ("export", "p1.jsonl", "--format", "sft", "--tokenizer", "nano", "--out", "sft.jsonl")
    assert "1 episodes or turns are left out" in run(*export, "--top", "1")
    for order in ("--best", "--worst"):
        for by in ("gain", "reward"):
            shown = run("show", "p1.jsonl", order, "--by", by, "--episodes", "3")
            assert shown.rindex("q1, attempt 0") > max(map(shown.index, ("q0, attempt", "q2, attempt")))
    assert "no episode with a gain to order by" in run("show", "records.jsonl", "--by", "gain", code=2)
    run("view", "p1.jsonl", "--out", "p.html")
    run("view", "records.jsonl", "p0.jsonl", "--out", "p.html")
    assert "3 episodes" in run("show", "p1.jsonl", "--summary")


def test_strict_stops_at_the_first_record_that_cannot_be_read(logs: Path) -> None:
    assert "logs.jsonl, line 7" in run("import", "logs.jsonl", "--strict", "--out", "records.jsonl", code=2)
    assert not Path("records.jsonl").exists()


def test_mistakes_are_explained(logs: Path) -> None:
    run("import", "logs.jsonl", "--out", "records.jsonl")
    told = run("import", "logs.jsonl", "--out", "./logs.jsonl", code=2)
    assert "logs.jsonl is read or written as well" in told
    Path("none.jsonl").write_text('{"a": 1}\n')
    assert "holds no transcript; 1 records cannot" in run("import", "none.jsonl", "--out", "o.jsonl", code=2)
    Path("none.jsonl").write_text(json.dumps(transcript(1, "Salman")) + '\n{"a": 1}\n{"b": 2}\n')
    told = " ".join(run("import", "none.jsonl", "--out", "o.jsonl").split())
    assert "line 2: no known layout of transcripts; there is: a; looked for" in told
    assert told.endswith("line 3: no known layout of transcripts; there is: b")  # the list is told once
    Path("none.parquet").write_text(json.dumps(transcript(1, "Salman")))
    assert "none.parquet: not a whole parquet file" in run(
        "import", "none.parquet", "--out", "o.jsonl", code=2
    )
    assert "no such file" in run("import", "missing.jsonl", "--out", "o.jsonl", code=2)
    assert "has no episode of the question q9" in run("show", "records.jsonl", "--id", "q9", code=2)
    known = json.loads(Path("records.jsonl").read_text().splitlines()[0])["question"]["id"]
    told = run("show", "records.jsonl", "--id", known, "--id", "q9", code=2)
    assert "has no episode of the question q9" in told
    assert "give one of them" in run("show", "records.jsonl", "--worst", "--best", code=2)
    assert "did you mean" in run("show", "records.jsonl", "--worst", "--by", "f11", code=2)


@pytest.mark.parametrize("reward", ["igpo(context=evidence)", "ig-search", "monte-carlo"])
def test_what_needs_more_than_the_transcript_is_refused_by_name(logs: Path, reward: str) -> None:
    run("import", "logs.jsonl", "--out", "records.jsonl")
    command = [
        "relabel",
        "records.jsonl",
        "--reward",
        reward,
        "--out",
        "p.jsonl",
        "--questions",
        "world:test",
    ]
    more = ["--policy", "expert"] if reward == "monte-carlo" else []
    told = run(*command, "--scorer", "nano", *more, code=2)
    assert "'q0' was imported (layout search-r1)" in told
    assert reward in told


def test_gold_answers_from_a_set(place: Path) -> None:
    messages = [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "Danzig"}]
    Path("logs.json").write_text(json.dumps([{"messages": messages}]))
    Path("golds.jsonl").write_text(json.dumps({"id": "g", "question": "where is it", "answers": ["Danzig"]}))
    run("import", "logs.json", "--questions", "golds.jsonl", "--out", "records.jsonl")
    (episode,) = read_rollouts("records.jsonl")
    assert (episode.question.id, episode.prediction) == ("g", "Danzig")


def test_episodes_are_not_priced_by_the_settings_of_others(place: Path) -> None:
    play = ("--agent", "expert", "--limit", "2", "--scorer", "none", "--reward", "f1")
    for name, protocol in (("one", "tags"), ("two", "igpo")):
        run("rollout", *play, "--protocol", protocol, "--out", f"{name}.jsonl")
    both = Path("one.jsonl").read_text() + Path("two.jsonl").read_text()
    Path("both.jsonl").write_text(both)
    command = ("relabel", "both.jsonl", "--reward", "f1", "--out", "priced.jsonl")
    told = "line 3: played with other settings than line 1"
    assert f"{told} (protocol)" in run(*command, "--scorer", "nano", code=2)
    assert not Path("priced.jsonl").exists()
    run(*command)  # no belief is asked for, so the protocol says nothing
    Path("both.jsonl").write_text(both.replace('"scorer": null', '"scorer": "nano"', 2))
    assert f"{told} (protocol, scorer)" in run(*command, code=2)
    run(*command, "--scorer", "none")
    Path("both.jsonl").write_text(
        both.replace('"tags"', '"igpo"').replace('"scorer": null', '"scorer": "nano"', 2)
    )
    assert "relabel the parts alone, or give --scorer" in run(*command, code=2)


@pytest.mark.parametrize("scorer", ['["nano"]', "5", '{"a": []}', '"nano"'])
def test_whatever_a_record_names_as_scorer_it_is_viewed(place: Path, scorer: str) -> None:
    play = ("--agent", "expert", "--limit", "1", "--scorer", "none", "--reward", "f1")
    run("rollout", *play, "--out", "e.jsonl")
    file = Path("e.jsonl")
    file.write_text(file.read_text().replace('"scorer": null', f'"scorer": {scorer}'))
    assert "1 episodes: e.html" in run("view", "e.jsonl", "--out", "e.html")


@pytest.mark.slow
def test_a_killed_relabeling_goes_on_where_it_was(place: Path) -> None:
    records = [transcript(number, "Salman") for number in range(120)]
    Path("logs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    run("import", "logs.jsonl", "--out", "records.jsonl")
    command = [sys.executable, "-c", "from igpo_gym.cli import app; app()", "relabel", "records.jsonl"]
    command += ["--reward", "igpo", "--scorer", "nano", "--batch-size", "2"]
    subprocess.run([*command, "--out", "whole.jsonl"], check=True, stdout=subprocess.DEVNULL)
    part = place / "out.jsonl.part"
    with subprocess.Popen([*command, "--out", "out.jsonl"], stdout=subprocess.DEVNULL) as process:
        while not (part.exists() and part.stat().st_size):
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert process.wait(0.02) is None, "it ended before it could be killed"
        process.kill()
    left = [line for line in part.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert 0 < len(left) < 120
    told = subprocess.run([*command, "--out", "out.jsonl"], check=True, capture_output=True, text=True)
    assert not part.exists()
    lines = Path("out.jsonl").read_bytes().splitlines(keepends=True)
    assert lines[: len(left)] == left
    whole = [json.loads(line) for line in Path("whole.jsonl").read_text().splitlines()]
    assert len(lines) == len(whole) == 120
    for line, expected in zip(map(json.loads, lines), whole, strict=True):
        assert line["question_id"] == expected["question_id"]
        assert line["rewards"]["igpo"]["return"] == pytest.approx(
            expected["rewards"]["igpo"]["return"], abs=1e-5
        )
    assert "120" in told.stdout  # the table is over all episodes, those of the first run too


def test_the_messages_of_a_prompt_stand_apart(place: Path) -> None:
    told = [("system", "You search."), ("user", "Where is it?"), ("assistant", "In Danzig.")]
    messages = [{"role": role, "content": text} for role, text in told]
    Path("chat.jsonl").write_text(json.dumps({"messages": messages, "answer": "Danzig"}))
    run("import", "chat.jsonl", "--out", "records.jsonl")
    shown = runner.invoke(app, ["show", "records.jsonl"]).output
    lines = [line.strip("│ ") for line in shown.splitlines()]
    start = lines.index("You search.")
    assert lines[start : start + 3] == ["You search.", "", "Where is it?"]


@pytest.mark.parametrize("command", [("import", "--out", "out.jsonl"), ("data", "show")], ids=" ".join)
def test_a_pipe_is_refused_and_not_waited_for(place: Path, command: tuple[str, ...]) -> None:
    os.mkfifo("pipe.jsonl")  # nobody writes into it: opening it would wait for ever
    told = run(*command, "pipe.jsonl", code=2)
    assert "pipe.jsonl: a pipe, which cannot be read twice" in told
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("relabel", "--reward", "outcome-em", "--scorer", "none", "--out", "out.jsonl"),
        ("export", "--format", "sft", "--out", "out.jsonl"),
        ("show", "--worst"),
        ("view", "--out", "out.html"),
    ],
    ids=lambda command: command[0],
)
def test_records_are_not_read_from_a_pipe(place: Path, command: tuple[str, ...]) -> None:
    os.mkfifo("pipe.jsonl")
    Path("out.jsonl").write_text("precious")
    assert "pipe.jsonl: is a pipe or device; name a file" in run(
        command[0], "pipe.jsonl", *command[1:], code=2
    )
    assert Path("out.jsonl").read_text() == "precious"
    assert not Path("out.html").exists()


def test_episodes_may_be_written_to_a_device_and_a_table_may_not_be_made_of_one(place: Path) -> None:
    play = ("--agent", "expert", "--limit", "2", "--scorer", "none", "--reward", "outcome-f1")
    told = run("rollout", *play, "--out", os.devnull)
    assert "2 episodes" in told
    assert "nan" not in told
    told = run("eval", "--agent", "expert", "--limit", "2", "--out", os.devnull, code=2)
    assert "is a pipe or device, and the table is made of what is written: name a file" in told
