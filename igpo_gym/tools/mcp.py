"""The tools of an MCP server (Model Context Protocol): ``mcp:URL``, or ``mcp:COMMAND``, which starts one.

A server's word is foreign text. Its names, descriptions and schemas are checked before a prompt shows them
(:mod:`igpo_gym.tools.mcp_schemas`), and its results are bounded and neutralized as any retrieved text. A
server that does not answer in time is let go of, and connected with anew at the next call.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from igpo_gym.episode import Episode, ToolCall, ToolResult
from igpo_gym.errors import SearchError, SpecError
from igpo_gym.libraries import needs
from igpo_gym.text import without_credentials
from igpo_gym.tools.interface import ToolSpec
from igpo_gym.tools.mcp_schemas import NOTHING, tool_spec

with needs("tools of an MCP server", "mcp", "mcp"):
    from mcp import Client, MCPError, StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

MCP_KEY = "IGPO_GYM_MCP_KEY"
"""The environment variable with the key that a server wants as its bearer token."""

MOST_TOOLS = 64
"""How many tools a server may offer."""

RESULT_CHARACTERS = 100_000
"""How much of a result is kept; a reply shows less (``max_reply_chars``)."""

UNDER_WAY = 16
"""How many calls a server has to answer at a time."""

_REFUSED = (-32602, -32601)
"""The errors by which a server refuses a call, which an agent may mend: invalid params, unknown method."""


class McpServer:
    """The tools of one server, and the connection to it.

    ``server`` is the URL of one that runs (streamable HTTP), or a command that starts one and talks through
    its standard input and output; it is given this process's environment. ``only`` names the tools that are
    wanted, with commas or blanks between them; by default all. A key is taken from ``IGPO_GYM_MCP_KEY``.
    A call that is not answered within ``call_seconds`` of its being sent has failed, and so have those of its
    step that have not been sent by then.

    Raises SpecError for a server that cannot be reached within ``connect_seconds``, for a tool that it does
    not have, and for one whose description no agent could follow.

    It can be copied and pickled: each process has a connection of its own.
    """

    def __init__(
        self, server: str, *, only: str = "", connect_seconds: float = 30.0, call_seconds: float = 60.0
    ) -> None:
        self._options: dict[str, Any] = {
            "only": only,
            "connect_seconds": connect_seconds,
            "call_seconds": call_seconds,
        }
        self._server = server
        self._seconds = connect_seconds, call_seconds
        self._lock = threading.Lock()
        self._link: _Link | None = None
        wanted = re.findall(r"[^\s,]+", only)
        try:
            offered = self._connected().offered
        except SearchError as problem:
            raise SpecError(str(problem)) from None  # nothing has begun: the setting is wrong
        if unknown := [name for name in wanted if name not in offered]:
            raise SpecError(f"{self} has no tool {unknown[0]!r}; it offers: {', '.join(offered) or 'none'}")
        self.tools = tuple(
            McpTool(self, name, tool_spec(str(self), name, offered[name])) for name in wanted or offered
        )
        """A tool for each that is offered, or wanted."""
        if not self.tools:
            raise SpecError(f"{self} offers no tools")

    def __str__(self) -> str:
        """What it is called in messages, without credentials."""
        return f"the MCP server {without_credentials(self._server)!r}"

    def __reduce__(self) -> tuple[Any, ...]:
        """It is made again from its settings."""
        return partial(McpServer, **self._options), (self._server,)

    def call(self, name: str, arguments: Sequence[Mapping[str, Any]]) -> list[ToolResult]:
        """The results of calls of one tool, made at the same time.

        A call that the server does not answer has failed, and is not made twice: it may have done something.
        Raises SearchError where no call could be made at all.
        """
        link = self._connected()
        results = link.call(name, arguments, self._seconds[1])
        if any(result.failed for result in results):
            with self._lock:
                if self._link is link:
                    self._link = None
            link.end_when_idle()
        return results

    def close(self) -> None:
        """End the connection, and the server if it was started; the next call connects anew."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            link.end()

    def _connected(self) -> _Link:
        """The connection, made anew where there is none. Raises SearchError where it cannot be made."""
        with self._lock:
            if self._link is None or not self._link.alive:
                if self._link is not None:
                    self._link.end()
                try:
                    self._link = _Link(self._server, self._seconds[0])
                except _LinkError as problem:
                    raise SearchError(f"{self} cannot be reached: {problem}") from None
                self._link.end = weakref.finalize(self, self._link.close)
            return self._link


@dataclass(frozen=True)
class McpTool:
    """One tool of a server."""

    server: McpServer
    name: str
    """What the server calls it."""
    spec: ToolSpec
    """What the agent is told of it."""

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        """What the server says to each call."""
        takes = self.spec.parameters is not NOTHING
        return self.server.call(self.name, [call.arguments if takes else {} for _, call in calls])


class _LinkError(Exception):
    """A connection that was not made, and why."""


