"""Runs of the study that are made up, for what reads them."""

from __future__ import annotations

from collections.abc import Sequence

from igpo_gym.benchmark.study.records import StudyRun
from igpo_gym.benchmark.study.rows import ARMS, RATES
from igpo_gym.benchmark.training.outcomes import Outcome, Variant

HOPS = (1, 2, 3, 4)


def run(
    arm: str,
    seed: int,
    end: float,
    part: int = 2,
    rate: float = RATES[0],
    tokens: Sequence[int] = (0, 100, 200),
) -> StudyRun:
    """A run that goes from 0.1 to ``end`` in a straight line over its validations."""
    heights = [0.1 + (end - 0.1) * place / (len(tokens) - 1) for place in range(len(tokens))]
    curve = tuple(
        {
            "update": 25 * place,
            "tokens": at,
            "seconds": 100.0 * place,
            "validation_f1": height,
            "validation_em": height - 0.05,
            "validation_guessed": 0.01 * place,
            "validation_forged": 0.02 * place,
            **{f"validation_f1_hops_{hops}": height - 0.01 * hops for hops in HOPS},
        }
        for place, (at, height) in enumerate(zip(tokens, heights, strict=True))
    )
    made = ARMS[arm]
    outcome = Outcome(Variant(made.reward, made.advantages), seed, curve, {"collapsed_groups": 0.25})
    return StudyRun(
        f"{arm}{seed}{part}{rate:g}", part, arm, seed, rate, "igpo-gym train x", 900.0, 5.0, "abc", outcome
    )


def arm(name: str, ends: Sequence[float], part: int = 2) -> list[StudyRun]:
    """A run for each end, with the seeds 0, 1, ..."""
    return [run(name, seed, end, part) for seed, end in enumerate(ends)]
