from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from itertools import takewhile

import pytest
import torch

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import BELIEF, Belief, BeliefView, Episode
from igpo_gym.errors import ScoringError
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import resolve_reward
from igpo_gym.rewards.belief_requests import belief_request
from igpo_gym.rewards.instruments import Instruments, Legibility
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer, play
from tests.lm.tiny import CHATML, make_model, make_tokenizer

TAGGED = BeliefView(span="tagged")


def test_each_belief_is_due_once_however_many_terms_read_it(scorer: MentionScorer) -> None:
    instruments = Instruments(scorer, corpus=PASSAGES)
    rewards = [
        "igpo",
        "watermark",
        "igpo(context=evidence)",
        "ig-search(samples=2)",
        "log-gain(aliases=first)",
    ]
    due = instruments.due([resolve_reward(reward) for reward in rewards])
    assert due.views == (BELIEF, BeliefView("evidence"), BeliefView(draw=0), BeliefView(draw=1))
    assert not Instruments().due([resolve_reward("igpo")]).views


def test_a_models_beliefs_of_all_states_are_one_call(engine: Engine) -> None:
    episodes = [play(engine, 0, "<search>Tin Drum</search>"), play(engine, 1, "hm", "<search>zzz</search>")]
    states = [(episode, turn) for episode in episodes for turn in range(len(episode.turns) + 1)]
    scorer, reference = MentionScorer(), MentionScorer()
    views = (BELIEF, BeliefView("evidence"), BeliefView(draw=0), BeliefView(span="tagged", model="reference"))
    Instruments(scorer, reference, corpus=PASSAGES).beliefs(states, views)
    # Only one turn of five found a document that another could stand in for.
    assert (scorer.calls, reference.calls) == ([2 * 5 + 1], [5])
    both = MentionScorer()
    Instruments(both, both, corpus=PASSAGES).beliefs(states, views)
    assert both.calls == [3 * 5 + 1]


def test_a_turn_that_found_nothing_has_no_other_documents(engine: Engine) -> None:
    episode = play(engine, 0, "<search>zzz</search>", "hm")
    views = (BELIEF, BeliefView(draw=0))
    for beliefs in Instruments(MentionScorer(), corpus=PASSAGES).beliefs([(episode, 1), (episode, 2)], views):
        assert beliefs[BELIEF] == beliefs[BeliefView(draw=0)]


def test_a_tagged_belief_is_a_sum_over_tokens(engine: Engine) -> None:
    episode = play(engine, 0, "<search>Tin Drum</search>")
    (beliefs,) = Instruments(MentionScorer()).beliefs([(episode, 1)], (TAGGED,))
    # With its tags no answer is mentioned: log(1/10) a word, and the first alias has two.
    belief = beliefs[TAGGED]
    assert belief is not None
    assert belief.log_probs == pytest.approx((2 * math.log(0.1), math.log(0.1)))


def test_a_scorer_that_does_not_count_tokens_cannot_sum(engine: Engine) -> None:
    class Silent(MentionScorer):
        def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
            return [Belief(belief.log_probs) for belief in super().score(requests)]

    episode = play(engine, 0)
    with pytest.raises(ScoringError, match="does not tell their log-probabilities"):
        Instruments(Silent()).beliefs([(episode, 0)], (TAGGED,))
    assert Instruments(Silent()).beliefs([(episode, 0)], (BELIEF,))


@pytest.mark.parametrize("chat_template", [None, CHATML])
def test_a_tagged_sum_is_that_of_the_models_own_forward_pass(
    engine: Engine, chat_template: str | None
) -> None:
    tokenizer = make_tokenizer(chat_template)
    model = make_model("llama")
    scorer = TransformersScorer(model, tokenizer)
    episode = play(engine, 0, "<search>Tin Drum</search>")
    (beliefs,) = Instruments(scorer).beliefs([(episode, 1)], (TAGGED,))
    belief = beliefs[TAGGED]
    assert belief is not None
    for answer, total in zip(QUESTIONS[0].answers, belief.log_probs, strict=True):
        context = scorer.framing.ids(episode.context(1))
        ids = scorer.framing.text_ids(f"<answer>{answer}</answer>")
        with torch.no_grad():
            log_probs = model(torch.tensor([context + ids])).logits[0, :-1].double().log_softmax(-1)
        expected = sum(float(log_probs[len(context) - 1 + place, token]) for place, token in enumerate(ids))
        assert total == pytest.approx(expected, abs=1e-3)


