"""Compare a server's beliefs with those of the same model on this machine.

    python -m sglang.launch_server --model-path Qwen/Qwen2.5-0.5B-Instruct --dtype bfloat16 --port 30000
    python examples/check_server.py http://127.0.0.1:30000 Qwen/Qwen2.5-0.5B-Instruct --dtype bfloat16

For a vLLM server the same with ``vllm serve Qwen/Qwen2.5-0.5B-Instruct --dtype bfloat16`` and its port 8000.
Beliefs after every turn of a few episodes are asked for twice, so that the second time the server answers
from its prefix cache. The exit status is 1 if a belief differs by more than the tolerance.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator

import torch
from rich.console import Console
from rich.table import Table

from igpo_gym.episode import Passage, Question, Segment
from igpo_gym.protocols import TAGS
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.remote import RemoteScorer
from igpo_gym.scorers.wire import DIALECTS
from igpo_gym.tools import search_call

DRUM = Passage("drum", "The Tin Drum", "The Tin Drum is a novel of 1959 by Günter Grass.")
GRASS = Passage("grass", "Günter Grass", "Günter Grass was a writer born in Danzig, today Gdańsk.")
VISTULA = Passage("vistula", "Vistula", "The Vistula is a river that meets the sea near Gdańsk.")
RIVERS = Passage(
    "rivers", "River", "A river is a stream of water. It flows to a sea, a lake or another river."
)

EPISODES = (
    ("Who wrote The Tin Drum?", ("Günter Grass", "Grass"), (("The Tin Drum", DRUM), ("rivers", RIVERS))),
    (
        "Where was the author of The Tin Drum born?",
        ("Danzig", "Gdańsk", "Gdańsk, Poland"),
        (("author of The Tin Drum", DRUM), ("rivers", RIVERS), ("Günter Grass birthplace", GRASS)),
    ),
    (
        "Which river is near the birthplace of the author of The Tin Drum?",
        ("Vistula", "the Vistula"),
        (("author of The Tin Drum", DRUM), ("Günter Grass", GRASS), ("river at Gdańsk", VISTULA)),
    ),
)
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2, "float16": 5e-3}
"""By how much a probability may differ: engines sum in other orders, and half precision feels it."""


def belief_requests() -> Iterator[BeliefRequest]:
    """A request before the first and after every turn of the episodes."""
    for text, answers, turns in EPISODES:
        segments = TAGS.prompt(Question(text, text, answers))
        yield BeliefRequest(segments, answers, TAGS.probe)
        for query, passage in turns:
            message = TAGS.write(search_call(query), "I need to know more.")
            segments += (Segment("agent", "assistant", message), *TAGS.reply(TAGS.passages([passage])))
            yield BeliefRequest(segments, answers, TAGS.probe)


def compare(remote: AnswerScorer, local: AnswerScorer) -> float:
    """Print the beliefs of both, and return the largest difference of a probability."""
    requests = list(belief_requests())
    expected = local.score(requests)
    table = Table("answer", "probability here", "there", "difference (nats per token)")
    largest = 0.0
    for _ in range(2):
        for request, here, there in zip(requests, expected, remote.score(requests), strict=True):
            for answer, log_here, log_there in zip(
                request.answers, here.log_probs, there.log_probs, strict=True
            ):
                one, other = math.exp(log_here), math.exp(log_there)
                largest = max(largest, abs(one - other))
                table.add_row(answer, f"{one:.5f}", f"{other:.5f}", f"{log_there - log_here:+.5f}")
    Console().print(table)
    return largest


def main() -> int:
    """Read the command line, compare, and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", help="the server's")
    parser.add_argument("model", help="a name on the Hugging Face hub or a local folder")
    parser.add_argument("--dtype", choices=TOLERANCE, default="bfloat16", help="the one that the server uses")
    parser.add_argument("--device", default="auto", help="for the model on this machine")
    parser.add_argument("--kind", choices=DIALECTS, help="of the server; found out by default")
    options = parser.parse_args()
    local = TransformersScorer.load(options.model, options.device, getattr(torch, options.dtype))
    with RemoteScorer(options.url, tokenizer=options.model, kind=options.kind) as remote:
        print(remote)
        largest = compare(remote, local)
        print(f"{remote.stats}")
    tolerance = TOLERANCE[options.dtype]
    print(f"largest difference of a probability: {largest:.2e} (tolerance {tolerance:g})")
    return int(largest > tolerance)


if __name__ == "__main__":
    sys.exit(main())
