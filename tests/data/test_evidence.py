"""Gold evidence in corpora that are not the questions' own."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.agents.rollouts.summary import summarize
from igpo_gym.benchmark.credit.labels import label_turns
from igpo_gym.cli import app
from igpo_gym.config import EnvConfig
from igpo_gym.data.evidence import found_evidence, match_evidence, normal_title
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world.oracle import retrieved
from igpo_gym.envs import SearchQAEnv
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode, Passage, Question
from igpo_gym.errors import SpecError
from igpo_gym.protocols import PROTOCOLS
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import search_call
from tests.conftest import PASSAGES, QUESTIONS

SHARED = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[2] / "../shared"))
OTHER_IDS = tuple(replace(passage, id=str(100 + n)) for n, passage in enumerate(PASSAGES))
"""The same documents in another corpus."""
LOOSE = tuple(replace(q, source="loose", evidence=tuple(f"p-{e}" for e in q.evidence)) for q in QUESTIONS)
"""Questions that bring no passages, with the ids of a corpus."""
NAMED = tuple(replace(passage, id=f"p-{passage.id}") for passage in PASSAGES)
BY_TITLE = tuple(
    replace(question, evidence=tuple({p.id: p.title for p in PASSAGES}[e].upper() for e in question.evidence))
    for question in QUESTIONS
)


class SearchOnly:
    """A retriever of a corpus that is elsewhere."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.index = BM25Index.build(passages)

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return self.index.search(queries, k)


class Server(SearchOnly):
    """One that is never to be asked for documents before an episode."""

    def documents(self, ids: Sequence[str]) -> Any:
        raise AssertionError("a server was asked")


def settings(questions: Any, search: Any, reward: str = "evidence-recall") -> EnvConfig:
    return EnvConfig(questions=questions, search=search, scorer=None, reward=reward)


OWN = QuestionSet("own", QUESTIONS, PASSAGES)


@pytest.mark.parametrize(
    ("questions", "retriever", "match"),
    [
        (OWN, BM25Index.build(PASSAGES), "id"),
        (OWN, BM25Index.build(OTHER_IDS), "title"),
        (OWN, SearchOnly(OTHER_IDS), "title"),
        (OWN, Server(OTHER_IDS), "title"),
        (QuestionSet("loose", LOOSE), BM25Index.build(NAMED), "id"),
        (QuestionSet("loose", LOOSE), BM25Index.build(OTHER_IDS), "none"),
        (QuestionSet("loose", LOOSE), SearchOnly(NAMED), "id or title"),
        (QuestionSet("titles", BY_TITLE), BM25Index.build(OTHER_IDS), "title"),
        (QuestionSet("titles", BY_TITLE), SearchOnly(OTHER_IDS), "id or title"),
        (QuestionSet("titles", BY_TITLE), Server(OTHER_IDS), "id or title"),
    ],
)
def test_how_evidence_is_matched(questions: QuestionSet, retriever: Any, match: str) -> None:
    found = match_evidence(questions, retriever)
    assert {question.evidence_match for question in found.questions} == {match}
    assert [question.evidence for question in found.questions] == [q.evidence for q in questions.questions]
    if match != "none":
        env = SearchQAEnv(settings(questions, retriever))
        env.reset(options={"question_id": "q-birth"})
        paid = [env.step(f"<search>{title}</search>")[1] for title in ("The Tin Drum novel", "Günter Grass")]
        assert sum(float(reward) for reward in paid) == 1.0
        _, info = env.reset(options={"question_id": "q-birth"})
        assert info["evidence_match"] == match


def test_ids_that_two_corpora_share_by_chance_are_no_match() -> None:
    shuffled = tuple(replace(passage, id=PASSAGES[n - 1].id) for n, passage in enumerate(PASSAGES))
    found = match_evidence(OWN, BM25Index.build(shuffled))
    assert found.questions[0].evidence_match == "title"
    assert found.questions[1].evidence_titles == ("The Tin Drum", "Günter Grass")


def test_sources_are_told_apart() -> None:
    joined = QuestionSet("joined", (LOOSE[0], replace(BY_TITLE[1], source="titles")))
    found = match_evidence(joined, BM25Index.build((*NAMED, *OTHER_IDS)))
    assert [question.evidence_match for question in found.questions] == ["id", "title"]


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("The Tin Drum", "the tin  drum ", True),
        ("Gdan\u0301sk", "GDAŃSK", True),
        ("Straße", "STRASSE", True),
        ("Ｄanzig", "Danzig", True),
        ("The Tin Drum (film)", "The Tin Drum", False),
        ("Danzig", "Gdańsk", False),
    ],
)
def test_titles_that_are_the_same(left: str, right: str, same: bool) -> None:
    assert (normal_title(left) == normal_title(right)) == same


def test_evidence_that_is_nowhere_is_an_error_before_the_first_episode() -> None:
    elsewhere = BM25Index.build(OTHER_IDS)
    loose = QuestionSet("loose", LOOSE)
    with pytest.raises(SpecError, match=r"reward 'evidence-recall' needs gold evidence, but that of"):
        assemble(settings(loose, elsewhere))
    nothing = BM25Index.build([Passage("1", "Elbing", "A town.")])
    with pytest.raises(SpecError, match="neither an id nor a title of the corpus"):
        assemble(settings(OWN, nothing))
    questions, engine = assemble(settings(loose, elsewhere, "f1"))
    for agent in ("expert", "noisy", "redundant", "forger"):
        with pytest.raises(SpecError, match=f"the agent '{agent}' needs gold evidence"):
            resolve_policy(agent, questions, engine.protocol)
    guesses = list(collect(engine, resolve_policy("irrelevant", questions, engine.protocol), LOOSE[:1]))
    assert guesses[0].done


