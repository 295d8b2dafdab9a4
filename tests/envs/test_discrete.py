from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import igpo_gym  # noqa: F401
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.candidates import CANDIDATE_FEATURES
from igpo_gym.envs.discrete import SearchQADiscreteEnv, SearchQADiscreteVectorEnv
from igpo_gym.episode import Passage
from igpo_gym.errors import ScoringError, SearchError, SpecError
from igpo_gym.search.bm25 import BM25Index
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer
from tests.envs.test_vector import Flaky, of_env, plain

ID = "SearchQA-IGPO-Discrete-v0"
SLOTS = 5
QUESTION = 0
"""The action that searches for the question."""


def search(slot: int) -> int:
    return 1 + slot


def answer(slot: int) -> int:
    return 1 + SLOTS + slot


@pytest.fixture
def settings(question_set: QuestionSet, index: BM25Index, scorer: MentionScorer) -> dict[str, Any]:
    return {
        "questions": question_set,
        "search": index,
        "scorer": scorer,
        "max_turns": 3,
        "top_k": 2,
        "slots": SLOTS,
    }


@pytest.fixture
def env(settings: dict[str, Any]) -> SearchQADiscreteEnv:
    return SearchQADiscreteEnv(**settings)


def begin(env: SearchQADiscreteEnv, question_id: str = "q-author") -> dict[str, Any]:
    return env.reset(seed=0, options={"question_id": question_id})[1]


def test_it_passes_gymnasiums_check(settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(ID, **settings).unwrapped)


def test_its_spec_is_json_and_makes_it_again() -> None:
    env = gym.make(ID, slots=3, questions="world#documents=40,questions=5", scorer=None, reward="outcome-f1")
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))  # type: ignore[union-attr]
    assert json.loads(again.spec.to_json())["kwargs"]["slots"] == 3  # type: ignore[union-attr]
    assert np.array_equal(again.reset(seed=1)[0], env.reset(seed=1)[0])


def test_actions_search_for_candidates_and_answer_with_them(env: SearchQADiscreteEnv) -> None:
    assert begin(env)["candidates"] == ("Tin Drum",)
    *_, info = env.step(search(0))
    assert info["queries"] == ("Tin Drum",)
    author = info["candidates"].index("Günter Grass")
    _, reward, terminated, _, info = env.step(answer(author))
    assert (info["prediction"], info["em"], reward, terminated) == ("Günter Grass", 1.0, 1.0, True)


def test_the_first_action_searches_for_the_question(env: SearchQADiscreteEnv) -> None:
    begin(env)
    *_, info = env.step(QUESTION)
    assert info["queries"] == (QUESTIONS[0].text,)


@pytest.mark.parametrize("action", [search(SLOTS - 1), answer(SLOTS - 1)])
def test_an_empty_slot_is_an_invalid_message(env: SearchQADiscreteEnv, action: int) -> None:
    begin(env)
    _, reward, terminated, truncated, info = env.step(action)
    assert (info["action"], reward, terminated, truncated) == ("invalid", -2.0, False, False)


def test_rewards_are_those_of_the_text_environment(
    env: SearchQADiscreteEnv, settings: dict[str, Any]
) -> None:
    text = gym.make("SearchQA-IGPO-v0", **{key: settings[key] for key in settings if key != "slots"})
    begin(env)
    text.reset(seed=0, options={"question_id": "q-author"})
    for action, message in (
        (search(0), "<search>Tin Drum</search>"),
        (answer(SLOTS - 1), ""),
        (answer(0), "<answer>\nTin Drum\n</answer>"),
    ):
        _, *paid, info = env.step(action)
        _, *expected, expected_info = text.step(message)
        assert paid == expected
        assert {key: info[key] for key in expected_info} == expected_info


