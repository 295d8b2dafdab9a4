from random import Random

import pytest
import torch

from nano.lessons import LESSONS, lesson_rows
from nano.network import Llama, Shape, initialize
from nano.packing import pack, steps
from nano.playing import transcript_row


def small_model():
    model = Llama(Shape(width=32, layers=2, heads=2, feedforward=48))
    initialize(model, torch.Generator().manual_seed(0))
    return model


def test_packed_branches_give_the_same_logits_as_rows_of_their_own(episodes, encode):
    rows = [transcript_row(episode, encode, ()) for episode in episodes[:6]]
    batch, model = pack(rows), small_model()
    with torch.no_grad():
        packed = model(batch.ids, batch.positions, batch.mask)
        plain = max(len(row.ids) for row in rows)
        for i, row in enumerate(rows):
            at = plain
            for branch in row.branches:
                ids = torch.tensor([row.ids[: branch.start] + branch.ids])
                alone = model(ids, torch.arange(ids.shape[1])[None], torch.empty(1, 1, 0, ids.shape[1]))
                size = len(branch.ids)
                torch.testing.assert_close(packed[i, at : at + size], alone[0, -size:], atol=1e-5, rtol=1e-4)
                at += size


def test_targets_are_the_next_tokens_and_branches_do_not_leak(episodes, encode):
    rows = [transcript_row(episode, encode, ()) for episode in episodes[:4]]
    batch = pack(rows)
    plain = max(len(row.ids) for row in rows)
    for i, row in enumerate(rows):
        n = len(row.ids)
        eos = batch.targets[i, : n - 1] == encode.eos
        same = batch.targets[i, : n - 1] == batch.ids[i, 1:n]
        assert (same | eos).all()
        at = plain
        for branch in row.branches:
            for j, (token, weight) in enumerate(zip(branch.ids[1:], branch.weights[1:], strict=True)):
                assert batch.targets[i, at + j] == token
                assert batch.weights[i, at + j] == pytest.approx(weight)
            at += len(branch.ids)


def test_steps_hold_every_row_once_and_their_batches_keep_to_their_size(encode):
    rows = lesson_rows(LESSONS[1], 0, 0, encode)
    made = steps(rows, 2000, 2, Random(0))
    assert {len(step) for step in made} <= {1, 2}
    assert sum(batch.size for step in made for batch in step) == sum(row.length for row in rows)
    assert max(batch.size for step in made for batch in step) <= 2000
    lengths = [max(batch.ids.shape[1] for batch in step) for step in made]
    assert lengths != sorted(lengths)
