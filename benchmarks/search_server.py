"""How much `igpo-gym serve search` serves, beside the same index called in process.

    python benchmarks/search_server.py            # 5 seconds a level, under a minute
    python benchmarks/search_server.py --full     # 5 minutes in all

The server runs in a process of its own, and 1, 16, 64 and 200 clients ask it for one query at a time, each
anew as soon as it has its answer, over connections that are kept. The clients are coroutines of one process
that write and read HTTP by hand, so that little of the machine is theirs. Passages of 60 words drawn from a
Zipf law, queries of six words; k = 3. Every answer is compared with that of the index in process; anything
else is an error. Prints one JSON object: requests a second, the median and 99th percentile of the latency,
errors, and the CPU time of the server for each request (Linux). The ratios are those to one thread that calls
the index in process with one query at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from igpo_gym.episode import Passage
from igpo_gym.search.bm25 import BM25Index

CLIENTS = (1, 16, 64, 200)
VOCABULARY, FREQUENT, PASSAGE_WORDS, QUERY_WORDS, QUERIES, K = 100_000, 30, 60, 6, 500, 3
CUMULATIVE = np.cumsum(1 / np.arange(1, VOCABULARY + 1))


def drawn(rng: np.random.Generator, first: int, size: int) -> str:
    """So many words from number ``first`` on."""
    low = CUMULATIVE[first - 1] if first else 0.0
    return " ".join(
        f"w{word}" for word in np.searchsorted(CUMULATIVE, rng.uniform(low, CUMULATIVE[-1], size))
    )


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, int]]:
    """The port and the process id of a server of the index in ``folder``."""
    code = "import sys; from igpo_gym.cli import app; app()"
    command = [sys.executable, "-c", code, "serve", "search", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        match = re.search(r":(\d+)/retrieve", process.stdout.readline())
        assert match, "the server did not start"
        try:
            yield int(match[1]), process.pid
        finally:
            process.terminate()
            process.wait()
    assert process.returncode == 0, process.returncode


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, or nan where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request(query: str) -> bytes:
    body = json.dumps({"queries": [query], "topk": K, "return_scores": True}).encode()
    return b"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def load(port: int, clients: int, seconds: float, expected: dict[str, list[str]]) -> dict[str, Any]:
    """What so many clients see in so many seconds."""
    queries, requests = list(expected), [request(query) for query in expected]
    latencies: list[float] = []
    errors: dict[str, int] = {}
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < end:
            number = (number + 7919) % len(queries)
            try:
                writer.write(requests[number])
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                latencies.append(time.perf_counter() - begun)
                found = [item["document"]["id"] for item in json.loads(body)["result"][0]]
                problem = "" if found == expected[queries[number]] else "another answer"
            except (OSError, EOFError, KeyError, ValueError) as failure:
                problem = type(failure).__name__
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if problem:
                errors[problem] = errors.get(problem, 0) + 1
        writer.close()

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    taken = time.perf_counter() - begun
    return {
        "clients": clients,
        "requests": len(latencies),
        "requests_a_second": len(latencies) / taken,
        "median_ms": 1e3 * float(np.percentile(latencies, 50)),
        "percentile_99_ms": 1e3 * float(np.percentile(latencies, 99)),
        "errors": errors,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--passages", type=int, default=20_000, help="how many are indexed (20000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each level takes (5)")
    parser.add_argument("--full", action="store_true", help="75 seconds a level, 5 minutes in all")
    arguments = parser.parse_args()
    seconds = 75.0 if arguments.full else arguments.seconds

    rng = np.random.default_rng(0)
    passages = (Passage(str(i), f"t{i}", drawn(rng, 0, PASSAGE_WORDS)) for i in range(arguments.passages))
    index = BM25Index.build(passages)
    queries = [drawn(rng, FREQUENT, QUERY_WORDS) for _ in range(QUERIES)]
    begun, cpu = time.perf_counter(), time.process_time()
    found = [index.search([query], K)[0] for query in queries]
    in_process = len(queries) / (time.perf_counter() - begun)
    in_process_cpu = (time.process_time() - cpu) / len(queries)
    expected = {query: [p.id for p in passages] for query, passages in zip(queries, found, strict=True)}

    results = []
    with tempfile.TemporaryDirectory() as place:
        index.save(Path(place) / "index")
        with served(Path(place) / "index") as (port, pid):
            for clients in CLIENTS:
                before = cpu_seconds(pid)
                result = asyncio.run(load(port, clients, seconds, expected))
                each = (cpu_seconds(pid) - before) / result["requests"]
                result["throughput_to_in_process"] = result["requests_a_second"] / in_process
                result["server_cpu_ms"] = 1e3 * each
                result["server_cpu_to_in_process"] = each / in_process_cpu
                print(json.dumps(result), file=sys.stderr)
                results.append(result)
    report = {
        "benchmark": "search_server",
        "passages": arguments.passages,
        "seconds": seconds,
        "in_process_queries_a_second": in_process,
        "in_process_cpu_ms": 1e3 * in_process_cpu,
        "results": results,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
