"""The episodes whose turns a variant misprices most, as recordings to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from igpo_gym.agents.rollouts.records import record_line
from igpo_gym.benchmark.credit.examples import mispriced
from igpo_gym.benchmark.credit.run import TURN_NUMBER, CreditResult
from igpo_gym.benchmark.credit.trajectories import Trajectory
from igpo_gym.rewards.relabel import relabel
from igpo_gym.scorers.interface import AnswerScorer

KEPT = 3
"""How many turns of either kind are taken of each variant."""

RECORDS, REWARDS = "mispriced.jsonl", "mispriced-rewards.jsonl"


def mispriced_files(result: CreditResult, scorer: str | AnswerScorer | None) -> dict[str, str]:
    """The texts of two files, by name: records of the episodes, and what every variant pays their turns.

    Both are what ``igpo-gym view`` takes. Beside each turn stand the oracle's label, and the variants that
    misprice it most. The beliefs are the scorer's; None: there are none.
    """
    wrong: dict[tuple[str, str, int], dict[int, list[str]]] = {}
    for name in (each for each in result.plays if each != TURN_NUMBER):
        for example in (each for half in mispriced(result.plays[name], KEPT) for each in half):
            turns = wrong.setdefault(example.trajectory.key, {})
            turns.setdefault(example.turn, []).append(f"{name} ({example.pay:+.3f})")
    chosen = [
        (attempt, each)
        for group in result.questions
        for attempt, each in enumerate(group)
        if each.key in wrong
    ]
    episodes = [replace(each.episode, attempt=attempt) for attempt, each in chosen]
    if scorer is not None:
        episodes = [priced.episode for priced in relabel(episodes, ["gain"], scorer, partial=True)]
    records = [
        record_line(
            {**result.settings, "agent": each.agent},
            replace(episode, rewards=[], measured=_labels(each, wrong[each.key])),
        )
        for episode, (_, each) in zip(episodes, chosen, strict=True)
    ]
    paid = list(_paid(result, chosen))
    return {RECORDS: "".join(records), REWARDS: "".join(json.dumps(line) + "\n" for line in paid)}


def _labels(trajectory: Trajectory, wrong: dict[int, list[str]]) -> list[dict[str, Any]]:
    """What is said of the prompt, and of each turn."""
    pieces = len(trajectory.episode.question.evidence)
    told: list[dict[str, Any]] = [{}]
    for turn, label in enumerate(trajectory.labels, 1):
        said = {"oracle": f"{label.label}, {label.known} of {pieces} known"}
        told.append(said | ({"mispriced by": ", ".join(wrong[turn])} if turn in wrong else {}))
    return told


def _paid(result: CreditResult, chosen: list[tuple[int, Trajectory]]) -> Iterator[dict[str, Any]]:
    """A line for each episode, as ``igpo-gym relabel`` writes them: the pay beside the outcome."""
    pays = {
        name: {play.trajectory.key: play.shaping.tolist() for group in groups for play in group}
        for name, groups in result.plays.items()
        if name != TURN_NUMBER
    }
    for attempt, each in chosen:
        yield {
            "question_id": each.episode.question.id,
            "attempt": attempt,
            "rewards": {
                name: {"return": sum(own[each.key]), "turns": [{name: value} for value in own[each.key]]}
                for name, own in pays.items()
                if each.key in own
            },
        }
