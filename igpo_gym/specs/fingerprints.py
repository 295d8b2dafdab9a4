"""Hashes of what specs name: whether files of the same name are still what they were."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from igpo_gym.specs.grammar import Spec, joined, parts
from igpo_gym.specs.registry import KINDS, PATH, exists, registered_in, table_of
from igpo_gym.storage import cache_dir, written_file

WHOLE_BYTES = 64 << 20
"""Weights in files of up to this size are hashed whole, and all other files."""

_WEIGHTS = frozenset({".safetensors", ".bin"})
"""Files that nobody edits by hand, and that are loaded at each start. A GGUF file is not: it is converted
under its hash, so that another one of the same beginning and end would have its weights."""

_PIECE = 1 << 20
"""Of a larger file, how much is hashed at its beginning and at its end; smaller ones are not remembered."""

_SETTLED_SECONDS = 2.0
"""A file that was written within this time may be written again without another time to show for it."""

_MODEL_FILES = frozenset({".json", ".safetensors", ".model", ".txt", ".jinja", ".bin", ".gguf"})


def fingerprint(spec: str | Path | None) -> str:
    """A hash of the content that a spec or path names; empty where it names no file or folder.

    The same for a copy, and whatever the working directory: registered names are never paths. Of a folder,
    that of its files: of a model's, those that a model is made of; of an index's, the manifest, which holds
    checksums of the others, and the sizes of those. A file of weights of more than ``WHOLE_BYTES`` counts by
    its size, its first and last megabyte, and the header of a safetensors file. Hashes of large files are
    remembered in the cache folder, for a path, size and time of writing.

    >>> fingerprint("world:test"), fingerprint(None)
    ('', '')
    """
    if isinstance(spec, Path):
        return _of_path(spec)
    found = [_of_path(path) for path in named_paths(spec)]
    return found[0] if len(found) < 2 and found else _digest(*found) if found else ""


def named_paths(spec: object) -> list[Path]:
    """The files and folders that a spec of any kind names; none for what is no text.

    >>> [path.as_posix() for path in named_paths("hotpotqa:dev.json#limit=5 + world:test")]
    ['dev.json']
    """
    return [path for part in joined(spec) for path in _paths(part)] if isinstance(spec, str) else []


def _paths(text: str) -> list[Path]:
    """Those of one set, or of the parts that a spec is made of."""
    place = Spec.parse(text).place
    for kind in KINDS:
        if name := registered_in(kind, place):
            entry, rest = table_of(kind)[name], place[len(name) + 1 :]
            if entry.parts:
                return [path for part in parts(rest) for path in _paths(part)]
            if callable(entry.files):
                return list(entry.files(rest))
            return [Path(rest)] if entry.files and rest else []
    if not exists(place):
        return []
    # A path alone does not tell its kind, so what any kind reads for it counts.
    readers = [table_of(kind)[PATH].files for kind in KINDS if PATH in table_of(kind)]
    read = [path for files in readers if callable(files) for path in files(place)]
    return list(dict.fromkeys((Path(place), *read)))


def _of_path(path: Path) -> str:
    try:
        if not path.is_dir():
            return _of_file(path) if path.is_file() else ""  # reading a pipe would take what it gives
        files = sorted(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        if (manifest := path / "manifest.json") in files and _sums_up(manifest):
            sizes = (part for each in files for part in (each.name, each.stat().st_size))
            return _digest(_of_file(manifest), *sizes)
        if (path / "config.json").is_file():
            files = [each for each in files if each.suffix in _MODEL_FILES]
        return _digest(*(part for each in files for part in (each.name, _of_file(each))))
    except OSError:
        return ""


def _sums_up(manifest: Path) -> bool:
    """Whether it is a manifest of this package that has a checksum of all that it stands for."""
    with suppress(ValueError, TypeError, RecursionError):
        content = dict(json.loads(manifest.read_bytes()))
        return str(content.get("kind", "")).startswith("igpo_gym ") and "checksum" in content
    return False


def _of_file(path: Path) -> str:
    status = path.stat()
    if status.st_size < _PIECE:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    where = str(path.resolve())
    state = [where, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    memo = cache_dir() / "fingerprints" / f"{_digest(where)}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        remembered = json.loads(memo.read_text(encoding="utf-8"))
        if remembered["state"] == state:
            return str(remembered["hash"])
    made = _hash(path, status.st_size)
    if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED_SECONDS:
        with suppress(OSError), written_file(memo) as file:
            json.dump({"state": state, "hash": made}, file)
    return made


def _hash(path: Path, size: int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        if size <= WHOLE_BYTES or path.suffix not in _WEIGHTS:
            while block := file.read(_PIECE):
                digest.update(block)
            return digest.hexdigest()
        digest.update(f"{size} bytes".encode())
        digest.update(file.read(_PIECE))
        if path.suffix == ".safetensors":
            file.seek(0)
            header = int.from_bytes(file.read(8), "little")
            digest.update(file.read(min(header, WHOLE_BYTES)))
        file.seek(-_PIECE, os.SEEK_END)
        digest.update(file.read())
    return digest.hexdigest()


def _digest(*parts: str | int) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(f"{part}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
