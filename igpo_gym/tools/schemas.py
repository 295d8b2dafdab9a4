"""JSON schemas of a tool's arguments: whether a call fits one, and the plainest call that does.

A schema may come from a foreign server, so that what it can ask for is bounded: the size of an example, and
the work that checking a call takes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from igpo_gym.errors import SpecError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

DEEPEST = 16
"""How many schemas within schemas an example follows: some refer to themselves."""

LARGEST = 1_000
"""How many values and characters an example has at most."""

STEPS = 20_000
"""How many keywords of its schema a call is checked by at most: references can multiply them."""

PATTERN_SECONDS = 1.0
"""How long a pattern may take for one text: some take longer than anybody waits."""


def check_schema(name: str, schema: Mapping[str, Any]) -> None:
    """Raise SpecError for what is no JSON schema."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        json.dumps(schema, allow_nan=False)
        Draft202012Validator.check_schema(schema)
    except SchemaError as problem:
        raise SpecError(f"the parameters of tool {name!r} are no JSON schema: {problem.message}") from None
    except (TypeError, ValueError, RecursionError) as problem:
        raise SpecError(f"the parameters of tool {name!r} are no JSON schema: {problem}") from None


class Checker:
    """Checks values by a schema.

    >>> check = Checker({"type": "object", "properties": {"n": {"type": "integer"}}})
    >>> check.problem({"n": 1}), check.problem({"n": 1.0}), check.problem({"m": 1})
    (None, "['n'] 1.0 is not of type 'integer'", "Additional properties are not allowed ('m' was unexpected)")
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend
        from referencing.jsonschema import EMPTY_REGISTRY

        # To JSON schema 1.0 is an integer; to a tool it would be a float.
        types = Draft202012Validator.TYPE_CHECKER.redefine(
            "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
        )
        keywords = {**Draft202012Validator.VALIDATORS, "pattern": _pattern}
        strict = extend(  # type: ignore[no-untyped-call]
            Draft202012Validator,
            {keyword: self._counted(check) for keyword, check in keywords.items()},
            type_checker=types,
        )
        # What the schema does not name is a mistake of the agent, unless it says that anything goes. With a
        # registry given, nothing that it refers to is fetched.
        whole = {"additionalProperties": False, **_without_dialect(schema)}
        self._validator = strict(whole, registry=EMPTY_REGISTRY)
        self._left = 0

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, in words for the agent; None if nothing is."""
        self._left = STEPS
        try:
            error = next(self._validator.iter_errors(value), None)
        except Exception as problem:  # a reference that leads nowhere or in a circle: no fault of a step
            return f"its schema cannot be applied ({type(problem).__name__})"
        if error is None:
            return None
        place = "".join(f"[{each!r}]" for each in error.path)
        return f"{place} {error.message}".strip()

    def _counted(self, check: Callable[..., Iterable[Any] | None]) -> Callable[..., Iterable[Any]]:
        def counted(*arguments: Any) -> Iterable[Any]:
            self._left -= 1
            if self._left < 0:
                raise TimeoutError
            return check(*arguments) or ()

        return counted


def _without_dialect(schema: Any) -> Any:
    """A schema that does not name its dialect, by which jsonschema would choose another validator."""
    if isinstance(schema, Mapping):
        return {
            key: _without_dialect(value)
            for key, value in schema.items()
            if not (key == "$schema" and isinstance(value, str))
        }
    return [_without_dialect(each) for each in schema] if isinstance(schema, list | tuple) else schema


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """As jsonschema's own, but with a limit of time, which the standard library's patterns do not have."""
    import regex
    from jsonschema.exceptions import ValidationError

    if isinstance(instance, str) and not regex.search(pattern, instance, timeout=PATTERN_SECONDS):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def example(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Of a tool, the required arguments, or the first where none is, with the plainest value of each.

    Whether it is valid the caller checks. Raises SpecError where none can be made, or where it would have
    more than ``LARGEST`` values and characters.

    >>> example("add", {"type": "object", "properties": {"n": {"type": "integer", "minimum": 2}}})
    {'n': 2}
    """
    try:
        return _Plainest(schema).of_object(schema, 0)
    except _TooLargeError:
        told = f"the plainest call of tool {name!r} has more than {LARGEST:,} values and characters"
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):  # as in "$ref": "#/default"
        told = f"no call of tool {name!r} can be made from its schema; give its examples"
    raise SpecError(told)


class _TooLargeError(Exception):
    pass


@dataclass(slots=True)
class _Plainest:
    """Makes plain values of schemas that stand within ``root``."""

    root: Mapping[str, Any]
    left: int = LARGEST

    def take(self, size: float) -> int:
        """Note that the example grows by so much."""
        if not 0 <= size <= self.left:
            raise _TooLargeError
        self.left -= math.ceil(size)
        return math.ceil(size)

    def of_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        names = schema.get("required") or list(properties)[:1]
        return {name: self.value(properties.get(name, {}), depth + 1) for name in names}

    def value(self, schema: Any, depth: int) -> Any:
        """The plainest value of a schema."""
        self.take(1)
        if not isinstance(schema, Mapping) or depth > DEEPEST:
            return "text"
        for name in ("$ref", "anyOf", "oneOf", "allOf"):
            if name in schema:
                rest = {key: value for key, value in schema.items() if key != name}
                return self.value({**rest, **self._branch(name, schema[name])}, depth + 1)
        for name in ("const", "default"):
            if name in schema:
                return schema[name]
        for name in ("examples", "enum"):
            if schema.get(name):
                return schema[name][0]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        if kind == "array":
            before = self.left
            item = self.value(schema.get("items", {}), depth + 1)
            count = max(1, schema.get("minItems", 1))
            self.take((count - 1) * (before - self.left))
            return [item] * int(count)
        if kind == "object":
            return self.of_object(schema, depth)
        if kind in ("integer", "number"):
            least = math.ceil(max(1, schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1))
            return min(least, schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - 1)
        if kind in ("boolean", "null"):
            return True if kind == "boolean" else None
        text = "text".ljust(self.take(schema.get("minLength", 0)), "x")
        return text[: int(schema.get("maxLength", LARGEST))]

    def _branch(self, name: str, value: Any) -> Mapping[str, Any]:
        """A schema for the place where ``name`` refers to one, or to several."""
        if name == "$ref":
            found: Any = self.root
            for part in str(value).removeprefix("#").split("/")[1:]:
                key = part.replace("~1", "/").replace("~0", "~")
                found = found.get(key) if isinstance(found, Mapping) else None
            return found if isinstance(found, Mapping) else {}
        options = [each for each in value if isinstance(each, Mapping)]
        if name == "allOf":
            return {key: each for option in options for key, each in option.items()}
        plain = (each for each in options if each.get("type") != "null")
        return next(plain, options[0] if options else {})


def kinds(schema: Any) -> set[str]:
    """The types that a schema allows, as far as it says so; text where it does not.

    >>> sorted(kinds({"anyOf": [{"type": "integer"}, {"type": ["null", "array"]}]})), kinds({})
    (['array', 'integer', 'null'], {'string'})
    """
    if not isinstance(schema, Mapping):
        return {"string"}
    if "type" in schema:
        return {schema["type"]} if isinstance(schema["type"], str) else set(schema["type"])
    options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return set().union(*map(kinds, options)) if options else {"string"}
