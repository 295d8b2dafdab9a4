"""A language model behind a URL as the agent: any server with OpenAI's interface."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.episode import Episode, Message
from igpo_gym.errors import SamplingError, choose
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.policy import Sampling
from igpo_gym.lm.served import check_tokenizer, served_model, served_tokenizer
from igpo_gym.numbers import ROUNDING, finite_number
from igpo_gym.protocols import TAGS, TextProtocol
from igpo_gym.protocols.grammar import THINK, THOUGHT
from igpo_gym.text import well_formed
from igpo_gym.transport import Server, ServerError, answer_bytes, parallel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOKEN_ID = "token_id:"
"""How vLLM writes a token of which the id was asked for."""

_NO_PENALTY = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
NEUTRAL: Mapping[str, Mapping[str, float]] = {
    "vllm": _NO_PENALTY | {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "sglang": _NO_PENALTY | {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    "llamacpp": _NO_PENALTY | {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "typical_p": 1.0},
}
"""By engine, what else decides about a token, set so that it decides nothing. What a request leaves out these
take from the model's ``generation_config``, or from defaults of their own: the agent would then not be the
policy whose log-probabilities are recorded."""

STOPPED_BY = ("stop_reason", "matched_stop")
"""Where vLLM and SGLang tell the stop that ended a text; None or a token id for an end of turn."""


class RemotePolicy:
    """An agent that a server of OpenAI's interface samples (a ``Policy``): vLLM, SGLang, llama.cpp, OpenAI.

    As a spec it is the server's URL, with arguments behind ``#`` where the defaults do not fit:
    ``http://host:8000/v1#tokenizer=Qwen/Qwen2.5-7B-Instruct`` or ``https://host/v1#model=NAME,kind=chat``.

    Of ``kind`` "completions" (the default) the transcript is sent in token ids, as a local policy reads it.
    A server that tells the ids that it sampled (vLLM does) gives messages with ids and log-probabilities, as
    a local policy does; any other gives texts. ``tokenizer`` is the model's, or where to load it from; by
    default the model that the server names. Of kind "chat" the transcript is sent as chat messages, which
    needs no tokenizer and gives texts; where the agent's own message goes on after a reply (as it does in the
    protocol "tags"), the server must know ``continue_final_message`` (vLLM and SGLang do).

    ``url`` is that of the server, with or without ``/v1``; a key that it wants is taken from
    ``IGPO_GYM_API_KEY``, or from the URL (``http://user:password@host``). ``model`` is a name that the server
    knows, needed if it knows several. One request is sent for each episode, up to ``concurrency`` at a time;
    for ``timeout`` (seconds), ``retries`` and ``backoff`` see :class:`igpo_gym.transport.Server`.

    A message ends as those of :class:`~igpo_gym.agents.policies.language_model.LanguageModelPolicy` do, and
    is empty where the server tells how much its model reads and the transcript is longer. Every request
    carries a seed of its own; whether equal seeds give equal messages is the server's affair.

    Raises SpecError, with the reason, for a server that cannot be used so, or whose own tokenizer it tells to
    be another, and SamplingError if it cannot be reached.
    """

    def __init__(
        self,
        url: str,
        protocol: TextProtocol = TAGS,
        sampling: Sampling = Sampling(),  # noqa: B008  (it is frozen)
        *,
        model: str | None = None,
        tokenizer: PreTrainedTokenizerBase | str | Path | None = None,
        kind: str = "completions",
        timeout: float = 600.0,
        retries: int = 4,
        backoff: float = 0.5,
        concurrency: int = 64,
    ) -> None:
        self._exchange = choose(
            {"completions": self._completion, "chat": self._chat}, kind, "kind of policy at a server"
        )
        self.sampling = sampling
        self.weights = ""
        """The version of the weights that its messages carry, for whoever trains them to set."""
        self._protocol = protocol
        self._server = Server(url, timeout=timeout, retries=retries, backoff=backoff, concurrency=concurrency)
        self._concurrency = concurrency
        try:
            self._served = served_model(self._server, model)
            self._framing: Framing | None = None
            if kind == "completions":
                self._framing = Framing(served_tokenizer(self._server, self._served, tokenizer))
                check_tokenizer(self._server, self._served.name, self._framing)
        except ServerError as problem:
            self.close()
            raise SamplingError(str(problem)) from None
        except BaseException:
            self.close()
            raise

    def facts(self) -> dict[str, str | int]:
        """What the server says of its model: its name."""
        return {"model": self._served.name}

    def act(self, episodes: Sequence[Episode]) -> Sequence[str | Message]:
        """One message per episode, in order.

        Raises SamplingError if the server fails after its retries, or if its answer is not what it should be.
        """
        try:
            answers = parallel(self._exchange, episodes, self._concurrency)
        except ServerError as problem:
            asked = (segment.text for each in episodes for segment in each.segments)
            raise SamplingError(problem.without(asked)) from None
        except ValueError as problem:
            raise SamplingError(f"no message from {self._server.url}: {problem}") from problem
        messages = [answer for answer in answers if isinstance(answer, Message)]
        if len(messages) == len(answers):
            return messages
        return [_without_ids(answer) if isinstance(answer, Message) else answer for answer in answers]

    def has_room(self, episode: Episode) -> bool:
        """Whether the server's model reads a transcript that is longer by a token, where that is known."""
        if self._framing is None or self._served.longest is None:
            return True
        return len(self._framing.ids(episode.segments)) < self._served.longest

    def close(self) -> None:
        """Drop the requests that have not begun, and close the connections."""
        self._server.close()

    def __enter__(self) -> RemotePolicy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __deepcopy__(self, memo: object) -> RemotePolicy:
        return self  # connections are there to be shared

    def _completion(self, episode: Episode) -> Message | str:
        """A message by ``/v1/completions``, whose prompt is token ids."""
        assert self._framing is not None
        context = self._framing.ids(episode.segments)
        room = self.sampling.max_tokens
        if self._served.longest is not None:
            room = min(room, self._served.longest - len(context))
        if room < 1:
            return Message("", (), (), self._framing.vocabulary)
        thinking = self._framing.opens_thought(episode.segments)
        most = answer_bytes(len(context) + room)
        ids: tuple[int, ...] = ()
        log_probs: tuple[float, ...] = ()
        text = ""  # of a server that tells no ids
        while True:
            behind = ids or self._framing.text_ids(text)
            body = {
                **self._body(episode, room - len(behind)),
                "prompt": [*context, *behind],
                "add_special_tokens": False,
                "skip_special_tokens": False,
                "logprobs": 1,
                "return_tokens_as_token_ids": True,
            }
            choice = _choice(self._server.post("/v1/completions", body, max_bytes=most))
            sampled = sampled_tokens(choice.get("logprobs"), self._framing.size)
            if sampled is None:
                piece = _text(choice.get("text"))
                text = self._closed(text + piece, choice, thinking)
                ended = self._protocol.end(text, thinking) is not None
                within = (
                    piece and text.endswith(self._protocol.stops) and choice.get("finish_reason") == "stop"
                )
                if ended or not within or len(self._framing.text_ids(text)) >= room:
                    return self._with_cut(text, choice, thinking)
                continue
            ids, log_probs = ids + sampled[0], log_probs + sampled[1]
            stopped = any(choice.get(key) in self._protocol.stops for key in STOPPED_BY)
            ended = self._protocol.end(self._framing.text(ids), thinking) is not None
            # A server stops at a tag within a thought, too, which ends nothing.
            if ended or not stopped or not sampled[0] or len(ids) >= room:
                break
        # Of a model whose generation_config has more of them than its tokenizer.
        ends = [told for key in STOPPED_BY if isinstance(told := choice.get(key), int)]
        return sampled_message(
            self._framing, self._protocol, ids, log_probs, ends, weights=self.weights, thinking=thinking
        )

    def _chat(self, episode: Episode) -> Message | str:
        """A message by ``/v1/chat/completions``; empty where a model was cut off while it reasoned."""
        messages = episode.messages()
        body = {**self._body(episode, self.sampling.max_tokens), "messages": messages}
        if messages[-1]["role"] == "assistant":
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        most = answer_bytes(self.sampling.max_tokens)
        choice = _choice(self._server.post("/v1/chat/completions", body, max_bytes=most))
        message = choice.get("message")
        content = message.get("content", 0) if isinstance(message, dict) else 0
        text = "" if content is None else _text(content)
        before, closing, _ = text.partition(THOUGHT)
        thinking = bool(closing) and THINK not in before  # the template opened the thought
        return self._with_cut(self._closed(text, choice, thinking), choice, thinking)

    def _with_cut(self, text: str, choice: Mapping[str, Any], thinking: bool) -> Message | str:
        """A text without ids; where the limit of tokens ended it before its action was complete, that too."""
        if choice.get("finish_reason") != "length" or self._protocol.end(text, thinking) is not None:
            return text
        return Message(text, (), (), cut_off=True)

    def _body(self, episode: Episode, room: int) -> dict[str, Any]:
        sampling = self.sampling
        body: dict[str, Any] = {
            "model": self._served.name,
            "max_tokens": room,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.turn_seed(episode) >> 32,  # servers differ in how large a seed may be
            "stop": list(self._protocol.stops),
        }
        top_k = {"top_k": sampling.top_k} if sampling.top_k else {}
        return {**body, **NEUTRAL.get(self._served.engine, {}), **top_k}

    def _closed(self, text: str, choice: Mapping[str, Any], thinking: bool) -> str:
        """The text with the closing tag that ended it, which a server leaves out.

        Servers say "stop" for an end of turn too. Where this one does not tell which it was, the tag of the
        action that is open is taken for what ended the text.
        """
        text, stops = self._protocol.cut(text, thinking), self._protocol.stops
        if text.endswith(stops) or choice.get("finish_reason") != "stop":
            return text
        told = [choice[key] for key in STOPPED_BY if key in choice]
        if told:
            return text + "".join(stop for stop in stops if stop in told)
        opened = {stop: _last_opening(text, stop) for stop in stops}
        latest = max(opened, key=lambda stop: opened[stop])
        return text if opened[latest] < 0 else text + latest


def _without_ids(message: Message) -> str | Message:
    return Message(message.text, (), (), cut_off=True) if message.cut_off else message.text


def _last_opening(text: str, closing: str) -> int:
    """Where the tag that ``closing`` closes is opened last, with attributes or without; -1 if nowhere."""
    tag = re.escape(closing.removeprefix("</").removesuffix(">"))
    return max((found.start() for found in re.finditer(rf"<{tag}(?:\s[^<>]*)?>", text)), default=-1)


def sampled_tokens(logprobs: object, size: int) -> tuple[tuple[int, ...], tuple[float, ...]] | None:
    """The ids and log-probabilities of a choice, or None where the server does not tell ids.

    Raises ValueError for numbers that are not right, ids that a vocabulary of this ``size`` does not have
    among them.
    """
    if not isinstance(logprobs, dict):
        return None
    tokens, log_probs = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if not isinstance(tokens, list) or not isinstance(log_probs, list):
        return None
    if not all(isinstance(token, str) and token.startswith(TOKEN_ID) for token in tokens):
        return None
    if len(tokens) != len(log_probs):
        raise ValueError(f"{len(log_probs)} log-probabilities for {len(tokens)} tokens")
    if any(finite_number(each) is None for each in log_probs):
        raise ValueError("a log-probability that is not a finite number")
    if any(each > ROUNDING for each in log_probs):
        raise ValueError(f"a log-probability above 0 ({max(log_probs)})")
    ids = tuple(int(token.removeprefix(TOKEN_ID)) for token in tokens)
    if ids and not 0 <= min(ids) <= max(ids) < size:
        raise ValueError("token ids that its tokenizer does not have; give the model's own as tokenizer=")
    return ids, tuple(map(float, log_probs))


def _choice(answer: object) -> Mapping[str, Any]:
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise ValueError("its answer does not hold one choice")
    return choices[0]


def _text(text: object) -> str:
    if not isinstance(text, str):
        raise ValueError("its answer has no text")
    return well_formed(text)
