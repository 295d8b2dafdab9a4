"""Tiny tokenizers and random models of several families, made on the spot, and a naive scorer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from igpo_gym.episode import Segment
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import TAGS, TOOL_CALL
from igpo_gym.scorers.interface import BeliefRequest

torch.set_num_threads(1)  # such small products are slower on more

CONTROL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")
CHATML = """\
{% for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@cache
def backend(bos: bool) -> Tokenizer:
    """A byte-level BPE of 400 tokens; the protocol's tags are added tokens that are not special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=396,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [TAGS.user(TAGS), TOOL_CALL.system(TOOL_CALL), TAGS.probe.prefix, "the novel of 1959 by"], trainer
    )
    tokenizer.add_tokens([AddedToken(tag, special=False) for tag in ("<search>", "</search>")])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def make_tokenizer(chat_template: str | None = None, bos: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer for tests; ``bos`` makes it put <s> in front of a text."""
    copy = Tokenizer.from_str(backend(bos).to_str())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=copy,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
    )
    tokenizer.chat_template = chat_template
    return tokenizer


SHAPE = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
"""Weights are drawn so wide that what a token attends to matters."""


def make_model(family: str = "llama", **settings: object) -> PreTrainedModel:
    """A random model of a family, the same every time."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SHAPE, **settings})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@torch.no_grad()
def naive_belief(model: PreTrainedModel, framing: Framing, request: BeliefRequest) -> tuple[float, ...]:
    """The log-probabilities of :class:`Belief` from one plain forward pass per answer, nothing shared."""
    means = []
    for text in request.answers:
        answer = framing.text_ids(text)
        ids = framing.ids(request.segments) + framing.text_ids(request.probe.prefix) + answer
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0]
        log_probs = logits[-len(answer) - 1 : -1].double().log_softmax(-1)
        means.append(log_probs[torch.arange(len(answer)), list(answer)].mean().item())
    return tuple(means)


def turn(number: int, words: int = 12) -> tuple[Segment, ...]:
    """An agent's message and a reply, different for each number."""
    return (
        Segment("agent", "assistant", f"<search>the novel {number} of {number * 7 % 31}</search>"),
        *TAGS.reply(" ".join(f"by{(number * word) % 17}" for word in range(words))),
    )


def request(prompt: str, turns: Sequence[int] = (), answers: Sequence[str] = ("Grass",)) -> BeliefRequest:
    """A request after some turns of an episode with ``prompt``."""
    segments = [Segment("environment", "user", prompt)]
    for number in turns:
        segments += turn(number, words=3 + number % 11)
    return BeliefRequest(tuple(segments), tuple(answers), TAGS.probe)
