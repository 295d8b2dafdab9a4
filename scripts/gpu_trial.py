"""Try on a GPU what the tests try on a CPU, in a few minutes, and write the figures to a file.

    python scripts/gpu_trial.py --json figures.json                  # on the first GPU
    python scripts/gpu_trial.py --device cpu --shape tiny --json F   # anywhere, in a minute

Nothing is downloaded. ``beliefs`` compares the packaged model's beliefs in bfloat16 with those in float32;
``scoring`` times the scorer with and without torch.compile, and reading each transcript anew; ``training``
makes five updates with the packaged model, for the numbers, and five with random weights of a real shape, for
speed, and for the memory that was planned against what was taken. A part that fails is written down with its
error, and the others go on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.agents.training.memory import plan_run
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Segment
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer

FIELDS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
SHAPES = {"tiny": (64, 128, 2, 4), "0.5b": (896, 4864, 24, 14), "3b": (2048, 11_008, 36, 16)}
"""Of Qwen2.5, but for the first."""
UPDATES = 5
PACKAGED = Path(__file__).parents[1] / "igpo_gym" / "models" / "nano-base"


@contextmanager
def random_model(shape: str) -> Iterator[Path]:
    """A folder with random weights of a shape, and the packaged model's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(PACKAGED)
    vocabulary = len(tokenizer) if shape == "tiny" else 151_936
    config = Qwen2Config(
        **dict(zip(FIELDS, SHAPES[shape], strict=True)),
        num_key_value_heads=2,
        vocab_size=vocabulary,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        yield Path(folder)


def beliefs(device: str, shape: str) -> dict[str, object]:
    """How far bfloat16 moves the packaged model's beliefs, after every turn of an expert's episodes."""
    probabilities = []
    for dtype in (torch.float32, torch.bfloat16):
        scorer = TransformersScorer.load("nano", device, dtype)
        questions, engine = assemble(EnvConfig(questions="world:test", scorer=scorer))
        expert = resolve_policy("expert", questions, engine.protocol)
        count = 4 if shape == "tiny" else 64
        played = collect(engine, expert, questions.questions[:count], batch_size=16)
        episodes = sorted(played, key=lambda episode: episode.question.id)
        probabilities.append([belief.prob for episode in episodes for belief in episode.beliefs])
    differences = [abs(fine - coarse) for fine, coarse in zip(*probabilities, strict=True)]
    return {
        "states": len(differences),
        "mean_difference": statistics.mean(differences),
        "largest_difference": max(differences),
    }


def scoring(device: str, shape: str) -> dict[str, object]:
    """Seconds for the beliefs of 16 transcripts after each of their turns, in bfloat16, in three ways."""
    turns, words, repeats = (2, 20, 1) if shape == "tiny" else (10, 150, 5)
    spent: dict[str, list[float]] = {"plain": [], "compiled": [], "read anew": []}
    tokens = 0
    with random_model(shape) as folder:
        scorers = {
            name: TransformersScorer.load(folder, device, torch.bfloat16, compile=name == "compiled")
            for name in spent
        }
        for repeat in range(repeats + 2):  # the first two warm up
            asked = [[request(turn, words, 16 * repeat + row) for row in range(16)] for turn in range(turns)]
            for name, scorer in scorers.items():
                before, began = scorer.stats.tokens_forwarded, time.perf_counter()
                for requests in asked:
                    for one in [[each] for each in requests] if name == "read anew" else [requests]:
                        if name == "read anew":
                            scorer.clear()
                        scorer.score(one)
                finish(device)
                spent[name].append(time.perf_counter() - began)
                if name == "plain":
                    tokens = scorer.stats.tokens_forwarded - before
    medians = {name: statistics.median(values[2:]) for name, values in spent.items()}
    return {"seconds": medians, "tokens_per_second": {name: tokens / each for name, each in medians.items()}}


def request(turns: int, words: int, row: int) -> BeliefRequest:
    """About a prompt and so many replies, which no other row has."""
    spoken = " ".join(f"place{(7 * number + row) % 97}" for number in range(words))
    segments = [Segment("environment", "user", f"{row} {turn} {spoken}") for turn in range(turns + 1)]
    return BeliefRequest(tuple(segments), ("Danzig",), ANSWER_PROBE)


def training(device: str, shape: str) -> dict[str, object]:
    """Five updates of the packaged model, and of random weights, where memory is compared with its plan."""
    small = {
        "batch_questions": 1,
        "group_size": 2,
        "max_turns": 2,
        "max_tokens": 16,
        "validation_questions": 2,
    }
    size = small if shape == "tiny" else {"batch_questions": 8, "group_size": 8, "max_tokens": 256}
    with random_model(shape) as folder:
        return {
            "nano": updates(Settings(model="nano-base", device=device, updates=UPDATES, **size)),
            shape: updates(
                Settings(
                    model=str(folder),
                    device=device,
                    updates=UPDATES,
                    validate_every=UPDATES,
                    learning_rate=1e-6,
                    gradient_checkpointing=True,
                    questions="world",
                    **size,
                )
            ),
        }


def updates(settings: Settings) -> dict[str, object]:
    on_gpu = torch.cuda.is_available() and settings.device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    log: list[Metrics] = []
    plan = plan_run(settings)
    with tempfile.TemporaryDirectory() as out:
        train(Path(out), settings, log.append, tell=print)
    told = ("f1", "gain", "loss", "kl", "grad_norm", "log_prob_gap", "log_prob_gap_mean", "importance_ratio")
    told += ("seconds", "tokens_per_second", "share_sampling", "share_scoring", "share_update")
    return {
        "updates": [{name: line[name] for name in told if name in line} for line in log[1:]],
        "planned_gib": plan.peak / 2**30,
        "taken_gib": torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None,
    }


def finish(device: str) -> None:
    """Wait for the GPU."""
    if torch.cuda.is_available() and device != "cpu":
        torch.cuda.synchronize()


PARTS: dict[str, Callable[[str, str], dict[str, object]]] = {
    "beliefs": beliefs,
    "scoring": scoring,
    "training": training,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--shape", choices=list(SHAPES), default="0.5b", help="of the random weights")
    parser.add_argument("--part", choices=list(PARTS), action="append", help="one part; by default all")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    options = parser.parse_args()
    figures: dict[str, object] = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    for name in options.part or PARTS:
        began = time.perf_counter()
        try:
            part = PARTS[name](options.device, options.shape)
        except Exception as problem:  # a lent machine is gone before anyone can try again
            traceback.print_exc()
            part = {"error": f"{type(problem).__name__}: {problem}"}
        figures[name] = part | {"wall_seconds": time.perf_counter() - began}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")  # after each part, for the same reason
        print(name, json.dumps(figures[name]), flush=True)


if __name__ == "__main__":
    main()
