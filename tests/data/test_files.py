import bz2
import gzip
import io
import json
import lzma
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from igpo_gym.data import files, resolve_questions
from igpo_gym.data.files import json_lines, lines, whole
from igpo_gym.errors import DataError

RECORDS = [{"n": number, "text": "Gdańsk " * number} for number in range(1, 200)]
CONTENT = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()


def frames(content: bytes) -> bytes:
    """Several frames one behind the other, as parallel compressors write them."""
    pieces = [content[place : place + 1000] for place in range(0, len(content), 1000)]
    return b"".join(zstandard.ZstdCompressor().compress(piece) for piece in pieces)


PACKED = {
    "a.jsonl": CONTENT,
    "a.jsonl.gz": gzip.compress(CONTENT),
    "a.jsonl.zst": zstandard.ZstdCompressor().compress(CONTENT),
    "frames.zst": frames(CONTENT),
    "a.jsonl.bz2": bz2.compress(CONTENT),
    "streams.bz2": bz2.compress(CONTENT[:5000]) + bz2.compress(CONTENT[5000:]),
    "a.jsonl.XZ": lzma.compress(CONTENT),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_packing_gives_the_same_lines(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKED[name])
    assert list(json_lines(tmp_path / name)) == list(enumerate(RECORDS, 1))
    assert b"".join(line for _, line in lines(tmp_path / name)) == whole(tmp_path / name) == CONTENT


@pytest.mark.parametrize("name", [name for name in PACKED if name != "a.jsonl"])
def test_a_cut_file_is_named_wherever_it_is_cut(tmp_path: Path, name: str) -> None:
    packed = PACKED[name]
    for size in {1, 3, 9, len(packed) // 2, len(packed) - 5, len(packed) - 1}:
        (tmp_path / name).write_bytes(packed[:size])
        for read in (lines, whole):
            with pytest.raises(DataError, match=rf"{name}.*: not a whole (gzip|zstandard|bzip2|xz) file: "):
                list(read(tmp_path / name))


def test_a_damaged_zstandard_file_is_named_with_its_line(tmp_path: Path) -> None:
    packed = bytearray(PACKED["frames.zst"])
    packed[len(packed) // 2] ^= 255
    (tmp_path / "a.zst").write_bytes(packed)
    read: list[Any] = []
    with pytest.raises(DataError) as told:
        read.extend(json_lines(tmp_path / "a.zst"))
    assert str(told.value).startswith(f"{tmp_path / 'a.zst'}, line ")
    (tmp_path / "b.zst").write_bytes(CONTENT)
    with pytest.raises(DataError, match=r"b\.zst, line 1: not a whole zstandard file: "):
        list(json_lines(tmp_path / "b.zst"))


@pytest.mark.parametrize("name", ["questions.csv", "questions.jsonl", "questions.json", "questions"])
def test_what_is_no_text_is_said(tmp_path: Path, name: str) -> None:
    table = "question,answer\nWho?,Oskar\n"
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("a.csv", table)
    for content, told in (
        (table.encode("utf-16"), r"it is UTF-16, as Excel and PowerShell write: save it as UTF-8"),
        (
            lzma.compress(table.encode()),
            r"it is packed: unpack it \(xzcat FILE\), or let its name end in \.xz",
        ),
        (zipped.getvalue(), "it is a zip file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=told):
            resolve_questions(str(tmp_path / name))


def test_an_empty_zstandard_file_has_no_lines(tmp_path: Path) -> None:
    (tmp_path / "empty.zst").write_bytes(b"")
    assert list(lines(tmp_path / "empty.zst")) == []


def test_a_line_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LINE_BYTES", 1 << 20)
    path = tmp_path / "long.jsonl"
    path.write_bytes(b"{}\n" + b" " * ((1 << 20) - 3) + b"{}\n" + b" " * (1 << 20) + b"{}\n")
    read: list[Any] = []
    with pytest.raises(DataError, match=r"long\.jsonl, line 3: a line of more than 1 MiB"):
        read.extend(json_lines(path))
    assert read == [(1, {}), (2, {})]


def test_a_whole_file_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", 3 << 20)
    (tmp_path / "fits.json").write_bytes(b" " * (3 << 20))
    (tmp_path / "long.json").write_bytes(b" " * ((3 << 20) + 1))
    assert len(whole(tmp_path / "fits.json")) == 3 << 20
    with pytest.raises(DataError, match=r"long\.json: more than 3 MiB, which cannot be read at once"):
        whole(tmp_path / "long.json")


UNPACK = """
import tracemalloc, sys
from pathlib import Path
from igpo_gym.data.files import json_lines
from igpo_gym.errors import DataError
tracemalloc.start()
try:
    list(json_lines(Path(sys.argv[1])))
except DataError as problem:
    print(problem)
print(tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.parametrize("name", ["bomb.jsonl.gz", "bomb.jsonl.zst", "bomb.jsonl.bz2", "bomb.jsonl.xz"])
def test_what_unpacks_to_gigabytes_is_refused_in_little_memory(tmp_path: Path, name: str) -> None:
    """2 GiB in one line; what is held is one limit of it, and as much again while lines are joined."""
    path = tmp_path / name
    piece = b" " * (1 << 20)
    once = {".gz": gzip, ".bz2": bz2, ".xz": lzma}.get(path.suffix)
    if once:
        path.write_bytes(once.compress(piece) * 2048)
    else:
        with path.open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as packed:
            for _ in range(2048):
                packed.write(piece)
    made = subprocess.run([sys.executable, "-c", UNPACK, path], capture_output=True, text=True, check=True)
    told, peak = made.stdout.splitlines()
    assert told == f"{path}, line 1: a line of more than 64 MiB"
    assert int(peak) < 400 << 20