def test_the_expert_searches_for_titles_where_the_evidence_are_ids() -> None:
    questions, engine = assemble(settings(QuestionSet("loose", LOOSE), BM25Index.build(NAMED), "f1"))
    expert = resolve_policy("expert", questions, engine.protocol)
    (episode,) = collect(engine, expert, questions.questions[1:2])
    assert "The Tin Drum" in episode.turns[0].message
    assert episode.prediction == "Danzig"


def test_what_is_said_of_an_episode_by_titles_is_what_is_said_of_it_by_ids(scorer: Any) -> None:
    def played(search: Any) -> Episode:
        config = EnvConfig(questions=OWN, search=search, scorer=scorer, reward="igpo + evidence-recall")
        questions, engine = assemble(config)
        agent = resolve_policy("redundant", questions, engine.protocol)
        (episode,) = collect(engine, agent, questions.questions[1:2])
        read = from_record(json.loads(json.dumps(to_record(episode, engine.reward))))
        assert read.question == episode.question
        return read

    own, other = played(BM25Index.build(PASSAGES)), played(BM25Index.build(OTHER_IDS))
    assert (own.question.evidence_match, other.question.evidence_match) == ("id", "title")
    assert own.rewards == other.rewards
    assert summarize([own]).gains == summarize([other]).gains
    _, engine = assemble(settings(OWN, None, "f1"))
    assert label_turns(own, engine.protocol) == label_turns(other, engine.protocol)


def test_a_title_per_piece_of_evidence() -> None:
    with pytest.raises(ValueError, match="not as many titles"):
        Question("q", "Who?", ("a",), ("1", "2"), evidence_titles=("One",))
    assert not found_evidence(Question("q", "Who?", ("a",)), PASSAGES)


def test_the_world_as_files_is_played_by_the_expert(tmp_path: Path) -> None:
    folder = tmp_path / "world"
    made = CliRunner().invoke(app, ["world", "--out", str(folder)])
    assert made.exit_code == 0
    config = settings(f"jsonl:{folder / 'questions.jsonl'}", f"bm25:{folder / 'corpus.jsonl'}", "outcome-em")
    found, engine = assemble(config)
    episodes = list(collect(engine, resolve_policy("expert", found, engine.protocol), found.questions[:10]))
    assert sum(summarize(episodes).exact_matches) >= 9


@pytest.mark.skipif(not SHARED.is_dir(), reason="the HotpotQA sample is not beside this checkout")
def test_hotpotqa_over_its_own_paragraphs_under_other_ids(tmp_path: Path) -> None:
    dev = f"hotpotqa:{SHARED / 'data/hotpotqa/dev300.jsonl'}"
    by_id, own = assemble(settings(dev, None))
    corpus = tmp_path / "corpus.jsonl"
    with corpus.open("w", encoding="utf-8") as file:
        for number, passage in enumerate(by_id.passages):
            line = {"id": str(number), "contents": f'"{passage.title}"\n{passage.text}'}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    by_title, other = assemble(settings(dev, f"bm25:{corpus}"))
    assert {question.evidence_match for question in by_title.questions} == {"title"}
    recalls = []
    for questions, engine in ((by_id, own), (by_title, other)):
        agent = resolve_policy("scripted", questions, engine.protocol)
        played = collect(engine, agent, questions.questions, batch_size=100)
        recalls.append({e.question.id: [turn["evidence-recall"] for turn in e.rewards] for e in played})
    assert recalls[0] == recalls[1]
    assert sum(map(sum, recalls[0].values())) > 100


DECIDES = 'Grass said: "I wrote <it> myself,\nin a café."'
LONG = Passage("drum", "The Tin Drum", f"It is a novel. {'It goes on. ' * 20}{DECIDES}")
SAYS = (replace(QUESTIONS[0], evidence_texts=(DECIDES,)),)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("limits", "cut"), [({}, 0), ({"max_passage_chars": 100}, 1), ({"max_reply_chars": 250}, 1)]
)
def test_what_was_cut_out_of_a_reply_was_not_found(protocol: str, limits: dict[str, int], cut: int) -> None:
    env = SearchQAEnv(
        questions=QuestionSet("says", SAYS, (LONG, *PASSAGES[1:])),
        protocol=protocol,
        scorer=None,
        reward="evidence-recall",
        top_k=1,
        **limits,
    )
    env.reset(seed=0)
    episode = env.unwrapped.episode
    _, paid, *_ = env.step(env.engine.protocol.write(search_call("Tin Drum")))
    assert (paid, bool(episode.turns[0].cut)) == (1.0 - cut, bool(cut))
    assert retrieved(episode) == (frozenset() if cut else {"drum"})
    assert label_turns(episode, env.engine.protocol)[0].known == 1 - cut


def test_what_stands_on_another_page_was_not_found() -> None:
    env = SearchQAEnv(
        questions=QuestionSet("says", SAYS, (LONG, *PASSAGES[1:])),
        tools="search + open#page_chars=200",
        max_passage_chars=100,
        repeat_passages=False,
        scorer=None,
        reward="evidence-recall",
        top_k=1,
    )
    env.reset(seed=0)
    turns = ("<search>Tin Drum</search>", "<search>Tin Drum</search>", "<open>The Tin Drum</open>")
    assert [env.step(turn)[1] for turn in (*turns, '<open page="2">The Tin Drum</open>')] == [0, 0, 0, 1]
