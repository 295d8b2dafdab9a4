from __future__ import annotations

import contextlib
import copy
import dataclasses
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.records import (
    RolloutFile,
    from_record,
    read_recordings,
    read_rollouts,
    read_settings,
    to_record,
)
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import (
    Answer,
    Belief,
    BeliefView,
    EndReason,
    Episode,
    Invalid,
    Message,
    Passage,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.errors import DataError
from igpo_gym.rewards.relabel import relabel
from igpo_gym.viewer.runs import read_runs
from tests.conftest import QUESTIONS
from tests.conftest import play as played

SETTINGS = {"agent": "x", "seed": 0}


def play(engine: Engine, question: int = 1, attempt: int = 0) -> Episode:
    (episode,) = engine.begin([QUESTIONS[question]], [attempt])
    engine.start([episode])
    search = "<search>Günter Grass</search><search>port</search>"
    sampled = Message("hm", (1, 2), (-0.25, -1.5), "v", ("h", "m"))
    for message in (search, sampled, "<answer>Danzig</answer>"):
        engine.settle(engine.play([episode], [message]))
    return episode


def test_an_episode_is_read_back_as_it_was(engine: Engine) -> None:
    episode = play(engine)
    record = json.loads(json.dumps(to_record(episode)))
    assert from_record(record) == episode
    assert (record["em"], record["f1"], record["prediction"]) == (1.0, 1.0, "Danzig")


texts = st.text(min_size=1)
passages = st.builds(Passage, texts, texts, texts, st.floats(0, 9))
json_values = st.recursive(texts | st.booleans() | st.integers(), lambda inner: st.lists(inner, max_size=2))
calls = st.builds(ToolCall, texts, st.dictionaries(texts, json_values, max_size=2))
actions = st.lists(calls, min_size=1, max_size=2).map(tuple).map(ToolCalls) | st.builds(Invalid, texts)
segments = st.builds(
    Segment,
    st.just("agent"),
    st.just("assistant"),
    texts,
    st.none() | st.lists(st.integers(0, 9)).map(tuple),
    st.none() | st.lists(st.floats(-9, 0)).map(tuple),
    texts,
)
results = st.builds(
    ToolResult,
    st.just("") | texts,
    st.lists(st.lists(passages, max_size=2).map(tuple), max_size=2).map(tuple),
    st.booleans(),
)
turns = st.builds(
    Turn,
    texts,
    actions,
    st.lists(segments, max_size=2).map(tuple),
    st.lists(results, max_size=2).map(tuple),
    texts,
    st.integers(0, 9),
)


@given(
    st.lists(turns, max_size=3),
    st.sampled_from(EndReason),
    st.lists(segments, max_size=3),
    st.lists(st.floats(-9, 0), min_size=1),
)
def test_any_episode_is_read_back(
    played: list[Turn], end: EndReason, said: list[Segment], log_probs: list[float]
) -> None:
    question = Question("1", "Who?", ("A", "B"), ("e",), 2, "test")
    answered = [*played, Turn("m", Answer("x"))]
    belief = Belief(tuple(log_probs), tuple((log_prob,) for log_prob in log_probs))
    rewards = [{"gain": 0.5}] * len(answered)
    episode = Episode(question, tuple(said), answered, [belief], rewards, end, 2, 7)
    assert from_record(json.loads(json.dumps(to_record(episode)))) == episode


def test_a_file_keeps_what_it_has_and_goes_on(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rollouts.jsonl"
    first, second, again = play(engine, 0), play(engine, 1), play(engine, 1, attempt=1)
    with RolloutFile(path, SETTINGS) as file:
        file.write(first)
        # Readable while the run still goes on.
        assert list(read_rollouts(path)) == [first]
    with path.open("ab") as raw:
        raw.write(b'{"settings": {"agent": "x", "se')
    with RolloutFile(path, SETTINGS) as file:
        assert file.done == {("q-author", 0)}
        file.write(second)
        file.write(again)
    assert list(read_rollouts(path)) == [first, second, again]
    with RolloutFile(path, SETTINGS) as file:
        assert file.done == {("q-author", 0), ("q-birth", 0), ("q-birth", 1)}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs devices")
def test_a_device_is_written_and_never_read(engine: Engine) -> None:
    """Reading /dev/full or /dev/zero to its end would take for ever."""
    with RolloutFile(Path("/dev/null"), SETTINGS) as file:
        file.write(play(engine))
        assert file.done == {("q-birth", 0)}
    with (
        pytest.raises(OSError, match="No space left on device: '/dev/full'"),
        RolloutFile(Path("/dev/full"), SETTINGS) as file,
    ):
        file.write(play(engine))


def test_a_file_of_other_settings_is_refused_and_kept(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS) as file:
        file.write(play(engine))
    content = path.read_bytes()
    with pytest.raises(DataError, match=r"line 1: made with other settings \(seed\)"):
        RolloutFile(path, {**SETTINGS, "seed": 1})
    assert path.read_bytes() == content


def test_a_fingerprint_that_a_line_lacks_is_not_compared(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS) as file:
        file.write(play(engine, 0))
    with RolloutFile(path, {**SETTINGS, "hash": "1"}, ["hash"]) as file:
        file.write(play(engine, 1))
    with pytest.raises(DataError, match=r"line 2: made with other settings \(hash\)"):
        RolloutFile(path, {**SETTINGS, "hash": "2"}, ["hash"])
    with pytest.raises(DataError, match=r"line 1: made with other settings \(hash\)"):
        RolloutFile(path, {**SETTINGS, "hash": "1"})


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("line", ["not json", "[]", "{}", '{"format": 1}', '[{"_id": "HotpotQA"}]'])
def test_a_foreign_file_is_refused_and_kept(tmp_path: Path, line: str, end: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(line + end)
    with pytest.raises(DataError, match="line 1: not a recorded episode"):
        RolloutFile(path, SETTINGS)
    with pytest.raises(DataError, match="line 1: not a recorded episode"):
        list(read_rollouts(path))
    assert path.read_text() == line + end


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("measured", [1]),
        ("turns", []),
        ("turns", [{"message": "m", "action": "search", "results": []}]),
        ("prompt", ["x"]),
        ("end", "bored"),
        ("question", 5),
        ("views", ["x"]),
        ("beliefs", [1]),
        ("unread", 5),
        ("unread", "abc"),
        ("unread", [1.0]),
        ("sealed", {"em": 10**400, "f1": 1.0}),
        ("question", {"id": "q", "text": "hidden:" + "0" * 16, "answers": ["a"], "protected": True}),
        ("rewards", [{"gain": 10**400}, {"gain": 0.0}]),
        ("rewards", [{"gain": 0.0}, {"gain": float("nan")}]),
        ("rewards", [{"gain": 0.0}, {"gain": float("-inf")}]),
        ("rewards", [{"gain": 0.0}]),
        ("sealed", {"em": float("nan"), "f1": 1.0}),
        ("beliefs", [{"log_probs": [-1.0, float("nan")]}] * 2),
    ],
)
def test_a_line_of_a_wrong_shape_is_told(engine: Engine, tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "rollouts.jsonl"
    good = to_record(play(engine))
    path.write_text("".join(json.dumps(record) + "\n" for record in (good, {**good, field: value})))
    with pytest.raises(DataError, match="line 2: not a recorded episode"):
        list(read_rollouts(path))


@pytest.mark.parametrize(
    "field", ["parts", "evidence_texts", "answers", "evidence", "evidence_match", "text"]
)
def test_no_error_about_a_line_shows_what_may_be_its_answer(
    engine: Engine, tmp_path: Path, field: str
) -> None:
    path = tmp_path / "rollouts.jsonl"
    record = to_record(play(engine))
    record["question"] = {**record["question"], field: ["SecretDanzig", 1457]}
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(DataError, match="line 1: not a recorded episode") as raised:
        list(read_rollouts(path))
    assert not any(secret in str(raised.value) for secret in ("Secret", "1457"))
    if field == "parts":
        assert "one of its parts is no text" in str(raised.value)


@pytest.mark.parametrize("settings", [[1], "x", 5])
def test_settings_of_a_wrong_shape_are_told(engine: Engine, tmp_path: Path, settings: object) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text(json.dumps({"settings": settings, **to_record(play(engine))}) + "\n")
    for read in (read_settings, lambda path: RolloutFile(path, SETTINGS)):
        with pytest.raises(DataError, match="line 1: not a recorded episode"):
            read(path)


def test_a_second_run_may_not_write_the_same_file(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS), pytest.raises(BlockingIOError, match="another run is writing"):
        RolloutFile(path, SETTINGS)
    with RolloutFile(path, SETTINGS):
        pass


def test_numbers_of_other_libraries_are_written(engine: Engine, tmp_path: Path) -> None:
    episode = play(engine)
    episode.rewards[0]["gain"] = np.float32(0.5)  # type: ignore[assignment]
    with RolloutFile(tmp_path / "out.jsonl", SETTINGS) as file:
        file.write(episode)
    assert next(iter(read_rollouts(tmp_path / "out.jsonl"))).rewards[0]["gain"] == 0.5


def test_the_token_ids_of_other_libraries_are_read_back(engine: Engine, tmp_path: Path) -> None:
    (episode,) = engine.begin([QUESTIONS[0]])
    sampled = Message("<answer>Danzig</answer>", tuple(np.array([3, 5])), tuple(np.array([-0.5, -1.5])))
    engine.settle(engine.play([episode], [sampled]))
    with RolloutFile(tmp_path / "out.jsonl", SETTINGS) as file:
        file.write(episode)
    (read,) = read_rollouts(tmp_path / "out.jsonl")
    assert (read.segments[-1].ids, read.segments[-1].log_probs) == ((3, 5), (-0.5, -1.5))


@pytest.mark.parametrize(
    ("score", "kept"), [(float("nan"), 0.0), (np.float32("inf"), 0.0), (10**400, 10**400), (None, None)]
)
def test_a_score_that_json_does_not_have_is_written_as_0(engine: Engine, score: Any, kept: Any) -> None:
    episode = played(engine, 0, "<search>Danzig</search>", "<answer>Danzig</answer>")
    (found,), *_ = (result.passages for result in episode.turns[0].results)
    result = ToolResult(passages=((dataclasses.replace(found[0], score=score),),))
    episode.turns[0] = dataclasses.replace(episode.turns[0], results=(result,))
    record = to_record(episode)
    assert record["turns"][0]["results"][0]["passages"][0][0]["score"] == kept


def test_a_newer_format_is_refused_by_its_number(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text(json.dumps({**to_record(play(engine)), "format": 99}) + "\n")
    with pytest.raises(DataError, match="format 99"):
        list(read_rollouts(path))


def test_what_other_views_and_policies_told_is_read_back(engine: Engine) -> None:
    episode = play(engine)
    views = (BeliefView("evidence"), BeliefView(span="tagged", model="reference"), BeliefView(draw=3))
    episode.views = [{view: Belief((-1.0 - turn, -2.0)) for view in views} for turn in range(3)]
    for turn in range(3):
        episode.note({"value(completions=8)": 0.25 * turn, "judge": {"helps": True}}, {"judge": "gpt/2"})
    assert from_record(json.loads(json.dumps(to_record(episode)))) == episode


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_packed_records_are_read_and_none_are_written(engine: Engine, tmp_path: Path, ending: str) -> None:
    path, packed = tmp_path / "rollouts.jsonl", tmp_path / f"rollouts.jsonl{ending}"
    with RolloutFile(path, SETTINGS) as file:
        file.write(play(engine))
        file.write(dataclasses.replace(play(engine), attempt=1))
    pack = gzip.compress if ending == ".gz" else pytest.importorskip("zstandard").compress
    packed.write_bytes(pack(path.read_bytes()))
    assert list(read_recordings(packed)) == list(read_recordings(path))
    assert list(read_recordings(packed, 1)) == list(read_recordings(path, 1))
    assert read_settings(packed) == SETTINGS
    (shown,) = read_runs([packed])
    assert [each.episode for each in shown.episodes] == list(read_rollouts(path))
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole"):
        list(read_recordings(packed))
    with pytest.raises(ValueError, match="what is written is not packed; leave"):
        RolloutFile(packed, SETTINGS)


def test_settings_are_told_by_the_first_line(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS) as file:
        file.write(play(engine))
    assert read_settings(path) == SETTINGS
    path.write_text(json.dumps(to_record(play(engine))) + "\n")
    assert read_settings(path) == {}
    path.write_text("")
    with pytest.raises(DataError, match="line 1: not a recorded episode"):
        read_settings(path)


WRONG = (None, True, -1.5, "x", [[1]], {"a": 1}, float("nan"), 10**400)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places in a JSON value; of a list its first items alone."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    )
    for name, inner in items:
        yield (*path, name)
        yield from _paths(inner, (*path, name))


def test_whatever_stands_in_a_field_what_is_read_can_be_computed_with(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    good = json.loads(json.dumps(to_record(play(engine), engine.reward)))
    refused = 0
    for place in _paths(good):
        for wrong in WRONG:
            record = copy.deepcopy(good)
            holder = record
            for name in place[:-1]:
                holder = holder[name]
            holder[place[-1]] = wrong
            path.write_text(json.dumps(record) + "\n")
            try:
                (episode,) = read_rollouts(path)
            except DataError:
                refused += 1
                continue
            to_record(episode), episode.messages(), [belief.prob for belief in episode.beliefs]
            with contextlib.suppress(ValueError):  # such as beliefs that are not as many as the turns
                list(relabel([episode], ["igpo"]))
    assert refused > 100


@pytest.mark.parametrize("line", ["[" * 100_000, '{"format": 2, "x": ' + "[" * 50_000 + "]" * 50_000 + "}"])
def test_a_line_that_is_nested_too_deeply_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text(f"{line}\n")
    for read in (lambda: list(read_rollouts(path)), lambda: read_settings(path)):
        with pytest.raises(DataError, match="line 1: not a recorded episode"):
            read()
    with pytest.raises(DataError, match="line 1: not a recorded episode"):
        RolloutFile(path, SETTINGS)


@pytest.mark.parametrize("field", ["settings", "measured", "notes"])
def test_a_record_that_is_too_deep_to_be_written_again_is_told(
    engine: Engine, tmp_path: Path, field: str
) -> None:
    path = tmp_path / "rollouts.jsonl"
    for depth, fits in ((60, True), (150, False), (900, False)):
        value = json.loads('{"a":' * depth + "1" + "}" * depth)
        record = {**to_record(play(engine)), field: [value] * 3 if field == "measured" else value}
        path.write_text(json.dumps(record) + "\n")
        if fits:
            assert from_record(json.loads(json.dumps(to_record(next(read_rollouts(path))))))
            continue
        with pytest.raises(DataError, match="line 1: not a recorded episode"):
            list(read_rollouts(path))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"answer": "D\xfcren"}', "not UTF-8"),
        (b"\0" * 40, "Expecting value.*; remove the line"),
        (b'{"answer": "Dan', "Invalid control character.*; remove the line"),
        (b'{"format": 2}', "no field '"),
        (b'{"question": "Where?", "answer": "Danzig"}', "it names no format, .* igpo-gym import"),
    ],
)
def test_what_is_wrong_with_a_line_is_told_in_words_and_without_it(
    tmp_path: Path, line: bytes, told: str
) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(DataError, match=told) as raised:
        list(read_rollouts(path))
    assert "Error(" not in str(raised.value)
    assert "ren" not in str(raised.value).partition("not UTF-8")[2]
    assert "Danzig" not in str(raised.value)


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.touch()
    with pytest.raises(DataError, match="the file is empty"):
        read_settings(path)


def test_a_line_that_was_cut_short_says_what_to_do(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    with RolloutFile(path, SETTINGS) as file:
        file.write(play(engine))
    path.write_bytes(path.read_bytes()[:-20])
    for read in (lambda: list(read_rollouts(path)), lambda: read_settings(path)):
        with pytest.raises(DataError, match=r"line 1: .*cut short: start what wrote it again, or remove"):
            read()
