"""The contract of a tool: a specification that prompts and grammars are made from, and a batched run.

A tool of your own is one file. Its specification says what it is called and what it takes, as a JSON schema;
``run`` gets all calls of a step at once, each with the episode that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from igpo_gym.episode import Episode, ToolCall, ToolResult
from igpo_gym.errors import SpecError
from igpo_gym.tools.schemas import Checker, check_schema, example, kinds


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
            check_schema(self.name, self.parameters)
        if self.parameters.get("type") != "object" or not self.parameters.get("properties"):
            raise SpecError(f"the parameters of tool {self.name!r} must be of type object, with properties")
        object.__setattr__(self, "first", next(iter(self.parameters["properties"])))
        if not self.purpose:
            object.__setattr__(self, "purpose", f"call {self.name}")
        if not self.examples:
            object.__setattr__(self, "examples", (example(self.name, self.parameters),))
        for each in () if self.trusted else self.examples:
            if wrong := self._checked(each):
                raise SpecError(f"the example {dict(each)} of tool {self.name!r} is not valid: {wrong}")

    def __getstate__(self) -> dict[str, Any]:
        """Without the checker, which cannot be pickled and is made again."""
        return {name: value for name, value in self.__dict__.items() if name != "_checker"}

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

    @cached_property
    def never_text(self) -> frozenset[str]:
        """The arguments that the schema allows no text for: what writes all as text reads these as JSON."""
        schemas = self.parameters["properties"].items()
        return frozenset(name for name, schema in schemas if "string" not in kinds(schema))

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
    def _checker(self) -> Checker:
        return Checker(self.parameters)

    def _checked(self, arguments: Mapping[str, Any]) -> str | None:
        return self._checker.problem(dict(arguments))


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
