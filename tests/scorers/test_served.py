from __future__ import annotations

from collections.abc import Sequence

import pytest

from igpo_gym.episode import Belief, Segment
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.belief_wire import WireRequest
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.prompts import Query
from igpo_gym.scorers.served import ServedScorer

REQUEST = BeliefRequest(
    (Segment("environment", "user", "Where is Danzig?"),), ("Poland", "in Poland", "Prussia"), ANSWER_PROBE
)


def test_a_batch_that_fails_pushes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, other = (TransformersScorer.load("nano", "cpu") for _ in range(2))
    answer, fails = scorer.answer, iter([True])

    def once(queries: Sequence[Query]) -> list[Belief]:
        if next(fails, False):
            raise RuntimeError("out of memory")
        return answer(queries)

    monkeypatch.setattr(scorer, "answer", once)
    served = ServedScorer(scorer)
    try:
        asked = WireRequest(REQUEST)
        with pytest.raises(RuntimeError):
            served._answer([asked, other.reader.model])
        told = served._answer([other.reader.model]) + served._answer([asked])
    finally:
        served.batches.close()
    assert served.pushed == 1
    assert {each.version for each in told} == {served.version}
