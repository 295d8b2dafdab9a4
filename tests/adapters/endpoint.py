"""Episodes through verifiers' own machinery, against a chat endpoint on loopback that follows a script."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from igpo_gym.adapters.session import Sessions
from igpo_gym.protocols import CHAT
from tests.conftest import REPOSITORY
from tests.site import Refusal, running

PLUGINS = str(REPOSITORY / "examples" / "verifiers")
if PLUGINS not in sys.path:
    sys.path.insert(0, PLUGINS)  # verifiers finds plugins as top-level modules


def completion(body: dict[str, Any], script: Sequence[str]) -> dict[str, Any]:
    """The next message of the script, in OpenAI's form."""
    said = sum(message["role"] == "assistant" for message in body["messages"])
    message = {"role": "assistant", "content": script[said]}
    return {
        "id": "chat",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def episode_through_verifiers(
    script: Sequence[str], question_id: str, sessions: Sessions, fails_at: int | None = None, **agent: Any
) -> Any:
    """The trace of an episode; the endpoint fails at message ``fails_at``, and ``agent`` are settings of the
    policy's seat."""
    import verifiers.v1 as vf
    from verifiers.v1.utils.loaders import load_environment, resolve_env_config

    from igpo_gym.adapters.verifiers import SearchQAData, SearchQATask

    async def play(url: str) -> Any:
        config = resolve_env_config(
            {
                "taskset": {"id": "searchqa-igpo", "scorer": None, "reward": "f1"},
                "agent": {"runtime": {"type": "subprocess"}, **agent},
            }
        )
        env = load_environment(config)
        env._sessions = sessions
        (prompt,) = CHAT.prompt(sessions.questions.find(question_id))
        task = SearchQATask(SearchQAData(question_id=question_id, prompt=prompt.text))
        client = vf.EvalClientConfig(base_url=f"{url}/v1", api_key_var="IGPO_GYM_NO_KEY")
        async with env.serving():
            episode = await env.run_episode(task, vf.ModelContext(model="scripted", client=client))
        assert not episode.errors, episode.errors
        (trace,) = episode.traces
        return trace

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        if sum(message["role"] == "assistant" for message in body["messages"]) == fails_at:
            raise Refusal(500, {"error": "the engine is down"})
        return completion(body, script)

    with running({"/v1/chat/completions": answer}) as site:
        return asyncio.run(play(site.url))
