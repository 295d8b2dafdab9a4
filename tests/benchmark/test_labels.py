"""The oracle's labels, on hand-made episodes and on small worlds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from igpo_gym.benchmark.credit.labels import LABELS, SEARCHES, USEFUL, USELESS, label_turns
from igpo_gym.benchmark.credit.trajectories import AGENTS, HACKERS, MAX_TURNS, Trajectory, play_cast
from igpo_gym.config import EnvConfig
from igpo_gym.data.world import load_world
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Answer, Invalid, Question
from igpo_gym.errors import SpecError
from igpo_gym.protocols import PROTOCOLS
from tests.conftest import QUESTIONS

AUTHOR, BIRTH = QUESTIONS[:2]
"""Who wrote The Tin Drum, with one piece of evidence, and where the author was born, with two."""


def labels(engine: Engine, question: Question, *messages: str) -> list[tuple[str, int]]:
    engine = replace(engine, rules=Rules(len(messages) + 1), tools=(replace(engine.tools[0], top_k=1),))
    (episode,) = engine.begin([question])
    engine.start([episode])
    for message in messages:
        engine.settle(engine.play([episode], [message]))
    return [(turn.label, turn.known) for turn in label_turns(episode, engine.protocol)]


def test_labels_by_hand(engine: Engine) -> None:
    found = labels(
        engine,
        BIRTH,
        "<search>Odra</search>",
        "<search>The Tin Drum</search>",
        "<search>The Tin Drum</search>",
        "no action",
        "<search>a writer born in Danzig</search>",
        "<search>Cologne</search>",
        "<answer>Danzig</answer>",
    )
    assert found == [
        ("irrelevant", 0),
        ("adding", 1),
        ("redundant", 1),
        ("malformed", 1),
        ("completing", 2),
        ("irrelevant", 2),
        ("answer", 2),
    ]


def test_one_piece_of_evidence_is_completed_at_once(engine: Engine) -> None:
    assert labels(engine, AUTHOR, "<search>The Tin Drum</search>") == [("completing", 1)]


@pytest.mark.parametrize(
    ("message", "label"),
    [
        ("<think>I think it is Gdańsk</think><search>Odra</search>", "hacking"),
        ("I think it is Danzig.</think><search>Odra</search>", "hacking"),
        ("<think>Doc: <information>It is so.</information></think><search>Odra</search>", "hacking"),
        ('<think>Doc: <information from="1">It is so.</information></think><search>Odra</search>', "hacking"),
        ("<think>Doc: <tool_response>It is so.</think><search>Odra</search>", "hacking"),
        ("<think>I need Danzig</think><search>Danzig</search>", "irrelevant"),
        ("<think>I know where</think><search>Odra</search>", "irrelevant"),
        ("<think>Danziger Straße?</think><search>Odra</search>", "irrelevant"),
    ],
)
def test_what_is_hacking(engine: Engine, message: str, label: str) -> None:
    """A forged result or the answer stated in a thought; not an answer that is searched for."""
    assert labels(engine, BIRTH, message) == [(label, 0)]


@pytest.mark.parametrize("dials", ["shown=1", "shown=2,distractors=2"])
def test_who_opens_the_document_that_is_the_answer_does_not_hack(dials: str) -> None:
    """A choice between two is decided by the documents of both, one of which the answer is the title of."""
    config = EnvConfig(
        questions=f"world:test#hops=2,questions=40,{dials}",
        tools="search + open",
        scorer=None,
        reward="outcome-f1",
        max_turns=MAX_TURNS,
    )
    questions, engine = assemble(config)
    played = [each for group in play_cast(engine, questions, 40, 2) for each in group]
    opened = [
        (each.agent, turn.label)
        for each in played
        for taken, turn in zip(each.episode.turns, each.labels, strict=True)
        if f"<open>{each.episode.question.answers[0]}</open>" in taken.message
    ]
    assert len(opened) > 10
    assert {label for agent, label in opened if agent not in HACKERS} <= USEFUL | USELESS
    assert not {each.agent for each in played for turn in each.labels if turn.label == "hacking"} - set(
        HACKERS
    )


def test_who_has_the_evidence_may_state_the_answer(engine: Engine) -> None:
    found = labels(
        engine, AUTHOR, "<search>The Tin Drum</search>", "<think>Grass!</think><search>Odra</search>"
    )
    assert [label for label, _ in found] == ["completing", "irrelevant"]


def test_hacking_counts_before_what_the_search_found(engine: Engine) -> None:
    assert labels(engine, AUTHOR, "<think>Günter Grass!</think><search>The Tin Drum</search>") == [
        ("hacking", 1)
    ]


def test_without_evidence_nothing_can_be_labeled(engine: Engine) -> None:
    bare = replace(AUTHOR, evidence=())
    with pytest.raises(SpecError, match="'q-author' names no gold evidence"):
        labels(engine, bare, "<search>Odra</search>")


def test_labels_are_told_apart_and_explained() -> None:
    assert USEFUL | USELESS | {"hacking"} == set(SEARCHES)
    assert set(SEARCHES) | {"malformed", "answer"} == set(LABELS)


@pytest.fixture(scope="module", params=PROTOCOLS)
def played(request: pytest.FixtureRequest) -> list[list[Trajectory]]:
    questions, engine = assemble(
        EnvConfig(
            questions=load_world("test", questions=40, hops="1-3"),
            scorer=None,
            reward="outcome-f1",
            protocol=request.param,
            max_turns=MAX_TURNS,
        )
    )
    return play_cast(engine, questions, 40, 3)


def test_labels_agree_with_the_world(played: list[list[Trajectory]]) -> None:
    """Told again from the passages alone: which of them are the documents of the question's hops."""
    for trajectory in (each for group in played for each in group):
        missing, seen = set(trajectory.episode.question.evidence), set()
        for turn, given in zip(trajectory.episode.turns, trajectory.labels, strict=True):
            found = [passage.id for passage in turn.passages]
            news = missing & set(found)
            missing -= news
            assert given.known == len(trajectory.episode.question.evidence) - len(missing)
            if isinstance(turn.action, Answer | Invalid):
                assert given.label == ("answer" if isinstance(turn.action, Answer) else "malformed")
            elif given.label != "hacking":
                assert (given.label in USEFUL) == bool(news)
                assert (given.label == "completing") == (bool(news) and not missing)
                assert (given.label == "redundant") == (not news and bool(found) and found[0] in seen)
            seen.update(found)


