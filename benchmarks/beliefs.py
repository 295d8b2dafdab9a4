"""What beliefs cost at `igpo-gym serve beliefs`, beside vLLM's prompt_logprobs.

    python benchmarks/beliefs.py --model nano --clients 1,4
    python benchmarks/beliefs.py --vllm /path/to/an/environment/with/vllm/bin/python

Each client plays one episode: a prompt of 100 tokens and ten turns of 64, with a belief in --aliases answers
after the prompt and after every turn. All clients ask at the same time, turn by turn; all are sent token ids.
The cache of our server holds all clients, then a quarter of them. Prints one JSON object: for each level
tokens forwarded, as the server counts them, over the fewest possible, CPU seconds of the server's processes
(Linux) and beliefs a second; with --vllm the same of vLLM, and the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from igpo_gym.lm.loading import load_model
from igpo_gym.lm.names import NAMED, SMOLLM2, packaged_folder
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.local import TransformersScorer

PROMPT, TURN, TURNS = 100, 64, 10
ANSWERS = ("Poland", "in Poland", "the Free City", "Prussia")

Ask = Callable[[list[int]], None]
"""Asks for the beliefs behind a transcript in token ids."""


def cpu_seconds(root: int) -> float:
    """The CPU time that a process and its descendants have used."""
    parents, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(stat.parent.name)] = int(fields[1])
        used[int(stat.parent.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def below(pid: int) -> bool:
        return pid == root or (pid in parents and below(parents[pid]))

    return sum(seconds for pid, seconds in used.items() if below(pid))


@contextmanager
def running(command: Sequence[str], url: str, seconds: float = 300.0) -> Iterator[int]:
    """A server's process id, while the block runs, from when its ``/health`` answers."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + seconds
            while process.poll() is None and time.monotonic() < end:
                try:
                    if requests.get(f"{url}/health", timeout=5).ok:
                        break
                except requests.ConnectionError:
                    time.sleep(0.2)
            else:
                log.seek(0)
                raise SystemExit(f"the server did not start: {log.read()[-2000:].decode(errors='replace')}")
            yield process.pid
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def free_port() -> int:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def counter(url: str, name: str) -> float:
    """A counter of a server's ``/metrics``, all its labels together."""
    text = requests.get(f"{url}/metrics", timeout=60).text
    return sum(map(float, re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M)))


def played(ask: Ask, episodes: Sequence[list[int]]) -> float:
    """Ask for all beliefs of all episodes, turn by turn; returns the seconds that it took."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(len(episodes)) as pool:
        for turn in range(TURNS + 1):
            list(pool.map(ask, [episode[: PROMPT + turn * TURN] for episode in episodes]))
    return time.perf_counter() - begun


def measured(url: str, pid: int, ask: Ask, episodes: Sequence[list[int]], forwarded: str) -> dict[str, float]:
    """What the beliefs of the episodes cost a server."""
    cpu, tokens = cpu_seconds(pid), counter(url, forwarded)
    seconds = played(ask, episodes)
    return {
        "tokens": counter(url, forwarded) - tokens,
        "cpu_seconds": cpu_seconds(pid) - cpu,
        "beliefs_a_second": len(episodes) * (TURNS + 1) / seconds,
    }


def checked(response: requests.Response) -> None:
    """Raise SystemExit for a server's refusal."""
    if not response.ok:
        raise SystemExit(f"{response.status_code}: {response.text[:300]}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=SMOLLM2, help="what is served (smollm2)")
    parser.add_argument("--clients", default="1,16,64", help="how many ask at once, level by level")
    parser.add_argument("--aliases", type=int, default=1, choices=range(1, 5), help="answers asked about (1)")
    parser.add_argument("--vllm", help="the python of an environment that has vLLM; without it ours alone")
    arguments = parser.parse_args()
    levels = [int(each) for each in arguments.clients.split(",")]
    answers = list(ANSWERS[: arguments.aliases])
    model, tokenizer = load_model(arguments.model, "cpu")
    scorer = TransformersScorer(model, tokenizer)
    token_bytes, vocabulary = scorer.reader.layout.token_bytes, len(tokenizer)
    behind = [scorer.framing.behind(ANSWER_PROBE.prefix, answer) for answer in answers]
    rng = random.Random(0)
    episodes = {
        level: [
            [rng.randrange(vocabulary // 2, vocabulary) for _ in range(PROMPT + TURNS * TURN)]
            for _ in range(level)
        ]
        for level in levels
    }
    results: list[dict[str, Any]] = []
    for level in levels:
        # A buffer that grows is up to half as large again as what it holds.
        whole = 1.5 * level * (PROMPT + TURNS * TURN) * token_bytes
        for share in (1.0, 0.25):
            url = f"http://127.0.0.1:{free_port()}"
            code = "from igpo_gym.cli import app; app()"
            command = [sys.executable, "-c", code, "serve", "beliefs", arguments.model, "--device", "cpu"]
            command += ["--port", url.rpartition(":")[2], "--cache-gib", str(share * whole / 2**30)]

            def ours(ids: list[int], url: str = url) -> None:
                body = {"ids": ids, "answers": answers}
                checked(requests.post(f"{url}/beliefs", json=body, timeout=600))

            with running(command, url) as pid:
                found = measured(url, pid, ours, episodes[level], "igpo_gym_tokens_forwarded_total")
                least = counter(url, "igpo_gym_tokens_minimum_total")
            found["tokens_to_minimum"] = found["tokens"] / least
            results.append({"server": "ours", "clients": level, "cache_share": share, **found})
            print(json.dumps(results[-1]), file=sys.stderr)
    if arguments.vllm:
        results += _vllm(arguments, levels, episodes, behind, results)
    sizes = {"prompt": PROMPT, "turn": TURN, "turns": TURNS, "aliases": arguments.aliases}
    print(
        json.dumps({"benchmark": "beliefs", "model": arguments.model, **sizes, "results": results}, indent=2)
    )


def _vllm(
    arguments: argparse.Namespace,
    levels: Sequence[int],
    episodes: dict[int, list[list[int]]],
    behind: Sequence[Any],
    ours: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The same at vLLM, with the ratio of its cost to that of ours."""
    named = arguments.model in NAMED
    if named and arguments.model == SMOLLM2:
        from igpo_gym.lm.smollm2 import weights

        folder = str(weights())
    else:
        folder = str(packaged_folder(arguments.model)) if named else arguments.model
    url = f"http://127.0.0.1:{free_port()}"
    command = [arguments.vllm, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", url.rpartition(":")[2]]
    command += ["--enforce-eager", "--max-model-len", "1024"]
    results = []
    with running(command, url, 900.0) as pid:
        name = requests.get(f"{url}/v1/models", timeout=60).json()["data"][0]["id"]

        def ask(ids: list[int]) -> None:
            prompts = [[*ids, *answer.before, *answer.ids] for answer in behind]
            body = {"model": name, "prompt": prompts, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
            checked(requests.post(f"{url}/v1/completions", json=body, timeout=600))

        for level in levels:
            found: dict[str, Any] = measured(url, pid, ask, episodes[level], "vllm:prompt_tokens_total")
            own = {each["cache_share"]: each for each in ours if each["clients"] == level}
            for key in ("tokens", "cpu_seconds"):
                for share, each in own.items():
                    found[f"{key}_to_ours_at_{share:g}"] = found[key] / each[key]
            results.append({"server": "vllm", "clients": level, **found})
            print(json.dumps(results[-1]), file=sys.stderr)
    return results


if __name__ == "__main__":
    main()
