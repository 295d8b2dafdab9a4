"""``igpo-gym rewards``: what a turn can be paid for."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from igpo_gym.cli.common import console


def rewards() -> None:
    """List the rewards: the presets, and the terms that they and your own sums are made of.

    A reward is a preset, a term, or a weighted sum of them.

    Example:

      igpo-gym rewards

      igpo-gym rollout --reward "igpo + 0.1*evidence-recall - 0.01*search-cost" ...
    """
    from igpo_gym.rewards import PRESETS, TERMS

    presets = Table("preset", "terms")
    for name, reward in PRESETS.items():
        presets.add_row(name, " ".join(f"{weight:+g}*{term.name}" for weight, term in reward.terms))
    terms = Table("term", "value of a turn", "needs", "source")
    for name, term in TERMS.items():
        terms.add_row(name, escape(term.formula), ", ".join(sorted(term.needs)), term.source)
    console.print(presets, terms)
