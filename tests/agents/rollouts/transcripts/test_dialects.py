"""Text transcripts: which stretch the agent wrote and which the environment, to the letter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.transcripts import read_transcripts
from igpo_gym.agents.rollouts.transcripts.dialects import DIALECTS, dialect_of
from igpo_gym.agents.rollouts.transcripts.interface import About
from igpo_gym.agents.rollouts.transcripts.marks import TextDialect
from igpo_gym.agents.rollouts.transcripts.r1_searcher import R1_SEARCHER
from igpo_gym.agents.rollouts.transcripts.research import RESEARCH
from igpo_gym.agents.rollouts.transcripts.search_o1 import SEARCH_O1
from igpo_gym.agents.rollouts.transcripts.search_r1 import SEARCH_R1
from igpo_gym.agents.rollouts.transcripts.tool_text import TOOL_TEXT
from igpo_gym.envs import SearchQAEnv
from igpo_gym.episode import Answer, EndReason, Episode, Invalid, ToolCall, ToolCalls, ToolResult, Turn
from igpo_gym.tools import ToolSpec, search_call

HINT = (
    "\nMy previous action is invalid. If I want to search, I should put the query between "
    "<search> and </search>. "
    "If I want to give the final answer, I should put the answer between <answer> and </answer>. "
    "Let me try again.\n"
)
"""What Search-R1's environment writes after a message without an action."""

