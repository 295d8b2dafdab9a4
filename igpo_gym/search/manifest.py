"""The manifest of an index's folder: which kind of index it is, and whether another may take its place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from igpo_gym.errors import DataError
from igpo_gym.storage import restore

MANIFEST = "manifest.json"

BM25, DENSE = "igpo_gym BM25 index", "igpo_gym dense index"

KINDS = {BM25: "bm25", DENSE: "dense"}
"""What an index is called in its manifest, and the scheme of its search."""

AGAIN = "build the index again"

_INSIDE = ("checksums.bin", "passages.jsonl")
"""Files by which an index is known whose manifest is damaged."""


def replaceable(folder: Path) -> bool:
    """Whether an index may be written there: nothing is there, an empty folder, or an older index alone.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> replaceable(folder)
    True
    >>> _ = (folder / MANIFEST).write_text('{"name": "My extension"}')
    >>> replaceable(folder)
    False
    """
    if not folder.is_dir():
        return not folder.exists()
    if not any(folder.iterdir()):
        return True
    path = folder / MANIFEST
    if not path.is_file():
        return False
    content = path.read_bytes()
    known = any(kind.encode() in content for kind in KINDS) or any(
        (folder / name).is_file() for name in _INSIDE
    )
    return known and not _strangers(folder, content)


def _strangers(folder: Path, manifest: bytes) -> list[str]:
    """What lies beside an index and is no part of it; nothing where its manifest is damaged."""
    try:
        parts = set(dict(json.loads(manifest)["files"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    own = {MANIFEST, *_INSIDE, *parts, *(f"{part}.bin" for part in parts)}
    return [path.name for path in folder.iterdir() if path.name not in own and path.name[0] != "."]


def read_manifest(folder: Path, kind: str, version: int) -> dict[str, Any]:
    """The manifest of an index of that kind and format, as it was written.

    Raises DataError for a folder that is missing, for one that is no such index or of another format, and for
    a manifest that is damaged.
    """
    if not folder.exists():
        restore(folder)
    path = folder / MANIFEST
    if not path.is_file():
        found = f"not an {kind}: no {MANIFEST} in it" if folder.is_dir() else "no such folder"
        model = " --dense MODEL" if kind == DENSE else ""
        raise DataError(folder, f"{found}; `igpo-gym index build FILE FOLDER{model}` makes one")
    try:
        manifest = dict(json.loads(path.read_bytes()))
        found, made = manifest["kind"], manifest["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise DataError(path, f"not the manifest of an {kind}, or a damaged one") from None
    if found != kind:
        advice = f"; search it with {KINDS[found]}:{folder}" if str(found) in KINDS else ""
        raise DataError(folder, f"the folder holds an {found!s:.60}, not an {kind}{advice}")
    if made != version:
        raise DataError(folder, f"the index has format {made}, this igpo_gym reads {version}: {AGAIN}")
    if manifest != sealed(manifest):
        raise DataError(path, f"the manifest is damaged; {AGAIN}")
    return manifest


def check_sizes(folder: Path, sizes: Mapping[str, int]) -> None:
    """Raise DataError for a file that is not there with its size."""
    for name, size in sizes.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            raise DataError(
                file, f"the index is damaged: the file is not there with its {size} bytes; {AGAIN}"
            )


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with its ``checksum``, a hash of all the rest, and so of all that it describes."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return {**rest, "checksum": digest(json.dumps(rest, sort_keys=True).encode())}


def digest(data: bytes) -> str:
    """The hash by which an index tells what was written."""
    return blake2b(data, digest_size=16).hexdigest()
