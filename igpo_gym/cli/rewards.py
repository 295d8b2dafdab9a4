"""``igpo-gym rewards``: what a turn can be paid for."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Column, Table

from igpo_gym.cli.common import console


def rewards() -> None:
    """List the rewards: the presets, and the terms that they and your own sums are made of.

    A reward is a preset, a term, or a weighted sum of them. Parameters are given in parentheses; below the
    formula of a term are those that it has, with their defaults. A preset takes those of its terms.

    Example:

      igpo-gym rewards

      igpo-gym rollout --reward "igpo(context=evidence) + 0.1*evidence-recall - 0.01*search-cost" ...
    """
    from igpo_gym.rewards import make_term, resolve_reward
    from igpo_gym.rewards.terms import parameters
    from igpo_gym.specs import names

    presets = Table("preset", "terms", "needs")
    for name in names("reward"):
        reward = resolve_reward(name)
        terms = " ".join(f"{weight:+g}*{term.name}" for weight, term in reward.terms)
        presets.add_row(name, terms, ", ".join(sorted(reward.needs)))
    table = Table(
        Column("term", no_wrap=True),
        Column("value of a turn", overflow="fold"),
        Column("needs", max_width=9),
        Column("tokens a turn", max_width=15),
        show_lines=True,
    )
    for name in names("term"):
        term = make_term(name)
        given = ", ".join(f"{key}={default}" for key, default in parameters(name).items())
        table.add_row(
            name,
            f"{escape(term.formula)}\n[dim]{term.source}{'; ' * bool(given)}{given}[/dim]",
            ", ".join(sorted(term.needs)),
            escape(term.cost),
        )
    console.print(presets, table)
    console.print(
        "b: the belief, a probability per token. Tokens: a [b]turn[/b] has those of its message and reply, "
        "an [b]ask[/b] those of the probe and the answers; what several terms read is read once."
    )
