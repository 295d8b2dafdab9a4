"""From logs of another agent to two steps of TRL's trainers, and which tokens these have gradients on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer
from typer.testing import CliRunner

from igpo_gym.cli import app
from tests.agents.exports.played import ANSWERS, QUERIES, chat, inside, written
from tests.lm.tiny import CHATML, make_model, make_tokenizer

TRAINERS = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig), "kto": (KTOTrainer, KTOConfig)}

SAID = {f"<search>{query}</search>" for query in QUERIES} | {f"<answer>{each}</answer>" for each in ANSWERS}
"""All that the agents wrote."""


def run(*arguments: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


class Watch:
    """The tokens whose prediction has a gradient: the last layer's output at a place is read for the
    prediction of the next token alone."""

    def __init__(self, model: Any) -> None:
        self.batches: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._ids = torch.empty(0)
        model.register_forward_pre_hook(self._read, with_kwargs=True)
        model.model.norm.register_forward_hook(self._hold)

    def _read(self, module: Any, arguments: Any, named: dict[str, Any]) -> None:
        self._ids = named["input_ids"]

    def _hold(self, module: Any, arguments: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.retain_grad()
            self.batches.append((self._ids, output))

    def runs(self, tokenizer: Any) -> list[str]:
        """The texts of unbroken runs of such tokens."""
        found = []
        for ids, output in self.batches:
            assert output.grad is not None
            taught = (output.grad != 0).any(-1)[:, :-1]
            for row, flags in zip(ids[:, 1:].tolist(), taught.tolist(), strict=True):
                run: list[int] = []
                for token, flag in zip([*row, 0], [*flags, False], strict=True):
                    if flag:
                        run.append(token)
                    elif run:
                        found.append(tokenizer.decode(run, clean_up_tokenization_spaces=False))
                        run = []
        return found


@pytest.mark.slow
@pytest.mark.parametrize("form", [inside, chat])
@pytest.mark.parametrize("name", TRAINERS)
def test_no_token_of_the_environment_has_a_gradient(
    name: str, form: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path, form)
    tokenizer = make_tokenizer(CHATML, bos=False)
    tokenizer.save_pretrained("model")
    make_model("llama").save_pretrained("model")

    run("import", "logs.jsonl", "--out", "records.jsonl")
    run("relabel", "records.jsonl", "--reward", "igpo", "--scorer", "nano", "--records", "--out", "p.jsonl")
    run("export", "p.jsonl", "--format", name, "--tokenizer", "model", "--out", "rows.jsonl")

    rows = load_dataset("json", data_files="rows.jsonl", split="train", cache_dir=str(tmp_path / "cache"))
    kind, settings = TRAINERS[name]
    model = AutoModelForCausalLM.from_pretrained("model")
    watch = Watch(model)
    trainer = kind(
        model=model,
        args=settings(
            output_dir="out",
            max_steps=2,
            per_device_train_batch_size=2,
            max_length=None,
            report_to=[],
            save_strategy="no",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
        ),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    before = [each.detach().clone() for each in model.parameters()]
    trainer.train()
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))
    taught = [text.replace("<|im_end|>", "").replace("</s>", "") for text in watch.runs(tokenizer)]
    assert len(watch.batches) == 2
    assert len(taught) >= 4
    assert set(taught) <= SAID
