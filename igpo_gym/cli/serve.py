"""``igpo-gym serve``: what this package has, for others to call."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Sized
from pathlib import Path
from typing import Annotated, Any

import typer

from igpo_gym.cli.common import explained, plainly
from igpo_gym.errors import SpecError

Host = Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 is every one of this machine.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at.")]


def serve_search(
    index: Annotated[
        str, typer.Argument(help="What --search takes: an index folder, a corpus file, another server's URL.")
    ],
    host: Host = "127.0.0.1",
    port: Port = 8000,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="Passages for a query that does not say.")] = 3,
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
        from igpo_gym.search.server import Limits, make_app
        from igpo_gym.serving import bound, serve
        from igpo_gym.specs import fingerprint, resolve

        if stdio:
            from igpo_gym.search.mcp_server import serve_pipes

            serve_pipes(resolve("search", index, questions=_NoQuestions()), top_k, Limits().max_topk)
            return
        with bound(host, port) as sock:
            retriever = resolve("search", index, questions=_NoQuestions())
            app = make_app(retriever, fingerprint(index), Limits(topk=top_k), host if mcp else "")
            size = f"{len(retriever):,} passages" if isinstance(retriever, Sized) else repr(retriever)
            _log("igpo_gym.search.server")
            serve(app, sock, lambda: plainly(f"serving {size} at {_root(host, sock)}/retrieve"))


def serve_beliefs(
    model: Annotated[
        str,
        typer.Argument(help="nano, smollm2, a folder with safetensors, a .gguf file, a hub name."),
    ],
    host: Host = "127.0.0.1",
    port: Port = 8001,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    cache_gib: Annotated[
        float, typer.Option(min=0.0, help="How much the prefix cache of all clients holds, in GiB.")
    ] = 2.0,
    waiting: Annotated[
        int, typer.Option(min=1, help="How many requests may wait; the next is told to come back.")
    ] = 1024,
    weights_folder: Annotated[
        Path | None,
        typer.Option(help="Take new weights (POST /weights) from below this folder; off without it."),
    ] = None,
) -> None:
    """Serve a model's beliefs over HTTP: how likely are these answers after this transcript?

    Examples:

      igpo-gym serve beliefs smollm2 --port 8001

      curl localhost:8001/beliefs -d '{"messages": [{"role": "user", "content": "Where is Danzig?"}],
      "answers": ["Poland"]}'

      igpo-gym rollout --scorer beliefs:http://localhost:8001 ...

    What many clients ask at once is read together, each transcript once. GET /health tells what is served,
    GET /metrics what was done (for Prometheus). With --weights-folder and a token in IGPO_GYM_WEIGHTS_TOKEN a
    trainer pushes new weights. Ctrl-C or SIGTERM ends it when the batch at work is answered.
    """
    with explained():
        from igpo_gym.serving import bound, serve  # before the model's libraries, for what may be missing

        with bound(host, port) as sock:
            from igpo_gym.lm.names import check_name
            from igpo_gym.scorers.server import Limits, Pushes, make_app

            check_name(model)
            pushes = Pushes.of(weights_folder)
            from igpo_gym.scorers.local import TransformersScorer

            scorer = TransformersScorer.load(model, device, cache_bytes=int(cache_gib * 2**30))
            name = Path(model).name
            _log("igpo_gym.scorers.server")
            app = make_app(scorer, name, Limits(waiting=waiting), pushes)
            serve(app, sock, lambda: plainly(f"serving beliefs of {name} at {_root(host, sock)}"))


def _root(host: str, sock: socket.socket) -> str:
    """The root of a server's URLs."""
    return f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"


class _NoQuestions:
    """Stands for the questions whose passages some retrievers search."""

    def __getattr__(self, name: str) -> Any:
        raise SpecError(
            "a server has no questions whose passages it could search; give it an index folder or a corpus "
            "file"
        )


def _log(name: str) -> None:
    """Let a server's log be seen on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    logger.propagate = False  # the library of MCP gives the root a handler, which would write each line again
    logger.setLevel(logging.INFO)
