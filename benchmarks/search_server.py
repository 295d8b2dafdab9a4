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
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from measuring import cpu_seconds, served, zipf_texts

from igpo_gym.episode import Passage
from igpo_gym.search.bm25 import BM25Index

CLIENTS = (1, 16, 64, 200)
VOCABULARY, FREQUENT, PASSAGE_WORDS, QUERY_WORDS, QUERIES, K = 100_000, 30, 60, 6, 500, 3


def request(query: str) -> bytes:
    body = json.dumps({"queries": [query], "topk": K, "return_scores": True}).encode()
    return b"POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def load(url: str, clients: int, seconds: float, expected: dict[str, list[str]]) -> dict[str, Any]:
    """What so many clients see in so many seconds."""
    queries, requests = list(expected), [request(query) for query in expected]
    latencies: list[float] = []
    errors: dict[str, int] = {}
    host, port = urlsplit(url).hostname, urlsplit(url).port
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
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
                reader, writer = await asyncio.open_connection(host, port)
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
    texts = zipf_texts(rng, VOCABULARY, PASSAGE_WORDS, arguments.passages)
    index = BM25Index.build(Passage(str(number), f"t{number}", text) for number, text in enumerate(texts))
    queries = [*zipf_texts(rng, VOCABULARY, QUERY_WORDS, QUERIES, first=FREQUENT)]
    begun, cpu = time.perf_counter(), time.process_time()
    found = [index.search([query], K)[0] for query in queries]
    in_process = len(queries) / (time.perf_counter() - begun)
    in_process_cpu = (time.process_time() - cpu) / len(queries)
    expected = {query: [p.id for p in passages] for query, passages in zip(queries, found, strict=True)}

    results = []
    with tempfile.TemporaryDirectory() as place:
        index.save(Path(place) / "index")
        with served("search", str(Path(place) / "index")) as (url, pid):
            for clients in CLIENTS:
                before = cpu_seconds(pid)
                result = asyncio.run(load(url, clients, seconds, expected))
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