def test_the_mask_leaves_out_empty_slots_repeats_and_a_search_at_the_end(env: SearchQADiscreteEnv) -> None:
    assert np.flatnonzero(begin(env)["action_mask"]).tolist() == [QUESTION, search(0), answer(0)]
    *_, info = env.step(search(0))
    count = len(info["candidates"])
    every = [QUESTION, *map(search, range(1, count)), *map(answer, range(count))]
    assert np.flatnonzero(info["action_mask"]).tolist() == every
    *_, info = env.step(QUESTION)
    allowed = np.flatnonzero(info["action_mask"]).tolist()
    assert allowed == [*map(answer, range(len(info["candidates"])))]
    assert env.action_masks().tolist() == info["action_mask"].astype(bool).tolist()
    assert env.action_space.sample(mask=info["action_mask"]) in allowed


class Down:
    """A retriever that is down for its first search."""

    identity = "down"

    def __init__(self, index: BM25Index) -> None:
        self.index, self.calls = index, 0

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.calls += 1
        if self.calls == 1:
            raise SearchError("down")
        return self.index.search(queries, k)


def test_a_search_that_found_its_backend_down_stays_allowed(
    settings: dict[str, Any], index: BM25Index
) -> None:
    env = SearchQADiscreteEnv(**{**settings, "search": Down(index)})
    env.text.engine = dataclasses.replace(env.text.engine, retry_delays=())
    begin(env)
    *_, info = env.step(search(0))
    assert (info["failed"], info["action_mask"][search(0)]) == (True, 1)
    *_, info = env.step(search(0))
    assert (info["failed"], info["action_mask"][search(0)], info["turn"]) == (False, 0, 2)


@pytest.mark.parametrize("protocol", ["tags", "tool_call", "igpo", "tags-chat"])
def test_a_name_that_is_neutralized_where_it_is_written_counts_as_searched(
    settings: dict[str, Any], protocol: str
) -> None:
    """Titles and questions are of the corpus: their less-than signs do not reach the query."""
    passage = Passage("p", "x < y theorem", "The theorem is by Otto.")
    question = dataclasses.replace(QUESTIONS[0], text="Who is behind x < y of Otto?")
    own = {"questions": QuestionSet("own", (question,), (passage,)), "search": None, "protocol": protocol}
    env = SearchQADiscreteEnv(**{**settings, **own, "max_turns": 5})
    env.reset(seed=0)
    *_, info = env.step(QUESTION)
    assert info["action_mask"][QUESTION] == 0
    title = search(info["candidates"].index("x < y theorem"))
    assert info["action_mask"][title] == 1
    *_, info = env.step(title)
    assert info["queries"] == ("x ‹ y theorem",)
    assert info["action_mask"][search(info["candidates"].index("x < y theorem"))] == 0


def test_the_mask_always_allows_something(settings: dict[str, Any]) -> None:
    question = dataclasses.replace(QUESTIONS[0], text="who wrote it?")
    nameless = SearchQADiscreteEnv(**{**settings, "questions": [question], "max_turns": 1})
    _, info = nameless.reset(seed=0)
    assert info["candidates"] == ()
    assert np.flatnonzero(info["action_mask"]).tolist() == [QUESTION]


def test_the_gold_answer_changes_no_observation_mask_or_candidate(settings: dict[str, Any]) -> None:
    other = tuple(
        dataclasses.replace(question, answers=("Weimar", "zzz"), evidence=("böll",)) for question in QUESTIONS
    )
    pair = [
        SearchQADiscreteEnv(**{**settings, "questions": QuestionSet("tiny", questions, PASSAGES)})
        for questions in (QUESTIONS, other)
    ]
    rng = np.random.default_rng(0)
    for question in QUESTIONS:
        views = [env.reset(seed=0, options={"question_id": question.id}) for env in pair]
        over = False
        while not over:
            (one, info), (two, other_info) = views
            np.testing.assert_array_equal(one, two)
            assert info["action_mask"].tolist() == other_info["action_mask"].tolist()
            assert info["candidates"] == other_info["candidates"]
            action = int(rng.choice(np.flatnonzero(info["action_mask"])))
            steps = [env.step(action) for env in pair]
            views = [(step[0], step[4]) for step in steps]
            over = steps[0][2] or steps[0][3]


