"""Each dial of the generated world does what it says, counted independently of the generator."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.config import EnvConfig
from igpo_gym.data import resolve_metric, resolve_questions
from igpo_gym.data.answers import UNANSWERABLE
from igpo_gym.data.evidence import found_evidence
from igpo_gym.data.world import Chain, World, about, write_world
from igpo_gym.data.world.language import DATED, KINDS, RELATIONS
from igpo_gym.data.world.names import FIRST, LATER
from igpo_gym.data.world.oracle import judge_searches, known_hops, retrieved
from igpo_gym.envs.setup import assemble
from igpo_gym.errors import SpecError
from igpo_gym.search import read_corpus, resolve_search
from igpo_gym.tools import queries

_LATER = "|".join(LATER)
_FORMS = [(name, form) for name, relation in RELATIONS.items() for form in relation.sentences]
_FORMS += [("year", form.replace("{year}", "{y}")) for forms in DATED.values() for form in forms]
_READ = [
    (
        name,
        re.compile(
            re.escape(form.removesuffix(".")).replace(r"\{x\}", "(?P<x>.+?)").replace(r"\{y\}", "(?P<y>.+)"),
            re.IGNORECASE,
        ),
    )
    for name, form in _FORMS
]
_PRONOUNS = {pronoun.lower() for kind in KINDS.values() for pronoun in kind.pronouns}


def facts_read(passages):
    """What documents say, read from their texts alone: (name, relation) -> {date: values}."""
    facts = {}
    for passage in passages:
        name = re.sub(r" \(\d{4}\)$", "", passage.title)
        subjects = {name.lower(), f"the {name.lower()}"} | _PRONOUNS
        for sentence in passage.text.removesuffix(".").split(". "):
            dated = re.fullmatch(r"As of (\d{4}), (.*)", sentence)
            date, plain = (int(dated[1]), dated[2]) if dated else (0, sentence)
            for relation, form in _READ:
                if (found := form.fullmatch(plain)) and found["x"].lower() in subjects:
                    values = {value.removeprefix("the ") for value in found["y"].split(" and ")}
                    facts.setdefault((name, relation), {})[date] = values
    return facts


def answers_read(facts, world, plan):
    """The right answers by the stated rule, from what was read; empty where the documents do not say."""
    if isinstance(plan, Chain):
        values = {world.entity(plan.entities[0]).name}
        for relation in plan.relations:
            (name,) = values
            editions = facts.get((name, relation), {0: set()})
            values = editions[max(editions)]
        return values
    read = {}
    for option in plan.options:
        editions = facts[world.entity(option).name, plan.relation]
        (read[option],) = editions[max(editions)]
    if plan.relation == "year":
        return {world.entity(min(read, key=lambda option: int(read[option]))).name}
    wanted = read[plan.answer]
    return {world.entity(option).name for option, value in read.items() if value == wanted}


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
    types = {each for kind in KINDS.values() for each in kind.types}
    names = (world.entity(number).name.split() for number in range(world.documents))
    return [word for name in names for word in name if word not in types]


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


DIALS = {
    "none": "",
    "distractors": "distractors=2",
    "outdated": "outdated=0.5",
    "several": "several=0.4",
    "unanswerable": "unanswerable=0.3",
    "all": "distractors=2,outdated=0.5,several=0.3,unanswerable=0.3,long_names=0.5,seed=7",
}


@pytest.mark.parametrize("dials", DIALS.values(), ids=DIALS)
@pytest.mark.parametrize("documents", [40, 300])
def test_whoever_reads_the_documents_by_the_stated_rules_finds_the_right_answers(dials, documents):
    questions = resolve_questions(
        f"world:test#documents={documents},hops=1-4,questions=150,{dials}".strip(",")
    )
    facts, world = facts_read(questions.passages), questions.world
    for question in questions.questions:
        found = answers_read(facts, world, world.plan(world.number(question)))
        assert (found or set(UNANSWERABLE)) == set(question.answers)


def test_distractors_are_namesakes_that_say_other_things():
    world = resolve_questions("world:test#documents=200,distractors=3")
    assert len(world.passages) == 800
    assert len({p.title for p in world.passages}) == len({p.id for p in world.passages}) == 800
    facts = facts_read(world.passages)
    for passage in world.passages[200:]:
        entity = world.world.entity(about(passage.id))
        assert entity.name in passage.title
        own = {relation for name, relation in facts if name == entity.name}
        assert own == {relation for name, relation in facts if name == passage.title}
        for relation in own:
            assert facts[passage.title, relation][0].isdisjoint(facts[entity.name, relation][0])


def test_former_documents_are_earlier_and_say_other_things():
    world = resolve_questions("world:test#documents=1000,outdated=0.3")
    formers = [p for p in world.passages if p.id.endswith("/former")]
    assert len(world.passages) - len(formers) == 1000
    assert 250 < len(formers) < 350
    facts = facts_read(world.passages)
    changed = [
        editions for (_, relation), editions in facts.items() if relation != "year" and len(editions) > 1
    ]
    assert {about(p.id) for p in formers} == {
        n
        for n in range(1000)
        if any(facts.get((world.world.entity(n).name, r), {}).keys() - {0} for r in RELATIONS)
    }
    for editions in changed:
        former, current = sorted(editions)
        assert 1900 <= former < current < 2000
        assert editions[former].isdisjoint(editions[current])
    assert all("the latest date counts" in question.text for question in world.questions)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_as_many_questions_as_asked_for_have_two_answers(share):
    questions = resolve_questions(f"world:test#hops=1-4,questions=400,several={share}").questions
    assert {len(question.answers) for question in questions} <= {1, 2}
    assert sum(len(question.answers) == 2 for question in questions) / 400 == pytest.approx(share, abs=0.06)
    both = next(question for question in questions if len(question.answers) == 2)
    assert [resolve_metric("em").score(answer, both.answers) for answer in both.answers] == [1.0, 1.0]


@pytest.mark.parametrize("spec", ["hops=1-4,several=0.5", "hops=3-4,several=1,coupling=1"])
def test_no_question_names_one_of_its_answers(spec):
    questions = resolve_questions(f"world:test#questions=400,{spec}").questions
    chains = [question for question in questions if "/bridge" in question.id]
    assert any(len(question.answers) == 2 for question in chains)
    assert not [q.id for q in chains if any(answer in q.text for answer in q.answers)]


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_as_many_questions_as_asked_for_cannot_be_answered(share):
    questions = resolve_questions(f"world:test#hops=1-4,questions=400,unanswerable={share}").questions
    none = [question for question in questions if question.answers == UNANSWERABLE]
    assert len(none) / 400 == pytest.approx(share, abs=0.06)
    assert {question.hops for question in none} == {1, 2, 3, 4}
    assert all("the answer is: unanswerable" in question.text for question in questions)


def test_a_share_of_the_queries_misses_always_the_same():
    plain, world = resolve_questions("world:test"), resolve_questions("world:test#miss=0.3")
    asked = [phrase for n in range(300) for phrase in world.world.leads(n)[0].phrases]
    index = resolve_search(None, plain)
    before, found = index.search(asked, 3), resolve_search(None, world).search(asked, 3)
    missed = [left != right for left, right in zip(before, found, strict=True)]
    assert sum(missed) / len(missed) == pytest.approx(0.3, abs=0.05)
    assert missed == [world.world.flaws.misses(query) for query in asked]
    for query, best, left in zip(asked, before, found, strict=True):
        if world.world.flaws.misses(query):
            assert left == index.search([query], 6)[0][3:]
            assert not {p.id for p in best} & {p.id for p in left}
    again = resolve_search(None, resolve_questions("world:test#miss=0.3"))
    assert again.search(asked[::-1], 3)[::-1] == found
    other = resolve_questions("world:test#miss=0.3,seed=1").world.flaws
    assert [other.misses(query) for query in asked] != missed


def test_a_search_that_missed_found_nothing_useful():
    verdicts = []
    for episode in played("world:test#hops=2,questions=100,miss=0.3"):
        flaws = World(miss=0.3, split="test").flaws
        for turn, verdict in zip(episode.turns, judge_searches(episode), strict=True):
            verdicts += [(flaws.misses(query), verdict) for query in queries(turn.action)]
    missed = [verdict for miss, verdict in verdicts if miss]
    assert len(missed) > 30
    assert missed.count("useful") / len(missed) < 0.1
    assert [verdict for miss, verdict in verdicts if not miss].count("useful") / len(verdicts) > 0.6


def test_the_expert_asks_again_in_other_words():
    for episode in played("world:test#hops=1,questions=60,miss=0.6"):
        asked = [query for turn in episode.turns for query in queries(turn.action)]
        assert len(asked) == len(set(asked)) <= 6


@pytest.mark.parametrize(
    ("dials", "settings", "least"),
    [
        ("long_names=1", {}, 1.0),
        ("distractors=1", {}, 0.97),
        ("distractors=4", {"top_k": 6}, 0.97),
        ("outdated=0.5", {}, 0.97),
        ("outdated=1", {}, 0.97),
        ("several=0.5", {}, 1.0),
        ("unanswerable=0.3", {}, 1.0),
        ("unanswerable=0.3,shown=1", {"tools": "search + open"}, 1.0),
        ("miss=0.2", {}, 0.97),
        (
            "shown=2,miss=0.2,distractors=1,outdated=0.3,several=0.2,unanswerable=0.2,long_names=0.5",
            {"tools": "search + open"},
            0.95,
        ),
    ],
)
def test_whoever_knows_what_to_look_up_is_right_with_every_dial(dials, settings, least):
    assert right(played(f"world:test#hops=1-4,questions=100,{dials}", **settings)) >= least


def test_a_share_is_the_same_however_it_is_written():
    assert World(miss=1, outdated=1).code == World(miss=1.0, outdated=1.0).code
    made = resolve_questions("world#questions=3,documents=60,outdated=1,several=0,distractors=2")
    assert made.name == "world#documents=60,questions=3,distractors=2,outdated=1.0"
    assert resolve_questions(made.name) == made


def test_the_expert_says_that_a_question_cannot_be_answered():
    episodes = played("world:test#questions=60,unanswerable=1")
    assert {episode.prediction for episode in episodes} == {"unanswerable"}


@given(
    st.integers(40, 90),
    st.fixed_dictionaries(
        {},
        optional={
            "distractors": st.integers(1, 4),
            "outdated": st.floats(0, 1),
            "several": st.floats(0, 0.5),
            "unanswerable": st.floats(0, 0.5),
            "long_names": st.floats(0, 1),
            "shown": st.integers(1, 6),
            "coupling": st.floats(0, 1),
        },
    ),
)
@settings(max_examples=12, deadline=None)
def test_worlds_of_any_dials_keep_their_promises(documents, dials):
    world = World(documents, 15, (1, 4), split="test", **dials)
    passages = list(world.passages())
    assert [p.title for p in passages[:documents]] == [world.entity(n).name for n in range(documents)]
    assert len({p.title for p in passages}) == len(passages)
    texts = {p.id: p.text for p in passages}
    for question in world.all_questions():
        assert question.hops == len(question.evidence) == len(set(question.evidence))
        assert set(question.evidence) <= texts.keys()
        for id_, needed in zip(question.evidence, question.evidence_texts, strict=bool(world.shown)):
            assert needed in texts[id_]


def test_written_worlds_have_their_dials(tmp_path):
    world = World(60, 20, split="test", distractors=1, outdated=0.5, unanswerable=0.5, shown=1, miss=0.2)
    assert write_world(tmp_path, world) == len(list(world.passages()))
    assert list(read_corpus(tmp_path / "corpus.jsonl")) == list(world.passages())
    back = resolve_questions(f"jsonl:{tmp_path / 'questions.jsonl'}").questions
    for question, written in zip(world.all_questions(), back, strict=True):
        assert replace(written, source="world") == question
