"""Loading models: folders that are whole, and reasons for those that are not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from igpo_gym import libraries
from igpo_gym.errors import MissingExtraError, SpecError
from igpo_gym.lm import loading
from igpo_gym.lm.loading import choose_device, gguf_folder, load_model, load_shape
from igpo_gym.specs import fingerprints
from tests.lm.tiny import make_model, make_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_model().save_pretrained(tmp_path / "model")
    make_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_a_folder_of_endless_layers_is_refused_before_any_is_made(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**6}))
    for load in (load_model, load_shape):
        with pytest.raises(SpecError, match="names 1,000,000 layers, and 1,000 are the most"):
            load(folder)


def test_a_folder_loads_in_float32_on_a_cpu(folder: Path) -> None:
    model, tokenizer = load_model(folder, device="cpu")
    assert model.dtype == torch.float32
    assert not model.training
    assert tokenizer("a").input_ids[0] == 0
    ids = torch.arange(5)[None]
    torch.testing.assert_close(model(input_ids=ids).logits, make_model()(input_ids=ids).logits)


def test_the_dtype_may_be_chosen(folder: Path) -> None:
    assert load_model(str(folder), "cpu", torch.bfloat16)[0].dtype == torch.bfloat16


def test_loading_draws_nothing_and_leaves_the_users_settings(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load_model(folder, device="cpu")
    assert capfd.readouterr() == ("", "")
    assert transformers_logging.is_progress_bar_enabled()
    AutoModelForCausalLM.from_pretrained(folder)  # the user's own loading still shows its bar
    assert "100%" in capfd.readouterr().err


def test_auto_is_a_device_that_is_there() -> None:
    torch.zeros(1, device=choose_device())
    assert choose_device("cpu").type == "cpu"


def test_a_checkpoint_without_all_weights_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SpecError, match=r"do not fit LlamaForCausalLM.*they lack model\.layers\.1\.mlp"):
        load_model(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(SpecError, match="cannot load the model"):
        load_model(folder)


@pytest.mark.parametrize("spec", ["no/such-model", "a b c", "", "/no/such/folder"])
def test_a_name_of_nothing_is_refused_with_what_would_be_right(spec: str) -> None:
    with pytest.raises(SpecError, match=r"cannot load .*local folder with safetensors, or a \.gguf file"):
        load_model(spec)


def test_a_server_is_told_from_a_model_without_its_password() -> None:
    with pytest.raises(
        SpecError, match=r"'http://\S*host:8000/v1' is a server.*igpo-gym check server"
    ) as told:
        load_model("http://me:secret@host:8000/v1")
    assert "secret" not in str(told.value)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot load"):
        load_model(tmp_path)


def test_a_gguf_file_must_exist() -> None:
    with pytest.raises(SpecError, match="no file"):
        load_model("missing.gguf")


def test_a_gguf_file_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF is not this")
    with pytest.raises(SpecError, match="cannot read the GGUF file"):
        gguf_folder(file)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_gguf_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path))
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(MissingExtraError, match=r"igpo-gym\[gguf\]"):
        gguf_folder(file)


def test_a_packaged_model_that_is_missing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "PACKAGED", ("pico",))
    monkeypatch.setattr(loading, "check_name", lambda spec: None)
    with pytest.raises(SpecError, match="'pico' is not in this installation"):
        load_model("pico")


@pytest.mark.slow
def test_a_converted_gguf_file_loads_whole(smollm2: Path) -> None:
    model, tokenizer = load_model(smollm2, device="cpu")
    assert model.num_parameters() == 134_515_008
    assert model.config.model_type == "llama"
    assert tokenizer.chat_template


def tiny_gguf(path: Path, seed: int = 0) -> None:
    """A model of the smallest shape, with a vocabulary of letters; ``seed`` decides its weights."""
    gguf = pytest.importorskip("gguf")
    random, hidden, wide = np.random.default_rng(seed), 8, 16
    tokens = ["<|endoftext|>", *"abcdefgh", "Ġ", "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    for name, value in {
        "context_length": 64,
        "embedding_length": hidden,
        "block_count": 1,
        "feed_forward_length": wide,
        "head_count": 2,
        "head_count_kv": 2,
        "layer_norm_rms_eps": 1e-5,
        "rope_dimension_count": 4,
        "vocab_size": len(tokens),
        "tokenizer_model": "gpt2",
        "token_list": tokens,
        "token_types": [3, *[1] * 10],
        "token_merges": ["a b"],
        "bos_token_id": 0,
        "eos_token_id": 0,
    }.items():
        getattr(writer, f"add_{name}")(value)
    square = [f"blk.0.attn_{part}" for part in ("q", "k", "v", "output")]
    for shape, names in {
        (len(tokens), hidden): ("token_embd", "output"),
        (hidden,): ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"),
        (hidden, hidden): square,
        (wide, hidden): ("blk.0.ffn_gate", "blk.0.ffn_up"),
        (hidden, wide): ("blk.0.ffn_down",),
    }.items():
        for name in names:
            writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_has_its_own_tokenizer_whatever_lies_beside_it(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    tiny_gguf(folder / "tiny.gguf")
    assert (folder / "tokenizer.json").is_file()
    model, tokenizer = load_model(folder / "tiny.gguf", "cpu")
    assert len(tokenizer) == model.get_input_embeddings().num_embeddings == 11
    assert tokenizer.convert_ids_to_tokens(tokenizer("abc").input_ids) == ["ab", "c"]


def test_gguf_files_of_one_beginning_and_end_have_their_own_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file, too: it is converted under the hash of all of it."""
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "WHOLE_BYTES", 100)
    monkeypatch.setattr(fingerprints, "_PIECE", 10)
    one, other = tmp_path / "one.gguf", tmp_path / "other.gguf"
    tiny_gguf(one)
    content = bytearray(one.read_bytes())
    content[-1000:-996] = np.float32(7).tobytes()
    other.write_bytes(content)
    weights = [load_model(path, "cpu")[0].state_dict() for path in (one, other)]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_code_beside_a_gguf_file_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("builtins.input", lambda *prompt: pytest.fail("it asks"))
    (tmp_path / "evil.py").write_text("raise SystemExit('it runs')")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(SpecError, match="cannot read the GGUF file") as caught:
        load_model(tmp_path / "model.gguf")
    assert "evil" not in str(caught.value).replace(str(tmp_path), "")
    assert not capsys.readouterr().out


