"""How tokens are drawn, and how the keys and values of a batch are laid side by side."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.lm.decoding import DecodingBatch, pick
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.reader import CausalReader
from tests.lm.tiny import make_model


def test_tokens_come_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0])
    uniforms = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    rows = logits.expand(len(uniforms), -1)

    def shares(**options: float) -> np.ndarray:
        counts = Counter(pick(rows, uniforms, Sampling(**options)).tolist())
        return np.array([counts[token] for token in range(5)]) / len(uniforms)

    def softmax(values: Sequence[float]) -> np.ndarray:
        weights = np.exp(values)
        return weights / weights.sum()

    gone = -math.inf
    np.testing.assert_allclose(shares(), softmax([2, 1, 0.5, 0, -1]), atol=0.015)
    np.testing.assert_allclose(shares(temperature=0.5), softmax([4, 2, 1, 0, -2]), atol=0.015)
    np.testing.assert_allclose(shares(top_k=2), softmax([2, 1, gone, gone, gone]), atol=0.015)
    # 0.55 + 0.20 reaches 0.7, so two tokens are left; of the two that top_k leaves, one has 0.73.
    np.testing.assert_allclose(shares(top_p=0.7), softmax([2, 1, gone, gone, gone]), atol=0.015)
    np.testing.assert_allclose(shares(top_p=0.7, top_k=2), [1, 0, 0, 0, 0])
    np.testing.assert_allclose(shares(temperature=0), [1, 0, 0, 0, 0])


@given(
    st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=6),
    st.floats(0, 1, width=32, exclude_max=True),
    st.integers(0, 7),
    st.floats(0.01, 1),
)
def test_a_token_that_is_left_out_is_never_drawn(
    logits: list[float], uniform: float, top_k: int, top_p: float
) -> None:
    sampling = Sampling(top_k=top_k, top_p=top_p)
    token = int(pick(torch.tensor([logits]), torch.tensor([uniform]).clamp(max=1 - 2**-23), sampling))
    probs = torch.tensor(logits).softmax(-1)
    likelier = probs[probs > probs[token]]
    assert probs[token] > 0
    assert not top_k or len(likelier) < top_k
    assert float(likelier.sum()) < top_p + 1e-5


@pytest.mark.parametrize("dtype", [None, torch.float16])
def test_a_batch_gives_the_logits_of_plain_passes_whoever_leaves_it(dtype: torch.dtype | None) -> None:
    draw = random.Random(0)
    model = make_model()
    reader = CausalReader(model, cache_dtype=dtype)
    shared = tuple(draw.choices(range(400), k=9))
    transcripts = [[*shared, *draw.choices(range(400), k=draw.randint(0, 12))] for _ in range(6)]
    pasts, read = reader.read([tuple(ids) for ids in transcripts])
    assert read <= sum(map(len, transcripts))
    batch = DecodingBatch(reader.layout, pasts, room=9)
    for step in range(9):
        tokens = draw.choices(range(400), k=len(transcripts))
        with torch.no_grad():
            logits = batch.forward(reader, tokens)
        for place, (ids, token) in enumerate(zip(transcripts, tokens, strict=True)):
            ids.append(token)
            with torch.no_grad():
                plain = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            torch.testing.assert_close(logits[place], plain, atol=1e-4 if dtype is None else 0.1, rtol=0)
            assert batch.stretch(place).shape[3] == len(ids)
        if step % 2:
            leaving = draw.randrange(len(transcripts))
            batch.drop(leaving)
            transcripts[leaving] = transcripts[-1]
            transcripts.pop()
    assert len(batch) == len(transcripts) == 2
