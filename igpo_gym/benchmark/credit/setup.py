"""What the credit benchmark prices: trajectories, variants, and the yardstick that a policy gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from igpo_gym.agents.rollouts.costs import Meter, Spent
from igpo_gym.agents.rollouts.estimates import Work
from igpo_gym.benchmark.credit.pricing import Pricer, Trajectories
from igpo_gym.benchmark.credit.trajectories import CONTROL, MAX_TURNS, Trajectory, play_cast
from igpo_gym.config import EnvConfig, shown
from igpo_gym.data import resolve_questions
from igpo_gym.envs.setup import assemble
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Policy
from igpo_gym.protocols import resolve_protocol
from igpo_gym.rewards import RewardFunction, resolve_reward
from igpo_gym.scorers import resolve_scorer

VARIANTS = (
    "outcome-f1",
    "igpo",
    "igpo(context=evidence)",
    "igpo-logprob",
    "igpo-logprob(context=evidence)",
    "watermark",
    "potential",
    "tips",
    "ig-search",
    "redundancy",
    "evidence-recall",
    "monte-carlo",
)
"""What is compared unless it is said otherwise."""

NOT_CONFIGURED = (
    *("reward", "reference", "policy", "max_turns", "group_size"),
    *("order", "info", "oracle_info", "render_mode", "search_cache"),
)
"""The arguments of an environment that the benchmark decides itself, or that change nothing in it."""

VALUE_AGENTS = frozenset({"noisy", CONTROL})
"""On whose trajectories a policy is asked for values, which is costly. None of them hacks: a policy that
reads a leaked answer does better for it."""

PolicyMaker: TypeAlias = Callable[[int], Policy]
"""From a seed to a policy whose draws are independent of those of other seeds."""


LONGEST = 96
"""Tokens of a message, at most: enough for a thought and a query, and it bounds what a bad policy costs."""


def policy_maker(spec: str, config: EnvConfig) -> PolicyMaker:
    """Makes policies of this spec, for the questions and the protocol of ``config``."""
    from igpo_gym.agents.policies import resolve_policy
    from igpo_gym.lm.policy import Sampling

    question_set, protocol = resolve_questions(config.questions), resolve_protocol(config.protocol)
    return lambda seed: resolve_policy(spec, question_set, protocol, Sampling(max_tokens=LONGEST, seed=seed))


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    count: int = 60
    """How many questions."""
    group_size: int = 4
    """Rollouts of a group, one group a question."""
    value_questions: int = 12
    """On how many of the questions a policy is asked for values."""
    completions: int = 8
    """How often it completes the episode for a value of the yardstick."""


FULL, QUICK = Size(), Size(count=8, value_questions=2, completions=4)


@dataclass(frozen=True, slots=True)
class GroupPricing:
    """Groups of trajectories that variants price, one group after another."""

    what: str
    pricer: Pricer
    groups: Sequence[Trajectories]
    functions: Sequence[RewardFunction]

    def work(self, done: int) -> Work:
        """The groups behind the first ``done``, for an estimate."""
        meter = Meter()
        meter.watch(self.pricer.scorer, self.pricer.policy)
        what = f"questions ({self.what})"
        return Work(what, max(0, len(self.groups) - done), self._pieces(self.groups[done:], meter), meter)

    def _pieces(self, groups: Sequence[Trajectories], meter: Meter) -> Iterator[int]:
        for group in groups:
            meter.add(self.spending(partial(self.pricer.shapings, group, self.functions)))
            yield 1

    def spending(self, make: Callable[[], object]) -> Spent:
        """What a call spends that the models' own counters of tokens and beliefs do not tell."""
        before = self._messages()
        make()
        return Spent(messages=self._messages() - before)

    def _messages(self) -> int:
        return getattr(getattr(self.pricer.policy, "stats", None), "messages", 0)


@dataclass(frozen=True, slots=True)
class Setup:
    """All that is to be priced."""

    settings: dict[str, Any]
    """What was asked for."""
    functions: Sequence[RewardFunction]
    """The variants."""
    played: list[list[Trajectory]]
    """For each question its trajectories."""
    cheap: GroupPricing
    """The variants that need no policy, on all trajectories."""
    costly: GroupPricing
    """Those that need one, on the trajectories of the value agents."""
    yardstick: GroupPricing
    """What turns are worth, on the same; without a variant where there is no policy."""

    @property
    def pricings(self) -> list[GroupPricing]:
        """Those of them that have anything to price, in the order in which they are made."""
        return [each for each in (self.cheap, self.costly, self.yardstick) if each.functions]

    def works(self, done: int) -> list[Work]:
        """What is left where so many groups have been priced, for an estimate."""
        works = []
        for each in self.pricings:
            works.append(each.work(done))
            done = max(0, done - len(each.groups))
        return works


def prepared(
    config: EnvConfig,
    rewards: Sequence[str | RewardFunction] | None,
    size: Size,
    policy: PolicyMaker | None,
    seed: int,
) -> Setup:
    """Play the trajectories, and make what prices them. Raises what :func:`run_credit` raises."""
    functions = [resolve_reward(reward) for reward in (VARIANTS if rewards is None else rewards)]
    if rewards is None and policy is None:
        functions = [function for function in functions if "policy" not in function.needs]
    cheap = [function for function in functions if "policy" not in function.needs]
    costly = [function for function in functions if "policy" in function.needs]
    if costly and policy is None:
        raise SpecError(f"reward {costly[0].name!r} needs a policy that completes the episodes: give policy=")
    task = replace(config, scorer=None, reward="outcome-f1", max_turns=MAX_TURNS, policy=None, group_size=1)
    question_set, engine = assemble(task)
    played = play_cast(engine, question_set, size.count, size.group_size, seed)
    pricer = Pricer(engine, resolve_scorer(config.scorer), policy and policy(seed))
    valued = [
        [each for each in group if each.agent in VALUE_AGENTS] for group in played[: size.value_questions]
    ]
    value = [resolve_reward(f"value-gain(completions={size.completions})")] if policy else []
    judge = replace(pricer, policy=policy and policy(seed + 1))  # no variant is judged by its own luck
    settings = {
        **{name: _in_report(value) for name, value in shown(config).items() if name not in NOT_CONFIGURED},
        "questions": question_set.name,
        "seed": seed,
        "yardstick": "none" if policy is None else "the policy's completions",
        **asdict(size),
    }
    return Setup(
        settings,
        functions,
        played,
        GroupPricing("pricing", pricer, played, cheap),
        GroupPricing("completing", pricer, valued, costly),
        GroupPricing("valuing", judge, valued, value),
    )


def _in_report(value: Any) -> Any:
    """A setting for reports: an object by its name, or by that of its class."""
    if value is None or isinstance(value, str | int | float):
        return value
    return getattr(value, "name", type(value).__name__)
