"""Files of transcripts: what cannot be read is told, gold answers are found, and little is held."""

from __future__ import annotations

import gc
import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.agents.rollouts.transcripts import About, Transcript, TranscriptLayout, read_transcripts
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.rows import Row
from igpo_gym.episode import Answer, EndReason, Episode, Invalid, Question, Segment, ToolCalls, Turn
from igpo_gym.errors import DataError, SpecError
from igpo_gym.rewards.relabel import relabel
from igpo_gym.specs import register, unregister
from tests.conftest import MentionScorer

SHARED = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[4] / "../shared"))
REAL = SHARED / "data" / "transcripts"


def chat(question: str = "Where?", said: str = "Danzig", **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
    return {"messages": messages, **fields}


def lines(*records: Any) -> str:
    return "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in records)


def test_what_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        lines(
            chat(said="x", gold="x"),
            "{broken",
            {"question": "Where?", "answer": "x"},
            "[1]",
            chat("Who?"),
            {"messages": [{"role": "assistant", "content": "   "}], "answer": "x"},
            "",
            chat("Which?", said="y", gold="y"),
        )
    )
    unread: list[DataError] = []
    episodes = list(read_transcripts(path, unread=unread.append))
    assert [episode.imported["place"] for episode in episodes] == ["line 1", "line 8"]
    told = [str(each) for each in unread]
    assert [text.partition(": ")[0] for text in told] == [f"{path}, line {n}" for n in (2, 3, 4, 5, 6)]
    assert "not JSON" in told[0]
    assert "no known layout of transcripts" in told[1]
    assert "expected a JSON object, found list" in told[2]
    assert "no gold answer; give --questions" in told[3]
    with pytest.raises(DataError, match="line 2"):
        list(read_transcripts(path))


def test_no_gold_answer_stands_in_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        lines(chat(gold={"secret": {"Danzig": []}}), {"answer": "Danzig"}, chat("", gold="Danzig"))
    )
    unread: list[DataError] = []
    list(read_transcripts(path, unread=unread.append))
    assert unread
    assert not any("Danzig" in str(each) for each in unread)


@pytest.mark.parametrize(
    ("fields", "answers"),
    [
        ({"answer": "a"}, ("a",)),
        ({"golden_answers": ["a", "b"], "answer": "said"}, ("a", "b")),
        ({"reward_model": {"ground_truth": {"target": ["a"]}}}, ("a",)),
        ({"reward_model": {"ground_truth": "a<|answer_split|>b"}}, ("a", "b")),
        ({"gts": "['a', 'b']"}, ("a", "b")),
        ({"gts": '{"target": ["a"]}'}, ("a",)),
        ({"answer": [["a"]], "answer_aliases": ["b"]}, ("a", "b")),
        ({"answer": True}, ("yes",)),
        ({"extra_info": {"answer": 3}}, ("3",)),
        ({"label": "Danzig"}, ("Danzig",)),
        ({"label": True, "extra_info": {"answer": "a"}}, ("a",)),
    ],
)
def test_gold_answers_from_a_field(tmp_path: Path, fields: dict[str, Any], answers: tuple[str, ...]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(chat(**fields)))
    (episode,) = read_transcripts(path)
    assert episode.question.answers == answers


@pytest.mark.parametrize("label", [True, 1, 0.0, [1, 0]])
def test_a_label_that_is_no_text_is_no_gold_answer(tmp_path: Path, label: object) -> None:
    """KTO's files say by it whether a completion is wanted."""
    path = tmp_path / "a.jsonl"
    path.write_text(lines(chat(label=label)))
    with pytest.raises(DataError, match="no gold answer"):
        list(read_transcripts(path))


def test_gold_answers_from_a_set_by_id_or_by_text(tmp_path: Path) -> None:
    golds = QuestionSet(
        "golds",
        (
            Question("1", "Where is it?", ("Danzig",), evidence=("p",)),
            Question("2", "Who?", ("Oskar",)),
            Question("3", "who", ("Agnes",)),
            Question("4", "What?", ("drum",)),
        ),
        (),
    )
    path = tmp_path / "a.jsonl"
    path.write_text(
        lines(
            chat("where is it"),
            chat("WHERE is it?!", said="wrong", id="2"),  # the id is another question's, the text decides
            chat("Who?", id="3"),
            chat("Who?"),  # to the letter
            chat("WHO"),
            chat("When?"),
            chat("When?", id="4"),
        )
    )
    unread: list[DataError] = []
    found = list(read_transcripts(path, questions=golds, unread=unread.append))
    assert [(each.question.id, each.attempt) for each in found] == [
        *(("1", 0), ("1", 1), ("3", 0), ("2", 0)),
    ]
    assert found[0].question.evidence_match == "title"
    told = [str(each).partition(": ")[2] for each in unread]
    assert "has 2 of its text, with unlike answers ('2', '3')" in told[0]
    assert told[1] == "the set of questions has none of its text, nor of its id"
    assert told[2] == "the set of questions has none of its text, but its id is that of another text"


