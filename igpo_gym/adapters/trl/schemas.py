"""A tool's specification as a method whose signature and docstring TRL makes the same schema of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import Any, Literal

from igpo_gym.tools.interface import ToolSpec

_TYPES: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": None,
}


def as_method(tool: ToolSpec, play: Callable[[Any, str, dict[str, Any]], str]) -> Callable[..., str]:
    """A method that plays a call of ``tool`` by ``play(self, name, arguments)``.

    transformers shows the model the schema that it reads from signature and docstring. Bounds of numbers and
    texts have no place there; a call that breaks them is told so, as any wrong call is.

    >>> from igpo_gym.tools.searching import SEARCH
    >>> search = as_method(SEARCH, lambda self, name, arguments: f"{name} {arguments}")
    >>> inspect.signature(search)
    <Signature (self, query: str | list[str]) -> str>
    >>> search(None, query="Danzig")
    "search {'query': 'Danzig'}"
    """

    def method(self: Any, /, *values: Any, **arguments: Any) -> str:
        return play(self, tool.name, dict(zip(names, values, strict=False)) | arguments)

    properties: Mapping[str, Mapping[str, Any]] = tool.parameters["properties"]
    required = tool.parameters.get("required", ())
    types = {name: type_of(schema) for name, schema in properties.items()}
    names = sorted(properties, key=lambda name: name not in required)  # those without a default first
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            annotation=types[name],
            default=inspect.Parameter.empty if name in required else properties[name].get("default"),
        )
        for name in names
    ]
    receiver = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    described = [f"    {name}: {_line(properties[name].get('description', name))}" for name in names]
    method.__name__ = method.__qualname__ = tool.name
    method.__annotations__ = {**types, "return": str}
    method.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [receiver, *parameters], return_annotation=str
    )
    method.__doc__ = "\n".join(
        [_line(tool.description), "", "Args:", *described, "", "Returns:", "    What the tool replies."]
    )
    return method


def type_of(schema: Mapping[str, Any]) -> Any:
    """The annotation of which transformers makes this schema, as far as there is one; ``Any`` for no type.

    >>> type_of({"type": "array", "items": {"type": "integer"}}), type_of({"enum": ["a", "b"]})
    (list[int], typing.Literal['a', 'b'])
    """
    if "enum" in schema:
        return Literal[tuple(schema["enum"])]
    for several in ("anyOf", "oneOf"):
        if schema.get(several):
            return reduce(or_, map(type_of, schema[several]))
    kind = schema.get("type")
    if isinstance(kind, list):
        return reduce(or_, (type_of({**schema, "type": each}) for each in kind))
    if kind == "array" and schema.get("items"):
        return list[type_of(schema["items"])]  # type: ignore[misc]
    return _TYPES.get(str(kind), Any)


def _line(text: str) -> str:
    return " ".join(text.split())
