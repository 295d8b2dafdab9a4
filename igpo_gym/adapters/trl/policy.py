"""The model that TRL trains as the scorer: its beliefs, with its present weights, from TRL's own engine."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from igpo_gym.adapters.trl.transcripts import Verbatim
from igpo_gym.episode import Belief
from igpo_gym.errors import ScoringError, SpecError
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.prompts import Prompt, belief_of, check_lengths, length_of, query_of
from igpo_gym.scorers.remote import MAX_ALIASES, RemoteScorer

if TYPE_CHECKING:
    from trl import GRPOTrainer

logger = logging.getLogger(__name__)

POLICY = "policy"
"""What a setting ``scorer`` says for the model in training."""


class PolicyScorer:
    """Beliefs of the model that a trainer trains (an ``AnswerScorer``): IGPO proper.

    They come from the engine that samples: from the model itself where that is transformers (each transcript
    is read once, whatever is asked about it), from vLLM's ``prompt_logprobs`` where that is vLLM, colocated
    or behind a server. vLLM gets new weights before it samples, as TRL does it, and so before it is asked.
    It reads a transcript anew for each belief and each answer, so of a question with more than
    ``max_aliases`` answers it is asked about the first ones.

    ``Rollouts`` and ``TurnGRPOTrainer`` bind it to the trainer. Raises SpecError where the trainer's engine
    cannot tell beliefs, and ScoringError where it is asked before it is bound.
    """

    def __init__(self, max_aliases: int = MAX_ALIASES) -> None:
        self.max_aliases: int | None = None
        """About how many answers of a question it is asked; None for all."""
        self._limit = max_aliases
        self._trainer: GRPOTrainer | None = None
        self._scorer: AnswerScorer | None = None
        self.engine = ""
        """What gives the beliefs; empty before there is a trainer."""

    @property
    def told(self) -> str:
        """Whose beliefs these are, in words for records."""
        return f"{POLICY}, by {self.engine}"

    def bind(self, trainer: GRPOTrainer) -> None:
        """Take the beliefs from this trainer's engine."""
        if trainer is self._trainer:
            return
        self.engine = engine_of(trainer)
        self._scorer = _ENGINES[self.engine](trainer, self._limit)
        self.max_aliases = getattr(self._scorer, "max_aliases", None)
        self._trainer = trainer
        logger.info("beliefs are those of the model in training, from %s", self.engine)

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order."""
        if self._scorer is None or self._trainer is None:
            raise ScoringError(
                "scorer='policy' has no trainer: train with TurnGRPOTrainer, or give a model as the scorer"
            )
        if self._trainer.use_vllm:
            _sync(self._trainer)
        return self._scorer.score(requests)

    def __deepcopy__(self, memo: object) -> PolicyScorer:
        return self


def engine_of(trainer: GRPOTrainer) -> str:
    """What samples for a trainer, and can tell its beliefs: a name in the table below.

    Raises SpecError for weights that are spread over processes, and for vLLM's that are.
    """
    if trainer.use_vllm:
        mode: str = trainer.args.vllm_mode
        if mode == "colocate" and trainer.args.vllm_tensor_parallel_size > 1:
            raise SpecError(
                "scorer='policy' asks a colocated vLLM of one process: set vllm_tensor_parallel_size=1, or "
                "vllm_mode='server'"
            )
        return f"vLLM ({mode})"
    zero = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if trainer.is_fsdp_enabled or (zero is not None and zero.zero_stage == 3):
        raise SpecError(
            "scorer='policy' reads with the model itself, whose weights are spread over processes here: set "
            "use_vllm=True"
        )
    return "transformers"


def _sync(trainer: GRPOTrainer) -> None:
    """Give vLLM the weights of this step, unless it has them: as TRL does before it samples."""
    if trainer._last_loaded_step != trainer.state.global_step:
        trainer.vllm_generation.sync_weights()
        trainer._last_loaded_step = trainer.state.global_step


def _transformers(trainer: GRPOTrainer, max_aliases: int) -> TransformersScorer:
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    scorer = TransformersScorer(_bare(model), trainer.processing_class)
    scorer.framing = Verbatim(trainer.processing_class)
    return scorer


def _bare(model: Any) -> Any:
    """The model, all of its parts shared, without what TRL and Accelerate put in the place of its ``forward``
    (a fused head, autocast), which would lead back to the model itself."""
    inside = copy.copy(model.get_base_model() if hasattr(model, "peft_config") else model)
    for name in ("forward", "_original_forward"):
        vars(inside).pop(name, None)
    return inside


def _server(trainer: GRPOTrainer, max_aliases: int) -> RemoteScorer:
    """The server's own interface: TRL's client has one that loses which token was asked about."""
    args = trainer.args
    url = args.vllm_server_base_url or f"http://{args.vllm_server_host}:{args.vllm_server_port}"
    scorer = RemoteScorer(url, tokenizer=trainer.processing_class, kind="vllm", max_aliases=max_aliases)
    scorer.framing = Verbatim(trainer.processing_class)
    return scorer


class ColocatedScorer:
    """Beliefs from the vLLM in the trainer's own process."""

    def __init__(self, trainer: GRPOTrainer, max_aliases: int) -> None:
        self.framing = Verbatim(trainer.processing_class)
        self.max_aliases = max_aliases
        self._generation = trainer.vllm_generation

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        """One belief per request, in order; all prompts in one call of vLLM.

        Raises TranscriptTooLongError for transcripts longer than vLLM reads, and ScoringError for an answer
        of vLLM that is about other tokens.
        """
        queries = [query_of(self.framing, request, self.max_aliases) for request in requests]
        longest = self._generation.llm.llm_engine.model_config.max_model_len - 1  # it must sample one token
        check_lengths([length_of(query) for query in queries], longest, "vLLM")
        prompts = list(dict.fromkeys(prompt for query in queries for prompt in query.prompts))
        scores = dict(zip(prompts, self._ask(prompts), strict=True))
        return [belief_of([scores[prompt] for prompt in query.prompts], query.answers) for query in queries]

    def _ask(self, prompts: Sequence[Prompt]) -> list[list[float]]:
        from vllm import SamplingParams  # type: ignore[import-not-found, unused-ignore]

        params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
        asked = [{"prompt_token_ids": list(prompt.ids)} for prompt in prompts]
        with awake(self._generation):
            answers = self._generation.llm.generate(asked, sampling_params=params, use_tqdm=False)
        return [_log_probs_of(answer, prompt) for answer, prompt in zip(answers, prompts, strict=True)]


