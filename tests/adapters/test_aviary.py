from __future__ import annotations

import asyncio
import json
import re

import pytest

pytest.importorskip("aviary.core", reason="aviary is not installed")

from aviary.core import Message, ToolCall, ToolRequestMessage
from gymnasium.error import ResetNeeded

from igpo_gym.adapters.aviary import SearchQADataset, written
from igpo_gym.episode import Answer, Invalid, ToolCalls
from igpo_gym.protocols import NATIVE
from igpo_gym.tools import search_call
from tests.adapters.episodes import settings
from tests.envs.test_asynchronous import Gated


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall.from_name(name, **arguments)


def test_calls_are_written_in_the_protocol() -> None:
    searches = ToolRequestMessage(
        content="Who wrote it?", tool_calls=[call("search", query="a"), call("search", query="b < c")]
    )
    both = ToolCalls((*search_call("a").calls, *search_call("b ‹ c").calls))
    assert written(NATIVE, searches) == NATIVE.write(both, "Who wrote it?")
    listed = ToolRequestMessage(tool_calls=[call("search", query=["a", "b"])])
    assert written(NATIVE, listed) == NATIVE.write(search_call("a", "b"))
    answer = ToolRequestMessage(tool_calls=[call("answer", answer="Grass")])
    assert written(NATIVE, answer) == NATIVE.write(Answer("Grass"))


@pytest.mark.parametrize(
    "action",
    [
        Message(role="assistant", content="I do not know."),
        Message(role="assistant", content="<answer>Grass</answer>"),
        ToolRequestMessage(tool_calls=[call("fetch", url="x")]),
        ToolRequestMessage(tool_calls=[call("search", text="x")]),
        ToolRequestMessage(tool_calls=[call("search", query="x"), call("answer", answer="y")]),
        ToolRequestMessage(tool_calls=[call("answer", answer="x"), call("answer", answer="y")]),
        ToolRequestMessage(tool_calls=[call("search", query="")]),
    ],
)
def test_other_messages_are_no_actions(action: Message) -> None:
    assert isinstance(NATIVE.parse(written(NATIVE, action)), Invalid)


def test_a_data_set_has_an_environment_for_every_question() -> None:
    async def check() -> None:
        data = SearchQADataset(**settings(NATIVE))
        assert [await data.get_new_env_by_idx(place).get_id() for place in range(len(data))] == [
            "q-author",
            "q-birth",
            "q-river",
            "q-writer",
        ]
        (batch,) = data.iter_batches(4)
        await asyncio.gather(*(env.reset() for env in batch))
        searches = [call("search", query="Grass"), call("search", query="Danzig")]
        steps = await asyncio.gather(*(env.step(ToolRequestMessage(tool_calls=searches)) for env in batch))
        for env, (replies, reward, done, truncated) in zip(batch, steps, strict=True):
            assert [reply.tool_call_id for reply in replies] == [each.id for each in searches]
            assert (bool(replies[0].content), replies[1].content, done, truncated) == (True, "", False, False)
            assert reward == pytest.approx(sum(env.state.rewards[-1].values()))

    asyncio.run(check())


def test_what_the_advice_names_are_tools_of_the_environment() -> None:
    async def check() -> None:
        env = SearchQADataset(**settings(NATIVE)).get_new_env_by_idx(0)
        _, tools = await env.reset()
        replies, *_ = await env.step(Message(role="assistant", content="I do not know."))
        advised = re.findall(r"(\w+) with (\{.*?\})", replies[0].content or "")
        assert [name for name, _ in advised] == [tool.info.name for tool in tools] == ["search", "answer"]
        for name, arguments in advised:
            action = ToolRequestMessage(tool_calls=[call(name, **json.loads(arguments))])
            assert not isinstance(NATIVE.parse(written(NATIVE, action)), Invalid)

    asyncio.run(check())


def test_environments_are_drawn_as_the_seed_says() -> None:
    async def drawn(seed: int) -> list[str]:
        data = SearchQADataset(seed=seed, **settings(NATIVE))
        return [await data.get_new_env().get_id() for _ in range(20)]

    first, again, other = (asyncio.run(drawn(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert set(first) == {"q-author", "q-birth", "q-river", "q-writer"}


def test_a_step_that_was_canceled_is_not_played_twice() -> None:
    """It may have been played, and its reward reached nobody: the episode is over, and says so."""

    async def check() -> None:
        scorer = Gated()
        env = SearchQADataset(**settings(NATIVE, scorer=scorer)).get_new_env_by_idx(0)
        search = ToolRequestMessage(tool_calls=[call("search", query="Grass")])
        await env.reset()
        held = await scorer.held(lambda: env.step(search))
        with pytest.raises(RuntimeError, match="await the last reset or step"):
            await env.step(search)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        scorer.gate.set()
        with pytest.raises(ResetNeeded, match="call reset"):
            await env.step(search)
        await env.reset()
        _, reward, *_ = await env.step(search)
        assert env.state.turn_rewards == [pytest.approx(reward)]

    asyncio.run(check())
