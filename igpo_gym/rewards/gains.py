"""Reward terms that pay for what a turn did to a belief, or to the value of the state.

Each function makes a term from its parameters, all of which have defaults. The last turn of an episode earns
nothing here, whether it answers or runs out of turns, for the outcome pays it, and neither does a search that
the backend failed. Shaping by a potential, which has to cover every turn to be harmless, is the exception.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal, TypeAlias, get_args

import igpo_gym.specs as specs
from igpo_gym.episode import Aliases, Answer, Belief, BeliefView, Episode, ToolCalls
from igpo_gym.errors import SpecError, check_known
from igpo_gym.rewards.interface import Price, RewardTerm

specs.register(
    "instrument", "value", "igpo_gym.envs.completions:Completions", form="value(completions=NUMBER)"
)
specs.register("instrument", "placebo", "igpo_gym.rewards.placebo:Placebo")
specs.register("term", "placebo-gain", "igpo_gym.rewards.placebo:placebo_gain")

Context: TypeAlias = Literal["full", "evidence"]
Form: TypeAlias = Literal["released", "paper"]


def is_last(episode: Episode, turn: int) -> bool:
    """Whether the episode ended with the turn: until it has ended none of its turns is the last."""
    return episode.done and turn == len(episode.turns)


def unless_last(value: Price) -> Price:
    """``value`` of a turn; 0 for the last one, which only the outcome pays, and for a call that failed."""

    def price(episode: Episode, turn: int) -> float:
        unpaid = is_last(episode, turn) or episode.turns[turn - 1].failed
        return 0.0 if unpaid else value(episode, turn)

    return price


def _potential(value: Price, gamma: float = 1.0) -> Price:
    """``gamma * value`` after the turn, less that before it; an ended episode has the value 0."""

    def price(episode: Episode, turn: int) -> float:
        after = 0.0 if is_last(episode, turn) else value(episode, turn)
        return gamma * after - value(episode, turn - 1)

    return price


def _where_read(value: Price, *views: BeliefView) -> Price:
    """``value`` of a turn; 0 for one behind which the scorer could not read the state in one of ``views``,
    whose belief is then that of the state before."""

    def price(episode: Episode, turn: int) -> float:
        return 0.0 if episode.is_unread(turn, views) else value(episode, turn)

    return price


def measured_gain(episode: Episode, turn: int) -> float:
    """The change of the belief as it was measured, in probability; 0 for an answer and a failed search.

    It is 0 for an invalid message that ends the episode too: nothing is measured after it.
    """
    played = episode.turns[turn - 1]
    ended = episode.terminated and turn == len(episode.turns)
    if ended or isinstance(played.action, Answer) or played.failed:
        return 0.0
    return episode.beliefs[turn].prob - episode.beliefs[turn - 1].prob


def _log_prob(view: BeliefView, aliases: Aliases) -> Price:
    """The log-probability of a state, in nats per token."""
    check_known(aliases, get_args(Aliases), "aliases")
    if aliases == "max":
        return lambda episode, turn: episode.belief(turn, view).log_prob
    return lambda episode, turn: episode.belief(turn, view).reduced(aliases)


def _prob(view: BeliefView, aliases: Aliases) -> Price:
    log_prob = _log_prob(view, aliases)
    return lambda episode, turn: math.exp(log_prob(episode, turn))


@dataclass(frozen=True, slots=True)
class _Counted:
    """Which turns a gain counts: those that call one of ``tools`` (any turn where there are none), and whose
    number ``every`` divides. What happened to the belief since the last of them is the gain of the next; one
    whose call failed is paid nothing, and what happened in the turns before it, which do not count, is the
    gain of the next as well. Where all count there are none: what happened in a failed turn is nobody's."""

    tools: frozenset[str]
    every: int

    @property
    def all(self) -> bool:
        """Whether every turn counts."""
        return not self.tools and self.every == 1

    def __call__(self, episode: Episode, turn: int) -> bool:
        action = episode.turns[turn - 1].action
        called = {call.tool for call in action.calls} if isinstance(action, ToolCalls) else set()
        return turn % self.every == 0 and (not self.tools or bool(self.tools & called))

    def change(self, value: Price) -> Price:
        """The change of ``value`` since the last turn that counts (the prompt, before the first)."""

        def price(episode: Episode, turn: int) -> float:
            if not self(episode, turn):
                return 0.0
            if self.all:
                return value(episode, turn) - value(episode, turn - 1)
            earlier = (past for past in range(turn - 1, 0, -1) if self(episode, past))
            before = next((past for past in earlier if not episode.turns[past - 1].failed), 0)
            return value(episode, turn) - value(episode, before)

        return price