def test_sets_of_questions_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(chat("Where?"), chat("Who?")))
    for name, text in (("one", "Where?"), ("two", "Who?")):
        row = {"id": name, "question": text, "answers": ["Danzig"]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    golds = " + ".join(f"jsonl:{tmp_path / name}.jsonl" for name in ("one", "two"))
    found = [each.question.text for each in read_transcripts(path, questions=golds)]
    assert found == ["Where?", "Who?"]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_every_kind_of_file(tmp_path: Path, name: str) -> None:
    records, path = [chat(gold="x"), chat("Who?", gold="y")], tmp_path / name
    if name.endswith(".json"):
        path.write_text(json.dumps(records))
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines(*records).encode()))
    elif name.endswith(".zst"):
        zstandard = pytest.importorskip("zstandard", reason="packed files need the extra data")
        path.write_bytes(zstandard.ZstdCompressor().compress(lines(*records).encode()))
    else:
        parquet = pytest.importorskip("pyarrow.parquet", reason="parquet needs the extra data")
        table = pytest.importorskip("pyarrow").Table.from_pylist(records)
        parquet.write_table(table, path)
    found = list(read_transcripts(path))
    assert [each.question.answers for each in found] == [("x",), ("y",)]
    unit = {"a.json": "entry", "a.parquet": "row"}.get(name, "line")
    assert [each.imported["place"] for each in found] == [f"{unit} 1", f"{unit} 2"]


def test_questions_of_one_id_are_no_attempts_at_each_other(tmp_path: Path) -> None:
    """Files put together from several sets number each of them from 0."""
    path = tmp_path / "a.jsonl"
    asked = ("Which port?", "Which river?", "which  port", "Which river?", "Who?")
    path.write_text(lines(*(chat(each, id="0", gold="Danzig") for each in asked)))
    found = [(each.question.id, each.attempt) for each in read_transcripts(path)]
    assert found == [("0", 0), ("0 (2)", 0), ("0", 1), ("0 (2)", 1), ("0 (3)", 0)]


def test_a_record_with_a_version_and_a_status_is_no_log_of_inspect(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"version": 2, "status": "success", **chat(gold="Danzig")}]))
    (tmp_path / "a.jsonl").write_text(lines({"version": 2, "status": "success", **chat(gold="Danzig")}))
    for each in (path, tmp_path / "a.jsonl"):
        assert [found.imported["layout"] for found in read_transcripts(each)] == ["chat"]


@pytest.mark.parametrize("order", [("7", "7", "7 (2)"), ("7", "7 (2)", "7"), ("7 (2)", "7", "7")])
def test_an_id_that_is_made_up_is_no_other_questions_id(tmp_path: Path, order: tuple[str, ...]) -> None:
    path = tmp_path / "a.jsonl"
    records = [chat(f"Which {number}?", id=id_, gold="x") for number, id_ in enumerate(order)]
    path.write_text(lines(*records, *records))
    found = [(each.question.id, each.question.text, each.attempt) for each in read_transcripts(path)]
    assert len({id_ for id_, *_ in found}) == 3
    assert found[3:] == [(id_, text, 1) for id_, text, _ in found[:3]]


def test_a_layout_from_outside_comes_before_the_packages(tmp_path: Path) -> None:
    def read(row: Row) -> list[Transcript]:
        said = Segment("agent", "assistant", row.text("reply"))
        turn = Turn(said.text, Answer(said.text), (said,))
        told = About(row.text("ask"), row.answers("gold"))
        return [Transcript(told, "chat", (Segment("environment", "user", told.question),), (turn,))]

    register(
        "transcripts",
        "mine",
        TranscriptLayout("mine", "ask and reply", lambda fields: "reply" in fields, read),
    )
    try:
        path = tmp_path / "a.jsonl"
        path.write_text(lines({**chat(), "ask": "Where?", "reply": "Danzig", "gold": "Danzig"}))
        for layout in ("auto", "mine"):
            (episode,) = read_transcripts(path, layout)
            assert (episode.imported["layout"], episode.prediction) == ("mine", "Danzig")
        (episode,) = read_transcripts(path, "chat")
        assert episode.imported["layout"] == "chat"
    finally:
        unregister("transcripts", "mine")
    with pytest.raises(SpecError, match="unknown layout of transcripts 'chatt'; did you mean chat"):
        read_transcripts(path, "chatt")


def test_a_long_file_is_read_and_priced_with_a_batch_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text(lines(*(chat(f"Question {number}?", gold="Danzig") for number in range(400))))
    most = 0

    def watched(episodes: Iterator[Episode]) -> Iterator[Episode]:
        nonlocal most
        for number, episode in enumerate(episodes):
            if number % 40 == 39:
                most = max(most, sum(type(each) is Episode for each in gc.get_objects()))
            yield episode

    before = sum(type(each) is Episode for each in gc.get_objects())
    priced = relabel(watched(read_transcripts(path)), ["igpo"], MentionScorer(), batch_size=8)
    assert sum(1 for _ in priced) == 400
    assert most - before <= 3 * 8  # a batch, its copies, and what is between them


