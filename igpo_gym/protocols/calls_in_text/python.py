"""Values and calls in Python's syntax, as a model wrote them: they are parsed, and nothing of them is run."""

from __future__ import annotations

import ast
import warnings
from contextlib import suppress
from typing import Any

from igpo_gym.data.files import LITERAL_CHARACTERS
from igpo_gym.episode import ToolCall

_WORDS = {"true": True, "false": False, "null": None}
"""What JSON writes in another way; templates put JSON into calls."""

_MODULES = ("default_api.", "functions.")
"""Where prompts say that the tools are; no part of their names."""


def value_in_python(text: str) -> Any:
    """The value of a text that Python's syntax writes, if JSON could hold it; None for any other.

    >>> value_in_python("{'query': ('Danzig', true)}"), value_in_python("{1, b'2'}"), value_in_python("f()")
    ({'query': ['Danzig', True]}, None, None)
    """
    with suppress(ValueError):
        (expression,) = _expressions(text)
        return _value(expression)
    return None


def calls_in_python(text: str) -> list[ToolCall]:
    """The calls of a text that is nothing but calls: in a list, or one behind the other, in ``print()`` too.

    Raises ValueError for a text that has anything else in it, such as an argument that is no plain value.

    >>> calls_in_python("[search(query='Danzig'), default_api.open(document='Salman', page=2)]")
    ... # doctest: +NORMALIZE_WHITESPACE
    [ToolCall(tool='search', arguments={'query': 'Danzig'}),
     ToolCall(tool='open', arguments={'document': 'Salman', 'page': 2})]
    >>> calls_in_python("search(query=open('/etc/passwd'))")
    Traceback (most recent call last):
    ValueError: a value is none that JSON could hold
    """
    found = list[ast.expr]()
    for expression in _expressions(text):
        found += expression.elts if isinstance(expression, ast.List | ast.Tuple) else [expression]
    return [_call(each) for each in found]


def _expressions(text: str) -> list[ast.expr]:
    if len(text) > LITERAL_CHARACTERS:
        raise ValueError(f"it is longer than {LITERAL_CHARACTERS:,} characters")
    statements = _statements(text.strip())
    expressions = [each.value for each in statements if isinstance(each, ast.Expr)]
    if len(expressions) < len(statements):
        raise ValueError("a statement in it is no call")
    return expressions


def _statements(text: str) -> list[ast.stmt]:
    """What a text says in Python's syntax; lines may end within a text, as templates of chats write them."""
    for source in (text, text.replace("\n", "\\n")):
        with suppress(ValueError, SyntaxError, MemoryError, RecursionError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes such as \d that Python does not know
            return ast.parse(source).body
    raise ValueError("it is not in Python's syntax")


def _call(node: ast.expr) -> ToolCall:
    while isinstance(node, ast.Call) and _printed(node):
        node = node.args[0]
    if not isinstance(node, ast.Call):
        raise ValueError("something in it is no call")
    arguments = {each.arg: _value(each.value) for each in node.keywords if each.arg}
    if node.args or len(arguments) < len(node.keywords):
        raise ValueError("an argument has no name")
    return ToolCall(_name(node.func), arguments)


def _printed(node: ast.Call) -> bool:
    """Whether a call prints one thing."""
    return (
        isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and len(node.args) == 1
        and not node.keywords
    )


def _name(node: ast.expr) -> str:
    """The name of what is called, with the dots in it."""
    parts = list[str]()
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError("what is called has no name")
    name = ".".join((node.id, *reversed(parts)))
    return next((name.removeprefix(each) for each in _MODULES if name.startswith(each)), name)


def _value(node: ast.expr | None) -> Any:
    match node:
        case ast.Constant(value=str() | int() | float() | None as value):
            return value
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            return [_value(each) for each in items]
        case ast.Dict(keys=keys, values=values):
            names = [_value(each) for each in keys]
            if all(isinstance(each, str) for each in names):
                return dict(zip(names, map(_value, values), strict=True))
    raise ValueError("a value is none that JSON could hold")
