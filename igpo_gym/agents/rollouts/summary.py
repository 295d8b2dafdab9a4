"""What a set of episodes shows: scores, beliefs and gains."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from igpo_gym.data.evidence import seen_evidence
from igpo_gym.data.scores import scores
from igpo_gym.episode import Episode, ToolCalls, Turn
from igpo_gym.rewards.functions import as_paid
from igpo_gym.rewards.terms import INFORMATION_GAIN
from igpo_gym.statistics import SHARE, Estimate, estimate, kappa, mean_over


@dataclass(slots=True)
class Values:
    """Values with the question that each belongs to: those of one question are not independent.

    >>> values = Values()
    >>> values.add(0.5, "q1")
    >>> values
    Values(values=[0.5], questions=['q1'])
    """

    values: list[float] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    """The question's id of each value."""

    def add(self, value: float, question: str) -> None:
        """Append a value of a question."""
        self.values.append(value)
        self.questions.append(question)


@dataclass(slots=True)
class Summary:
    """Lists of per-episode and per-turn values, for whatever statistic is wanted of them.

    >>> from igpo_gym.agents.policies import resolve_policy
    >>> from igpo_gym.agents.rollouts.collect import collect
    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> expert = resolve_policy("expert", questions, engine.protocol)
    >>> summary = summarize(collect(engine, expert, questions.questions[:3]))
    >>> summary.f1s, len(summary.tool_turns)
    ([1.0, 1.0, 1.0], 3)
    """

    questions: list[str] = field(default_factory=list)
    """The id of each episode's question."""
    tool_turns: list[int] = field(default_factory=list)
    scored: list[str] = field(default_factory=list)
    """The id of the question of each episode that has an outcome; one that was aborted is neither right nor
    wrong."""
    exact_matches: list[float] = field(default_factory=list)
    f1s: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    """Of the episodes that are ``scored``, as the two before."""
    judge: Values = field(default_factory=Values)
    """Whether a judge found the answer right, of the episodes that one was asked about."""
    judged_matches: list[float] = field(default_factory=list)
    """The exact matches of those."""
    beliefs: dict[int, Values] = field(default_factory=dict)
    """By turn (0: the prompt), the beliefs of all episodes that got so far."""
    gains: dict[str, Values] = field(default_factory=dict)
    """By kind of search: "new evidence" found a gold passage that the episode had not seen, "no new evidence"
    did not; "unknown" where the question has no gold evidence."""

    def judge_agreement(self) -> dict[str, Estimate]:
        """How the judge and exact match agree, by name: the share of equal values, and Cohen's kappa."""
        columns: dict[str, tuple[list[float], list[float]]] = {}
        for verdict, match, question in zip(
            self.judge.values, self.judged_matches, self.judge.questions, strict=True
        ):
            own = columns.setdefault(question, ([], []))
            own[0].append(verdict)
            own[1].append(match)
        samples = [(np.array(verdicts), np.array(matches)) for verdicts, matches in columns.values()]
        equal = [float(v == m) for v, m in zip(self.judge.values, self.judged_matches, strict=True)]
        return {
            "judge agrees with exact match": mean_over(equal, self.judge.questions, SHARE),
            "Cohen's kappa": estimate(samples, kappa),
        }


def summarize(episodes: Iterable[Episode]) -> Summary:
    """Collect the values of ended episodes."""
    summary = Summary()
    for episode in episodes:
        summary.questions.append(episode.question.id)
        summary.tool_turns.append(episode.tool_turns)
        if episode.has_outcome:
            _add_outcome(summary, episode)
        for turn, belief in beliefs_so_far(episode):
            summary.beliefs.setdefault(turn, Values()).add(belief, episode.question.id)
        if episode.beliefs:
            for kind, gain in _gains(episode):
                summary.gains.setdefault(kind, Values()).add(gain, episode.question.id)
    return summary


def _add_outcome(summary: Summary, episode: Episode) -> None:
    scored = scores(episode)
    summary.scored.append(episode.question.id)
    summary.exact_matches.append(scored["em"])
    summary.f1s.append(scored["f1"])
    summary.returns.append(episode.total_reward)
    if "judge" in scored:
        summary.judge.add(scored["judge"], episode.question.id)
        summary.judged_matches.append(scored["em"])


def beliefs_so_far(episode: Episode) -> Iterator[tuple[int, float]]:
    """The belief after each turn (0: the prompt), up to a state that the scorer could not read."""
    for turn, belief in enumerate(episode.beliefs):
        if episode.is_unread(turn):
            return  # the belief is that of the state before
        yield turn, belief.prob


def counted_searches(episode: Episode) -> Iterator[tuple[int, Turn]]:
    """The searches whose gains count, each with the number of its turn: answered, and read by the scorer."""
    for number, turn in enumerate(episode.turns, 1):
        if isinstance(turn.action, ToolCalls) and not turn.failed and not episode.is_unread(number):
            yield number, turn


def _gains(episode: Episode) -> Iterable[tuple[str, float]]:
    missing, paid = set(episode.question.evidence), as_paid(episode)
    for number, turn in counted_searches(episode):
        found = missing & seen_evidence(episode.question, [turn])
        missing -= found
        known = bool(episode.question.evidence) and episode.question.evidence_match != "none"
        kind = ("new evidence" if found else "no new evidence") if known else "unknown"
        yield kind, INFORMATION_GAIN.price(paid, number)