def test_an_imported_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines(chat(gold="x", reward=0.5)))
    (episode,) = read_transcripts(path)
    again = from_record(json.loads(json.dumps(to_record(episode))))
    assert again == episode
    assert again.imported["told"] == {"reward": 0.5}


@pytest.mark.parametrize("value", ["b'x'", "...", "1j", "{1: 2}", "[" * 300 + "]" * 300, "-" * 90_000 + "1"])
def test_a_call_that_no_json_holds_is_an_invalid_message(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.jsonl"
    calls = [f"<tool_call>{{'name': 's', 'arguments': {{'q': {value}}}}}</tool_call>", f"[s(q={value})]"]
    path.write_text(lines(*(chat(said=each, answer="Danzig") for each in calls)))
    for episode in read_transcripts(path):
        assert isinstance(episode.turns[0].action, Invalid)
        assert from_record(json.loads(json.dumps(to_record(episode)))) == episode


def _real(name: str) -> Path:
    if not (REAL / name).exists():
        pytest.skip("the real transcripts are not on this machine")
    return REAL / name


def test_real_transcripts_of_a_trained_agent() -> None:
    path = _real("r1_searcher_hotpotqa60.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    episodes = list(read_transcripts(path))
    assert len(episodes) == 60
    for record, episode in zip(records, episodes, strict=True):
        text = "".join(segment.text for turn in episode.turns for segment in turn.segments)
        assert text == record["gen_text_store"]
        assert episode.prediction == record["pred_ans"].strip()
        assert episode.end is EndReason.ANSWERED
        assert episode.question.answers == (record["answer"],)
        queries = [
            t.action.calls[0].arguments["query"] for t in episode.turns if isinstance(t.action, ToolCalls)
        ]
        assert len(queries) == record["gen_text_store"].count("<|begin_of_documents|>")
        assert all(len(turn.passages) == 5 for turn in episode.turns[:-1])
    assert sum(len(episode.turns) - 1 for episode in episodes) == 104


def test_real_trajectories_in_chat_form() -> None:
    path = _real("webdancer4.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record, episode in zip(records, read_transcripts(path), strict=True):
        assert [segment.text.rstrip("\n") for segment in episode.segments] == [
            message["content"].rstrip("\n") for message in record["messages"]
        ]
        assert [segment.author for segment in episode.segments] == [
            *["environment"] * 2,
            "agent",
            "environment",
            "agent",
        ]
        assert episode.question.text == record["messages"][1]["content"].rpartition("User:")[2].strip()
        assert [[answer] for answer in episode.question.answers] == record["answer"]
        assert len(episode.turns[0].passages) > 5


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_packed_file_that_is_cut_off_is_named(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"logs.jsonl{packing}"
    path.write_bytes(gzip.compress(b'{"question": "Where?"}')[:-9] if packing == ".gz" else b"(\xb5/\xfd")
    with pytest.raises(DataError, match=f"logs.jsonl{packing}, line 1: not a whole"):
        list(read_transcripts(path))


def test_a_plain_file_with_the_name_of_a_packed_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "logs.jsonl.gz"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"logs.jsonl.gz, line 1: not a whole gzip file"):
        list(read_transcripts(path))


def test_an_entry_of_an_array_that_is_no_object_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "logs.json"
    good = {"question": "Where?", "golden_answers": ["Danzig"], "response": "<answer>Danzig</answer>"}
    path.write_text(json.dumps([3, good, None]))
    told: list[DataError] = []
    assert len(list(read_transcripts(path, unread=told.append))) == 1
    assert [str(each).partition(": ")[2] for each in told] == [
        "entry 1: expected a JSON object, found int",
        "entry 3: expected a JSON object, found NoneType",
    ]
    with pytest.raises(DataError, match="entry 1"):
        list(read_transcripts(path))


@pytest.mark.parametrize("where", ["record", "metrics"])
def test_a_number_that_is_the_gold_answer_is_no_number_of_the_source(tmp_path: Path, where: str) -> None:
    path = tmp_path / "logs.jsonl"
    gold = {"golden_answers": 1917, "target": 1917, "reward": 0.5}
    record = {"question": "When?", "response": "<answer>1918</answer>", **gold}
    if where == "metrics":
        record = {**record, "metrics": {"answer": 1917, "f1": 0.0}}
    path.write_text(json.dumps(record))
    (episode,) = read_transcripts(path)
    assert episode.question.answers == ("1917",)
    assert 1917.0 not in episode.imported["told"].values()
    assert episode.imported["told"]["reward"] == 0.5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_not_called_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "logs.jsonl")
    with pytest.raises(DataError, match="a pipe, which cannot be read twice"):
        list(read_transcripts(tmp_path / "logs.jsonl"))
