"""What must be gone when an adapter's objects are: the scorer, and the thread that asked it."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable

from tests.conftest import MentionScorer

PATIENCE = 30.0
"""Seconds after which a thread counts as one that never ends; no test waits that long."""


def assert_freed(use: Callable[[MentionScorer], object]) -> None:
    """``use`` makes, uses and drops what has a scorer: then neither their threads nor the scorer is left."""
    before = set(threading.enumerate())
    scorer = MentionScorer()
    alive = weakref.ref(scorer)
    use(scorer)
    del scorer
    gc.collect()
    begun = {thread for thread in threading.enumerate() if thread.name.startswith("igpo_gym-")} - before
    for _ in range(int(PATIENCE)):  # one that ends may let go, in a cycle, of what another waits for
        for thread in begun:
            thread.join(1.0)
        if not any(thread.is_alive() for thread in begun):
            break
        gc.collect()
    assert not [thread for thread in begun if thread.is_alive()]
    gc.collect()
    assert alive() is None
