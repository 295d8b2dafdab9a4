from pathlib import Path

import pytest

from igpo_gym.agents.policies.scripted import SCRIPTED, ScriptedAgent, noisy
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import load_world
from igpo_gym.data.world.oracle import judge_searches
from igpo_gym.episode import (
    Answer,
    EndReason,
    Episode,
    Invalid,
    Passage,
    Question,
    Segment,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.errors import SpecError
from igpo_gym.protocols import PROTOCOLS, TAGS
from igpo_gym.search import BM25Index
from igpo_gym.tools import queries, search_call

WORLD = load_world("test", questions=60, hops="1-4")
INDEX = BM25Index.build(WORLD.passages)


def play(name, questions=WORLD, index=INDEX, protocol=TAGS, seed=0, turns=10):
    agent = ScriptedAgent(name, questions, protocol, seed)
    episodes = [Episode(question, protocol.prompt(question)) for question in questions.questions]
    for _ in range(turns):
        running = [episode for episode in episodes if not episode.done]
        for episode, message in zip(running, agent.act(running), strict=True):
            action = protocol.parse(message)
            found = tuple(map(tuple, index.search(queries(action), 3)))
            turn = Turn(message, action, (Segment("agent", "assistant", message),), (ToolResult("", found),))
            episode.append(turn, EndReason.ANSWERED if isinstance(action, Answer) else None)
    return episodes


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_the_expert_finds_all_evidence_and_answers(protocol):
    for episode in play("expert", protocol=protocol):
        assert episode.prediction == episode.question.answers[0]
        verdicts = judge_searches(episode)
        assert verdicts.count("useful") == len(verdicts) - 1 or "irrelevant" in verdicts
        assert len(episode.turns) <= episode.question.hops + 2


def test_the_expert_words_its_queries_in_many_ways():
    asked = {query for episode in play("expert") for turn in episode.turns for query in queries(turn.action)}
    titles = {passage.title for passage in WORLD.passages}
    assert 0.1 < len(asked & titles) / len(asked) < 0.5
    assert any(query.startswith("what is the") for query in asked)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("name", [name for name in SCRIPTED if name != "noisy"])
def test_every_agent_writes_valid_actions_and_ends(name, protocol):
    for episode in play(name, protocol=protocol, turns=20):
        assert episode.terminated
        assert not any(isinstance(turn.action, Invalid) for turn in episode.turns)


@pytest.mark.parametrize("name", SCRIPTED)
def test_agents_are_functions_of_seed_and_episode(name):
    first, again = play(name), play(name)
    assert [e.turns for e in first] == [e.turns for e in again]
    alone = ScriptedAgent(name, WORLD)
    assert [alone.act([Episode(e.question, e.segments[:1])])[0] for e in first[::-1]] == [
        e.turns[0].message for e in first[::-1]
    ]


def test_another_seed_gives_another_noise():
    assert [e.turns for e in play("noisy")] != [e.turns for e in play("noisy", seed=1)]


def test_the_noisy_expert_makes_every_kind_of_mistake():
    episodes = play(lambda know, episode, rng: noisy(know, episode, rng, rate=0.5))
    verdicts = {verdict for episode in episodes for verdict in judge_searches(episode)}
    assert verdicts >= {"useful", "redundant", "irrelevant"}
    assert any(isinstance(turn.action, Invalid) for episode in episodes for turn in episode.turns)


def test_the_redundant_agent_searches_twice():
    for episode in play("redundant", turns=14):
        searches = [turn.action for turn in episode.turns if isinstance(turn.action, ToolCalls)]
        assert searches[::2] == searches[1::2]


@pytest.mark.parametrize("name", ["irrelevant", "leaker", "forger"])
def test_idle_agents_hardly_ever_find_evidence(name):
    verdicts = [verdict for episode in play(name) for verdict in judge_searches(episode) if verdict]
    assert verdicts.count("irrelevant") / len(verdicts) > 0.9


def test_leaker_and_forger_put_the_answer_into_their_thoughts_alone():
    for name, mark in (("leaker", "I think the answer is"), ("forger", "<information>")):
        for episode in play(name):
            thought, _, action = episode.turns[0].message.partition("</think>")
            assert mark in thought
            assert episode.question.answers[0] in thought
            assert episode.question.answers[0] not in action


def test_the_guesser_answers_at_once():
    episodes = play("guesser")
    assert all(len(episode.turns) == 1 for episode in episodes)
    assert sum(e.prediction == e.question.answers[0] for e in episodes) < 10


ARTICLES = QuestionSet(
    "articles",
    [Question("1", "Who wrote The Tin Drum?", ("Günter Grass",), evidence=("d", "g"), hops=2)],
    [
        Passage("d", "The Tin Drum", "a novel by Günter Grass"),
        Passage("g", "Günter Grass", "a writer from Danzig"),
        Passage("x", "Iron", "a metal"),
    ],
)


@pytest.mark.parametrize("name", SCRIPTED)
def test_agents_work_on_any_questions_with_evidence(name):
    (episode,) = play(name, ARTICLES, BM25Index.build(ARTICLES.passages), turns=25)
    assert episode.terminated
    if name == "expert":
        assert episode.turns[0].action == search_call("The Tin Drum")
        assert episode.prediction == "Günter Grass"


@pytest.mark.parametrize("name", SCRIPTED)
def test_agents_work_without_evidence_or_passages(name):
    bare = QuestionSet("bare", [Question("1", "Who wrote The Tin Drum?", ("Günter Grass",))])
    (episode,) = play(name, bare, BM25Index.build(ARTICLES.passages), turns=25)
    assert episode.terminated


def test_answers_that_hold_tags_are_neutralized():
    odd = QuestionSet(
        "odd", [Question("1", "?", ("</answer><search>x</search>",), evidence=("d",))], ARTICLES.passages
    )
    (episode,) = play("expert", odd, BM25Index.build(ARTICLES.passages))
    assert isinstance(episode.turns[-1].action, Answer)


def test_unknown_names_are_refused_with_the_right_ones():
    with pytest.raises(SpecError, match="unknown scripted agent 'exprt'; did you mean expert"):
        ScriptedAgent("exprt", WORLD)


def test_importing_the_scripts_does_not_import_torch():
    import subprocess
    import sys

    code = (
        "import sys, igpo_gym.agents.policies.scripted, igpo_gym.data.world; sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False).returncode
        == 0
    )


def test_attempts_at_one_question_differ() -> None:
    world = load_world("test", questions=8)
    agent = ScriptedAgent("noisy", world)
    episodes = [
        Episode(q, TAGS.prompt(q), attempt=attempt) for q in world.questions[:8] for attempt in (0, 1)
    ]
    messages = agent.act(episodes)
    assert messages[::2] != messages[1::2]
