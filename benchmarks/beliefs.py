"""What beliefs cost at `igpo-gym serve beliefs`, beside vLLM's prompt_logprobs.

    python benchmarks/beliefs.py --model nano --clients 1,4
    python benchmarks/beliefs.py --vllm /path/to/an/environment/with/vllm/bin/python --done levels.jsonl

Each client plays one episode: a prompt of 100 tokens and --turns turns of 64, with a belief in --aliases
answers after the prompt and after every turn. All clients ask at the same time, turn by turn; all are sent
token ids. The cache of our server holds all clients, then a quarter of them. Prints one JSON object: for each
level tokens forwarded, as the server counts them, over the fewest possible, CPU seconds of the server's
processes (Linux) and beliefs a second; with --vllm the same of vLLM, and the ratios.

A level takes minutes with a real model. Each is a line of the file --done as soon as it is measured, and is
not measured again when it stands there.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import requests
from measuring import cpu_seconds

from igpo_gym.agents.training.memory import shape_of
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.loading import gguf_folder, load_tokenizer
from igpo_gym.lm.names import PACKAGED, SMOLLM2, packaged_folder
from igpo_gym.lm.smollm2 import weights
from igpo_gym.protocols import ANSWER_PROBE

PROMPT, TURN = 100, 64
ANSWERS = ("Poland", "in Poland", "the Free City", "Prussia")

Ask = Callable[[list[int]], None]
"""Asks for the beliefs behind a transcript in token ids."""


def tell(text: str) -> None:
    """Say where it is, beside the results."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextmanager
def running(
    command: Sequence[str], url: str, seconds: float, settings: Mapping[str, str] = {}
) -> Iterator[int]:
    """A server's process id, while the block runs, from when its ``/health`` answers."""
    tell(f"starting {' '.join(command[1:4])} ...")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **settings}
        )
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
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


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
        for length in range(PROMPT, len(episodes[0]) + 1, TURN):
            list(pool.map(ask, [episode[:length] for episode in episodes]))
            tell(f"  {len(episodes)} transcripts of {length} tokens, {time.perf_counter() - begun:.0f} s")
    return time.perf_counter() - begun


def measured(url: str, pid: int, ask: Ask, episodes: Sequence[list[int]], forwarded: str) -> dict[str, float]:
    """What the beliefs of the episodes cost a server."""
    cpu, tokens = cpu_seconds(pid), counter(url, forwarded)
    seconds = played(ask, episodes)
    asked = len(episodes) * len(range(PROMPT, len(episodes[0]) + 1, TURN))
    return {
        "tokens": counter(url, forwarded) - tokens,
        "cpu_seconds": round(cpu_seconds(pid) - cpu, 2),
        "beliefs_a_second": round(asked / seconds, 3),
    }


def post(url: str, body: dict[str, Any]) -> None:
    """Ask, and raise SystemExit for a refusal."""
    response = requests.post(url, json=body, timeout=3600)
    if not response.ok:
        raise SystemExit(f"{response.status_code}: {response.text[:300]}")


