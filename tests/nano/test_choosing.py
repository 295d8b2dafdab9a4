import re
from random import Random

import pytest

from igpo_gym.data.world import World
from igpo_gym.data.world.language import DATED, RELATIONS, WHICH_FORMS
from nano.choosing import QUESTIONS, TURNED, asked_rows, choice_rows, pair_rows
from nano.rows import Part


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


def test_searched_choices_search_for_each_candidate_and_show_its_document(tokenizer, encode):
    for row in choice_rows(World(seed=1), encode, Random(0), 12, searched=1.0):
        prompt, *turns = re.split(r"(?=<think> I need)", tokenizer.decode(row.ids))
        question = prompt.rpartition("Question:")[2]
        assert len(turns) == 2
        named = []
        for turn in turns:
            query = re.search(r"<search>(.*?)</search>", turn)[1]
            (name,) = (
                title
                for title in re.findall(r"Title: ([^)]+)\)", turn)
                if title in query and title in question
            )
            named.append(name)
        (branch,) = row.branches
        taught = [token for token, weight in zip(branch.ids, branch.weights, strict=True) if weight]
        assert len(set(named)) == 2
        assert tokenizer.decode(taught).strip() in named


SAID = {
    name: [*RELATIONS[name].sentences, *TURNED[name]] if name in RELATIONS else [*TURNED[name]]
    for name in TURNED
}
SAID["year"] += [form.replace("{year}", "{y}") for forms in DATED.values() for form in forms]
NAME = r"(?:[Tt]he )?((?:[A-Z][a-z]+ ?)+|\d{4})"


def said(text):
    """The pairs of entity and value that sentences state, read back by the patterns of their forms."""
    found = {}
    for sentence in re.findall(r"[^.\n]+\.", text.partition("<information>")[2]):
        for form in (form for forms in SAID.values() for form in forms):
            places = sorted(("{x}", "{y}"), key=form.index)
            pattern = re.escape(form).replace(r"\{x\}", NAME).replace(r"\{y\}", NAME)
            if match := re.fullmatch(pattern, sentence.strip()):
                by_place = dict(zip(places, match.groups(), strict=True))
                found[by_place["{x}"]] = by_place["{y}"]
    return found


def assert_right(question, answer, part, pairs):
    """That an answer follows from what is said of each entity."""
    if part == Part.OLDEST:
        assert answer == min(pairs, key=lambda name: int(pairs[name]))
    elif part == Part.BACKWARD:
        assert pairs[answer] in question
    else:
        named = [name for name in pairs if name in question.partition(",")[2]]
        assert len(named) == 2
        assert answer in named
        if all(value.isdigit() for value in pairs.values()):
            assert answer == min(named, key=lambda name: int(pairs[name]))
        else:
            assert pairs[answer] in question.partition(",")[0]


@pytest.mark.parametrize("turned", [0.0, 1.0, 0.5])
def test_pairs_are_answered_as_their_sentences_say(tokenizer, encode, turned):
    asked = set()
    for row in pair_rows(World(seed=1), encode, Random(0), 30, turned, tuple(QUESTIONS)):
        pairs = said(tokenizer.decode(row.ids))
        assert 2 <= len(pairs) <= 4
        for branch in row.branches:
            question, _, rest = tokenizer.decode(branch.ids).partition("?")
            answer = rest.partition("<answer>")[2].strip()
            taught = [token for token, weight in zip(branch.ids, branch.weights, strict=True) if weight]
            assert tokenizer.decode(taught).strip() == answer
            asked.add(branch.part)
            assert_right(question, answer, branch.part, pairs)
    assert asked == {Part.BACKWARD, Part.OLDEST, Part.CHOICE}


def test_asked_rows_are_answered_as_the_text_behind_the_question_says(tokenizer, encode):
    asked, shown = set(), set()
    for row in asked_rows(World(seed=1), encode, Random(0), 60):
        text = tokenizer.decode(row.ids)
        question = re.search(r"Question: (.*)\?", text)[1]
        (branch,) = row.branches
        answer = tokenizer.decode(branch.ids).partition("<answer>")[2].strip()
        documents = dict(re.findall(r"Title: ([^)]+)\) ([^\n]+)", text))
        shown.add(bool(documents))
        asked.add(branch.part)
        if not documents:
            assert_right(question, answer, branch.part, said(text))
        elif re.search("older|came first", question):
            named = [name for name in documents if branch.part == Part.OLDEST or name in question]
            years = {name: int(re.search(r"in (\d{4})", documents[name])[1]) for name in named}
            assert answer == min(years, key=years.get)
        else:
            value = re.search(NAME, question.partition(",")[0].partition(" ")[2])[1].strip()
            assert value in documents[answer]
    assert asked == {Part.BACKWARD, Part.OLDEST, Part.CHOICE}
    assert shown == {True, False}


def test_a_turned_sentence_says_the_value_first(tokenizer, encode):
    for row in pair_rows(World(seed=1), encode, Random(0), 10, 1.0, ("backward",)):
        text = tokenizer.decode(row.ids)
        for branch in row.branches:
            answer = tokenizer.decode(branch.ids).partition("<answer>")[2].strip()
            value = said(text)[answer]
            assert text.index(value) < text.index(answer)
    assert set(TURNED) == {"year", *WHICH_FORMS}
