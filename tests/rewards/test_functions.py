from __future__ import annotations

import math

import pytest

import igpo_gym.specs as specs
from igpo_gym.episode import Answer, Belief, EndReason, Episode, Invalid, Question, Segment, Turn
from igpo_gym.errors import SpecError
from igpo_gym.rewards import PRESETS, TERMS, RewardFunction, RewardTerm, curriculum, resolve_reward
from igpo_gym.rewards.functions import RECIPES

SEGMENT = Segment("agent", "assistant", "m")


def episode() -> Episode:
    """An invalid message that raised the belief from 0.2 to 0.5, then the right answer."""
    played = Episode(Question("1", "Who?", ("Grass",)), (SEGMENT,))
    played.append(Turn("m", Invalid("no"), (SEGMENT, SEGMENT)))
    played.append(Turn("m", Answer("Günter Grass"), (SEGMENT,)), EndReason.ANSWERED)
    played.beliefs = [Belief((math.log(0.2),)), Belief((math.log(0.5),))]
    return played


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("igpo", 0.3 - 2.0, 2 / 3),
        ("igpo-logprob", math.log(2.5) - 2.0, 2 / 3),
        ("outcome-f1", 0.0, 2 / 3),
        ("outcome-em", 0.0, 0.0),
    ],
)
def test_presets_by_hand(name: str, first: float, last: float) -> None:
    paid = [sum(PRESETS[name].price(episode(), turn).values()) for turn in (1, 2)]
    assert paid == pytest.approx([first, last])


def test_every_term_is_reported_by_name() -> None:
    assert PRESETS["igpo"].price(episode(), 1) == pytest.approx(
        {"gain": 0.3, "f1": 0.0, "format-penalty": -2.0}
    )


def test_a_reward_needs_what_its_terms_need() -> None:
    assert {name: set(reward.needs) for name, reward in PRESETS.items() if reward.needs} == {
        **{name: {"scorer"} for name in ("igpo", "igpo-logprob", "potential", "watermark")},
        "tips": {"reference"},
        "ig-search": {"scorer", "corpus"},
        "monte-carlo": {"policy"},
    }
    assert resolve_reward("igpo + 0.1*evidence-recall").needs == {"scorer", "evidence"}


def test_no_name_is_both_a_preset_and_a_term() -> None:
    assert not PRESETS.keys() & TERMS.keys()


@pytest.mark.parametrize(
    ("spec", "weights"),
    [
        ("f1", {"f1": 1.0}),
        (
            "igpo + 0.1*evidence-recall - 0.01*search-cost",
            {
                "gain": 1.0,
                "f1": 1.0,
                "format-penalty": -2.0,
                "evidence-recall": 0.1,
                "search-cost": -0.01,
            },
        ),
        ("2 * gain  +  f1 - 0.5*igpo", {"gain": 1.5, "f1": 0.5, "format-penalty": 1.0}),
        ("-1e-1*em", {"em": -0.1}),
        (
            "0.5*igpo(context=evidence) - gain( aliases = first ,context=full ) + 2*gain + search-cost",
            {
                "gain(context=evidence)": 0.5,
                "f1": 0.5,
                "format-penalty": -1.0,
                "gain(aliases=first)": -1.0,
                "gain": 2.0,
                "search-cost": 1.0,
            },
        ),
        ("tips(tau=0.5)", {"teacher-gain(tau=0.5)": 0.02, "f1": 1.0, "format-penalty": -2.0}),
    ],
)
def test_a_sum_is_read(spec: str, weights: dict[str, float]) -> None:
    reward = resolve_reward(spec)
    assert reward.name == spec
    assert {term.name: weight for weight, term in reward.terms} == pytest.approx(weights)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("", "unknown reward ''"),
        ("igpo+f1", "unknown reward 'igpo.f1'; choose one of: document-gain, em, "),
        ("igpo + ", "nothing beside a sign; write it like"),
        ("x*f1", "'x' is no weight"),
        ("inf*f1", "'inf' is no weight"),
        ("0.1*0.2*f1", "'0.1.0.2' is no weight"),
        ("igpo(context=evidence", "write it like gain.context=evidence."),
        ("igpo()", "has no parameters that can be read"),
        ("igpo(context=full,context=full)", "has no parameters that can be read"),
        ("igpo(context)", "has no parameters that can be read"),
        ("igpo(gamma=0.9)", "reward 'igpo' has no parameter 'gamma'; it has: aliases, context"),
        ("outcome-f1(x=1)", "reward 'outcome-f1' has no parameter 'x'; it has: metric"),
    ],
)
def test_a_sum_that_cannot_be_read_is_explained(spec: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        resolve_reward(spec)


def test_rewards_are_found_by_name() -> None:
    mine = RewardFunction("mine", ((1.0, TERMS["f1"]),))
    assert resolve_reward(mine) is mine
    assert resolve_reward("igpo") is PRESETS["igpo"]
    with pytest.raises(
        SpecError, match=r"unknown reward 'ipgo'; did you mean igpo\? Choose one of: document"
    ):
        resolve_reward("ipgo")


def test_two_terms_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two terms of one name: f1, f1"):
        RewardFunction("mine", ((1.0, TERMS["f1"]), (2.0, TERMS["f1"])))


def test_terms_of_one_name_are_added_where_they_are_alike_and_refused_where_not() -> None:
    for name in (*specs.names("term"), *RECIPES, "gain(tools=search,every=2)"):
        (weight, _), *_ = resolve_reward(f"{name} + 2*{name}").terms
        (single, _), *_ = resolve_reward(name).terms
        assert weight == pytest.approx(3 * single)

    def talk(scale: float = 1.0) -> RewardFunction:
        return RewardFunction("talk", ((1.0, RewardTerm("talk", lambda episode, turn: scale)),))

    specs.register("reward", "talk", talk)
    try:
        ((weight, _),) = resolve_reward("talk(scale=5) + talk(scale=5)").terms
        assert weight == 2.0
        with pytest.raises(SpecError, match="two unlike terms of the name 'talk'"):
            resolve_reward("talk + talk(scale=5)")
    finally:
        specs.unregister("reward", "talk")


def test_weights_add_up_to_what_a_float_holds() -> None:
    with pytest.raises(SpecError, match="a weight that no float holds, of 'f1'"):
        resolve_reward("1e308*f1 + 1e308*f1")


def test_the_curriculum_moves_weight_from_turns_to_the_outcome() -> None:
    reward = resolve_reward("igpo + 0.1*evidence-recall")
    for progress, outcome, turns in ((0.0, 0.5, 1.0), (0.5, 0.75, 0.75), (1.0, 1.0, 0.5)):
        weights = {term.name: weight for weight, term in curriculum(reward, progress).terms}
        assert weights == pytest.approx(
            {"gain": turns, "f1": outcome, "format-penalty": -2 * outcome, "evidence-recall": 0.1 * turns}
        )
    with pytest.raises(ValueError, match="progress is a number from 0 to 1, not 1"):
        curriculum(reward, 1.5)