def _log_probs_of(answer: Any, prompt: Prompt) -> list[float]:
    """The log-probabilities of the tokens that are asked about."""
    if tuple(answer.prompt_token_ids) != prompt.ids or len(answer.prompt_logprobs or ()) != len(prompt.ids):
        raise ScoringError("vLLM answered about other tokens than those that it was asked about")
    tables, tokens = answer.prompt_logprobs[-prompt.scored :], prompt.ids[-prompt.scored :]
    return [float(table[token].logprob) for table, token in zip(tables, tokens, strict=True)]


@contextmanager
def awake(generation: Any) -> Iterator[None]:
    """vLLM with its weights and room for a cache; back to sleep after it, where TRL lets it sleep.

    Asleep it has dropped its weights, so they are given again, as TRL does before it samples.
    """
    if not generation.enable_sleep_mode:
        yield
        return
    if generation._llm_weights_sleeping:
        generation.sync_weights()
    generation.llm.wake_up(tags=["kv_cache"])
    try:
        yield
    finally:
        generation.llm.sleep(level=2)
        generation._llm_weights_sleeping = True


_ENGINES: dict[str, Callable[[Any, int], AnswerScorer]] = {
    "transformers": _transformers,
    "vLLM (colocate)": ColocatedScorer,
    "vLLM (server)": _server,
}
"""By the name that :func:`engine_of` gives."""


def with_policy(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of an environment, with the model in training where they say ``scorer="policy"``."""
    return {**settings, "scorer": PolicyScorer()} if settings.get("scorer") == POLICY else settings
