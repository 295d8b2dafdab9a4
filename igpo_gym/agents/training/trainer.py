"""The reference trainer: policy gradients with an advantage for every turn, in one file.

    rollouts of batch_questions x group_size episodes -> an advantage per turn
    -> epochs x minibatches optimizer steps

With rho_i the importance ratio of a token that the agent wrote (or of its turn), A_i the advantage of its
turn and w_i its weight in the mean, a step descends

    loss = - sum_i w_i min(rho_i A_i, clip(rho_i, 1 - low_i, 1 + high_i) A_i) + kl_coef * sum_i w_i KL_i
           - entropy_coef * sum_i w_i H_i
    KL_i = exp(d_i) - d_i - 1,  d_i = log p_reference - log p       (the k3 estimator, as in GRPO)

with H_i the policy's entropy at the token. Prompts and search results carry no loss. All p are those of
the policy that samples: logits are divided by the temperature. The tokens are those that were sampled. At
temperature 1 so are the log-probabilities in the denominator of rho; messages hold those of the model
itself, so at another temperature the denominator is the trainer's own forward pass before the first step.
``log_prob_gap`` in the log says how far sampler and trainer are from each other then, which should be
rounding and nothing else. KL_i is clamped to 10, as verl clamps it.

In 16 bits, and where a server samples, that rounding is no longer small. The denominator of rho is then the
trainer's own forward pass too, and with mu_i the sampler's probability A_i is multiplied by
min(p_i / mu_i, importance_cap) before the first step: truncated importance sampling, as TRL and verl have it.

The batch's tensors are made in ``batches``, logits in ``logits``, optimizers in ``optimizers``, what fits in
``memory``; sampling through a vLLM server is in ``sampler``.

A run is a folder: ``settings.json``, ``log.jsonl`` (a line per update), ``state.pt`` (the checkpoint),
``samples`` (episodes of validations), and the models ``best`` (by validation F1) and ``last``, ordinary
transformers folders. Started again, a run goes on from its checkpoint, and on a CPU it ends with the very
weights of a run that was never stopped.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.rollouts.branches import Branching, grouped, owners
from igpo_gym.agents.rollouts.collect import collect, collect_groups
from igpo_gym.agents.rollouts.costs import Meter, Spent
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.agents.training.alarms import LAG, WINDOW, alarms, paid_metrics, raised
from igpo_gym.agents.training.batches import (
    Batch,
    Sample,
    micro_batches,
    minibatches,
    own_turns,
    samples,
    taught,
    turns_of,
)
from igpo_gym.agents.training.checkpoint import read_checkpoint, write_checkpoint
from igpo_gym.agents.training.estimators import (
    Floats,
    Turns,
    collapse_rate,
    over_leaves,
    resolve_estimator,
    zero_std_rate,
)
from igpo_gym.agents.training.logits import Reading, log_probs, read
from igpo_gym.agents.training.logs import Metrics, read_log, sinks
from igpo_gym.agents.training.memory import Plan, check_plan, plan_run
from igpo_gym.agents.training.metrics import (
    Stopwatch,
    TimedPolicy,
    TimedScorer,
    episode_metrics,
    hop_metrics,
    outage_share,
)
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.optimizers import learning_rate, make_learner
from igpo_gym.agents.training.sampler import ServedSampler
from igpo_gym.agents.training.samples import SAMPLES, keep_samples
from igpo_gym.agents.training.settings import Settings, agree, keep, question_sets
from igpo_gym.config import shown
from igpo_gym.envs.setup import QuestionStream, assemble
from igpo_gym.episode import Episode
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.reader import CausalReader
from igpo_gym.protocols import resolve_protocol
from igpo_gym.rewards import curriculum_weights, resolve_reward
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.storage import held, tidy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

VALIDATION_BATCH = 64
"""How many validation episodes run at a time."""

WIDE_GAP = 0.05
"""A difference between the sampler's log-probability of a token and the trainer's that is worth a warning."""

FAR = 1.0
"""A KL to the reference, in nats a token, that is worth a warning: runs that learn stay below a tenth."""


# The loss.


def objective(
    now: Tensor, reference: Tensor | None, batch: Batch, settings: Settings, entropy: Tensor | None = None
) -> tuple[Tensor, Metrics]:
    """The batch's share of the loss, of log-probabilities ``now`` and of the reference model's, [tokens].

    ``entropy`` is that of the policy at each token, for the bonus. The metrics are shares of means as well:
    the divergence, and how many tokens' ratios were clipped.
    """
    log_ratio = now - batch.sampled
    if settings.importance_ratio == "turn":
        log_ratio = _turn_means(log_ratio, batch.turns)
    ratio = log_ratio.exp()
    plain = ratio * batch.advantages
    clipped = torch.clamp(ratio, 1 - batch.low, 1 + batch.high) * batch.advantages
    loss = -(batch.weights * torch.minimum(plain, clipped)).sum()
    metrics = {"clipped": float((batch.weights * (clipped < plain)).sum())}
    if reference is not None:
        divergence = (batch.weights * k3(reference - now)).sum()
        loss = loss + settings.kl_coef * divergence
        metrics["kl"] = float(divergence.detach())
    if entropy is not None:
        loss = loss - settings.entropy_coef * (batch.weights * entropy).sum()
    return loss, metrics | {"loss": float(loss.detach())}


def k3(difference: Tensor) -> Tensor:
    """``exp(d) - d - 1`` of ``d = log p_reference - log p``, in nats.

    It is clamped as verl clamps it, d to 20 and k3 to 10: one token that the reference holds for impossible
    would else outweigh all others.

    >>> k3(torch.tensor([0.0, 1.0, 100.0])).tolist()
    [0.0, 0.718..., 10.0]
    """
    difference = difference.clamp(-20, 20)
    return (difference.exp() - difference - 1).clamp(-10, 10)


def _turn_means(values: Tensor, turns: Tensor) -> Tensor:
    """The mean of each token's turn."""
    if not len(values):
        return values
    sums = values.new_zeros(int(turns.max()) + 1)
    return (sums.index_add(0, turns, values) / torch.bincount(turns))[turns]


