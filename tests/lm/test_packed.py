from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, PreTrainedModel

from igpo_gym.lm import packed
from igpo_gym.lm.packed import attend_packed
from igpo_gym.lm.packing import CHUNK, Packing, pack
from tests.lm.tiny import make_model

PROMPT, TURN = range(3, 90), range(100, 100 + CHUNK)
TRANSCRIPTS = [
    np.array([*PROMPT, *TURN, 7, 8, 9]),
    np.array([*PROMPT, 5, 6]),
    np.array([*PROMPT, *TURN, 7, 1, *range(200, 270)]),
    np.array([2]),
    np.array([*PROMPT, *TURN]),
]
"""Some share their beginnings, at lengths that are no multiple of a chunk; the last one adds nothing."""
WANTED = [[40, 100, -1], [-2, -1], [88, -40, -1], [0], [90]]
"""Which tokens of each are asked about."""


def row() -> tuple[Packing, torch.Tensor, torch.Tensor]:
    """The transcripts in a row, its ids, and where the tokens that are asked about are."""
    packing, rows = pack(TRANSCRIPTS)
    ids = torch.empty(packing.tokens, dtype=torch.long)
    for own, transcript in zip(rows, TRANSCRIPTS, strict=True):
        ids[own] = torch.from_numpy(transcript)
    places = torch.from_numpy(np.concatenate([own[at] for own, at in zip(rows, WANTED, strict=True)]))
    return packing.reading(places), ids, places


def told(logits: torch.Tensor) -> torch.Tensor:
    """A number that depends on all that is asked about."""
    return logits.float().logsumexp(-1).square().mean() + logits.float()[:, 17].sum()


def alone(model: PreTrainedModel) -> torch.Tensor:
    """The logits as each transcript by itself has them, from the model as transformers made it."""
    read = [model(torch.from_numpy(ids)[None]).logits[0] for ids in TRANSCRIPTS]
    return torch.cat([logits[at] for logits, at in zip(read, WANTED, strict=True)])


def together(model: PreTrainedModel) -> torch.Tensor:
    packing, ids, places = row()
    positions = packing.positions[None]
    out = model(ids[None], position_ids=positions, use_cache=False, packing=packing, logits_to_keep=places)
    logits: torch.Tensor = out.logits[0]
    return logits


def assert_numbers_and_gradients(model: PreTrainedModel, slow: PreTrainedModel) -> None:
    """The packed row of one model has those of each transcript alone in the other."""
    expected, got = alone(slow), together(model)
    assert torch.allclose(got, expected, atol=2e-5)
    told(expected).backward()
    told(got).backward()
    for ours, theirs in zip(model.parameters(), slow.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert (ours.grad - theirs.grad).abs().max() <= 1e-5 * theirs.grad.abs().max() + 1e-6


@pytest.mark.parametrize("way", ["chunks", "stretches"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_a_packed_row_has_the_numbers_and_gradients_of_each_transcript_alone(
    family: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packed.chunks_work()
    monkeypatch.setattr(packed, "chunks_work", lambda: way == "chunks")
    slow, model = (make_model(family, head_dim=8) for _ in range(2))
    attend_packed(model)
    assert_numbers_and_gradients(model, slow)


@pytest.mark.parametrize("window", [5, 100, 1000])
def test_a_packed_row_is_seen_through_a_sliding_window(window: int) -> None:
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    shape = {"head_dim": 8, "sliding_window": window, "layer_types": types}
    slow, model = (make_model("gemma3_text", **shape) for _ in range(2))
    attend_packed(model)
    assert_numbers_and_gradients(model, slow)
    (ids,) = TRANSCRIPTS[:1]
    assert torch.allclose(model(torch.from_numpy(ids)[None]).logits, slow(torch.from_numpy(ids)[None]).logits,
                          atol=2e-5)  # fmt: skip


def test_a_packed_row_has_the_numbers_of_each_transcript_in_double_precision() -> None:
    slow, model = (make_model().double() for _ in range(2))
    attend_packed(model)
    assert torch.allclose(together(model), alone(slow), atol=1e-12)


def test_a_packed_row_in_16_bits_is_within_their_rounding() -> None:
    slow, model = make_model(), make_model().bfloat16()
    attend_packed(model)
    got = together(model)
    assert got.dtype == torch.bfloat16
    told(got).backward()
    assert (got.float() - alone(slow)).abs().mean() < 0.1


def test_the_last_mlp_reads_what_is_asked_about_and_no_more() -> None:
    model = make_model()
    attend_packed(model)
    other = copy.deepcopy(model)
    packing, ids, _ = row()
    read = {}
    for name in ("model.layers.1.mlp.up_proj", "model.layers.2.mlp.up_proj"):
        model.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: read.update({name: out.shape[1]})
        )
    with torch.no_grad():
        together(model)
        assert packing.wanted is not None
        assert list(read.values()) == [len(ids), len(packing.wanted)]
        model(ids[None])
        assert list(read.values()) == [len(ids), len(ids)]
        assert torch.equal(together(model), together(other))  # a copy has hooks of its own


def test_a_row_of_which_little_or_nothing_is_asked_about_is_no_trouble() -> None:
    slow, model = make_model(), make_model()
    attend_packed(model)
    packing, ids, _ = row()
    for places in (torch.tensor([4]), torch.tensor([], dtype=torch.long)):
        arguments = {"position_ids": packing.positions[None], "packing": packing.reading(places)}
        got = model(ids[None], use_cache=False, logits_to_keep=places, **arguments).logits[0]
        got.sum().backward()
        expected = slow(torch.from_numpy(TRANSCRIPTS[0])[None]).logits[0, places]
        assert torch.allclose(got, expected, atol=2e-5)


def test_the_kernels_are_checked_wherever_they_are_first_asked_for() -> None:
    packed.chunks_work.cache_clear()
    with torch.no_grad():
        assert packed.chunks_work()
    packed.chunks_work.cache_clear()
    with torch.inference_mode():
        assert packed.chunks_work()


def test_without_a_packing_a_row_is_a_transcript() -> None:
    slow, model = make_model(), make_model()
    attend_packed(model)
    ids = torch.from_numpy(TRANSCRIPTS[0])[None]
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, slow(ids).logits, atol=1e-5)


def test_a_saved_model_attends_as_any_other(tmp_path: Path) -> None:
    model = make_model()
    attend_packed(model)
    model.save_pretrained(tmp_path)
    assert "igpo_gym" not in (tmp_path / "config.json").read_text()
    assert AutoConfig.from_pretrained(tmp_path)._attn_implementation != "igpo_gym_packed"