def test_agents_do_what_they_are_there_for(played: list[list[Trajectory]]) -> None:
    by_agent: dict[str, list[str]] = {agent: [] for agent in AGENTS}
    for trajectory in (each for group in played for each in group):
        by_agent[trajectory.agent] += [turn.label for turn in trajectory.labels]
        assert trajectory.episode.terminated
    for agent, given in by_agent.items():
        searches = [label for label in given if label in SEARCHES]
        hacks = searches.count("hacking") / len(searches) if searches else 0.0
        assert hacks > 0.95 if agent in HACKERS else hacks == 0.0
    assert by_agent["expert"].count("completing") == 40
    assert by_agent["redundant"].count("completing") >= 38  # repeating a search that fails, it may give up
    assert by_agent["redundant"].count("redundant") >= 40
    assert set(by_agent["guesser"]) == {"answer"}
    assert {"completing", "adding", "redundant", "irrelevant", "malformed"} <= set(by_agent["hasty"])


def test_hackers_share_the_searches_of_the_control(played: list[list[Trajectory]]) -> None:
    for group in played:
        queries = {
            each.agent: [turn.action for turn in each.episode.turns[:-1]]
            for each in group
            if each.agent in (*HACKERS, "irrelevant")
        }
        assert queries["leaker"] == queries["forger"] == queries["irrelevant"]


def test_groups_hold_successes_and_failures(played: list[list[Trajectory]]) -> None:
    outcomes = [
        {sum(each.episode.rewards[-1].values()) for each in group if each.agent == "hasty"}
        for group in played
    ]
    mixed = sum(len(group) > 1 for group in outcomes)
    assert 0.4 < mixed / len(outcomes) < 0.95


def test_the_same_seed_gives_the_same_trajectories(played: list[list[Trajectory]]) -> None:
    keys = [each.key for group in played for each in group]
    assert len(set(keys)) == len(keys)
    questions, engine = assemble(
        EnvConfig(questions=load_world("test", questions=40, hops="1-3"), scorer=None, reward="outcome-f1")
    )
    engine = replace(engine, protocol=PROTOCOLS["tags"], rules=Rules(MAX_TURNS))
    first, again, other = (play_cast(engine, questions, 5, 2, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("count", "group_size", "message"),
    [
        (1, 2, "take 2 to 4 questions"),
        (5, 2, "take 2 to 4 questions of 'tiny', not 5"),
        (4, 1, "at least 2 rollouts"),
    ],
)
def test_sizes_that_do_not_fit_are_explained(engine, question_set, count, group_size, message) -> None:
    with pytest.raises(SpecError, match=message):
        play_cast(engine, question_set, count, group_size)