def test_a_drawn_belief_costs_the_documents_and_a_question(engine: Engine) -> None:
    scorer = TransformersScorer(make_model("llama"), make_tokenizer())
    episode = play(engine, 0, "<search>Tin Drum</search>")
    instruments = Instruments(scorer, corpus=PASSAGES)

    def tokens(*views: BeliefView) -> int:
        before = scorer.stats.tokens_forwarded
        instruments.beliefs([(episode, 1)], views)
        return scorer.stats.tokens_forwarded - before

    turn_and_ask, ask = tokens(BELIEF), tokens(BELIEF)
    assert turn_and_ask - ask == len(scorer.framing.ids(episode.context(1)))
    drawn = scorer.framing.ids(belief_request(episode, 1, BeliefView(draw=0), TAGS, PASSAGES).segments)
    pairs = zip(drawn, scorer.framing.ids(episode.context(1)), strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    # The prompt, the message and what the two replies have in common are not read again.
    assert tokens(BELIEF, BeliefView(draw=0)) == ask + (len(drawn) - shared + ask)


def test_documents_that_make_it_too_long_are_taken_for_the_real_ones(engine: Engine) -> None:
    long = dataclasses.replace(PASSAGES[5], text="Grass " * 500)
    episode = play(engine, 0, "<search>Tin Drum</search>")
    instruments = Instruments(MentionScorer(longest=2000), corpus=(long, long))
    (beliefs,) = instruments.beliefs([(episode, 1)], (BELIEF, BeliefView(draw=0)))
    assert beliefs[BeliefView(draw=0)] == beliefs[BELIEF] == episode.beliefs[1]


def test_a_belief_that_cannot_be_had_stays_what_it_was(engine: Engine) -> None:
    episode = play(engine, 0, "<search>Tin Drum</search>", f"<think>{'Grass ' * 500}</think>")
    views = (BELIEF, BeliefView("evidence"))
    beliefs = Instruments(MentionScorer(longest=2000)).beliefs([(episode, turn) for turn in range(3)], views)
    copy = Episode(episode.question, TAGS.prompt(episode.question))
    assert [copy.believe(found) for found in beliefs] == [True, True, False]
    assert copy.beliefs[2] == copy.beliefs[1] == episode.beliefs[1]
    assert copy.belief(2, BeliefView("evidence")) == copy.belief(1, BeliefView("evidence"))
    with pytest.raises(ScoringError, match="the prompt of 'q-author', with its longest answer, is longer"):
        Instruments(MentionScorer(longest=10)).beliefs([(episode, 0), (episode, 1)], views)
    with pytest.raises(LookupError):
        Episode(episode.question, copy.prompt).believe(beliefs[2])


@pytest.mark.parametrize(
    ("reward", "problem"),
    [
        ("igpo", "reward 'igpo' needs a scorer, but scorer=None"),
        ("tips", "reward 'tips' needs a frozen reference model: give reference="),
        ("ig-search", "reward 'ig-search' needs a scorer"),
        ("monte-carlo", "reward 'monte-carlo' needs a policy that completes the episodes: give policy="),
    ],
)
def test_what_is_missing_is_said(reward: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Instruments().check(resolve_reward(reward))


def test_random_documents_need_a_corpus(scorer: MentionScorer) -> None:
    with pytest.raises(ValueError, match="'ig-search' needs a corpus to draw random documents from"):
        Instruments(scorer).check(resolve_reward("ig-search"))


class Even:
    """Finds every answer equally likely."""

    def __init__(self, prob: float) -> None:
        self.belief = math.log(prob)

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        return [Belief(tuple(self.belief for _ in request.answers)) for request in requests]


@pytest.mark.parametrize(("prob", "warnings"), [(5e-7, 1), (9e-6, 1), (9e-5, 1), (2e-4, 0)])
def test_a_scorer_that_cannot_read_the_questions_is_told_once(
    engine: Engine, prob: float, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    reads = dataclasses.replace(engine, scorer=Even(prob))
    play(reads, 0, "<search>Tin Drum</search>", "<search>Grass</search>")
    assert "cannot read these questions" not in caplog.text  # three states may be chance
    for question in (1, 2, 1, 2, 1):
        play(reads, question, "<search>Grass</search>", "<search>Danzig</search>")
    assert caplog.text.count("the scorer cannot read these questions") == warnings
    assert caplog.text.count(f"none is above {prob:.0e}") == warnings
    assert caplog.text.count('"smollm2"') == warnings


def test_one_belief_that_is_read_settles_it(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    seen = Legibility()
    for probs in ([1e-5] * 15, [], [1e-4], [1e-9] * 100):
        seen.see(probs)
    assert caplog.text == ""