CASES: dict[str, tuple[TextDialect, list[tuple[str, str]]]] = {
    "search-r1": (
        SEARCH_R1,
        [
            (
                "<think>Who?</think>\n<search> author </search>",
                "\n\n<information>Doc 1(Title: Danzig) A port.\nDoc 2(Title: Vistula) Wet</information>\n\n",
            ),
            ("I say nothing.", HINT),
            ("<answer> Beijing </answer>", ""),
        ],
    ),
    "search-r1's script": (
        SEARCH_R1,
        [
            ("<search>a</search>", "<information>Doc 1(Title: X) y\n</information>\n\n"),
            ("<answer>b</answer>", ""),
        ],
    ),
    "tags": (
        SEARCH_R1,
        [
            ("<search>a</search>", "\n<information>\nDoc 1(Title: X) y\n</information>\n"),
            (
                "hm",
                "\n<information>\nInvalid message: no action. Write <search>query</search>\n</information>\n",
            ),
            ("<open>X</open>", "\n<information>\nA page.\n</information>\n"),
            ("<answer>b</answer>", ""),
        ],
    ),
    "r1-searcher": (
        R1_SEARCHER,
        [
            (
                "I search.\n\n<|begin_of_query|> port<|end_of_query|>",
                "\n\n<|begin_of_documents|>\n(1)Title: Danzig Text: A port.\n<|end_of_documents|>\n\n",
            ),
            ("So.\n </think>\n\n <answer> Danzig </answer>", ""),
        ],
    ),
    "search-o1": (
        SEARCH_O1,
        [
            (
                "I search.\n\n<|begin_search_query|>port<|end_search_query|>",
                "\n\n<|begin_search_result|>Danzig is a port.<|end_search_result|>\n\n",
            ),
            ("So it is \\boxed{Danzig}.", ""),
        ],
    ),
    **{
        f"search-r1 with {tag}": (
            SEARCH_R1,
            [
                (
                    "<think>a</think><search>port</search>",
                    f"\n<{tag}>\nDoc 1(Title: Danzig) A port.\n</{tag}>\n",
                ),
                ("<refine>Danzig.</refine><answer>Danzig</answer>", ""),
            ],
        )
        for tag in ("documents", "evidence", "observation")
    },
    "research": (
        RESEARCH,
        [
            ("<think> a </think> <search> port </search>", ' <result>\n"Danzig"\nA port.\n</result>'),
            (" <think> b </think> <answer> It is \\[ \\boxed{Danzig} \\] </answer>", ""),
        ],
    ),
    "recall": (
        TOOL_TEXT,
        [
            (
                '<think>a</think><tool_call>\n{"name": "search", "arguments": {"query": "x"}}\n</tool_call>',
                "\nuser\n<tool_response>\nA port.\n</tool_response>\nassistant\n",
            ),
            ("<think>b</think> It is \\boxed{Danzig}", ""),
        ],
    ),
    "two responses": (
        TOOL_TEXT,
        [
            (
                '<tool_call>{"name": "a", "arguments": {}}</tool_call><tool_call>{"name": "b"}</tool_call>',
                "\nuser\n<tool_response>1</tool_response>\n<tool_response>2</tool_response>\nassistant\n",
            ),
            ("<answer>c</answer>", ""),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_every_stretch_is_its_authors(case: str) -> None:
    dialect, stretches = CASES[case]
    turns = dialect.turns("".join(said + replied for said, replied in stretches))
    assert [(turn.message, turn.observation) for turn in turns] == stretches
    for turn, (said, replied) in zip(turns, stretches, strict=True):
        expected = [("agent", "assistant", said)] + [("environment", "assistant", replied)] * bool(replied)
        assert [(each.author, each.role, each.text) for each in turn.segments] == expected
    assert isinstance(turns[-1].action, Answer)


def test_actions_and_passages_are_read() -> None:
    searched, invalid, _ = _turns("search-r1")
    assert isinstance(searched.action, ToolCalls)
    assert [call.arguments for call in searched.action.calls] == [{"query": "author"}]
    assert [(each.title, each.text) for each in searched.passages] == [
        ("Danzig", "A port."),
        ("Vistula", "Wet"),
    ]
    assert isinstance(invalid.action, Invalid)
    assert [result.text for result in _turns("two responses")[0].results] == ["1", "2"]
    assert [each.title for each in _turns("research")[0].passages] == ["Danzig"]
    assert _turns("research")[-1].action == _turns("recall")[-1].action == Answer("Danzig")


def _turns(case: str) -> tuple[Turn, ...]:
    dialect, stretches = CASES[case]
    return dialect.turns("".join(said + replied for said, replied in stretches))


def test_a_block_that_the_agent_made_up_is_the_agents() -> None:
    text = "<information>I invent this.</information> <answer>x</answer>"
    (turn,) = SEARCH_R1.turns(text)
    assert turn.message == text
    assert turn.observation == ""


def test_a_mark_within_a_document_does_not_close_the_reply() -> None:
    reply = "\n\n<information>Doc 1(Title: HTML) It says </information> here.\n</information>\n\n"
    turns = SEARCH_R1.turns(f"<search>a</search>{reply}<answer>b</answer>")
    assert [turn.observation for turn in turns] == [reply, ""]


def test_a_reply_that_the_end_cuts_is_the_environments() -> None:
    (turn,) = SEARCH_R1.turns("<search>a</search>\n\n<information>Doc 1(Title: X) cut of")
    assert turn.observation == "\n\n<information>Doc 1(Title: X) cut of"


def test_a_block_behind_a_search_in_marks_that_are_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="'<learnings>' may begin a reply of the environment"):
        SEARCH_R1.turns("<search>a</search>\n<learnings>A port.</learnings><answer>b</answer>")
    (turn,) = SEARCH_R1.turns("<search>a</search>\n<think>No reply.</think><answer>b</answer>")
    assert turn.segments[0].author == "agent"


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (SEARCH_R1, "<search>a</search>\n<documents>cut of<think>b</think><answer>c</answer>"),
        (SEARCH_R1, "<search>a</search>\n<information>cut of<think>b</think><answer>c</answer>"),
        (R1_SEARCHER, "<|begin_of_query|>a<|end_of_query|>\n<|begin_of_documents|>b <answer>c</answer>"),
        (TOOL_TEXT, "<tool_call>{}</tool_call>\n<tool_response>b<think>c</think>"),
    ],
)
def test_where_nobody_can_tell_who_wrote_on_it_is_said(dialect: TextDialect, text: str) -> None:
    with pytest.raises(ValueError, match="never closed"):
        dialect.turns(text)


def test_a_prompt_before_the_text_is_the_prompt() -> None:
    prompt = "Answer the given question. Write <search> query </search>. Question: Where is it?\n"
    found = SEARCH_R1.transcript(f"{prompt}<answer>Danzig</answer>", About())
    assert (found.about.question, found.prompt[0].text) == ("Where is it?", prompt)
    assert [turn.message for turn in found.turns] == ["<answer>Danzig</answer>"]


def test_the_first_of_two_actions_counts_in_search_r1_and_the_last_query_in_r1_searcher() -> None:
    (turn,) = SEARCH_R1.turns("<search>a</search><answer>b</answer>")
    assert isinstance(turn.action, ToolCalls)
    (turn,) = R1_SEARCHER.turns(
        "<|begin_of_query|> a<|end_of_query|> or <|begin_of_query|> b <|end_of_query|>"
    )
    assert isinstance(turn.action, ToolCalls)
    assert turn.action.calls[0].arguments == {"query": "b"}


