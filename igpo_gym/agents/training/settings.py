"""All that decides how a training run goes. The command line's options are made of it, help included."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from igpo_gym.agents.training.estimators import DEFAULT, ESTIMATORS, check_reward, resolve_estimator
from igpo_gym.errors import SpecError
from igpo_gym.protocols import resolve_protocol
from igpo_gym.rewards import resolve_reward
from igpo_gym.specs import fingerprint
from igpo_gym.storage import changed, written_file
from igpo_gym.text import without_credentials

TASK, CREDIT, ROLLOUTS = "Task", "Reward and credit", "Rollouts"
LEARNING, MACHINE, VALIDATION = "Learning", "Machine", "Validation"


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """The settings of a run; the defaults train the packaged model in about ten minutes on two cores.

    Raises SpecError for values that do not exist or do not go together.
    """

    model: Annotated[str, TASK, "The policy: nano-base, nano, a hub name, a folder or a GGUF file."] = (
        "nano-base"
    )
    questions: Annotated[str, TASK, "Questions to train on: world, hotpotqa:FILE, jsonl:FILE."] = "world"
    validation: Annotated[str, TASK, "Questions to validate on."] = "world:validation"
    search: Annotated[str | None, TASK, "bm25:INDEX; by default the questions' own passages."] = None
    protocol: Annotated[str, TASK, "The agent's grammar: tags or tool_call."] = "tags"
    max_turns: Annotated[int, TASK, "Messages the agent may write in an episode."] = 6
    top_k: Annotated[int, TASK, "Passages that a query brings."] = 3

    reward: Annotated[str, CREDIT, "A reward or a sum of them, see igpo-gym rewards."] = "igpo"
    scorer: Annotated[
        str,
        CREDIT,
        "Who holds the belief: policy (the model in training, as IGPO has it), frozen (the model as it "
        "began), refreshed:N (a copy that is renewed every N updates), none, or any scorer: nano, a server.",
    ] = "policy"
    advantages: Annotated[
        str, CREDIT, f"How turns are compared, parameters in parentheses: {', '.join(ESTIMATORS)}."
    ] = DEFAULT
    gamma: Annotated[float, CREDIT, "Discount per turn."] = 1.0
    curriculum: Annotated[
        bool, CREDIT, "Move weight from gains to outcomes along the run (igpo-joint and igpo-separate)."
    ] = False

    updates: Annotated[int, ROLLOUTS, "How many batches of rollouts to learn from."] = 100
    batch_questions: Annotated[int, ROLLOUTS, "Questions in a batch."] = 4
    group_size: Annotated[int, ROLLOUTS, "Rollouts of a question, which are compared with each other."] = 8
    temperature: Annotated[float, ROLLOUTS, "Of sampling in training, and of the policy that learns."] = 1.0
    max_tokens: Annotated[int, ROLLOUTS, "Tokens the agent may write in a turn."] = 64
    seed: Annotated[int, ROLLOUTS, "Draws the questions and the samples."] = 0

    epochs: Annotated[
        int, LEARNING, "Optimizer steps on each batch; clipping is at work from the second on."
    ] = 2
    learning_rate: Annotated[float, LEARNING, "Of AdamW, constant."] = 3e-4
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
    loss: Annotated[
        Literal["token-mean", "sequence-mean"],
        LEARNING,
        "Every token of the batch has the same weight, or every episode has.",
    ] = "token-mean"
    kl_coef: Annotated[
        float, LEARNING, "Weight of the divergence from the model as it began; 0 for no reference model."
    ] = 0.001
    max_norm: Annotated[float, LEARNING, "Gradients are clipped to this norm."] = 1.0
    lora: Annotated[int, LEARNING, "Rank of LoRA adapters on all linear layers; 0 trains every weight."] = 0

    micro_batch: Annotated[int, MACHINE, "Tokens in one forward and backward pass; bounds the memory."] = 8192
    gradient_checkpointing: Annotated[bool, MACHINE, "Less memory for a third more time."] = False
    device: Annotated[str, MACHINE, "auto, cpu, cuda or mps."] = "auto"

    validate_every: Annotated[int, VALIDATION, "Updates between validations; each leaves a checkpoint."] = 10
    validation_questions: Annotated[int, VALIDATION, "How many of the validation questions to use."] = 100
    validation_temperature: Annotated[
        float, VALIDATION, "Of sampling in validation: 1 plays the policy that is trained, 0 greedily."
    ] = 1.0

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={value!r}" for name, value in shown(self).items())
        return f"{type(self).__name__}({pairs})"

    def __post_init__(self) -> None:
        estimator = resolve_estimator(self.advantages)
        resolve_protocol(self.protocol)
        paid = resolve_reward(self.reward)
        check_reward(estimator, paid)
        if self.scorer == "none" and "scorer" in paid.needs:
            raise SpecError(
                f"reward {self.reward!r} needs a scorer, and scorer is none; policy is the default"
            )
        if self.curriculum and not estimator.curriculum:
            raise SpecError(f"the curriculum is for igpo-joint and igpo-separate, not for {self.advantages}")
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise SpecError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("seed", "kl_coef", "lora", "validation_temperature"):
            if getattr(self, name) < 0:
                raise SpecError(f"{name} must not be negative, and {getattr(self, name)} is")
        if not self.temperature > 0:
            raise SpecError(
                f"temperature must be above 0, not {self.temperature}: greedy rollouts are all alike"
            )
        if self.group_size == 1 and estimator.groupwise:
            alone = ", ".join(name for name, maker in ESTIMATORS.items() if not maker().groupwise)
            raise SpecError(
                f"with group_size 1 no group can be compared, and {self.advantages} compares the rollouts of "
                f"a question: choose at least 2, or an estimator that does without groups ({alone})"
            )
        if not 0 < self.clip < 1:
            raise SpecError(f"clip must be between 0 and 1, not {self.clip}")
        if self.scorer.startswith("refreshed") and self.refresh_every is None:
            raise SpecError(f"write a refreshed scorer as refreshed:10, not {self.scorer!r}")

    @property
    def importance_ratio(self) -> Literal["token", "turn"]:
        """Whose importance ratio counts in the loss."""
        if self.ratio == "auto":
            return resolve_estimator(self.advantages).ratio or "token"
        return self.ratio

    @property
    def refresh_every(self) -> int | None:
        """After how many updates the scorer takes over the policy's weights; None if it never does."""
        match = re.fullmatch(r"refreshed:([1-9]\d*)", self.scorer)
        return int(match[1]) if match else None