def anchored(batch: Batch, before: Reading, settings: Settings, cap: float) -> tuple[Batch, Metrics]:
    """The batch with the denominators of its ratios, from what the model says ``before`` the first step.

    With a ``cap`` its advantages are corrected for the sampler's rounding. The metrics are sums over tokens,
    but for ``log_prob_gap``, the largest.
    """
    if not len(batch.sampled):
        return batch, {}
    log_ratio = before.plain - batch.sampled
    gap = log_ratio.abs()
    metrics = {"log_prob_gap": float(gap.max()), "log_prob_gap_mean": float(gap.sum())}
    if settings.temperature != 1:
        batch = replace(batch, sampled=before.log_probs.detach())
    elif cap:
        ratio = log_ratio.exp()
        batch = replace(batch, sampled=before.plain, advantages=batch.advantages * ratio.clamp(max=cap))
        metrics |= {"importance_ratio": float(ratio.sum()), "importance_capped": float((ratio > cap).sum())}
    return batch, metrics | {"entropy": -float(batch.sampled.sum())}


def learn(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    steps: Sequence[Sequence[Batch]],
    settings: Settings,
    reference: Callable[[Batch], Tensor] | None = None,
    cap: float = 0.0,
) -> Metrics:
    """Make ``settings.epochs`` rounds of optimizer steps, one on the micro-batches of each of ``steps``.

    Returns the means over the last round (see :func:`objective`), with ``grad_norm`` before it is clipped.
    Of the model before its first step: ``entropy`` of the policy that sampled (nats a token, as its own
    samples tell it), ``log_prob_gap`` and ``log_prob_gap_mean``, the largest and the mean distance of a
    token's log-probability from the one in its message (nats), and with a ``cap``, at temperature 1,
    ``importance_ratio``, the mean ratio that corrects for it, and ``importance_capped``, the share above the
    cap. Raises RuntimeError for a gradient that is not finite, before it does harm.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    references: dict[int, Tensor] = {}
    played: dict[int, Batch] = {}  # with the log-probabilities of the policy that sampled
    before: Metrics = {}

    def anchor(batch: Batch, reading: Reading) -> None:
        played[id(batch)], told = anchored(batch, reading, settings, cap)
        gap = max(before.get("log_prob_gap", 0.0), told.get("log_prob_gap", 0.0))
        before.update({name: before.get(name, 0.0) + value for name, value in told.items()}, log_prob_gap=gap)

    if len(steps) > 1:  # the second step's model is not the one that sampled
        with torch.no_grad():
            for batch in (batch for batches in steps for batch in batches):
                anchor(batch, read(model, batch, settings.temperature))
    for _ in range(settings.epochs):
        metrics: Metrics = {}
        for batches in steps:
            for batch in batches:
                reading = read(model, batch, settings.temperature, bool(settings.entropy_coef))
                if reference is not None and id(batch) not in references:
                    with torch.no_grad():
                        references[id(batch)] = reference(batch)
                if id(batch) not in played:
                    anchor(batch, reading)
                loss, parts = objective(
                    reading.log_probs,
                    references.get(id(batch)),
                    played[id(batch)],
                    settings,
                    reading.entropies,
                )
                loss.backward()  # type: ignore[no-untyped-call]
                metrics |= {name: metrics.get(name, 0.0) + part for name, part in parts.items()}
            norm = torch.nn.utils.clip_grad_norm_(weights, settings.max_norm, error_if_nonfinite=True)
            metrics["grad_norm"] = metrics.get("grad_norm", 0.0) + float(norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    metrics = {name: value / len(steps) for name, value in metrics.items()}
    tokens = max(1, sum(len(batch.sampled) for batches in steps for batch in batches))
    told = {name: value if name == "log_prob_gap" else value / tokens for name, value in before.items()}
    gap = told.get("log_prob_gap_mean" if cap else "log_prob_gap", 0.0)
    if gap > WIDE_GAP:
        logger.warning(
            "sampler and trainer differ by %.3f nats on %s: ratios are off by as much",
            *(gap, "the mean token" if cap else "a token"),
        )
    return {**metrics, "entropy": 0.0, "log_prob_gap_mean": 0.0, **told}


# The run.


class Run:
    """A run's model, environments and progress. Raises what its parts raise for settings that do not fit."""

    def __init__(
        self, out: Path, settings: Settings, plan: Plan | None = None, meter: Meter | None = None
    ) -> None:
        s = self.settings = settings
        self.out, self.watch = out, Stopwatch()
        self.plan = plan or plan_run(s)
        self.trained = TrainedModel(
            s.model, s.device, s.lora, s.gradient_checkpointing, s.seed, self.plan.precision
        )
        self.model = self.trained.model
        self.learner = make_learner(self.trained.weights, s)
        self.optimizer = self.learner.optimizer
        begun = cache(self.trained.copy)  # one copy, if any is needed, of the model before it learns
        self.reference = self._reference(begun) if s.kl_coef else None
        self.copy = self.trained.copy() if s.refresh_every else None
        self.scorer = self._scorer(begun)
        self.sampling = Sampling(temperature=s.temperature, max_tokens=s.max_tokens)
        self.policy = self._policy()
        self.framing = Framing(self.trained.tokenizer)
        self.actor = TimedPolicy(self.policy, self.watch)
        self.cap = s.importance_cap if s.sampler != "local" or self.plan.precision == "bf16" else 0.0
        """Where sampler and trainer round unlike, the cap of the correction."""
        needs = resolve_reward(s.reward).needs
        self.reference_scorer = self._reference_scorer(begun) if "reference" in needs else None
        self.meter = meter or Meter()
        self.meter.watch(self.policy, self.scorer, self.reference_scorer)
        scorer, reference = (
            TimedScorer(each, self.watch) if each else None for each in (self.scorer, self.reference_scorer)
        )
        questions, unseen = question_sets(s)
        task = replace(
            s.environment,
            questions=questions,
            scorer=scorer,
            reference=reference,
            policy=self.actor if "policy" in needs else None,
        )
        questions, engine = assemble(task)
        self.engine = replace(engine, measure="end")  # beliefs in one pass over each episode that has ended
        self.estimator = resolve_estimator(s.advantages)
        self.branching = None if s.branch is None else Branching.parse(s.branch)
        self.stream = QuestionStream(questions.questions, s.seed, order=s.order)
        outcome = replace(task, questions=unseen, scorer=None, reference=None, policy=None)
        unseen, self.referee = assemble(replace(outcome, reward="outcome-f1"))
        self.unseen = unseen.questions
        self.updates = self.tokens = 0
        self.seconds = 0.0
        self.best = -1.0
        """The best validation F1 so far."""
        self.history: list[Metrics] = []
        """What the latest updates told, as far back as alarms look."""
        self._warned = self._far = False
        self._raised: set[str] = set()

    def update(self) -> Metrics:
        """Play a batch of episodes and learn from it.

        A batch in which tools were unavailable in more than ``max_outage_share`` of the episodes is not
        learned from, for it teaches what outages are like. It counts as an update.

        The metrics: what :func:`metrics.episode_metrics` tells, and :func:`learn` where it learned; whether
        it did not (``batches_skipped``), and the share of episodes with an outage; the shares of groups that
        taught nothing, and whose returns do not differ; where gains should count, whether the batch had none;
        what :func:`alarms.paid_metrics` and :func:`alarms.alarms` tell; tokens that the agent wrote, so far
        and per second; seconds of training so far; and which shares of them went into sampling, scoring and
        learning (the rest is search and bookkeeping).
        """
        s, began = self.settings, time.perf_counter()
        self.watch.reset()
        episodes = self.rollouts()
        groups = grouped(episodes, self.branching.leaves(s.group_size) if self.branching else s.group_size)
        turns = turns_of(groups, self.engine.reward)
        advantages = over_leaves(turns, self._advantages(turns), owners(groups))
        rows = own_turns([token_rows(episode, self.framing) for episode in episodes], episodes)
        outages = outage_share(episodes)
        skipped = outages > s.max_outage_share
        learned: Metrics = {}
        if skipped:
            logger.warning(
                "update %d is not learned from: a tool was unavailable in %.0f%% of its episodes, "
                "max_outage_share is %.0f%%",
                *(self.updates + 1, 100 * outages, 100 * s.max_outage_share),
            )
        else:
            batch = samples(rows, turns, advantages, self.estimator.clips(turns, s.clip), s.loss)
            with self.watch("update"):
                learned = self._learn(batch)
            self._tell_distance(learned)
        for episode in episodes:
            self.meter.saw(episode)
        if not skipped:
            self.meter.add(Spent(tokens=sum(len(row.ids) for row in rows) * self._passes()))
        self.updates += 1
        if self.copy is not None and s.refresh_every and self.updates % s.refresh_every == 0:
            self.copy.load_state_dict(self.model.state_dict())
        spent = time.perf_counter() - began
        written = sum(int(row.mask.sum()) for row in rows)
        self.seconds += spent
        self.tokens += written
        metrics = {
            **episode_metrics(episodes, self.engine.protocol),
            **paid_metrics(episodes, self.engine.reward),
            **learned,
            "learning_rate": learning_rate(s, self.updates - 1),
            "outage_share": outages,
            "batches_skipped": float(skipped),
            "collapsed_groups": collapse_rate(turns, advantages),
            "frac_reward_zero_std": zero_std_rate(turns),
            **(self.estimator.tells(turns) if self.estimator.tells else {}),
            **self._alarm(turns),
            "tokens": self.tokens,
            "tokens_per_second": written / spent,
            "seconds": self.seconds,
            **{f"share_{what}": seconds / spent for what, seconds in self.watch.seconds.items()},
        }
        self.history = [*self.history, metrics][-(LAG + WINDOW) :]
        told = alarms(self.history)
        self._tell_alarms(told)
        return metrics | told

    def _learn(self, batch: Sequence[Sample]) -> Metrics:
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(s, self.updates)
        self._forget()  # what an update needs has the place of what rollouts keep
        parts = minibatches(batch, s.minibatches, (s.seed, self.updates))
        if not (s.kl_coef or s.entropy_coef):
            parts = [taught(part) for part in parts]
        with self.policy.resting() if isinstance(self.policy, ServedSampler) else nullcontext():
            steps = [micro_batches(part, s.micro_batch, self.model.device) for part in parts]
            return learn(self.model, self.optimizer, steps, s, self.reference, self.cap)

    def _passes(self) -> int:
        """How often an update reads each token of its episodes, backward passes not counted."""
        s = self.settings
        return s.epochs + (s.minibatches > 1) + bool(s.kl_coef)

    def publish(self) -> None:
        """Tell whatever samples which weights it samples with; a server is given them, if it has others."""
        self.policy.weights = str(self.updates)
        if isinstance(self.policy, ServedSampler):
            self.policy.publish(self.trained)

    def examine(self) -> None:
        """Have the policy sample as validations do."""
        self.publish()
        self.policy.sampling = replace(self.sampling, temperature=self.settings.validation_temperature)

    def validate(self) -> Metrics:
        """Play the validation questions, always with the same random numbers; keep the best model so far."""
        self.examine()
        played = list(collect(self.referee, self.policy, self.unseen, VALIDATION_BATCH))
        for episode in played:
            self.meter.saw(episode)
        keep_samples(
            self.out / SAMPLES, self.updates, played, self.settings, self.referee.reward, self.scorer
        )
        metrics = episode_metrics(played, self.referee.protocol) | hop_metrics(played)
        if metrics["f1"] > self.best:
            self.best = metrics["f1"]
            self.trained.save(self.out / "best")
        return {f"validation_{name}": value for name, value in metrics.items()}

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            **self.learner.state(),
            "scorer": self.copy.state_dict() if self.copy is not None else None,
            "progress": (self.updates, self.tokens, self.seconds, self.best),
        }
        write_checkpoint(self.out / "state.pt", state)

    def resume(self) -> bool:
        """Go on from the folder's checkpoint, if it has one."""
        path = self.out / "state.pt"
        if not path.exists():
            return False
        state = read_checkpoint(path)  # on the CPU, where there is room for what an optimizer may keep there
        self.learner.load(state)
        if self.copy is not None:
            self.copy.load_state_dict(state["scorer"])
        self.updates, self.tokens, self.seconds, self.best = state["progress"]
        lines = read_log(self.out / "log.jsonl")
        self.history = [line for line in lines if 0 < line["update"] <= self.updates][-(LAG + WINDOW) :]
        return True

    def rollouts(self) -> list[Episode]:
        """The next batch of episodes, group after group; branches stand behind what they left."""
        s = self.settings
        self.publish()
        self._forget()  # a resumed run begins with empty caches, and must round as one that was never stopped
        first = self.updates * s.batch_questions
        questions = [self.stream[first + place] for place in range(s.batch_questions)]
        self.policy.sampling = replace(self.sampling, seed=(s.seed << 32) + self.updates)
        size = len(questions) * s.group_size
        groups = collect_groups(self.engine, self.actor, questions, s.group_size, size, self.branching)
        return [episode for group in groups for episode in group]

    def close(self) -> None:
        """Leave a server that samples; what else there is needs no end."""
        if isinstance(self.policy, ServedSampler):
            self.policy.close()

    def facts(self) -> dict[str, int]:
        """What the retrievers of training and validation tell about themselves in numbers, added up."""
        total = Counter[str]()
        for engine in (self.engine, self.referee):
            total.update({name: fact for name, fact in engine.facts().items() if isinstance(fact, int)})
        return dict(total)

    def _forget(self) -> None:
        """Empty all prefix caches."""
        if isinstance(self.policy, LanguageModelPolicy):
            self.policy.reader.clear()
        for scorer in (self.scorer, self.reference_scorer):
            if isinstance(scorer, TransformersScorer):
                scorer.clear()

    def _advantages(self, turns: Turns) -> Floats:
        given: dict[str, tuple[float, float]] = {}
        if self.settings.curriculum:
            given["weights"] = curriculum_weights(self.updates / self.settings.updates)
        if self.estimator.draws:
            given["seed"] = (self.settings.seed, self.updates)
        return self.estimator(turns, self.settings.gamma, **given)

    def _alarm(self, turns: Turns) -> Metrics:
        """Whether the batch has no gain at all, where reward and estimator use gains; warns once.

        The outcome alone then teaches, as in GRPO, and nothing else would say so.
        """
        if not (self.engine.reward.gains and self.estimator.uses_gains):
            return {}
        silent = not turns.gains.any()
        if silent and not self._warned:
            self._warned = True
            logger.warning(
                "no turn of a batch has a gain: the outcome alone teaches, though the reward %r pays gains "
                "(do episodes answer at once, does the scorer read the questions?)",
                self.engine.reward.name,
            )
        return {"batches_without_gain": float(silent)}

    def _tell_alarms(self, told: Metrics) -> None:
        """Warn of each alarm, when it is raised first."""
        for alarm in raised(told):
            if alarm.name not in self._raised:
                self._raised.add(alarm.name)
                logger.warning(
                    "update %d: alarm %s, %.2f where %.2f is alarming: %s",
                    *(self.updates, alarm.name, told[f"alarm_{alarm.name}"], alarm.threshold, alarm.sentence),
                )

    def _tell_distance(self, learned: Metrics) -> None:
        """Warn once where the policy is far from the model that it began as."""
        kl = learned.get("kl", 0.0)
        if kl > FAR and not self._far:
            self._far = True
            logger.warning(
                "update %d: the policy has left its reference, with a KL of %.1f nats a token (each token "
                "counts at most 10): lower learning_rate, raise kl_coef, or begin with a model that can read "
                "the questions",
                *(self.updates + 1, kl),
            )

    def _scorer(self, begun: Callable[[], PreTrainedModel]) -> AnswerScorer | None:
        spec = self.settings.scorer
        if spec == "policy":
            return self._reading(self.model)
        if spec == "frozen":
            return self._reading(begun())
        if self.copy is not None:
            return self._reading(self.copy)
        return resolve_scorer(spec)

    def _reference_scorer(self, begun: Callable[[], PreTrainedModel]) -> AnswerScorer | None:
        if self.settings.reference is None:
            return self._reading(begun())
        return resolve_scorer(self.settings.reference)

    def _reading(self, model: PreTrainedModel) -> TransformersScorer:
        return TransformersScorer(model, self.trained.tokenizer, cache_bytes=self.plan.cache_bytes)

    def _policy(self) -> LanguageModelPolicy | ServedSampler:
        """What samples; a model that is the scorer too shares the scorer's prefix cache."""
        s = self.settings
        protocol = resolve_protocol(s.protocol)
        if s.sampler != "local":
            return ServedSampler.of(s.sampler, self.trained.tokenizer, protocol, self.sampling)
        if s.scorer == "policy" and isinstance(self.scorer, TransformersScorer):
            reader = self.scorer.reader
        else:
            reader = CausalReader(self.model, cache_bytes=self.plan.cache_bytes)
        return LanguageModelPolicy(
            reader, self.trained.tokenizer, protocol, self.sampling, batch_bytes=self.plan.batch_bytes
        )

    def _reference(self, begun: Callable[[], PreTrainedModel]) -> Callable[[Batch], Tensor]:
        """The log-probabilities of the model as it began; with adapters that is the model without them."""
        temperature = self.settings.temperature
        if not self.settings.lora:
            return partial(log_probs, begun(), temperature=temperature)

        def without_adapters(batch: Batch) -> Tensor:
            with self.trained.without_adapters() as model:
                return log_probs(model, batch, temperature)

        return without_adapters