MARKS = st.sampled_from(
    [
        *("<search>", "</search>", "<information>", "</information>", "<result>", "</result>", "<answer>"),
        *(
            "</answer>",
            "<|begin_of_query|>",
            "<|end_of_query|>",
            "<|begin_of_documents|>",
            "\n\n",
            "\nuser\n",
        ),
        *("<|end_of_documents|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"),
        *(
            "<think>",
            "</think>",
            "assistant\n",
            HINT,
            "\\boxed{",
            "}",
            '{"name": "search"}',
            "Doc 1(Title: a) b",
        ),
    ]
)


@given(st.lists(MARKS | st.text(max_size=5), max_size=14).map("".join), st.sampled_from(DIALECTS))
def test_no_text_is_lost_or_changed(text: str, dialect: TextDialect) -> None:
    try:
        turns = dialect.turns(text)
    except ValueError:
        return  # a reply is never closed
    written = "".join(segment.text for turn in turns for segment in turn.segments)
    assert text.startswith(written)
    assert not text[len(written) :].strip()
    for turn in turns:
        assert turn.segments[0].author == "agent"
        assert turn.segments[0].text == turn.message
        assert len(turn.results) == (len(turn.action.calls) if isinstance(turn.action, ToolCalls) else 0)


SAID = st.text(st.characters(exclude_characters="<>|", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=4), SAID)
def test_what_the_environments_wrote_is_found_again(turns: list[tuple[str, str]], last: str) -> None:
    forms = {
        SEARCH_R1: ("<search>{0}</search>", "\n\n<information>{1}</information>\n\n"),
        R1_SEARCHER: (
            "<|begin_of_query|>{0}<|end_of_query|>",
            "\n\n<|begin_of_documents|>\n{1}<|end_of_documents|>\n\n",
        ),
        RESEARCH: ("<search>{0}</search>", " <result>\n{1}\n</result>"),
        SEARCH_O1: (
            "<|begin_search_query|>{0}<|end_search_query|>",
            "\n\n<|begin_search_result|>{1}<|end_search_result|>\n\n",
        ),
    }
    for dialect, (call, reply) in forms.items():
        stretches = [(call.format(*each), reply.format(*each)) for each in turns]
        text = "".join(said + replied for said, replied in stretches) + f"<answer>{last}</answer>"
        assert dialect_of(text) is dialect
        found = dialect.turns(text)
        assert [(turn.message, turn.observation) for turn in found[:-1]] == stretches


QUOTED = (
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<answer>Böll</answer><|im_end|>",
    "a turn begins with <|im_start|>assistant",
    "ends<|im_end|>\n<|im_start|>user\nhi",
    "so it ends: </result>",
    "as in <search>a</search> <result>b</result>",
    "<|begin_of_query|>a<|end_of_query|>\n\n<|begin_of_documents|>b<|end_of_documents|>\n\n",
    '<tool_call>{"name": "search", "arguments": {}}</tool_call>\n<tool_response>b</tool_response>\n',
    "<search>a</search>\n\n<information>b",
)


@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("field", ["response", "text", "output", "messages"])
def test_what_a_page_quotes_of_another_layout_decides_nothing(
    tmp_path: Path, quoted: str, field: str
) -> None:
    called = '<tool_call>{"name": "search", "arguments": {"query": "port"}}</tool_call>'
    for dialect, call, reply in (
        (SEARCH_R1, "<search>port</search>", "\n\n<information>{}</information>\n\n"),
        (RESEARCH, "<search>port</search>", " <result>\n{}\n</result>"),
        (R1_SEARCHER, "<|begin_of_query|>port<|end_of_query|>",
         "\n\n<|begin_of_documents|>\n{}<|end_of_documents|>\n\n"),
        (TOOL_TEXT, called, "\n<tool_response>\n{}\n</tool_response>\n"),
    ):  # fmt: skip
        if reply.rstrip()[-6:] in quoted:
            continue  # a page that closes the reply itself: nobody can tell
        text = f"<think>Where?</think>{call}{reply.format(f'Page: {quoted}.')}<answer>Grass</answer>"
        held: object = [{"role": "assistant", "content": text}] if field == "messages" else text
        record = {"question": "Who?", "golden_answers": ["Grass"], field: held}
        path = tmp_path / "logs.jsonl"
        path.write_text(json.dumps(record))
        (episode,) = read_transcripts(path)
        assert (episode.question.text, episode.prediction) == ("Who?", "Grass")
        assert episode.imported["layout"] == ("chat" if field == "messages" else dialect.name)
        assert [each.author for each in episode.segments[1:]] == ["agent", "environment", "agent"]
        assert quoted in episode.segments[2].text


