"""Our search as tools of an MCP server, asked by the official client: over HTTP, and as a command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp import Client, StdioServerParameters

from igpo_gym.search import BM25Index
from igpo_gym.search.server import make_app
from tests.conftest import PASSAGES
from tests.search.servers import command
from tests.serving import in_thread


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with in_thread(make_app(BM25Index.build(PASSAGES), mcp_host="127.0.0.1")) as url:
        yield url


def asked(server: Any, ask: Callable[[Client], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with Client(server) as client:
            return await ask(client)

    return asyncio.run(run())


def said(server: Any, tool: str, **arguments: Any) -> tuple[str, bool]:
    result = asked(server, lambda client: client.call_tool(tool, arguments))
    return "".join(block.text for block in result.content), result.is_error


def test_search_and_open_are_tools(address: str) -> None:
    listed = asked(f"{address}/mcp", lambda client: client.list_tools())
    assert [tool.name for tool in listed.tools] == ["search", "open"]


def test_a_search_shows_what_the_index_finds(address: str) -> None:
    (found,) = BM25Index.build(PASSAGES).search(["novel"], 2)
    text, wrong = said(f"{address}/mcp", "search", query="novel", count=2)
    assert text == "\n\n".join(f"{each.title} (id {each.id})\n{each.text}" for each in found)
    assert not wrong
    assert said(f"{address}/mcp", "search", query="qwerty") == ("No passage was found.", False)
    assert said(f"{address}/mcp", "open", id=found[0].id) == (text.partition("\n\n")[0], False)


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("search", {"query": "novel", "count": 0}, "count must be a whole number from 1 to 1000, not 0"),
        ("open", {"id": "nowhere"}, "no document has the id 'nowhere'"),
        ("search", {}, "query"),
    ],
)
def test_a_mistake_is_told(address: str, tool: str, arguments: dict[str, Any], problem: str) -> None:
    text, wrong = said(f"{address}/mcp", tool, **arguments)
    assert wrong
    assert problem in text


def test_the_other_routes_are_as_without(address: str) -> None:
    asked = {"queries": ["novel"], "topk": 1}
    assert requests.post(f"{address}/retrieve", json=asked, timeout=30).json()["result"][0]
    assert requests.get(f"{address}/health", timeout=30).json()["status"] == "ok"


def test_a_line_of_the_log_is_written_once(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    process, url = command(tmp_path / "index", "--mcp", "--port", "0")
    try:
        requests.post(f"{url}/retrieve", json={"queries": ["novel"]}, timeout=30)
        assert process.stderr is not None
        assert "1 requests, 1 queries" in process.stderr.readline()
        process.terminate()
        assert process.stderr.read() == ""
    finally:
        process.kill()


@pytest.mark.slow
def test_the_command_speaks_through_pipes(tmp_path: Path) -> None:
    BM25Index.build(PASSAGES).save(tmp_path / "index")
    command = StdioServerParameters(
        command=sys.executable,
        args=[
            "-c",
            "from igpo_gym.cli import app; app()",
            "serve",
            "search",
            str(tmp_path / "index"),
            "--stdio",
        ],
    )
    text, wrong = said(command, "search", query="novel", count=1)
    assert text.startswith(BM25Index.build(PASSAGES).search(["novel"], 1)[0][0].title)
    assert not wrong
