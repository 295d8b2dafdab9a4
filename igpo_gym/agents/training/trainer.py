"""The reference trainer: policy gradients with an advantage for every turn, in one file.

    rollouts of batch_questions x group_size episodes -> an advantage per turn -> epochs optimizer steps

With rho_i the importance ratio of a token that the agent wrote (or of its turn), A_i the advantage of its
turn and w_i its weight in the mean, a step descends

    loss = - sum_i w_i min(rho_i A_i, clip(rho_i, 1 - low_i, 1 + high_i) A_i) + kl_coef * sum_i w_i KL_i
    KL_i = exp(d_i) - d_i - 1,  d_i = log p_reference - log p       (the k3 estimator, as in GRPO)

Prompts and search results carry no loss. All p are those of the policy that samples: logits are divided by
the temperature. The tokens are those that were sampled. At temperature 1 so are the log-probabilities in the
denominator of rho; messages hold those of the model itself, so at another temperature the denominator is the
trainer's own forward pass before the first step. ``log_prob_gap`` in the log says how far sampler and trainer
are from each other then, which should be rounding and nothing else. KL_i is clamped to 10, as verl clamps it.

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
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.rollouts.collect import collect, collect_groups
from igpo_gym.agents.rollouts.tokens import TokenRow, token_rows
from igpo_gym.agents.training.checkpoint import read_checkpoint, write_checkpoint
from igpo_gym.agents.training.estimators import (
    Floats,
    Turns,
    collapse_rate,
    per_token,
    resolve_estimator,
    zero_std_rate,
)
from igpo_gym.agents.training.logs import Metrics, sinks
from igpo_gym.agents.training.metrics import (
    Stopwatch,
    TimedPolicy,
    TimedScorer,
    episode_metrics,
    outage_share,
)
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.samples import SAMPLES, keep_samples
from igpo_gym.agents.training.settings import Settings, agree, keep, question_sets
from igpo_gym.config import shown
from igpo_gym.envs.setup import QuestionStream, assemble
from igpo_gym.episode import Episode
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import resolve_protocol
from igpo_gym.rewards import RewardFunction, curriculum_weights, resolve_reward, split
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.storage import held, tidy

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from igpo_gym.lm.reader import CausalReader

logger = logging.getLogger(__name__)

VALIDATION_BATCH = 64
"""How many validation episodes run at a time."""

WIDE_GAP = 0.05
"""A difference between the sampler's log-probability of a token and the trainer's that is worth a warning."""


# The batch: what a policy did, in tokens.


@dataclass(frozen=True, slots=True)
class Sample:
    """What is learned from one episode, or from several that stand one behind the other."""

    ids: Tensor
    """[tokens], up to the last one that the agent wrote."""
    lengths: tuple[int, ...]
    """How many of the tokens belong to each episode."""
    written: Tensor
    """[tokens], which the agent wrote. All other fields have a number for each of these."""
    turns: Tensor
    """The number of the token's turn, counted through all episodes."""
    sampled: Tensor
    """The log-probability with which the token was sampled, in nats."""
    advantages: Tensor
    low: Tensor
    high: Tensor
    """Ratios count between 1 - low and 1 + high."""
    weights: Tensor
    """Sum to 1 over the whole batch, so that it may be cut into micro-batches of any size."""


