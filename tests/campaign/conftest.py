"""The clock and the seeds of the campaign: every test of it runs in rounds until its share of time is over.

``IGPO_GYM_CAMPAIGN_SECONDS`` is the time of all tests together (900), and ``IGPO_GYM_CAMPAIGN_SEED`` the seed
that all others derive from (drawn at random). Both are printed at the end, with the number of rounds.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator

import pytest

SECONDS = float(os.environ.get("IGPO_GYM_CAMPAIGN_SECONDS", "900"))
SEED = int(os.environ.get("IGPO_GYM_CAMPAIGN_SEED") or random.SystemRandom().randrange(10**6))
ROUNDS: dict[str, int] = {}
"""By test: how many rounds it had."""


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Callable[[], Iterator[random.Random]]:
    """Random generators, one for each round, until the test's share of the time is over; at least one.

    The seed of a round is printed before it, so that a failure shows it last.
    """
    tests = [test for test in request.session.items if test.get_closest_marker("campaign")]
    ends = time.monotonic() + SECONDS / len(tests)
    name = request.node.name

    def drawn() -> Iterator[random.Random]:
        while not ROUNDS.get(name) or time.monotonic() < ends:
            seed = f"{SEED}-{ROUNDS.get(name, 0)}"
            print(f"seed {seed}")
            ROUNDS[name] = ROUNDS.get(name, 0) + 1
            yield random.Random(seed)

    return drawn


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the campaign did."""
    if ROUNDS:
        told = ", ".join(f"{name.removeprefix('test_')} {count}" for name, count in ROUNDS.items())
        terminalreporter.write_line(f"campaign of seed {SEED}; rounds: {told}")
