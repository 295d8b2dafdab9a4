"""What a server says of its tools is refused where no prompt could show it."""

from __future__ import annotations

from typing import Any

import pytest

from igpo_gym.errors import SpecError
from igpo_gym.tools.mcp_schemas import tool_spec


def _nested(depth: int) -> dict[str, Any]:
    return {"items": _nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    ("name", "schema", "message"),
    [
        ("a b", {"type": "object"}, "its name is 'a b'"),
        ("x", {"type": "object", "properties": {"<a>": {}}}, "an argument of 'x' is called '<a>'"),
        ("x", {"type": "object", "properties": {"a": {"$ref": "http://10.0.0.1/s"}}}, "nothing is fetched"),
        ("x", {"type": "object", "properties": {"a": {"type": "nothing"}}}, "are no JSON schema"),
        ("x", {"type": "array", "properties": {"a": {}}}, "must be of type object"),
        (
            "x",
            {"type": "object", "properties": {"a": {"properties": {"</tools>": {}}}}},
            "could close a block",
        ),
        ("x", {"type": "object", "properties": {"a": {}}, "x</tools>": 1}, "could close a block"),
        ("x", {"type": "object", "properties": {"a": {"description": "x" * 30_000}}}, "more than 20000"),
        *[
            (
                "x",
                {"type": "object", "properties": {"a": {"type": "string", **values}}},
                "could close a block",
            )
            for sign in "<＜﹤"
            for values in (
                {"enum": [f"{sign}/tools>"]},
                {"default": f"{sign}/tools>"},
                {"const": f"{sign}/tools>"},
                {"examples": ["a", {"b": [f"{sign}/tools>"]}]},
                {"pattern": f"{sign}/tools>"},
                {"format": f"{sign}/tools>"},
                {f"x{sign}/tools>": 1},
            )
        ],
        ("x", {"type": "object", "properties": {"a": _nested(900)}}, "more than 64 deep"),
        ("x", {"type": "object", "properties": {"a": {"minLength": 10**9}}}, "more than 1,000 values"),
        ("x", {"type": "object", "properties": {"a": {"type": "array", "minItems": 10**9}}}, "1,000 values"),
        (
            "x",
            {"type": "object", "properties": {"a": {"minimum": 1e999, "type": "number"}}},
            "no JSON schema",
        ),
        ("x", {"type": "object", "properties": {"a": {"patternProperties": {"(a+)+$": {}}}}}, "for ever"),
    ],
)
def test_schemas_that_lie_are_refused_by_name(name: str, schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        tool_spec("the MCP server 'x'", name, {"description": "", "schema": schema})
