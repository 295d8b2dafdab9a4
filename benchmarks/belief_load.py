"""Many clients at `igpo-gym serve beliefs`, while weights are pushed: is every belief right, and none lost?

    python benchmarks/belief_load.py                  # nano, 64 clients, 20 seconds
    python benchmarks/belief_load.py --seconds 600    # ten minutes

The server runs in a process of its own. Each client is a thread that asks for one belief at a time, of ten
growing transcripts of its own. Every --every seconds one of three sets of weights is pushed. Each belief is
then compared with that of a local scorer with the weights whose version the belief names. Prints one JSON
object: beliefs, those that differ by more than 1e-4 nats, calls that failed after the client's retries,
pushes, beliefs a second, and the server's own count of its answers by status.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import sys
import tempfile
import threading
import time
from pathlib import Path

import requests
import torch
from measuring import served

from igpo_gym.episode import Belief, Segment
from igpo_gym.errors import ScoringError
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.belief_client import WEIGHTS_KEY, BeliefServerScorer, push_weights
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer

SCALES = (1.0, 0.95, 0.9)
"""What the weights are multiplied with; the first are those the server starts with."""

TURNS = 10
TOLERANCE = 1e-4
"""In nats a token: what is computed beside other requests is rounded otherwise."""


def transcripts(client: int) -> list[BeliefRequest]:
    """The requests of a client, each transcript the beginning of the next."""
    segments: list[Segment] = [Segment("environment", "user", f"Where is the town of number {client}?")]
    asked = []
    for turn in range(TURNS):
        segments += [
            Segment("agent", "assistant", f"<search>town {client} of {turn}</search>"),
            Segment("environment", "user", f"Town {client} lies beside town {turn * client % 17} in Poland."),
        ]
        asked.append(BeliefRequest(tuple(segments), ("Poland", "in Peru"), ANSWER_PROBE))
    return asked


def scaled(scale: float, folder: Path) -> TransformersScorer:
    """A local scorer whose weights are those of nano, scaled; they are saved in ``folder``."""
    model, tokenizer = load_model("nano", "cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale)
    model.save_pretrained(folder)
    return TransformersScorer(model, tokenizer)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=64, help="how many ask at once (64)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long they ask (20)")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two pushes (3)")
    arguments = parser.parse_args()
    os.environ[WEIGHTS_KEY.variable] = secrets.token_hex(16)
    asked = [transcripts(client) for client in range(arguments.clients)]
    found: list[tuple[int, int, Belief]] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        right = []
        for number, scale in enumerate(SCALES):
            scorer = scaled(scale, root / str(number))
            flat = scorer.score([request for own in asked for request in own])
            right.append([flat[start : start + TURNS] for start in range(0, len(flat), TURNS)])
        options = ("--device", "cpu", "--weights-folder", place)
        with served("beliefs", "nano", *options) as (url, _):
            versions = {requests.get(f"{url}/health", timeout=60).json()["version"]: 0}
            end = time.perf_counter() + arguments.seconds
            server = BeliefServerScorer(url, concurrency=arguments.clients)

            def client(number: int) -> None:
                turn = 0
                while time.perf_counter() < end:
                    try:
                        (belief,) = server.score([asked[number][turn]])
                        found.append((number, turn, belief))
                    except ScoringError as problem:
                        failures.append(str(problem))
                    turn = (turn + 1) % TURNS

            threads = [threading.Thread(target=client, args=(n,)) for n in range(arguments.clients)]
            for thread in threads:
                thread.start()
            pushes = 0
            while time.perf_counter() + arguments.every < end:
                time.sleep(arguments.every)
                pushes += 1
                versions[push_weights(url, str(pushes % len(SCALES)))] = pushes % len(SCALES)
                print(f"{pushes} pushes, {len(found)} beliefs, {len(failures)} lost", file=sys.stderr)
            for thread in threads:
                thread.join()
            text = requests.get(f"{url}/metrics", timeout=60).text
    differences = [
        max(
            abs(one - other)
            for one, other in zip(
                belief.log_probs, right[versions[belief.weights]][number][turn].log_probs, strict=True
            )
        )
        for number, turn, belief in found
    ]
    report = {
        "benchmark": "belief_load",
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "beliefs": len(found),
        "beliefs_a_second": len(found) / arguments.seconds,
        "versions_seen": len({belief.weights for *_, belief in found}),
        "pushes": pushes,
        "wrong": sum(difference > TOLERANCE for difference in differences),
        "largest_difference_nats": max(differences, default=0.0),
        "lost": len(failures),
        "first_failure": next(iter(failures), ""),
        "answers": dict(re.findall(r'answers_total\{status="(\d+)"\} (\d+)', text)),
    }
    print(json.dumps(report, indent=2))
    sys.exit(bool(report["wrong"] or report["lost"] or not found))


if __name__ == "__main__":
    main()
