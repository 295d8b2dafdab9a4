"""``igpo``: the form of IGPO's and DeepResearcher's published environments (docs/METHOD.md, section 6).

``web_search`` takes a list of queries, of which the first three are used, ``browse_webpage`` a list of URLs.
Results come as JSON, grouped by query, in the role ``tool``. On request the system prompt tells the date, and
each of the agent's messages begins within a thought that the environment has opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from igpo_gym.episode import Answer, ToolCall, ToolResult
from igpo_gym.protocols.blocks import Blocks
from igpo_gym.protocols.grammar import Tools, checked_call, spec_named
from igpo_gym.protocols.json_calls import JsonForm, form_of, read_call
from igpo_gym.protocols.numbered import NOTICE, fair_length
from igpo_gym.protocols.probe import ANSWER_PROBE, OPEN_PROBE
from igpo_gym.protocols.protocol import ReplyLimits, Results, TextProtocol, unavailable
from igpo_gym.protocols.tool_call import question_alone, without_tools
from igpo_gym.text import echoed, neutralize, shortened
from igpo_gym.tools.interface import ToolSpec
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH

QUERIES_USED = 3
"""How many queries of a call are searched for; the others are ignored, as there."""

_TEXTS = {"type": "array", "items": {"type": "string"}}

WEB_SEARCH = ToolSpec(
    name="web_search",
    description="Search for pages.",
    parameters={
        "type": "object",
        "properties": {"query": {**_TEXTS, "description": "Up to three queries."}},
        "required": ["query"],
    },
    examples=({"query": ["first query", "second query"]},),
    purpose=SEARCH.purpose,
    trusted=True,
)
BROWSE_WEBPAGE = ToolSpec(
    name="browse_webpage",
    description="Read whole pages that a search has shown.",
    parameters={
        "type": "object",
        "properties": {
            "url_list": {**_TEXTS, "description": "Their URLs, as the results show them."},
            "page": {
                "type": "integer",
                "minimum": 1,
                "description": "Which page of each; the first by default.",
            },
        },
        "required": ["url_list"],
    },
    examples=({"url_list": ["url"]},),
    purpose=OPEN.purpose,
    trusted=True,
)
SHOWN = {SEARCH.name: WEB_SEARCH, OPEN.name: BROWSE_WEBPAGE}
"""How tools are called and described here; all others as they are."""


def _shown(tools: Tools) -> tuple[ToolSpec, ...]:
    return tuple(SHOWN.get(tool.name, tool) for tool in tools)


@dataclass(frozen=True, slots=True)
class WebForm:
    """JSON blocks with the tools' names and arguments of the published environments.

    >>> grammar = Blocks(WebForm(), "tool_response")
    >>> text = '<tool_call>{"name": "browse_webpage", "arguments": {"url_list": ["1"]}}</tool_call>'
    >>> grammar.read(text, [SEARCH, OPEN]).calls
    (ToolCall(tool='open', arguments={'document': '1'}),)
    """

    json: JsonForm = field(default_factory=JsonForm)

    def tags(self, tools: Tools) -> tuple[str, ...]:
        """The one tag."""
        return self.json.tags(tools)

    def read(self, tag: str, attributes: str, content: str, tools: Tools) -> Sequence[ToolCall]:
        """A search, or a call of ``open`` for each URL."""
        shown = _shown(tools)
        try:
            name, arguments = read_call(content, shown)
            if name == WEB_SEARCH.name and isinstance(arguments.get("query"), str):
                arguments["query"] = [arguments["query"]]
            given = checked_call(spec_named(name, shown), arguments).arguments
        except ValueError as problem:
            raise ValueError(f"{problem}; write {form_of(content, shown)}") from None
        if name == WEB_SEARCH.name:
            return (ToolCall(SEARCH.name, {"query": given["query"][:QUERIES_USED]}),)
        if name == BROWSE_WEBPAGE.name:
            page = {"page": given["page"]} if "page" in given else {}
            return tuple(ToolCall(OPEN.name, {"document": url, **page}) for url in given["url_list"])
        return (ToolCall(name, given),)

    def write(self, call: ToolCall, tools: Tools) -> str:
        """The block of a call, under the name that is shown."""
        arguments: dict[str, Any] = dict(call.arguments)
        if call.tool == SEARCH.name and isinstance(arguments.get("query"), str):
            arguments["query"] = [arguments["query"]]
        if call.tool == OPEN.name:
            arguments = {"url_list": [arguments.pop("document")], **arguments}
        name = SHOWN[call.tool].name if call.tool in SHOWN else call.tool
        return self.json.write(ToolCall(name, arguments), tools)

    def own_end(self, text: str, start: int) -> int | None:
        """JSON ends by itself."""
        return self.json.own_end(text, start)


@dataclass(slots=True)
class _Shown:
    """A text of a reply: where it stands, whole, and how much of it may be shown in any case."""

    entry: dict[str, Any]
    key: str
    text: str
    longest: int | None = None

    def cut(self, fair: int | None) -> int:
        """Show at most about ``fair`` characters, as JSON writes them; returns how many are left out."""
        longest = self.longest
        if fair is not None and (written := self.written) > fair:
            longest = max(1, (fair - NOTICE) * len(self.entry[self.key]) // written)
        self.entry[self.key], left_out = shortened(self.text, longest)
        return left_out

    @property
    def written(self) -> int:
        """How many characters JSON takes for what is shown of it."""
        return len(json.dumps(self.entry[self.key], ensure_ascii=False)) - 2


def grouped(results: Results, shown: frozenset[str], limits: ReplyLimits) -> tuple[str, int]:
    """The results as JSON: for each query its pages with title, url and summary; texts of other tools."""
    entries: list[dict[str, Any]] = []
    texts: list[_Shown] = []
    for call, result in results:
        for entry, own in _entries(call, result, shown, limits):
            entries.append(entry)
            texts += own
    cut = sum(each.cut(None) for each in texts)
    body = json.dumps(entries, ensure_ascii=False)
    if limits.reply_chars is not None and len(body) > limits.reply_chars:
        # The longest texts are cut, so that all that counts as found is shown in part, and the JSON is whole.
        lengths = [each.written for each in texts]
        fair = fair_length(lengths, limits.reply_chars - len(body) + sum(lengths))
        cut = sum(each.cut(fair) for each in texts)
        body = json.dumps(entries, ensure_ascii=False)
    return neutralize(body), cut


def _entries(
    call: ToolCall, result: ToolResult, shown: frozenset[str], limits: ReplyLimits
) -> Iterator[tuple[dict[str, Any], list[_Shown]]]:
    """What the reply has for a call, each with the texts in it."""
    if result.failed:
        yield {**_named(call), "error": unavailable(call.tool)}, []
    elif result.text or not result.passages:
        entry = {**_named(call), "content": result.text}
        yield entry, [_Shown(entry, "content", result.text)]
    else:
        for head, passages in zip(_heads(call, len(result.passages)), result.passages, strict=False):
            pages: list[dict[str, Any]] = []
            texts: list[_Shown] = []
            for passage in passages:
                page = {"title": passage.title, "url": passage.id, "quick_summary": "was shown before"}
                pages.append(page)
                if limits.repeat_passages or passage.id not in shown:
                    page["quick_summary"] = passage.text
                    texts.append(_Shown(page, "quick_summary", passage.text, limits.passage_chars))
            yield {**head, "web_page_info_list": pages}, texts


def _heads(call: ToolCall, lists: int) -> list[dict[str, Any]]:
    """What each list of passages was asked for with."""
    if call.tool != SEARCH.name:
        return [_named(call)] * lists
    query = call.arguments["query"]
    return [{"query": echoed(each)} for each in ([query] if isinstance(query, str) else query)]


def _named(call: ToolCall) -> dict[str, Any]:
    return {"url": echoed(call.arguments["document"])} if call.tool == OPEN.name else {"tool": call.tool}


def instructions(protocol: TextProtocol, date: str = "") -> str:
    """The system message: the date if wanted, the tools with their schemas, how to call and to answer."""
    tools = _shown(protocol.tools)
    schemas = "\n".join(json.dumps(tool.as_function(), ensure_ascii=False) for tool in tools)
    today = f" Today is {date}." if date else ""
    if not tools:
        return without_tools(protocol).replace(".", f".{today}", 1)
    form = '{"name": <function-name>, "arguments": <args-json-object>}'
    return (
        "You answer questions by searching the web and reading pages, step by step."
        f"{today} Think between <think> and </think> before each step.\n\n"
        f"# Tools\n\n<tools>\n{schemas}\n</tools>\n\n"
        f"To use a tool, write:\n<tool_call>\n{form}\n</tool_call>\n"
        f"When you know enough, write {protocol.form(Answer('answer'))}, short and without explanation."
    )


def igpo(date: str = "", think: bool = False) -> TextProtocol:
    """The protocol, with the date that the system prompt tells, and with thoughts opened by the environment.

    >>> from igpo_gym.tools.searching import search_call
    >>> igpo().write(search_call("Danzig"))
    '<tool_call>{"name": "web_search", "arguments": {"query": ["Danzig"]}}</tool_call>'
    >>> [segment.role for segment in igpo(think=True).reply("[]")]
    ['tool', 'assistant']
    """
    return TextProtocol(
        name="igpo",
        grammar=Blocks(WebForm(), "tool_response"),
        system=partial(instructions, date=date) if date else instructions,
        user=question_alone,
        render=grouped,
        result_tag="",
        reply_role="tool",
        probe=OPEN_PROBE if think else ANSWER_PROBE,
        prefilled=think,
    )
