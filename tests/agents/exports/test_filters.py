"""Conditions, against Python's own answer; and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.exports.filters import Condition, Kind
from igpo_gym.errors import SpecError

KNOWN: dict[str, Kind] = {"f1": "number", "turns": "number", "end": "text", "failed": "truth"}
ENDS = ("answered", "aborted")

numbers = st.sampled_from(["f1", "turns", "0", "1", "0.5", "-2"])
comparisons = st.one_of(
    st.builds("{} {} {}".format, numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers),
    st.builds("{} < {} <= {}".format, numbers, numbers, numbers),
    st.builds("end {} '{}'".format, st.sampled_from(["==", "!="]), st.sampled_from(ENDS)),
    st.sampled_from(["failed", "failed != True", "end in ('answered', 'x')", "'swe' in end"]),
    st.sampled_from(["turns not in (1, 2)", "f1 in (0, 1)"]),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=6,
)


@given(
    conditions,
    st.fixed_dictionaries(
        {
            "f1": st.sampled_from([0.0, 0.5, 1.0]),
            "turns": st.integers(0, 3),
            "end": st.sampled_from(ENDS),
            "failed": st.booleans(),
        }
    ),
)
def test_a_condition_says_what_python_says(text: str, values: dict[str, object]) -> None:
    expected = eval(text, {"__builtins__": {}}, values)
    assert Condition.read(text, KNOWN)(values.__getitem__) is bool(expected)


@given(st.text(max_size=40))
def test_any_other_text_is_read_or_refused_by_name(text: str) -> None:
    told = ["--where "]
    try:
        Condition.read(text, KNOWN, "--where")
    except SpecError as problem:
        told.append(str(problem))
    assert all(each.startswith("--where ") for each in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("f2 == 1", "did you mean f1? Choose one of: end, f1, failed, turns"),
        ("__import__('os').system('x') == 0", "is neither a name, a number nor a text"),
        ("(lambda: 1)() == 1", "is neither a name"),
        ("f1.__class__ == 1", "is neither a name"),
        ("f1 + 1 == 2", "is neither a name"),
        ("f1 if failed else turns", "is neither a name"),
        ("[x for x in turns]", "is neither a name"),
        ("f1 is 1", "not as here"),
        ("end < 'b'", "a text can be compared by =="),
        ("f1 == '1'", "compare what is alike"),
        ("f1 in (1, 'a')", "nothing that a number can be in"),
        ("f1", "is a number, and no condition"),
        ("f1 == 1 and", "it cannot be read"),
        ("f1 == 1; failed", "it cannot be read"),
        ("f1 := 1", "it cannot be read"),
        ("", "it cannot be read"),
        ("(" * 400 + "f1" + ")" * 400, "it cannot be read"),
        ("failed or " * 120 + "failed", "of which it may have 1000"),
    ],
)
def test_what_is_no_condition(text: str, told: str) -> None:
    with pytest.raises(SpecError) as caught:
        Condition.read(text, KNOWN, "--where")
    assert told in str(caught.value)


def test_only_names_that_decide_are_asked_for() -> None:
    assert not Condition.read("f1 == 1 and turns == 2", KNOWN)({"f1": 0.0}.__getitem__)
