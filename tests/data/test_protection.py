"""Nothing of a protected question stands in any file, unless it is asked for."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from igpo_gym.agents.rollouts.records import from_record, read_rollouts, to_record
from igpo_gym.agents.rollouts.summary import summarize
from igpo_gym.benchmark.credit.examples import mispriced
from igpo_gym.benchmark.credit.labels import label_turns
from igpo_gym.benchmark.credit.pricing import PaidTrajectory
from igpo_gym.benchmark.credit.trajectories import Trajectory
from igpo_gym.benchmark.evaluation.measures import measures
from igpo_gym.cli import app
from igpo_gym.data.protection import hidden, shown
from igpo_gym.data.scores import scores
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode, Question
from igpo_gym.rewards.relabel import relabel
from igpo_gym.specs import register, unregister

CANARY = "canary:77b1e7c8"
SECRETS = (
    "Which Baltic port is meant by this riddle?",
    "Tczew",
    "Who built the Teutonic castle?",
    "Marienburg",
)
CORPUS = [
    {"_id": "p-tczew", "title": "Tczew on the Vistula", "text": "A Baltic port, they riddle; it is Tczew."},
    {"_id": "p-castle", "title": "Marienburg Castle", "text": "The Teutonic castle is in Marienburg."},
]


def encrypted(text: str) -> str:
    key = hashlib.sha256(CANARY.encode()).digest() * 9
    return base64.b64encode(bytes(a ^ b for a, b in zip(text.encode(), key, strict=False))).decode()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "bc.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["problem", "answer", "problem_topic", "canary"])
        for question, answer in (SECRETS[:2], SECRETS[2:]):
            rows.writerow([encrypted(question), encrypted(answer), "Geography", CANARY])
    (tmp_path / "input").mkdir()
    corpus = tmp_path / "input" / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(each) + "\n" for each in CORPUS))
    (tmp_path / "bc.csv").rename(tmp_path / "input" / "bc.csv")
    return tmp_path


class Blabber:
    """An agent that says all that it can know, gold answer included."""

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        return [self.message(episode) for episode in episodes]

    @staticmethod
    def message(episode: Episode) -> str:
        question = episode.question
        if episode.turns:
            return f"<think>it is {question.answers[0]}</think><answer>{question.answers[0]}</answer>"
        return f"<think>{question.text} {CANARY}</think><search>{question.text}</search>"


@pytest.fixture(autouse=True)
def blabber() -> Iterator[None]:
    register("policy", "blabber", Blabber)
    yield
    unregister("policy", "blabber")


def rollout(out: str, *options: str, command: str = "rollout") -> None:
    arguments = [
        *(command, "--agent", "blabber", "--questions", "browsecomp:input/bc.csv"),
        *("--search", "bm25:input/corpus.jsonl", "--scorer", "nano", "--reward", "igpo", "--out", out),
    ]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.output
    for secret in (*SECRETS, CANARY):
        assert secret not in result.output


def test_nothing_of_a_protected_question_is_written(files: Path) -> None:
    rollout("run/bc.jsonl")
    written = [path for path in files.rglob("*") if path.is_file() and "input" not in path.parts]
    assert (files / "run/bc.jsonl") in written
    index = {path for path in written if "cache" in path.parts}
    for path in written:
        content = path.read_bytes()
        for secret in (*SECRETS, CANARY, "Tczew on", "riddle"):
            of_the_corpus = path in index and any(secret in json.dumps(each) for each in CORPUS)
            assert of_the_corpus or secret.encode() not in content, (path, secret)
    record = json.loads((files / "run/bc.jsonl").read_text().splitlines()[0])
    assert record["question"]["id"] == "2"
    assert record["question"]["text"].startswith("hidden:")
    assert not any(
        key in segment for turn in record["turns"] for segment in turn["segments"] for key in ("ids",)
    )


def test_an_evaluation_writes_them_where_that_is_asked_for_alone(files: Path) -> None:
    for out, options in (("hidden.jsonl", ()), ("clear.jsonl", ("--clear-text",))):
        rollout(out, *options, command="eval")
        assert (SECRETS[0] in (files / out).read_text()) is bool(options)
        assert SECRETS[0] not in (files / out.replace(".jsonl", ".card.json")).read_text()


def test_a_metric_that_hashes_cannot_tell_is_refused_before_it_plays(files: Path) -> None:
    options = ("--agent", "blabber", "--questions", "browsecomp:input/bc.csv", "--scorer", "none")
    search = ("--search", "bm25:input/corpus.jsonl", "--metrics", "em,em_mlqa(language=de)")
    told = CliRunner().invoke(app, ["eval", *options, *search, "--out", "a.jsonl"], env={"COLUMNS": "300"})
    assert told.exit_code == 2, told.output
    assert "hold no texts that em_mlqa(language=de) could compare: give --clear-text" in told.output
    assert not Path("a.jsonl").exists()
    told = CliRunner().invoke(app, ["eval", *options, *search, "--out", "a.jsonl", "--clear-text"])
    assert told.exit_code == 0, told.output


def test_a_comparison_of_clear_recordings_writes_none(files: Path) -> None:
    for out in ("one.jsonl", "two.jsonl"):
        rollout(out, "--clear-text", command="eval")
    lines = [json.loads(line) for line in Path("two.jsonl").read_text().splitlines()]
    for line in lines:  # now they answer wrongly
        line["turns"][-1]["action"]["text"] = "Elbing"
        line["prediction"] = "Elbing"
    Path("two.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = CliRunner().invoke(app, ["compare", "one.jsonl", "two.jsonl", "--table", "compared.json"])
    assert told.exit_code == 0, told.output
    compared = json.loads(Path("compared.json").read_text())
    assert [each["scores"] for each in compared["questions"]] == [[1, 0], [1, 0]]
    assert not [secret for secret in (*SECRETS, "Elbing") if secret in json.dumps(compared)]


def test_a_recording_without_texts_is_compared_with_a_clear_one(files: Path) -> None:
    rollout("clear.jsonl", "--clear-text", command="eval")
    rollout("hidden.jsonl", command="eval")
    told = CliRunner().invoke(app, ["compare", "clear.jsonl", "hidden.jsonl"])
    assert told.exit_code == 0, told.output
    assert "over 2 questions" in told.output


def test_what_an_imported_transcript_calls_a_tool_is_not_written(files: Path) -> None:
    calls = [("search", {"query": SECRETS[0]}), ("Tczew", {"Tczew": 1, "query": {"Tczew": ["Tczew"]}})]
    said = [
        {"role": "assistant", "tool_calls": [{"function": {"name": name, "arguments": json.dumps(given)}}]}
        for name, given in calls
    ]
    messages = [{"role": "user", "content": SECRETS[0]}, *said, {"role": "assistant", "content": "Tczew"}]
    Path("logs.jsonl").write_text(json.dumps({"question": SECRETS[0], "messages": messages}))
    options = ("--questions", "browsecomp:input/bc.csv", "--out", "records.jsonl")
    told = CliRunner().invoke(app, ["import", "logs.jsonl", *options])
    assert told.exit_code == 0, told.output
    written = Path("records.jsonl").read_text()
    assert "Tczew" not in written
    (record,) = (json.loads(line) for line in written.splitlines())
    (call,) = record["turns"][0]["action"]["calls"]
    assert call["tool"] == "search"
    assert [*call["arguments"]] == ["query"]
    assert next(read_rollouts("records.jsonl")).turns[1].action == from_record(record).turns[1].action


def test_they_are_written_where_that_is_asked_for(files: Path) -> None:
    rollout("clear.jsonl", "--clear-text")
    assert SECRETS[0] in (files / "clear.jsonl").read_text()
    rollout("clear.jsonl")  # nothing is left to play, and what is there stays
    assert [episode.question.answers for episode in read_rollouts(files / "clear.jsonl")] == [
        ("Tczew",),
        ("Marienburg",),
    ]


def test_a_protected_record_is_summarized_and_not_relabeled(files: Path) -> None:
    rollout("run.jsonl")
    rollout("clear.jsonl", "--clear-text")
    hashed, clear = list(read_rollouts("run.jsonl")), list(read_rollouts("clear.jsonl"))
    assert summarize(hashed) == summarize(clear)
    assert [episode.rewards for episode in hashed] == [episode.rewards for episode in clear]
    with pytest.raises(ValueError, match="question '2' is protected, and its record shows no texts"):
        list(relabel(hashed, ["igpo"]))
    result = CliRunner().invoke(
        app, ["relabel", "run.jsonl", "--reward", "outcome-f1", "--scorer", "none", "--out", "x"]
    )
    assert result.exit_code == 2
    assert not (files / "x").exists()
    list(relabel(clear, ["igpo"]))


def test_a_record_without_texts_is_kept_as_it_is(engine: Engine) -> None:
    question = Question("q", "Where?", ("Danzig", "Gdańsk"), ("danzig",), 1, "bc", protected=True)
    (episode,) = engine.begin([question])
    engine.start([episode])
    engine.settle(engine.play([episode], ["<search>Danzig</search>"]))
    engine.settle(engine.play([episode], ["<answer>Danzig</answer>"]))
    record = json.loads(json.dumps(to_record(episode, engine.reward)))
    assert record["em"] == 1.0
    assert "anzig" not in json.dumps(record)
    back = from_record(record)
    assert hidden(back.question)
    assert scores(back) == scores(episode)
    assert json.loads(json.dumps(to_record(back, engine.reward))) == record
    found = back.turns[0].passages[0].id
    assert found == back.question.evidence[0] == shown(question, "danzig")
    assert json.loads(json.dumps(to_record(episode, clear_text=True)))["question"]["text"] == "Where?"


def test_a_table_says_of_hidden_texts_what_it_says_of_clear_ones(engine: Engine) -> None:
    question = Question("q", "Where?", ("Danzig",), ("danzig",), 1, "bc", protected=True)
    (episode,) = engine.begin([question])
    engine.start([episode])
    engine.settle(engine.play([episode], ["<answer>The Danzig.</answer>"]))
    episode.measured = [{"judge": None}, {"judge": {"verdict": "correct", "judge": "mine/1"}}]
    back = from_record(json.loads(json.dumps(to_record(episode))))
    asked = measures(("em", "f1", "igpo_f1", "em_strict", "em_squad1", "f1_squad1", "em_mlqa", "f1_mlqa"))
    values = {each.name: each.value(back) for each in asked}
    assert values == {each.name: each.value(episode) for each in asked}
    assert (values["em"], values["igpo_f1"], values["judge agrees with em"]) == (1.0, 2 / 3, 1.0)
    (other,) = measures(("em_mlqa(language=de)",))[:1]
    assert other.value(back) is None  # hashes do not tell it, and nothing else does


def test_hashes_cannot_be_tried_out_without_the_question() -> None:
    first, second = (Question("1", text, ("Danzig",), protected=True) for text in ("Where?", "Where is it?"))
    assert shown(first, "Danzig") == shown(first, "Danzig") != shown(second, "Danzig")
    assert shown(first, "") == ""
    for said in ("hidden: Danzig", "hidden:Danzig", "hidden:0123456789abcdef it is Danzig"):
        assert "Danzig" not in shown(first, said)
    assert not hidden(replace(first, text="hidden: which port?"))
    assert hidden(replace(first, text=shown(first, first.text)))


def test_examples_of_a_report_show_no_text(engine: Engine) -> None:
    question = Question("q", "Where?", ("Danzig",), ("danzig",), 1, "bc", protected=True)
    (episode,) = engine.begin([question])
    engine.start([episode])
    engine.settle(engine.play([episode], ["<search>Danzig</search>"]))
    engine.settle(engine.play([episode], ["<answer>Danzig</answer>"]))
    trajectory = Trajectory("expert", 0, episode, tuple(label_turns(episode, engine.protocol)))
    (example,), _ = mispriced([[PaidTrajectory(trajectory, np.array([0.5, 1.0]))]])
    assert example.query.startswith("hidden:")
    assert "anzig" not in repr(example)
    assert "Where" not in repr(example)
