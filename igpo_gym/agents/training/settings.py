"""All that decides how a training run goes. The command line's options are made of it, help included."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from igpo_gym.agents.rollouts.branches import Branching
from igpo_gym.agents.training.estimators import DEFAULT, ESTIMATORS, check_reward, resolve_estimator
from igpo_gym.config import EnvConfig, Names, Panel, SpecOrObject
from igpo_gym.errors import SpecError
from igpo_gym.protocols import resolve_protocol
from igpo_gym.rewards import resolve_reward
from igpo_gym.search.cache import CacheSetting
from igpo_gym.specs import Spec, names
from igpo_gym.text import without_credentials

TASK, CREDIT, ROLLOUTS = Panel("Task"), Panel("Reward and credit"), Panel("Rollouts")
LEARNING, MACHINE, VALIDATION = Panel("Learning"), Panel("Machine"), Panel("Validation")


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(EnvConfig):
    """The settings of a run; the defaults train the packaged model in about a quarter of an hour.

    The environment that is trained in is described by the fields of EnvConfig. All values are texts and
    numbers, since a run writes them down. Raises SpecError for values that do not exist or do not go
    together.

    >>> Settings(questions="jsonl:mine.jsonl", top_k=5)  # doctest: +ELLIPSIS
    Settings(questions='jsonl:mine.jsonl', search=None, search_cache=None, ...)
    """

    model: Annotated[
        str,
        TASK,
        Names("policy"),
        "The policy: nano-base, nano, a hub name, a folder or a GGUF file.",
    ] = "nano-base"
    validation: Annotated[
        SpecOrObject,
        TASK,
        Names("questions"),
        "Questions to validate on; by default those of another world with the world's settings, and of other "
        "questions a tenth (at most validation-questions), which is then not trained on.",
    ] = None
    scorer: Annotated[
        SpecOrObject,
        CREDIT,
        Names("scorer", ("none", "policy", "frozen", "refreshed")),
        "Who holds the belief: policy (the model in training, as IGPO has it), frozen (the model as it "
        "began), refreshed:N (a copy that is renewed every N updates), none, or any scorer: nano, a server.",
    ] = "policy"
    reference: Annotated[
        SpecOrObject,
        CREDIT,
        Names("scorer"),
        "The frozen model that some rewards need, given as scorer is; by default the model as it began.",
    ] = None
    advantages: Annotated[
        str,
        CREDIT,
        Names("estimator"),
        f"How turns are compared, parameters in parentheses: {', '.join(ESTIMATORS)}.",
    ] = DEFAULT
    gamma: Annotated[float, CREDIT, "Discount per turn."] = 1.0
    curriculum: Annotated[
        bool, CREDIT, "Move weight from gains to outcomes along the run (igpo-joint and igpo-separate)."
    ] = False

    updates: Annotated[int, ROLLOUTS, "How many batches of rollouts to learn from."] = 100
    batch_questions: Annotated[int, ROLLOUTS, "Questions in a batch."] = 4
    group_size: Annotated[int, ROLLOUTS, "Rollouts of a question, which are compared with each other."] = 8
    branch: Annotated[
        str | None,
        ROLLOUTS,
        "More rollouts from a state of each ended one, in its group: belief:2 two from before the turn with "
        "the largest gain or loss of belief, even:2 two, spread over its turns.",
    ] = None
    temperature: Annotated[float, ROLLOUTS, "Of sampling in training, and of the policy that learns."] = 1.0
    max_tokens: Annotated[int, ROLLOUTS, "Tokens the agent may write in a turn."] = 64
    seed: Annotated[int, ROLLOUTS, "Draws the questions and the samples."] = 0
    sampler: Annotated[
        str,
        ROLLOUTS,
        Names("policy", ("local",)),
        "What samples the messages: local (the model in training), or the URL of a vLLM server, which is "
        "given the weights before every batch (http://127.0.0.1:8000).",
    ] = "local"
    max_outage_share: Annotated[
        float,
        ROLLOUTS,
        "A batch is not learned from where in more than this share of its episodes a tool was unavailable.",
    ] = 0.25

    epochs: Annotated[
        int, LEARNING, "Optimizer steps on each batch; clipping is at work from the second on."
    ] = 2
    minibatches: Annotated[
        int, LEARNING, "Parts of a batch, drawn anew for each; an optimizer step is taken on each of them."
    ] = 1
    learning_rate: Annotated[float, LEARNING, "Of AdamW, at its highest."] = 1e-4
    warmup: Annotated[int, LEARNING, "Updates in which the learning rate rises to its highest."] = 0
    schedule: Annotated[
        Literal["constant", "linear", "cosine"],
        LEARNING,
        "How the learning rate goes on after that; linear and cosine end at 0 with the run.",
    ] = "constant"
    optimizer: Annotated[
        Literal["adamw", "adamw-offload", "adamw-8bit"],
        LEARNING,
        "AdamW; with all its numbers in the CPU's memory; with its moments in 8 bits (bitsandbytes).",
    ] = "adamw"
    clip: Annotated[
        float,
        LEARNING,
        "Importance ratios count between 1 - clip and 1 + clip, unless the estimator has bounds of its own.",
    ] = 0.2
    ratio: Annotated[
        Literal["auto", "token", "turn"],
        LEARNING,
        "The importance ratio of each token, or its geometric mean over the turn (as GSPO's over sequences); "
        "auto: what the estimator asks for, or token.",
    ] = "auto"
    importance_cap: Annotated[
        float,
        LEARNING,
        "Where sampler and trainer round unlike (16 bits, or a sampler at a server), a token counts by the "
        "ratio of their probabilities, up to this (truncated importance sampling); 0: not corrected.",
    ] = 2.0
    loss: Annotated[
        Literal["token-mean", "sequence-mean"],
        LEARNING,
        "Every token of the batch has the same weight, or every episode has.",
    ] = "token-mean"
    kl_coef: Annotated[
        float, LEARNING, "Weight of the divergence from the model as it began; 0 for no reference model."
    ] = 0.001
    entropy_coef: Annotated[
        float, LEARNING, "Weight of a bonus for the entropy of the policy at each token that it wrote."
    ] = 0.0
    weight_decay: Annotated[float, LEARNING, "Of AdamW."] = 0.0
    max_norm: Annotated[float, LEARNING, "Gradients are clipped to this norm."] = 1.0
    lora: Annotated[int, LEARNING, "Rank of LoRA adapters on all linear layers; 0 trains every weight."] = 0

    micro_batch: Annotated[int, MACHINE, "Tokens in one forward and backward pass; bounds the memory."] = 8192
    gradient_checkpointing: Annotated[bool, MACHINE, "Less memory for a third more time."] = False
    device: Annotated[str, MACHINE, "auto, cpu, cuda or mps."] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        MACHINE,
        "Of weights and of all that is computed with them, in rollouts and updates alike; the optimizer's "
        "own numbers are float32. auto: bf16 on CUDA, else fp32.",
    ] = "auto"
    cache_gib: Annotated[
        float, MACHINE, "Keys and values that are kept between turns, in GiB; 0: by what is free."
    ] = 0.0
    batch_gib: Annotated[
        float, MACHINE, "Keys and values of messages that are sampled together, in GiB; 0: by what is free."
    ] = 0.0

    validate_every: Annotated[int, VALIDATION, "Updates between validations; each leaves a checkpoint."] = 10
    validation_questions: Annotated[int, VALIDATION, "How many of the validation questions to use."] = 100
    validation_temperature: Annotated[
        float, VALIDATION, "Of sampling in validation: 1 plays the policy that is trained, 0 greedily."
    ] = 1.0

    may_be_zero = frozenset({"seed", "lora", "warmup"})

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in fields(self):
            self._check_value(field.name, field.default)
        for name, (fits, words) in _RANGES.items():
            if not fits(getattr(self, name)):
                raise SpecError(f"{name} {words.format(getattr(self, name))}")
        if self.sampler != "local":
            sampler_options(self.sampler)
        if self.search_cache is not None:
            CacheSetting.parse(self.search_cache)
        resolve_protocol(self.protocol)
        self._check_together()

    def _check_value(self, name: str, default: object) -> None:
        value = getattr(self, name)
        if not isinstance(value, str | int | float | None):
            raise SpecError(
                f"{name} must be a text or a number, which a run can write down, not {value!r:.60}; register "
                "it, or name it as package.module:attribute"
            )
        unbounded = value == math.inf and name in ("max_norm", "importance_cap")
        if isinstance(value, float) and not (math.isfinite(value) or unbounded):
            raise SpecError(f"{name} must be a finite number, not {value}")
        if name in NOT_TRAINED and value != default:
            raise SpecError(f"{name} is no setting of a training run")

    def _check_together(self) -> None:
        """Raise SpecError where scorer, reward, estimator and groups do not go together."""
        estimator, paid = resolve_estimator(self.advantages), resolve_reward(self.reward)
        check_reward(estimator, paid, self.gamma)
        if str(self.scorer).startswith("refreshed") and self.refresh_every is None:
            raise SpecError(f"write a refreshed scorer as refreshed:10, not {self.scorer!r}")
        no_scorer = self.scorer in (None, "none")
        if no_scorer and "scorer" in paid.needs:
            raise SpecError(
                f"reward {self.reward!r} needs a scorer, and scorer is none; policy is the default"
            )
        branching = None if self.branch is None else Branching.parse(self.branch)
        if no_scorer and branching is not None and branching.where == "belief":
            raise SpecError("branches by belief need a scorer, and scorer is none; policy is the default")
        if self.curriculum and not estimator.curriculum:
            raise SpecError(f"the curriculum is for igpo-joint and igpo-separate, not for {self.advantages}")
        leaves = branching.leaves(self.group_size) if branching else self.group_size
        if leaves == 1 and estimator.groupwise:
            alone = ", ".join(each for each in names("estimator") if not resolve_estimator(each).groupwise)
            raise SpecError(
                f"with group_size 1 no group can be compared, and {self.advantages} compares the rollouts of "
                f"a question: choose at least 2, or an estimator that does without groups ({alone})"
            )

    @property
    def environment(self) -> EnvConfig:
        """The fields that describe the environment, on their own."""
        return EnvConfig(**{field.name: getattr(self, field.name) for field in fields(EnvConfig)})

    def validates(self, update: int) -> bool:
        """Whether there is a validation after this update.

        >>> [update for update in range(26) if Settings(updates=25, validate_every=10).validates(update)]
        [0, 10, 20, 25]
        """
        return update % self.validate_every == 0 or update == self.updates

    @property
    def importance_ratio(self) -> Literal["token", "turn"]:
        """Whose importance ratio counts in the loss."""
        if self.ratio == "auto":
            return resolve_estimator(self.advantages).ratio or "token"
        return self.ratio

    @property
    def refresh_every(self) -> int | None:
        """After how many updates the scorer takes over the policy's weights; None if it never does."""
        match = re.fullmatch(r"refreshed:([1-9]\d*)", str(self.scorer))
        return int(match[1]) if match else None


