from random import Random

from igpo_gym.data.world import World
from nano.reading import document_rows, fact_rows, lookup_rows, name_rows
from nano.rows import Part


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