def _gain(name: str, value: Price, view: BeliefView, tools: str, every: int, symbol: str) -> RewardTerm:
    """The change of ``value`` over a turn, or since the last turn that counts."""
    if every < 1:
        raise SpecError(f"every must be at least 1, not {every}")
    counted = _Counted(frozenset(tool.strip() for tool in tools.split("+") if tool.strip()), every)
    return RewardTerm(
        name,
        unless_last(_where_read(counted.change(value), view)),
        (view,),
        counts=None if counted.all else counted,
        tools=counted.tools,
        formula=f"{symbol}_t - {symbol}_{{t-1}}",
        source={"gain": "IGPO, 2510.14967", "log-gain": "Delta-Belief, 2602.12342"}[name],
    )


def gain(context: Context = "full", aliases: Aliases = "max", tools: str = "", every: int = 1) -> RewardTerm:
    """The change of the length-normalized probability of the gold answer.

    With ``tools`` (``open``, ``search+open``) only turns that call one of these have a gain, with ``every``
    only every so many turns: the change since the last of them (DR-Venus, 2604.19859). Raises SpecError for
    an ``every`` below 1.
    """
    view = BeliefView(context)
    return _gain("gain", _prob(view, aliases), view, tools, every, "b")


def log_gain(
    context: Context = "full", aliases: Aliases = "max", tools: str = "", every: int = 1
) -> RewardTerm:
    """The change of the mean log-probability of the gold answer's tokens, in nats.

    ``tools`` and ``every`` are those of :func:`gain`.
    """
    view = BeliefView(context)
    return _gain("log-gain", _log_prob(view, aliases), view, tools, every, "log b")


def new_best(context: Context = "full", aliases: Aliases = "max") -> RewardTerm:
    """How far the belief rises above all earlier ones."""
    view = BeliefView(context)
    b = _prob(view, aliases)
    return RewardTerm(
        "new-best",
        unless_last(
            lambda episode, turn: max(0.0, b(episode, turn) - max(b(episode, past) for past in range(turn)))
        ),
        (view,),
        formula="max(0, b_t - max_{s<t} b_s)",
        source="watermark, 2602.01034",
    )


def shaping(gamma: float = 1.0, context: Context = "full", aliases: Aliases = "max") -> RewardTerm:
    """Shaping that leaves the best policy as it is (Ng et al., 1999), with the belief as the potential.

    The potential of an ended episode is 0, so the discounted sum over an episode is minus its first belief,
    whatever the agent did. ``gamma`` must be the discount that the returns are computed with.
    """
    view = BeliefView(context)
    return RewardTerm(
        "shaping",
        _potential(_prob(view, aliases), gamma),
        (view,),
        last_turn=True,
        formula="gamma * b_t - b_{t-1}, with b = 0 at the end",
        source="Ng et al., 1999",
    )


def teacher_gain(tau: float = 1.0, form: Form = "released", context: Context = "full") -> RewardTerm:
    """The change of a frozen model's log-probability of writing a gold answer now, tags included, in nats.

    The ``released`` form is that of the authors' code: the log-probability is a mean over the tokens, and the
    last turn is paid ``-Phi_{T-1}``, so that an episode's sum is ``-Phi_0`` whatever the agent did. The form
    of the ``paper`` is a sum over the tokens, and pays the last turn nothing. Raises SpecError for a ``tau``
    that is not above 0 and for another form.
    """
    if not tau > 0:
        raise SpecError(f"tau must be above 0, not {tau}")
    check_known(form, get_args(Form), "form")
    view = BeliefView(context, span="tagged", model="reference")

    def phi(episode: Episode, turn: int) -> float:
        belief = episode.belief(turn, view)
        of_aliases = belief.log_probs if form == "paper" else [fmean(each) for each in belief.token_log_probs]
        best = max(of_aliases)
        return best + tau * math.log(sum(math.exp((each - best) / tau) for each in of_aliases))

    potential = _potential(phi)
    return RewardTerm(
        "teacher-gain",
        unless_last(potential) if form == "paper" else potential,
        (view,),
        last_turn=form == "released",
        formula="Phi_t - Phi_{t-1}, Phi = tau * logsumexp_c(log P(<answer>a_c</answer>) / tau), 0 at the end",
        source="TIPS, 2603.22293",
    )


