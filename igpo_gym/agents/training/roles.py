"""Who plays which part in a run: what samples, what holds the beliefs, and what the policy is held to.

The model in training may play several of them. Which weights each part has, those of now or those of the
beginning, is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.training.batches import Batch
from igpo_gym.agents.training.logits import log_probs
from igpo_gym.agents.training.memory import MemoryPlan
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.sampler import ServedSampler
from igpo_gym.agents.training.settings import Settings
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.reader import CausalReader
from igpo_gym.protocols import resolve_protocol
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.scorers.local import TransformersScorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def make_scorer(
    settings: Settings,
    trained: TrainedModel,
    plan: MemoryPlan,
    begun: Callable[[], PreTrainedModel],
    copy: PreTrainedModel | None,
) -> AnswerScorer | None:
    """What holds the beliefs; None where nothing does.

    ``begun`` gives the model as it began, and ``copy`` is the one that is renewed every so many updates.
    """
    if settings.scorer == "policy":
        return _reading(trained.model, trained, plan)
    if settings.scorer == "frozen":
        return _reading(begun(), trained, plan)
    if copy is not None:
        return _reading(copy, trained, plan)
    return resolve_scorer(settings.scorer)


def make_reference_scorer(
    settings: Settings, trained: TrainedModel, plan: MemoryPlan, begun: Callable[[], PreTrainedModel]
) -> AnswerScorer | None:
    """What holds the beliefs that a reward asks of a reference: the model as it began, or one of its own."""
    if settings.reference is None:
        return _reading(begun(), trained, plan)
    return resolve_scorer(settings.reference)


def _reading(model: PreTrainedModel, trained: TrainedModel, plan: MemoryPlan) -> TransformersScorer:
    return TransformersScorer(model, trained.tokenizer, cache_bytes=plan.cache_bytes)


def make_policy(
    settings: Settings,
    trained: TrainedModel,
    plan: MemoryPlan,
    sampling: Sampling,
    scorer: AnswerScorer | None,
) -> LanguageModelPolicy | ServedSampler:
    """What samples; a model that is the scorer too shares the scorer's prefix cache."""
    protocol = resolve_protocol(settings.protocol)
    if settings.sampler != "local":
        return ServedSampler.of(settings.sampler, trained.tokenizer, protocol, sampling)
    if settings.scorer == "policy" and isinstance(scorer, TransformersScorer):
        reader = scorer.reader
    else:
        reader = CausalReader(trained.model, cache_bytes=plan.cache_bytes)
    return LanguageModelPolicy(reader, trained.tokenizer, protocol, sampling, batch_bytes=plan.batch_bytes)


def make_reference(
    settings: Settings, trained: TrainedModel, begun: Callable[[], PreTrainedModel]
) -> Callable[[Batch], Tensor]:
    """The log-probabilities of the model as it began; with adapters that is the model without them."""
    if not settings.lora:
        return partial(log_probs, begun(), temperature=settings.temperature)

    def without_adapters(batch: Batch) -> Tensor:
        with trained.without_adapters() as model:
            return log_probs(model, batch, settings.temperature)

    return without_adapters