def test_the_scorer_tells_how_likely_each_candidate_is(env: SearchQADiscreteEnv) -> None:
    begin(env)
    observation, *_, info = env.step(search(0))
    features = observation[: SLOTS * len(CANDIDATE_FEATURES)].reshape(SLOTS, -1)
    told = features[:, CANDIDATE_FEATURES.index("answer_prob")]
    transcript = "".join(message["content"] for message in info["messages"])
    for name, prob in zip(info["candidates"], told, strict=False):
        mentions = transcript.count(name)
        assert prob == pytest.approx((1 + mentions) / (10 + mentions))


def test_without_a_scorer_probabilities_are_zero(settings: dict[str, Any]) -> None:
    env = SearchQADiscreteEnv(**{**settings, "scorer": None, "reward": "outcome-f1"})
    observation, _ = env.reset(seed=0)
    features = observation[: SLOTS * len(CANDIDATE_FEATURES)].reshape(SLOTS, -1)
    assert not features[:, -2:].any()


def test_a_truncated_episode_is_read_to_its_end(settings: dict[str, Any]) -> None:
    """What is learned of it may begin at its last observation."""
    env = SearchQADiscreteEnv(**{**settings, "max_turns": 2})
    env.reset(options={"question_id": "q-birth"})
    for _ in range(2):
        *_, truncated, info = env.step(0)
    assert truncated
    assert env.menu is not None
    count = len(info["candidates"])
    place = CANDIDATE_FEATURES.index("answer_prob")
    assert count > 0
    features = env.menu.observation[: SLOTS * len(CANDIDATE_FEATURES)].reshape(SLOTS, -1)
    assert (features[:count, place] > 0).all()


@pytest.mark.parametrize("wrong", [1.5, np.float32(1.0), "1", None, np.array([1])])
def test_an_action_is_an_integer(settings: dict[str, Any], wrong: Any) -> None:
    env, envs = SearchQADiscreteEnv(**settings), SearchQADiscreteVectorEnv(2, **settings)
    env.reset(seed=0), envs.reset(seed=0)
    with pytest.raises(TypeError, match="an action is an integer, not"):
        env.step(wrong)
    with pytest.raises(TypeError, match="an action is an integer, not"):
        envs.step([0, wrong])
    for each in (0, np.int8(0), np.array(0)):
        assert env.step(each)[-1]["action"] == "tools"  # type: ignore[arg-type]


def test_the_metrics_of_info_hold_no_text(settings: dict[str, Any]) -> None:
    env = SearchQADiscreteEnv(**settings, info="metrics")
    envs = SearchQADiscreteVectorEnv(2, **settings, info="metrics", autoreset_mode="SameStep")
    told = [env.reset(seed=0)[1], env.step(search(0))[-1], env.step(answer(0))[-1]]
    told += [envs.reset(seed=0)[1], envs.step([answer(0)] * 2)[-1]["final_info"]]
    for info in told:
        assert "action_mask" in info
        assert all(np.asarray(value).dtype.kind in "biuf" for value in info.values())


def test_its_actions_are_searches(settings: dict[str, Any]) -> None:
    for tools in ("", "open"):
        with pytest.raises(SpecError, match="tools must have search"):
            SearchQADiscreteEnv(**settings, tools=tools)


def test_there_must_be_a_slot(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="slots must be a whole number of at least 1, not 0"):
        SearchQADiscreteEnv(**{**settings, "slots": 0})


