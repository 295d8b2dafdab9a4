from __future__ import annotations

import math

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.costs import Meter, Spent
from igpo_gym.agents.rollouts.estimates import Piece, forecast, played, probe
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble


def test_a_part_of_a_run_tells_what_the_whole_takes() -> None:
    config = EnvConfig(questions="world:test#documents=60,questions=20", scorer=None, reward="outcome-f1")
    questions, engine = assemble(config)
    expert = resolve_policy("expert", questions, engine.protocol)
    half = probe(played(engine, expert, questions.questions[:10], 2, Meter()), Meter())
    assert [piece.units for piece in half] == [2] * 5
    meter = Meter()
    found = forecast(probe(played(engine, expert, questions.questions[:10], 2, meter), meter), 20)
    turns = sum(len(each.turns) for each in collect(engine, expert, questions.questions[:20]))
    assert abs(found["messages"].value - turns) <= 0.25 * turns
    assert found["searches"].value == found["messages"].value - 20  # the last message of each answers


def test_the_interval_is_that_of_the_pieces() -> None:
    pieces = [Piece(2, Spent(messages=2 * each)) for each in (3, 4, 5, 4, 4)]
    found = forecast(pieces, 10)["messages"]
    # By hand: mean 4, standard error sqrt(0.5 / 5), Student's t of 4 degrees 2.776.
    assert found.value == 40
    assert math.isclose(found.high, 10 * (4 + 2.776 * math.sqrt(0.1)), rel_tol=0.05)
    assert math.isnan(forecast(pieces[:4], 10)["messages"].low)


def test_a_probe_ends_with_its_time() -> None:
    ticks = iter((0.0, 4.0, 11.0, 12.0))
    assert len(probe([1, 1, 1], Meter(), 10.0, lambda: next(ticks))) == 2
