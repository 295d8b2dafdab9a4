"""Numbers that others wrote."""

from __future__ import annotations

import math
from numbers import Real

FLOOR = -9999.0
"""What stands for a log-probability of minus infinity, as vLLM writes it (and in places for NaN): JSON has no
infinity, and the probability is 0 as well."""

ROUNDING = 1e-2
"""How far above 0 a log-probability may be by rounding, in nats: servers compute with 16 bits."""


def finite_number(value: object) -> float | None:
    """The value as a float; None for what is no number, or none that a float can be. Truth values are none.

    >>> finite_number(3), finite_number(float("nan")), finite_number(10**400), finite_number("3")
    (3.0, None, None, None)
    """
    if type(value) is float:  # the common case, in a fifth of the time
        return value if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats, for which math.isfinite raises too
        return None
    return number if math.isfinite(number) else None
