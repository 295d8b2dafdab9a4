from __future__ import annotations

import math
import urllib.request
from dataclasses import replace
from functools import reduce
from typing import Any

import pytest

from igpo_gym.errors import SpecError
from igpo_gym.protocols.igpo import BROWSE_WEBPAGE, WEB_SEARCH
from igpo_gym.protocols.native import ANSWER
from igpo_gym.tools import ToolSpec, resolve_tools
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH


def spec(properties: dict[str, Any], required: list[str] | None = None, **settings: Any) -> ToolSpec:
    parameters = {"type": "object", "properties": properties, "required": required or list(properties)}
    return ToolSpec("tool", "A tool.", parameters, **settings)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"enum": ["b", "a"]}, "b"),
        ({"type": "integer", "default": 7}, 7),
        ({"type": "string"}, "text"),
        ({"type": "integer"}, 1),
        ({"type": "number"}, 1),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "integer"}}, [1]),
        ({"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}, {"x": True}),
        ({}, "text"),
        ({"type": "string", "minLength": 9}, "textxxxxx"),
        ({"type": "string", "maxLength": 3}, "tex"),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "integer", "exclusiveMinimum": 5}, 6),
        ({"type": "number", "maximum": 0}, 0),
        ({"const": "a"}, "a"),
        ({"type": "array", "items": {"type": "string"}, "minItems": 2}, ["text", "text"]),
        # As pydantic writes what may be None, an enumeration, and a model.
        ({"anyOf": [{"type": "null"}, {"type": "integer", "minimum": 2}]}, 2),
        ({"allOf": [{"$ref": "#/$defs/color"}], "description": "Which?"}, "red"),
        ({"$ref": "#/$defs/point"}, {"x": 1}),
        (True, "text"),
    ],
)
def test_an_example_is_made_from_the_schema(schema: Any, value: object) -> None:
    point = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    parameters = {
        "type": "object",
        "properties": {"a": schema},
        "required": ["a"],
        "$defs": {"color": {"type": "string", "enum": ["red", "blue"]}, "point": point},
    }
    assert ToolSpec("tool", "A tool.", parameters).example == {"a": value}


DIALECT = "https://json-schema.org/draft/2020-12/schema"

LAUGHS: dict[str, Any] = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 4} for n in range(12)} | {
    "d12": {}
}
"""Schemas each of which has the next one four times: 16 million in all."""


@pytest.mark.parametrize(
    ("schema", "defs"),
    [
        ({"type": "string", "minLength": 10**9}, {}),
        ({"type": "array", "minItems": 10**9}, {}),
        ({"type": "array", "minItems": 40, "items": {"type": "array", "minItems": 40}}, {}),
        (
            {"$ref": "#/$defs/d0"},
            {
                f"d{n}": {"type": "array", "minItems": 9, "items": {"$ref": f"#/$defs/d{n + 1}"}}
                for n in range(12)
            },
        ),
        (
            {"$ref": "#/$defs/d0"},
            {
                f"d{n}": {
                    "type": "object",
                    "required": [*"abcdefgh"],
                    "properties": {key: {"$ref": f"#/$defs/d{n + 1}"} for key in "abcdefgh"},
                }
                for n in range(12)
            },
        ),
    ],
)
def test_an_example_has_bounds(schema: dict[str, Any], defs: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="plainest call of tool 'tool' has more than 1,000 values"):
        ToolSpec("tool", "A tool.", {"type": "object", "properties": {"a": schema}, "$defs": defs})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "minimum": math.inf},
        {"type": "number", "minimum": math.nan},
        {"$ref": "#/default"},
        reduce(lambda inner, _: {"items": inner}, range(3000), {}),
        {"default": {1, 2}},
    ],
    ids=["infinite", "nan", "no schema", "deep", "no json"],
)
def test_a_schema_of_which_no_call_can_be_made_is_refused(schema: dict[str, Any]) -> None:
    wrong = {"type": "string", "minLength": "x"}
    with pytest.raises(SpecError, match="tool 'tool'"):
        ToolSpec("tool", "A tool.", {"type": "object", "properties": {"a": schema}, "default": wrong})


def test_a_maximum_that_is_a_float_has_an_example() -> None:
    assert spec({"a": {"type": "string", "minLength": 2.0, "maxLength": 3.0}}).example == {"a": "tex"}


