"""Play a question with aviary's tool calls.

pip install -e '.[aviary]'
python examples/aviary_rollout.py
"""

from __future__ import annotations

import asyncio

from aviary.core import ToolCall, ToolRequestMessage

from igpo_gym.adapters.aviary import SearchQADataset


async def play() -> None:
    """Two searches in one message, then an answer."""
    env = SearchQADataset(questions="world#documents=60,questions=20").get_new_env_by_idx(0)
    messages, tools = await env.reset()
    question = messages[-1].content or ""
    print(question.strip(), [tool.info.name for tool in tools])
    searches = [ToolCall.from_name("search", query=query) for query in (question, question.split()[-1])]
    for calls in (searches, [ToolCall.from_name("answer", answer="I give up")]):
        replies, reward, done, _ = await env.step(ToolRequestMessage(tool_calls=calls))
        print(f"reward {reward:+.3f}  done {done}  {(replies[0].content or '')[:60]!r}")


if __name__ == "__main__":
    asyncio.run(play())
