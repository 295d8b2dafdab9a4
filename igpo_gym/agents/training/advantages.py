"""From what episodes were paid to the advantages of their turns, branches included."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from igpo_gym.agents.rollouts.branches import Leaf, owners
from igpo_gym.agents.training.estimators import Estimator, Floats, Turns, over_leaves
from igpo_gym.episode import Episode
from igpo_gym.rewards.split import Split


def turn_states(episode: Episode) -> list[str]:
    """The state before each turn, [turns]: what the environment said last, as GiGPO takes it; "" at first.

    >>> from igpo_gym.episode import Answer, Question, Turn
    >>> from igpo_gym.tools import search_call
    >>> episode = Episode(Question("q", "Where?", ("Danzig",)), ())
    >>> episode.append(Turn("<search>port</search>", search_call("port"), observation="Danzig: a port."))
    >>> episode.append(Turn("<answer>Danzig</answer>", Answer("Danzig")))
    >>> turn_states(episode)
    ['', 'Danzig: a port.']
    """
    return ["", *(turn.observation for turn in episode.turns)][: len(episode.turns)]


def advantages(
    splits: Sequence[Split],
    leaves: Sequence[Leaf],
    estimator: Estimator,
    states: Sequence[Sequence[Hashable]] | None = None,
) -> list[Floats]:
    """The advantage of each turn, an array [turns] for each episode: a turn that branches share has their
    mean, as in training.

    There is a split, a leaf and (where the estimator compares them) a list of states for each episode. Raises
    ValueError where the estimator does not take such turns.

    >>> from igpo_gym.agents.training.estimators import resolve_estimator
    >>> splits = [Split((0.3,), 1.0), Split((0.1,), 0.0)]
    >>> leaves = [Leaf("q", 0, 2, None), Leaf("q", 1, 2, None)]
    >>> [own.round(2).tolist() for own in advantages(splits, leaves, resolve_estimator("igpo-separate"))]
    [[2.0, 1.0], [-2.0, -1.0]]
    """
    turns = Turns.of(splits, [leaf.group for leaf in leaves], states)
    return turns.by_episode(over_leaves(turns, estimator(turns), owners(leaves)))