@dataclass(frozen=True)
class Level:
    """What is asked of a server."""

    model: str
    clients: int
    aliases: int
    turns: int

    @property
    def length(self) -> int:
        """How many tokens an episode has."""
        return PROMPT + self.turns * TURN

    @property
    def answers(self) -> Sequence[str]:
        """What is asked about."""
        return ANSWERS[: self.aliases]

    @property
    def episodes(self) -> list[list[int]]:
        """An episode for each client."""
        rng = random.Random(self.clients)
        vocabulary = len(load_tokenizer(self.model))
        return [
            [rng.randrange(vocabulary // 2, vocabulary) for _ in range(self.length)]
            for _ in range(self.clients)
        ]


def ours(level: Level, share: float) -> dict[str, float]:
    """The costs of our server, whose cache holds a ``share`` of the clients."""
    # A buffer that grows is up to half as large again as what it holds; float32 has four bytes.
    size = share * 1.5 * level.clients * level.length * 4 * shape_of(level.model).cached
    url = f"http://127.0.0.1:{free_port()}"
    code = "from igpo_gym.cli import app; app()"
    command = [sys.executable, "-c", code, "serve", "beliefs", level.model, "--device", "cpu"]
    command += ["--port", url.rpartition(":")[2], "--cache-gib", str(size / 2**30)]

    def ask(ids: list[int]) -> None:
        post(f"{url}/beliefs", {"ids": ids, "answers": level.answers})

    with running(command, url, 600.0) as pid:
        found = measured(url, pid, ask, level.episodes, "igpo_gym_tokens_forwarded_total")
        least = counter(url, "igpo_gym_tokens_minimum_total")
    return {**found, "tokens_to_minimum": round(found["tokens"] / least, 3)}


@dataclass(frozen=True)
class VLLM:
    """A vLLM server, started for the first level that asks it."""

    python: str
    model: str
    stack: ExitStack

    @cached_property
    def server(self) -> tuple[str, int]:
        """Its URL and its process."""
        folder = gguf_folder(weights()) if self.model == SMOLLM2 else Path(self.model)
        if self.model in PACKAGED:
            folder = packaged_folder(self.model)
        url = f"http://127.0.0.1:{free_port()}"
        command = [self.python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
        command += ["--served-model-name", "it", "--dtype", "float32", "--host", "127.0.0.1"]
        command += ["--port", url.rpartition(":")[2], "--enforce-eager", "--max-model-len", "1024"]
        settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "PYTHONPATH": ""}
        settings["PATH"] = f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}"
        return url, self.stack.enter_context(running(command, url, 1800.0, settings))

    def costs(self, level: Level) -> dict[str, float]:
        """What it costs to ask for the log-probabilities of the prompt of each answer."""
        framing = Framing(load_tokenizer(level.model))
        behind = [
            framing.behind(ANSWER_PROBE.prefix, answer, ANSWER_PROBE.suffix) for answer in level.answers
        ]
        url, pid = self.server

        def ask(ids: list[int]) -> None:
            prompts = [[*ids, *answer.before, *answer.ids] for answer in behind]
            body = {"model": "it", "prompt": prompts, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
            post(f"{url}/v1/completions", body)

        return measured(url, pid, ask, level.episodes, "vllm:prompt_tokens_total")


def results(
    level: Level, ways: Mapping[str, Callable[[Level], dict[str, float]]], done: Path | None
) -> list[dict[str, Any]]:
    """What a level costs each server, taken from the file ``done`` where it stands there, or added to it."""
    lines = done.read_text(encoding="utf-8").splitlines() if done and done.exists() else []
    costs: list[dict[str, Any]] = []
    for name, way in ways.items():
        what = {"server": name, **asdict(level)}
        found = next((known for known in map(json.loads, lines) if what.items() <= known.items()), None)
        if found is None:
            found = {**what, **way(level)}
            if done:
                with done.open("a", encoding="utf-8") as file:
                    print(json.dumps(found), file=file)
        tell(json.dumps(found))
        costs.append(found)
    if "vllm" in ways:
        *own, vllm = costs
        for each in own:
            for key in ("tokens", "cpu_seconds"):
                each[f"vllm_{key}_to_this"] = round(vllm[key] / each[key], 2)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=SMOLLM2, help="what is served (smollm2)")
    parser.add_argument("--clients", default="1,16,64", help="how many ask at once, level by level")
    parser.add_argument("--aliases", default="1", help="how many answers are asked about, level by level (1)")
    parser.add_argument("--turns", type=int, default=10, help="turns of an episode (10)")
    parser.add_argument("--vllm", help="the python of an environment that has vLLM; without it ours alone")
    parser.add_argument("--done", type=Path, help="a file of what was measured, read and written")
    arguments = parser.parse_args()
    levels = [
        Level(arguments.model, int(clients), int(aliases), arguments.turns)
        for clients in arguments.clients.split(",")
        for aliases in arguments.aliases.split(",")
    ]
    ways: dict[str, Callable[[Level], dict[str, float]]] = {
        "ours, whole cache": partial(ours, share=1.0),
        "ours, a quarter": partial(ours, share=0.25),
    }
    with ExitStack() as stack:
        if arguments.vllm:
            ways["vllm"] = VLLM(arguments.vllm, arguments.model, stack).costs
        found = [each for level in levels for each in results(level, ways, arguments.done)]
    print(json.dumps({"benchmark": "beliefs", "prompt": PROMPT, "turn": TURN, "results": found}, indent=2))


if __name__ == "__main__":
    main()