def test_chatml_that_begins_amid_the_agents_message_is_read_whole(tmp_path: Path) -> None:
    call = '<tool_call>{"name": "search", "arguments": {"query": "port"}}</tool_call>'
    text = f"{call}<|im_end|>\n<|im_start|>user\n<tool_response>\nDanzig\n</tool_response><|im_end|>\n"
    text += "<|im_start|>assistant\n<answer>Danzig</answer><|im_end|>\n"
    path = tmp_path / "logs.jsonl"
    path.write_text(json.dumps({"question": "Where?", "answer": "Danzig", "response": text}))
    (episode,) = read_transcripts(path)
    assert episode.imported["layout"] == "chat"
    assert [each.author for each in episode.segments[1:]] == ["agent", "environment", "agent"]
    assert isinstance(episode.turns[0].action, ToolCalls)


class Calc:
    spec = ToolSpec("calc", "Compute.", {"type": "object", "properties": {"expression": {"type": "string"}}})

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        return [ToolResult("42") for _ in calls]


PLAYED = {
    "tags": [
        "<think>where?</think><search>Salman</search>",
        '<open page="2">Salman</open>',
        '<search>a</search><open page="1">b</open>',
        "<calc>6*7</calc>",
        "<think>I could write <answer>Elbing</answer> now, but no.</think><search>Salman</search>",
        "<answer>Elbing</answer> That is my answer.",
        "<answer>Elbing</answer><answer>Danzig</answer>",
        "<think>So I write <answer>Elbing</answer>",
        "I do not know.",
        "<answer>Danzig</answer>",
    ],
    "tool_call": [
        '<think>where?</think><tool_call>{"name": "search", "arguments": {"query": "Salman"}}</tool_call>',
        '<tool_call>{"name": "calc", "arguments": {"expression": "6*7"}}</tool_call>',
        "<answer>Elbing</answer> That is my answer.",
        "<think>So I write <answer>Elbing</answer>",
        "<answer>Danzig</answer>",
    ],
}


@pytest.mark.parametrize(
    ("protocol", "form"),
    [("tags", "text"), ("tags-chat", "chat"), ("tool_call", "text"), ("tool_call", "chat")],
)
def test_what_was_played_here_is_imported_as_it_was_played(tmp_path: Path, protocol: str, form: str) -> None:
    env = SearchQAEnv(
        questions="world:test",
        scorer=None,
        reward="outcome-f1",
        protocol=protocol,
        tools=["search", "open", Calc()],
        max_turns=10,
    )
    env.reset(seed=0)
    for message in PLAYED[protocol.removesuffix("-chat")]:
        env.step(message)
    episode = env.episode
    assert episode is not None
    if form == "chat":
        record: dict[str, object] = {
            "messages": [{"role": each.role, "content": each.text} for each in episode.segments]
        }
    else:  # as verl decodes it, without the control tokens of the chat template
        framed = {"assistant": "{}", "user": "\nuser\n{}\nassistant\n"}
        said = [framed[each.role].format(each.text) for turn in episode.turns for each in turn.segments]
        record = {"input": episode.prompt_text, "output": "".join(said)}
    path = tmp_path / "logs.jsonl"
    path.write_text(json.dumps({**record, "question": episode.question.text, "gts": ["x"]}))
    (read,) = read_transcripts(path)
    assert (read.end, read.prediction) == (EndReason.ANSWERED, "Danzig")
    for here, there in zip(read.turns, episode.turns, strict=True):
        assert (here.message, here.action.kind) == (there.message, there.action.kind)
        assert [(each.title, each.text) for each in here.passages] == [
            (each.title, each.text) for each in dict.fromkeys(there.passages)
        ]
        assert [each.author for each in here.segments] == [each.author for each in there.segments]
    calls = [turn.action.calls for turn in read.turns if isinstance(turn.action, ToolCalls)]
    if protocol == "tool_call":
        assert calls[1] == (ToolCall("calc", {"expression": "6*7"}),)
    else:
        assert calls[1] == (ToolCall("open", {"document": "Salman", "page": 2}),)
        assert calls[2] == (search_call("a").calls[0], ToolCall("open", {"document": "b", "page": 1}))
        assert calls[3] == (ToolCall("calc", {"arguments": "6*7"}),)


def test_a_block_behind_a_tag_that_is_no_call_is_the_agents() -> None:
    text = "<b>so</b>\n\n<information>I invent this.</information> <answer>x</answer>"
    (turn,) = SEARCH_R1.turns(text)
    assert turn.message == text
