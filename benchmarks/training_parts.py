"""What an update of the reference trainer costs, part by part, here and in another checkout, in one run.

    git worktree add ../before main
    python benchmarks/training_parts.py --before ../before
    python benchmarks/training_parts.py --before ../before --layers 8

Each checkout has a process of its own, and their updates alternate: of 4 questions x 8 episodes, with the
defaults of ``igpo-gym train``, on one thread. Both have the nano-base of this checkout. The learning rate is
0, so that both play the same episodes, if their prompts are alike, and their numbers can be compared. With
``--layers`` the model is nano-base with layers of random weights behind its own, which add nothing to what
passes through them: it plays as nano-base does.

Prints a JSON line: medians and ranges of CPU seconds, the largest difference between the numbers of both, and
the bare matrix products of the forward and backward passes of the last batch: the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
COMPARED = ("loss", "kl", "grad_norm", "entropy", "reward", "gain", "completion_tokens")


def timed(spent: defaultdict[str, float], part: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """``work``, which adds its CPU seconds to those of ``part``."""

    def run(*arguments: Any, **named: Any) -> Any:
        began = time.thread_time()
        try:
            return work(*arguments, **named)
        finally:
            spent[part] += time.thread_time() - began

    return run


def worker(model: str, questions: int) -> None:
    """Answer each line of the input with an update's seconds and numbers; the last line with the limit."""
    import torch

    torch.set_num_threads(1)
    from igpo_gym.agents.training.settings import Settings

    try:
        from igpo_gym.agents.training.run import Run
    except ModuleNotFoundError:  # an older checkout, as the one in the docs
        from igpo_gym.agents.training.trainer import Run  # type: ignore[attr-defined]

    spent: defaultdict[str, float] = defaultdict(float)
    run = Run(Path(), Settings(model=model, batch_questions=questions, learning_rate=0.0, device="cpu"))
    assert run.reference is not None
    assert run.scorer is not None
    places: tuple[tuple[Any, str, str], ...] = (
        (run.policy, "act", "sampling"),
        (run.scorer, "score", "beliefs"),
        (run, "_learn", "learning"),
        (run, "reference", "reference"),
        (torch.Tensor, "backward", "backward"),
        (run.optimizer, "step", "optimizer"),
    )
    for place, name, part in places:
        setattr(place, name, timed(spent, part, getattr(place, name)))
    trainer: Any = sys.modules[Run.__module__]
    learn = trainer.learn
    batches: list[Any] = []

    def watched(model: Any, optimizer: Any, steps: Any, *rest: Any) -> Any:
        batches[:] = steps[0]
        return learn(model, optimizer, steps, *rest)

    trainer.learn = watched
    for line in sys.stdin:
        if line.strip() == "limit":
            from training import products

            blocks = [(s.stop - s.start, s.start) for each in batches for s in each.packing.stretches]
            tokens = sum(each.packing.tokens for each in batches)
            written = sum(len(each.sampled) for each in batches)
            print(json.dumps([products(run.model, blocks, written), tokens, written]), flush=True)
            continue
        spent.clear()
        numbers = timed(spent, "update", run.update)()
        spent["forward"] = spent["learning"] - sum(spent[p] for p in ("reference", "backward", "optimizer"))
        spent["rest"] = spent["update"] - sum(spent[p] for p in ("sampling", "beliefs", "learning"))
        print(json.dumps([spent, {name: numbers[name] for name in COMPARED}]), flush=True)


def deeper(layers: int, folder: str) -> str:
    """A folder with nano-base, to which layers of random weights are added that change nothing."""
    import torch
    from transformers import AutoModelForCausalLM

    from igpo_gym.lm.loading import load_model

    model, tokenizer = load_model("nano-base", "cpu")
    torch.manual_seed(0)
    model.config.num_hidden_layers = layers
    made = AutoModelForCausalLM.from_config(model.config)
    for layer in made.base_model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    made.load_state_dict(model.state_dict(), strict=False)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Side:
    """A checkout and its process."""

    def __init__(self, root: Path, model: str, questions: int) -> None:
        paths = os.pathsep.join([str(root), str(HERE / "benchmarks")])
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--worker", model, "--questions", str(questions)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )
        self.spent: list[dict[str, float]] = []
        self.numbers: list[dict[str, float]] = []

    def ask(self, line: str) -> Any:
        """The answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def update(self) -> None:
        """Make an update, and keep what it says."""
        spent, numbers = self.ask("update")
        self.spent.append(spent)
        self.numbers.append(numbers)


def compare(before: Path, model: str, questions: int, repeats: int) -> dict[str, object]:
    """Alternate the updates of two checkouts, after one that warms up."""
    sides = {"before": Side(before, model, questions), "here": Side(HERE, model, questions)}
    for _ in range(repeats + 1):
        for side in sides.values():
            side.update()
            told = {part: round(value, 2) for part, value in side.spent[-1].items()}
            print(told, side.numbers[-1], file=sys.stderr, flush=True)
    seconds = {
        name: {
            part: [round(f(each[part] for each in side.spent[1:]), 3) for f in (statistics.median, min, max)]
            for part in sorted(side.spent[0])
        }
        for name, side in sides.items()
    }
    limit, tokens, written = sides["here"].ask("limit")
    gaps = {
        name: max(abs(a[name] - b[name]) for a, b in zip(*(s.numbers for s in sides.values()), strict=True))
        for name in COMPARED
    }
    return {
        "repeats": repeats,
        "seconds (median, least, most)": seconds,
        "ratio": seconds["before"]["update"][0] / seconds["here"]["update"][0],
        "differences": gaps,
        "tokens": tokens,
        "written": written,
        "products of one forward and backward pass": limit,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout of this repository")
    parser.add_argument("--layers", type=int, default=0, help="of the model; 0: nano-base as it is")
    parser.add_argument("--questions", type=int, default=4, help="of a batch; each is played eight times")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.questions)
        return
    from igpo_gym.lm.names import packaged_folder

    with tempfile.TemporaryDirectory() as folder:
        model = deeper(options.layers, folder) if options.layers else str(packaged_folder("nano-base"))
        told = compare(options.before, model, options.questions, options.repeats)
        print(json.dumps({"layers": options.layers, "questions": options.questions, **told}))


if __name__ == "__main__":
    main()
