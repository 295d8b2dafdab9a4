"""Saved indices: what is refused, what damage does, and what is left of writers that die or find no room."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest

from igpo_gym.episode import Passage
from igpo_gym.errors import DataError
from igpo_gym.search.bm25 import FORMAT, BM25Index, folder
from igpo_gym.specs import fingerprint

PASSAGES = [
    Passage("grass", "Günter Grass", "He wrote The Tin Drum, a novel of 1959."),
    Passage("drum", "The Tin Drum", "A novel by Günter Grass; Oskar beats the drum."),
    Passage("gdansk", "Gdańsk", "A city on the Baltic coast, once Danzig."),
]
FILES = [*(f"{name}.bin" for name in folder.ARRAYS), "checksums.bin"]


def drawn(count: int, seed: int = 0) -> list[Passage]:
    rng = np.random.default_rng(seed)
    rows = rng.zipf(1.3, size=(count, 12)) % 500
    texts = (" ".join(f"w{word}" for word in row) for row in rows)
    return [Passage(f"p{number}", f"t{number // 3}", text) for number, text in enumerate(texts)]


@pytest.fixture
def checked_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every index counts as a large one, and has several blocks in each file."""
    monkeypatch.setattr(folder, "SMALL", 0)
    monkeypatch.setattr(folder, "BLOCK", 1 << 10)


def test_saving_replaces_an_index_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "index"
    BM25Index.build(PASSAGES).save(target)
    BM25Index.build(PASSAGES[:2]).save(target)
    assert len(BM25Index.load(target)) == 2
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="something else than an index"):
        BM25Index.build(PASSAGES).save(tmp_path / "thesis")
    with pytest.raises(FileExistsError, match="something else than an index"):
        BM25Index.build(PASSAGES).save(tmp_path / "thesis" / "chapter.txt")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"
    (tmp_path / "thesis" / "manifest.json").write_text('{"name": "somebody else\'s"}')
    with pytest.raises(FileExistsError, match="something else than an index"):
        BM25Index.build_folder(PASSAGES, tmp_path / "thesis")
    (target / "manifest.json").write_text("damaged")
    assert len(BM25Index.build_folder(PASSAGES, target)) == len(PASSAGES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "thesis"]


def test_saving_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "disk" / "index")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "index")
    BM25Index.build(PASSAGES[:1]).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(BM25Index.load(tmp_path / "disk" / "index")) == 1


@pytest.mark.usefixtures("checked_late")
def test_a_large_index_is_mapped_and_its_copy_saved_the_same(tmp_path: Path) -> None:
    built = BM25Index.build(drawn(300))
    built.save(tmp_path / "index")
    loaded = BM25Index.load(tmp_path / "index")
    for name in ("starts", "numbers", "scores", "lines", "line_starts"):
        array = loaded.arrays[name]
        assert isinstance(array, folder.Checked)
        assert isinstance(array.array.base, np.memmap)
    assert loaded.search(["w3 w70", "w1"], 5) == built.search(["w3 w70", "w1"], 5)
    loaded.save(tmp_path / "copy")
    for name in (*FILES, "manifest.json"):
        assert (tmp_path / "copy" / name).read_bytes() == (tmp_path / "index" / name).read_bytes()


