from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Answer, Belief, EndReason, Episode, Invalid, Message, Passage, Question
from igpo_gym.errors import ScoringError, SearchError
from igpo_gym.protocols import TOOL_CALL
from igpo_gym.rewards import PRESETS, TERMS, RewardFunction, RewardTerm, resolve_reward
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search, search_call
from igpo_gym.tools.running import SAMPLED_CALLS
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer

AUTHOR, BIRTH, *_ = QUESTIONS


def begin(engine: Engine, *questions: int) -> list[Episode]:
    episodes = engine.begin([QUESTIONS[index] for index in questions])
    engine.start(episodes)
    return episodes


def step(engine: Engine, episodes: list[Episode], *messages: str) -> list[float]:
    return engine.settle(engine.play(episodes, messages))


def snapshot(episode: Episode) -> tuple[object, ...]:
    measured = (list(episode.beliefs), list(episode.views), list(episode.measured), episode.instruments)
    return (list(episode.segments), list(episode.turns), *measured, list(episode.rewards), episode.end)


def test_a_whole_episode_by_hand(engine: Engine) -> None:
    (episode,) = begin(engine, 1)
    assert episode.beliefs[0].prob == pytest.approx(1 / 10)
    (first,) = step(engine, [episode], "<search>Tin Drum novel</search>")
    assert [passage.id for passage in episode.turns[0].passages] == ["drum"]
    assert first == pytest.approx(0.0)
    (second,) = step(engine, [episode], "<search>Günter Grass writer</search>")
    # "Danzig" is mentioned once by now: (1 + 1) / (10 + 1) - 1 / 10
    assert second == pytest.approx(2 / 11 - 1 / 10)
    (last,) = step(engine, [episode], "<answer>Gdańsk</answer>")
    assert last == pytest.approx(1.0)
    assert episode.terminated
    assert len(episode.beliefs) == len(episode.turns) == 3


def test_a_step_is_one_search_and_one_belief_call(index: BM25Index, scorer: MentionScorer) -> None:
    class CountingIndex:
        calls: list[list[str]] = []  # noqa: RUF012

        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            self.calls.append(list(queries))
            return index.search(queries, k)

    retriever = CountingIndex()
    engine = Engine(TOOL_CALL, (Search(retriever, 2),), PRESETS["igpo"], scorer, Rules(3))
    episodes = begin(engine, 0, 1, 2, 3)
    searches = [
        TOOL_CALL.write(search_call(*queries)) for queries in (("river",), ("river", "port"), ("port",))
    ]
    fresh = engine.begin([AUTHOR])
    engine.settle(engine.play(episodes, [*searches, "<answer>x</answer>"]), fresh)
    assert retriever.calls == [["river", "port"]]
    # Three episodes go on and one begins; an answer needs no belief.
    assert scorer.calls == [4, 4]
    assert len(fresh[0].beliefs) == 1


def test_playing_changes_nothing(engine: Engine) -> None:
    (episode,) = begin(engine, 0)
    before = snapshot(episode)
    (move,) = engine.play([episode], ["<search>drum</search>"])
    assert snapshot(episode) == before
    assert move.end is None
    assert engine.play([episode], ["<answer>x</answer>"])[0].end is EndReason.ANSWERED


def test_turns_run_out(engine: Engine) -> None:
    (episode,) = begin(engine, 0)
    for _ in range(2):
        step(engine, [episode], "<search>drum</search>")
    assert not episode.done
    (last,) = step(engine, [episode], "<search>xyzzy</search>")
    assert episode.truncated
    assert not episode.terminated
    assert last == pytest.approx(-2.0)


def test_an_answer_on_the_last_turn_is_no_truncation(engine: Engine) -> None:
    (episode,) = begin(engine, 0)
    for _ in range(2):
        step(engine, [episode], "<search>drum</search>")
    assert step(engine, [episode], "<answer>Grass</answer>") == [1.0]
    assert episode.terminated
    assert not episode.truncated