def train(
    out: Path,
    settings: Settings,
    report: Callable[[Metrics], None] = lambda metrics: None,
    wandb: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    stop: Callable[[], bool] = lambda: False,
    meter: Meter | None = None,
) -> dict[str, int]:
    """Run to the end, or on from where an earlier call stopped; returns :meth:`Run.facts` of its retrievers.

    ``stop`` is asked before every update: where it says yes, the checkpoint is written and nothing is lost.
    So it is where the ``meter``, which counts what the run spends, is over its budget; then BudgetSpentError
    is raised.

    ``tell`` gets the plan of the memory before anything is loaded, and ``report`` what the log gets: the
    metrics of each update (see :meth:`Run.update`), with those of a validation where there was one. Raises
    SpecError where the run cannot fit, ValueError if the folder holds a run with other settings, and
    BlockingIOError if another process is at work in it.
    """
    with ExitStack() as stack:
        stack.enter_context(held(out))
        agree(out, settings)
        for name in ("best", "last"):
            tidy(out / name)
        plan = plan_run(settings)
        tell(str(plan))
        check_plan(plan)
        run = stack.enter_context(closing(Run(out, settings, plan, meter)))
        resumed = run.resume()
        write = [*sinks(out, shown(settings), run.updates if resumed else -1, wandb), report]
        keep(out, settings)  # the last of what a start does: one that fails leaves no settings behind

        def log(metrics: Metrics) -> None:
            for sink in write:
                sink({"update": run.updates, **metrics})

        if not resumed:
            log(run.validate())
            run.save()
        while run.updates < settings.updates:
            if stop() or run.meter.over:
                run.save()
                run.meter.check(run.updates, settings.updates, "updates")
                return run.facts()
            metrics = run.update()
            due = run.updates % settings.validate_every == 0 or run.updates == settings.updates
            log(metrics | (run.validate() if due else {}))
            if due:
                run.save()
        run.trained.save(out / "last")
        return run.facts()
