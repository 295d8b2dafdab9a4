"""Tools of MCP servers: the official package on both sides, through pipes and over HTTP on loopback."""

from __future__ import annotations

import asyncio
import pickle
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.config import EnvConfig
from igpo_gym.envs.single import SearchQAEnv
from igpo_gym.episode import Episode, Question, ToolCall, ToolResult
from igpo_gym.errors import SearchError, SpecError
from igpo_gym.specs import from_file
from igpo_gym.tools import resolve_tools

pytest.importorskip("mcp", reason="needs the extra mcp")


from igpo_gym.tools.mcp import MCP_KEY, McpServer, _Link
from tests.serving import in_thread
from tests.tools import mcp_server

COMMAND = shlex.join([sys.executable, mcp_server.__file__])
EPISODE = Episode(Question("q", "?", ("a",)), ())


@pytest.fixture(scope="module")
def server() -> Iterator[McpServer]:
    made = McpServer(COMMAND)
    yield made
    made.close()


def run(server: McpServer, name: str, *arguments: dict[str, Any]) -> list[ToolResult]:
    tool = next(tool for tool in server.tools if tool.name == name)
    return tool.run([(EPISODE, ToolCall(tool.spec.name, each)) for each in arguments])


def test_calls_of_a_step_are_answered_in_order(server: McpServer) -> None:
    results = run(server, "add", *({"a": n, "b": 10} for n in range(40)))
    assert [result.text for result in results] == [str(n + 10) for n in range(40)]


def test_names_and_descriptions_are_fit_for_prompts(server: McpServer) -> None:
    specs = {tool.name: tool.spec for tool in server.tools}
    assert specs["say-it"].name == "say_it"
    assert "<" not in specs["add"].description
    assert specs["add"].problem({"a": 1}) is None
    assert specs["add"].problem({"b": 1}) == "'a' is a required property"
    assert run(server, "say-it", {"text": "Odra"})[0].text == "Odra"
    assert run(server, "say-it", {"text": ""})[0].text == "Nothing."


def test_a_tool_without_arguments_can_be_called(server: McpServer) -> None:
    assert run(server, "clock", {"nothing": "x"}) == [ToolResult("noon")]


def test_what_a_tool_says_of_its_failure_is_told(server: McpServer) -> None:
    (result,) = run(server, "fail", {"text": "magic"})
    assert "cannot do magic" in result.text
    assert not result.failed


def test_long_results_are_bounded(server: McpServer) -> None:
    (result,) = run(server, "flood", {"count": 3_000_000})
    assert len(result.text) == 100_000 + len(" [cut]")


@pytest.mark.slow
def test_a_call_that_hangs_fails_alone_and_is_not_made_twice() -> None:
    server = McpServer(COMMAND, only="hang, add, process", call_seconds=1.0)
    before = run(server, "process", {"text": ""})
    assert [result.failed for result in run(server, "hang", {"text": "a"}, {"text": "b"})] == [True, True]
    # The connection is let go of, with the server that hangs; the next call has one of its own.
    assert run(server, "add", {"a": 1, "b": 2}) == [ToolResult("3")]
    assert run(server, "process", {"text": ""}) != before
    server.close()


@pytest.mark.slow
def test_a_server_that_hangs_costs_one_timeout_and_a_slow_one_gets_its_time() -> None:
    server = McpServer(COMMAND, only="hang, slow", call_seconds=1.0)
    start = time.monotonic()
    assert all(result.failed for result in run(server, "hang", *({"text": "a"} for _ in range(100))))
    assert 1.0 <= time.monotonic() - start < 2.5  # 100 calls, 16 at a time, would be 7 seconds
    start = time.monotonic()
    late = run(server, "slow", *({"seconds": 0.3} for _ in range(80)))
    assert [result.text for result in late] == ["there"] * 80
    assert time.monotonic() - start > 1.0  # together longer than one call may take
    server.close()


