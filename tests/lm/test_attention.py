"""Both ways to attend, against softmax written out in float64."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from igpo_gym.lm.attention import (
    Span,
    flash_works,
    masked_attention,
    merged_attention,
    segment_attention,
)
from igpo_gym.lm.cache import KeyValueLayout, KeyValues

SCALE = 0.4


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def written_out(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, visible: torch.Tensor
) -> torch.Tensor:
    groups = query.shape[1] // key.shape[1]
    key, value = (tensor.double().repeat_interleave(groups, 1) for tensor in (key, value))
    scores = (query.double() @ key.mT) * SCALE
    return scores.masked_fill(~visible, -torch.inf).softmax(-1) @ value


def test_this_pytorch_has_the_private_kernel() -> None:
    """If this fails after an upgrade, scoring is right but slower: see ``masked_attention``."""
    assert flash_works()


@pytest.mark.parametrize("attend", [merged_attention, masked_attention])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
@pytest.mark.parametrize("pasts", [(), (5,), (70, 1, 3)])
@pytest.mark.parametrize("tree", [False, True])
def test_attention_equals_softmax_written_out(attend, key_heads, pasts, tree) -> None:  # type: ignore[no-untyped-def]
    tokens = 6
    query, own = (
        normal(1, 4, tokens, 8),
        (normal(1, key_heads, tokens, 8), -normal(1, key_heads, tokens, 8)),
    )
    past = [(normal(1, key_heads, n, 8), -normal(1, key_heads, n, 8)) for n in pasts]
    sees = torch.ones(tokens, tokens).tril().bool()
    if tree:
        sees[4, 2:4] = False
        sees[5, 4] = False
    visible = torch.cat([torch.ones(tokens, sum(pasts)).bool(), sees], 1)
    mask = torch.zeros(tokens, tokens).masked_fill_(~sees, -torch.inf) if tree else None
    key, value = (torch.cat([*(stretch[i] for stretch in past), own[i]], 2) for i in (0, 1))
    expected = written_out(query, key, value, visible)
    torch.testing.assert_close(attend(query, own, past, mask, SCALE).double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("attend", [merged_attention, masked_attention])
def test_scores_far_apart_do_not_overflow(attend) -> None:  # type: ignore[no-untyped-def]
    query = 100 * normal(1, 2, 3, 8)
    own, past = (normal(1, 2, 3, 8), normal(1, 2, 3, 8)), [(50 * normal(1, 2, 4, 8), normal(1, 2, 4, 8))]
    visible = torch.cat([torch.ones(3, 4), torch.ones(3, 3).tril()], 1).bool()
    key, value = (torch.cat([past[0][i], own[i]], 2) for i in (0, 1))
    expected = written_out(query, key, value, visible)
    torch.testing.assert_close(attend(query, own, past, None, SCALE).double(), expected, atol=1e-5, rtol=1e-5)


def test_a_span_may_follow_another_span_of_the_same_row() -> None:
    class Layer(torch.nn.Module):
        layer_idx = 1

    store = KeyValues(KeyValueLayout(2, 2, 8, torch.float32, torch.device("cpu")))
    store.reserve(4)
    query, key, value = normal(1, 4, 7, 8), normal(1, 2, 7, 8), normal(1, 2, 8, 7).mT
    spans = [Span(slice(4, 7), ((store, 3),)), Span(slice(0, 4), (), store=store)]
    out, _ = segment_attention(Layer(), query, key, value, None, SCALE, spans)
    visible = torch.ones(7, 7).tril().bool()
    visible[4:, 3] = False
    torch.testing.assert_close(
        out.transpose(1, 2).double(), written_out(query, key, value, visible), atol=1e-6, rtol=1e-5
    )
    kept = store.read(1, 4)
    assert torch.equal(kept[0], key[:, :, :4])
    assert torch.equal(kept[1], value[:, :, :4])


def test_reading_needs_no_compiler() -> None:
    code = (
        "import sys, igpo_gym.lm.reader as reader\n"
        "from igpo_gym.lm.attention import flash_works\n"
        "assert flash_works()\n"
        "print(sorted({'torch._dynamo', 'torch._inductor', 'sympy', 'scipy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
