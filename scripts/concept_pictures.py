"""Draw the pictures of README.md and docs/concepts.md, of episodes that are played here.

The bundled model holds the beliefs. ``python scripts/concept_pictures.py [FOLDER]`` writes SVG files, into
docs/figures by default. Needs matplotlib.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from pictures import told

from igpo_gym import (
    EnvConfig,
    Episode,
    RewardFunction,
    Sampling,
    Turns,
    collect,
    relabel,
    resolve_estimator,
    resolve_policy,
    split,
)
from igpo_gym.agents.rollouts.collect import collect_groups
from igpo_gym.envs.setup import assemble
from igpo_gym.tools.searching import queries

INK, BLUE, ORANGE, GRAY = "#333333", "#3f51b5", "#e07b39", "#b0b4c0"
NAMES = {"tools": "search"}
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GRAY,
    "figure.facecolor": "white",
    "svg.hashsalt": "igpo_gym",
    "svg.fonttype": "none",
}


def found() -> Episode:
    """An episode of the expert, on the question of docs/quickstart.md."""
    book, engine = assemble(EnvConfig(questions="world:test#hops=3"))
    (episode,) = collect(engine, resolve_policy("expert", book, engine.protocol), book.questions[:1])
    return episode


def attempts() -> tuple[list[Episode], RewardFunction]:
    """Four attempts of the bundled model at a question, some of them right, and what they were paid by."""
    book, engine = assemble(EnvConfig(questions="world:test#hops=3"))
    policy = resolve_policy("nano", book, engine.protocol, Sampling(temperature=1.0))
    (group,) = collect_groups(engine, policy, book.questions[8:9], group_size=4)
    return group, engine.reward


def labels(episode: Episode) -> list[str]:
    """What stands below each belief: the prompt, the queries, the answer."""
    told = [f"search:\n{', '.join(queries(turn.action))}" for turn in episode.turns[:-1]]
    return ["the question", *("\n".join(textwrap.wrap(each, 18)) for each in told)]


def belief(episode: Episode) -> Any:
    """The belief after each turn of an episode, and the gains between."""
    beliefs = [each.prob for each in episode.beliefs]
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    places = range(len(beliefs))
    axes.fill_between(places, beliefs, color=BLUE, alpha=0.12)
    axes.plot(places, beliefs, marker="o", color=BLUE, linewidth=2)
    for place in places[1:]:
        gain = beliefs[place] - beliefs[place - 1]
        axes.annotate(
            f"{gain:+.2f}",
            (place - 0.5, (beliefs[place] + beliefs[place - 1]) / 2 + 0.06),
            ha="right",
            color=ORANGE,
            fontweight="bold",
        )
    axes.set_xticks(places, labels(episode))
    axes.set_ylim(0, 1.05)
    axes.set_xlim(-0.3, len(beliefs) - 0.7)
    axes.set_ylabel("probability of the\ngold answer")
    axes.set_title(textwrap.fill(episode.question.text, 90), loc="left", color=INK, fontsize=10)
    return figure


def transcript(episode: Episode) -> Any:
    """The segments of an episode in a row, by who wrote them, and where beliefs are asked for."""
    figure, axes = plt.subplots(figsize=(7.2, 2.2))
    shown = [("question", GRAY, "prompt")]
    for number, turn in enumerate(episode.turns, 1):
        shown.append((f"turn {number}:\n{NAMES.get(turn.action.kind, turn.action.kind)}", BLUE, "agent"))
        if number < len(episode.turns):
            shown.append(("documents", GRAY, "environment"))
    left = 0.0
    asked = []
    for text, color, author in shown:
        width = {"agent": 1.25, "environment": 1.35, "prompt": 1.25}[author]
        axes.barh(0, width - 0.06, left=left, color=color, alpha=0.9 if author == "agent" else 0.55)
        ink = "white" if author == "agent" else INK
        axes.text(left + width / 2 - 0.03, 0, text, ha="center", va="center", color=ink, fontsize=8.5)
        left += width
        if author != "agent":
            asked.append(left - 0.03)
    for place, value in zip(asked, episode.beliefs, strict=True):
        axes.annotate(
            f"belief\n{value.prob:.2f}",
            (place, -0.42),
            (place, -1.15),
            ha="center",
            color=ORANGE,
            fontsize=9,
            arrowprops={"arrowstyle": "->", "color": ORANGE},
        )
    axes.text(left, 0.55, "paid: F1 of the answer", ha="right", color=INK, fontsize=9)
    axes.set_ylim(-1.3, 0.75)
    axes.axis("off")
    return figure


def views(count: int = 8) -> Any:
    """What an honest agent and a forger earn by their gains, under two views, on average over questions."""
    rewards = {"igpo": BLUE, "igpo(context=evidence)": ORANGE}
    agents = {"expert": "finds the documents", "forger": "makes documents up\nin its thoughts"}
    book, engine = assemble(EnvConfig(questions="world:test#hops=2", scorer=None, reward="outcome-f1"))
    figure, axes = plt.subplots(figsize=(7.2, 2.6))
    for place, agent in enumerate(agents):
        policy = resolve_policy(agent, book, engine.protocol)
        priced = list(relabel(collect(engine, policy, book.questions[:count]), list(rewards), "nano"))
        for row, (reward, color) in enumerate(rewards.items()):
            terms = [term for each in priced for turn in each.rewards[reward] for term in turn.items()]
            mean = sum(value for name, value in terms if name.startswith("gain")) / count
            axes.bar(place + 0.3 * row, mean, 0.28, color=color, label=None if place else reward)
            axes.text(
                place + 0.3 * row, max(mean, 0) + 0.01, f"{mean:.2f}", ha="center", fontsize=9, color=INK
            )
    axes.set_xticks([0.15, 1.15], list(agents.values()))
    axes.axhline(0, color=GRAY, linewidth=0.8)
    axes.set_ylabel("gains of an episode")
    axes.legend(frameon=False, loc="upper right")
    return figure


def advantages(group: list[Episode], reward: RewardFunction) -> Any:
    """The advantages of all turns of a group under two estimators: blue above 0, orange below."""
    divided = [split(episode, reward) for episode in group]
    turns = Turns.of(divided, groups=["q"] * len(group))
    most = range(max(each.turns for each in divided))
    figure, rows = plt.subplots(1, 2, figsize=(7.2, 2.4), sharey=True)
    for axes, name in zip(rows, ("grpo", "igpo-separate"), strict=True):
        values = iter(resolve_estimator(name)(turns))
        for row, each in enumerate(divided):
            for place in range(each.turns):
                value = float(next(values))
                color = BLUE if value > 0 else ORANGE
                shade = min(1.0, abs(value) / 4)
                axes.add_patch(mpl.patches.Rectangle((place, row - 0.4), 0.94, 0.8, color=color, alpha=shade))
                axes.text(
                    place + 0.47, row, f"{value:+.1f}", ha="center", va="center", fontsize=8.5, color=INK
                )
        axes.set_xlim(0, len(most))
        axes.set_ylim(len(divided) - 0.5, -0.5)
        axes.set_xticks([place + 0.47 for place in most], [str(place + 1) for place in most])
        axes.set_xlabel("turn")
        axes.set_yticks(range(len(divided)), [f"outcome {each.outcome:.0f}" for each in divided])
        axes.set_title(name, fontsize=10, color=INK)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
    return figure


def main(folder: Path) -> None:
    """Draw and write all pictures."""
    mpl.use("svg")
    mpl.rcParams.update(STYLE)
    episode = found()
    pictures = {
        "belief": belief(episode),
        "episode": transcript(episode),
        "views": views(),
        "advantages": advantages(*attempts()),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in pictures.items():
        path = folder / f"{name}.svg"
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        told(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "figures"))