def test_it_must_be_reset_first(env: SearchQADiscreteEnv, settings: dict[str, Any]) -> None:
    envs = SearchQADiscreteVectorEnv(2, **settings)
    for call in (
        lambda: env.step(0),
        env.action_masks,
        lambda: envs.step([0, 0]),
        envs.action_masks,
    ):
        with pytest.raises(ResetNeeded):
            call()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_the_vector_form_plays_what_single_environments_play(
    settings: dict[str, Any], mode: AutoresetMode
) -> None:
    rng = np.random.default_rng(0)
    count, seed = 4, 11
    envs = SearchQADiscreteVectorEnv(count, **settings, autoreset_mode=mode)
    singles = [SearchQADiscreteEnv(**settings) for _ in range(count)]

    def assert_at(
        index: int, observation: Any, info: dict[str, Any], expected: tuple[Any, dict[str, Any]]
    ) -> None:
        np.testing.assert_array_equal(observation, expected[0])
        mine, theirs = dict(info), dict(expected[1])
        assert mine.pop("action_mask").tolist() == theirs.pop("action_mask").tolist(), index
        assert mine == theirs

    observations, infos = envs.reset(seed=seed)
    for index, env in enumerate(singles):
        assert_at(index, observations[index], of_env(infos, index), env.reset(seed=seed + index))
    ended = np.zeros(count, dtype=bool)
    for _ in range(20):
        if mode is AutoresetMode.DISABLED and ended.any():
            observations, infos = envs.reset(options={"reset_mask": ended})
            for index in np.flatnonzero(ended):
                np.testing.assert_array_equal(observations[index], singles[index].reset()[0])
            ended[:] = False
        np.testing.assert_array_equal(envs.action_masks(), infos["action_mask"].astype(bool))
        actions = rng.integers(envs.single_action_space.n, size=count)
        observations, rewards, terminations, truncations, infos = envs.step(actions)
        assert observations in envs.observation_space
        for index, env in enumerate(singles):
            if mode is AutoresetMode.NEXT_STEP and ended[index]:
                assert_at(index, observations[index], of_env(infos, index), env.reset())
                ended[index] = False
                continue
            observation, reward, terminated, truncated, info = env.step(actions[index])
            assert (rewards[index], terminations[index], truncations[index]) == (
                pytest.approx(reward),
                terminated,
                truncated,
            )
            ended[index] = terminated or truncated
            if mode is AutoresetMode.SAME_STEP and ended[index]:
                np.testing.assert_array_equal(infos["final_obs"][index], observation)
                observation, info = env.reset()
                np.testing.assert_array_equal(observations[index], observation)
                assert infos["candidates"][index] == info["candidates"]
                assert infos["action_mask"][index].tolist() == info["action_mask"].tolist()
            else:
                assert_at(index, observations[index], of_env(infos, index), (observation, info))


def test_a_vector_step_asks_the_scorer_twice(settings: dict[str, Any], scorer: MentionScorer) -> None:
    envs = SearchQADiscreteVectorEnv(4, **settings)
    envs.reset(seed=0)
    scorer.calls.clear()
    envs.step([search(0)] * 4)
    assert scorer.calls == [4, 4]


PAIRS = [[search(0), QUESTION], [answer(0), search(0)], [QUESTION, answer(0)]]


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize(
    ("make", "script"),
    [
        (SearchQADiscreteEnv, [search(0), QUESTION]),
        (partial(SearchQADiscreteVectorEnv, 2, autoreset_mode="NextStep"), PAIRS),
        (partial(SearchQADiscreteVectorEnv, 2, autoreset_mode="SameStep"), PAIRS),
    ],
    ids=["single", "NextStep", "SameStep"],
)
def test_what_fails_at_either_call_to_the_scorer_has_not_happened(
    settings: dict[str, Any], make: Any, script: list[Any], call: int
) -> None:
    scorer = Flaky()
    env, twin = make(**{**settings, "scorer": scorer}), make(**settings)

    def played(method: str, *arguments: Any, **named: Any) -> None:
        scorer.fails_at = call
        with pytest.raises(ScoringError, match="blinked"):
            getattr(env, method)(*arguments, **named)
        again, expected = (getattr(each, method)(*arguments, **named) for each in (env, twin))
        assert plain(again) == plain(expected)
        assert plain(env.action_masks()) == plain(twin.action_masks())

    played("reset", seed=0)
    for actions in script:
        played("step", actions)
    played("reset")


