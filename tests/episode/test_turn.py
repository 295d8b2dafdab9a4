from __future__ import annotations

from igpo_gym.episode import Passage, ToolResult, Turn
from igpo_gym.tools import search_call


def test_the_passages_of_a_turn_are_distinct_and_in_order() -> None:
    a, b = Passage("a", "A", "one", 2.0), Passage("b", "B", "two", 1.0)
    turn = Turn("m", search_call("q", "r"), results=(ToolResult(passages=((a, b), (b, a))),))
    assert turn.passages == (a, b)
    twice = Turn(
        "m", search_call("q"), results=(ToolResult(passages=((b,),)), ToolResult(passages=((a, b),)))
    )
    assert twice.passages == (b, a)
