from __future__ import annotations

from itertools import pairwise

import pytest

from igpo_gym.agents.rollouts.summary import Values, summarize
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import EndReason
from tests.conftest import play


def test_the_values_of_two_episodes_by_hand(engine: Engine) -> None:
    first = play(
        engine,
        1,
        "<search>Günter Grass writer</search>",
        "<search>Günter Grass born</search>",
        "<answer>Danzig</answer>",
    )
    second = play(engine, 2, "hm", "<answer>Vistula</answer>")
    summary = summarize([first, second])
    assert summary.exact_matches == [1.0, 0.0]
    assert summary.f1s == [1.0, 0.0]
    assert summary.questions == ["q-birth", "q-river"]
    assert summary.tool_turns == [2, 0]
    assert summary.returns == pytest.approx([1.0 + first.beliefs[-1].prob - 0.1, -2.0])
    assert summary.beliefs[0] == Values([pytest.approx(0.1)] * 2, ["q-birth", "q-river"])
    assert [len(found.values) for _, found in sorted(summary.beliefs.items())] == [2, 2, 1]
    # The first search finds a gold passage, the second only what was there.
    gains = [after.prob - before.prob for before, after in pairwise(first.beliefs[:3])]
    assert gains[0] != gains[1]
    assert summary.gains == {
        "new evidence": Values([pytest.approx(gains[0])], ["q-birth"]),
        "no new evidence": Values([pytest.approx(gains[1])], ["q-birth"]),
    }


def test_a_state_that_the_scorer_could_not_read_is_no_figure(engine: Engine) -> None:
    episode = play(engine, 1, "<search>Günter Grass writer</search>", "<search>born</search>", "hm")
    episode.extra["unread"] = [2, 3]
    summary = summarize([episode])
    assert sorted(summary.beliefs) == [0, 1]
    assert [len(found.values) for found in summary.gains.values()] == [1]


def test_what_was_aborted_is_neither_right_nor_wrong(engine: Engine) -> None:
    """It has beliefs, but no outcome that a mean could count."""
    episode = play(engine, 1, "<search>Günter Grass writer</search>", "hm")
    episode.end = EndReason.ABORTED
    other = play(engine, 2, "<answer>Vistula</answer>")
    summary = summarize([episode, other])
    assert summary.questions == ["q-birth", "q-river"]
    assert summary.scored == ["q-river"]
    assert summary.exact_matches == summary.f1s == [0.0]
    assert summary.returns == [other.total_reward]
    assert len(summary.beliefs[0].values) == 2