def turns_of(episodes: Sequence[Episode], reward: RewardFunction, group_size: int) -> Turns:
    """The turns of episodes that stand group after group.

    The state before a turn is what the environment said last, as GiGPO takes it.
    """
    return Turns.of(
        [split(episode, reward) for episode in episodes],
        groups=[place // group_size for place in range(len(episodes))],
        states=[
            ["", *(turn.observation for turn in episode.turns)][: len(episode.turns)] for episode in episodes
        ],
    )


def samples(
    rows: Sequence[TokenRow], turns: Turns, advantages: Floats, clips: tuple[Floats, Floats], loss: str
) -> list[Sample]:
    """A sample for each row.

    Under ``loss`` "token-mean" each token of the batch has the same weight, under "sequence-mean" each
    episode has. ``clips`` are how far below and above 1 the ratios of each turn count.
    """
    counts = [int(row.mask.sum()) for row in rows]
    means = [sum(counts)] * len(rows) if loss == "token-mean" else [len(rows) * each for each in counts]
    numbers = [row.turn for row in rows]
    spread = [per_token(turns, values, numbers) for values in (advantages, *clips)]
    made = []
    for row, count, mean, advantage, low, high in zip(rows, counts, means, *spread, strict=True):
        stop = int(np.flatnonzero(row.mask)[-1]) + 1 if count else 1
        made.append(
            Sample(
                ids=torch.from_numpy(row.ids[:stop]),
                lengths=(stop,),
                written=torch.from_numpy(row.mask[:stop]),
                turns=torch.from_numpy(row.turn[row.mask]),
                sampled=torch.from_numpy(row.log_probs[row.mask]),
                advantages=torch.from_numpy(advantage[row.mask]).float(),
                low=torch.from_numpy(low[row.mask]).float(),
                high=torch.from_numpy(high[row.mask]).float(),
                weights=torch.full((count,), 1.0 / max(mean, 1)),
            )
        )
    return made


def micro_batches(episodes: Sequence[Sample], tokens: int, device: torch.device) -> list[Sample]:
    """Episodes one behind the other: in each sample at most ``tokens``, but at least one episode."""
    groups: list[list[Sample]] = []
    room = 0
    for episode in episodes:
        room -= len(episode.ids)
        if room < 0:
            groups.append([])
            room = tokens - len(episode.ids)
        groups[-1].append(episode)
    return [_joined(group, device) for group in groups]


def _joined(group: Sequence[Sample], device: torch.device) -> Sample:
    names = [field.name for field in fields(Sample) if field.name not in ("lengths", "turns")]
    tensors = {name: torch.cat([getattr(each, name) for each in group]).to(device) for name in names}
    turns = [each.turns + (place << 32) for place, each in enumerate(group)]
    return Sample(
        lengths=tuple(length for each in group for length in each.lengths),
        turns=torch.unique(torch.cat(turns), return_inverse=True)[1].to(device),
        **tensors,
    )


# The loss.


def token_logits(model: PreTrainedModel, batch: Sample) -> Tensor:
    """The logits that predict each token that the agent wrote: [tokens, vocabulary].

    The model attends packed. Logits are computed where such a token is predicted and nowhere else.
    """
    places = batch.written.nonzero()[:, 0]
    positions = torch.cat([torch.arange(length) for length in batch.lengths]).to(batch.ids.device)
    logits: Tensor = model(
        input_ids=batch.ids[None],
        position_ids=positions[None],
        use_cache=False,
        logits_to_keep=places - 1,
        lengths=batch.lengths,
    ).logits[0]
    return logits.float()


def chosen_log_probs(logits: Tensor, batch: Sample, temperature: float = 1.0) -> Tensor:
    """The log-probability of each token that the agent wrote, in nats, with logits over the temperature."""
    tempered = logits if temperature == 1 else logits / temperature
    ids = batch.ids[batch.written]
    return tempered.gather(1, ids[:, None])[:, 0] - tempered.logsumexp(-1)


def log_probs(model: PreTrainedModel, batch: Sample, temperature: float = 1.0) -> Tensor:
    """The log-probability of each token that the agent wrote, in nats, by a model that attends packed."""
    return chosen_log_probs(token_logits(model, batch), batch, temperature)


def entropies(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The entropy of each distribution, in nats, with logits over the temperature: [tokens].

    >>> entropies(torch.zeros(1, 4)).exp().tolist()
    [4.0...]
    """
    log_p = (logits / temperature).log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def objective(
    now: Tensor, reference: Tensor | None, batch: Sample, settings: Settings, entropy: Tensor | None = None
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


def learn(
    model: PreTrainedModel,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Sample],
    settings: Settings,
    reference: Callable[[Sample], Tensor] | None = None,
) -> Metrics:
    """Make ``settings.epochs`` steps on a batch.

    Returns the means of the last of them (see :func:`objective`), ``grad_norm`` before it is clipped,
    ``entropy`` of the policy that sampled (nats per token, as its own samples tell it), and ``log_prob_gap``,
    the largest distance of a token's log-probability before the first step from the one in its message, in
    nats. Raises RuntimeError for a gradient that is not finite, before it does harm.
    """
    device = batches[0].ids.device
    precision = torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else nullcontext()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    references: list[Tensor | None] = [None] * len(batches)
    played = list(batches)  # with the log-probabilities of the policy that sampled
    gap = surprise = 0.0
    tokens = sum(len(batch.sampled) for batch in batches)
    metrics: Metrics = {}
    for epoch in range(settings.epochs):
        metrics = {}
        for place, batch in enumerate(batches):
            with precision:
                logits = token_logits(model, batch)
                now = chosen_log_probs(logits, batch, settings.temperature)
                if reference is not None and epoch == 0:
                    with torch.no_grad():
                        references[place] = reference(batch)
            if epoch == 0 and len(now):
                own = now.detach()
                if settings.temperature != 1:
                    played[place] = replace(batch, sampled=own)
                    own = chosen_log_probs(logits.detach(), batch)
                gap = max(gap, float((own - batch.sampled).abs().max()))
                surprise -= float(played[place].sampled.sum()) / tokens
            entropy = entropies(logits, settings.temperature) if settings.entropy_coef else None
            loss, parts = objective(now, references[place], played[place], settings, entropy)
            loss.backward()  # type: ignore[no-untyped-call]
            metrics = {name: metrics.get(name, 0.0) + part for name, part in parts.items()}
        norm = torch.nn.utils.clip_grad_norm_(weights, settings.max_norm, error_if_nonfinite=True)
        metrics["grad_norm"] = float(norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    if gap > WIDE_GAP:
        logger.warning("sampler and trainer differ by %.3f nats on a token: ratios are off by as much", gap)
    return metrics | {"entropy": surprise, "log_prob_gap": gap}


# The run.


class Run:
    """A run's model, environments and progress. Raises what its parts raise for settings that do not fit."""

    def __init__(self, out: Path, settings: Settings) -> None:
        s = self.settings = settings
        self.out, self.watch = out, Stopwatch()
        self.trained = TrainedModel(s.model, s.device, s.lora, s.gradient_checkpointing, s.seed)
        self.model = self.trained.model
        self.optimizer = torch.optim.AdamW(
            self.trained.weights.values(), lr=s.learning_rate, weight_decay=s.weight_decay
        )
        begun = cache(self.trained.copy)  # one copy, if any is needed, of the model before it learns
        self.reference = self._reference(begun) if s.kl_coef else None
        self.copy = self.trained.copy() if s.refresh_every else None
        self.scorer = self._scorer(begun)
        self.sampling = Sampling(temperature=s.temperature, max_tokens=s.max_tokens)
        protocol = resolve_protocol(s.protocol)
        self.policy = LanguageModelPolicy(self._reader(), self.trained.tokenizer, protocol, self.sampling)
        self.actor = TimedPolicy(self.policy, self.watch)
        needs = resolve_reward(s.reward).needs
        self.reference_scorer = self._reference_scorer(begun) if "reference" in needs else None
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
        questions, self.engine = assemble(task)
        self.estimator = resolve_estimator(s.advantages)
        self.stream = QuestionStream(questions.questions, s.seed, order=s.order)
        outcome = replace(task, questions=unseen, scorer=None, reference=None, policy=None)
        unseen, self.referee = assemble(replace(outcome, reward="outcome-f1"))
        self.unseen = unseen.questions
        self.updates = self.tokens = 0
        self.seconds = 0.0
        self.best = -1.0
        """The best validation F1 so far."""
        self._warned = False

    def update(self) -> Metrics:
        """Play a batch of episodes and learn from it.

        A batch in which tools were unavailable in more than ``max_outage_share`` of the episodes is not
        learned from, for it teaches what outages are like. It counts as an update.

        The metrics: what :func:`metrics.episode_metrics` tells, and :func:`learn` where it learned; whether
        it did not (``batches_skipped``), and the share of episodes with an outage; the shares of groups that
        taught nothing, and whose returns do not differ; where gains should count, whether the batch had none;
        tokens that the agent wrote, so far and per second; seconds of training so far; and which shares of
        them went into sampling, scoring and learning (the rest is search and bookkeeping).
        """
        s, began = self.settings, time.perf_counter()
        self.watch.reset()
        episodes = self.rollouts()
        turns = turns_of(episodes, self.engine.reward, s.group_size)
        advantages = self._advantages(turns)
        rows = [token_rows(episode, self.policy.framing) for episode in episodes]
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
                batches = micro_batches(batch, s.micro_batch, self.model.device)
                learned = learn(self.model, self.optimizer, batches, s, self.reference)
        self.updates += 1
        if self.copy is not None and s.refresh_every and self.updates % s.refresh_every == 0:
            self.copy.load_state_dict(self.model.state_dict())
        spent = time.perf_counter() - began
        written = sum(int(row.mask.sum()) for row in rows)
        self.seconds += spent
        self.tokens += written
        return {
            **episode_metrics(episodes),
            **learned,
            "outage_share": outages,
            "batches_skipped": float(skipped),
            "collapsed_groups": collapse_rate(turns, advantages),
            "frac_reward_zero_std": zero_std_rate(turns),
            **self._alarm(turns),
            "tokens": self.tokens,
            "tokens_per_second": written / spent,
            "seconds": self.seconds,
            **{f"share_{what}": seconds / spent for what, seconds in self.watch.seconds.items()},
        }

    def validate(self) -> Metrics:
        """Play the validation questions, always with the same random numbers; keep the best model so far."""
        self.policy.sampling = replace(self.sampling, temperature=self.settings.validation_temperature)
        played = list(collect(self.referee, self.policy, self.unseen, VALIDATION_BATCH))
        keep_samples(
            self.out / SAMPLES, self.updates, played, self.settings, self.referee.reward, self.scorer
        )
        metrics = episode_metrics(played)
        if metrics["f1"] > self.best:
            self.best = metrics["f1"]
            self.trained.save(self.out / "best")
        return {f"validation_{name}": value for name, value in metrics.items()}

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "weights": {name: weight.detach() for name, weight in self.trained.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "scorer": self.copy.state_dict() if self.copy is not None else None,
            "progress": (self.updates, self.tokens, self.seconds, self.best),
        }
        write_checkpoint(self.out / "state.pt", state)

    def resume(self) -> bool:
        """Go on from the folder's checkpoint, if it has one."""
        path = self.out / "state.pt"
        if not path.exists():
            return False
        state = read_checkpoint(path, self.model.device)
        with torch.no_grad():
            for name, weight in self.trained.weights.items():
                weight.copy_(state["weights"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.copy is not None:
            self.copy.load_state_dict(state["scorer"])
        self.updates, self.tokens, self.seconds, self.best = state["progress"]
        return True

    def rollouts(self) -> list[Episode]:
        """The next batch of episodes, group after group."""
        s = self.settings
        # A resumed run begins with empty caches, and must round as one that was never stopped.
        self.policy.reader.clear()
        for scorer in (self.scorer, self.reference_scorer):
            if isinstance(scorer, TransformersScorer):
                scorer.clear()
        first = self.updates * s.batch_questions
        questions = [self.stream[first + place] for place in range(s.batch_questions)]
        self.policy.sampling = replace(self.sampling, seed=(s.seed << 32) + self.updates)
        size = len(questions) * s.group_size
        groups = collect_groups(self.engine, self.actor, questions, s.group_size, size)
        return [episode for group in groups for episode in group]

    def facts(self) -> dict[str, int]:
        """What the retrievers of training and validation tell about themselves in numbers, added up."""
        total = Counter[str]()
        for engine in (self.engine, self.referee):
            total.update({name: fact for name, fact in engine.facts().items() if isinstance(fact, int)})
        return dict(total)

    def _advantages(self, turns: Turns) -> Floats:
        weights = {}
        if self.settings.curriculum:
            weights["weights"] = curriculum_weights(self.updates / self.settings.updates)
        return self.estimator(turns, self.settings.gamma, **weights)

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

    def _scorer(self, begun: Callable[[], PreTrainedModel]) -> AnswerScorer | None:
        spec = self.settings.scorer
        if spec == "policy":
            return TransformersScorer(self.model, self.trained.tokenizer)
        if spec == "frozen":
            return TransformersScorer(begun(), self.trained.tokenizer)
        if self.copy is not None:
            return TransformersScorer(self.copy, self.trained.tokenizer)
        return resolve_scorer(spec)

    def _reference_scorer(self, begun: Callable[[], PreTrainedModel]) -> AnswerScorer | None:
        if self.settings.reference is None:
            return TransformersScorer(begun(), self.trained.tokenizer)
        return resolve_scorer(self.settings.reference)

    def _reader(self) -> PreTrainedModel | CausalReader:
        """What the policy reads with: where it is the scorer too, with the scorer's prefix cache."""
        if self.settings.scorer == "policy" and isinstance(self.scorer, TransformersScorer):
            return self.scorer.reader
        return self.model

    def _reference(self, begun: Callable[[], PreTrainedModel]) -> Callable[[Sample], Tensor]:
        """The log-probabilities of the model as it began; with adapters that is the model without them."""
        temperature = self.settings.temperature
        if not self.settings.lora:
            return partial(log_probs, begun(), temperature=temperature)

        def without_adapters(batch: Sample) -> Tensor:
            with self.trained.without_adapters() as model:
                return log_probs(model, batch, temperature)

        return without_adapters


def train(
    out: Path,
    settings: Settings,
    report: Callable[[Metrics], None] = lambda metrics: None,
    wandb: bool = False,
) -> dict[str, int]:
    """Run to the end, or on from where an earlier call stopped; returns :meth:`Run.facts` of its retrievers.

    ``report`` gets what the log gets: the metrics of each update (see :meth:`Run.update`), with those of a
    validation where there was one. Raises ValueError if the folder holds a run with other settings, and
    BlockingIOError if another process is at work in it.
    """
    with held(out):
        agree(out, settings)
        for name in ("best", "last"):
            tidy(out / name)
        run = Run(out, settings)
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
            metrics = run.update()
            due = run.updates % settings.validate_every == 0 or run.updates == settings.updates
            log(metrics | (run.validate() if due else {}))
            if due:
                run.save()
        run.trained.save(out / "last")
        return run.facts()
