"""Conditions on episodes and turns, as text: ``f1 == 1 and searches <= 3``.

The text has Python's syntax and is read into its syntax tree. A few kinds of nodes are known, every other is
refused, and nothing is evaluated as code.
"""

from __future__ import annotations

import ast
import io
import operator
import tokenize
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from igpo_gym.errors import SpecError, choices

Kind = Literal["number", "text", "truth"]
Lookup: TypeAlias = Callable[[str], Any]
"""The value of a name."""

LONGEST = 1000
"""The longest condition, in characters."""

_ORDER: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUAL: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {ast.Eq: operator.eq, ast.NotEq: operator.ne}
_WITHIN: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
_KEYWORDS = {"return": "_return"}
"""Names that Python keeps for itself, and what stands for them in the tree."""
_NAMES = {stand_in: name for name, stand_in in _KEYWORDS.items()}


class UnknownError(ValueError):
    """A name of a condition has no value, and nobody can give it one."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read.

    >>> known = {"f1": "number", "return": "number", "end": "text", "failed": "truth"}
    >>> condition = Condition.read("f1 == 1 and not failed and end in ('answered', 'aborted')", known)
    >>> condition({"f1": 1.0, "failed": False, "end": "answered"}.__getitem__)
    True
    >>> Condition.read("0 < return <= 0.5", known)({"return": 0.7}.__getitem__)
    False
    >>> Condition.read("f2 == 1", known, "--where")
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: --where 'f2 == 1': there is no 'f2'; did you mean f1? Choose one of: end, f1,
    failed, return
    >>> Condition.read("f1.real > 0", known, "--where")
    Traceback (most recent call last):
    igpo_gym.errors.SpecError: --where 'f1.real > 0': 'f1.real' is neither a name, a number nor a text; write
    comparisons, and, or, not, in
    """

    text: str
    test: Callable[[Lookup], bool]

    def __call__(self, lookup: Lookup) -> bool:
        """Whether it holds; ``lookup`` is asked for the names that decide it, and for no others.

        Raises UnknownError where a name has no value and the others do not decide.
        """
        return bool(self.test(lookup))

    @classmethod
    def read(cls, text: str, known: Mapping[str, Kind], option: str = "condition") -> Condition:
        """A condition on the ``known`` names. SpecError, which names the ``option``, for any other text."""
        reader = _Parser(f"{option} {text!r:.200}", known)
        if len(text) > LONGEST:
            raise reader.problem(f"it has {len(text)} characters, of which it may have {LONGEST}")
        try:
            tree = ast.parse(_without_keywords(text.strip()), mode="eval")
        except (SyntaxError, ValueError, MemoryError, RecursionError, tokenize.TokenError):
            raise reader.problem("it cannot be read; write such as f1 == 1 and searches <= 3") from None
        return cls(text, reader.truth(tree.body))


def kind_of(name: str, known: Mapping[str, Kind], place: str) -> Kind:
    """The kind of a name. SpecError, which begins with ``place``, with the known names where it is none."""
    if name in known:
        return known[name]
    raise SpecError(f"{place}: there is no {name!r}; {choices(name, sorted(known), 0.5)}")


def _without_keywords(text: str) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return tokenize.untokenize(
        (each.type, _KEYWORDS.get(each.string, each.string) if each.type == tokenize.NAME else each.string)
        for each in tokens
    )


def _decided(parts: Sequence[Callable[[Lookup], bool]], by: bool) -> Callable[[Lookup], bool]:
    """What is ``by`` as soon as one of the parts is, whatever has no value in the others."""

    def test(lookup: Lookup) -> bool:
        unknown: UnknownError | None = None
        for part in parts:
            try:
                if bool(part(lookup)) is by:
                    return by
            except UnknownError as problem:
                unknown = problem
        if unknown is not None:
            raise unknown
        return not by

    return test


@dataclass(frozen=True, slots=True)
class _Parser:
    """Makes functions of nodes."""

    place: str
    known: Mapping[str, Kind]

    def problem(self, what: str) -> SpecError:
        return SpecError(f"{self.place}: {what}")

    def truth(self, node: ast.expr) -> Callable[[Lookup], bool]:
        """What says whether the node holds."""
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self.truth(each) for each in values]
                return _decided(parts, by=isinstance(op, ast.Or))
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self.truth(operand)
                return lambda lookup: not inner(lookup)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [left, *others]
                tests = [self.compared(*each) for each in zip(sides, ops, others, strict=False)]
                return lambda lookup: all(test(lookup) for test in tests)
        kind, value = self.value(node)
        if kind != "truth":
            raise self.problem(f"{self.shown(node)} is a {kind}, and no condition; compare it with something")
        return value

    def compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Callable[[Lookup], bool]:
        kind, first = self.value(left)
        if type(op) in _WITHIN:
            within = _WITHIN[type(op)]
            among = self.among(right, kind)
            return lambda lookup: within(first(lookup), among(lookup))
        other, second = self.value(right)
        if kind != other:
            raise self.problem(
                f"{self.shown(left)} is a {kind}, but {self.shown(right)} is a {other}; compare what is alike"
            )
        test = (_EQUAL | _ORDER if kind == "number" else _EQUAL).get(type(op))
        if test is None:
            raise self.problem(f"a {kind} can be compared by == and !=, and by in; not as here")
        return lambda lookup: test(first(lookup), second(lookup))

    def among(self, node: ast.expr, kind: Kind) -> Callable[[Lookup], Any]:
        """What a value is looked for in: values in parentheses, or for a text also another text."""
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = [self.value(each) for each in node.elts]
            if all(other == kind for other, _ in parts):
                return lambda lookup: [value(lookup) for _, value in parts]
        elif kind == "text":
            other, value = self.value(node)
            if other == "text":
                return value
        raise self.problem(f"{self.shown(node)} is nothing that a {kind} can be in; write (A, B)")

    def value(self, node: ast.expr) -> tuple[Kind, Callable[[Lookup], Any]]:
        match node:
            case ast.Name(id=found):
                name = _NAMES.get(found, found)
                return kind_of(name, self.known, self.place), lambda lookup: lookup(name)
            case ast.Constant(value=bool() as constant):
                return "truth", lambda lookup: constant
            case ast.Constant(value=(int() | float()) as number):
                return "number", lambda lookup: number
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=(int() | float()) as number)):
                return "number", lambda lookup: -number
            case ast.Constant(value=str() as constant):
                return "text", lambda lookup: constant
            case ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()):
                return "truth", self.truth(node)
        raise self.problem(
            f"{self.shown(node)} is neither a name, a number nor a text; write comparisons, and, or, not, in"
        )

    def shown(self, node: ast.expr) -> str:
        text = ast.unparse(node)
        for stand_in, name in _NAMES.items():
            text = text.replace(stand_in, name)
        return repr(text[:60])
