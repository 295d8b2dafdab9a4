from __future__ import annotations

import numpy as np
import torch

from igpo_gym.adapters.candidates import CandidateActor, CandidateCritic
from igpo_gym.envs.candidates import CANDIDATE_FEATURES, TURN_FEATURES, candidates
from tests.conftest import PASSAGES, QUESTIONS
from tests.envs.test_candidates import search

SLOTS = 6


def observation(order: list[int] | None = None, slots: int = SLOTS) -> torch.Tensor:
    """A moment with four candidates in six slots, the slots in another order if wished."""
    found = candidates(QUESTIONS[1].text, [search("Tin Drum", PASSAGES[3], PASSAGES[0])], slots, 4)
    features = found.features if order is None else found.features[order]
    return torch.as_tensor(np.concatenate([features.ravel(), found.turn_features]))


def test_candidates_that_change_places_take_their_logits_along() -> None:
    torch.manual_seed(0)
    actor, critic = CandidateActor(8), CandidateCritic(8)
    order = [2, 0, 5, 1, 4, 3]
    plain, moved = actor(observation()), actor(observation(order))
    assert plain.shape == (2 * SLOTS + 1,)
    assert moved[0] == plain[0]
    torch.testing.assert_close(moved[1 : SLOTS + 1], plain[1 : SLOTS + 1][order])
    torch.testing.assert_close(moved[SLOTS + 1 :], plain[SLOTS + 1 :][order])
    torch.testing.assert_close(critic(observation()), critic(observation(order)))


def test_empty_slots_change_nothing() -> None:
    torch.manual_seed(0)
    actor, critic = CandidateActor(8), CandidateCritic(8)
    few, many = actor(observation(slots=4)), actor(observation(slots=9))
    torch.testing.assert_close(many[1:5], few[1:5])
    torch.testing.assert_close(critic(observation(slots=4)), critic(observation(slots=9)))


def test_any_batch_dimensions_will_do() -> None:
    batch = observation().expand(3, 2, -1)
    assert batch.shape[-1] == SLOTS * len(CANDIDATE_FEATURES) + len(TURN_FEATURES)
    assert CandidateActor(8)(batch).shape == (3, 2, 2 * SLOTS + 1)
    assert CandidateCritic(8)(batch).shape == (3, 2, 8)
