"""Relabeling: what recorded episodes would have been paid under any rewards.

>>> from igpo_gym.agents.rollouts.records import read_rollouts
>>> for priced in relabel(read_rollouts("expert.jsonl"), ["igpo", "tips"], "nano"):  # doctest: +SKIP
...     print(priced.returns)
{'igpo': 1.74, 'tips': 1.21}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from typing import Any

from igpo_gym.data.protection import hidden
from igpo_gym.episode import BELIEF, MIXED_WEIGHTS, UNREAD, Belief, BeliefView, Episode
from igpo_gym.errors import PromptTooLongError
from igpo_gym.protocols import ReplyLimits, TextProtocol, resolve_protocol
from igpo_gym.rewards.believing import add_beliefs
from igpo_gym.rewards.functions import RewardFunction, as_paid, resolve_reward
from igpo_gym.rewards.instruments import Due, Instruments, measure
from igpo_gym.rewards.interface import instrument_name
from igpo_gym.scorers import resolve_reference, resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.search.interface import Corpus
from igpo_gym.tools.opening import PAGE_CHARS


@dataclass(frozen=True, slots=True)
class Priced:
    """An episode and what it earns under each reward."""

    episode: Episode
    """A copy of the recorded episode, with all that it was priced by and without rewards. Its ``extra`` tells
    the states that the scorer could not read (``unread``); terms that ask a model leave turns out that end
    in one."""
    rewards: dict[str, list[dict[str, float]]]
    """By reward, for each turn its weighted terms by name; their sum is the turn's reward. Empty where the
    scorer cannot read the prompt."""

    @property
    def returns(self) -> dict[str, float]:
        """By reward, the undiscounted sum over all turns."""
        return {name: sum(sum(terms.values()) for terms in turns) for name, turns in self.rewards.items()}


def relabel(
    episodes: Iterable[Episode],
    rewards: Sequence[str | RewardFunction],
    scorer: str | AnswerScorer | None = None,
    *,
    reference: str | AnswerScorer | None = None,
    corpus: Corpus = (),
    context: Mapping[str, Any] | None = None,
    protocol: str | TextProtocol = "tags",
    limits: ReplyLimits | None = None,
    page_chars: int = PAGE_CHARS,
    batch_size: int = 16,
    partial: bool = False,
) -> Iterator[Priced]:
    """Price ended episodes under each of ``rewards``, and yield them in order.

    The models that are given measure anew, ``batch_size`` whole trajectories in one call, each belief once
    however many rewards read it. What belongs to a model that is not given is taken from the record, as is
    what an instrument measured that is not at hand, or that has the version of the record. No more than a
    batch is held in memory.

    Args:
        episodes: ended episodes, as :func:`igpo_gym.agents.rollouts.records.read_rollouts` and
            :func:`igpo_gym.agents.rollouts.transcripts.read_transcripts` yield them.
        rewards: presets, terms, weighted sums of such, or RewardFunctions, with unlike names.
        scorer: the model that holds the beliefs, or None for the recorded ones.
        reference: the frozen model that some rewards need; by default the scorer, if that is a packaged one.
        corpus: the passages that random documents are drawn from. The same passages in the same order as at
            the recording give the same draws.
        context: what named instruments are made from: for ``value`` an ``engine`` and a ``policy``.
        protocol: the one that the episodes were played with.
        limits: how much their replies show, as the settings of the recording tell it (``ReplyLimits.of``):
            for rewards that have replies written anew with random documents. By default the defaults.
        page_chars: how long the pages of their ``open`` are, for the same rewards.
        batch_size: how many episodes are measured in one call.
        partial: whether an episode whose prompt the scorer cannot read, or that of the recording could not,
            is yielded without rewards; by default PromptTooLongError is raised.

    Raises ValueError, with what to give, when something is needed that neither is given nor was recorded, and
    for episodes of another protocol, where that matters; ScoringError when a scorer fails.
    """
    functions = [resolve_reward(reward) for reward in rewards]
    names = [function.name for function in functions]
    if len(set(names)) < len(names):
        raise ValueError(f"two rewards of one name: {', '.join(names)}")
    grammar = resolve_protocol(protocol)
    second = None
    if any("reference" in function.needs for function in functions):
        second = resolve_reference(reference, scorer)
    instruments = Instruments(
        resolve_scorer(scorer), second, corpus, grammar, context or {}, limits or ReplyLimits(), page_chars
    )
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return _priced(iter(episodes), functions, instruments, batch_size, partial)


def _priced(
    episodes: Iterator[Episode],
    functions: Sequence[RewardFunction],
    instruments: Instruments,
    batch_size: int,
    partial: bool,
) -> Iterator[Priced]:
    due = instruments.due(functions)
    while batch := list(islice(episodes, batch_size)):
        copies = [_bare(episode) for episode in batch]
        for episode, copy in zip(batch, copies, strict=True):
            if _was_unread(episode, functions, instruments):
                if not partial:
                    id_ = episode.question.id
                    raise PromptTooLongError(
                        f"the prompt of {id_!r} was longer than its scorer reads", (id_,)
                    )
                copy.extra[UNREAD] = sorted(episode.unread)
        read = [episode for episode, copy in zip(batch, copies, strict=True) if 0 not in copy.unread]
        _check(read, functions, instruments, due)
        _believe(copies, instruments, due, partial)
        measured = _measured(batch, due)
        for episode, copy, values in zip(batch, copies, measured, strict=True):
            if 0 in copy.unread:
                yield Priced(copy, {})
                continue
            _take_recorded(copy, episode, values, instruments, due)
            paid, turns = as_paid(copy), range(1, len(copy.turns) + 1)
            yield Priced(
                copy,
                {function.name: [function.price(paid, turn) for turn in turns] for function in functions},
            )


def _was_unread(episode: Episode, functions: Sequence[RewardFunction], instruments: Instruments) -> bool:
    """Whether the recorded scorer could not read the prompt, and beliefs are needed that nobody measures."""
    needs = {need for function in functions for need in function.needs}
    return (
        instruments.scorer is None and 0 in episode.unread and not needs.isdisjoint({"scorer", "reference"})
    )


def _believe(copies: Sequence[Episode], instruments: Instruments, due: Due, partial: bool) -> None:
    """Add the beliefs in all states, and note which could not be read."""
    states = [(copy, turn) for copy in copies if 0 not in copy.unread for turn in range(copy.states)]
    try:
        readable = add_beliefs(instruments, states, due.views)
    except PromptTooLongError as problem:
        if not partial:
            raise
        unread = {id(states[place][0]) for place in problem.places}
        for copy in copies:
            if id(copy) in unread:
                copy.extra[UNREAD] = list(range(copy.states))
        _believe(copies, instruments, due, partial)
        return
    for (copy, turn), read in zip(states, readable, strict=True):
        if not read:
            copy.note_unread(turn)


def _measured(batch: Sequence[Episode], due: Due) -> list[list[dict[str, Any]]]:
    """For each episode and state what the instruments measure, but for what is taken from the record."""
    measured: list[list[dict[str, Any]]] = [[{} for _ in range(len(each.turns) + 1)] for each in batch]
    for name, instrument in due.instruments.items():
        states = [
            (place, turn)
            for place, episode in enumerate(batch)
            if not _recorded(episode, name, instrument.version)
            for turn in range(len(episode.turns) + 1)
        ]
        found = (
            measure([(batch[place], turn) for place, turn in states], {name: instrument}) if states else []
        )
        for (place, turn), values in zip(states, found, strict=True):
            measured[place][turn] |= values
    return measured


def _recorded(episode: Episode, name: str, version: str) -> bool:
    """Whether the episode brings all that an instrument of this version would measure."""
    complete = len(episode.measured) == len(episode.turns) + 1 and all(
        name in each for each in episode.measured
    )
    return complete and version != "" and episode.instruments.get(name) == version


def _bare(episode: Episode) -> Episode:
    """A copy of the episode without what was measured and paid; all else is kept as it was recorded."""
    extra = {
        name: value for name, value in episode.extra.items() if name not in ("split", MIXED_WEIGHTS, UNREAD)
    }
    return replace(episode, beliefs=[], views=[], measured=[], instruments={}, rewards=[], extra=extra)


def _take_recorded(
    copy: Episode,
    episode: Episode,
    measured: Sequence[dict[str, Any]],
    instruments: Instruments,
    due: Due,
) -> None:
    """Add to the copy what was ``measured`` anew, and of the record what was not."""
    if instruments.model(BELIEF) is None:
        copy.beliefs = [_as_told(episode, state, BELIEF) for state in range(len(episode.beliefs))]
        if MIXED_WEIGHTS in episode.extra:
            copy.extra[MIXED_WEIGHTS] = episode.extra[MIXED_WEIGHTS]
    # Beliefs of two models must not meet in one difference.
    kept = [
        {view: _as_told(episode, state, view) for view in views if instruments.model(view) is None}
        for state, views in enumerate(episode.views)
    ]
    views = {view for view in (BELIEF, *(kept[0] if kept else ())) if instruments.model(view) is None}
    told = {state for state in episode.unread for view in views if episode.is_unread(state, (view,))}
    if unread := copy.unread | told:
        copy.extra[UNREAD] = sorted(unread)
    states = zip_longest(kept, copy.views, fillvalue=dict[BeliefView, Belief]())
    copy.views = [both for recorded, anew in states if (both := {**recorded, **anew})]
    anew = measured[0].keys()
    versions = {name: version for name, version in episode.instruments.items() if name not in anew}
    versions |= {name: version for name, version in due.versions.items() if name in anew}
    for recorded, own in zip_longest(episode.measured, measured if anew else (), fillvalue=dict[str, Any]()):
        # A state of which nothing was measured keeps its place.
        copy.note({name: value for name, value in recorded.items() if name not in anew} | own, versions)


def _as_told(episode: Episode, state: int, view: BeliefView) -> Belief:
    """A recorded belief, which tells itself whether its state was read."""
    belief = episode.belief(state, view)
    return replace(belief, unread=True) if episode.is_unread(state, (view,)) else belief


def _check(
    batch: Sequence[Episode], functions: Sequence[RewardFunction], instruments: Instruments, due: Due
) -> None:
    """Raise ValueError for what is neither to be measured nor recorded, and for what does not fit."""
    rewritten = any(view.rewritten for view in due.views)
    for episode in batch:
        name = episode.question.id
        if hidden(episode.question):
            raise ValueError(
                f"question {name!r} is protected, and its record shows no texts to measure: record it with "
                "--clear-text to price it anew"
            )
        known = len(episode.beliefs), len(episode.views), min(len(episode.measured), episode.states)
        if not {*known} <= {0, episode.states} or len(episode.measured) > len(episode.turns) + 1:
            raise ValueError(f"the beliefs recorded for {name!r} are not as many as its turns ask for")
        if episode.imported:
            _check_imported(episode, functions, due)
        elif rewritten and episode.prompt != instruments.protocol.prompt(episode.question):
            raise ValueError(
                f"the episode of {name!r} was not played with the protocol {instruments.protocol.name!r}; "
                "give protocol="
            )
        recorded = {BELIEF} if episode.beliefs else set()
        views = recorded.union(due.views, *episode.views[:1])
        measured = due.instruments.keys() | (episode.measured[0].keys() if episode.measured else set())
        for function in functions:
            there = all(
                views.issuperset(term.views) and measured.issuperset(map(instrument_name, term.instruments))
                for _, term in function.terms
            )
            draws = "corpus" in function.needs and instruments.scorer is not None
            if draws or not there:
                instruments.check(function)


def _check_imported(episode: Episode, functions: Sequence[RewardFunction], due: Due) -> None:
    """Raise ValueError for rewards that need more of an imported transcript than who wrote what."""
    for function in functions:
        anew = any(view.rewritten for _, term in function.terms for view in term.views if view in due.views)
        if anew or "policy" in function.needs:
            why = "documents and messages written anew" if anew else "an agent that plays on"
            raise ValueError(
                f"the reward {function.name!r} needs {why}, but {episode.question.id!r} was imported "
                f"(layout {episode.imported.get('layout')}), and no protocol here writes its form; "
                "choose a reward that reads the transcript as it stands, such as igpo"
            )
