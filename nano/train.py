"""Trains the packaged model from nothing: ``python -m nano.train OUT``.

One run, seeded and resumable: start it again with the same folder and it goes on from its last checkpoint.
Worlds are made as they are needed and none is met twice. The lessons follow one another on the accuracy of
the answers, so the run does not stand or fall with a schedule.

``--processes 2`` learns on two cores: each process makes the same rows, learns its share of every step's
batches, and the gradients are summed. The numbers differ by rounding alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, distributed
from torch.multiprocessing.spawn import spawn
from torch.nn import functional

from igpo_gym.storage import changed
from nano.checkpoint import export, load_weights
from nano.lessons import LESSONS, lesson_rows
from nano.muon import Muon
from nano.network import Llama, Shape, initialize
from nano.packing import Batch, steps
from nano.rows import Encoder, Part
from nano.tokenizer import build_tokenizer

LOG_EVERY = 125
"""Steps between two lines of the log; the lessons' accuracy is taken over as many."""


@dataclass(frozen=True, slots=True)
class NanoSettings:
    """All that decides what a run gives, with the tokenizer and the lessons."""

    tokens: float = 44e6
    """The length of the run in tokens, branches included."""
    batch: int = 512
    """Tokens in a batch of similar rows."""
    batches: int = 2
    """Batches in a step. Small steps need a third of the tokens that steps of 6,144 do."""
    muon_rate: float = 0.004
    adam_rate: float = 8e-4
    warm_up: int = 100
    """Steps over which the learning rates rise."""
    flat: float = 0.6
    """The share of the run after which the learning rates fall, linearly, to 2%."""
    clip: float = 1.0
    snapshots: int = 25
    """How many checkpoints of the weights alone are kept along the run."""
    seed: int = 0
    threads: int = 1
    processes: int = 1


def _tokenizer(path: Path) -> Tokenizer:
    """The run's tokenizer, built once: ids that a checkpoint knows must not change under it."""
    if not path.exists():
        build_tokenizer().save(str(path))
    return Tokenizer.from_file(str(path))


def _nothing() -> dict[Part, list[float]]:
    """For each part the summed loss, right predictions and predictions: none."""
    return {part: [0.0, 0.0, 0.0] for part in Part}