def test_no_schema_makes_a_check_endless() -> None:
    slow = spec({"a": {"type": "string"}, "b": {"$ref": "#/$defs/d0"}}, required=["a"])
    slow = replace(slow, parameters={**slow.parameters, "$defs": LAUGHS})
    assert slow.problem({"a": "x"}) is None
    assert slow.problem({"a": "x", "b": 1}) == "its schema cannot be applied (TimeoutError)"
    assert slow.problem({"a": "x"}) is None
    backtracks = spec({"a": {"type": "string", "pattern": "^(a|aa)+$"}}, examples=({"a": "aa"},))
    assert backtracks.problem({"a": "aaa"}) is None
    assert backtracks.problem({"a": "b"}) == "['a'] 'b' does not match '^(a|aa)+$'"
    assert backtracks.problem({"a": "a" * 200 + "b"}) == "its schema cannot be applied (TimeoutError)"


@pytest.mark.parametrize("where", [{}, {"properties": {"n": {"$schema": DIALECT, "type": "integer"}}}])
def test_a_schema_that_names_its_dialect_is_checked_as_strictly(where: dict[str, Any]) -> None:
    made = spec({"n": {"type": "integer"}})
    schema = {
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/n"}},
        "$schema": DIALECT,
        "$defs": {"n": {"type": "integer"}},
        **where,
    }
    assert replace(made, parameters=schema).problem({"n": 1.0}) == "['n'] 1.0 is not of type 'integer'"


def test_nothing_that_a_schema_refers_to_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *given, **_: asked.append(given))
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"$ref": "#/elsewhere"}, "c": {"$ref": "http://host/s"}},
        "required": ["a"],
        "elsewhere": {"$id": "http://host/s", "$ref": "#/a"},
    }
    made = ToolSpec("tool", "A tool.", schema)
    for name in "bc":
        assert made.problem({"a": "x", name: 1}) == "its schema cannot be applied (_WrappedReferencingError)"
    assert asked == []


@pytest.mark.parametrize("reference", ["#/$defs/none", "#/properties/b"])
def test_a_schema_that_cannot_be_applied_fails_the_call_and_not_the_step(reference: str) -> None:
    made = spec({"a": {"type": "string"}, "b": {"$ref": reference}}, required=["a"])
    assert made.problem({"a": "x"}) is None
    told = made.problem({"a": "x", "b": 1})
    assert told is not None
    assert told.startswith("its schema cannot be applied")
    with pytest.raises(SpecError, match="its schema cannot be applied"):
        spec({"a": {"$ref": "#/$defs/none"}})


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda: spec({"a": {"type": "string", "pattern": "^[0-9]+$"}}),
            "the example .* of tool 'tool' is not valid",
        ),
        (lambda: spec({"a": {"type": "string"}}, examples=({"b": 1},)), "is not valid"),
        (lambda: spec({"a": {"type": "strong"}}), "are no JSON schema"),
        (lambda: spec({}), "with properties"),
        (lambda: ToolSpec("a tool", "x", SEARCH.parameters), "letters, digits and underscores"),
    ],
)
def test_specifications_that_cannot_be_used_are_refused(make: Any, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        make()


@pytest.mark.parametrize("own", [SEARCH, OPEN, ANSWER, WEB_SEARCH, BROWSE_WEBPAGE], ids=lambda own: own.name)
def test_what_the_package_trusts_of_its_own_is_right(own: ToolSpec) -> None:
    assert own.trusted
    assert replace(own, trusted=False) == own


def test_arguments_are_checked_by_the_schema() -> None:
    assert SEARCH.problem({"query": "a"}) is None
    assert SEARCH.problem({"query": ["a", "b"]}) is None
    assert SEARCH.problem({"query": 1}) is not None
    assert SEARCH.problem({"query": "a", "k": 1}) is not None
    short = spec({"a": {"type": "string", "maxLength": 30}}, examples=({"a": "x"},))
    assert short.problem({"a": "x" * 31}) is not None


def test_tools_are_found_by_name_and_given_what_they_need() -> None:
    class Index:
        def search(self, queries: list[str], k: int) -> list[Any]:
            return []

        def documents(self, ids: list[str]) -> list[Any]:
            return []

    index = Index()
    search, opening = resolve_tools("search + open", retriever=index, top_k=7)
    assert (search.spec.name, search.top_k, opening.spec.name) == ("search", 7, "open")
    assert resolve_tools([search, "open"], retriever=index, top_k=7) == (search, opening)
    with pytest.raises(SpecError, match="unknown tool 'serch'; did you mean search"):
        resolve_tools("serch")
    with pytest.raises(SpecError, match="7 is no tool: it has no spec"):
        resolve_tools([7])  # type: ignore[list-item]


def test_a_float_is_no_integer() -> None:
    assert OPEN.problem({"document": "a", "page": 1}) is None
    for page in (1.0, True, float("inf"), float("nan")):
        assert "is not of type 'integer'" in (OPEN.problem({"document": "a", "page": page}) or "")
