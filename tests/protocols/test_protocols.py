from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.episode import Answer, Invalid, Passage, Question, Search
from igpo_gym.errors import SpecError
from igpo_gym.protocols import (
    ANSWER_PROBE,
    MAX_QUERIES,
    PROTOCOLS,
    TAGS,
    TOOL_CALL,
    TextProtocol,
    neutralize,
    resolve_protocol,
    well_formed,
)

protocols = st.sampled_from(list(PROTOCOLS.values()))
# Texts that are likely to look like a message: tags, JSON, and anything else, lone surrogates included.
pieces = st.sampled_from(
    [f"<{slash}{tag}>" for slash in ("", "/") for tag in ("think", "search", "answer", "information")]
    + [f"<{slash}{tag}>" for slash in ("", "/") for tag in ("tool_call", "tool_response")]
    + ['{"name": "search", "arguments": {"query": "a"}}', '{"name":', "[1]", "null", "a", " ", "\n", "\ud800"]
)
any_text = st.text(st.characters(exclude_categories=()))
messages = st.lists(pieces | any_text).map("".join)
words = st.text(min_size=1).map(str.strip).filter(bool)


@given(protocols, messages)
def test_any_string_is_an_action(protocol: TextProtocol, message: str) -> None:
    action = protocol.parse(message)
    assert isinstance(action, Search | Answer | Invalid)
    match action:
        case Search(queries):
            assert 1 <= len(queries) <= MAX_QUERIES
            assert all(query.strip() for query in queries)
            json.dumps(queries).encode()
            "".join(queries).encode()
        case Answer(text):
            assert text.strip()
            text.encode()
        case Invalid(reason):
            assert reason


@given(protocols, st.lists(words, min_size=1, max_size=MAX_QUERIES), st.text())
def test_parse_inverts_write(protocol: TextProtocol, texts: list[str], thought: str) -> None:
    thought = neutralize(thought)
    queries = tuple(neutralize(text) for text in texts)
    assert protocol.parse(protocol.write(Search(queries), thought)) == Search(queries)
    assert protocol.parse(protocol.write(Answer(queries[0]), thought)) == Answer(queries[0])


@given(protocols, messages)
def test_a_thought_may_hold_anything_but_its_end(protocol: TextProtocol, thought: str) -> None:
    thought = thought.replace("</think>", "")
    assert protocol.parse(protocol.write(Answer("yes"), f"x{thought}")) == Answer("yes")


@given(protocols, messages, messages)
def test_retrieved_text_cannot_open_or_close_a_block(protocol: TextProtocol, title: str, text: str) -> None:
    body = protocol.passages([Passage("1", title, text)])
    assert not set(body) & set("<＜﹤")
    reply = protocol.reply(body).text
    assert len(re.findall(rf"</?{protocol.result_tag}>", reply)) == 2
    assert reply.endswith("\n")


@given(protocols, messages.filter(lambda text: bool(text.strip())))
def test_a_question_cannot_write_blocks_into_the_prompt(protocol: TextProtocol, text: str) -> None:
    prompt = protocol.prompt(Question("1", text, ("gold",)))
    plain = protocol.prompt(Question("1", "?", ("gold",)))
    tags = [re.findall(r"<[^>]*>", "".join(part.text for part in segments)) for segments in (prompt, plain)]
    assert tags[0] == tags[1]
    assert all(segment.author == "environment" for segment in prompt)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "no action"),
        ("It was Grass.", "no <search> or <answer>"),
        ("<think>hm", "<think> is never closed"),
        ("<search>a", "<search> is not closed"),
        ("a</search>", "</search> without <search>"),
        ("<search>a</answer>", "<search> is not closed"),
        ("<search> </search>", "<search> is empty"),
        ("<answer></answer>", "<answer> is empty"),
        ("<search>a</search><answer>b</answer>", "one action a message"),
        ("<answer>a</answer><answer>b</answer>", "one action a message"),
        ("<search>a</search> and so on", "text after the action"),
        ("<search>a</search> and <search>b</search>", "text after the action"),
        ("<search>a</search><information>b</information>", "only the environment writes"),
        ("<search>a</search><think>b</think>", "the thought comes before the action"),
        ("<answer>see <search> x</answer>", "before any other tag"),
        ("<think>a</think><think>b</think><search>c</search>", "only one thought"),
        ("<search>a</search>" * (MAX_QUERIES + 1), f"at most {MAX_QUERIES} queries"),
    ],
)
def test_tags_explains_what_is_wrong(message: str, reason: str) -> None:
    action = TAGS.parse(message)
    assert isinstance(action, Invalid)
    assert reason in action.reason


