"""The placebo asks about another question's answer, and about nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from igpo_gym.config import EnvConfig
from igpo_gym.data import resolve_questions
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.metrics import normalize
from igpo_gym.envs.engine import When
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Answer, Belief, Question
from igpo_gym.errors import DataError, TranscriptTooLongError
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import resolve_reward, split
from igpo_gym.rewards.placebo import Placebo
from igpo_gym.scorers.interface import BeliefRequest
from tests.conftest import MentionScorer

WORLD = "world:test#hops=2,documents=60,questions=40"
REWARD = "placebo-gain + f1 - 2*format-penalty"


def test_another_question_of_a_world_has_as_many_hops_and_the_same_kind_of_answer() -> None:
    questions = resolve_questions("world#hops=1-4,questions=300")
    placebo = Placebo(MentionScorer(), TAGS, questions)
    shuffled = replace(questions, questions=questions.questions[::-1])
    again = Placebo(MentionScorer(), TAGS, shuffled)
    kinds = set()
    for question in questions.questions:
        other = placebo.other(question)
        assert normalize(other.answers[0]) != normalize(question.answers[0])
        assert other.hops == question.hops
        assert questions.kind(other) == questions.kind(question)
        assert again.other(question) == other, "the ids alone decide"
        kinds.add(questions.kind(question))
    assert len(kinds) > 4, kinds


def test_kinds_of_a_world_are_those_of_its_entities() -> None:
    questions = resolve_questions("world:test#hops=1,questions=100")
    asked = {question.text.split()[0]: questions.kind(question) for question in questions.questions}
    assert asked["Who"] == "person"


def test_answers_that_differ_in_their_form_alone_are_one_answer() -> None:
    named = ("The Danzig", "danzig.", "Danzig")
    questions = [Question(str(n), "Where?", (each,), hops=1) for n, each in enumerate(named)]
    with pytest.raises(DataError, match="take more questions") as problem:
        Placebo(MentionScorer(), TAGS, QuestionSet("few", questions)).other(questions[0])
    assert "anzig" not in str(problem.value)
    more = QuestionSet("more", [*questions, Question("9", "Where?", ("Odra",), hops=1)])
    assert Placebo(MentionScorer(), TAGS, more).other(questions[0]).id == "9"


@pytest.mark.parametrize("measure", ["step", "end"])
def test_a_turn_is_paid_for_what_it_says_of_the_other_answer(measure: When) -> None:
    questions, made = assemble(EnvConfig(questions=WORLD, scorer=MentionScorer(), reward=REWARD))
    engine = replace(made, measure=measure)
    question = questions.questions[0]
    other = Placebo(MentionScorer(), TAGS, questions).other(question).answers[0]
    (episode,) = engine.begin([question])
    engine.start([episode])
    says = f"<think>{other}, {other}</think><search>xyzzy</search>"
    for message in (says, TAGS.write(Answer(question.answers[0]))):
        engine.settle(engine.play([episode], [message]))
    if measure == "end":
        engine.price([episode])
    # Mentions go from 0 to 2 in the message itself; p is (1 + mentions) / (10 + mentions).
    mentions = sum(segment.text.count(other) for segment in episode.context(1))
    assert mentions >= 2
    expected = (1 + mentions) / (10 + mentions) - 1 / 10
    divided = split(episode, resolve_reward(REWARD))
    assert divided.gains == (pytest.approx(expected),)
    assert divided.outcome == 1.0
    assert episode.measured[2] == episode.measured[1], "an answer leaves no state to believe in"


class ShortScorer(MentionScorer):
    """Reads no transcript with more than two segments."""

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        if long := [place for place, each in enumerate(requests) if len(each.segments) > 2]:
            raise TranscriptTooLongError("too long", tuple(long))
        return super().score(requests)


def test_a_state_that_cannot_be_read_has_the_value_before_it() -> None:
    questions, engine = assemble(EnvConfig(questions=WORLD, scorer=MentionScorer(), reward=REWARD))
    (episode,) = engine.begin(questions.questions[:1])
    engine.start([episode])
    engine.settle(engine.play([episode], ["<search>xyzzy</search>"]))
    placebo = Placebo(ShortScorer(), TAGS, questions)
    assert placebo.measure([(episode, 0), (episode, 1)]) == pytest.approx([0.1, 0.1])
