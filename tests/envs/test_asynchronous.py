"""Episodes of coroutines: what they play, how they are joined, and what a canceled one leaves behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from gymnasium.error import ResetNeeded

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs import AsyncSearchQA, SearchQAEnv
from igpo_gym.episode import Belief, Passage
from igpo_gym.errors import ScoringError
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.search.bm25 import BM25Index
from tests.adapters.freed import assert_freed
from tests.conftest import MentionScorer

PATIENCE = 30.0
"""Seconds after which a test that hangs fails; no test waits that long."""

MESSAGES = ("<search>river</search>", "hm", "<answer>the port of Danzig</answer>")


class Gated(MentionScorer):
    """A scorer that can be held in the middle of a call."""

    def __init__(self) -> None:
        super().__init__()
        self.busy, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        self.busy.set()
        assert self.gate.wait(PATIENCE)
        return super().score(requests)

    async def held(self, calls: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        """Hold the call that ``calls`` leads to; returns its task."""
        self.gate.clear()
        self.busy.clear()
        task = asyncio.ensure_future(calls())
        assert await asyncio.to_thread(self.busy.wait, PATIENCE)
        return task


class Asked:
    """A retriever that keeps what it was asked."""

    identity = "asked"

    def __init__(self, index: BM25Index) -> None:
        self.index, self.calls = index, list[list[str]]()

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.calls.append(list(queries))
        return self.index.search(queries, k)


@pytest.fixture
def scorer() -> Gated:
    return Gated()


@pytest.fixture
def retriever(index: BM25Index) -> Asked:
    return Asked(index)


@pytest.fixture
def settings(question_set: QuestionSet, retriever: Asked, scorer: Gated) -> dict[str, Any]:
    return {"questions": question_set, "search": retriever, "scorer": scorer, "max_turns": 3, "top_k": 2}


def spread(env: AsyncSearchQA, count: int) -> list[AsyncSearchQA]:
    return [env, *(env.another() for _ in range(count - 1))]


def test_environments_that_are_not_seeded_have_questions_of_their_own() -> None:
    async def asked(env: AsyncSearchQA) -> list[str]:
        return [(await env.reset())[1]["question_id"] for _ in range(3)]

    async def together(envs: Sequence[AsyncSearchQA]) -> list[list[str]]:
        return await asyncio.gather(*map(asked, envs))

    with AsyncSearchQA(questions="world:test", scorer=None, reward="outcome-f1") as env:
        first = asyncio.run(asked(env))
        others = asyncio.run(together(spread(env, 4)[1:]))
    assert len({tuple(each) for each in (first, *others)}) == 4


@pytest.mark.parametrize("info", ["full", "metrics"])
def test_it_plays_what_single_environments_play(settings: dict[str, Any], info: str) -> None:
    async def played(env: AsyncSearchQA, seed: int) -> list[Any]:
        first = [await env.reset(seed=seed), *[await env.step(message) for message in MESSAGES]]
        return [*first, await env.reset(), await env.step(MESSAGES[0])]

    async def together(envs: Sequence[AsyncSearchQA]) -> list[list[Any]]:
        return await asyncio.gather(*(played(env, seed) for seed, env in enumerate(envs)))

    with AsyncSearchQA(**settings, info=info) as first:
        envs = spread(first, 8)
        found = asyncio.run(together(envs))
    for seed, own in enumerate(found):
        env = SearchQAEnv(**settings, info=info)
        expected: list[Any] = [env.reset(seed=seed), *(env.step(message) for message in MESSAGES)]
        assert own == [*expected, env.reset(), env.step(MESSAGES[0])]
        assert envs[seed].episode == env.episode


def test_what_comes_together_is_one_call(settings: dict[str, Any], scorer: Gated, retriever: Asked) -> None:
    async def together(envs: Sequence[AsyncSearchQA]) -> None:
        await asyncio.gather(*(env.reset(seed=seed) for seed, env in enumerate(envs)))
        await asyncio.gather(
            *(env.step(f"<search>river {number}</search>") for number, env in enumerate(envs))
        )

    with AsyncSearchQA(**settings, max_batch=20, max_wait=PATIENCE) as env:  # the batch is full before
        asyncio.run(together(spread(env, 20)))
    assert scorer.calls == [20, 20]
    assert [len(queries) for queries in retriever.calls] == [20]


def test_an_episode_begins_in_the_call_in_which_another_goes_on(
    settings: dict[str, Any], scorer: Gated
) -> None:
    async def together(one: AsyncSearchQA, other: AsyncSearchQA) -> None:
        await asyncio.gather(one.reset(seed=0), other.reset(seed=1))
        (_, _, *ends, _), (prompt, info) = await asyncio.gather(one.step(MESSAGES[0]), other.reset(seed=2))
        assert ends == [False, False]
        assert (prompt, info) == SearchQAEnv(**settings).reset(seed=2)

    with AsyncSearchQA(**settings, max_batch=2, max_wait=PATIENCE) as env:
        asyncio.run(together(env, env.another()))
    assert scorer.calls[:2] == [2, 2]


def test_an_error_reaches_the_episode_that_caused_it(settings: dict[str, Any]) -> None:
    async def together(envs: Sequence[AsyncSearchQA]) -> list[Any]:
        await asyncio.gather(*(env.reset(seed=0) for env in envs))
        actions: list[Any] = [MESSAGES[0], 7, MESSAGES[0]]
        steps = (env.step(action) for env, action in zip(envs, actions, strict=True))
        found = await asyncio.gather(*steps, return_exceptions=True)
        assert (await envs[1].step(MESSAGES[0]))[1] == found[0][1]  # type: ignore[index]
        return found

    with AsyncSearchQA(**settings, max_batch=3, max_wait=0.1) as env:
        one, wrong, other = asyncio.run(together(spread(env, 3)))
    assert one == other
    assert isinstance(wrong, TypeError)
    assert "an action is a string, not int" in str(wrong)


def test_a_failure_leaves_everything_as_it_was(settings: dict[str, Any], scorer: Gated) -> None:
    down = MentionScorer()

    async def play(env: AsyncSearchQA) -> None:
        await env.reset(seed=3)
        down.problem = "down"
        with pytest.raises(ScoringError):
            await env.step(MESSAGES[0])
        with pytest.raises(ScoringError):
            await env.reset(seed=4)
        down.problem = ""
        single = SearchQAEnv(**{**settings, "scorer": MentionScorer()})
        single.reset(seed=3)
        assert await env.step(MESSAGES[0]) == single.step(MESSAGES[0])
        assert await env.reset() == single.reset()

    with AsyncSearchQA(**{**settings, "scorer": down}) as env:
        asyncio.run(play(env))


def test_canceled_before_its_batch_begins_it_has_not_happened(
    settings: dict[str, Any], scorer: Gated, retriever: Asked, tmp_path: Path
) -> None:
    async def play(first: AsyncSearchQA) -> None:
        envs = spread(first, 100)
        await asyncio.gather(*(env.reset(seed=0) for env in envs))
        await envs[0].step("<search>Tin Drum</search>")
        calls, asked, files = list(scorer.calls), list(retriever.calls), sorted(tmp_path.iterdir())
        held = await scorer.held(lambda: envs[0].step("<search>Odra</search>"))
        waiting = [asyncio.ensure_future(env.step("<search>Grass</search>")) for env in envs[1:]]
        resetting = asyncio.ensure_future(first.another().reset(seed=1))
        await asyncio.sleep(0)
        for task in (*waiting, resetting):
            task.cancel()
        ends = await asyncio.gather(*waiting, resetting, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        scorer.gate.set()
        await held
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert scorer.calls == [*calls, 1]
        assert retriever.calls == [*asked, ["Odra"]]
        assert sorted(tmp_path.iterdir()) == files
        # Nothing of it is in the way: the episode goes on, and the cache had no answer to the query.
        (_, _, _, _, info) = await envs[1].step("<search>Grass</search>")
        assert (info["turn"], retriever.calls[-1]) == (1, ["Grass"])
        assert first._steps.waiting == 0

    with AsyncSearchQA(**settings, search_cache=str(tmp_path), max_wait=0.0) as env:
        asyncio.run(play(env))


def test_canceled_later_the_episode_is_dropped(settings: dict[str, Any], scorer: Gated) -> None:
    async def play(env: AsyncSearchQA) -> None:
        await env.reset(seed=0)
        held = await scorer.held(lambda: env.step(MESSAGES[0]))
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        scorer.gate.set()
        assert env.episode is None
        with pytest.raises(ResetNeeded):
            await env.step(MESSAGES[0])
        single = SearchQAEnv(**settings)
        single.reset(seed=0)
        assert await env.reset() == single.reset()

        # A reset that is canceled has not been called, whenever that was.
        before = env.episode
        held = await scorer.held(lambda: env.reset(seed=9))
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        scorer.gate.set()
        assert env.episode is before
        assert await env.step(MESSAGES[0]) == single.step(MESSAGES[0])

    with AsyncSearchQA(**settings) as env:
        asyncio.run(play(env))


def test_a_coroutine_that_is_closed_is_canceled(settings: dict[str, Any], scorer: Gated) -> None:
    """As where its event loop ends before it."""

    async def play(env: AsyncSearchQA) -> None:
        await env.reset(seed=0)
        scorer.gate.clear()
        scorer.busy.clear()
        step = env.step(MESSAGES[0])
        step.send(None)  # it waits for the answer
        assert await asyncio.to_thread(scorer.busy.wait, PATIENCE)
        step.close()
        scorer.gate.set()
        assert env.episode is None
        assert (await env.reset(seed=1))[1]["turn"] == 0

    with AsyncSearchQA(**settings) as env:
        asyncio.run(play(env))


def test_a_timeout_is_a_cancellation(settings: dict[str, Any], scorer: Gated) -> None:
    async def play(env: AsyncSearchQA) -> None:
        await env.reset(seed=0)
        scorer.gate.clear()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(env.step(MESSAGES[0]), 0.05)
        scorer.gate.set()
        assert (await env.reset(seed=1))[1]["turn"] == 0

    with AsyncSearchQA(**settings) as env:
        asyncio.run(play(env))


def test_misuse_is_told(settings: dict[str, Any], scorer: Gated) -> None:
    async def play(env: AsyncSearchQA) -> None:
        with pytest.raises(ResetNeeded):
            await env.step(MESSAGES[0])
        await env.reset(seed=0)
        held = await scorer.held(lambda: env.step(MESSAGES[0]))
        for call in (lambda: env.step(MESSAGES[0]), env.reset):
            with pytest.raises(RuntimeError, match="await the last reset or step"):
                await call()
        scorer.gate.set()
        await held
        with pytest.raises(ValueError, match="unknown reset option"):
            await env.reset(options={"question": "q-river"})

    with AsyncSearchQA(**settings) as env:
        asyncio.run(play(env))
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(env.reset(seed=0))
    with pytest.raises(ValueError, match="max_wait must not be negative"):
        AsyncSearchQA(**settings, max_wait=-1)
    with pytest.raises(ValueError, match="max_batch must be at least 1"):
        AsyncSearchQA(**settings, max_batch=0)


def test_an_environment_that_nobody_holds_leaves_no_thread_and_no_scorer(settings: dict[str, Any]) -> None:
    def use(scorer: MentionScorer) -> None:
        env = AsyncSearchQA(**{**settings, "scorer": scorer})
        asyncio.run(env.another().reset(seed=0))

    assert_freed(use)
    gc.collect()