@pytest.mark.parametrize(
    ("message", "action"),
    [
        ("<search>a</search>", Search(("a",))),
        ("<search> a </search>\n<search>b</search>\n", Search(("a", "b"))),
        ("I will look. <search>a</search>", Search(("a",))),
        ("the template opened my thought</think><answer>b</answer>", Answer("b")),
        ("<think><search>not this</search></think><answer>x < y</answer>", Answer("x < y")),
        (f"{ANSWER_PROBE.prefix}Danzig{ANSWER_PROBE.suffix}", Answer("Danzig")),
    ],
)
def test_tags_reads(message: str, action: Search | Answer) -> None:
    assert TAGS.parse(message) == action


def tool_call(call: object) -> str:
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


@pytest.mark.parametrize(
    ("message", "action"),
    [
        (tool_call({"name": "search", "arguments": {"query": "a"}}), Search(("a",))),
        (tool_call({"name": "search", "arguments": {"query": ["a", " b "]}}), Search(("a", "b"))),
        (tool_call({"name": "search", "arguments": {"query": "a"}}) * 2, Search(("a", "a"))),
        ("<think>x</think><answer>a</answer>", Answer("a")),
    ],
)
def test_tool_call_reads(message: str, action: Search | Answer) -> None:
    assert TOOL_CALL.parse(message) == action


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("search", 'the only tool is "search"'),
        ({"name": "browse", "arguments": {}}, 'the only tool is "search"'),
        ({"name": "search"}, '"query" must be'),
        ({"name": "search", "arguments": "query"}, '"query" must be'),
        ({"name": "search", "arguments": {"query": []}}, '"query" must be'),
        ({"name": "search", "arguments": {"query": 7}}, '"query" must be'),
        ({"name": "search", "arguments": {"query": ["a", 7]}}, "every query must be"),
        ({"name": "search", "arguments": {"query": ["a", " "]}}, "every query must be"),
    ],
)
def test_tool_call_explains_what_is_wrong(call: object, reason: str) -> None:
    action = TOOL_CALL.parse(tool_call(call))
    assert isinstance(action, Invalid)
    assert reason in action.reason


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "9" * 10_000, '{"name": "search"', ""])
def test_json_that_python_cannot_read_is_invalid(content: str) -> None:
    assert isinstance(TOOL_CALL.parse(f"<tool_call>{content}</tool_call>"), Invalid)


def test_a_query_of_lone_surrogates_becomes_text_that_files_accept() -> None:
    action = TOOL_CALL.parse('<tool_call>{"name": "search", "arguments": {"query": "\\ud800"}}</tool_call>')
    assert action == Search(("?",))
    assert well_formed("Gdańsk") == "Gdańsk"


def test_a_long_message_is_read() -> None:
    assert TAGS.parse("a" * 5_000_000) == TAGS.parse("a")
    assert isinstance(TAGS.parse("<search>" * 200_000), Invalid)


def test_the_probe_is_that_of_the_paper() -> None:
    assert ANSWER_PROBE.prefix == "<think>\nNow there's enough information to answer\n</think>\n<answer>\n"
    assert ANSWER_PROBE.suffix == "\n</answer>"


def test_passages_are_numbered_as_search_r1_does() -> None:
    body = TAGS.passages([Passage("1", "A", "one"), Passage("2", "B", "two")])
    assert body == "Doc 1(Title: A) one\nDoc 2(Title: B) two"
    assert TAGS.passages([]) == "No passage was found."


def test_the_invalid_reply_shows_actions_that_are_valid() -> None:
    for protocol in PROTOCOLS.values():
        body = protocol.invalid("why")
        assert protocol.write(Answer("answer")) in body
        assert protocol.write(Search(("query",))) in body


def test_protocols_are_found_by_name() -> None:
    assert resolve_protocol("tags") is TAGS
    assert resolve_protocol(TOOL_CALL) is TOOL_CALL
    with pytest.raises(SpecError, match="unknown protocol 'xml'; choose one of: tags, tool_call"):
        resolve_protocol("xml")
