import sys
from pathlib import Path

import numpy as np
import pytest

from igpo_gym.agents.memory import release_memory


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's C library")
def test_what_is_free_below_a_block_in_use_is_given_back() -> None:
    blocks = [np.ones(100_000, np.int8) for _ in range(2_000)]  # too small to be mapped one by one
    before = resident()
    blocks = blocks[-1:]
    release_memory()
    assert before - resident() > 100_000_000
