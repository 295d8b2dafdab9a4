"""``igpo-gym check model``: verdicts, and what is said where something is missing or wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from igpo_gym.cli import app
from igpo_gym.protocols import TAGS, TOOL_CALL
from igpo_gym.scorers.check_model import check_model
from tests.lm.sentencepiece import LLAMA2, PHI3
from tests.lm.sentencepiece import make_tokenizer as sentencepiece
from tests.lm.test_templates import CLOSED, OPENED, SHOWS_EMPTY
from tests.lm.tiny import CHATML, make_model, make_tokenizer


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["check", "model", *arguments], env={"COLUMNS": "160"})
    assert result.exit_code == code, result.output
    return result.output


def told(*arguments: str, code: int = 0) -> dict[str, Any]:
    return {line["what"]: line for line in json.loads(run(*arguments, "--json", code=code))}


def test_a_packaged_model_fits() -> None:
    found = told("nano", "--protocol", "tags", "--device", "cpu")
    assert found["can be trained with IGPO"]["found"] == "yes"
    assert found["longest transcript"]["found"] == "4,096 tokens"
    assert found["the scorer agrees with a plain pass"]["good"]
    assert "ok" in run("nano", "--protocol", "tags", "--device", "cpu")


def test_without_weights_it_says_what_was_not_checked(tmp_path: Path) -> None:
    make_tokenizer(CHATML).save_pretrained(tmp_path)
    found = told(str(tmp_path))
    assert found["weights"]["found"].startswith("not loaded: cannot load the model")
    assert found["the scorer agrees with a plain pass"]["found"] == "not checked"
    assert found["can be trained with IGPO"]["found"] == "yes, as far as was checked"


def test_another_template_can_be_tried_and_is_refused_with_the_reason(tmp_path: Path) -> None:
    make_tokenizer(CHATML).save_pretrained(tmp_path)
    template = tmp_path / "last.jinja"
    template.write_text("{% for m in messages[-1:] %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}")
    found = told(str(tmp_path), "--template", str(template), "--no-weights", code=1)
    assert "does not show each message" in found["refused"]["found"]
    assert "no: refused" in run(str(tmp_path), "--template", str(template), "--no-weights", code=1)


def test_a_model_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    assert "error" in run(str(tmp_path / "none"), "--no-weights", code=2)


@pytest.mark.parametrize(
    ("template", "opening"),
    [(OPENED, "within a thought"), (CLOSED, "behind a closed thought"), (SHOWS_EMPTY, "assistant")],
)
def test_what_a_template_does_about_thoughts_is_told(template: str, opening: str) -> None:
    found = {line.what: line for line in check_model(make_tokenizer(template), TOOL_CALL)}
    assert opening in found["the template opens the agent's message"].found
    assert found["open thoughts before the probe's sentence"].found == "1"
    assert found["the template keeps thoughts"].found == "yes"


def test_a_template_that_drops_thoughts_is_made_to_keep_them() -> None:
    drops = CHATML.replace(
        "{{ message.content }}",
        "{{ message.content if loop.last else message.content.split('</think>')[-1] }}",
    )
    found = {line.what: line.found for line in check_model(make_tokenizer(drops), TOOL_CALL)}
    assert found["the template keeps thoughts"] == "the latest alone; here all are kept"
    assert found["the template itself only adds"] == "no; here it is made to"
    assert found["the transcript only grows"] == "yes"


def test_protocols_whose_messages_are_missing_are_told() -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    found = {line.what: line for line in check_model(make_tokenizer(refuses), TOOL_CALL)}
    assert found["protocols whose messages it has"].found == "tags, tags-chat"
    assert found["refused"].found == "the tokenizer's chat template has no system message at the beginning"
    assert check_model(make_tokenizer(refuses), TAGS)[-1].good


@pytest.mark.parametrize("template", [PHI3, LLAMA2, None], ids=["phi3", "llama2", "plain"])
def test_sentencepiece_models_fit(template: str | None) -> None:
    tokenizer = sentencepiece("legacy", chat_template=template)
    found = {line.what: line for line in check_model(tokenizer, TAGS, make_model(vocab_size=600))}
    assert [line.what for line in found.values() if line.good is False] == []
    expected = {PHI3: "no: they are control tokens", None: "no: there are none"}
    spelled = found["retrieved text can spell the turn marks"].found
    assert spelled == expected.get(template, "no: [/INST] [INST] would be written with a wider sign")


SPOILED = {
    "truncated": r"cannot load the model",
    "lacking": r"do not fit LlamaForCausalLM.*they lack model\.layers\.1\.mlp",
    "missing shard": r"cannot load the model",
    "index alone": r"cannot load the model",
    "extra": r"LlamaForCausalLM has no place for a tensor, model\.layers\.9\.mlp\.up_proj\.weight",
    "another shape": r"they have model\.layers\.1\.mlp\.up_proj\.weight in the shape \(\d+, 32\), where \(",
    "pickled alone": r"cannot load the model",
}


def spoil(folder: Path, how: str) -> None:
    """Save a tiny model whose weights are not what they should be."""
    sharded = how in ("missing shard", "index alone")
    make_model().save_pretrained(folder, max_shard_size="20KB" if sharded else "5GB")
    make_tokenizer(CHATML).save_pretrained(folder)
    if sharded:
        shards = sorted(folder.glob("*.safetensors"))
        assert len(shards) > 1
        for shard in shards[:1] if how == "missing shard" else shards:
            shard.unlink()
        return
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = "model.layers.1.mlp.up_proj.weight"
    if how == "truncated":
        file.write_bytes(file.read_bytes()[:-1000])
    elif how == "pickled alone":
        torch.save(weights, folder / "pytorch_model.bin")
        file.unlink()
    else:
        if how == "lacking":
            del weights[name]
        elif how == "extra":
            weights["model.layers.9.mlp.up_proj.weight"] = weights[name].clone()
        else:
            weights[name] = weights[name][:-1].clone()
        save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("how", SPOILED)
def test_spoiled_weights_are_no_model_and_the_reason_is_told(how: str, tmp_path: Path) -> None:
    spoil(tmp_path, how)
    found = told(str(tmp_path), "--device", "cpu", code=1)
    assert re.search(SPOILED[how], found["files of weights"]["found"])
    assert "\n" not in found["files of weights"]["found"]
    assert found["can be trained with IGPO"]["found"] == "no: files of weights"


def test_a_single_weight_that_is_no_number_is_found_where_no_belief_meets_it(tmp_path: Path) -> None:
    model = make_model(tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[399, 0] = float("nan")  # a token that no test uses
    model.save_pretrained(tmp_path)
    make_tokenizer(CHATML).save_pretrained(tmp_path)
    found = told(str(tmp_path), "--device", "cpu", code=1)
    assert found["weights"]["found"] == "not finite: model.embed_tokens.weight"
    assert found["can be trained with IGPO"]["found"] == "no: weights"