def test_an_invalid_message_costs_a_turn_and_explains_itself(engine: Engine) -> None:
    (episode,) = begin(engine, 0)
    assert step(engine, [episode], "hm") == [pytest.approx(-2.0)]
    turn = episode.turns[0]
    assert isinstance(turn.action, Invalid)
    assert turn.action.reason in turn.observation
    assert "<search>query</search>" in turn.observation


def test_a_retrieved_answer_tag_is_only_text(engine: Engine) -> None:
    (episode,) = begin(engine, 2)
    step(engine, [episode], "<search>Vistula river</search>")
    observation = episode.turns[0].observation
    assert "‹answer>Odra‹/answer>" in observation
    assert observation.count("</information>") == 1


def test_several_queries_are_merged_without_repeats(engine: Engine) -> None:
    (episode,) = begin(engine, 2)
    step(engine, [episode], "<search>river</search><search>Odra river</search>")
    turn = episode.turns[0]
    assert len(turn.results) == 2
    ids = [passage.id for passage in turn.passages]
    assert len(ids) == len(set(ids))
    assert turn.observation.count("Doc ") == len(ids)


@pytest.mark.parametrize("message", [None, 7, b"<search>a</search>", ["<search>a</search>"]])
def test_a_message_that_is_no_string_is_a_type_error(engine: Engine, message: object) -> None:
    (episode,) = begin(engine, 0)
    with pytest.raises(TypeError, match="an action is a string"):
        engine.play([episode], [message])  # type: ignore[list-item]


def test_lone_surrogates_do_not_reach_the_transcript(engine: Engine) -> None:
    (episode,) = begin(engine, 0)
    step(engine, [episode], "<search>dr\ud800um</search>")
    "".join(segment.text for segment in episode.segments).encode()


class Failing:
    """A backend that fails a number of times, then works."""

    def __init__(self, index: BM25Index, failures: int, error: Exception | None = None) -> None:
        self.index, self.left, self.error = index, failures, error or SearchError("down")

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        if self.left:
            self.left -= 1
            raise self.error
        return self.index.search(queries, k)


def with_retriever(engine: Engine, retriever: object) -> Engine:
    return dataclasses.replace(engine, tools=(Search(retriever, 2),), retry_delays=(0.0, 0.0))  # type: ignore[arg-type]


def test_a_search_that_fails_is_tried_again(engine: Engine, index: BM25Index) -> None:
    engine = with_retriever(engine, Failing(index, 2))
    (episode,) = begin(engine, 0)
    step(engine, [episode], "<search>drum</search>")
    assert not episode.turns[0].failed
    assert episode.turns[0].passages


@pytest.mark.parametrize("error", [SearchError("down"), ConnectionResetError("reset"), TimeoutError("slow")])
def test_search_that_stays_down_pays_no_gain_and_the_episode_goes_on(
    engine: Engine, index: BM25Index, error: Exception
) -> None:
    engine = with_retriever(engine, Failing(index, 3, error))
    (episode,) = begin(engine, 0)
    # The query names the answer, so the belief does rise; the failed turn is not paid for that.
    assert step(engine, [episode], "<search>Günter Grass</search>") == [0.0]
    assert episode.turns[0].failed
    assert "Search is unavailable" in episode.turns[0].observation
    assert episode.beliefs[1].prob > episode.beliefs[0].prob
    step(engine, [episode], "<search>drum</search>")
    assert not episode.turns[1].failed


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ([], "must return a list of passages for each of 1 queries, and returned 0 results"),
        (None, "and returned NoneType None"),
        ({"a": 1}, "and returned dict"),
        ([["a text"]], "must return a list of Passage objects for a query, and returned list"),
        ([[{"id": "1"}]], "must return a list of Passage objects"),
        ([[PASSAGES[0], PASSAGES[0]]], "two passages of one id"),
    ],
)
def test_a_retriever_that_breaks_its_contract_is_named(
    engine: Engine, returned: object, problem: str
) -> None:
    class Odd:
        def search(self, queries: Sequence[str], k: int) -> object:
            return returned

    engine = with_retriever(engine, Odd())
    (episode,) = begin(engine, 0)
    before = snapshot(episode)
    with pytest.raises(TypeError, match=f"the retriever Odd .*{problem}"):
        step(engine, [episode], "<search>drum</search>")
    assert snapshot(episode) == before