@dataclass(frozen=True, slots=True)
class Share:
    """A process's place among those that learn together."""

    rank: int = 0
    size: int = 1

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add up tensors over all processes, in place."""
        if self.size > 1:
            flat = torch.cat([tensor.flatten() for tensor in tensors])
            distributed.all_reduce(flat)
            parts = torch.split(flat, [tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))


class NanoRun:
    """The state of a training run, saved and restored as a whole."""

    def __init__(self, out: Path, settings: NanoSettings, shape: Shape, share: Share = Share()) -> None:
        self.share = share
        self.out, self.settings = out, settings
        self.tokenizer = _tokenizer(out / "tokenizer.json")
        self.encode = Encoder(self.tokenizer)
        self.model = Llama(shape)
        initialize(self.model, torch.Generator().manual_seed(settings.seed))
        matrices = [p for n, p in self.model.named_parameters() if p.dim() == 2 and "embed" not in n]
        others = [p for n, p in self.model.named_parameters() if p.dim() != 2 or "embed" in n]
        self.muon = Muon(matrices)
        self.adam = torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)
        self.tokens = self.step = self.chunk = self.lesson = self.begun = 0
        self.seconds = 0.0
        self.sums = _nothing()
        """What was learned since the last line of the log."""
        self.log: list[dict[str, Any]] = []

    @property
    def progress(self) -> float:
        """The share of the run that is done."""
        return self.tokens / self.settings.tokens

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        part = self.out / ".run.pt.part"
        torch.save(
            {
                "model": self.model.state_dict(),
                "muon": self.muon.velocities,
                "adam": self.adam.state_dict(),
                "counts": (self.tokens, self.step, self.chunk, self.lesson, self.begun, self.seconds),
                "sums": [self.sums[part] for part in Part],
                "log": self.log,
                "settings": asdict(self.settings),
            },
            part,
        )
        part.replace(self.out / "run.pt")
        with (self.out / "log.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in self.log)

    def resume(self) -> bool:
        """Go on from the folder's checkpoint, if it has one. ValueError if it was made with other settings.

        The length of the run, its threads and processes may change: it can be cut short, or go on for longer.
        """
        if not (path := self.out / "run.pt").exists():
            return False
        state = torch.load(path, weights_only=True)
        free = {name: getattr(self.settings, name) for name in ("tokens", "threads", "processes")}
        if names := changed(state["settings"] | free, asdict(self.settings)):
            raise ValueError(f"{path} was made with other settings ({names})")
        self.model.load_state_dict(state["model"])
        for velocity, saved in zip(self.muon.velocities, state["muon"], strict=True):
            velocity.copy_(saved)
        self.adam.load_state_dict(state["adam"])
        self.tokens, self.step, self.chunk, self.lesson, self.begun, self.seconds = state["counts"]
        self.sums = dict(zip(Part, state["sums"], strict=True))
        self.log = state["log"]
        return True

    def chunks(self) -> Iterator[list[list[Batch]]]:
        """The steps of one chunk after another, of the present lesson, each made in the background."""

        def make(lesson: int, chunk: int) -> list[list[Batch]]:
            rows = lesson_rows(LESSONS[lesson], self.settings.seed, chunk, self.encode)
            order = Random(f"{self.settings.seed}/{chunk}/order")
            return steps(rows, self.settings.batch, self.settings.batches, order)

        with ThreadPoolExecutor(1) as background:
            lesson = self.lesson
            ahead = background.submit(make, lesson, self.chunk)
            while True:
                if lesson != self.lesson:  # what was made ahead is of the lesson before
                    lesson = self.lesson
                    ahead = background.submit(make, lesson, self.chunk)
                chunk = ahead.result()
                self.chunk += 1
                ahead = background.submit(make, lesson, self.chunk)
                yield chunk

    def learn(self, step: Sequence[Batch]) -> dict[Part, list[float]]:
        """One step. Returns, for each part, the summed loss, how many predictions were right, and how many
        there were, of the targets that decide."""
        settings = self.settings
        rate = min(1.0, (self.step + 1) / settings.warm_up)
        rate *= min(1.0, max(0.02, (1 - self.progress) / (1 - settings.flat)))
        total = sum(float(batch.weights.sum()) for batch in step)
        counted = torch.zeros(len(Part), 3, dtype=torch.float64)
        for batch in step[self.share.rank :: self.share.size]:
            hidden = self.model(batch.ids, batch.positions, batch.mask)
            chosen = batch.weights > 0
            targets, parts = batch.targets[chosen], batch.parts[chosen]
            logits = self.model.logits(hidden[chosen])
            losses = functional.cross_entropy(logits, targets, reduction="none")
            loss = (losses * batch.weights[chosen]).sum() / total
            loss.backward()  # type: ignore[no-untyped-call]
            right = logits.detach().argmax(-1) == targets
            told = torch.stack([losses.detach(), right, torch.ones_like(losses)], 1).double()
            decides = batch.decides[chosen]
            counted.index_add_(0, parts[decides], told[decides])
        gradients = [
            parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
            for parameter in self.model.parameters()
        ]
        self.share.sum(gradients)
        for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
            parameter.grad = gradient
        self.share.sum([counted])
        self.tokens += sum(batch.size for batch in step)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.muon.step(settings.muon_rate * rate)
        for group in self.adam.param_groups:
            group["lr"] = settings.adam_rate * rate
        self.adam.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        return {part: counted[part].tolist() for part in Part}


def train(
    out: Path, settings: NanoSettings, shape: Shape, begin: Path | None = None, lesson: int = 0
) -> None:
    """Run to the end, or on from where an earlier call stopped.

    ``begin`` is an earlier run's snapshot whose weights and tokenizer a new run begins with, at ``lesson``.
    """
    out.mkdir(parents=True, exist_ok=True)
    if begin is not None:
        shutil.copy(begin / "tokenizer.json", out / "tokenizer.json")
    _tokenizer(out / "tokenizer.json")
    if settings.processes == 1:
        _learn(0, out, settings, shape, begin, lesson)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        arguments = (out, settings, shape, begin, lesson, meeting, os.getpid())
        spawn(_learn, arguments, nprocs=settings.processes)  # type: ignore[no-untyped-call]


def _learn(
    rank: int,
    out: Path,
    settings: NanoSettings,
    shape: Shape,
    begin: Path | None,
    lesson: int,
    meeting: str = "",
    parent: int = 0,
) -> None:
    """One process's part of a run: the first of them also writes what is kept of it."""
    torch.set_num_threads(settings.threads)
    if meeting:
        distributed.init_process_group("gloo", meeting, rank=rank, world_size=settings.processes)
    run = NanoRun(out, settings, shape, Share(rank, settings.processes))
    writes = rank == 0
    if run.resume():
        if writes:
            print(f"resumed at step {run.step}")
    elif begin is not None:
        load_weights(run.model, begin)
        run.lesson = lesson
    begun = time.perf_counter() - run.seconds
    for chunk in run.chunks():
        if parent and os.getppid() != parent:
            raise SystemExit("the run was ended")
        lesson_of_chunk = run.lesson
        for step in chunk:
            before = int(run.progress * settings.snapshots)
            for part, numbers in run.learn(step).items():
                run.sums[part] = [a + b for a, b in zip(run.sums[part], numbers, strict=True)]
            run.seconds = time.perf_counter() - begun
            if run.step % LOG_EVERY == 0:
                _report(run, shown=writes)
                go_on(run)
                run.sums = _nothing()
            if (share := int(run.progress * settings.snapshots)) != before and writes:
                export(run.model, run.tokenizer, out / "snapshots" / f"{share:03d}")
            if run.lesson != lesson_of_chunk:
                break  # what is left of the chunk is of the lesson before
        if run.progress >= 1:
            break
        if run.chunk % 4 == 0 and writes:
            run.save()
    if meeting:
        distributed.barrier()  # none hangs up while another still reads what it sent
        distributed.destroy_process_group()
    if not writes:
        return
    run.save()
    export(run.model, run.tokenizer, out / "final")
    try:
        plot(run.log, out / "loss.png")
    except ImportError:
        print("no loss plot: install matplotlib for one")


