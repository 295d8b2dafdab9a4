from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Episode, Passage
from igpo_gym.errors import SpecError
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import PRESETS
from igpo_gym.search import BM25Index
from igpo_gym.tools import Open, Search
from igpo_gym.tools.opening import _pages
from tests.conftest import QUESTIONS

DRUM = [
    Passage(f"drum-{number}", "The Tin Drum", f"Part {number} of the novel. {'It goes on. ' * 30}")
    for number in range(4)
]
INDEX = BM25Index.build([*DRUM, Passage("alone", "", "A passage without a title about Danzig.")])


def play(*messages: str, page_chars: int = 1000) -> Episode:
    tools = (Search(INDEX, 1), Open(INDEX, page_chars))
    engine = Engine(TAGS, tools, PRESETS["outcome-f1"], rules=Rules(len(messages) + 1))
    (episode,) = engine.begin([QUESTIONS[0]])
    engine.start([episode])
    for message in messages:
        engine.settle(engine.play([episode], [message]))
    return episode


def test_a_document_is_read_page_by_page() -> None:
    pages = [f'<open page="{number}">The Tin Drum</open>' for number in (1, 2, 3)]
    episode = play("<search>Part 2 novel</search>", *pages)
    first, second, _ = (turn.observation for turn in episode.turns[1:])
    assert "The Tin Drum (page 1 of 2)" in first
    assert "Part 0 of the novel." in first
    assert "The Tin Drum (page 2 of 2)" in second
    assert "Part 3 of the novel." in second
    assert "The Tin Drum has 2 pages, and no page 3." in episode.turns[3].observation
    shown = [[passage.id for passage in turn.passages] for turn in episode.turns[1:]]
    assert shown == [["drum-0", "drum-1", "drum-2"], ["drum-2", "drum-3"], []]


def test_by_title_in_any_case_or_by_id() -> None:
    episode = play("<search>Part 2 novel</search>", "<open>the tin drum</open>", "<open>drum-2</open>")
    assert episode.turns[1].observation == episode.turns[2].observation
    assert "page 1 of 2" in episode.turns[1].observation


def test_what_no_result_has_shown_is_not_opened() -> None:
    episode = play("<open>The Tin Drum</open>", "<search>Danzig</search>", "<open>alone</open>")
    assert "The Tin Drum: not seen in this episode." in episode.turns[0].observation
    assert episode.turns[0].passages == ()
    assert "alone (page 1 of 1)\nA passage without a title about Danzig." in episode.turns[2].observation


@pytest.mark.parametrize("page_chars", [0, -5, 1.5, True])
def test_a_page_has_characters(page_chars: int) -> None:
    with pytest.raises(
        ValueError, match=f"page_chars must be a whole number of at least 1, not {page_chars}"
    ):
        Open(INDEX, page_chars)


def test_a_retriever_without_documents_cannot_be_opened() -> None:
    class Plain:
        def search(self, queries: list[str], k: int) -> list[list[Passage]]:
            return [[] for _ in queries]

    with pytest.raises(SpecError, match=r"Plain has no documents\(ids\)"):
        Open(Plain())  # type: ignore[arg-type]


@given(st.text(), st.integers(1, 50))
def test_pages_make_up_the_text(text: str, length: int) -> None:
    pages = _pages(text, length)
    assert "".join(page for _, page in pages) == text
    assert all(len(page) <= length for _, page in pages)
    assert [start for start, _ in pages] == [
        sum(len(page) for _, page in pages[:place]) for place in range(len(pages))
    ]


def test_by_the_title_that_the_agent_is_shown() -> None:
    index = BM25Index.build([Passage("v<1>", " Vectors <int> ", "A port of numbers."), *DRUM])
    engine = Engine(TAGS, (Search(index, 1), Open(index, 1000)), PRESETS["outcome-f1"], rules=Rules(4))
    for name in ("Vectors ‹int>", "v‹1>", "vectors ‹INT>", "Vectors <int>"):
        (episode,) = engine.begin([QUESTIONS[0]])
        for message in ("<search>numbers</search>", f"<open>{name}</open>"):
            engine.settle(engine.play([episode], [message]))
        assert "A port of numbers." in episode.turns[1].observation, name