def test_load_refuses_what_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; `igpo-gym index build"):
        BM25Index.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="no such folder"):
        BM25Index.load(tmp_path / "file")
    model = bm25s.BM25()
    model.index([["tin", "drum"]], show_progress=False)
    model.save(tmp_path / "bm25s")
    with pytest.raises(DataError, match=r"not an igpo_gym BM25 index: no manifest\.json"):
        BM25Index.load(tmp_path / "bm25s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": FORMAT + 1}, f"format {FORMAT + 1}, this igpo_gym reads {FORMAT}: build the index again"),
        ({"format": 1}, f"format 1, this igpo_gym reads {FORMAT}: build the index again"),
        ({"kind": "something else"}, "holds an something else, not an igpo_gym BM25 index$"),
        ({"kind": ["a list"]}, "not an igpo_gym BM25 index$"),
        ({"files": None}, "damaged"),
        ({"passages": 4}, "damaged"),
        ({"checksum": None}, "damaged"),
    ],
)
def test_load_refuses_a_foreign_manifest(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    manifest = tmp_path / "index" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(DataError, match=message):
        BM25Index.load(tmp_path / "index")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", "[" * 100_000, '{"kind": 1}', "\ud800", '{"format": 2}']
)
def test_load_refuses_what_is_no_manifest(tmp_path: Path, text: str) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    (tmp_path / "index" / "manifest.json").write_text(text, "utf-8", "surrogatepass")
    with pytest.raises(DataError, match="not the manifest of an igpo_gym BM25 index, or a damaged one"):
        BM25Index.load(tmp_path / "index")


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_load_refuses_a_folder_that_lacks_a_file(tmp_path: Path, name: str) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    (tmp_path / "index" / name).unlink()
    with pytest.raises(DataError, match=r"damaged.*build the index again|no manifest"):
        BM25Index.load(tmp_path / "index")


@pytest.mark.parametrize("late", [False, True])
def test_no_damage_passes_for_text(tmp_path: Path, late: bool, request: pytest.FixtureRequest) -> None:
    """A byte turned or a cut, anywhere: DataError on loading or on reading, or what was there."""
    if late:
        request.getfixturevalue("checked_late")
    place = tmp_path / "index"
    passages = drawn(120)
    BM25Index.build(passages).save(place)
    queries, ids = ["w1", "w3 w70 w2", "t7", "w499 w5", "none"], ["p3", "p119", "none"]

    def read() -> object:
        index = BM25Index.load(place)
        found = index.search(queries, 5)
        return (
            found,
            [[p.score for p in row] for row in found],
            index.documents(ids),
            list(map(index.passage, range(120))),
        )

    right = read()
    rng = np.random.default_rng(0)
    caught = 0
    for _ in range(150):
        file = place / str(rng.choice([*FILES, "manifest.json"]))
        whole = file.read_bytes()
        at = int(rng.integers(len(whole)))
        if rng.random() < 0.7:
            file.write_bytes(whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))]) + whole[at + 1 :])
        else:
            file.write_bytes(whole[:at])
        try:
            assert read() == right
        except DataError:
            caught += 1
        file.write_bytes(whole)
    assert caught > (100 if late else 140)
    assert read() == right


@pytest.mark.usefixtures("checked_late")
def test_a_damaged_block_is_named_when_it_is_read(tmp_path: Path) -> None:
    BM25Index.build(drawn(300)).save(tmp_path / "index")
    lines = tmp_path / "index" / "lines.bin"
    content = bytearray(lines.read_bytes())
    content[-10] ^= 1
    lines.write_bytes(content)
    index = BM25Index.load(tmp_path / "index")
    assert index[0].id == "p0"
    for _ in range(2):
        with pytest.raises(DataError, match=r"lines\.bin: the index is damaged at byte [\d,]+ and on; build"):
            index[299]


def test_the_manifest_decides_the_fingerprint(tmp_path: Path) -> None:
    for name, passages in (("one", PASSAGES), ("same", PASSAGES), ("other", PASSAGES[:2])):
        BM25Index.build(passages).save(tmp_path / name)
    one, same, other = (fingerprint(f"bm25:{tmp_path / name}") for name in ("one", "same", "other"))
    assert one == same != other
    lines = tmp_path / "one" / "lines.bin"
    lines.write_bytes(bytes(lines.stat().st_size))
    assert fingerprint(f"bm25:{tmp_path / 'one'}") == one  # it is not read; loading finds the damage
    lines.write_bytes(b"")
    assert fingerprint(f"bm25:{tmp_path / 'one'}") != one


WRITER = """
import os, signal, sys
from pathlib import Path
from igpo_gym.storage import whole
from igpo_gym.episode import Passage
from igpo_gym.search.bm25 import BM25Index

place, moment = Path(sys.argv[1]), sys.argv[2]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def passages():
    for number in range(50):
        if moment == "reading" and number == 20:
            die()
        yield Passage(str(number), "new", "passage")

def dies_after(owner, name, counts=(1,)):
    call = getattr(owner, name)
    count = 0
    def wrapper(*arguments, **options):
        nonlocal count
        result = call(*arguments, **options)
        count += 1
        if count in counts:
            die()
        return result
    setattr(owner, name, wrapper)

if moment == "blocks":
    dies_after(Path, "mkdir", (3,))
elif moment == "files":
    import igpo_gym.search.bm25.folder as folder
    dies_after(folder.FolderWriter, "append", (9,))
elif moment == "manifest":
    dies_after(Path, "write_text")
elif moment == "exchange":
    dies_after(whole, "_exchange")
elif moment.startswith("renames"):
    whole._exchange = lambda *_: False
    rename = Path.rename
    count = 0
    def renamed(path, to):
        global count
        result = rename(path, to)
        count += 1
        if count == int(moment[-1]):
            die()
        return result
    Path.rename = renamed
elif moment == "cleaning":
    import shutil
    shutil.rmtree = die
BM25Index.build_folder(passages(), place)
"""
MOMENTS = ("reading", "blocks", "files", "manifest", "exchange", "renames1", "renames2", "cleaning")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
@pytest.mark.parametrize("moment", MOMENTS)
def test_who_dies_leaves_the_old_index_or_the_new_one(tmp_path: Path, moment: str) -> None:
    place = tmp_path / "index"
    BM25Index.build(PASSAGES).save(place)
    done = subprocess.run([sys.executable, "-c", WRITER, str(place), moment], check=False)
    assert done.returncode == -9
    assert [path.name for path in tmp_path.iterdir() if path.name != "index"]
    new = moment in ("exchange", "renames2", "cleaning")
    assert len(BM25Index.load(place)) == (50 if new else 3)
    BM25Index.build(PASSAGES[:2]).save(place)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    assert len(BM25Index.load(place)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
@pytest.mark.parametrize("old", [True, False])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, old: bool) -> None:
    """The limit is on a file's size, which a writer meets as it does a disk that is full."""
    place = tmp_path / "index"
    if old:
        BM25Index.build(PASSAGES).save(place)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"id": p.id, "text": p.text}) + "\n" for p in drawn(2000)))
    program = textwrap.dedent(
        """
        import resource, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        from igpo_gym.cli import app
        app(["index", "build", *sys.argv[1:]])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(corpus), str(place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "index: file too large" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus.jsonl", *(["index"] if old else [])]
    if old:
        assert len(BM25Index.load(place)) == 3


def test_opening_does_not_depend_on_the_size(tmp_path: Path, checked_late: None) -> None:
    """Opening reads the manifest, the checksums and the buckets, and maps all else."""
    BM25Index.build(drawn(3000)).save(tmp_path / "index")
    index = BM25Index.load(tmp_path / "index")
    unread = {name: array for name, array in index.arrays.items() if isinstance(array, folder.Checked)}
    assert set(folder.ARRAYS) - set(unread) == {"word_buckets", "id_buckets", "title_buckets"}
    index.search(["w7 w80"], 3)
    index.documents(["p17"])
    for name in ("lines", "numbers", "ids", "titles"):
        assert 0 < unread[name]._unread.count(0) < unread[name]._unread.count(1)


def test_what_lies_beside_an_index_is_not_replaced_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    BM25Index.build_folder(PASSAGES, folder)
    BM25Index.build_folder(PASSAGES, folder)  # an index alone is
    (folder / "NOTES.md").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something else than an index"):
        BM25Index.build_folder(PASSAGES, folder)
    assert (folder / "NOTES.md").read_text() == "mine"