def test_a_folder_that_needs_code_of_its_own_is_refused_by_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *prompt: pytest.fail("it asks"))
    path = folder / "config.json"
    config = json.loads(path.read_text()) | {"auto_map": {"AutoConfig": "evil.Config"}}
    (folder / "evil.py").write_text("raise SystemExit('it runs')")
    path.write_text(json.dumps(config))
    assert load_model(folder)  # a kind of model that transformers knows needs none of that
    path.write_text(json.dumps(config | {"model_type": "evil"}))
    with pytest.raises(SpecError, match=r"config\.json asks for code .*evil\.Config.* which is never run"):
        load_model(folder)


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "config.json", "model.safetensors"]
)
def test_a_damaged_model_is_told_in_a_line(name: str, folder: Path) -> None:
    content = (folder / name).read_bytes()
    for spoiled in (content[: len(content) // 2], content.replace(b"single_word", b"single_worD"), b"[]"):
        (folder / name).write_bytes(spoiled)
        if spoiled != content:
            with pytest.raises(SpecError) as caught:
                load_model(folder, "cpu")
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("nanoo", "there is no model 'nanoo'; did you mean nano?"),
        ("Nano-Base", "did you mean nano-base?"),
        ("./missing", "there is no such folder"),
        ("runs/mine/best", "there is no such folder"),
        ("two words", "there is no such folder"),
    ],
)
def test_what_can_be_no_name_is_not_asked_for(
    spec: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "unreachable", lambda: pytest.fail("the hub is asked"))
    with pytest.raises(SpecError, match=re.escape(problem)):
        load_model(spec)


@pytest.mark.parametrize("device", ["gpu", "nowhere", ""])
def test_an_unknown_device_is_a_wrong_setting(device: str) -> None:
    with pytest.raises(SpecError, match="unknown device"):
        choose_device(device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_that_is_not_there_is_a_wrong_setting() -> None:
    with pytest.raises(SpecError, match="no device 'cuda' for torch on this machine"):
        choose_device("cuda")