class _Link:
    """A connection, held open by a thread with an event loop of its own."""

    end: Callable[[], object]
    """Closes it, once, and forgets it; it is called when its server is collected, too."""

    def __init__(self, server: str, seconds: float) -> None:
        self.offered: dict[str, dict[str, Any]] = {}
        self._ready: Future[None] = Future()
        self._ended: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._counting = threading.Lock()
        self._under_way, self._unwanted = 0, False
        self._thread = threading.Thread(
            target=self._run, args=(server, seconds), daemon=True, name="igpo-gym-mcp"
        )
        self._thread.start()
        self._ready.result()

    @property
    def alive(self) -> bool:
        """Whether calls can be made."""
        return self._thread.is_alive() and self._ended is not None and not self._ended.is_set()

    def call(self, name: str, arguments: Sequence[Mapping[str, Any]], seconds: float) -> list[ToolResult]:
        """The results of calls that are made at the same time, each within ``seconds`` of its being sent.

        Once one was not answered in time, those that have not been sent fail with it: a server that hangs
        costs ``seconds`` and no more, and one that answers each call slowly gets its time for all.
        """
        assert self._loop is not None
        with self._counting:
            self._under_way += 1
        try:
            try:
                made = asyncio.run_coroutine_threadsafe(self._all(name, arguments, seconds), self._loop)
            except RuntimeError as problem:  # the loop has ended
                raise SearchError(str(problem)) from None
            return made.result()
        finally:
            with self._counting:
                self._under_way -= 1
                last = self._unwanted and not self._under_way
            if last:
                self.end()

    def end_when_idle(self) -> None:
        """Close it when the calls of other threads that are under way have been answered."""
        with self._counting:
            self._unwanted = True
            idle = not self._under_way
        if idle:
            self.end()

    def close(self) -> None:
        """End it; a server that was started is stopped."""
        if self._loop is not None and self._ended is not None:
            with suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._ended.set)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def _run(self, server: str, seconds: float) -> None:
        with suppress(Exception):  # what ends a connection has been told by then
            asyncio.run(self._serve(server, seconds))

    async def _serve(self, server: str, seconds: float) -> None:
        ended = asyncio.Event()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(seconds):
                    self._client = await stack.enter_async_context(_client(server))
                    self.offered = await _listed(self._client)
            except TimeoutError:
                self._ready.set_exception(_LinkError(f"no answer within {seconds:g} seconds"))
                return
            except (Exception, BaseExceptionGroup) as problem:
                self._ready.set_exception(_LinkError(_why(problem)))
                return
            self._loop, self._ended = asyncio.get_running_loop(), ended
            self._gate = asyncio.Semaphore(UNDER_WAY)
            self._ready.set_result(None)
            try:
                await ended.wait()
            finally:
                ended.set()

    async def _all(
        self, name: str, arguments: Sequence[Mapping[str, Any]], seconds: float
    ) -> list[ToolResult]:
        hangs = asyncio.Event()
        return await asyncio.gather(*(self._one(name, each, seconds, hangs) for each in arguments))

    async def _one(
        self, name: str, arguments: Mapping[str, Any], seconds: float, hangs: asyncio.Event
    ) -> ToolResult:
        async with self._gate:
            if hangs.is_set():
                return ToolResult(failed=True)
            try:
                async with asyncio.timeout(seconds):
                    result = await self._client.call_tool(name, dict(arguments))
            except TimeoutError:
                hangs.set()
                return ToolResult(failed=True)
            except MCPError as problem:
                if problem.error.code not in _REFUSED:
                    return ToolResult(failed=True)
                return ToolResult(_bounded(f"{name} refuses the call: {problem.error.message}"))
            except (Exception, BaseExceptionGroup):
                return ToolResult(failed=True)
        return ToolResult(_bounded(_text(result)))


def _client(server: str) -> Client:
    if "://" not in server.split(maxsplit=1)[0]:
        program, *arguments = shlex.split(server)
        started = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
        # A notebook's own sys.stderr is no file that a process could write to.
        return Client(stdio_client(started, errlog=sys.__stderr__ or sys.stderr))
    headers = {"Authorization": f"Bearer {key}"} if (key := os.environ.get(MCP_KEY)) else None
    return Client(streamable_http_client(server, http_client=create_mcp_http_client(headers=headers)))


async def _listed(client: Client) -> dict[str, dict[str, Any]]:
    """The tools that a server offers, by name. Raises ValueError for too many of them."""
    found: dict[str, dict[str, Any]] = {}
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            found[tool.name] = {"description": tool.description or "", "schema": tool.input_schema}
        if len(found) > MOST_TOOLS:
            raise ValueError(f"it offers more than {MOST_TOOLS} tools")
        if not page.next_cursor or page.next_cursor == cursor:
            return found
        cursor = page.next_cursor


def _text(result: Any) -> str:
    """What a result says; what is no text is named."""
    texts = [(block, getattr(block, "text", None)) for block in result.content]
    parts = [f"[{block.type}, which is not shown]" if text is None else text for block, text in texts]
    if not parts and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    return "\n".join(parts) or "Nothing."


def _bounded(text: str) -> str:
    return text if len(text) <= RESULT_CHARACTERS else f"{text[:RESULT_CHARACTERS]} [cut]"


def _why(problem: BaseException) -> str:
    """The innermost reason, in one line and without credentials."""
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    text = " ".join(str(problem).split()) or type(problem).__name__
    return without_credentials(text)[:300]
