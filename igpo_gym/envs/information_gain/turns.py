"""What both forms of the wrapper share: from what an environment says to priced episodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from igpo_gym.envs.engine import undone_on_error
from igpo_gym.envs.info import belief_info
from igpo_gym.episode import EndReason, Episode, Segment
from igpo_gym.rewards.pricing import Pricing, end_of, opened, turn_of

Mode = Literal["add", "replace"]
Answers: TypeAlias = str | Sequence[str] | Callable[[Any, Mapping[str, Any]], Any]
"""Where the gold answers are: the name of an entry of ``info`` after a reset, or else of an attribute of the
environment; several fixed texts; or a function of the environment and ``info``."""


def as_text(value: Any) -> str:
    """A text as it is. Raises TypeError for anything else, with what to do."""
    if not isinstance(value, str):
        raise TypeError(
            f"{value!r:.60} is no text: give observation_text= and action_text=, functions to texts"
        )
    return value


@dataclass(frozen=True)
class Play:
    """What an environment made of an action."""

    episode: Episode
    action: Any
    observation: Any
    paid: float
    terminated: bool
    truncated: bool

    @property
    def last(self) -> bool:
        """Whether the episode ends with it."""
        return self.terminated or self.truncated


@dataclass(frozen=True)
class PricedTurns:
    """From what environments say to priced episodes, one or many at a time."""

    pricing: Pricing
    observation_text: Callable[[Any], str]
    action_text: Callable[[Any], str]
    ends_too_long: bool
    """Whether a transcript that has become longer than a scorer reads ends its episode."""

    def opened(self, observation: Any, gold: Any, name: str) -> Episode:
        """An episode that begins with an observation; its first belief comes with the next :meth:`step`."""
        return opened((Segment("environment", "user", self.observation_text(observation)),), gold, name)

    def step(self, plays: Sequence[Play], fresh: Sequence[Episode] = ()) -> list[float]:
        """Append what was said and told, and price it; ``fresh`` episodes have their first belief asked for.

        Returns for each play its reward. Where the transcript has become longer than a scorer reads, the
        belief is the one before, and the turn has no gain. Whatever is raised, the episodes are then as they
        were.
        """
        with undone_on_error([*fresh, *(play.episode for play in plays)]):
            told = []
            for play in plays:
                replies = self._replies(play)
                play.episode.append(turn_of(self.action_text(play.action), replies, play.last))
                if replies:
                    told.append(play.episode)
            states = [(episode, len(episode.turns)) for episode in (*told, *fresh)]
            readable = self.pricing.measure(states)
            too_long = {id(episode) for (episode, _), read in zip(states, readable, strict=True) if not read}
            for play in plays:
                episode = play.episode
                if self.ends_too_long and id(episode) in too_long:
                    episode.end = EndReason.CONTEXT_EXHAUSTED
                elif play.last:
                    episode.end = end_of(episode.turns[-1])
                if id(episode) in too_long:
                    episode.note_unread(len(episode.turns))
                episode.rewards.append(self.pricing.price(episode, len(episode.turns), play.paid))
            return [sum(play.episode.rewards[-1].values()) for play in plays]

    def _replies(self, play: Play) -> tuple[Segment, ...]:
        """What the agent is told: nothing where an episode ends without an observation, or an empty one."""
        if play.last and play.observation is None:
            return ()
        text = self.observation_text(play.observation)
        return (Segment("environment", "user", text),) if text or not play.last else ()


def gold_answers(answers: Answers, env: Any, info: Mapping[str, Any], attribute: Callable[[str], Any]) -> Any:
    """Where ``answers`` says. Raises ValueError where nothing is there."""
    if callable(answers):
        return answers(env, info)
    if not isinstance(answers, str):
        return list(answers)
    if answers in info:
        return info[answers]
    try:
        return attribute(answers)
    except AttributeError:
        raise ValueError(
            f"neither info nor the environment has {answers!r}; answers= names where the gold answers are"
        ) from None


def told_info(episode: Episode) -> dict[str, Any]:
    """What is added to ``info``: what :func:`igpo_gym.envs.info.belief_info` tells; after a turn
    ``reward_terms`` and, without a scorer too, ``gain``; at the end ``end_reason``."""
    told = belief_info(episode)
    if episode.rewards:
        told["reward_terms"] = dict(episode.rewards[-1])
        told.setdefault("gain", 0.0)
    if episode.end is not None:
        told["end_reason"] = episode.end.value
    return told


def adds(mode: Mode) -> bool:
    """Whether what the environment pays is added. Raises ValueError for a mode that there is not."""
    if mode not in get_args(Mode):
        raise ValueError(f"mode is 'add' or 'replace', not {mode!r}")
    return mode == "add"


def check_same(asked: Any, now: Any) -> None:
    """Raise ValueError where a step that has no belief yet is repeated with another action."""
    if asked is not now and not np.array_equal(
        np.asarray(asked, dtype=object), np.asarray(now, dtype=object)
    ):
        raise ValueError(
            "the environment has moved, but the scorer failed: repeat the same action to ask the scorer "
            "again, or reset"
        )
