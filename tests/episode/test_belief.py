from __future__ import annotations

import math

import pytest

from igpo_gym.episode import Belief


def test_the_belief_is_that_of_the_best_alias() -> None:
    belief = Belief((math.log(0.2), math.log(0.5), math.log(0.1)))
    assert belief.log_prob == math.log(0.5)
    assert belief.prob == pytest.approx(0.5)


def test_aliases_are_reduced_to_one() -> None:
    belief = Belief((math.log(0.2), math.log(0.5), math.log(0.1)))
    assert belief.reduced() == belief.reduced("max") == math.log(0.5)
    assert belief.reduced("first") == math.log(0.2)
    assert belief.reduced("logsumexp") == pytest.approx(math.log(0.8))
