"""The tool ``search``: passages for one or more queries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from igpo_gym.episode import Action, Episode, Passage, ToolCall, ToolCalls, ToolResult
from igpo_gym.search.interface import Retriever, check_ranked
from igpo_gym.tools.interface import ToolSpec

SEARCH = ToolSpec(
    name="search",
    description="Search for passages.",
    parameters={
        "type": "object",
        "properties": {
            "query": {
                "description": "One query, or a list of queries.",
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            }
        },
        "required": ["query"],
    },
    examples=({"query": "query"}, {"query": ["first query", "second query"]}),
    purpose="search",
    trusted=True,
)


def search_call(*queries: str) -> ToolCalls:
    """The action that searches for these queries, in one call.

    >>> search_call("Danzig").calls[0].arguments, search_call("Danzig", "Vistula").calls[0].arguments
    ({'query': 'Danzig'}, {'query': ['Danzig', 'Vistula']})
    """
    query = queries[0] if len(queries) == 1 else list(queries)
    return ToolCalls((ToolCall(SEARCH.name, {"query": query}),))


def queries(action: Action) -> tuple[str, ...]:
    """The queries of all searches of an action; none for an action that does not search.

    >>> queries(search_call("Danzig", "Vistula"))
    ('Danzig', 'Vistula')
    """
    if not isinstance(action, ToolCalls):
        return ()
    return tuple([query for call in action.calls if call.tool == SEARCH.name for query in call_queries(call)])


def call_queries(call: ToolCall) -> tuple[str, ...]:
    """The queries of a call of the search.

    A search that another made may name its arguments otherwise: where there is no ``query``, the first one
    holds what is searched for. What is no text stands as JSON.

    >>> call_queries(ToolCall("search", {"query": ["Danzig", "Vistula"]}))
    ('Danzig', 'Vistula')
    >>> call_queries(ToolCall("search", {"q": "Danzig", "count": 3}))
    ('Danzig',)
    """
    arguments = call.arguments
    asked = arguments["query"] if "query" in arguments else next(iter(arguments.values()), "")
    if isinstance(asked, str):
        return (asked,)
    each = asked if isinstance(asked, list | tuple) else (asked,)
    return tuple([one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in each])


@dataclass(frozen=True, slots=True)
class Search:
    """Finds passages with a retriever, all queries of a step in one call, equal ones asked once.

    Raises TypeError, naming the retriever, where it returns something else than its contract says.

    >>> from igpo_gym.search import BM25Index
    >>> tool = Search(BM25Index.build([Passage("1", "Danzig", "A port.")]), top_k=2)
    >>> (result,) = tool.run([(None, search_call("Danzig", "port").calls[0])])
    >>> [[passage.title for passage in passages] for passages in result.passages]
    [['Danzig'], ['Danzig']]
    """

    retriever: Retriever
    top_k: int = 3
    """How many passages a query brings, at most."""

    def __post_init__(self) -> None:
        if not isinstance(self.top_k, int) or isinstance(self.top_k, bool) or self.top_k < 1:
            raise ValueError(f"top_k must be a whole number of at least 1, not {self.top_k!r}")

    @property
    def spec(self) -> ToolSpec:
        """What the agent is told of it."""
        return SEARCH

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        """The passages of each call's queries."""
        asked = [call_queries(call) for _, call in calls]
        found = self._found(list(dict.fromkeys(chain.from_iterable(asked))))
        return [ToolResult(passages=tuple(map(found.__getitem__, queries))) for queries in asked]

    def _found(self, queries: list[str]) -> dict[str, tuple[Passage, ...]]:
        results = self.retriever.search(queries, self.top_k)
        check_ranked(type(self.retriever).__name__, results, len(queries))
        firsts = (tuple(passages[: self.top_k]) for passages in results)
        return dict(zip(queries, firsts, strict=True))
