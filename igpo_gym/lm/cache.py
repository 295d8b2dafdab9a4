"""The prefix cache: a tree of token ids whose nodes hold keys and values.

A node holds a stretch of tokens that follows a prefix of its parent. A transcript that goes on where a node
ends is appended to that node in place, so an episode is one buffer; one that branches off, at any point of a
node, becomes a child that refers to what it shares. So the prompt of a group of rollouts is held once, and
nothing is ever copied but to make a buffer larger.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

import torch

GROWTH = 1.5
"""By how much a buffer that is full becomes larger at least, so that growing costs little per token."""


class Store(Protocol):
    """What a node holds for its tokens."""

    @property
    def size(self) -> int:
        """How much of the cache's budget it takes."""
        ...

    @property
    def capacity(self) -> int:
        """How many tokens it has room for; each takes the same share of ``size``."""
        ...

    def reserve(self, length: int) -> None:
        """Make room for ``length`` tokens in all."""
        ...

    def first(self, length: int) -> Self:
        """A store of its own with the first ``length`` tokens, and room for no more."""
        ...


StoreT = TypeVar("StoreT", bound=Store)


@dataclass(slots=True, eq=False)
class Node(Generic[StoreT]):
    """A stretch of tokens; ``start`` is the position of its first one in every transcript that has it."""

    parent: Node[StoreT] | None
    start: int
    store: StoreT
    ids: list[int] = field(default_factory=list)
    children: dict[tuple[int, int], Node[StoreT]] = field(default_factory=dict)
    """By the position at which they branch off, and their first token."""

    @property
    def stop(self) -> int:
        """The position after the last token."""
        return self.start + len(self.ids)


class PrefixTree(Generic[StoreT]):
    """Token sequences that share prefixes, least recently used forgotten first.

    ``new_store`` makes what a node holds; ``size`` is the sum of all stores' sizes.
    """

    def __init__(self, new_store: Callable[[], StoreT]) -> None:
        self._new_store = new_store
        self._root = Node(None, 0, new_store())
        self._nodes: dict[Node[StoreT], None] = {}  # the least recently used first
        self.size = 0

    def clear(self) -> None:
        """Forget everything."""
        for node in (self._root, *self._nodes):
            node.children.clear()  # parents and children hold each other; their memory must not wait for gc
        self._nodes.clear()
        self.size = 0

    def find(self, ids: Sequence[int]) -> tuple[Node[StoreT], int]:
        """The longest known prefix of ``ids``: the node in which it ends, and its length in tokens."""
        node, length = self._root, 0
        while length < len(ids):
            child = node.children.get((length, ids[length]))
            if child is None:
                break
            node, length = child, length + _shared(child.ids, ids[length : length + len(child.ids)])
        used = node
        while used.parent is not None:
            self._nodes[used] = self._nodes.pop(used)  # to the end; a parent after its child
            used = used.parent
        return node, length

    def extend(self, node: Node[StoreT], length: int, ids: Sequence[int]) -> Node[StoreT]:
        """Add ``ids`` (at least one) after the prefix that :meth:`find` found; returns the node with them.

        What the node's store holds for them is for the caller to fill in.
        """
        if node is self._root or length < node.stop:
            parent, node = node, Node(node, length, self._new_store())
            parent.children[length, ids[0]] = node
            self._nodes[node] = None
        before = node.store.size
        node.ids.extend(ids)
        node.store.reserve(len(node.ids))
        self.size += node.store.size - before
        return node

    def past(self, node: Node[StoreT], length: int) -> tuple[tuple[StoreT, int], ...]:
        """The stores that make up the first ``length`` tokens of a transcript ending in ``node``, each with
        the number of its tokens that these are."""
        pasts: list[tuple[StoreT, int]] = []
        while node.parent is not None:
            pasts.append((node.store, length - node.start))
            node, length = node.parent, node.start
        return tuple(reversed(pasts))

    def evict(self, budget: int, keep: Collection[Node[StoreT]] = ()) -> None:
        """Forget the least recently used until ``size`` is at most ``budget``; never nodes to keep.

        Leaves are shortened from their end, and only as far as needed: the beginning of a transcript is of
        use without the rest.
        """
        while self.size > budget:
            leaf = next((node for node in self._nodes if not node.children and node not in keep), None)
            if leaf is None:
                return
            self._shorten(leaf, self.size - budget)

    def _shorten(self, leaf: Node[StoreT], size: int) -> None:
        """Take at least ``size`` from a leaf, or all of it. Whoever has its store may go on reading that."""
        store = leaf.store
        left = max(0, store.size - size) * store.capacity // store.size
        self.size -= store.size
        if left:
            leaf.store = store.first(left)
            del leaf.ids[left:]
            self.size += leaf.store.size
        elif leaf.parent is not None:
            del leaf.parent.children[leaf.start, leaf.ids[0]]
            del self._nodes[leaf]


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading ids the two have in common."""
    length = min(len(left), len(right))
    if list(left[:length]) == list(right[:length]):  # the common case, at the speed of C
        return length
    return next(i for i in range(length) if left[i] != right[i])


class TokenCount:
    """The store of a tree that remembers ids alone; its size is in tokens."""

    def __init__(self, size: int = 0) -> None:
        self.size = size

    @property
    def capacity(self) -> int:
        """The tokens."""
        return self.size

    def reserve(self, length: int) -> None:
        """Count ``length`` tokens."""
        self.size = length

    def first(self, length: int) -> TokenCount:
        """So many tokens."""
        return TokenCount(length)


@dataclass(frozen=True, slots=True)
class KeyValueLayout:
    """The shape of a model's keys and values for one token, and where they are kept."""

    layers: int
    heads: int
    """Key heads: fewer than query heads under grouped-query attention."""
    head_size: int
    dtype: torch.dtype
    """What the model computes in."""
    device: torch.device
    stored_dtype: torch.dtype | None = None
    """What they are kept in; None: what they are computed in."""

    @property
    def token_bytes(self) -> int:
        """What a token takes, in bytes."""
        return self.layers * 2 * self.heads * self.head_size * self.dtype.itemsize

    def kept(self, values: torch.Tensor) -> torch.Tensor:
        """Keys or values as they are read once they have been kept: so tokens see them from the first."""
        return values if self.stored_dtype is None else values.to(self.stored_dtype).to(self.dtype)


