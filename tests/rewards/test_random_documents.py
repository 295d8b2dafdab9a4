from __future__ import annotations

from collections.abc import Sequence

import pytest

from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import (
    Answer,
    Belief,
    BeliefView,
    Episode,
    Passage,
    Question,
    Segment,
    ToolCall,
    ToolCalls,
    ToolResult,
)
from igpo_gym.protocols import PROTOCOLS, ReplyLimits
from igpo_gym.rewards import PRESETS
from igpo_gym.rewards.random_documents import drawn_passages
from igpo_gym.rewards.relabel import relabel
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.tools import Open, Search, open_call, search_call
from igpo_gym.tools.interface import ToolSpec
from igpo_gym.tools.opening import PAGE_CHARS
from tests.conftest import QUESTIONS, MentionScorer

CORPUS = tuple(
    Passage(f"id {number}", f"Title {number}", f"Passage {number} says this. {'It goes on. ' * number}")
    for number in range(20)
)


class Finds:
    """A retriever that finds what it is told to, by query, and otherwise the first passages."""

    def __init__(self, found: dict[str, list[Passage]]) -> None:
        self.found = found

    def __len__(self) -> int:
        return len(CORPUS)

    def __getitem__(self, number: int) -> Passage:
        return CORPUS[number]

    def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
        return [self.found.get(query, list(CORPUS[:2]))[:k] for query in queries]

    def documents(self, ids: Sequence[str]) -> list[tuple[Passage, ...]]:
        return [tuple(passage for passage in CORPUS if passage.id == id_) for id_ in ids]


class Clock:
    """A tool of another kind: its words have nothing to do with documents."""

    spec = ToolSpec("clock", "Tell the time.", {"type": "object", "properties": {"zone": {"type": "string"}}})

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        return [ToolResult("It is noon.") for _ in calls]


class Asked(MentionScorer):
    """Keeps what it was asked last."""

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        self.last = requests[-1]
        return super().score(requests)


def engine_of(
    protocol: str, found: dict[str, list[Passage]], rules: Rules, page_chars: int = PAGE_CHARS
) -> Engine:
    retriever = Finds(found)
    tools = (Search(retriever, 3), Open(retriever, page_chars), Clock())
    return Engine(PROTOCOLS[protocol], tools, PRESETS["ig-search"], Asked(), rules, corpus=retriever)


def play(engine: Engine, *actions: ToolCalls) -> Episode:
    (episode,) = engine.begin([QUESTIONS[0]])
    engine.start([episode])
    for action in actions:
        engine.settle(engine.play([episode], [engine.protocol.write(action)]))
    return episode


def drawn(engine: Engine, episode: Episode, turn: int, draw: int = 0) -> tuple[Segment, ...]:
    """What the engine asks its scorer about a turn with random documents."""
    engine.instruments.beliefs([(episode, turn)], [BeliefView(draw=draw)])
    assert isinstance(engine.scorer, Asked)
    return tuple(engine.scorer.last.segments)


RULES = [
    Rules(),
    Rules(max_turns=2, on_limit="answer"),
    Rules(limits=ReplyLimits(passage_chars=40)),
    Rules(limits=ReplyLimits(reply_chars=300)),
]


@pytest.mark.parametrize("page_chars", [PAGE_CHARS, 60])
@pytest.mark.parametrize("rules", RULES, ids=range(len(RULES)))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_reply_with_random_documents_is_the_environments_own(
    protocol: str, rules: Rules, page_chars: int
) -> None:
    """As the engine gives it where the retriever finds them: no other difference can be paid."""
    first, second = list(CORPUS[:2]), [CORPUS[1], CORPUS[5], CORPUS[6]]
    opens, clock = open_call("Title 1"), ToolCall("clock", {"zone": "UTC"})
    both = search_call("one", "two").calls[0]
    action = ToolCalls((both, *opens.calls, clock))
    found = {"one": [CORPUS[5], CORPUS[7]], "two": second}
    real = engine_of(protocol, found, rules, page_chars)
    episode = play(real, search_call("before"), action)
    stand_ins = drawn_passages(episode, 2, 0, CORPUS)
    others = {each.id: other for each, other in zip(episode.turns[1].passages, stand_ins, strict=True)}
    with_others = {query: [others[each.id] for each in passages] for query, passages in found.items()}
    # Where the stand-in of what is opened is found and opened in its place, the reply is this.
    named = others[CORPUS[1].id]
    twin = engine_of(protocol, {**with_others, "before": [*first, named]}, rules, page_chars)
    moved = ToolCalls((both, *open_call(named.title).calls, clock))
    twins = play(twin, search_call("before"), moved)
    shown = "".join(each.text for each in drawn(real, episode, 2)[len(episode.context(1)) + 1 :])
    expected = "".join(each.text for each in twins.turns[1].segments[1:])
    if protocol == "igpo":  # which repeats what the agent opened
        expected = expected.replace(f'"url": "{named.title}"', '"url": "Title 1"')
    assert shown == expected
    assert (
        drawn(real, episode, 2)[: len(episode.context(1)) + 1]
        == episode.segments[: len(episode.context(1)) + 1]
    )


def test_a_random_passage_that_was_shown_before_is_named_alone() -> None:
    rules = Rules(limits=ReplyLimits(repeat_passages=False))
    engine = engine_of("tags", {"all": list(CORPUS[2:5])}, rules)
    (episode,) = engine.begin([QUESTIONS[0]])
    engine.start([episode])
    for query in ("before", "all"):
        engine.settle(engine.play([episode], [engine.protocol.write(search_call(query))]))
    replies = {draw: drawn(engine, episode, 2, draw)[-1].text for draw in range(20)}
    for draw, reply in replies.items():
        seen = {passage.id for passage in drawn_passages(episode, 2, draw, CORPUS)} & {"id 0", "id 1"}
        assert reply.count("was shown before.") == len(seen)
    assert any("was shown before." in reply for reply in replies.values())


def test_a_corpus_may_be_too_small_to_draw_from() -> None:
    episode = play(engine_of("tags", {}, Rules()), search_call("a"))
    with pytest.raises(ValueError, match=r"a corpus of 3 passages has no 2 others .* turn 1 of 'q-author'"):
        drawn_passages(episode, 1, 0, CORPUS[:3])


def test_relabeling_draws_as_the_environment_did() -> None:
    rules = Rules(max_turns=2, on_limit="answer", limits=ReplyLimits(passage_chars=20))
    found = {"port": [CORPUS[19]]}
    engine = engine_of("tags", found, rules, page_chars=30)
    (episode,) = engine.begin([Question("q", "Where?", ("It goes on.",))])
    engine.start([episode])
    for action in (search_call("port"), open_call(CORPUS[19].title), Answer("Danzig")):
        engine.settle(engine.play([episode], [engine.protocol.write(action)]))
    settings = {"max_passage_chars": 20}
    (priced,) = relabel(
        [episode],
        ["ig-search"],
        MentionScorer(),
        corpus=CORPUS,
        protocol=engine.protocol,
        limits=ReplyLimits.of(settings),
        page_chars=30,
    )
    assert priced.rewards["ig-search"] == episode.rewards