def test_no_more_passages_are_shown_than_were_asked_for(engine: Engine) -> None:
    class Generous:
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return [list(PASSAGES) for _ in queries]

    engine = with_retriever(engine, Generous())
    (episode,) = begin(engine, 0)
    step(engine, [episode], "<search>drum</search>")
    assert episode.turns[0].passages == PASSAGES[:2]


class Choking:
    """A backend that fails whenever a certain query is among those asked."""

    def __init__(self, index: BM25Index, *poison: str) -> None:
        self.index, self.poison, self.calls = index, set(poison), 0

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        self.calls += 1
        if not self.poison.isdisjoint(queries):
            raise SearchError("syntax error")
        return self.index.search(queries, k)


@pytest.mark.parametrize("place", range(5))
def test_a_query_that_a_backend_chokes_on_costs_no_other_its_search(
    engine: Engine, index: BM25Index, place: int
) -> None:
    engine = with_retriever(engine, Choking(index, f"query {place}"))
    episodes = begin(engine, *[0] * 5)
    step(engine, episodes, *(f"<search>query {number}</search>" for number in range(5)))
    assert [episode.turns[0].failed for episode in episodes] == [n == place for n in range(5)]


def test_a_backend_that_is_down_is_not_asked_for_every_query(engine: Engine, index: BM25Index) -> None:
    queries = [f"query {number}" for number in range(8)]
    backend = Choking(index, *queries)
    engine = with_retriever(engine, backend)
    episodes = begin(engine, *[0] * 8)
    step(engine, episodes, *(f"<search>{query}</search>" for query in queries))
    assert all(episode.turns[0].failed for episode in episodes)
    # The tries, the halves, and the single calls that tell a backend that is down from one that chokes.
    assert backend.calls == 3 + 2 + SAMPLED_CALLS


def test_a_bug_in_a_backend_is_not_hidden(engine: Engine, index: BM25Index) -> None:
    engine = with_retriever(engine, Failing(index, 1, ZeroDivisionError("bug")))
    (episode,) = begin(engine, 0)
    with pytest.raises(ZeroDivisionError):
        step(engine, [episode], "<search>drum</search>")


def test_a_scorer_that_fails_leaves_every_episode_as_it_was(engine: Engine) -> None:
    scorer = MentionScorer()
    engine = dataclasses.replace(engine, scorer=scorer)
    episodes = begin(engine, 0, 1)
    before = [snapshot(episode) for episode in episodes]
    moves = engine.play(episodes, ["<search>drum</search>", "<answer>x</answer>"])
    scorer.problem = "out of memory"
    with pytest.raises(ScoringError):
        engine.settle(moves)
    assert [snapshot(episode) for episode in episodes] == before
    scorer.problem = ""
    engine.settle(moves)
    assert [len(episode.turns) for episode in episodes] == [1, 1]


def test_without_a_scorer_there_are_no_beliefs(index: BM25Index) -> None:
    engine = Engine(TOOL_CALL, (Search(index, 1),), PRESETS["outcome-f1"], None, Rules(2))
    (episode,) = begin(engine, 0)
    assert step(engine, [episode], TOOL_CALL.write(search_call("drum"))) == [0.0]
    assert step(engine, [episode], TOOL_CALL.write(Answer("Günter Grass"))) == [1.0]
    assert episode.beliefs == []


def test_impossible_settings_are_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match="'igpo' needs a scorer"):
        dataclasses.replace(engine, scorer=None)
    with pytest.raises(ValueError, match="'tips' needs a frozen reference model"):
        dataclasses.replace(engine, reward=PRESETS["tips"])
    with pytest.raises(ValueError, match="'ig-search' needs a corpus"):
        dataclasses.replace(engine, reward=PRESETS["ig-search"])
    with pytest.raises(ValueError, match="'monte-carlo' needs a policy"):
        dataclasses.replace(engine, reward=PRESETS["monte-carlo"])
    with pytest.raises(ValueError, match="max_turns must be a whole number of at least 1"):
        Rules(max_turns=0)
    with pytest.raises(ValueError, match="top_k must be a whole number of at least 1"):
        Search(BM25Index.build(PASSAGES), 0)


