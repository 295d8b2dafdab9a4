import re
from random import Random

import pytest

from igpo_gym.data.world import World
from igpo_gym.data.world.oracle import judge_searches
from igpo_gym.tools.opening import OPEN
from nano.playing import MAX_TURNS, glimpse_rows, transcript_row, transcript_rows
from nano.rows import ACT, KEPT, NAMED, Part


def test_a_transcript_is_tokenized_segment_by_segment_as_a_scorer_does(episodes, encode):
    for episode in episodes:
        row = transcript_row(episode, encode, ())
        expected = [encode.bos]
        for segment in episode.segments if not episode.terminated else episode.segments[:-1]:
            expected += encode(segment.text)
        assert row.ids[: len(expected)] == expected


def test_only_useful_messages_are_taught_and_every_turn_has_a_belief(episodes, encode):
    for episode in episodes:
        row = transcript_row(episode, encode, ())
        answered = sum(branch.ids[: len(encode.prefix)] == encode.prefix for branch in row.branches)
        replies = sum(bool(turn.action.kind != "answer") for turn in episode.turns)
        assert answered == replies + 1
        for branch in row.branches:
            if branch.part in (Part.ANSWER, Part.BELIEF):
                answer = encode(episode.question.answers[0])
                assert branch.ids[len(encode.prefix) :] == answer + encode.suffix[:1]


def test_the_final_message_has_the_form_of_the_probe(episodes, encode):
    episode = next(e for e in episodes if e.terminated)
    row = transcript_row(episode, encode, ())
    answer = encode(episode.question.answers[0])
    assert row.ids[-len(encode.prefix + answer + encode.suffix) - 1 :] == [
        *encode.prefix,
        *answer,
        *encode.suffix,
        encode.eos,
    ]


def test_glimpses_show_all_but_the_last_document_of_a_chain_and_mostly_mention_the_answer(tokenizer, encode):
    world = World(seed=1)
    asked = {question.text: question for question in World(500, 120, (2, 3), seed=1).all_questions()}
    rows = glimpse_rows(world, encode, Random(0), 30)
    assert len(rows) == 30
    mentioned = 0
    for row in rows:
        text = tokenizer.decode(row.ids)
        question = asked[text.partition("Question: ")[2].partition("\n")[0]]
        for number, branch in zip(question.evidence[:-1], row.branches, strict=True):
            before = tokenizer.decode(row.ids[: branch.start]).rpartition("<information>")[2]
            assert f"Title: {world.entity(int(number)).name})" in before
            taught = [token for token, weight in zip(branch.ids, branch.weights, strict=True) if weight]
            assert tokenizer.decode(taught).strip() == question.answers[0]
        assert [branch.part for branch in row.branches][-1] == Part.GLIMPSE
        mentioned += question.answers[0] in text
    assert mentioned > 18


def test_the_names_in_a_query_weigh_more_than_its_other_words(episodes, encode):
    row = transcript_row(episodes[0], encode, [episodes[0].question.answers[0], "Kerbus"])
    assert NAMED not in row.weights
    judged = zip(episodes[0].turns, judge_searches(episodes[0]), strict=True)
    turn = next(turn for turn, verdict in judged if verdict == "useful")  # the others are not taught
    name = re.search(r"(?:\b[A-Z]\w+ ?)+", turn.message.partition("<search>")[2])
    assert name is not None
    ids = encode(name[0].strip())
    row = transcript_row(episodes[0], encode, [name[0].strip()])
    stressed = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight == NAMED]
    assert stressed
    assert stressed == ids * (len(stressed) // len(ids))
    assert ACT in row.weights


def texts(tokenizer, rows):
    return [tokenizer.decode(row.ids) for row in rows]


def test_a_pupil_lies_in_thoughts_alone_and_its_lies_are_not_taught(tokenizer, encode):
    world = World(questions=40, hops=(1, 2), seed=5)
    answers = {question.text: question.answers[0] for question in world.all_questions()}
    lies = 0
    for row in transcript_rows(world, encode, Random(0), (2,), 0.0, 0.0, lies=0.6):
        text = tokenizer.decode(row.ids)
        answer = answers[text.partition("Question: ")[2].partition("\n")[0].strip()]
        for thought in re.findall(r"<think>(.*?)</think>", text.partition("Question:")[2], re.DOTALL):
            if lie := re.search(r"I think the answer is (.*)|<information>(.*)</information>", thought, re.S):
                lies += 1
                assert not (lie[1] or lie[2]).strip().removesuffix(".").endswith(answer)
    assert lies > 20
    for row in transcript_rows(world, encode, Random(0), (2,), 0.0, 0.0, lies=1.0):
        taught = [
            token
            for token, weight, part in zip(row.ids, row.weights, row.parts, strict=True)
            if weight and part == Part.ACT
        ]
        assert "<information>" not in tokenizer.decode(taught)
        assert "I think" not in tokenizer.decode(taught)


def test_a_pupil_often_goes_on_when_it_knows_enough(encode):
    world = World(questions=60, hops=(1, 1), seed=6)
    rows = transcript_rows(world, encode, Random(0), (1,), 0.0, 0.0, lies=0.0)
    kept = [
        branch
        for row in rows
        for branch in row.branches
        if branch.part == Part.ANSWER and branch.weights[-1] == KEPT
    ]
    assert len(kept) > 20


def test_where_searches_show_beginnings_documents_are_opened(tokenizer, encode):
    world = World(questions=30, hops=(1, 2), seed=7, shown=1)
    rows = transcript_rows(world, encode, Random(0), (1, 2), 0.0, 0.0, lies=0.0)
    played = [text.partition("Question:") for text in texts(tokenizer, rows)]
    assert all(f"<{OPEN.name}>" in prompt for prompt, _, _ in played)
    assert sum(f"<{OPEN.name}>" in transcript for _, _, transcript in played) > 10
    assert sum("<answer>" in transcript for _, _, transcript in played) > 15


@pytest.mark.parametrize("top_k", [1, 3])
def test_a_transcript_has_as_many_turns_as_it_may(encode, top_k):
    world = World(questions=20, hops=(3, 4), seed=8)
    rows = transcript_rows(world, encode, Random(0), (top_k,), 0.0, 0.0, lies=0.0)
    beliefs = [sum(branch.part in (Part.ANSWER, Part.BELIEF) for branch in row.branches) for row in rows]
    assert max(beliefs) == MAX_TURNS + 1
    assert min(beliefs) >= 4
