"""``igpo``: the form of IGPO's and DeepResearcher's published environments (docs/METHOD.md, section 6).

``web_search`` takes a list of queries, of which the first three are used, ``browse_webpage`` a list of URLs.
Results come as JSON, grouped by query, in the role ``tool``. On request the system prompt tells the date, and
each of the agent's messages begins within a thought that the environment has opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from igpo_gym.episode import Answer, Passage, ToolCall
from igpo_gym.protocols.blocks import Blocks
from igpo_gym.protocols.cutting import cut_to_fit
from igpo_gym.protocols.grammar import Tools, checked_call, spec_named
from igpo_gym.protocols.json_calls import JsonForm, form_of, read_call
from igpo_gym.protocols.probe import ANSWER_PROBE, OPEN_PROBE
from igpo_gym.protocols.protocol import ReplyLimits, Results, TextProtocol, unavailable
from igpo_gym.protocols.tool_call import question_alone, without_tools
from igpo_gym.text import echoed, neutralize, shortened
from igpo_gym.tools.interface import ToolSpec
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH, call_queries

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


_PAGES, _SUMMARY = "web_page_info_list", "quick_summary"
Entries: TypeAlias = list[dict[str, Any]]


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


def grouped(results: Results, shown: frozenset[str], limits: ReplyLimits) -> tuple[str, int]:
    """The results as JSON: for each query its pages with title, url and summary; texts of other tools."""
    entries, cut = _entries(results, shown, limits), 0
    for page in _pages(entries) if limits.passage_chars is not None else ():
        page[_SUMMARY], lost = shortened(page[_SUMMARY], limits.passage_chars)
        cut += lost
    body = json.dumps(entries, ensure_ascii=False)
    if limits.reply_chars is not None and len(body) > limits.reply_chars:
        body, cut = _cut(_entries(results, shown, limits), limits.passage_chars, limits.reply_chars)
    return neutralize(body), cut


def _cut(entries: Entries, longest: int | None, limit: int) -> tuple[str, int]:
    """The entries as JSON with their longest texts cut, so that all that counts as found is shown in part.

    Where the limit is too small for one character of each, the JSON ends where it says.
    """
    holders = [*entries, *_pages(entries)]
    places = [(holder, key) for holder in holders for key, text in holder.items() if isinstance(text, str)]
    texts = [holder[key] for holder, key in places]
    for holder, key in places:
        holder[key] = ""
    room = limit - len(json.dumps(entries, ensure_ascii=False))
    most = [longest if key == _SUMMARY else None for _, key in places]
    cut = cut_to_fit(texts, most, room, _written)
    for (holder, key), (text, _) in zip(places, cut, strict=True):
        holder[key] = text
    return json.dumps(entries, ensure_ascii=False)[:limit], sum(lost for _, lost in cut)


def _pages(entries: Entries) -> list[dict[str, Any]]:
    return [page for entry in entries for page in entry.get(_PAGES, ())]


def _written(text: str) -> int:
    """How many characters JSON takes for a text."""
    return len(json.dumps(text, ensure_ascii=False)) - 2


def _entries(results: Results, shown: frozenset[str], limits: ReplyLimits) -> Entries:
    """What the reply has for the calls, with whole texts."""
    known = frozenset[str]() if limits.repeat_passages else shown
    entries: Entries = []
    for call, result in results:
        if result.failed:
            entries.append({**_named(call), "error": unavailable(call.tool)})
        elif result.text or not result.passages:
            entries.append({**_named(call), "content": result.text})
        else:
            heads = _heads(call, len(result.passages))
            for head, passages in zip(heads, result.passages, strict=False):
                entries.append({**head, _PAGES: [_page(passage, known) for passage in passages]})
    return entries


def _page(passage: Passage, known: frozenset[str]) -> dict[str, Any]:
    summary = "was shown before" if passage.id in known else passage.text
    return {"title": passage.title, "url": passage.id, _SUMMARY: summary}


def _heads(call: ToolCall, lists: int) -> list[dict[str, Any]]:
    """What each list of passages was asked for with."""
    if call.tool != SEARCH.name:
        return [_named(call)] * lists
    return [{"query": echoed(each)} for each in call_queries(call)]


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