def document_gain(
    samples: int = 3,
    head_tokens: int = 3,
    head_weight: float = 3.0,
    context: Context = "full",
    aliases: Aliases = "max",
) -> RewardTerm:
    """How much more the turn's documents tell than random ones would have in their place, in nats.

    The log-probability of an alias is a weighted mean over its tokens: the first ``head_tokens`` have the
    weight ``head_weight``, the others 1. ``max`` is the alias that is likeliest with the real documents, and
    the random ones are asked about the same. Raises SpecError for less than one sample or head token, and for
    a weight that is not above 0.
    """
    for name, value in (("samples", samples), ("head_tokens", head_tokens)):
        if value < 1:
            raise SpecError(f"{name} must be at least 1, not {value}")
    if not head_weight > 0:
        raise SpecError(f"head_weight must be above 0, not {head_weight}")
    check_known(aliases, get_args(Aliases), "aliases")
    real = BeliefView(context)
    random = tuple(BeliefView(context, draw=number) for number in range(samples))

    def weighted(tokens: Sequence[float]) -> float:
        weights = [head_weight if place < head_tokens else 1.0 for place in range(len(tokens))]
        return math.fsum(map(operator.mul, weights, tokens)) / sum(weights)

    def of_aliases(episode: Episode, turn: int, view: BeliefView) -> list[float]:
        belief = episode.belief(turn, view)
        if head_weight == 1.0:
            return list(belief.log_probs)
        if not belief.token_log_probs:
            raise ValueError(
                "document-gain weighs the answer's tokens, but the beliefs do not tell their "
                "log-probabilities (token_log_probs); document-gain(head_weight=1) needs none"
            )
        return [weighted(tokens) for tokens in belief.token_log_probs]

    def price(episode: Episode, turn: int) -> float:
        found, *drawn = (of_aliases(episode, turn, view) for view in (real, *random))
        if aliases == "logsumexp":
            return Belief(tuple(found)).reduced(aliases) - fmean(
                Belief(tuple(each)).reduced(aliases) for each in drawn
            )
        best = found.index(max(found)) if aliases == "max" else 0
        return found[best] - fmean(each[best] for each in drawn)

    return RewardTerm(
        "document-gain",
        unless_last(_where_read(price, real, *random)),
        (real, *random),
        formula="log b_t - mean over samples of log b_t(random documents for those of turn t)",
        source="IG-Search, 2604.15148",
    )


def value_gain(completions: int = 8, terminal: int = 0) -> RewardTerm:
    """The change of the mean F1 that a policy reaches from here. Costly: what IGPO avoids.

    With ``terminal=1`` the last turn is paid ``-V_{T-1}``, so that with an outcome ``o`` it earns
    ``o - V_{T-1}``: what the estimator ``vine`` takes. Raises SpecError for less than one completion, and for
    a ``terminal`` that is neither 0 nor 1.
    """
    if completions < 1:
        raise SpecError(f"completions must be at least 1, not {completions}")
    if terminal not in (0, 1):
        raise SpecError(f"terminal must be 0 or 1, not {terminal}")

    name = f"value(completions={completions})"
    potential = _potential(lambda episode, turn: float(episode.measured[turn][name]))
    return RewardTerm(
        "value-gain",
        potential if terminal else unless_last(potential),
        instruments=(name,),
        last_turn=bool(terminal),
        formula="V_t - V_{t-1}, V = mean F1 of completions that a policy samples; 0 where turns run out",
        source="Monte Carlo",
    )