def fingerprints(settings: Settings) -> dict[str, str]:
    """What tells that a model, questions or an index of the same name are others by the time of a resume."""
    named = ("model", "questions", "validation", "search", "scorer")
    return {f"{name}_fingerprint": fingerprint(getattr(settings, name)) for name in named}


def shown(settings: Settings) -> dict[str, Any]:
    """The settings by name, as they are shown and stored: without the credentials of URLs."""
    return {
        name: without_credentials(value) if isinstance(value, str) else value
        for name, value in asdict(settings).items()
    }


def agree(out: Path, settings: Settings) -> None:
    """Write settings and fingerprints into a new run's folder; ValueError if a run with others is there.

    A run may be made longer, unless its curriculum depends on its length. Fingerprints that it does not hold
    are not compared.
    """
    path, now = out / "settings.json", fingerprints(settings)
    ours = shown(settings) | now
    if path.exists():
        theirs = json.loads(path.read_text())
        if not settings.curriculum:
            theirs["updates"] = settings.updates
        if names := changed(theirs, ours, now):
            raise ValueError(f"{out} holds a run with other settings ({names}); choose another folder")
    with written_file(path) as file:
        file.write(json.dumps(ours, indent=2) + "\n")


_AT_LEAST_ONE = (
    "updates",
    "batch_questions",
    "group_size",
    "max_tokens",
    "epochs",
    "micro_batch",
    "validate_every",
    "validation_questions",
)
