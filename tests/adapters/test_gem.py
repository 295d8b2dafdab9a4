from __future__ import annotations

import pytest

pytest.importorskip("gem", reason="GEM is not installed")

import gem
import gymnasium as gym
import numpy as np

from igpo_gym.adapters.gem import ENVIRONMENTS, SearchQA
from igpo_gym.errors import ScoringError
from igpo_gym.protocols import TAGS
from tests.adapters.episodes import settings
from tests.conftest import QUESTIONS
from tests.envs.test_vector import Flaky


def test_every_environment_is_registered_under_its_name() -> None:
    for name in ENVIRONMENTS:
        env = gem.make(f"qa:{name}", questions="world#documents=60,questions=10", scorer=None, reward="f1")
        twin = gym.make(name, questions="world#documents=60,questions=10", scorer=None, reward="f1")
        assert env.reset(seed=3)[0] == twin.reset(seed=3)[0]


def test_the_first_reset_takes_the_seed_that_it_was_made_with() -> None:
    given = settings(TAGS)
    seeded, plain = SearchQA(seed=4, **given), SearchQA(**given)
    first, second = plain.reset(seed=4)[0], plain.reset()[0]
    assert [seeded.reset()[0], seeded.reset()[0]] == [first, second]


def test_a_seed_whose_reset_failed_is_not_taken() -> None:
    scorer = Flaky()
    seeded, plain = SearchQA(seed=4, **settings(TAGS, scorer=scorer)), SearchQA(**settings(TAGS))
    scorer.fails_at = 1
    with pytest.raises(ScoringError, match="blinked"):
        seeded.reset()
    assert [seeded.reset()[0], seeded.reset()[0]] == [plain.reset(seed=4)[0], plain.reset()[0]]


@pytest.mark.parametrize("threads", [False, True])
def test_a_vector_of_environments_plays_as_each_of_them_alone(threads: bool) -> None:
    given = settings(TAGS)
    envs = gem.make_vec(["qa:SearchQA-v0"] * 6, async_mode=threads, seed=7, **given)
    prompts, _ = envs.reset(seed=7)
    alone = [SearchQA(**given) for _ in range(6)]
    assert prompts == [env.reset(seed=7 + place)[0] for place, env in enumerate(alone)]
    for message in ("<search>Grass</search>", "no action", "<answer>Danzig</answer>"):
        observations, rewards, terminated, _, _ = envs.step([message] * 6)
        steps = [env.step(message) for env in alone]
        # GEM begins the next episode in the step that ends one.
        assert observations == [
            env.reset()[0] if step[2] else step[0] for env, step in zip(alone, steps, strict=True)
        ]
        assert rewards == pytest.approx([step[1] for step in steps])
        assert np.array_equal(terminated, [step[2] for step in steps])


def test_a_spawned_environment_goes_on_from_the_same_point() -> None:
    env = SearchQA(**settings(TAGS))
    env.reset(seed=1)
    env.step("<search>Grass</search>")
    twin, fresh = env.spawn(same_state=True), env.spawn(max_turns=1)
    assert twin.step("<search>Danzig</search>")[:2] == env.step("<search>Danzig</search>")[:2]
    fresh.reset(seed=1)
    assert fresh.step("<search>Grass</search>")[3]
    assert isinstance(env.sample_random_action(), str)


def test_a_spawned_environment_has_the_seed_and_the_questions_to_come() -> None:
    env = SearchQA(seed=4, **settings(TAGS, questions=list(QUESTIONS)))
    first = env.reset()[0]
    twin, fresh = env.spawn(same_state=True), env.spawn()
    assert fresh.reset()[0] == first
    assert [twin.reset()[0] for _ in range(4)] == [env.reset()[0] for _ in range(4)]
