"""The contract of a tool: a specification that prompts and grammars are made from, and a batched run.

A tool of your own is one file. Its specification says what it is called and what it takes, as a JSON schema;
``run`` gets all calls of a step at once, each with the episode that it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from igpo_gym.episode import Episode, ToolCall, ToolResult
from igpo_gym.errors import SpecError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


@dataclass(frozen=True)
class ToolSpec:
    """What a tool is called, what it is for, and what it takes.

    Raises SpecError for a name that cannot be a tag, a schema that is none, and an example that the schema
    does not allow (or, where none is given, for a schema from which none can be made).

    >>> spec = ToolSpec("add", "Add two numbers.", {
    ...     "type": "object",
    ...     "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    ...     "required": ["a", "b"],
    ... })
    >>> spec.example
    {'a': 1, 'b': 1}
    >>> spec.problem({"a": 2})
    "'b' is a required property"
    """

    name: str
    """Letters, digits and underscores: it is a tag in some protocols."""
    description: str
    """A sentence for the agent."""
    parameters: Mapping[str, Any]
    """The JSON schema of the arguments: of type object, with its properties in the order of importance. Some
    protocols write the first property as the text of a tag, the others as attributes."""
    examples: tuple[Mapping[str, Any], ...] = ()
    """Arguments to show to the agent, the plainest first; made from the schema where none is given."""
    purpose: str = ""
    """What an agent calls it for, as a verb phrase ("search", "open a document"); "call NAME" if empty."""
    trusted: bool = field(default=False, repr=False, compare=False)
    """Whether schema and examples are known to be right. They are then not checked, and the library for that,
    which takes a tenth of a second to import, is not imported before a call needs it."""
    first: str = field(init=False, repr=False, compare=False)
    """The name of the first argument."""

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or not self.name.isascii():
            raise SpecError(f"a tool's name has letters, digits and underscores alone, not {self.name!r}")
        if not self.trusted:
            _check_schema(self.name, self.parameters)
        if self.parameters.get("type") != "object" or not self.parameters.get("properties"):
            raise SpecError(f"the parameters of tool {self.name!r} must be of type object, with properties")
        object.__setattr__(self, "first", next(iter(self.parameters["properties"])))
        if not self.purpose:
            object.__setattr__(self, "purpose", f"call {self.name}")
        if not self.examples:
            object.__setattr__(self, "examples", (_example(self.parameters),))
        for example in () if self.trusted else self.examples:
            if wrong := self._checked(example):
                raise SpecError(f"the example {dict(example)} of tool {self.name!r} is not valid: {wrong}")

    def __getstate__(self) -> dict[str, Any]:
        """Without the validator, which cannot be pickled and is made again."""
        return {name: value for name, value in self.__dict__.items() if name != "_validator"}

    def __hash__(self) -> int:
        """By name: a schema is a mapping, and protocols that hold specifications are keys of caches."""
        return hash(self.name)

    @property
    def example(self) -> Mapping[str, Any]:
        """The plainest arguments to show."""
        return self.examples[0]

    @cached_property
    def any_text(self) -> bool:
        """Whether a call with any text for the first argument alone is valid: nothing has to be checked."""
        plain = all(self._checked({self.first: text}) is None for text in ("", "a", "text of any kind"))
        limits = ("minLength", "maxLength", "pattern", "enum", "const", "format")
        return plain and not any(limit in str(self.parameters) for limit in limits)

    def problem(self, arguments: Mapping[str, Any]) -> str | None:
        """What is wrong with the arguments of a call, in words for the agent; None if nothing is."""
        if self.any_text and len(arguments) == 1 and isinstance(arguments.get(self.first), str):
            return None
        return self._checked(arguments)

    def as_function(self) -> dict[str, Any]:
        """The specification in the form that chat templates and servers of OpenAI's interface take."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": dict(self.parameters),
            },
        }

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend

        # To JSON schema 1.0 is an integer; to a tool it would be a float.
        types = Draft202012Validator.TYPE_CHECKER.redefine(
            "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
        )
        # What the schema does not name is a mistake of the agent, unless it says that anything goes.
        schema = {"additionalProperties": False, **self.parameters}
        strict: type[Draft202012Validator] = extend(  # type: ignore[no-untyped-call]
            Draft202012Validator, type_checker=types
        )
        return strict(schema)

    def _checked(self, arguments: Mapping[str, Any]) -> str | None:
        try:
            error = next(self._validator.iter_errors(dict(arguments)), None)
        except Exception as problem:  # a reference that leads nowhere or in a circle: no fault of a step
            return f"its schema cannot be applied ({type(problem).__name__})"
        if error is None:
            return None
        place = "".join(f"[{each!r}]" for each in error.path)
        return f"{place} {error.message}".strip()


class Tool(Protocol):
    """Something that an agent can call.

    >>> class Shout:
    ...     schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    ...     spec = ToolSpec("shout", "Say it loud.", schema)
    ...     def run(self, calls):
    ...         return [ToolResult(call.arguments["text"].upper()) for _, call in calls]
    >>> from igpo_gym.tools import resolve_tools
    >>> [tool.spec.name for tool in resolve_tools(Shout())]
    ['shout']
    """

    @property
    def spec(self) -> ToolSpec:
        """What prompts, grammars and checks are made from. It never changes."""
        ...

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        """A result for each call, in order; the calls of one step of all episodes come together.

        The arguments are valid by the schema, and the episodes must stay as they are. Raises SearchError or
        OSError where its backend cannot serve: the calls are then tried again, apart if need be, and the
        agent is told that the tool is unavailable where they still fail. Anything else that is raised is a
        mistake of the tool: the step raises it, and has not happened.
        """
        ...


def _check_schema(name: str, schema: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as problem:
        raise SpecError(f"the parameters of tool {name!r} are no JSON schema: {problem.message}") from None


def _example(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The required arguments, or the first where none is, with the plainest value that each can have."""
    return _object(schema, schema, 0)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], depth: int) -> dict[str, Any]:
    properties = schema.get("properties", {})
    names = schema.get("required") or list(properties)[:1]
    return {name: _plainest(properties.get(name, {}), root, depth + 1) for name in names}


DEEPEST = 16
"""How many schemas within schemas an example follows: some refer to themselves."""


def _plainest(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """The plainest value of a schema that stands within ``root``; the caller checks that it is one."""
    if not isinstance(schema, Mapping) or depth > DEEPEST:
        return "text"
    for name in ("$ref", "anyOf", "oneOf", "allOf"):
        if name in schema:
            rest = {key: value for key, value in schema.items() if key != name}
            return _plainest({**rest, **_branch(name, schema[name], root)}, root, depth + 1)
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "array":
        return [_plainest(schema.get("items", {}), root, depth + 1)] * max(1, schema.get("minItems", 1))
    if kind == "object":
        return _object(schema, root, depth)
    if kind in ("integer", "number"):
        least = max(1, schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
        return min(
            math.ceil(least), schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - 1
        )
    if kind in ("boolean", "null"):
        return True if kind == "boolean" else None
    return "text".ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]


def _branch(name: str, value: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema for the place where ``name`` refers to one, or to several."""
    if name == "$ref":
        found: Any = root
        for part in str(value).removeprefix("#").split("/")[1:]:
            found = (
                found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
            )
        return found if isinstance(found, Mapping) else {}
    options = [each for each in value if isinstance(each, Mapping)]
    if name == "allOf":
        return {key: each for option in options for key, each in option.items()}
    plain = (each for each in options if each.get("type") != "null")
    return next(plain, options[0] if options else {})
