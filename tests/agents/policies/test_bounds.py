"""Closed book and oracle reader: what any agent is worth without search, and with the evidence given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.policies.bounds import PLAYS_UNDER, played_by
from igpo_gym.agents.policies.scripted import SCRIPTED
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.config import EnvConfig
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.scores import scores
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Answer, Episode, Invalid, ToolCalls
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import PROTOCOLS, TextProtocol, resolve_protocol
from igpo_gym.specs import register, unregister
from tests.conftest import PASSAGES, QUESTIONS


class Reader:
    """Answers with the first title that it was shown, or with nothing that is right; keeps what it saw."""

    seen: list[str]

    def __init__(self, protocol: TextProtocol, word: str = "unknown") -> None:
        self.protocol, self.word, self.seen = protocol, word, []

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        self.seen += ["".join(segment.text for segment in episode.segments) for episode in episodes]
        found = [
            [passage.title for turn in episode.turns for passage in turn.passages] for episode in episodes
        ]
        return [self.protocol.write(Answer(titles[0] if titles else self.word)) for titles in found]


class Searcher:
    """Searches in every message, with or without a tool for it."""

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        return ["<search>Odra</search>" for _ in episodes]


@pytest.fixture(autouse=True)
def reader() -> Any:
    register("policy", "reader", Reader)
    yield
    unregister("policy", "reader")


def play(agent: str, questions: Any, count: int, protocol: str = "tags", **settings: Any) -> list[Episode]:
    config = EnvConfig(questions=questions, scorer=None, reward="outcome-f1", protocol=protocol, **settings)
    question_set, engine = assemble(played_by(agent, config))
    policy = resolve_policy(agent, question_set, engine.protocol, Sampling(temperature=0, max_tokens=40))
    return sorted(
        collect(engine, policy, question_set.questions[:count], 7), key=lambda episode: episode.question.id
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_closed_book_has_one_message_and_no_tool(protocol: str, question_set: QuestionSet) -> None:
    for episode in play("closed-book:reader#word=Odra", question_set, 4, protocol):
        assert "search" not in episode.prompt_text
        assert [turn.action for turn in episode.turns] == [Answer("Odra")]
        assert scores(episode)["em"] == float(episode.question.id == "q-river")


def test_a_closed_book_cannot_search_nor_try_again(question_set: QuestionSet) -> None:
    register("policy", "searcher", Searcher)
    played = play("closed-book:searcher", question_set, 4)
    unregister("policy", "searcher")
    for episode in played:
        (turn,) = episode.turns
        assert isinstance(turn.action, Invalid)
        assert (episode.end, turn.passages) == ("turns exhausted", ())


@pytest.mark.parametrize("script", sorted(set(SCRIPTED) - {"guesser"}))
def test_a_script_that_searches_says_that_it_cannot_without_search(
    script: str, question_set: QuestionSet
) -> None:
    with pytest.raises(
        SpecError, match=f"the scripted agent '{script}' searches, and here is no tool 'search'"
    ):
        play(f"closed-book:{script}", question_set, 4)


def test_a_closed_book_needs_nothing_to_search() -> None:
    played = play("closed-book:reader", list(QUESTIONS), 4)  # they bring no passages
    assert [episode.end for episode in played] == ["answered"] * 4


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_oracle_reader_is_shown_the_gold_passages_of_its_own_question_alone(
    protocol: str, question_set: QuestionSet
) -> None:
    played = play("oracle:reader", question_set, 4, protocol, top_k=1)
    assert [episode.prediction for episode in played] == [
        "The Tin Drum",
        "The Tin Drum",
        "Odra",
        "Heinrich Böll",
    ]
    for episode in played:
        search, answer = episode.turns
        assert isinstance(search.action, ToolCalls)
        assert search.action.calls[0].arguments["query"] in (episode.question.text, [episode.question.text])
        assert tuple(passage.id for passage in search.passages) == episode.question.evidence
        others = [p.text for p in PASSAGES if p.id not in episode.question.evidence]
        assert not any(text in "".join(s.text for s in episode.segments) for text in others)
        assert isinstance(answer.action, Answer)


def test_an_oracle_reader_has_one_message_of_its_own(question_set: QuestionSet) -> None:
    played = play("oracle:redundant", question_set, 4)  # it searches everything twice
    assert {len(episode.turns) for episode in played} == {2}
    assert all(isinstance(episode.turns[1].action, Invalid) for episode in played)
    assert all(episode.turns[1].passages == () for episode in played)


def test_gold_evidence_reaches_no_other_agent(question_set: QuestionSet) -> None:
    play("oracle:reader", question_set, 4)
    config = EnvConfig(questions=question_set, scorer=None, reward="outcome-f1", top_k=1)
    assert played_by("reader", config) == config
    (episode,) = play("expert", question_set, 1, top_k=1)
    assert [passage.score > 0 for passage in episode.turns[0].passages] == [True]  # BM25 found it


def test_they_refuse_an_environment_that_is_not_theirs(question_set: QuestionSet) -> None:
    questions, engine = assemble(EnvConfig(questions=question_set, scorer=None, reward="outcome-f1", top_k=1))
    with pytest.raises(SpecError, match="a closed-book agent plays with tools='', max_turns=1"):
        resolve_policy("closed-book:reader", questions, engine.protocol)
    oracle = resolve_policy("oracle:reader", questions, engine.protocol)
    with pytest.raises(
        SpecError, match="'q-birth' was not given the gold passages; it plays with tools='gold-e"
    ):
        list(collect(engine, oracle, questions.questions[1:2]))
    with pytest.raises(SpecError, match="one bound within another"):
        resolve_policy("oracle:closed-book:reader", questions, engine.protocol)
    with pytest.raises(SpecError, match=r"needs something behind its colon: its agent \(oracle:AGENT\)"):
        resolve_policy("oracle", questions, engine.protocol)


def test_a_set_without_evidence_is_refused_before_anything_is_loaded(tmp_path: Any) -> None:
    bare = [QUESTIONS[0], type(QUESTIONS[0])("q-bare", "Who?", ("A",))]
    config = EnvConfig(
        questions=bare, search=f"bm25:{tmp_path}/missing", scorer="./missing", reward="outcome-f1"
    )
    with pytest.raises(SpecError, match="needs gold evidence, but question 'q-bare' of '2 questions'"):
        assemble(played_by("oracle:nano", config))


def test_what_they_play_under_are_arguments_of_the_environment() -> None:
    for settings in PLAYS_UNDER.values():
        EnvConfig(**settings)
    assert (
        resolve_protocol("tool_call")
        .with_tools(())
        .prompt(QUESTIONS[0])[0]
        .text.startswith("You answer questions. Think between")
    )


def test_a_model_at_a_server_is_asked_once_and_shown_what_is_its_due(question_set: QuestionSet) -> None:
    from tests.site import running

    def chat(body: Any) -> Any:
        message = {"role": "assistant", "content": "<answer>Odra</answer>"}
        return {"choices": [{"message": message, "finish_reason": "stop"}]}

    routes = {"/v1/models": lambda _: {"data": [{"id": "tiny"}]}, "/v1/chat/completions": chat}
    with running(routes) as site:
        for bound, gold in (("closed-book", False), ("oracle", True)):
            site.seen.clear()
            agent = f"{bound}:{site.url}/v1#model=tiny,kind=chat"
            played = play(agent, question_set, 4, "tool_call")
            assert [episode.prediction for episode in played] == ["Odra"] * 4
            asked = [json.dumps(body) for path, body in site.seen if path == "/v1/chat/completions"]
            assert len(asked) == 4
            assert [("Odra is a river that flows" in each) for each in asked].count(True) == int(gold)
            assert all(("search" in each) == gold for each in asked)


def test_nano_reads_better_than_it_knows() -> None:
    world = "world:test#documents=60,questions=20,hops=1"
    known = [scores(each)["em"] for each in play("closed-book:nano", world, 12)]
    read = [scores(each)["em"] for each in play("oracle:nano#device=cpu", world, 12)]
    assert sum(known) <= 2  # nobody knows these worlds
    assert sum(read) >= 6
