"""Episodes that begin alike are read once, and teach what they teach apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from igpo_gym.agents.rollouts.tokens import TokenRow
from igpo_gym.agents.training.batches import Sample, grouped, micro_batches, minibatches, samples, turns_of
from igpo_gym.agents.training.estimators import Split, Turns
from igpo_gym.agents.training.logits import log_probs
from igpo_gym.agents.training.loss import learn
from igpo_gym.episode import Answer, EndReason, Episode, Invalid, Question, Turn
from igpo_gym.rewards import resolve_reward
from igpo_gym.tools import search_call
from tests.agents.training.test_loss import CPU, LAYOUTS_READ, SETTINGS, make_rows, make_samples, packed_model

PROMPT, FIRST = [5, 6, 7, 8, 9, 10], [50, 51, 52]
EPISODES = [
    [*PROMPT, *FIRST, 20, 21, 60, 61],
    [*PROMPT, *FIRST, 20, 21, 60, 62, 63],
    [*PROMPT, 50, 70, 22, 80],
    [*PROMPT, *FIRST, 20, 21, 60, 61],
    [1, 2, 90],
]
"""The prompts are environments' words; 50 and above are the agent's, in one or two turns."""
TOKENS = len(EPISODES[0]) + 2 + 3 + 3
"""How many stand in a row: the second adds 62 and 63, the third all after 50, the fourth nothing."""


def group() -> list[Sample]:
    draw = np.random.default_rng(0)
    rows, splits = [], []
    for ids in map(np.array, EPISODES):
        agent = ids >= 50
        begins = agent & ~np.append(False, agent[:-1])
        turn = np.where(agent, np.cumsum(begins), 0)
        sampled = np.where(agent, draw.normal(-6, 0.3, len(ids)), np.nan).astype(np.float32)
        rows.append(TokenRow(ids, sampled, turn))
        splits.append(Split((0.0,) * (int(turn.max()) - 1), 0.0))
    turns = Turns.of(splits, [0] * len(rows))
    bounds = np.full(len(turns), 0.2)
    return samples(rows, turns, draw.normal(size=len(turns)), (bounds, bounds), "token-mean")


def test_what_episodes_begin_with_alike_stands_in_a_row_once() -> None:
    (batch,) = micro_batches(group(), TOKENS, CPU)
    assert len(batch.ids) == TOKENS
    assert batch.targets.tolist() == [token for ids in EPISODES for token in ids if token >= 50]
    read = [ids[at - 1] for ids in EPISODES for at, token in enumerate(ids) if token >= 50]
    assert batch.ids[batch.places].tolist() == read
    assert [len(each.ids) for each in micro_batches(group(), TOKENS - 1, CPU)] == [TOKENS - 3, 3]


def test_episodes_that_share_nothing_count_in_full() -> None:
    whole = sum(map(len, EPISODES))
    assert len(grouped(group(), whole, shared=False)) == 1
    assert list(map(len, grouped(group(), whole - 1, shared=False))) == [4, 1]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_episodes_in_a_row_teach_what_they_teach_apart(temperature: float) -> None:
    told, after = [], []
    settings = replace(SETTINGS, epochs=2, kl_coef=0.3, entropy_coef=0.1, temperature=temperature)
    for tokens in (1000, 1):
        model, reference = packed_model(), packed_model()
        with torch.no_grad():
            reference.lm_head.weight.mul_(1.1)
        batches = micro_batches(group(), tokens, CPU)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        told.append(
            learn(
                model,
                optimizer,
                [batches],
                settings,
                lambda batch, m=reference: log_probs(m, batch, temperature),
            )
        )
        after.append(list(model.parameters()))
        assert len(batches) == {1000: 1, 1: len(EPISODES)}[tokens]
    assert told[0] == pytest.approx(told[1], rel=1e-4, abs=1e-6)
    assert all(torch.allclose(a, b, atol=2e-6) for a, b in zip(*after, strict=True))


def test_turns_of_episodes_have_their_groups_and_states() -> None:
    episode = Episode(Question("q", "Who?", ("Grass",)), ())
    episode.end = EndReason.ANSWERED
    episode.turns = [
        Turn("zzz", Invalid("no action"), observation="what?"),
        Turn("<search>x</search>", search_call("x"), observation="found"),
        Turn("<answer>Grass</answer>", Answer("Grass")),
    ]
    zero = {"gain": 0.0, "f1": 0.0, "format-penalty": 0.0}
    episode.rewards = [zero | {"gain": 0.1, "format-penalty": -2.0}, zero | {"gain": 0.3}, zero | {"f1": 1.0}]
    turns = turns_of([[episode, episode]], resolve_reward("igpo"))
    assert turns.rewards.tolist() == pytest.approx([0.1, 0.3, -1.0] * 2)
    assert turns.groups.tolist() == [0, 0]
    assert turns.states is not None
    assert turns.states.tolist() == [0, 1, 2] * 2


@pytest.mark.parametrize("loss", ["token-mean", "sequence-mean"])
def test_weights_sum_to_1_though_the_agent_wrote_nothing_in_an_episode(loss: str) -> None:
    ids, nan = np.arange(6), np.full(6, np.nan, np.float32)
    numbers = [np.zeros(6, int), np.array([0, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 1, 1])]
    rows = [TokenRow(ids, np.where(own, -1.0, nan).astype(np.float32), own) for own in numbers]
    turns = Turns.of([Split((), None), Split((), 1.0), Split((), 0.0)], [0, 0, 0])
    bounds = np.full(len(turns), 0.2)
    made = samples(rows, turns, np.zeros(len(turns)), (bounds, bounds), loss)
    expected = [0, 1 / 3, 2 / 3] if loss == "token-mean" else [0, 0.5, 0.5]
    assert [float(each.weights.sum()) for each in made] == pytest.approx(expected)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_minibatches_hold_each_episode_once_with_weights_of_their_own(parts: int) -> None:
    episodes = make_samples(make_rows(packed_model()))
    made = minibatches(episodes, parts, (0, 7))
    assert [len(part) for part in made] == {1: [3], 2: [2, 1], 3: [1, 1, 1]}[parts]
    assert sorted(len(each.ids) for part in made for each in part) == sorted(map(len, LAYOUTS_READ))
    for part in made:
        assert sum(float(each.weights.sum()) for each in part) == pytest.approx(1)
    again = minibatches(episodes, parts, (0, 7))
    same = [a.ids is b.ids for x, y in zip(made, again, strict=True) for a, b in zip(x, y, strict=True)]
    assert all(same)
