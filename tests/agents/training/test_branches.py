"""Training on rollouts that branch: a shared turn is learned from once, by the mean of its leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from igpo_gym.agents.rollouts.branches import Leaf, grouped, owners
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.agents.training.batches import own_turns, turns_of
from igpo_gym.agents.training.estimators import Split, Turns, over_leaves, resolve_estimator
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import SpecError
from tests.agents.training.test_trainer import SMALL


def test_a_shared_turn_has_the_mean_advantage_of_its_leaves() -> None:
    # Three leaves: the second and third left the first after its first turn.
    splits = [Split((0.2, 0.1), 1.0), Split((0.2,), 0.0), Split((0.2,), None)]
    turns = Turns.of(splits, ["q", "q", "q"])
    shared = np.array([0, 1, 2, 0, 4, 0, 6])
    advantages = resolve_estimator("grpo")(turns)
    assert advantages.tolist() == pytest.approx([1, 1, 1, -1, -1, 0, 0], abs=1e-4)
    # The aborted leaf is no member of the mean: (1 - 1) / 2.
    assert over_leaves(turns, advantages, shared).tolist() == pytest.approx([0, 1, 1, 0, -1, 0, 0], abs=1e-4)


def test_a_run_learns_from_every_turn_once(tmp_path: Path) -> None:
    run = Run(tmp_path, Settings(**{**SMALL, "group_size": 2, "batch_questions": 2, "branch": "even:2"}))
    episodes = run.rollouts()
    groups = grouped(episodes, 6)
    assert [[each.attempt for each in group] for group in groups] == [[0, 1, 2, 3, 4, 5]] * 2
    assert [[each.branch is None for each in group] for group in groups] == [[True] * 2 + [False] * 4] * 2
    rows = own_turns([token_rows(each, run.framing) for each in episodes], episodes)
    learned = {
        (number, turn) for number, row in enumerate(rows) for turn in np.unique(row.turn[row.mask]).tolist()
    }
    own = {
        (number, turn)
        for number, each in enumerate(episodes)
        for turn in range(1 + (each.branch.turn if each.branch else 0), len(each.turns) + 1)
    }
    assert learned == own
    turns = turns_of(groups, run.engine.reward)
    assert turns.groups.tolist() == [0] * 6 + [1] * 6
    leaves = [Leaf.of(number, each) for number, group in enumerate(groups) for each in group]
    assert len(np.unique(owners(leaves))) == len(own)
    written = sum(int(row.mask.sum()) for row in rows)
    whole = sum(int(token_rows(each, run.framing).mask.sum()) for each in episodes)
    assert written < whole
    metrics = run.update()
    assert metrics["tokens"] > 0


def test_branches_by_belief_need_a_scorer() -> None:
    with pytest.raises(SpecError, match="branches by belief need a scorer"):
        Settings(branch="belief:2", reward="outcome-f1", advantages="grpo", scorer=None)
    with pytest.raises(SpecError, match="write belief:2 or even:2"):
        Settings(branch="belief")
