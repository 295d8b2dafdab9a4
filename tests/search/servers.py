"""Search servers on loopback: fakes that speak each dialect as its users' servers do, and our own."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from igpo_gym.episode import Passage
from igpo_gym.search import BM25Index, Retriever
from igpo_gym.search.server import Limits, make_app
from tests.serving import in_thread
from tests.site import Refusal, Route

PASSAGES = (
    Passage("0", "The Tin Drum", "A novel of 1959 by Günter Grass."),
    Passage("1", "Danzig", "A port at the mouth of the Vistula."),
    Passage("2", "Danzig", "Today Gdańsk."),
    Passage("3", 'The "Odra"', "A river.\nIt flows through Wrocław."),
    Passage("4", "", "A text that has no title: nothing but a river."),
    Passage("5", "Two\nlines", "A title can hold anything, 北京 and \ud800 too."),
)


def contents(passage: Passage) -> str:
    return f'"{passage.title}"\n{passage.text}'


def search_r1(index: Retriever, topk: int = 3) -> Route:
    """As Search-R1's retrieval_server.py answers, whose ``queries`` are required."""

    def route(body: Any) -> Any:
        if not isinstance(body.get("queries"), list):
            raise Refusal(422, {"detail": [{"loc": ["body", "queries"], "msg": "Field required"}]})
        found = index.search(body["queries"], body.get("topk") or topk)
        documents = [[{"id": p.id, "contents": contents(p)} for p in passages] for passages in found]
        if not body.get("return_scores"):
            return {"result": documents}
        scores = [[p.score for p in passages] for passages in found]
        return {
            "result": [
                [{"document": d, "score": s} for d, s in zip(*pair, strict=True)]
                for pair in zip(documents, scores, strict=True)
            ]
        }

    return route


def one_query(index: Retriever, nested: bool = True) -> Route:
    """As the servers that take a single ``query``."""

    def route(body: Any) -> Any:
        if not isinstance(body.get("query"), str):
            raise Refusal(422, {"detail": "query: Field required"})
        answer = search_r1(index)({**body, "queries": [body["query"]]})
        return answer if nested else {"result": answer["result"][0]}

    return route


def transformed(index: Retriever, change: Callable[[Passage], Any], ignores_topk: bool = False) -> Route:
    """A server of ``queries`` whose results are what ``change`` makes of the passages."""

    def route(body: Any) -> Any:
        found = index.search(body["queries"], 100 if ignores_topk else body["topk"])
        return {"result": [[change(passage) for passage in passages] for passages in found]}

    return route


def served(
    index: Retriever,
    limits: Limits = Limits(),  # noqa: B008  (it is frozen)
) -> contextlib.AbstractContextManager[str]:
    """Our own server in a thread: the root of its URLs."""
    return in_thread(make_app(index, "hash", limits))


INDEX = BM25Index.build(PASSAGES)


def command(corpus: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """``igpo-gym serve search`` in a process of its own, and its URL once it serves."""
    code = "import sys; from igpo_gym.cli import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "search", str(corpus), *(options or ("--port", "0"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"serving \d+ passages at (http://127\.0\.0\.1:(\d+))/retrieve\n", line)
    assert match, line + (process.communicate(timeout=60)[1] if process.poll() is not None else "")
    return process, match[1]
