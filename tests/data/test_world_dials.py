"""Each dial of the generated world does what it says, counted independently of the generator."""

import re

import pytest

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.config import EnvConfig
from igpo_gym.data import resolve_questions
from igpo_gym.data.evidence import found_evidence
from igpo_gym.data.world import World
from igpo_gym.data.world.names import FIRST, LATER
from igpo_gym.data.world.oracle import judge_searches, known_hops, retrieved
from igpo_gym.envs.setup import assemble
from igpo_gym.errors import SpecError
from igpo_gym.search import resolve_search

_LATER = "|".join(LATER)


def played(spec, agent="expert", **settings):
    """Episodes of a scripted agent on all questions of a world."""
    settings = {"tools": "search", "scorer": None, "reward": "outcome-em", "max_turns": 12} | settings
    questions, engine = assemble(EnvConfig(questions=spec, **settings))
    policy = resolve_policy(agent, questions, engine.protocol)
    return list(collect(engine, policy, questions.questions))


def right(episodes):
    """The share of episodes that end with the right answer and had all evidence."""
    solved = [
        e.prediction in e.question.answers and all(known_hops(e.question, retrieved(e))) for e in episodes
    ]
    return sum(solved) / len(solved)


def syllables(word):
    """How many syllables a name's word is spelled with: an opening one, then later ones."""
    for first in sorted(FIRST, key=len, reverse=True):
        rest = word.removeprefix(first)
        if rest != word and re.fullmatch(f"({_LATER})*", rest):
            return 1 + len(re.findall(_LATER, rest))
    raise AssertionError(word)


def words_of(world):
    types = {t for n in range(60) if " " in (name := world.entity(n).name) for t in [name.split()[-1]]}
    return [
        word
        for n in range(world.documents)
        for word in world.entity(n).name.split()
        if word not in types or syllables_or_none(word)
    ]


def syllables_or_none(word):
    try:
        return syllables(word)
    except AssertionError:
        return None


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_long_names_are_as_many_as_asked_for(share):
    words = words_of(World(documents=400, split="test", long_names=share))
    counts = [syllables(word) for word in words]
    assert set(counts) <= {2, 3}
    assert counts.count(3) / len(counts) == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_long_names_are_unique_in_a_world_of_any_size(share):
    world = World(documents=20_000, split="test", long_names=share)  # has more names than short words
    words = words_of(world)
    assert len(set(words)) == len(words) == 26_000
    others = set(words_of(World(documents=20_000, split="validation", long_names=share)))
    assert others.isdisjoint(words)


def test_a_search_shows_the_beginning_and_open_the_rest():
    for episode in played("world:test#hops=1-4,questions=60,shown=2", tools="search + open"):
        whole = {p.id: p.text for p in resolve_questions("world:test").passages}
        for turn in episode.turns:
            for call, result in zip(getattr(turn.action, "calls", ()), turn.results, strict=True):
                for passage in (p for found in result.passages for p in found):
                    sentences = re.findall(r".+?\.(?: |$)", whole[passage.id])
                    shown = sentences if call.tool == "open" else sentences[:2]
                    assert passage.text == "".join(shown).strip()


@pytest.mark.parametrize("shown", [1, 2])
def test_evidence_is_there_once_the_deciding_sentence_was_shown(shown):
    spec = f"world:test#hops=1-4,questions=60,shown={shown}"
    plain = resolve_questions("world:test#hops=1-4,questions=60")
    world = plain.world
    asked = {question.text: question for question in plain.questions}
    for episode in played(spec, tools="search + open"):
        question = asked[episode.question.text]
        plan = world.plan(world.number(question))
        facts = (
            [(option, plan.relation) for option in plan.options]
            if hasattr(plan, "options")
            else list(zip(plan.entities, plan.relations, strict=False))
        )
        texts = set()
        for count, turn in enumerate(episode.turns, start=1):
            texts |= {(p.id, p.text) for p in turn.passages}
            # Independently: the deciding value stands in what was read of the document.
            for number, relation in facts:
                value = (
                    str(world.year(number))
                    if relation == "year"
                    else world.entity(world.targets(number)[relation]).phrase
                )
                read = [text for id_, text in texts if id_ == str(number)]
                if any(value.lower() in text.lower() for text in read):
                    continue
                assert str(number) not in retrieved(episode.until(count))


@pytest.mark.parametrize("hops", [1, 4])
@pytest.mark.parametrize("shown", [1, 2, 3])
def test_the_expert_opens_what_it_has_to(hops, shown):
    episodes = played(f"world:test#hops={hops},questions=60,shown={shown}", tools="search + open")
    assert right(episodes) == 1.0
    calls = [call.tool for e in episodes for t in e.turns for call in getattr(t.action, "calls", ())]
    # Of about four sentences in random order one decides: the fewer are shown, the more are opened.
    expected = {1: (0.55, 0.85), 2: (0.25, 0.6), 3: (0.05, 0.35)}[shown]
    assert expected[0] < calls.count("open") / sum(e.question.hops for e in episodes) < expected[1]


def test_a_search_that_shows_the_document_to_open_is_useful():
    verdicts = {
        (call.tool, verdict)
        for episode in played("world:test#questions=60,shown=1", tools="search + open")
        for turn, verdict in zip(episode.turns, judge_searches(episode), strict=True)
        for call in getattr(turn.action, "calls", ())
    }
    assert {("search", "useful"), ("open", "useful")} <= verdicts
    assert not {verdict for tool, verdict in verdicts if tool == "open"} - {"useful"}


def test_noisy_agents_open_documents_too():
    episodes = played("world:test#questions=60,shown=2", "noisy", tools="search + open")
    opened = [v for e in episodes for t, v in zip(e.turns, judge_searches(e), strict=True) if t.results]
    assert {"useful", "irrelevant", "redundant"} <= set(opened)
    assert right(episodes) > 0.9


def test_without_the_tool_open_a_partial_search_is_refused():
    with pytest.raises(SpecError, match=r"take tools='search \+ open', so that the rest can be read"):
        assemble(EnvConfig(questions="world#shown=2", scorer=None, reward="outcome-f1"))


def test_sets_that_are_searched_alike_can_be_joined():
    both = resolve_questions("world:test#shown=2,questions=5 + world#shown=2,questions=5")
    assert resolve_search(None, both).search(["mayor"], 1)[0][0].text.count(". ") == 1
    with pytest.raises(SpecError, match="are not searched alike"):
        resolve_questions("world:test#shown=2 + world")


def test_records_keep_what_evidence_has_to_say():
    (episode, *_) = played("world:test#questions=3,shown=1", tools="search + open")
    back = from_record(to_record(episode))
    assert back.question == episode.question
    assert found_evidence(back.question, back.turns[0].passages) == found_evidence(
        episode.question, episode.turns[0].passages
    )