def sampler_options(spec: str) -> tuple[str, dict[str, Any]]:
    """The URL of a server that samples, and what stands behind it. Raises SpecError for anything else.

    >>> sampler_options("http://127.0.0.1:8000#sleep=yes,concurrency=512")
    ('http://127.0.0.1:8000', {'sleep': True, 'concurrency': 512})
    """
    parsed = Spec.parse(spec)
    shown = without_credentials(parsed.place)
    form = "a sampler is local, or URL#folder=FOLDER,sleep=yes,concurrency=N,model=NAME"
    if not parsed.place.startswith(("http://", "https://")):
        raise SpecError(f"sampler {shown!r} is neither local nor a URL; {form}")
    read: dict[str, Callable[[str], Any]] = {
        "folder": str,
        "model": str,
        "sleep": {"yes": True, "no": False}.__getitem__,
        "concurrency": int,
    }
    try:
        return parsed.place, {name: read[name](value) for name, value in parsed.options.items()}
    except (KeyError, ValueError):
        raise SpecError(f"sampler {shown!r} has options that it does not know; {form}") from None


NOT_TRAINED = ("policy", "probe", "info", "oracle_info", "render_mode")
"""The arguments of an environment that are no settings of a run: its policy is the one that learns."""

_NOT_NEGATIVE = (lambda value: value >= 0), "must not be negative, and {} is"
_SHARE = (lambda value: 0 <= value <= 1), "must be between 0 and 1, not {}"
_RANGES: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "gamma": _SHARE,
    "temperature": (lambda value: value > 0, "must be above 0, not {}: greedy rollouts are all alike"),
    "max_outage_share": _SHARE,
    "learning_rate": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "max_norm": (lambda value: value > 0, "must be above 0, not {}: gradients are scaled to it"),
    "clip": (lambda value: 0 < value < 1, "must be between 0 and 1, not {}"),
    "kl_coef": _NOT_NEGATIVE,
    "entropy_coef": _NOT_NEGATIVE,
    "importance_cap": _NOT_NEGATIVE,
    "validation_temperature": _NOT_NEGATIVE,
    "cache_gib": _NOT_NEGATIVE,
    "batch_gib": _NOT_NEGATIVE,
}
"""Of numbers, which values are allowed, and what is said of the others."""
