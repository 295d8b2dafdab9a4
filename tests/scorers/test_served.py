from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from igpo_gym.episode import Belief, Segment
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.belief_wire import WireRequest
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.prompts import Query
from igpo_gym.scorers.served import EndedError, ServedScorer

REQUEST = BeliefRequest(
    (Segment("environment", "user", "Where is Danzig?"),), ("Poland", "in Poland", "Prussia"), ANSWER_PROBE
)


def test_a_batch_that_fails_pushes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, other = (TransformersScorer.load("nano", "cpu") for _ in range(2))
    answer, fails = scorer.answer, iter([True])

    def once(queries: Sequence[Query], before_pass: Callable[[], object]) -> list[Belief]:
        if next(fails, False):
            raise RuntimeError("out of memory")
        return answer(queries, before_pass)

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


def test_who_ends_gives_the_batch_at_work_up_before_the_next_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, tokenizer = load_model("nano", "cpu")
    scorer = TransformersScorer(model, tokenizer, row_tokens=8)
    served, forward = ServedScorer(scorer), scorer.reader.forward
    passes: list[int] = []
    at_work, go_on = threading.Event(), threading.Event()

    def noted(*row: Any) -> Any:
        passes.append(len(passes))
        at_work.set()
        assert go_on.wait(60)
        return forward(*row)

    monkeypatch.setattr(scorer.reader, "forward", noted)
    promise = served.batches.place([WireRequest(REQUEST)])
    assert at_work.wait(60)
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(served.end)
        assert served.batches._service.closing.wait(60)
        go_on.set()
        ended.result()
    with pytest.raises(EndedError, match="the server ends"):
        promise.result()
    assert len(passes) == 1
    monkeypatch.undo()
    assert len(scorer.score([REQUEST])) == 1, "the scorer itself is still of use"
