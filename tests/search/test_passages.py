"""Passages in a folder: found by number, id and title, and never given where they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.episode import Passage
from igpo_gym.errors import DataError, DuplicateIdError
from igpo_gym.search import passages as module
from igpo_gym.search.passages import ARRAYS, PassageWriter, StoredPassages
from tests.conftest import PASSAGES

THREE = (
    Passage("a", "Danzig", "A port."),
    Passage("b", "", "No title."),
    Passage("c", "Danzig", "Now Gdańsk."),
)


def stored(folder: Path, *passages: Passage) -> StoredPassages:
    folder.mkdir(exist_ok=True)
    with PassageWriter(folder) as writer:
        for passage in passages:
            writer.add(passage)
    return StoredPassages(folder)


def test_passages_by_number(tmp_path: Path) -> None:
    found = stored(tmp_path, *PASSAGES)
    assert list(found) == list(PASSAGES)
    assert (found[-1], found[1:3]) == (PASSAGES[-1], list(PASSAGES[1:3]))
    with pytest.raises(IndexError):
        found[len(PASSAGES)]


def test_documents_are_the_passages_of_a_title(tmp_path: Path) -> None:
    found = stored(tmp_path, *THREE)
    assert found.documents(["c", "b", "nobody"]) == [(THREE[0], THREE[2]), (THREE[1],), ()]


def test_equal_hashes_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_hash", lambda text: 7)
    found = stored(tmp_path, *THREE)
    assert found.documents(["c", "b", "nobody"]) == [(THREE[0], THREE[2]), (THREE[1],), ()]
    with pytest.raises(DuplicateIdError) as error:
        stored(tmp_path, *THREE, THREE[1])
    assert (error.value.id, error.value.first, error.value.second) == ("b", 1, 3)


@settings(max_examples=100)
@given(ids=st.lists(st.text(max_size=3), min_size=1, max_size=30))
def test_the_first_repetition_is_found(tmp_path_factory: pytest.TempPathFactory, ids: list[str]) -> None:
    folder = tmp_path_factory.mktemp("passages")
    again = [(ids.index(id_), number) for number, id_ in enumerate(ids) if ids.index(id_) < number]
    passages = [Passage(id_, "", "x") for id_ in ids]
    if not again:
        assert [each.id for each in stored(folder, *passages)] == ids
        return
    with pytest.raises(DuplicateIdError) as error:
        stored(folder, *passages)
    assert (error.value.first, error.value.second) == again[0]


def test_nothing_to_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no passages to index"):
        stored(tmp_path)


def test_a_damaged_line_is_not_given(tmp_path: Path) -> None:
    stored(tmp_path, *PASSAGES)
    file = tmp_path / "passages.jsonl"
    file.write_bytes(file.read_bytes().replace(b"Danzig, today", b"Danzig, tomay"))
    found = StoredPassages(tmp_path)
    assert found[1] == PASSAGES[1]
    with pytest.raises(DataError, match=r"passages\.jsonl, line 3: the index is damaged"):
        found[2]


@pytest.mark.parametrize("name", [*(f"{each}.npy" for each in ARRAYS), "passages.jsonl"])
@pytest.mark.parametrize("damage", ["gone", "empty", "shorter"])
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    stored(tmp_path, *PASSAGES)
    file = tmp_path / name
    content = file.read_bytes()
    file.write_bytes({"gone": b"", "empty": b"", "shorter": content[:-20]}[damage])
    if damage == "gone":
        file.unlink()
    with pytest.raises(DataError, match="the index is damaged"):
        StoredPassages(tmp_path)
