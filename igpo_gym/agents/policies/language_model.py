"""A language model as the agent, on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.episode import Episode, Message
from igpo_gym.lm.decoding import Draft, decode
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.loading import load_model
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.reader import CausalReader, plain_log_probs
from igpo_gym.protocols import TAGS, TextProtocol
from igpo_gym.specs import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_BYTES = 4 << 30
"""Keys and values of messages that are sampled together, where nothing tells how much is free."""


@dataclass(frozen=True, slots=True)
class PolicyStats:
    """What a policy has done since it was made."""

    messages: int = 0
    tokens_sampled: int = 0
    """Tokens of the messages."""
    tokens_read: int = 0
    """Tokens of the transcripts that the model had to read, apart from those that it sampled itself."""
    seconds: float = 0.0


class LanguageModelPolicy:
    """An agent that samples its messages from a causal language model (a ``Policy``).

    All episodes of a call are sampled together, a token of each in every forward pass; an episode whose
    message is complete takes no part any more. What the model has read of a transcript is kept between turns,
    so a turn reads what the environment has replied, and no more.

    A message ends with the closing tag of an action, with the model's end of a text or of a turn, or after
    ``sampling.max_tokens``. It is empty where the model reads no longer transcripts. Its log-probabilities
    are those of the model itself, whatever the temperature.

    The same seed, question, attempt and turn give the same message, whichever episodes are sampled beside it,
    but for rounding: it may tip the balance between two tokens. Set ``sampling`` to another seed to draw
    others.

    ``model`` may be in training: it is left as it is, and the next call notices that its weights have changed
    (see :class:`igpo_gym.lm.reader.CausalReader`). Give the ``reader`` of a scorer of the same model
    instead, and what the one has read the other need not read. ``batch_bytes`` bounds the keys and values of
    episodes that are sampled together: if there are more, they are sampled one batch after another.

    Raises SpecError for a model or tokenizer that cannot be driven.

    >>> from igpo_gym.data.world import load_world
    >>> policy = LanguageModelPolicy.load("nano", sampling=Sampling(temperature=0), device="cpu")
    >>> question = load_world("test").questions[0]
    >>> (message,) = policy.act([Episode(question, TAGS.prompt(question))])
    >>> type(TAGS.parse(message.text)).__name__, len(message.ids) == len(message.log_probs)
    ('ToolCalls', True)
    """

    def __init__(
        self,
        model: torch.nn.Module | CausalReader,
        tokenizer: PreTrainedTokenizerBase,
        protocol: TextProtocol = TAGS,
        sampling: Sampling = Sampling(),  # noqa: B008  (it is frozen)
        *,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self.reader = model if isinstance(model, CausalReader) else CausalReader(model)
        self.framing = Framing(tokenizer)
        self.framing.check_rows(self.reader.name, self.reader.rows)
        self.sampling = sampling
        self.weights = ""
        """The version of the weights that its messages carry, for whoever trains them to set."""
        self._protocol = protocol
        self._ends = self.framing.end_ids | end_ids(self.reader.model)
        # A tag can close only with such a token: few are, and to spell a message after each would cost more.
        tokens = tokenizer.convert_ids_to_tokens(range(self.framing.size))
        self._closers = frozenset(number for number, token in enumerate(tokens) if ">" in (token or ""))
        self._vocabulary = self.framing.size
        self._batch_bytes = batch_bytes
        self._stats = PolicyStats()
        self._check()

    @classmethod
    def load(
        cls,
        spec: str | Path,
        protocol: TextProtocol = TAGS,
        sampling: Sampling = Sampling(),  # noqa: B008
        device: str = "auto",
    ) -> LanguageModelPolicy:
        """A policy from a model's name, folder or GGUF file (see :func:`loading.load_model`)."""
        model, tokenizer = load_model(spec, device)
        return cls(model, tokenizer, protocol, sampling)

    @property
    def stats(self) -> PolicyStats:
        """What has been done so far."""
        return self._stats

    def facts(self) -> dict[str, str | int]:
        """What the model is: its class, its revision on the hub, a hash of its files, size and precision."""
        config, layout = self.reader.model.config, self.reader.layout
        return {
            "model": type(self.reader.model).__name__,
            "revision": getattr(config, "_commit_hash", None) or "",
            "weights": fingerprint(Path(config.name_or_path)) if config.name_or_path else "",
            "parameters": self.reader.model.num_parameters(),
            "dtype": str(layout.dtype).removeprefix("torch."),
            "device": layout.device.type,
        }

    def act(self, episodes: Sequence[Episode]) -> list[Message]:
        """One message per episode, in order. Raises SamplingError if the model's numbers are not finite."""
        started = time.perf_counter()
        drafts = [self._draft(episode) for episode in episodes]
        read = self._decode([draft for draft in drafts if draft.room > 0])
        messages = [self._message(draft) for draft in drafts]
        self._stats = PolicyStats(
            messages=self._stats.messages + len(messages),
            tokens_sampled=self._stats.tokens_sampled + sum(len(message.ids) for message in messages),
            tokens_read=self._stats.tokens_read + read,
            seconds=self._stats.seconds + time.perf_counter() - started,
        )
        return messages

    def has_room(self, episode: Episode) -> bool:
        """Whether the model reads a transcript that is longer by a token."""
        longest = self.reader.longest
        return longest is None or len(self.framing.ids(episode.segments)) < longest

    def _draft(self, episode: Episode) -> Draft:
        context = self.framing.ids(episode.segments)
        longest = self.reader.longest or len(context) + self.sampling.max_tokens
        room = min(self.sampling.max_tokens, longest - len(context))
        thinking = self.framing.opens_thought(episode.segments)
        return Draft(context, room, self.sampling.turn_seed(episode), thinking=thinking)

    def _complete(self, draft: Draft, token: int) -> bool:
        """Whether the draft is complete with its latest token: one that ends a text, a turn or an action."""
        if token in self._ends:
            return True
        if token not in self._closers:
            return False
        return self._protocol.end(self.framing.text(draft.ids), draft.thinking) is not None

    def _message(self, draft: Draft) -> Message:
        sampled = draft.ids, draft.log_probs, self._ends, self.weights
        return sampled_message(self.framing, self._protocol, *sampled, thinking=draft.thinking)

    def _decode(self, drafts: Sequence[Draft]) -> int:
        """Sample the drafts; returns how many tokens had to be read for it."""
        read = 0
        with self.reader.lock:
            self.reader.refresh()
            try:
                for batch in self._batches(drafts):
                    read += decode(self.reader, batch, self.sampling, self._vocabulary, self._complete)
                    self.reader.evict()
            except BaseException:
                self.reader.clear()
                raise
        return read

    def _batches(self, drafts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
        """The drafts in order, as many at a time as ``batch_bytes`` allows, but one at least."""
        most = self._batch_bytes // self.reader.layout.token_bytes
        start = longest = 0
        for place, draft in enumerate(drafts):
            longest = max(longest, len(draft.context) + draft.room)
            if place > start and longest * (place + 1 - start) > most:
                yield drafts[start:place]
                start, longest = place, len(draft.context) + draft.room
        if drafts:
            yield drafts[start:]

    def __deepcopy__(self, memo: object) -> LanguageModelPolicy:
        """The policy itself, as of a scorer: a model must not be copied along with its user."""
        return self

    def _check(self) -> None:
        """Compare a few log-probabilities with the model's own, as :meth:`CausalReader.check` does."""
        drafts = [
            Draft(self.reader.trial_ids(length), room, seed=length)
            for length, room in ((4, 2), (9, 5), (6, 4))
        ]
        with self.reader.lock:
            self.reader.refresh()
            try:
                decode(self.reader, drafts, Sampling(), self.reader.rows, lambda draft, token: False)
            finally:
                self.reader.clear()
        for draft in drafts:
            plain = plain_log_probs(self.reader.view, draft.context, draft.ids)
            for log_prob, own in zip(draft.log_probs, plain, strict=True):
                self.reader.check("policy", log_prob, own)


def end_ids(model: PreTrainedModel) -> frozenset[int]:
    """The tokens with which the model's own configuration for sampling ends a text."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    return frozenset(ends if isinstance(ends, (list, tuple)) else () if ends is None else (ends,))
