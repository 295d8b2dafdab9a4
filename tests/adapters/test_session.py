from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import igpo_gym.specs as specs
from igpo_gym.adapters.session import Sessions, _sessions, question_messages, shared_sessions
from igpo_gym.errors import ScoringError
from igpo_gym.protocols import CHAT
from igpo_gym.scorers.batching import BatchingScorer
from igpo_gym.search.bm25 import BM25Index
from tests.adapters.episodes import settings
from tests.adapters.freed import assert_freed
from tests.conftest import PASSAGES, MentionScorer


def play(sessions: Sessions) -> None:
    env = sessions()
    env.reset(seed=0)
    env.step("<search>Grass</search>")
    env.close()


def dropped(scorer: MentionScorer) -> None:
    play(Sessions(**settings(CHAT, scorer=scorer)))


def with_a_reference(scorer: MentionScorer) -> None:
    play(Sessions(**settings(CHAT, scorer=scorer, reward="tips", reference=MentionScorer())))


def evicted(scorer: MentionScorer) -> None:
    play(shared_sessions(**settings(CHAT, scorer=scorer)))
    for max_turns in range(_sessions.cache_parameters()["maxsize"]):
        shared_sessions(**settings(CHAT, max_turns=max_turns + 10, scorer=None, reward="f1"))


@pytest.mark.parametrize("use", [dropped, with_a_reference, evicted])
def test_sessions_that_nobody_holds_leave_no_thread_and_no_scorer(
    use: Callable[[MentionScorer], None],
) -> None:
    assert_freed(use)


def test_what_a_setting_names_is_looked_at_again(tmp_path: Path) -> None:
    """A notebook registers a reward anew and writes its questions again, under the same names."""
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "1", "question": "Where is A?", "answer": "Danzig"}\n')
    own = {"questions": str(path), "search": BM25Index.build(PASSAGES), "scorer": None, "reward": "mine"}
    specs.register("reward", "mine", {"f1": 1.0})
    try:
        first = shared_sessions(**own)
        assert shared_sessions(**own) is first
        path.write_text('{"id": "1", "question": "Where is B?", "answer": "Thorn"}\n')
        second = shared_sessions(**own)
        assert "Where is B?" in second().reset(seed=0)[0]
        specs.register("reward", "mine", {"f1": 5.0})
        env = shared_sessions(**own)()
        env.reset(seed=0)
        assert env.step("<answer>Thorn</answer>")[1] == 5.0
    finally:
        specs.unregister("reward", "mine")


def test_environments_outlive_their_sessions() -> None:
    env = Sessions(**settings(CHAT))()
    env.reset(seed=0)
    assert env.step("<search>Grass</search>")[4]["belief"] > 0


def test_closing_ends_the_threads_that_the_sessions_began() -> None:
    with Sessions(**settings(CHAT, reward="tips", reference=MentionScorer())) as sessions:
        fronts = sessions.engine.scorer, sessions.engine.reference
        play(sessions)
    for front in fronts:
        assert isinstance(front, BatchingScorer)
        assert not front.batches.alive
    with pytest.raises(ScoringError, match="closed"):
        play(sessions)
    sessions.close()


def test_closing_leaves_a_front_that_was_given() -> None:
    with BatchingScorer(MentionScorer()) as front:
        with Sessions(**settings(CHAT, scorer=front)) as sessions:
            play(sessions)
        play(sessions)


def test_a_session_draws_actions_of_its_own() -> None:
    sessions = Sessions(**settings(CHAT))
    one, other = sessions(), sessions()
    one.action_space.seed(3)
    expected = [one.action_space.sample() for _ in range(2)]
    one.action_space.seed(3)
    assert one.action_space.sample() == expected[0]
    other.action_space.sample()  # which takes nothing from the other generator
    assert one.action_space.sample() == expected[1]


def test_messages_are_made_for_tools_that_take_the_questions() -> None:
    found = question_messages(questions="world:test#documents=60,questions=10", tools="gold-evidence")
    assert len(found) == 10
    assert all(messages for _, messages in found)
