"""The file of each extension point works from outside the package, by its name and by import."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import igpo_gym
from igpo_gym import specs
from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.training.estimators import Split, Turns, resolve_estimator
from igpo_gym.config import EnvConfig
from igpo_gym.data.world import load_world
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Answer, Invalid, ToolCall, ToolCalls
from igpo_gym.protocols import TextProtocol, resolve_protocol
from igpo_gym.text import neutralize
from igpo_gym.tools import queries, search_call
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH
from tests.conftest import REPOSITORY
from tests.docs.pages import blocks

PAGES = sorted((REPOSITORY / "docs" / "extending").glob("[a-z]*.md"))
PLAIN: dict[str, Any] = {"questions": "world:test", "scorer": None, "reward": "outcome-f1"}


def save(page: str) -> None:
    """Write the files of a page into the working folder."""
    for block in blocks(REPOSITORY / "docs" / "extending" / page):
        if block.file:
            block.run({})
    importlib.invalidate_caches()


def played(**given: Any) -> Any:
    """An episode through gym.make, of one search and an answer in the words of its own protocol."""
    env = gym.make("SearchQA-v0", **{**PLAIN, **given})
    env.reset(seed=0)
    inner: Any = env.unwrapped
    write = inner.engine.protocol.write
    env.step(write(search_call("Salman")))
    assert env.step(write(Answer("Danzig")))[2]
    return inner.episode


def test_every_page_has_one_short_file_at_least() -> None:
    assert len(PAGES) == 7
    for page in PAGES:
        files = [block for block in blocks(page) if block.file]
        assert files, page
        for block in files:
            assert sum(bool(line.strip()) for line in block.code.splitlines()) < 40, block


def test_a_data_set(workplace: Path) -> None:
    save("data_set.md")
    lines = [
        "Who wrote The Tin Drum?\tGünter Grass|Grass\tThe Tin Drum\tA novel.",
        "Where?\tDanzig\tDanzig\tA port.",
    ]
    Path("two.tsv").write_text("\n".join(lines), encoding="utf-8")
    imported = played(questions="mine.riddles:load_riddles:two.tsv#limit=1")
    named = played(questions="riddles:two.tsv#limit=1")
    assert imported.question == named.question
    assert named.question.answers == ("Günter Grass", "Grass")
    Path("bad.tsv").write_text("nothing", encoding="utf-8")
    with pytest.raises(igpo_gym.errors.DataError, match=r"line 1: 1 columns, not 4"):
        specs.resolve("questions", "riddles:bad.tsv")


def test_a_retriever(workplace: Path) -> None:
    save("retriever.md")
    imported = played(search="mine.overlap:Overlap#least=1")
    named = played(search="overlap", tools="search + open")
    titles = [passage.title for passage in named.turns[0].passages]
    assert titles == [passage.title for passage in imported.turns[0].passages]
    assert all("salman" in f"{each.title} {each.text}".lower() for each in named.turns[0].passages)
    assert specs.resolve("search", "overlap#least=9", questions=load_world("test")).search(["Salman"], 3) == [
        []
    ]


@pytest.mark.parametrize("name", ["calculate", "mine.calculate:Calculate"])
@pytest.mark.parametrize("protocol", ["tags", "tool_call", "igpo"])
def test_a_tool(workplace: Path, name: str, protocol: str) -> None:
    save("tool.md")
    importlib.import_module("mine.calculate")
    env: Any = gym.make("SearchQA-v0", tools=f"search + {name}", protocol=protocol, **PLAIN)
    env.reset(seed=0)
    write = env.unwrapped.engine.protocol.write
    call = ToolCalls((ToolCall("calculate", {"a": 1959, "sign": "-", "b": 1927}),))
    reply, _, _, _, info = env.step(write(call))
    assert info["tools"] == ("calculate",)
    assert "32" in reply
    zero = ToolCalls((ToolCall("calculate", {"a": 1, "sign": "/", "b": 0}),))
    assert "Nothing is divided by 0." in env.step(write(zero))[0]


def test_a_reward_term(workplace: Path) -> None:
    save("reward_term.md")
    imported = played(reward="f1 + mine.evidence:early_evidence(decay=0.5)")
    named = played(reward="f1 + early-evidence(decay=0.5)")
    assert imported.rewards == named.rewards
    # An expert finds one gold passage of two with each search.
    questions, engine = assemble(
        EnvConfig(questions="world:test#hops=2", scorer=None, reward="early-evidence")
    )
    expert = resolve_policy("expert", questions, engine.protocol)
    (episode,) = collect(engine, expert, questions.questions[:1])
    assert [sum(terms.values()) for terms in episode.rewards] == [0.5, 0.4, 0.0]


def test_a_reward_term_with_an_instrument(workplace: Path) -> None:
    save("reward_term.md")
    imported = played(reward="f1 + mine.variety:variety(scale=4)")
    named = played(reward="f1 + variety(scale=4)")
    assert imported.rewards == named.rewards
    assert [measured["vocabulary"] for measured in named.measured] == [0, 1, 1]
    assert named.rewards[0] == {"f1": 0.0, "variety(scale=4.0)": 0.25}


@pytest.mark.parametrize("name", ["returns", "mine.returns:returns"])
def test_an_estimator(workplace: Path, name: str) -> None:
    save("estimator.md")
    importlib.import_module("mine.returns")
    turns = Turns.of([Split((0.3, 0.1), 1.0), Split((0.05,), 0.0)], groups=["q", "q"])
    # Returns from each turn on are 1.4, 1.1, 1.0 and 0.05, 0.0; the group's mean return is 0.725.
    expected = [1.4 - 0.725, 1.1 - 0.725, 1.0 - 0.725, 0.05 - 0.725, 0.0 - 0.725]
    assert resolve_estimator(name)(turns) == pytest.approx(expected)
    assert resolve_estimator(f"{name}(gain_weight=0)")(turns) == pytest.approx([0.5, 0.5, 0.5, -0.5, -0.5])


@pytest.mark.parametrize("name", ["titles", "mine.titles:Titles"])
def test_a_policy(workplace: Path, name: str) -> None:
    save("policy.md")
    importlib.import_module("mine.titles")
    questions, engine = assemble(EnvConfig(**PLAIN))
    for episode in collect(
        engine, resolve_policy(f"{name}#searches=2", questions, engine.protocol), questions.questions[:3]
    ):
        assert episode.tool_turns == 2
        assert episode.prediction == episode.turns[0].passages[0].title


PROTOCOLS = {"react": "mine.react", "coder": "mine.coder:CODER"}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol(workplace: Path, name: str) -> None:
    save("protocol.md")
    spec = PROTOCOLS[name]
    module, _, attribute = spec.partition(":")
    importlib.import_module(module)
    episode = played(protocol=name, tools="search + open")
    assert episode.prediction == "Danzig"
    assert queries(episode.turns[0].action) == ("Salman",)
    assert episode.turns[0].passages
    if attribute:
        assert played(protocol=spec, tools="search + open").segments == episode.segments


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_grammars(workplace: Path, name: str) -> None:
    save("protocol.md")
    importlib.import_module(PROTOCOLS[name].partition(":")[0])
    protocol = resolve_protocol(name).with_tools((SEARCH, OPEN))
    check_advice(protocol)
    check_inverse(protocol)
    check_any_text(protocol)


def check_advice(protocol: TextProtocol) -> None:
    for tool in protocol.tools:
        written = protocol.write(ToolCalls((ToolCall(tool.name, tool.example),)))
        assert isinstance(protocol.parse(written), ToolCalls)
        assert written in protocol.invalid("why")
        assert written in protocol.prompt(load_world("test").questions[0])[-1].text
    assert protocol.parse(protocol.write(Answer("answer"))) == Answer("answer")


lines = (
    st.text(min_size=1)
    .map(lambda text: " ".join(neutralize(text).split()))
    .filter(lambda text: any(letter.isalnum() for letter in text))
)
unlimited = settings(suppress_health_check=list(HealthCheck))


@unlimited
@given(text=lines)
def check_inverse(protocol: TextProtocol, text: str) -> None:
    for action in (search_call(text), ToolCalls((ToolCall("open", {"document": text}),)), Answer(text)):
        written = protocol.write(action)
        assert protocol.parse(written) == action
        assert protocol.end(written) == len(written)
        # Sampling does not stop before the action is complete.
        assert all(protocol.end(written[:length]) is None for length in range(len(written)))
    if protocol.name == "coder":
        paged = ToolCalls((ToolCall("open", {"document": text, "page": 3}),))
        assert protocol.parse(protocol.write(paged)) == paged


pieces = st.sampled_from(
    ["Thought: a\n", "Action: search\n", "Action Input: b\n", "Final Answer: c\n", "Observation: d\n", "\n"]
    + [
        f"<{slash}{tag}>"
        for slash in ("", "/")
        for tag in ("think", "tool_call", "function", "parameter", "answer")
    ]
    + ["<function=search>", "<parameter=query>", "<function=open>", "<parameter=page>", "\ud800", "2"]
)
messages = st.lists(pieces | st.text(st.characters(exclude_categories=()))).map("".join)


@unlimited
@given(message=messages)
def check_any_text(protocol: TextProtocol, message: str) -> None:
    action, end = protocol.parse(message), protocol.end(message)
    assert isinstance(action, ToolCalls | Answer | Invalid)
    if not isinstance(action, Invalid) and end is not None:
        first = protocol.parse(message[:end])
        if isinstance(action, Answer):
            assert first == action
        else:
            assert isinstance(first, ToolCalls)
            assert first.calls == action.calls[: len(first.calls)]
    if protocol.name == "coder" and not isinstance(action, Invalid):
        assert end is not None