class KeyValues:
    """The keys and values of a stretch of tokens, in all layers; its size is in bytes."""

    def __init__(self, layout: KeyValueLayout) -> None:
        self.layout = layout
        self._data = self._buffer(0)

    def _buffer(self, capacity: int) -> torch.Tensor:
        layout = self.layout
        shape = (layout.layers, 2, layout.heads, capacity, layout.head_size)
        return torch.empty(shape, dtype=layout.stored_dtype or layout.dtype, device=layout.device)

    @property
    def size(self) -> int:
        """Bytes, unused capacity included."""
        return self._data.nbytes

    @property
    def capacity(self) -> int:
        """How many tokens there is room for."""
        return self._data.shape[3]

    def reserve(self, length: int) -> None:
        """Make room for ``length`` tokens in all; what is there stays."""
        capacity = self.capacity
        if length > capacity:
            larger = self._buffer(max(length, int(capacity * GROWTH)))
            larger[:, :, :, :capacity] = self._data
            self._data = larger

    def first(self, length: int) -> KeyValues:
        """A copy of the first ``length`` tokens, with room for no more."""
        shorter = KeyValues(self.layout)
        shorter._data = self._data[:, :, :, :length].clone()
        return shorter

    def write(self, layer: int, offset: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keep the keys and values of tokens from ``offset`` on; each is [1, heads, tokens, head size]."""
        stop = offset + key.shape[2]
        self._data[layer, 0, :, offset:stop] = key[0]
        self._data[layer, 1, :, offset:stop] = value[0]

    def fill(self, offset: int, key_values: torch.Tensor) -> None:
        """Keep tokens from ``offset`` on in all layers: [layers, 2, heads, tokens, head size]."""
        self._data[:, :, :, offset : offset + key_values.shape[3]] = key_values

    def stretch(self, length: int) -> torch.Tensor:
        """The first ``length`` tokens in all layers: [layers, 2, heads, length, head size]."""
        return self._data[:, :, :, :length]

    def read(self, layer: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and the values of the first ``length`` tokens, each [1, heads, length, head size], in the
        dtype that the model computes in.
        """
        key, value = self._data[layer, :, None, :, :length].to(self.layout.dtype)
        return key, value