def test_a_term_that_fails_leaves_every_episode_as_it_was(engine: Engine) -> None:
    def price(episode: Episode, turn: int) -> float:
        return 1 / (2 - turn)

    reward = RewardFunction("mine", ((1.0, TERMS["gain"]), (1.0, RewardTerm("bad", price))))
    engine = dataclasses.replace(engine, reward=reward)
    first, second = begin(engine, 0, 1)
    step(engine, [second], "<search>drum</search>")
    before = [snapshot(first), snapshot(second)]
    with pytest.raises(ZeroDivisionError):
        step(engine, [first, second], "<search>drum</search>", "<search>river</search>")
    assert [snapshot(first), snapshot(second)] == before
    # The gain of one mention, and the 1 / (2 - 1) of the term.
    assert step(engine, [first], "<search>drum</search>") == [pytest.approx(2 / 11 - 1 / 10 + 1.0)]


def test_a_scorer_that_drops_beliefs_leaves_every_episode_as_it_was(engine: Engine) -> None:
    class Short(MentionScorer):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            return super().score(requests)[1:]

    episodes = begin(engine, 0, 1)
    before = [snapshot(episode) for episode in episodes]
    with pytest.raises(ScoringError, match="1 beliefs for 2 requests"):
        step(dataclasses.replace(engine, scorer=Short()), episodes, "<search>drum</search>", "hm")
    assert [snapshot(episode) for episode in episodes] == before


def test_a_transcript_that_grows_too_long_ends_its_own_episode(engine: Engine) -> None:
    engine = dataclasses.replace(engine, scorer=MentionScorer(longest=2000))
    episodes = begin(engine, 0, 1, 2)
    long = f"<think>{'Grass ' * 500}</think><search>drum</search>"
    rewards = step(engine, episodes, "<search>Günter Grass</search>", long, "<answer>Odra</answer>")
    assert [episode.truncated for episode in episodes] == [False, True, False]
    assert rewards[1] == pytest.approx(-2.0)
    assert rewards[0] > 0.0
    assert rewards[2] == pytest.approx(1.0)
    assert [len(episode.beliefs) for episode in episodes] == [2, 2, 1]


def test_a_prompt_that_is_too_long_is_an_error(engine: Engine) -> None:
    engine = dataclasses.replace(engine, scorer=MentionScorer(longest=2000))
    with pytest.raises(ScoringError, match="the prompt of 'x', with its longest answer, is longer"):
        engine.settle([], engine.begin([AUTHOR, Question("x", "Who? " * 500, ("A",))]))


