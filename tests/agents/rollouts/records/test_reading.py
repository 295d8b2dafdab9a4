from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from igpo_gym.agents.rollouts.records import (
    RolloutFile,
    read_recordings,
    read_rollouts,
    read_settings,
    to_record,
)
from igpo_gym.envs.engine import Engine
from igpo_gym.errors import DataError
from igpo_gym.viewer.runs import read_runs
from tests.agents.rollouts.records.played import SETTINGS, play


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


def test_a_newer_format_is_refused_by_its_number(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text(json.dumps({**to_record(play(engine)), "format": 99}) + "\n")
    with pytest.raises(DataError, match="format 99"):
        list(read_rollouts(path))


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


@pytest.mark.parametrize("line", ["[" * 100_000, '{"format": 2, "x": ' + "[" * 50_000 + "]" * 50_000 + "}"])
def test_a_line_that_is_nested_too_deeply_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rollouts.jsonl"
    path.write_text(f"{line}\n")
    for read in (lambda: list(read_rollouts(path)), lambda: read_settings(path)):
        with pytest.raises(DataError, match="line 1: not a recorded episode"):
            read()
    with pytest.raises(DataError, match="line 1: not a recorded episode"):
        RolloutFile(path, SETTINGS)


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
