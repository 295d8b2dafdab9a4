import re
from dataclasses import replace
from functools import partial
from random import Random

import pytest
import torch

from igpo_gym.agents.policies.scripted import ScriptedAgent, noisy
from igpo_gym.data.world import World, load_world
from igpo_gym.data.world.oracle import judge_searches
from igpo_gym.protocols import TAGS
from igpo_gym.search import BM25Index
from nano.lessons import (
    FIRST_SEED,
    LESSONS,
    Arrangement,
    Encoder,
    Part,
    batches,
    choice_rows,
    document_rows,
    fact_rows,
    glimpse_rows,
    lesson_rows,
    lookup_rows,
    name_rows,
    pack,
    play_all,
    stated,
    transcript_row,
)
from nano.network import Llama, Shape, initialize
from nano.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(worlds=3)


@pytest.fixture(scope="module")
def encode(tokenizer):
    return Encoder(tokenizer)


@pytest.fixture(scope="module")
def episodes():
    world = load_world("validation", documents=100, questions=30)
    agent = ScriptedAgent(partial(noisy, rate=0.4), world)
    return play_all(agent, world.questions, BM25Index.build(world.passages), top_k=2)


def small_model():
    model = Llama(Shape(width=32, layers=2, heads=2, feedforward=48))
    initialize(model, torch.Generator().manual_seed(0))
    return model


def test_packed_branches_give_the_same_logits_as_rows_of_their_own(episodes, encode):
    rows = [transcript_row(episode, encode, ()) for episode in episodes[:6]]
    batch, model = pack(rows), small_model()
    with torch.no_grad():
        packed = model(batch.ids, batch.positions, batch.mask)
        plain = max(len(row.ids) for row in rows)
        for i, row in enumerate(rows):
            at = plain
            for branch in row.branches:
                ids = torch.tensor([row.ids[: branch.start] + branch.ids])
                alone = model(ids, torch.arange(ids.shape[1])[None], torch.empty(1, 1, 0, ids.shape[1]))
                size = len(branch.ids)
                torch.testing.assert_close(packed[i, at : at + size], alone[0, -size:], atol=1e-5, rtol=1e-4)
                at += size


def test_targets_are_the_next_tokens_and_branches_do_not_leak(episodes, encode):
    rows = [transcript_row(episode, encode, ()) for episode in episodes[:4]]
    batch = pack(rows)
    plain = max(len(row.ids) for row in rows)
    for i, row in enumerate(rows):
        n = len(row.ids)
        eos = batch.targets[i, : n - 1] == encode.eos
        same = batch.targets[i, : n - 1] == batch.ids[i, 1:n]
        assert (same | eos).all()
        at = plain
        for branch in row.branches:
            for j, (token, weight) in enumerate(zip(branch.ids[1:], branch.weights[1:], strict=True)):
                assert batch.targets[i, at + j] == token
                assert batch.weights[i, at + j] == pytest.approx(weight)
            at += len(branch.ids)


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


def test_facts_and_documents_ask_what_they_state(tokenizer, encode):
    world = World(seed=1)
    for row in fact_rows(world, encode, Random(0), 3, 10) + document_rows(world, encode, Random(0), 2, 5):
        assert row.branches
        text = tokenizer.decode(row.ids)
        for branch in row.branches:
            taught = [token for token, weight in zip(branch.ids, branch.weights, strict=True) if weight]
            answer = tokenizer.decode(taught).strip()
            assert answer in text


def test_lookups_give_the_answer_after_what_was_searched_for(tokenizer, encode):
    for row in lookup_rows(World(seed=1), encode, Random(0), 10):
        text = tokenizer.decode(row.ids)
        answers = [branch for branch in row.branches if branch.part == Part.RECALL]
        assert len(answers) == text.count("<search>")
        for branch in row.branches:
            taught = [token for token, weight in zip(branch.ids, branch.weights, strict=True) if weight]
            before = tokenizer.decode(row.ids[: branch.start])
            shown = before.rpartition("</search>")[2]
            assert tokenizer.decode(taught).strip() in shown


def test_names_come_twice_and_only_what_continues_them_is_taught(tokenizer, encode):
    world = World(documents=100, seed=3)
    names = {world.entity(number).name for number in range(100)}
    first_syllables = {encode(name)[0] for name in names}
    for row in name_rows(world, encode, Random(0), 5):
        listed = [name.strip() for name in tokenizer.decode(row.ids[1:]).split(",")[:-1]]
        count = len(listed) // 2
        assert set(listed) <= names
        assert sorted(listed[:count]) == sorted(listed[count:])
        taught = [place for place, weight in enumerate(row.weights) if weight]
        assert min(taught) > sum(len(encode(name)) + 1 for name in listed[:count])
        given = [place for place in range(min(taught) - 1, len(row.ids)) if place not in taught]
        assert len(given) == count
        assert {row.ids[place] for place in given} <= first_syllables
        for branch, name in zip(row.branches, listed[count:], strict=False):
            assert tokenizer.decode(branch.ids).split("<answer>")[1].strip() == name
            assert branch.weights.index(1.0) == len(encode.prefix) + 1


