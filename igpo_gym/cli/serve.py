"""``igpo-gym serve``: what this package has, for others to call."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sized
from typing import Annotated, Any

import typer

from igpo_gym.cli.common import console, explained
from igpo_gym.errors import SpecError


def serve_search(
    index: Annotated[
        str, typer.Argument(help="What --search takes: an index folder, a corpus file, another server's URL.")
    ],
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0 is every one of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at.")] = 8000,
    topk: Annotated[int, typer.Option(min=1, max=1000, help="Passages for a query that does not say.")] = 3,
    mcp: Annotated[
        bool, typer.Option("--mcp", help="Serve MCP as well, at /mcp: search and open as tools of any agent.")
    ] = False,
    stdio: Annotated[
        bool, typer.Option("--stdio", help="Serve MCP alone, through standard input and output.")
    ] = False,
) -> None:
    """Serve a search index over HTTP, in Search-R1's protocol: for igpo-gym, Search-R1, verl, SkyRL, slime.

    Examples:

      igpo-gym index build corpus.jsonl wiki-index

      igpo-gym serve search wiki-index --port 8000

      curl localhost:8000/retrieve -d '{"queries": ["who wrote The Tin Drum"], "topk": 3}'

      igpo-gym rollout --search http://localhost:8000/retrieve ...

      igpo-gym serve search wiki-index --stdio     # the command of an agent's MCP settings

    POST /retrieve finds passages, POST /access gives whole documents, GET /health tells what is served. What
    many clients ask at once is searched together. Ctrl-C or SIGTERM ends it when running requests are done.
    """
    with explained():
        from igpo_gym.search.server import Limits, bound, make_app, serve
        from igpo_gym.specs import fingerprint, resolve

        if stdio:
            from igpo_gym.search.mcp_server import serve_pipes

            serve_pipes(resolve("search", index, questions=_NoQuestions()), topk, Limits().max_topk)
            return
        with bound(host, port) as sock:
            retriever = resolve("search", index, questions=_NoQuestions())
            app = make_app(retriever, fingerprint(index), Limits(topk=topk), host if mcp else "")
            size = f"{len(retriever):,} passages" if isinstance(retriever, Sized) else repr(retriever)
            url = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}/retrieve"
            _log()
            serve(
                app,
                sock,
                lambda: console.print(
                    f"serving {size} at {url}", markup=False, highlight=False, soft_wrap=True
                ),
            )


class _NoQuestions:
    """Stands for the questions whose passages some retrievers search."""

    def __getattr__(self, name: str) -> Any:
        raise SpecError(
            "a server has no questions whose passages it could search; give it an index folder or a corpus "
            "file"
        )


def _log() -> None:
    """Let the server's log be seen on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("igpo_gym.search.server")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
