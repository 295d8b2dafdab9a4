"""Each token is read once, and what was read is what a plain pass computes."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from igpo_gym.errors import SpecError
from igpo_gym.lm.reader import CausalReader, Past
from tests.lm.tiny import make_model

CONTEXTS = [tuple(range(5, 25)), (*range(5, 15), 90, 91, 92), tuple(range(5, 30)), (7,), ()]


@torch.no_grad()
def plain_keys(model: PreTrainedModel, ids: tuple[int, ...]) -> torch.Tensor:
    """The keys of the last layer, which depend on all before: [heads, tokens, head size]."""
    cache = model(input_ids=torch.tensor([ids]), use_cache=True).past_key_values
    return cache.layers[-1].keys[0]


def keys(past: Past) -> torch.Tensor:
    return torch.cat([store.stretch(length)[-1, 0] for store, length in past], dim=1)


@pytest.mark.parametrize("row_tokens", [4096, 6])
@pytest.mark.parametrize("cache_bytes", [2 << 30, 20_000, 0])
def test_keys_are_those_of_a_plain_pass_however_little_is_kept(row_tokens: int, cache_bytes: int) -> None:
    model = make_model()
    reader = CausalReader(model, row_tokens=row_tokens, cache_bytes=cache_bytes)
    for _ in range(2):
        pasts, _ = reader.read(CONTEXTS)
        for ids, past in zip(CONTEXTS, pasts, strict=True):
            assert sum(length for _, length in past) == len(ids)
            if ids:
                torch.testing.assert_close(keys(past), plain_keys(model, ids), atol=1e-4, rtol=1e-4)
        reader.evict()
        assert reader.size <= cache_bytes


def test_a_token_is_read_once() -> None:
    reader = CausalReader(make_model())
    assert reader.read(CONTEXTS)[1] == 25 + 3 + 1
    assert reader.read(CONTEXTS)[1] == 0
    assert reader.read([(*CONTEXTS[2], 1, 2)])[1] == 2


def test_what_was_computed_elsewhere_is_not_read() -> None:
    reader, other = CausalReader(make_model()), CausalReader(make_model())
    ids = CONTEXTS[0]
    ((past,), _) = other.read([ids])
    reader.read([ids[:4]])
    reader.keep(ids, torch.cat([store.stretch(length) for store, length in past], dim=3))
    (kept,), read = reader.read([ids])
    assert read == 0
    torch.testing.assert_close(keys(kept), plain_keys(make_model(), ids), atol=1e-4, rtol=1e-4)


def test_new_weights_drop_the_cache() -> None:
    model = make_model()
    reader = CausalReader(model)
    reader.read(CONTEXTS)
    reader.refresh()
    assert reader.size
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    drops = reader.drops
    reader.refresh()
    assert (reader.size, reader.drops) == (0, drops + 1)


def test_a_model_that_was_changed_into_one_that_cannot_be_driven_is_refused_until_it_can() -> None:
    """What was read before is not taken for what the changed model reads."""
    model = make_model("qwen2", use_sliding_window=True, sliding_window=9, max_window_layers=1)
    reader = CausalReader(model)
    reader.read(CONTEXTS)
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight.mul_(2)
    model.model.layers[2].self_attn.sliding_window = None
    for _ in range(2):
        with pytest.raises(SpecError, match="which layers have a sliding window"):
            reader.refresh()
    model.model.layers[2].self_attn.sliding_window = 9
    reader.refresh()
    ((past,), read) = reader.read(CONTEXTS[:1])
    assert read == len(CONTEXTS[0])
    plain = plain_keys(model, CONTEXTS[0])  # of the window alone
    torch.testing.assert_close(keys(past)[:, -plain.shape[1] :], plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("wrong", [{"cache_bytes": -1}, {"row_tokens": 0}])
def test_settings_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(SpecError, match="at least"):
        CausalReader(make_model(), **wrong)
