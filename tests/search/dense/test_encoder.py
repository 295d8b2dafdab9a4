"""Encoders: where they are found, and what is never run or read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from igpo_gym.errors import SpecError
from igpo_gym.search.dense.encoder import load_encoder
from tests.search.dense.conftest import save_encoder


def test_a_folder_is_an_encoder(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(encoder.parent)
    loaded = load_encoder("tiny", "cpu")
    assert (loaded.name, loaded.dimension, loaded.similarity) == (str(encoder), 32, "cosine")
    assert (loaded.query_prefix, loaded.passage_prefix) == ("query: ", "passage: ")
    assert loaded.encode([]).shape == (0, 32)


def test_a_copy_has_the_same_fingerprint_and_other_weights_or_pooling_another(
    encoder: Path, tmp_path: Path
) -> None:
    own = load_encoder(str(encoder), "cpu").fingerprint
    copied = shutil.copytree(encoder, tmp_path / "copied")
    (copied / "README.md").write_text("a note")
    assert load_encoder(str(copied), "cpu").fingerprint == own
    pooling = copied / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("mean", "max"))
    others = {load_encoder(str(copied), "cpu").fingerprint, _fingerprint(tmp_path, seed=1)}
    assert own not in others
    assert len(others) == 2


def _fingerprint(folder: Path, seed: int) -> str:
    return load_encoder(str(save_encoder(folder / "seeded", seed)), "cpu").fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such/folder", "there is no encoder 'no/such/folder': no such folder"),
        ("http://me:secret@host/model", "there is no encoder 'http://host/model'"),
        ("nobody/knows-this-model", "it is not in the local cache, and "),
        (".", r"there is no model in the folder '\.': no config\.json"),
    ],
)
def test_what_is_not_there_is_told_in_a_line(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError, match=message) as error:
        load_encoder(name)
    assert "\n" not in str(error.value)


def test_code_in_a_folder_is_never_run(encoder: Path, tmp_path: Path) -> None:
    hostile = shutil.copytree(encoder, tmp_path / "hostile")
    marker = tmp_path / "it ran"
    (hostile / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Module: pass\n")
    modules = json.loads((hostile / "modules.json").read_bytes())
    modules[1]["type"] = "evil.Module"
    (hostile / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SpecError, match="cannot load the encoder") as error:
        load_encoder(str(hostile))
    assert "\n" not in str(error.value)
    assert not marker.exists()


def test_pickled_weights_are_not_read(encoder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SpecError, match=r"pytorch_model\.bin is not read: .* must be in safetensors"):
        load_encoder(str(folder))


def test_a_damaged_model_is_told_in_a_line(encoder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(encoder, tmp_path / "cut")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SpecError, match="cannot load the encoder") as error:
        load_encoder(str(folder))
    assert "\n" not in str(error.value)


def test_other_measures_than_the_inner_product_are_refused(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "euclidean", similarity_fn_name="euclidean")
    with pytest.raises(SpecError, match="compares by euclidean; only cosine and dot will do"):
        load_encoder(str(folder), "cpu")