def test_choices_show_what_decides_them(tokenizer, encode):
    for row in choice_rows(World(seed=1), encode, Random(0), 12):
        question, shown = tokenizer.decode(row.ids).split("<information>")[-2:]
        (branch,) = row.branches
        taught = [token for token, weight in zip(branch.ids, branch.weights, strict=True) if weight]
        answer = tokenizer.decode(taught).strip()
        assert answer in question
        assert f"Title: {answer}" in shown
        years = re.findall(r"Title: ([^)]+)\)[^\n]*?(?:opened in|appeared in|founded in) (\d{4})", shown)
        if len(years) == 2 and re.search("older|first|earlier", question):
            assert answer == min(years, key=lambda found: int(found[1]))[0]


def test_glimpses_show_the_first_document_of_a_chain_and_mostly_mention_the_answer(tokenizer, encode):
    world = World(seed=1)
    asked = {question.text: question for question in World(500, 120, (2, 2), seed=1).all_questions()}
    rows = glimpse_rows(world, encode, Random(0), 30)
    assert len(rows) == 30
    mentioned = 0
    for row in rows:
        text = tokenizer.decode(row.ids)
        question = asked[text.partition("Question: ")[2].partition("\n")[0]]
        assert f"Title: {world.entity(int(question.evidence[0])).name})" in text
        (branch,) = row.branches
        taught = [token for token, weight in zip(branch.ids, branch.weights, strict=True) if weight]
        assert tokenizer.decode(taught).strip() == question.answers[0]
        mentioned += question.answers[0] in text
    assert mentioned > 18


def test_weights_of_one_part_can_be_raised(episodes, encode):
    row = transcript_row(episodes[0], encode, ())
    raised = row.weighted(Part.ACT, 3.0)
    for before, after, part in zip(row.weights, raised.weights, row.parts, strict=True):
        assert after == before * (3.0 if part == Part.ACT else 1.0)
    for plain, branch in zip(row.branches, raised.branches, strict=True):
        factor = 3.0 if plain.part == Part.ACT else 1.0
        assert branch.weights == [weight * factor for weight in plain.weights]


def test_a_shortened_document_keeps_what_decides_the_question():
    world = World(seed=2, hops=(1, 3), questions=60)
    for question in world.all_questions():
        deciding = stated(world, question)
        assert set(deciding) == set(question.evidence)
        passages = [world.passage(int(number)) for number in question.evidence]
        shown = Arrangement(deciding, Random(0), brief=True, shuffle=True)(passages)
        assert {passage.id for passage in shown} == set(question.evidence)
        for passage in shown:
            assert deciding[passage.id] in passage.text
            sentences = world.passage(int(passage.id)).text.removesuffix(".").split(". ")
            assert set(passage.text.removesuffix(".").split(". ")) <= set(sentences)


def test_the_names_in_a_query_weigh_more_than_its_other_words(episodes, encode):
    from nano.lessons import ACT, NAMED

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


@pytest.mark.slow
def test_chunks_are_functions_of_seed_and_number(encode):
    for lesson in LESSONS:
        first, again = (lesson_rows(lesson, 0, 3, encode) for _ in range(2))
        assert first == again
        assert first != lesson_rows(lesson, 0, 4, encode)


def test_batches_hold_every_row_once_and_keep_to_their_size(encode):
    rows = lesson_rows(LESSONS[1], 0, 0, encode)
    made = batches(rows, 2000, Random(0))
    assert sum(batch.size for batch in made) == sum(row.length for row in rows)
    assert max(batch.size for batch in made) <= 2000


def test_rows_that_are_too_long_are_left_out(encode):
    lesson = LESSONS[-1]
    lengths = [len(row.ids) for row in lesson_rows(replace(lesson, longest=10**9), 0, 3, encode)]
    kept = [len(row.ids) for row in lesson_rows(replace(lesson, longest=700), 0, 3, encode)]
    assert kept == [length for length in lengths if length <= 700] != lengths


def test_training_worlds_are_none_that_a_user_meets():
    assert FIRST_SEED > 100_000
    assert TAGS.name == "tags"