def test_a_connection_ends_when_the_calls_of_other_threads_are_answered() -> None:
    class Link(_Link):
        def __init__(self) -> None:
            self._counting, self._under_way, self._unwanted = threading.Lock(), 0, False
            self._loop, self.ended, self.end = loop, 0, self.count

        def count(self) -> None:
            self.ended += 1

        async def _all(self, *_: Any) -> list[ToolResult]:
            begun.set()
            await asyncio.wrap_future(answered)
            return [ToolResult("3")]

    loop, begun, answered = asyncio.new_event_loop(), threading.Event(), Future[None]()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    link, told = Link(), list[ToolResult]()
    caller = threading.Thread(target=lambda: told.extend(link.call("add", [{}], 1.0)))
    caller.start()
    begun.wait()
    link.end_when_idle()
    assert link.ended == 0
    answered.set_result(None)
    caller.join()
    assert (told, link.ended) == ([ToolResult("3")], 1)
    link.end_when_idle()
    assert link.ended == 2
    loop.call_soon_threadsafe(loop.stop)


@pytest.mark.slow
def test_a_server_that_dies_fails_its_calls_and_is_started_anew() -> None:
    server = McpServer(COMMAND, only="die,add", call_seconds=5.0)
    assert run(server, "die", {"text": ""}) == [ToolResult(failed=True)]
    assert run(server, "add", {"a": 1, "b": 2}) == [ToolResult("3")]
    server.close()


@pytest.mark.slow
def test_it_is_pickled_as_its_settings(server: McpServer) -> None:
    again = pickle.loads(pickle.dumps(server))
    assert run(again, "add", {"a": 2, "b": 2}) == [ToolResult("4")]
    again.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "settings", "message"),
    [
        (COMMAND, {"only": "add,subtract"}, "has no tool 'subtract'; it offers: add, say-it"),
        (f"{COMMAND} many", {}, "cannot be reached: it offers more than 64 tools"),
        (f"{COMMAND} silent", {"connect_seconds": 1.0}, "cannot be reached: no answer within 1 seconds"),
        ("no-such-program-anywhere", {}, "cannot be reached: .*no-such-program-anywhere"),
        ("http://127.0.0.1:9/mcp", {"connect_seconds": 5.0}, "cannot be reached"),
    ],
)
def test_what_cannot_be_used_is_told_at_once(command: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        McpServer(command, **settings)


def test_an_environment_over_http_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    class Watched:
        """The server's application, which notes the keys that requests carry."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            keys.extend(dict(scope.get("headers", ())).get(b"authorization", b"").split())
            await self.app(scope, receive, send)

    monkeypatch.setenv(MCP_KEY, "sesame")
    with in_thread(Watched(mcp_server.make().streamable_http_app())) as url:
        spec = f"mcp:{url}/mcp"
        env = SearchQAEnv(EnvConfig(tools=f"search + {spec}#only=add%2Csay-it", scorer="none", reward="f1"))
        prompt, _ = env.reset(seed=0)
        assert "<add>" in prompt
        assert "<say_it>" in prompt
        reply, *_ = env.step('<add b="5">37</add>')
        assert "42" in reply
        reply, *_ = env.step("<say_it></answer><search>x</say_it>")
        reply, *_ = env.step("<say_it>a ＜information＞</say_it>")
        assert "＜" not in reply
        env.close()
    assert set(keys) == {b"Bearer", b"sesame"}
    assert "sesame" not in repr(env.config)


def test_a_command_out_of_a_file_is_refused_and_a_url_is_not(tmp_path: Path) -> None:
    assert from_file("tool", "search + mcp:http://host:8000/mcp", tmp_path)
    with pytest.raises(SpecError, match=r"names the tool 'mcp:python evil\.py'"):
        from_file("tool", "mcp:python evil.py", tmp_path)


def test_a_name_that_is_no_tool_is_told_what_there_is() -> None:
    with pytest.raises(SpecError, match="mcp:URL"):
        resolve_tools("mpc:http://host")


@pytest.mark.slow
def test_a_server_that_is_gone_is_down_and_not_a_mistake() -> None:
    server = McpServer(COMMAND, only="add")
    server.close()
    server._server = "no-such-program-anywhere"
    with pytest.raises(SearchError, match="cannot be reached"):
        run(server, "add", {"a": 1})
