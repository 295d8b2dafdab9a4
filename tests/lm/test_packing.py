from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from igpo_gym.lm.packing import attend_packed
from tests.lm.tiny import make_model


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_episodes_in_one_row_do_not_see_each_other(family: str) -> None:
    model = make_model(family, head_dim=8)
    rows = [torch.arange(length) * 7 % 400 for length in (5, 1, 9)]
    with torch.no_grad():
        alone = [model(row[None]).logits[0] for row in rows]
        attend_packed(model)
        lengths = [len(row) for row in rows]
        positions = torch.cat([torch.arange(length) for length in lengths])
        packed = model(torch.cat(rows)[None], position_ids=positions[None], lengths=lengths).logits[0]
        plain = model(rows[2][None]).logits[0]
    assert torch.allclose(packed, torch.cat(alone), atol=1e-5)
    assert torch.allclose(plain, alone[2], atol=1e-5)


def test_a_saved_model_attends_as_any_other(tmp_path: Path) -> None:
    model = make_model()
    attend_packed(model)
    model.save_pretrained(tmp_path)
    assert "igpo_gym" not in (tmp_path / "config.json").read_text()
    assert AutoConfig.from_pretrained(tmp_path)._attn_implementation != "igpo_gym_packed"
