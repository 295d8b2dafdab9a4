"""What an MCP server says of its tools, checked and neutralized before a prompt shows it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from igpo_gym.errors import SpecError
from igpo_gym.text import neutralize
from igpo_gym.tools.interface import ToolSpec

SCHEMA_CHARACTERS = 20_000
"""How long the schema of a tool's arguments may be, as JSON."""

SCHEMA_DEPTH = 64
"""How deep its values may be nested."""

DESCRIPTION_CHARACTERS = 1_000
"""How much of a tool's description an agent is told."""

_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


def tool_spec(server: str, name: str, offered: Mapping[str, Any]) -> ToolSpec:
    """A tool as its server describes it, made fit for prompts. Raises SpecError where it cannot be.

    Signs that no tag can have become underscores. A tool without arguments gets one, which is not sent.
    """
    schema = offered["schema"]
    problem = _schema_problem(name, schema)
    if problem is None:
        try:
            return ToolSpec(
                re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII),
                neutralize(offered["description"])[:DESCRIPTION_CHARACTERS] or f"Call {name}.",
                _neutral(schema) if schema.get("properties") else NOTHING,
            )
        except SpecError as wrong:
            problem = str(wrong)
    raise SpecError(f"{server} has a tool that cannot be offered: {problem}; name others with #only=NAME")


NOTHING = {
    "type": "object",
    "properties": {"nothing": {"type": "string", "description": "Anything: the tool takes no arguments."}},
}
"""The schema of a tool that takes no arguments: some protocols need one to write a call."""


def _schema_problem(name: str, schema: Mapping[str, Any]) -> str | None:
    if not _NAME.fullmatch(name):
        return f"its name is {name!r:.80}"
    if _deeper(schema, SCHEMA_DEPTH):
        return f"the schema of {name!r} is nested more than {SCHEMA_DEPTH} deep"
    if len(json.dumps(schema)) > SCHEMA_CHARACTERS:
        return f"the schema of {name!r} has more than {SCHEMA_CHARACTERS} characters"
    if odd := [key for key in schema.get("properties") or {} if not _NAME.fullmatch(key)]:
        return f"an argument of {name!r} is called {odd[0]!r:.80}"
    if sharp := [key for each in _objects(schema) for key in each if _sharp(key) or not key.isprintable()]:
        return f"the schema of {name!r} has the key {sharp[0]!r:.80}, which could close a block of the prompt"
    if sharp := [text for text in _texts(_neutral(schema)) if _sharp(text)]:
        return (
            f"the schema of {name!r} has the value {sharp[0]!r:.80}, which could close a block of the prompt"
        )
    if any(isinstance(each.get("patternProperties"), Mapping) for each in _objects(schema)):
        return f"the schema of {name!r} has patterns for names, and matching them could take for ever"
    if away := [text for text in _references(schema) if not text.startswith("#")]:
        return f"the schema of {name!r} refers to {away[0]!r:.80}, and nothing is fetched"
    return None


def _deeper(schema: Any, most: int) -> bool:
    """Whether there are values within values within values more than so many deep."""
    layer = [schema]
    for _ in range(most):
        layer = [
            inner
            for each in layer
            if isinstance(each, Mapping | list)
            for inner in (each.values() if isinstance(each, Mapping) else each)
        ]
    return bool(layer)


def _sharp(text: str) -> bool:
    return neutralize(text) != text


def _texts(schema: Any) -> Iterator[str]:
    """All texts within a schema that are no keys."""
    if isinstance(schema, str):
        yield schema
    for value in (
        schema.values() if isinstance(schema, Mapping) else schema if isinstance(schema, list) else ()
    ):
        yield from _texts(value)


def _objects(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema, if it is an object, and all objects within it."""
    if isinstance(schema, Mapping):
        yield schema
        schema = list(schema.values())
    for value in schema if isinstance(schema, list) else ():
        yield from _objects(value)


def _references(schema: Any) -> Iterator[str]:
    for each in _objects(schema):
        yield from (
            value for key, value in each.items() if key in ("$ref", "$dynamicRef") and isinstance(value, str)
        )


_FOR_PEOPLE = ("description", "title", "$comment", "markdownDescription")
"""The keys of texts that no call is checked by."""


def _neutral(schema: Any) -> Any:
    """A schema whose texts for people cannot close a block of a prompt."""
    if isinstance(schema, Mapping):
        return {
            key: neutralize(value)[:DESCRIPTION_CHARACTERS]
            if key in _FOR_PEOPLE and isinstance(value, str)
            else _neutral(value)
            for key, value in schema.items()
        }
    return [_neutral(value) for value in schema] if isinstance(schema, list) else schema
