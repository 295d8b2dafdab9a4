from __future__ import annotations

from typing import Any

import pytest

from igpo_gym.envs.rules import Rules


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"on_invalid": "stop"}, "unknown on_invalid 'stop'; choose one of: continue, end"),
        ({"on_limit": 3}, "unknown on_limit 3"),
        ({"max_turns": True}, "max_turns must be a whole number"),
    ],
)
def test_rules_that_are_none_are_refused(rules: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Rules(**rules)
