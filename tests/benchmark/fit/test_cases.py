"""What a scorer is asked: evidence that is right, foreign or faked, and nothing else that differs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest

from igpo_gym.benchmark.fit.cases import TRANSCRIPTS, Case, make_cases, plant, requests, wordings
from igpo_gym.data.world import load_world
from igpo_gym.episode import Passage, Question, Segment
from igpo_gym.errors import SpecError
from igpo_gym.protocols import PROTOCOLS, TAGS, AnswerProbe, TextProtocol, igpo


@cache
def world_cases(count: int = 20) -> list[Case]:
    world = load_world("test")
    passages = {passage.id: passage for passage in world.passages}
    questions = world.questions[:60]
    return make_cases(questions, [tuple(passages[id_] for id_ in q.evidence) for q in questions], count)


def test_foreign_evidence_is_as_much_says_no_answer_and_is_that_of_others() -> None:
    for case in world_cases():
        assert len(case.foreign) == len({each.id for each in case.foreign}) == len(case.gold)
        assert not {each.id for each in case.foreign} & set(case.question.evidence)
        for passage in case.foreign:
            assert case.question.answers[0].lower() not in f"{passage.title} {passage.text}".lower()
        lengths = [sum(len(each.text) for each in some) for some in (case.gold, case.foreign)]
        assert 0.8 < lengths[0] / lengths[1] < 1.25


def test_planting_puts_the_answer_in_and_nothing_else() -> None:
    for case in world_cases():
        first, answer = case.planted[0], case.question.answers[0]
        assert first.text.replace(f" {answer} ", " ", 1) == case.foreign[0].text
        assert first.title == case.foreign[0].title
        assert case.planted[1:] == case.foreign[1:]
    assert plant("alone", "Danzig") == "Danzig alone"
    assert plant("", "Danzig") == "Danzig "


def test_the_wrong_answer_is_another_and_stands_nowhere() -> None:
    for case in world_cases():
        assert case.wrong != case.question.answers[0]
        for passage in (*case.gold, *case.foreign):
            assert case.wrong.lower() not in f"{passage.title} {passage.text}".lower()


def test_draws_are_the_same_whoever_else_is_asked() -> None:
    assert world_cases(20)[:5] == world_cases(5)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_transcripts_differ_in_their_passages_alone_but_for_named_thoughts(protocol: TextProtocol) -> None:
    (case,) = world_cases(1)
    asked = requests(case, protocol)
    assert [name for name in asked if name in TRANSCRIPTS] == list(TRANSCRIPTS)
    assert asked["bare"].segments == protocol.prompt(case.question)
    messages = {name: _said(asked[name].segments) for name in TRANSCRIPTS}
    assert len({messages[name] for name in ("gold", "reversed", "foreign", "planted", "unclaimed")}) == 1
    assert messages["contradicted"] == messages["claimed"] != messages["gold"]
    for name in ("contradicted", "claimed"):
        assert f"I think the answer is {case.wrong}" in messages[name]
    assert case.wrong not in "".join(segment.text for segment in asked["gold"].segments)
    wrong = {name for name, request in asked.items() if request.answers == (case.wrong,)}
    assert wrong == {"claimed", "unclaimed"}
    assert all(case.question.answers[0] not in request.origin for request in asked.values())


def _said(segments: Sequence[Segment]) -> str:
    return "".join(each.text for each in segments if each.author == "agent")


def test_other_wordings_keep_the_probe_s_frame() -> None:
    for probe in (TAGS.probe, igpo().probe):
        for other in wordings(probe):
            assert other.suffix == probe.suffix
            assert other.prefix != probe.prefix
            assert other.prefix.endswith(probe.prefix[probe.prefix.index("</think>") :])
            assert other.prefix.startswith("<think>") == probe.prefix.startswith("<think>")
    assert wordings(AnswerProbe("The answer is ", ".")) == []


def test_too_few_lenders_are_a_wrong_setting_that_names_the_question_not_the_answer() -> None:
    questions = [Question(str(n), "Who?", (f"Grass {n}",), (f"p{n}",)) for n in range(2)]
    own = [(Passage(f"p{n}", f"T{n}", f"It was Grass {n}."),) for n in range(2)]
    with pytest.raises(SpecError, match=r"question '0'.*give more questions") as caught:
        make_cases(questions[:1], own[:1])
    assert "Grass" not in str(caught.value)