class Broken(MentionScorer):
    """Fails at a call of that number."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        beliefs = super().score(requests)
        if len(self.calls) == self.at:
            raise ScoringError("down")
        return beliefs


class Half:
    """Answers every second attempt at "Who wrote The Tin Drum?" or any other question rightly."""

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        answers = [episode.question.answers[0] if episode.attempt % 2 else "no" for episode in episodes]
        return [f"<answer>{answer}</answer>" for answer in answers]


ALL = resolve_reward("ig-search(samples=2) + tips(form=paper) + igpo(context=evidence) + monte-carlo")


def test_a_step_asks_each_model_once_for_all_terms(engine: Engine) -> None:
    scorer, reference = MentionScorer(), MentionScorer()
    engine = dataclasses.replace(
        engine, scorer=scorer, reference=reference, corpus=PASSAGES, policy=Half(), reward=ALL
    )
    episodes = begin(engine, 0, 1)
    step(engine, episodes, "<search>drum</search>", "hm")
    # Two plain and two evidence beliefs, and two draws for the turn that found a document.
    assert (scorer.calls, reference.calls) == ([4, 4 + 2], [2, 2])
    assert [len(episode.beliefs) for episode in episodes] == [2, 2]
    assert (
        [len(episode.views) for episode in episodes]
        == [len(episode.measured) for episode in episodes]
        == [2, 2]
    )
    assert set(episodes[0].rewards[0]) == {term.name for _, term in ALL.terms}


def test_a_reference_that_fails_leaves_every_episode_as_it_was(engine: Engine) -> None:
    engine = dataclasses.replace(engine, reference=Broken(at=2), corpus=PASSAGES, policy=Half(), reward=ALL)
    episodes = begin(engine, 0, 1)
    before = [snapshot(episode) for episode in episodes]
    messages = ("<search>drum</search>", "<answer>Danzig</answer>")
    with pytest.raises(ScoringError, match="down"):
        step(engine, episodes, *messages)
    assert [snapshot(episode) for episode in episodes] == before
    assert step(engine, episodes, *messages)[1] == pytest.approx(4.0)  # the F1 of four presets


def test_a_reference_alone_is_enough_where_no_term_reads_the_scorer(engine: Engine) -> None:
    engine = dataclasses.replace(engine, scorer=None, reference=MentionScorer(), reward=PRESETS["tips"])
    (episode,) = begin(engine, 0)
    step(engine, [episode], "<search>drum</search>")
    assert (episode.beliefs, len(episode.views)) == ([], 2)


def test_where_turns_run_out_there_is_nothing_left_to_gain(engine: Engine) -> None:
    engine = dataclasses.replace(
        engine,
        scorer=MentionScorer(longest=2000),
        policy=Half(),
        reward=resolve_reward("value-gain(completions=2)"),
    )
    first, second = begin(engine, 0, 1)
    too_long = f"<think>{'Grass ' * 500}</think><search>drum</search>"
    assert step(engine, [first, second], "<search>drum</search>", too_long) == [0.0, 0.0]
    assert second.truncated
    # An instrument sees that the context is exhausted: nothing is left to complete.
    assert [each["value(completions=2)"] for each in second.measured] == [0.5, 0.0]
    assert step(engine, [first], "<search>drum</search>") == [0.0]
    assert step(engine, [first], "<search>drum</search>") == [0.0]
    # Measured all the same.
    assert [each["value(completions=2)"] for each in first.measured] == [0.5, 0.5, 0.5, 0.0]


# What happens at the edges.


def with_rules(engine: Engine, **rules: Any) -> Engine:
    return dataclasses.replace(engine, rules=dataclasses.replace(engine.rules, **rules))


def test_an_invalid_message_may_end_the_episode(engine: Engine) -> None:
    engine = with_rules(engine, on_invalid="end")
    (episode,) = begin(engine, 0)
    assert step(engine, [episode], "hm") == [pytest.approx(-2.0)]
    assert (episode.end, episode.terminated, episode.turns[0].observation) == ("invalid message", True, "")
    assert len(episode.beliefs) == 1


def test_a_last_turn_for_the_answer_alone(engine: Engine) -> None:
    engine = with_rules(engine, on_limit="answer")
    episodes = begin(engine, 0, 0)
    for _ in range(3):
        step(engine, episodes, "<search>drum</search>", "<search>drum</search>")
    assert [episode.end for episode in episodes] == [None, None]
    last = episodes[0].turns[-1].observation
    assert "only an answer counts. Write <answer>\nanswer\n</answer> to answer." in last
    assert "only an answer" not in episodes[0].turns[-2].observation
    rewards = step(engine, episodes, "<answer>Grass</answer>", "<search>drum</search>")
    assert [episode.end for episode in episodes] == ["answered", "turns exhausted"]
    assert rewards[0] == pytest.approx(1.0)
    refused = episodes[1].turns[-1].action
    assert isinstance(refused, Invalid)
    assert "only an answer is still allowed" in refused.reason
    assert episodes[1].turns[-1].results == ()


def test_an_episode_may_have_turns_of_its_own(engine: Engine) -> None:
    (episode,) = begin(engine, 0)
    episode.max_turns = 1
    step(engine, [episode], "<search>drum</search>")
    assert episode.end is EndReason.TURNS_EXHAUSTED


def test_no_single_document_ends_an_episode(engine: Engine) -> None:
    long = Passage("long", "Long", "The Odra is a river. " * 9000)

    class Verbose:
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return [[long] for _ in queries]

    (episode,) = begin(with_retriever(engine, Verbose()), 2)
    step(with_retriever(engine, Verbose()), [episode], "<search>river</search>")
    turn = episode.turns[0]
    assert len(turn.observation) < 4200
    assert f"[... {turn.cut} characters cut]" in turn.observation
    assert turn.cut + turn.observation.count("The Odra is a river.") * 21 == pytest.approx(
        len(long.text), abs=2
    )
    assert turn.passages == (long,)


def test_a_passage_that_was_shown_is_named_alone_on_request(engine: Engine) -> None:
    limits = dataclasses.replace(engine.rules.limits, repeat_passages=False)
    engine = with_rules(engine, limits=limits)
    (episode,) = begin(engine, 0)
    step(engine, [episode], "<search>Tin Drum novel</search>")
    step(engine, [episode], "<search>Tin Drum novel</search>")
    assert "a novel of 1959" in episode.turns[0].observation
    assert "Doc 1(Title: The Tin Drum) was shown before." in episode.turns[1].observation
    assert episode.turns[1].passages == episode.turns[0].passages


def test_a_message_that_was_cut_off_is_told_so(engine: Engine) -> None:
    (episode,) = begin(engine, 0)
    message = Message("<search>dr", (1, 2), (-1.0, -1.0), cut_off=True)
    engine.settle(engine.play([episode], [message]))
    action = episode.turns[0].action
    assert isinstance(action, Invalid)
    assert action.reason.startswith("the message was cut off at its limit of 2 tokens")
    assert action.reason in episode.turns[0].observation


def test_the_ids_of_a_message_that_were_not_told_are_not_none_at_all(engine: Engine) -> None:
    """A server that tells no ids: what its agent wrote is read by its text."""
    (episode,) = begin(engine, 0)
    engine.settle(engine.play([episode], [Message("<search>dr", (), (), cut_off=True)]))
    said = episode.turns[0].segments[0]
    assert (said.text, said.ids, said.log_probs) == ("<search>dr", None, None)
    engine.settle(engine.play([episode], [Message("", (), ())]))
    assert episode.turns[1].segments[0].ids == ()


def test_an_end_from_outside_makes_the_last_turn_the_last(engine: Engine) -> None:
    episodes = begin(engine, 1, 1)
    for query in ("Tin Drum novel", "Günter Grass writer"):
        paid = step(engine, episodes, *[f"<search>{query}</search>"] * 2)
    assert paid[0] > 0
    changed = engine.end(episodes[0], EndReason.CONTEXT_EXHAUSTED)
    assert episodes[0].truncated
    assert sum(episodes[0].rewards[-1].values()) == pytest.approx(paid[0] + changed)
    assert episodes[0].rewards[-1]["format-penalty"] == -2.0
    assert engine.end(episodes[1], EndReason.ABORTED) == 0.0
    assert sum(episodes[1].rewards[-1].values()) == paid[1]
    with pytest.raises(ValueError, match="has ended already"):
        engine.end(episodes[0], EndReason.ABORTED)
    (fresh,) = begin(engine, 0)
    for reason in (EndReason.ANSWERED, EndReason.INVALID_MESSAGE):
        with pytest.raises(ValueError, match="only a message of the agent"):
            engine.end(fresh, reason)
    with pytest.raises(ValueError, match="cannot end before its first turn"):
        engine.end(fresh, EndReason.CONTEXT_EXHAUSTED)
    engine.end(fresh, EndReason.ABORTED)
    assert fresh.done


def test_a_reward_for_tools_that_are_not_there_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match=r"pays turns that call open, but the tools are search"):
        dataclasses.replace(engine, reward=resolve_reward("gain(tools=open+search) + f1"))
