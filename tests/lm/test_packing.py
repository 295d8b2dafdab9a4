from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.lm.packing import longest_prefix, pack

FEW = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=6)
"""Transcripts of so few words that many begin alike."""


@given(FEW)
def test_a_row_holds_every_beginning_once(transcripts: list[list[int]]) -> None:
    packing, rows = pack([np.array(ids) for ids in transcripts])
    beginnings = {tuple(ids[:end]) for ids in transcripts for end in range(1, len(ids) + 1)}
    assert packing.tokens == len(beginnings)
    held: dict[int, tuple[int, ...]] = {}
    for ids, own in zip(transcripts, rows, strict=True):
        for end, row in enumerate(own.tolist(), start=1):
            assert held.setdefault(row, tuple(ids[:end])) == tuple(ids[:end])
    assert set(held.values()) == beginnings
    assert packing.positions.tolist() == [len(held[row]) - 1 for row in range(packing.tokens)]


@given(FEW)
def test_a_stretch_knows_its_transcript(transcripts: list[list[int]]) -> None:
    packing, rows = pack([np.array(ids) for ids in transcripts])
    known = {tuple(own.tolist()) for own in rows}
    for stretch in packing.stretches:
        pieces = (*stretch.before, stretch.rows)
        assert tuple(row for piece in pieces for row in range(piece.start, piece.stop)) in known
    assert [s.rows.start for s in packing.stretches] == [0, *(s.rows.stop for s in packing.stretches)][:-1]


@given(FEW)
def test_transcripts_may_stand_in_full(transcripts: list[list[int]]) -> None:
    packing, rows = pack([np.array(ids) for ids in transcripts], shared=False)
    assert packing.tokens == sum(map(len, transcripts))
    assert not any(stretch.before for stretch in packing.stretches)
    assert [each.stop for each in packing.stretches] == list(map(len, transcripts))
    assert np.concatenate(rows).tolist() == list(range(packing.tokens))


def test_the_longest_beginning_is_found() -> None:
    ids = np.array([1, 2, 3, 4])
    others = [np.array([1, 2]), np.array([1, 2, 3]), np.array([5, 2, 3, 4])]
    assert longest_prefix(ids, others) == (1, 3)
    assert longest_prefix(ids, []) == (0, 0)
