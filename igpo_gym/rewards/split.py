"""How an episode's rewards divide into the gains of its turns and its outcome: said here, for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from igpo_gym.episode import EndReason, Episode
from igpo_gym.rewards.functions import RewardFunction, finite
from igpo_gym.rewards.gains import is_last
from igpo_gym.rewards.interface import RewardTerm


@dataclass(frozen=True, slots=True)
class Split:
    """What an episode of T turns was paid: gains of turns, and the outcome that stands beside the last turn.

    >>> answered = Split((0.3, 0.1), 1.0)
    >>> answered.turns, answered.rewards
    (3, (0.3, 0.1, 1.0))
    """

    gains: tuple[float | None, ...]
    """g_1 .. g_{T-1}, and g_T where it exists: for each turn the sum of its terms that are no outcome. None
    for a turn that no such term counts (``gain(tools=open)``, say): like the last turn without a gain, it is
    a member of no set."""
    outcome: float | None
    """The sum of the outcome terms over all turns; None for an episode that did not end by itself. Such an
    episode is no member of its group."""
    last_gain: bool = False
    """Whether g_T exists. Where it does not, the last turn is a member of no set of gains; a 0 in its place
    would be averaged in."""

    @property
    def turns(self) -> int:
        """T."""
        return len(self.gains) + (not self.last_gain)

    @property
    def rewards(self) -> tuple[float, ...]:
        """The reward of each turn as one number: its gain, with the outcome on the last one (none: 0)."""
        paid = [gain or 0.0 for gain in (*self.gains, 0.0)][: self.turns]
        if paid:
            paid[-1] += self.outcome or 0.0
        return tuple(paid)


def split(episode: Episode, reward: RewardFunction) -> Split:
    """The gains and the outcome of an episode that was paid by ``reward``.

    An outcome term may pay anywhere in the episode (a penalty for an invalid message, say): all that the
    outcome terms paid is summed. A gain is the sum of the turn's other terms. The last turn has one only if
    the reward has a term that declares that it pays there, and a turn that all of these terms leave out has
    none (:func:`gains_of`): so the gains that exist and the outcome add up to what the turns were paid.
    An episode that has not ended, or was aborted, has no last turn and no outcome; one that was aborted
    before it was priced (turns paid for nothing at all) has no gain either.

    Raises ValueError for turns that were not priced, for terms that are not those of ``reward``, and for a
    value that is no finite number.

    >>> from igpo_gym.episode import Answer, Question, Turn
    >>> from igpo_gym.rewards import resolve_reward
    >>> from igpo_gym.tools import search_call
    >>> episode = Episode(Question("q", "Where?", ("Danzig",)), ())
    >>> episode.append(Turn("<search>Danzig</search>", search_call("Danzig")))
    >>> episode.append(Turn("<answer>Danzig</answer>", Answer("Danzig")), EndReason.ANSWERED)
    >>> episode.rewards += [{"f1": 0.0, "search-cost": 1.0}, {"f1": 1.0, "search-cost": 0.0}]
    >>> split(episode, resolve_reward("f1 + search-cost"))
    Split(gains=(1.0, 0.0), outcome=1.0, last_gain=True)
    """
    if len(episode.rewards) != len(episode.turns):
        raise ValueError(
            f"the episode on {episode.question.id!r} has {len(episode.turns)} turns, but "
            f"{len(episode.rewards)} were rewarded"
        )
    if episode.end is EndReason.ABORTED and not any(episode.rewards):
        return Split((None,) * len(episode.turns), None, last_gain=True)
    outcomes = {term.name for _, term in reward.terms if term.outcome}
    names = outcomes | set(reward.gains)
    earned: list[float] = []
    outcome = 0.0
    for turn, terms in enumerate(episode.rewards, 1):
        if terms.keys() != names:
            raise ValueError(
                f"turn {turn} of the episode on {episode.question.id!r} was paid for "
                f"{', '.join(terms) or 'nothing'}, but the terms of the reward {reward.name!r} are "
                f"{', '.join(sorted(names))}"
            )
        paid = {name: finite(value, name, episode, turn) for name, value in terms.items()}
        earned.append(sum(value for name, value in paid.items() if name not in outcomes) + 0.0)
        outcome += sum(value for name, value in paid.items() if name in outcomes)
    gains = gains_of(episode, reward, earned)
    if not episode.has_outcome:
        return Split(tuple(gains), None, last_gain=True)
    return Split(tuple(gains if reward.last_gain else gains[:-1]), outcome, reward.last_gain)


def gains_of(episode: Episode, reward: RewardFunction, earned: Sequence[float]) -> list[float | None]:
    """The gain of each turn, of what its terms that are no outcome ``earned`` it: None where all of them
    leave it out and earned it nothing."""
    terms = [term for _, term in reward.terms if not term.outcome]
    return [
        gain if gain or not terms or any(_tells(term, episode, turn) for term in terms) else None
        for turn, gain in enumerate(earned, 1)
    ]


def _tells(term: RewardTerm, episode: Episode, turn: int) -> bool:
    """Whether a term says anything of a turn: it counts the turn, and does not ask a model about a state that
    none could read. What a term pays on last turns, it pays whatever state the episode ends in."""
    if term.counts is not None and not term.counts(episode, turn):
        return False
    return (term.last_turn and is_last(episode, turn)) or not term.is_unread(episode, turn)
