from __future__ import annotations

from pathlib import Path

import pytest

from igpo_gym.storage import append_line, changed, complete_lines


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"one\n\ntwo\r\nthr")
    assert list(complete_lines(tmp_path / "lines")) == [(1, b"one\n"), (2, b"\n"), (3, b"two\r\n")]
    append_line(tmp_path / "lines", {"four": 4})
    assert list(complete_lines(tmp_path / "lines"))[2:] == [(3, b"two\r\n"), (4, b'{"four": 4}\n')]
    assert not list(complete_lines(tmp_path / "none"))


@pytest.mark.parametrize(
    ("theirs", "names"),
    [
        ({"seed": 0, "hash": "a"}, ""),
        ({"seed": 0}, ""),
        ({"seed": 1}, "seed"),
        ({"seed": 1, "hash": "b"}, "seed, hash"),
        ({"hash": "a"}, "seed"),
        ({"seed": 0, "gone": None}, ""),
        ({"seed": 0, "gone": 3}, "gone"),
    ],
)
def test_changed_settings_are_named(theirs: dict[str, object], names: str) -> None:
    assert changed(theirs, {"seed": 0, "hash": "a"}, {"hash": "a"}) == names


def test_a_fingerprint_that_nobody_knew_is_not_compared() -> None:
    ours = {"scorer": "nano", "scorer_fingerprint": "abc"}
    for theirs in ({"scorer": "nano"}, {"scorer": "nano", "scorer_fingerprint": ""}, ours):
        assert changed(theirs, ours, {"scorer_fingerprint": "abc"}) == ""
    other = {"scorer": "nano", "scorer_fingerprint": "xyz"}
    assert changed(other, ours, {"scorer_fingerprint": "abc"}) == "scorer_fingerprint"
    assert changed({"scorer": ""}, ours, {"scorer_fingerprint": "abc"}) == "scorer"
