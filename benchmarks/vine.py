"""Do igpo's gains rank turns as vine's values do, and what does each of the two cost?

nano plays questions of its world. Each search of an episode is then paid twice: by ``igpo``, with the change
of nano's own belief, and by ``vine``, with the change of the mean F1 of K completions that nano samples. The
rank correlation of the two, among turns of equal number, stands beside that of two independent halves of the
completions: vine's own noise bounds what anything can reach. An interrupted run keeps what it had; the same
command goes on from there.

    python benchmarks/vine.py values.jsonl
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.resumed import ResumedFile
from igpo_gym.config import EnvConfig
from igpo_gym.envs.completions import Completions
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Question
from igpo_gym.lm.policy import Sampling
from igpo_gym.scorers import resolve_scorer
from igpo_gym.statistics import CORRELATION, Estimate, Sample, estimate, ratio, stratified_rank_correlation


def measured(questions: Iterable[Question], config: EnvConfig, half: int) -> Iterator[dict[str, Any]]:
    """Play an episode on each question and value its states; yields what is found, as JSON values."""
    question_set, engine = assemble(config)
    scorer: Any = resolve_scorer(config.scorer)
    player, *halves = (
        resolve_policy("nano", question_set, engine.protocol, Sampling(seed=seed)) for seed in range(3)
    )
    for question in questions:
        began, read, written = time.process_time(), scorer.stats.tokens_forwarded, _tokens(player)[0]
        (episode,) = collect(engine, player, [question], 1)
        spent = {
            "played": _tokens(player)[0] - written,
            "igpo_read": scorer.stats.tokens_forwarded - read,
            "play_seconds": time.process_time() - began,
        }
        states = [(episode, turn) for turn in range(len(episode.turns))]
        began, before = time.process_time(), [_tokens(policy) for policy in halves]
        values = [Completions(engine, policy, half).measure(states) for policy in halves]
        sampled, reread = np.subtract([_tokens(policy) for policy in halves], before).sum(axis=0).tolist()
        yield {
            "question_id": question.id,
            "beliefs": [belief.prob for belief in episode.beliefs[: len(states)]],
            "values": values,
            "vine_sampled": sampled,
            "vine_read": reread,
            "vine_seconds": time.process_time() - began,
            **spent,
        }


def _tokens(policy: Any) -> tuple[int, int]:
    return policy.stats.tokens_sampled, policy.stats.tokens_read


def sample(line: dict[str, Any]) -> Sample:
    """Of each search: igpo's gain, what either half of vine's completions says, both together, its number."""
    gains, *halves = (np.diff(each) for each in (line["beliefs"], *line["values"]))
    return gains, *halves, np.mean(halves, axis=0), np.arange(1.0, len(gains) + 1)


def main() -> None:
    """Measure what is missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=120, help="one on each question")
    parser.add_argument(
        "--completions", type=int, default=32, help="of a state, in two halves; an even number"
    )
    parser.add_argument("--questions", default="world:test")
    asked = parser.parse_args()
    if asked.completions < 2 or asked.completions % 2:
        parser.error("--completions must be an even number: they are divided into halves")
    config = EnvConfig(questions=asked.questions, scorer="nano", reward="igpo")
    lines: list[dict[str, Any]] = []
    made = {"questions": asked.questions, "completions": asked.completions}
    with ResumedFile(asked.out, made, lines.append) as file:
        question_set, _ = assemble(replace(config, scorer=None, reward="outcome-f1"))
        left = question_set.questions[file.done : asked.episodes]
        for line in measured(left, config, asked.completions // 2):
            file.write(line)
            lines.append(line)
            print(f"{file.done} of {asked.episodes}, {line['vine_seconds']:.1f} CPU seconds", flush=True)
    _tell(lines, asked.completions)


def _tell(lines: list[dict[str, Any]], completions: int) -> None:
    samples = [found for found in map(sample, lines) if len(found[0])]
    pairs = {
        f"igpo, with vine's {completions} completions": (0, 3),
        f"igpo, with {completions // 2} of them": (0, 1),
        f"vine's {completions // 2}, with the other {completions // 2}": (1, 2),
    }
    turns = sum(len(found[0]) for found in samples)
    table = Table("rank correlation among turns of equal number", "", "95% interval")
    for what, (one, other) in pairs.items():
        found = estimate(
            [(each[one], each[other], each[4]) for each in samples], stratified_rank_correlation, CORRELATION
        )
        table.add_row(what, *_cells(found))
    best = Estimate(_ceiling(found.value), _ceiling(found.low), _ceiling(found.high), found.units)
    table.add_row(f"the exact value, with vine's {completions} (its ceiling)", *_cells(best))
    cost = Table("a turn with a gain costs", "sampled tokens", "read tokens")
    for what, names in {"igpo": (None, "igpo_read"), "vine": ("vine_sampled", "vine_read")}.items():
        totals = [sum(line[name] for line in lines) / turns if name else 0 for name in names]
        cost.add_row(what, *(f"{each:.0f}" for each in totals))
    console = Console(width=110)
    console.print(table, cost)
    tokens = [(np.array([line["vine_sampled"]]), np.array([line["played"]])) for line in lines]
    seconds = [sum(line[f"{name}_seconds"] for line in lines) for name in ("play", "vine")]
    print(
        f"{len(lines)} episodes, {turns} turns with a gain; vine samples "
        f"{ratio(*map(np.concatenate, zip(*tokens, strict=True))):.1f} times the tokens of the episodes; CPU "
        f"seconds: {seconds[0]:.0f} for play and beliefs, {seconds[1]:.0f} for completions"
    )


def _ceiling(halves: float) -> float:
    """What the exact value would reach with the mean of two halves, by Spearman and Brown."""
    return math.sqrt(2 * halves / (1 + halves)) if halves > 0 else math.nan


def _cells(found: Estimate) -> tuple[str, str]:
    return f"{found.value:.2f}", f"{found.low:.2f} to {found.high:.2f}"


if __name__ == "__main__":
    main()
