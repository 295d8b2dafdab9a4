"""A second future from any turn: a branch gives the numbers of an episode that was never branched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded

from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import load_world
from igpo_gym.envs import SearchQAEnv, SearchQAVectorEnv
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.loading import load_model
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.search.bm25 import BM25Index
from tests.conftest import MentionScorer, known

SEARCH = "<search>The Tin Drum novel</search>"
ONE = ("<search>Günter Grass writer</search>", "<answer>Danzig</answer>")
OTHER = ("<search>river</search>", "no tags", "<answer>Cologne</answer>")


@pytest.fixture
def settings(question_set: QuestionSet, index: BM25Index, scorer: MentionScorer) -> dict[str, Any]:
    return {"questions": question_set, "search": index, "scorer": scorer, "reward": "igpo", "max_turns": 4}


def unbranched(settings: dict[str, Any], *messages: str) -> tuple[Any, ...]:
    env = SearchQAEnv(**settings)
    env.reset(options={"question_id": "q-birth"})
    for message in messages:
        env.step(message)
    assert env.episode is not None
    return known(env.episode)


def test_branches_give_the_numbers_of_episodes_that_were_never_branched(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings)
    env.reset(options={"question_id": "q-birth"})
    env.step(SEARCH)
    branch = env.fork()
    # In turns, so that whatever one left in the other would show.
    steps = [(env.step(message), branch.step(other)) for message, other in zip(ONE, OTHER, strict=False)]
    branch.step(OTHER[2])
    assert [left[0] == right[0] for left, right in steps] == [False, False]
    for each, messages in ((env, ONE), (branch, OTHER)):
        assert each.episode is not None
        assert known(each.episode) == unbranched(settings, SEARCH, *messages)


def test_forks_are_attempts_of_their_own(settings: dict[str, Any]) -> None:
    """As in the vector form: a policy whose draws follow from the attempt says something else in each."""
    env = SearchQAEnv(**settings, group_size=2)
    numbers = set()
    for attempt in range(2):
        env.reset(options={"question_id": "q-birth"}, **({"seed": 3} if attempt == 0 else {}))
        branch = env.fork()
        forks = [env, branch, branch.fork(), env.fork(), branch.fork()]
        numbers |= {each.episode.attempt for each in forks if each.episode}
    assert numbers == set(range(10))
    env.reset(seed=3, options={"question_id": "q-birth"})
    again = env.fork().episode
    assert again is not None
    assert again.attempt == 2, "a seed gives the same numbers again"


def test_random_numbers_of_one_leave_those_of_the_other(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings)
    env.reset(seed=3)
    env.action_space.seed(3)
    branch = env.fork()
    drawn = [branch.np_random.random(), branch.action_space.sample()]
    assert drawn == [env.np_random.random(), env.action_space.sample()]


def test_an_ended_episode_has_no_fork(settings: dict[str, Any]) -> None:
    env = SearchQAEnv(**settings)
    env.reset(seed=0)
    env.step("<answer>x</answer>")
    with pytest.raises(ResetNeeded, match=r"has ended \(answered\): fork\(\) before its last step"):
        env.fork()


def test_a_vector_environment_forks_into_a_place_that_has_ended(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(3, **settings, autoreset_mode="Disabled")
    ids = ["q-birth", "q-river", "q-birth"]
    envs.reset(options={"question_id": ids})
    before, *_ = envs.step([SEARCH, "<answer>Odra</answer>", SEARCH])
    replies, infos = envs.fork(0, 1)
    assert replies == (before[0], before[0], before[2])
    assert infos["question_id"][1] == "q-birth"
    assert infos["_turn"].tolist() == [False, True, False]
    assert [each.attempt for each in envs.episodes] == [0, 1, 0]
    replies, rewards, *_, infos = envs.step([ONE[0], OTHER[0], ONE[0]])
    assert rewards[0] == rewards[2] != rewards[1]
    assert infos["turn"].tolist() == [2, 2, 2]
    envs.step([ONE[1], OTHER[1], ONE[1]])
    assert [each.done for each in envs.episodes] == [True, False, True]
    assert known(envs.episodes[0]) == unbranched(settings, SEARCH, *ONE)
    envs.fork(1, 2)  # a branch of a branch
    envs.fork(2, 0)
    assert [each.attempt for each in envs.episodes] == [3, 1, 2]
    envs.step([OTHER[2], ONE[1], "<search>Danzig</search>"])
    assert known(envs.episodes[0]) == unbranched(settings, SEARCH, *OTHER)
    assert known(envs.episodes[1]) == unbranched(settings, SEARCH, *OTHER[:2], ONE[1])
    assert known(envs.episodes[2]) == unbranched(settings, SEARCH, *OTHER[:2], "<search>Danzig</search>")


def test_a_fork_never_has_the_number_of_an_earlier_one(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(2, **settings, autoreset_mode="Disabled")
    numbers = []
    for _ in range(2):
        envs.reset(options={"question_id": ["q-birth", "q-river"]})
        seen = []
        for _ in range(3):
            envs.step([SEARCH, "<answer>Odra</answer>"])
            envs.fork(0, 1)
            seen.append(envs.episodes[1].attempt)
            mask = np.array([False, True])
            envs.reset(options={"question_id": ["q-birth", "q-river"], "reset_mask": mask})
        numbers.append(seen)
    assert numbers == [[1, 2, 3]] * 2, "a reset of all begins anew"


def test_a_wrong_fork_is_explained_and_changes_nothing(settings: dict[str, Any]) -> None:
    envs = SearchQAVectorEnv(3, **settings, autoreset_mode="Disabled")
    with pytest.raises(ResetNeeded, match="before fork"):
        envs.fork(0, 1)
    envs.reset(seed=0)
    envs.step([SEARCH, "<answer>x</answer>", "<answer>y</answer>"])
    episodes = list(envs.episodes)
    with pytest.raises(ValueError, match="environment 0 still runs"):
        envs.fork(1, 0)
    with pytest.raises(ResetNeeded, match="environment 1 has ended: fork it before its last step"):
        envs.fork(1, 2)
    with pytest.raises(ValueError, match="no environment 3: they are 0 to 2"):
        envs.fork(0, 3)
    with pytest.raises(ValueError, match="no environment -1"):
        envs.fork(-1, 1)
    assert all(one is other for one, other in zip(episodes, envs.episodes, strict=True))
    for mode in ("NextStep", "SameStep"):
        others = SearchQAVectorEnv(2, **settings, autoreset_mode=mode)
        others.reset(seed=0)
        with pytest.raises(ValueError, match=f'needs autoreset_mode="Disabled", not "{mode}"'):
            others.fork(0, 1)


def test_no_token_of_the_shared_past_is_read_again() -> None:
    model, tokenizer = load_model("nano", "cpu")
    scorer, framing = TransformersScorer(model, tokenizer), Framing(tokenizer)
    question = load_world("test").questions[0]
    env = SearchQAEnv(questions="world:test", scorer=scorer, reward="igpo")
    env.reset(options={"question_id": question.id})
    for query in ("Salman", "employer"):
        env.step(f"<search>{query}</search>")
    shared = env.episode
    assert shared is not None
    past = len(framing.ids(shared.segments))

    def read(env: SearchQAEnv, query: str) -> tuple[int, int]:
        """How many tokens a step makes the scorer read, and how many it adds to the transcript."""
        before = scorer.stats.tokens_forwarded
        env.step(f"<search>{query}</search>")
        assert env.episode is not None
        return scorer.stats.tokens_forwarded - before, len(framing.ids(env.episode.segments)) - past

    original, branch = env, env.fork()
    forwarded, added = read(original, "founder")
    again, new = read(branch, "founder of the college")
    overhead = forwarded - added  # the probe with its answers
    assert 0 < overhead < 60
    assert again <= new + overhead  # their messages begin alike, so it may be a little less
    assert again < past