def plot(log: list[dict[str, Any]], path: Path) -> None:
    """Draw the loss of each part along the run, with the lessons' beginnings; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for part in Part:
        points = [
            (line["tokens"] / 1e6, line[name]["loss"]) for line in log if (name := part.name.lower()) in line
        ]
        if points:
            axes.plot(*zip(*points, strict=True), label=part.name.lower(), linewidth=1)
    for before, after in pairwise(log):
        if before["lesson"] != after["lesson"]:
            axes.axvline(after["tokens"] / 1e6, color="gray", linestyle=":", linewidth=1)
    axes.set(xlabel="million tokens", ylabel="loss (nats a token)", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=100)


def _report(run: NanoRun, shown: bool) -> None:
    line: dict[str, Any] = {
        "step": run.step,
        "tokens": run.tokens,
        "seconds": round(run.seconds),
        "lesson": LESSONS[run.lesson].name,
    }
    for part, (loss, right, count) in run.sums.items():
        if count:
            line[part.name.lower()] = {"loss": round(loss / count, 4), "accuracy": round(right / count, 4)}
    run.log.append(line)
    if not shown:
        return
    told = "  ".join(
        f"{part.name.lower()} {loss / count:.3f}/{right / count:.3f}"
        for part, (loss, right, count) in run.sums.items()
        if count
    )
    rate = run.tokens / max(run.seconds, 1e-9)
    left = (run.settings.tokens - run.tokens) / rate / 60
    print(
        f"{run.progress:6.1%}  step {run.step}  {run.tokens / 1e6:.2f}M tokens  {rate:.0f}/s  "
        f"{left:.0f} min left  {LESSONS[run.lesson].name}: {told}",
        flush=True,
    )


def go_on(run: NanoRun) -> None:
    """To the next lesson, if this one is learned or its patience is at an end."""
    lesson = LESSONS[run.lesson]
    part, goal = lesson.passed
    _, right, count = run.sums[part]
    learned = count and right / count > goal
    if (learned or run.step - run.begun >= lesson.patience) and run.lesson + 1 < len(LESSONS):
        run.lesson += 1
        run.begun = run.step


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder for checkpoints, log and the finished model")
    for name, default in asdict(NanoSettings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    for name in ("width", "layers", "heads", "feedforward"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Shape(), name))
    parser.add_argument("--begin", type=Path, help="a snapshot of an earlier run to begin with")
    parser.add_argument("--lesson", type=int, default=0, help="the lesson to begin with")
    options = vars(parser.parse_args())
    out, begin, lesson = (options.pop(name) for name in ("out", "begin", "lesson"))
    sizes = {name: options.pop(name) for name in ("width", "layers", "heads", "feedforward")}
    train(out, NanoSettings(**options), Shape(**sizes), begin, lesson)


if __name__ == "__main__":
    main()
