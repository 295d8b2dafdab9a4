"""Values of Arrow as Python's: what ``to_pylist`` gives, as whoever wrote them meant it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from igpo_gym.libraries import needs

with needs("igpo_gym.data.arrow", "data", "pyarrow"):
    import pyarrow

Meant: TypeAlias = Callable[[Any], Any]


def meant_by(kind: pyarrow.DataType) -> Meant | None:
    """What turns a value that ``to_pylist`` gave of a type into the one that was meant; None: it is that one.

    A number of single or half precision is the shortest one that rounds to it, and a map is a dictionary.
    What this returns raises ValueError for a map with a key twice, and never shows what it holds.

    >>> floats = meant_by(pyarrow.list_(pyarrow.float32()))
    >>> floats([0.10000000149011612, None]), meant_by(pyarrow.float64())
    ([0.1, None], None)
    >>> meant_by(pyarrow.map_(pyarrow.string(), pyarrow.int32()))([("Danzig", 1457)])
    {'Danzig': 1457}
    """
    made = _of_one(kind)
    return None if made is None else lambda value: None if value is None else made(value)


class Columns:
    """The columns of a schema whose values are not those that were meant.

    >>> columns = Columns(pyarrow.schema({"answer": pyarrow.float32(), "id": pyarrow.int32()}))
    >>> columns.as_meant({"answer": 0.10000000149011612, "id": 7})
    {'answer': 0.1, 'id': 7}
    """

    def __init__(self, schema: pyarrow.Schema) -> None:
        self._meant = {each.name: meant for each in schema if (meant := meant_by(each.type))}

    def as_meant(self, record: dict[str, Any]) -> dict[str, Any]:
        """A row of any of the columns, as :func:`meant_by` tells; it raises as that does."""
        if not self._meant:
            return record
        meant = {name: self._meant[name](value) for name, value in record.items() if name in self._meant}
        return record | meant


def records_as_meant(records: Iterable[Any]) -> Iterable[Any]:
    """Records; those of a data set of the library ``datasets`` with what was meant in each column."""
    schema = getattr(getattr(records, "features", None), "arrow_schema", None)
    return records if schema is None else map(Columns(schema).as_meant, records)


def _of_one(kind: pyarrow.DataType) -> Meant | None:
    types = pyarrow.types
    if types.is_floating(kind) and kind.bit_width < 64:
        narrow = np.float32 if kind.bit_width == 32 else np.float16
        return lambda value: float(str(narrow(value)))
    if types.is_map(kind):
        key, item = (meant_by(each) or _same for each in (kind.key_type, kind.item_type))
        return lambda pairs: _dictionary([(key(name), item(value)) for name, value in pairs])
    if types.is_struct(kind):
        fields = {field.name: made for field in kind if (made := meant_by(field.type))}
        return (
            (lambda value: value | {name: fields[name](value[name]) for name in fields}) if fields else None
        )
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return meant_by(kind.value_type)
    if hasattr(kind, "value_type"):  # the kinds of lists
        within = meant_by(kind.value_type)
        return (lambda values: [within(value) for value in values]) if within else None
    return None


def _same(value: Any) -> Any:
    return value


def _dictionary(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a map that has a key twice")
    return found
