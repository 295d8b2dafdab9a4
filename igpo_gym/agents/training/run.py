"""What a training run is made of, and one update of it: play, price, compare, learn.

    rollouts of batch_questions x group_size episodes -> an advantage per turn
    -> epochs x minibatches optimizer steps

The loss is in ``loss``, what plays which part in ``roles``, sampling through a vLLM server in ``sampler``,
what fits into memory in ``memory``; ``trainer`` has the loop of updates around this.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

from igpo_gym.agents.rollouts.branches import Branching, Leaf, grouped, owners
from igpo_gym.agents.rollouts.collect import collect, collect_groups
from igpo_gym.agents.rollouts.costs import Meter, Spent
from igpo_gym.agents.rollouts.tokens import TokenRow, token_rows
from igpo_gym.agents.training.alarms import KEPT, alarms, paid_metrics
from igpo_gym.agents.training.batches import (
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
from igpo_gym.agents.training.logs import Metrics, read_log
from igpo_gym.agents.training.loss import learn, passes
from igpo_gym.agents.training.memory import MemoryPlan, plan_run
from igpo_gym.agents.training.metrics import episode_metrics, hop_metrics, outage_share
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.optimizers import learning_rate, make_learner
from igpo_gym.agents.training.questions import question_sets
from igpo_gym.agents.training.roles import make_policy, make_reference, make_reference_scorer, make_scorer
from igpo_gym.agents.training.sampler import ServedSampler
from igpo_gym.agents.training.samples import SAMPLES, keep_samples
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.timing import Stopwatch, TimedPolicy, TimedScorer
from igpo_gym.agents.training.warner import Warner
from igpo_gym.envs.questions import QuestionStream
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode
from igpo_gym.errors import SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.policy import Sampling, forget_prefixes
from igpo_gym.rewards import curriculum_weights, resolve_reward

logger = logging.getLogger(__name__)

VALIDATION_BATCH = 64
"""How many validation episodes run at a time."""


class Run:
    """A run's model, environments and progress. Raises what its parts raise for settings that do not fit."""

    def __init__(
        self, out: Path, settings: Settings, plan: MemoryPlan | None = None, meter: Meter | None = None
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
        self.reference = make_reference(s, self.trained, begun) if s.kl_coef else None
        self.copy = self.trained.copy() if s.refresh_every else None
        self.scorer = make_scorer(s, self.trained, self.plan, begun, self.copy)
        self.sampling = Sampling(temperature=s.temperature, max_tokens=s.max_tokens)
        self.policy = make_policy(s, self.trained, self.plan, self.sampling, self.scorer)
        self.framing = Framing(self.trained.tokenizer)
        self.actor = TimedPolicy(self.policy, self.watch)
        self.cap = s.importance_cap if s.sampler != "local" or self.plan.precision == "bf16" else 0.0
        """Where sampler and trainer round unlike, the cap of the correction."""
        needs = resolve_reward(s.reward).needs
        self.reference_scorer = (
            make_reference_scorer(s, self.trained, self.plan, begun) if "reference" in needs else None
        )
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
        self.validated = False
        """Whether the log of a run that goes on has a validation of the model that it goes on with."""
        self._warner = Warner()

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
        reward = self.engine.reward
        turns = turns_of(groups, reward)
        leaves = [Leaf.of(number, each) for number, group in enumerate(groups) for each in group]
        advantages = over_leaves(turns, self._advantages(turns), owners(leaves))
        rows = own_turns([token_rows(episode, self.framing) for episode in episodes], episodes)
        outages = outage_share(episodes)
        skipped = outages > s.max_outage_share
        if skipped:
            logger.warning(
                "update %d is not learned from: a tool was unavailable in %.0f%% of its episodes, "
                "max_outage_share is %.0f%%",
                *(self.updates + 1, 100 * outages, 100 * s.max_outage_share),
            )
        learned = {} if skipped else self._learn(rows, turns, advantages)
        for episode in episodes:
            self.meter.saw(episode)
        self.updates += 1
        if self.copy is not None and s.refresh_every and self.updates % s.refresh_every == 0:
            self.copy.load_state_dict(self.model.state_dict())
        spent = time.perf_counter() - began
        written = sum(int(row.mask.sum()) for row in rows)
        self.seconds += spent
        self.tokens += written
        metrics = {
            **episode_metrics(episodes, self.engine.protocol),
            **paid_metrics(episodes, reward),
            **learned,
            "learning_rate": learning_rate(s, self.updates - 1),
            "outage_share": outages,
            "batches_skipped": float(skipped),
            "collapsed_groups": collapse_rate(turns, advantages),
            "frac_reward_zero_std": zero_std_rate(turns),
            **(self.estimator.tells(turns) if self.estimator.tells else {}),
            **(
                self._warner.of_missing_gains(turns, reward.name)
                if reward.gains and self.estimator.uses_gains
                else {}
            ),
            "tokens": self.tokens,
            "tokens_per_second": written / spent,
            "seconds": self.seconds,
            **{f"share_{what}": seconds / spent for what, seconds in self.watch.seconds.items()},
        }
        self.history = [*self.history, metrics][-KEPT:]
        told = alarms(self.history)
        self._warner.of_alarms(self.updates, told)
        return metrics | told

    def _learn(self, rows: Sequence[TokenRow], turns: Turns, advantages: Floats) -> Metrics:
        """Take the optimizer's steps on a batch, a row for each episode; what :func:`learn` tells."""
        s = self.settings
        batch = samples(rows, turns, advantages, self.estimator.clips(turns, s.clip), s.loss)
        with self.watch("update"):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(s, self.updates)
            self._forget()  # rollouts keep their caches where an update needs the memory
            parts = minibatches(batch, s.minibatches, (s.seed, self.updates))
            if not (s.kl_coef or s.entropy_coef):
                parts = [taught(part) for part in parts]
            with self.policy.resting() if isinstance(self.policy, ServedSampler) else nullcontext():
                steps = [micro_batches(part, s.micro_batch, self.model.device) for part in parts]
                learned = learn(self.model, self.optimizer, steps, s, self.reference, self.cap)
        self._warner.of_distance(self.updates + 1, learned)
        self.meter.add(Spent(tokens=sum(len(row.ids) for row in rows) * passes(s)))
        return learned

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
        if not any(episode.turns for episode in played):
            raise SpecError("the agent cannot read the prompt of any question of the validation")
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
        made = [line for line in lines if 0 < line["update"] <= self.updates and "reward" in line]
        self.history = made[-KEPT:]
        self.validated = any("validation_f1" in line for line in lines if line["update"] == self.updates)
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
        forget_prefixes(self.policy, self.scorer, self.reference_scorer)

    def _advantages(self, turns: Turns) -> Floats:
        given: dict[str, tuple[float, float]] = {}
        if self.settings.curriculum:
            given["weights"] = curriculum_weights(self.updates / self.settings.updates)
        seed = self.settings.seed, self.updates
        return self.estimator(turns, self.settings.gamma, seed=seed, **given)
