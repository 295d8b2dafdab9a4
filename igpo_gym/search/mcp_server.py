"""A search as tools of an MCP server, for agents of any make: ``igpo-gym serve search INDEX --mcp``."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from igpo_gym import __version__
from igpo_gym.episode import Passage
from igpo_gym.errors import SearchError
from igpo_gym.libraries import needs
from igpo_gym.search.interface import Retriever, documents_of
from igpo_gym.search.joining import FullError, Joined
from igpo_gym.text import well_formed

with needs("an MCP server", "mcp", "mcp"):
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError


def make_mcp_server(joined: Joined, retriever: Retriever, topk: int, most: int) -> MCPServer[Any]:
    """A server with the tools ``search`` and, where the retriever gives documents, ``open``.

    A search brings ``topk`` passages where the call does not say, and at most ``most``.
    """
    server: MCPServer[Any] = MCPServer("igpo-gym search", version=__version__, log_level="ERROR")

    @server.tool(description="Search for passages.")
    async def search(query: str, count: int = topk) -> str:
        if not 0 < count <= most:
            raise ToolError(f"count must be a whole number from 1 to {most}, not {count}")
        (found,) = await _working(joined.search([query], count))
        return "\n\n".join(map(_shown, found)) or "No passage was found."

    documents = documents_of(retriever)
    if documents is not None:

        @server.tool(name="open", description="Read the whole document that a passage is of.")
        async def open_document(id: str) -> str:
            (document,) = await _working(joined.run(lambda: documents([id])))
            if not document:
                raise ToolError(f"no document has the id {id!r}; take one that a search has shown")
            return "\n\n".join([_shown(document[0]), *(passage.text for passage in document[1:])])

    return server


def serve_pipes(retriever: Retriever, topk: int, most: int) -> None:
    """Serve through standard input and output, until the input ends."""

    async def run() -> None:
        joined = Joined(retriever, waiting=1024)
        try:
            await make_mcp_server(joined, retriever, topk, most).run_stdio_async()
        finally:
            joined.close()

    asyncio.run(run())


async def _working(search: Awaitable[Sequence[Any]]) -> Sequence[Any]:
    """What a search gives; its failures in words for the agent."""
    try:
        return await search
    except FullError:
        raise ToolError("too many requests wait; try again later") from None
    except (SearchError, OSError) as problem:
        raise ToolError(f"the search is unavailable: {problem}") from None


def _shown(passage: Passage) -> str:
    return well_formed(f"{passage.title} (id {passage.id})\n{passage.text}")
