"""What tests against bm25s share."""

from __future__ import annotations

import numpy as np
import pytest

last_bit = pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0",
    reason="by the types of NumPy 1 bm25s rounds its weights at another place",
)
"""A test that holds scores against bm25s's to the last bit."""
