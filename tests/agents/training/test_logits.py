"""Log-probabilities in chunks are those of all logits at once, and so are their gradients."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from igpo_gym.agents.training.batches import micro_batches
from igpo_gym.agents.training.logits import read
from tests.agents.training.test_loss import CPU, make_rows, make_samples, packed_model

CHUNK = 3 * 400 * 4
"""Three tokens of the tiny model's vocabulary."""


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_chunks_give_the_numbers_and_gradients_of_the_whole(temperature: float) -> None:
    told, gradients = [], []
    for size in (1 << 20, CHUNK):
        model = packed_model()
        (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
        assert len(batch.targets) > 3 * 3
        reading = read(model, batch, temperature, entropy=True, chunk_bytes=size)
        assert reading.entropies is not None
        ((reading.log_probs * batch.advantages).sum() + reading.entropies.sum()).backward()
        told.append([reading.log_probs.detach(), reading.plain, reading.entropies.detach()])
        gradients.append([weight.grad for weight in model.parameters()])
    for whole, chunks in zip(*told, strict=True):
        assert torch.allclose(whole, chunks, atol=1e-6)
    for whole, chunks in zip(*gradients, strict=True):
        assert torch.allclose(whole, chunks, atol=1e-5)


def widest(model: PreTrainedModel, chunk_bytes: int) -> int:
    (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    rows: list[int] = []
    hook = model.get_output_embeddings().register_forward_hook(
        lambda _, __, out: rows.append(out.numel() // 400)
    )
    read(model, batch, chunk_bytes=chunk_bytes).log_probs.sum().backward()
    hook.remove()
    return max(rows[1:] or rows)  # the first one checks the model


def test_no_more_logits_are_made_than_a_chunk_holds() -> None:
    assert widest(packed_model(), CHUNK) <= 4
    assert widest(packed_model(), 1) == 4  # what a check of the model reads; a token at a time after it
    assert widest(packed_model(), 1 << 20) > 9


def test_a_model_that_does_more_to_its_logits_is_read_as_a_whole() -> None:
    model = packed_model()
    (batch,) = micro_batches(make_samples(make_rows(model)), 1000, CPU)
    plain = read(model, batch).log_probs

    def capped(module: object, arguments: object, out: object) -> object:
        out.logits = 2.0 * torch.tanh(out.logits / 2.0)  # type: ignore[attr-defined]
        return out

    other = packed_model()
    other.register_forward_hook(capped)
    whole, chunks = (read(other, batch, chunk_bytes=size).log_probs for size in (1 << 20, CHUNK))
    assert torch.equal(whole, chunks)
    assert not torch.allclose(whole, plain, atol=1e-2)
