"""Messages with roles, in the forms in which libraries write them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.rollouts.transcripts.actions import tagged_calls
from igpo_gym.agents.rollouts.transcripts.chat import LAYOUT
from igpo_gym.agents.rollouts.transcripts.interface import About, Transcript
from igpo_gym.agents.rollouts.transcripts.messages import dialogue
from igpo_gym.data.rows import Row
from igpo_gym.episode import Answer, EndReason, Invalid, ToolCall, ToolCalls
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.loading import load_model
from igpo_gym.protocols.messages import ROLES

SEARCH = {"name": "search", "arguments": '{"query": "Danzig"}'}


def read(record: dict[str, Any]) -> Transcript:
    assert LAYOUT.fits(record)
    (found,) = LAYOUT.read(Row(record, 1))
    assert isinstance(found, Transcript)
    return found


def nested(depth: int) -> dict[str, Any]:
    """Arguments of lists within lists."""
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return {"query": inner}


def test_openai_calls_and_results_by_their_ids() -> None:
    found = read(
        {
            "messages": [
                {"role": "developer", "content": "Use tools."},
                {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "a", "type": "function", "function": SEARCH},
                        {"id": "b", "type": "function", "function": {"name": "python", "arguments": "1+1"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "b", "content": "2"},
                {"role": "tool", "tool_call_id": "a", "content": '[{"title": "Danzig", "text": "A port."}]'},
                {"role": "assistant", "content": "It is in <answer>Danzig</answer>"},
            ],
            "answer": "Danzig",
        }
    )
    assert [segment.role for segment in found.prompt] == ["system", "user"]
    first, last = found.turns
    assert first.action == ToolCalls(
        (ToolCall("search", {"query": "Danzig"}), ToolCall("python", {"arguments": "1+1"}))
    )
    assert [result.text for result in first.results] == ["", "2"]
    assert [passage.title for passage in first.passages] == ["Danzig"]
    assert [segment.role for segment in first.segments] == ["assistant", "tool", "tool"]
    assert last.action == Answer("Danzig")
    assert (found.about.question, found.about.answers, found.end) == (
        "Where is it?",
        ("Danzig",),
        EndReason.ANSWERED,
    )


PORT, RIVER = "Doc 1(Title: Danzig) A port.", "Doc 1(Title: Vistula) A river."


@pytest.mark.parametrize(
    "messages",
    [
        [  # Anthropic's: the results of all calls in one message of the user, in any order
            {"role": "user", "content": "Where?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "a", "name": "search", "input": {"query": "port"}},
                    {"type": "tool_use", "id": "b", "name": "search", "input": {"query": "river"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": RIVER}]},
                    {"type": "tool_result", "tool_use_id": "a", "content": PORT},
                    {"type": "text", "text": "Go on."},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Danzig"}]},
        ],
        [  # LangChain's
            {"type": "human", "content": "Where?"},
            {
                "type": "ai",
                "content": "",
                "tool_calls": [
                    {"name": "search", "args": {"query": "port"}, "id": "a", "type": "tool_call"},
                    {"name": "search", "args": {"query": "river"}, "id": "b", "type": "tool_call"},
                ],
            },
            {"type": "tool", "content": RIVER, "tool_call_id": "b"},
            {"type": "tool", "content": PORT, "tool_call_id": "a"},
            {"type": "ai", "content": "Danzig"},
        ],
        [  # LLaMA-Factory's
            {"from": "human", "value": "Where?"},
            {
                "from": "function_call",
                "value": json.dumps(
                    [{"name": "search", "arguments": {"query": each}} for each in ("port", "river")]
                ),
            },
            {"from": "observation", "value": PORT},
            {"from": "observation", "value": RIVER},
            {"from": "gpt", "value": "Danzig"},
        ],
    ],
    ids=["anthropic", "langchain", "llama-factory"],
)
def test_calls_and_their_results_in_the_forms_of_other_libraries(messages: list[dict[str, Any]]) -> None:
    first, last = read({"messages": messages}).turns
    assert first.action == ToolCalls(
        (ToolCall("search", {"query": "port"}), ToolCall("search", {"query": "river"}))
    )
    assert [[each.title for each in result.passages[0]] for result in first.results] == [
        ["Danzig"],
        ["Vistula"],
    ]
    assert "port" in first.message
    assert last.action == Answer("Danzig")


KIMI_CALL = "<|tool_call_begin|>functions.search:{}<|tool_call_argument_begin|>{}<|tool_call_end|>"


@pytest.mark.parametrize(
    ("called", "ids"),
    [
        (
            KIMI_CALL.format(7, '{"query": "port"}') + KIMI_CALL.format(8, '{"query": "river"}'),
            ("functions.search:7", "functions.search:8"),
        ),
        (
            '<|START_THINKING|><|START_ACTION|>[{"tool_call_id": "9"}]<|END_THINKING|><|START_ACTION|>['
            '{"tool_call_id": "0", "tool_name": "search", "parameters": {"query": "port"}},'
            '{"tool_call_id": "1", "tool_name": "search", "parameters": {"query": "river"}}]<|END_ACTION|>',
            ("0", "1"),
        ),
        (
            '[TOOL_CALLS]search[CALL_ID]ab[ARGS]{"query": "port"}'
            '[TOOL_CALLS]search[CALL_ID]cd[ARGS]{"query": "river"}',
            ("ab", "cd"),
        ),
    ],
)
def test_results_are_those_of_the_calls_whose_ids_stand_in_the_text(
    called: str, ids: tuple[str, ...]
) -> None:
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": called},
        {"role": "tool", "tool_call_id": ids[1], "content": RIVER},
        {"role": "tool", "tool_call_id": ids[0], "content": PORT},
        {"role": "assistant", "content": "Danzig"},
    ]
    first = read({"messages": messages}).turns[0]
    queries = ToolCalls((ToolCall("search", {"query": "port"}), ToolCall("search", {"query": "river"})))
    assert first.action == queries
    assert [result.passages[0][0].title for result in first.results] == ["Danzig", "Vistula"]
    first = read({"messages": [*messages[:3], messages[4]]}).turns[0]
    assert [bool(result.passages) for result in first.results] == [False, True]


def test_content_in_a_field_that_is_not_read_is_no_silence() -> None:
    said = [{"role": "model", "parts": [{"text": "Danzig"}]}]
    with pytest.raises(ValueError, match="its content in 'parts', which is not read"):
        dialogue(said, About("Where?"))


@pytest.mark.parametrize(
    ("last", "answer"),
    [
        ({"content": "In Danzig."}, "In Danzig."),
        ({"content": "<think>Where? <answer>no</answer></think>In Danzig."}, "In Danzig."),
        ({"content": "So \\boxed{\\text{Danzig}}."}, "Danzig"),
        (
            {"content": "", "tool_calls": [{"function": {"name": "submit", "arguments": {"answer": "X"}}}]},
            "X",
        ),
        ({"content": "", "tool_calls": [{"function": {"name": "final_answer", "arguments": {"a": 3}}}]}, "3"),
        ({"content": "Danzig", "reasoning_content": "<answer>no</answer>"}, "Danzig"),
    ],
)
def test_answers_in_every_form(last: dict[str, Any], answer: str) -> None:
    found = read({"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", **last}]})
    assert found.turns[-1].action == Answer(answer)


def test_an_agent_that_was_asked_for_marks_answers_in_no_other_way() -> None:
    asked = {"role": "user", "content": "Write <answer>answer</answer>. Question: Where?"}
    found = read({"messages": [asked, {"role": "assistant", "content": "No answer found."}]})
    assert isinstance(found.turns[-1].action, Invalid)
    assert (found.end, found.about.question) == (EndReason.TURNS_EXHAUSTED, "Where?")


@pytest.mark.parametrize(
    ("field", "told", "end"),
    [
        ("termination", "generate an answer as token limit reached", EndReason.CONTEXT_EXHAUSTED),
        ("finish_reason", "length", EndReason.CONTEXT_EXHAUSTED),
        ("status", "error", EndReason.ABORTED),
        ("status", "ended without errors", EndReason.TURNS_EXHAUSTED),
        ("finish_reason", "eos_token", EndReason.TURNS_EXHAUSTED),
        ("finish_reason", "end_of_turn_token", EndReason.TURNS_EXHAUSTED),
        ("finish_reason", "max_tokens", EndReason.CONTEXT_EXHAUSTED),
        ("stop_condition", "prompt_too_long", EndReason.CONTEXT_EXHAUSTED),
        ("termination", "exceed available llm calls", EndReason.TURNS_EXHAUSTED),
    ],
)
def test_why_it_ended_is_what_the_source_says(field: str, told: str, end: EndReason) -> None:
    call = {"role": "assistant", "content": '<tool_call>{"name": "search", "arguments": {}}</tool_call>'}
    assert read({"messages": [{"role": "user", "content": "Where?"}, call], field: told}).end is end


@pytest.mark.parametrize(
    ("error", "end"),
    [
        ("Connection refused", EndReason.ABORTED),
        ("context length exceeded", EndReason.CONTEXT_EXHAUSTED),
        ("None", EndReason.ANSWERED),
        ("no errors", EndReason.ANSWERED),
        ("", EndReason.ANSWERED),
    ],
)
def test_an_error_counts_beside_a_natural_end(error: str, end: EndReason) -> None:
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "I was going to"}]
    fields = {"messages": messages, "finish_reason": "stop", "status": "completed", "error": error}
    assert read(fields).end is end


@pytest.mark.parametrize("arguments", [{"query": float("nan")}, {"query": [1e999]}, nested(500)])
def test_a_call_that_no_json_holds_is_invalid(arguments: dict[str, Any]) -> None:
    said = f'<tool_call>{{"name": "search", "arguments": {json.dumps(arguments)}}}</tool_call>'
    handed = [{"function": {"name": "search", "arguments": arguments}}]
    for message in ({"content": said}, {"content": "", "tool_calls": handed}):
        asked = {"role": "user", "content": "Where?"}
        found = read({"messages": [asked, {"role": "assistant", **message}]})
        assert isinstance(found.turns[0].action, Invalid)


def test_an_attribute_that_no_json_holds_is_a_text() -> None:
    (call,) = tagged_calls('<open page="NaN">Salman</open>')
    assert call.arguments == {"document": "Salman", "page": "NaN"}


@pytest.mark.parametrize("told", ["length", "error", "stop"])
def test_a_message_that_was_broken_off_is_no_answer_as_a_whole(told: str) -> None:
    asked, said = (
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "It may be Danzig or"},
    )
    found = read({"messages": [asked, said], "finish_reason": told})
    assert (found.end is EndReason.ANSWERED) == isinstance(found.turns[-1].action, Answer) == (told == "stop")
    marked = {"role": "assistant", "content": "<answer>Danzig</answer>"}
    assert read({"messages": [asked, marked], "finish_reason": told}).end is EndReason.ANSWERED


def test_webdancers_responses_and_sharegpts_names() -> None:
    call = {"name": "search", "arguments": {"query": ["a", "b"]}}
    results = (
        "A Google search for 'a' found 1 results:\n\n## Web Results\n1. [Danzig](https://x.org/d)\n\nA port."
    )
    other = results.replace("Danzig", "Vistula").replace("/d", "/o").replace("'a'", "'b'")
    found = read(
        {
            "conversations": [
                {"from": "human", "value": "Solve it with tools.\n\nUser: Where is it?"},
                {"from": "gpt", "value": f"<think>?</think>\n<tool_call>\n{json.dumps(call)}\n</tool_call>"},
                {"from": "human", "value": f"<tool_response>\n{results}\n=======\n{other}\n</tool_response>"},
                {"from": "gpt", "value": "<think>!</think>\n<answer>\nIn Danzig\n</answer>"},
            ],
            "answer": [["Danzig", "Gdańsk"]],
        }
    )
    assert (found.about.question, found.about.answers) == ("Where is it?", ("Danzig", "Gdańsk"))
    groups = found.turns[0].results[0].passages
    assert [[(each.id, each.title, each.text) for each in group] for group in groups] == [
        [("https://x.org/d", "Danzig", "A port.")],
        [("https://x.org/o", "Vistula", "A port.")],
    ]
    assert found.turns[1].action == Answer("In Danzig")
    assert found.framing == "chat"


def test_deepresearchers_results_are_json() -> None:
    page = {"title": "Danzig", "url": "https://x.org", "quick_summary": "A port."}
    body = json.dumps([{"search_query": "a", "web_page_info_list": [page]}, {"web_page_info_list": []}])
    call = {"type": "function", "function": {"name": "web_search", "arguments": {"query": ["a", "b"]}}}
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "<think>?</think>", "tool_calls": [call]},
        {"role": "tool", "name": "web_search", "content": body},
        {"role": "assistant", "content": "<think>!</think><answer>Danzig</answer>"},
    ]
    found = read({"messages": messages})
    assert [len(group) for group in found.turns[0].results[0].passages] == [1, 0]
    assert found.turns[0].message.endswith("</tool_call>")
    assert "web_search" in found.turns[0].message


KIMI = (
    "So:<|tool_calls_section_begin|><|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>"
    '{"query": "port"}<|tool_call_end|><|tool_calls_section_end|>'
)


def chat(*contents: str, role: str = "tool") -> dict[str, Any]:
    """Messages of the agent and replies by turns."""
    roles = ["assistant", role] * len(contents)
    messages = [{"role": each, "content": text} for each, text in zip(roles, contents, strict=False)]
    return {"messages": [{"role": "user", "content": "Where?"}, *messages]}


def test_calls_in_a_familys_own_tokens_have_the_replies_as_results() -> None:
    first, last = read(chat(KIMI, PORT, "Danzig<|im_end|>")).turns
    assert (first.action, first.message) == (ToolCalls((ToolCall("search", {"query": "port"}),)), KIMI)
    assert [passage.title for passage in first.passages] == ["Danzig"]
    assert last.action == Answer("Danzig")


@pytest.mark.parametrize("spelled", [KIMI, "[TOOL_CALLS]a[ARGS]{}", "Action: Finish[no]", "Final Answer: no"])
def test_a_reply_that_spells_a_call_stays_a_text(spelled: str) -> None:
    turns = read(chat(KIMI, spelled, "Danzig")).turns
    assert [turn.action for turn in turns] == [
        ToolCalls((ToolCall("search", {"query": "port"}),)),
        Answer("Danzig"),
    ]
    assert turns[0].results[0].text == spelled
    assert [(each.author, each.text.rstrip("\n")) for each in turns[0].segments[1:]] == [
        ("environment", spelled)
    ]


@pytest.mark.parametrize("last", ["<|tool_calls_section_begin|>", KIMI.replace('"}', ""), "Action: sear"])
def test_a_call_that_is_malformed_or_cut_off_is_an_invalid_turn(last: str) -> None:
    found = read(chat(KIMI, PORT, last))
    assert isinstance(found.turns[-1].action, Invalid)
    assert found.end is EndReason.TURNS_EXHAUSTED


def test_gpt_oss_thinks_calls_and_answers_in_channels() -> None:
    thought = "<|channel|>analysis<|message|>Is it <answer>Elbing</answer>?<|end|><|start|>assistant"
    calls = '<|channel|>commentary to=functions.search <|constrain|>json<|message|>{"query": "port"}<|call|>'
    first, last = read(
        chat(thought + calls, PORT, f"{thought}<|channel|>final<|message|>Danzig<|return|>")
    ).turns
    assert first.action == ToolCalls((ToolCall("search", {"query": "port"}),))
    assert last.action == Answer("Danzig")
    cut = read(chat(thought + calls, PORT, "<|channel|>analysis<|message|>Is it")).turns[-1]
    assert isinstance(cut.action, Invalid)


@pytest.mark.parametrize(
    "calls",
    [
        ("Thought 1: Where?\nAction 1: search[port]", "Thought 2: So.\nAction 2: Finish[Danzig]"),
        ("Thought: Where?\nAction: search\nAction Input: port\n", "Thought: So.\nFinal Answer: Danzig\n"),
    ],
)
def test_react_in_messages(calls: tuple[str, str]) -> None:
    first, last = read(chat(calls[0], f"Observation: {PORT}", calls[1], role="user")).turns
    assert first.action == ToolCalls((ToolCall("search", {"query": "port"}),))
    assert [passage.title for passage in first.passages] == ["Danzig"]
    assert first.observation == f"Observation: {PORT}"
    assert last.action == Answer("Danzig")


def test_observations_in_the_only_message_of_the_agent_are_nobodys() -> None:
    said = "Thought: Where?\nAction: search[port]\nObservation: A port.\nFinal Answer: Danzig"
    with pytest.raises(ValueError, match="'Observation:' may begin a reply of the environment"):
        read(chat(said))


def test_chatml_in_one_text() -> None:
    text = (
        "<|im_start|>system\nUse tools.<|im_end|>\n<|im_start|>user\nWhere?<|im_end|>\n"
        "<|im_start|>assistant\n"
        '<think>a</think><tool_call>{"name": "search", "arguments": {"q": "x"}}</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>A port.</tool_response><|im_end|>\n<|im_start|>assistant\n"
        "<think>b</think> \\boxed{Danzig}<|im_end|><|endoftext|>"
    )
    found = read({"solution": text, "answer": "Danzig"})
    assert [segment.text for segment in found.prompt] == ["Use tools.", "Where?"]
    assert [turn.observation for turn in found.turns] == ["<tool_response>A port.</tool_response>", ""]
    assert found.turns[0].results[0].text == "A port."
    assert found.turns[1].action == Answer("Danzig")


def test_messages_as_json_in_one_text() -> None:
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}]
    assert read({"messages": json.dumps(messages)}).turns[0].message == "Here."


def test_replies_within_the_only_message_of_the_agent_are_the_environments() -> None:
    text = "<search>a</search>\n\n<information>Doc 1(Title: X) y</information>\n\n<answer>b</answer>"
    messages = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": text}]
    found = read({"messages": messages})
    assert found.framing == "text"
    assert [segment.author for turn in found.turns for segment in turn.segments] == [
        "agent",
        "environment",
        "agent",
    ]


def test_a_response_that_the_agent_made_up_is_the_agents() -> None:
    made_up = '<tool_call>{"name": "a"}</tool_call>\n<tool_response>mine</tool_response>'
    messages = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": made_up},
        {"role": "user", "content": "<tool_response>theirs</tool_response>"},
        {"role": "assistant", "content": "Here."},
    ]
    first = read({"messages": messages}).turns[0]
    assert first.message == made_up
    assert first.results[0].text == "theirs"


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({"role": "narrator", "content": "x"}, "narrator"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "image_url"),
        ({"role": "assistant", "content": "x", "tool_calls": [3]}, "a call of a tool is a int"),
    ],
)
def test_what_is_no_text_is_said(message: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        dialogue([{"role": "assistant", "content": "x"}, message], About("Where?"))


CONTENT = st.text(max_size=8) | st.sampled_from(
    ["<tool_call>{}</tool_call>", '<tool_call>{"name": "a"}</tool_call>', "<answer>x</answer>", "<|im_end|>"]
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(sorted(ROLES)), "content": CONTENT}),
    min_size=1,
    max_size=8,
)


@given(MESSAGES)
def test_any_order_of_roles_is_one_that_chat_templates_have(messages: list[dict[str, str]]) -> None:
    try:
        found = dialogue(messages, About("Where?"))
    except ValueError:
        return  # the agent says nothing
    said = [each["content"] for each in messages if ROLES[each["role"]] == "assistant"]
    while said and not said[-1].strip():
        said.pop()
    assert [turn.message for turn in found.turns][: len(said)] == said[: len(found.turns)]
    order: list[str] = []
    for segment in (*found.prompt, *(each for turn in found.turns for each in turn.segments)):
        order += [segment.role] * (not order or order[-1] != segment.role)
    after = {
        None: {"system", "user"},
        "system": {"user"},
        "user": {"assistant"},
        "tool": {"assistant"},
        "assistant": {"user", "tool"},
    }
    for before, role in zip([None, *order], order, strict=False):
        assert role in after[before], order


def test_a_model_reads_it() -> None:
    framing = Framing(load_model("nano")[1])
    found = read({"messages": [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "x"}]})
    assert framing.ids([*found.prompt, *found.turns[0].segments])