@pytest.mark.parametrize("call", [1, 2])
def test_a_seed_whose_reset_failed_is_not_taken(settings: dict[str, Any], call: int) -> None:
    scorer = Flaky()
    env = SearchQADiscreteEnv(**{**settings, "scorer": scorer})
    twin = SearchQADiscreteEnv(**settings)
    for each in (env, twin):
        each.reset(seed=1)
    scorer.fails_at = call
    with pytest.raises(ScoringError, match="blinked"):
        env.reset(seed=2)
    assert env.np_random_seed == 1
    for _ in range(4):
        assert plain(env.reset()) == plain(twin.reset())


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("mine", [7, -1])
def test_a_seed_whose_reset_failed_is_not_taken_by_the_vector_form(
    settings: dict[str, Any], call: int, mine: int
) -> None:
    scorer = Flaky()
    envs = SearchQADiscreteVectorEnv(2, **{**settings, "scorer": scorer})
    twin = SearchQADiscreteVectorEnv(2, **settings)
    for each in (envs, twin):
        each.text.np_random = np.random.default_rng(3)  # an unseeded reset draws from it
        each.text._np_random_seed = mine
    for seed in (5, None):
        scorer.fails_at = call
        with pytest.raises(ScoringError, match="blinked"):
            envs.reset(seed=seed)
        assert envs.text.np_random_seed == mine
    for _ in range(4):
        assert plain(envs.reset()) == plain(twin.reset())


def test_a_reset_that_failed_leaves_the_numbers_of_forks(settings: dict[str, Any]) -> None:
    """Else a policy that draws by them says the same in two branches."""
    scorer = Flaky()
    env = SearchQADiscreteEnv(**{**settings, "scorer": scorer})
    begin(env)
    numbers = [env.fork().text.episode.attempt for _ in range(2)]  # type: ignore[union-attr]
    scorer.fails_at = 2
    with pytest.raises(ScoringError, match="blinked"):
        env.reset()
    assert [*numbers, env.fork().text.episode.attempt] == [1, 2, 3]  # type: ignore[union-attr]


def test_each_environment_needs_an_action(settings: dict[str, Any]) -> None:
    envs = SearchQADiscreteVectorEnv(2, **settings)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="3 actions for 2 environments"):
        envs.step([0, 0, 0])


def test_an_environment_that_begins_anew_ignores_its_action(settings: dict[str, Any]) -> None:
    envs, twin = (SearchQADiscreteVectorEnv(2, **settings) for _ in range(2))
    for each in (envs, twin):
        each.reset(seed=0)
        each.step([search(0), answer(0)])
    observations, *_ = envs.step([search(0), -1])
    assert (observations == twin.step([search(0), 99])[0]).all()
    with pytest.raises(ValueError, match="-1 is none"):
        envs.step([-1, search(0)])


def test_a_fork_goes_on_by_itself(settings: dict[str, Any]) -> None:
    one, never = (SearchQADiscreteEnv(**settings) for _ in range(2))
    for each in (one, never):
        begin(each)
        each.step(search(0))
    other = one.fork()
    assert plain(other.step(answer(0))) == plain(never.step(answer(0)))
    assert one.step(search(1))[-1]["turn"] == 2
    assert other.reader.engine is one.reader.engine
    envs = SearchQADiscreteVectorEnv(2, autoreset_mode="Disabled", **settings)
    envs.reset(seed=0)
    envs.step([search(0), answer(0)])
    observations, infos = envs.fork(0, 1)
    assert (observations[0] == observations[1]).all()
    assert infos["candidates"][0] == infos["candidates"][1]
    same = envs.step([search(1), search(1)])
    assert (same[0][0] == same[0][1]).all()


def test_the_end_in_the_same_step_has_its_mask_and_candidates(settings: dict[str, Any]) -> None:
    envs = SearchQADiscreteVectorEnv(2, autoreset_mode="SameStep", **settings)
    envs.reset(seed=0)
    infos = envs.step([search(0), search(0)])[-1]
    before = infos["candidates"][0]
    infos = envs.step([answer(0), search(0)])[-1]
    assert infos["_final_info"].tolist() == [True, False]
    final = infos["final_info"]
    assert final["action_mask"][0].shape == infos["action_mask"][0].shape
    assert final["candidates"][0] == before  # an answer adds no candidate
