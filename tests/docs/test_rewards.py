"""The tables of docs/rewards.md are those of the code."""

from __future__ import annotations

import re

from igpo_gym.rewards import PRESETS, TERMS
from igpo_gym.rewards.terms import parameters
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "rewards.md").read_text(encoding="utf-8")


def test_all_terms_presets_and_parameters_are_listed() -> None:
    listed = {name for row in re.findall(r"^\| (`.*?) \|", TEXT, re.M) for name in re.findall("`(.*?)`", row)}
    assert listed == {*TERMS, *PRESETS, *(key for name in TERMS for key in parameters(name))}


def test_the_listed_sums_are_those_of_the_presets() -> None:
    for name, spec in re.findall(r"^\| `([a-z-]+)` \| `(.*? - 2\*format-penalty)` \|$", TEXT, re.M):
        weights = {term.name: weight for weight, term in PRESETS[name].terms}
        written = " ".join(f"{weight:+g}*{term}" for term, weight in weights.items())
        assert written.replace("1*", "").replace("+", "+ ").replace("-2*", "- 2*").removeprefix("+ ") == spec
