"""Tokenizers such as SentencePiece makes them: blanks as a sign, one in front of each text, single bytes."""

from __future__ import annotations

import json
from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from igpo_gym.protocols import TAGS

KINDS = ("unigram", "bpe", "legacy", "byte-level")
"""A Unigram model; BPE with Metaspace, as newer files of Llama-2 are; BPE with a normalizer that prepends, as
older ones are; and byte-level BPE with a prefix space."""

CONTROL = ("<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>")
BYTES = tuple(f"<0x{number:02X}>" for number in range(256))

PHI3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]"
    "{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
)

CORPUS = [
    TAGS.user(TAGS),
    "Where is the tower? The tower is in Paris. Is Paris in France? Paris is the capital of France.",
    "Now there is enough information to answer: Danzig, or Paris [INST] [/INST] user assistant tower",
] * 3


@cache
def backend(kind: str, prepend: bool, fallback: bool) -> str:
    """A trained tokenizer, as JSON."""
    scheme = "always" if prepend else "never"
    special = [*CONTROL, *(BYTES if fallback else ())]
    trainer = {"special_tokens": special, "vocab_size": 520 if fallback else 260, "show_progress": False}
    if kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        tokenizer.train_from_iterator(CORPUS, trainers.UnigramTrainer(unk_token="<unk>", **trainer))
    elif kind == "byte-level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prepend)
        trainer |= {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet(), "vocab_size": 600}
        tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(**trainer))
    else:
        tokenizer = Tokenizer(models.BPE(byte_fallback=fallback, unk_token="<unk>", fuse_unk=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(**trainer))
        if kind == "legacy":
            first = [normalizers.Prepend("▁")] if prepend else []
            tokenizer.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
            tokenizer.pre_tokenizer = None
    values = json.loads(tokenizer.to_str())
    values["added_tokens"] = [token for token in values["added_tokens"] if token["content"] in CONTROL]
    if kind != "byte-level":
        values["model"]["byte_fallback"] = fallback
    return json.dumps(values)


def make_tokenizer(
    kind: str, prepend: bool = True, fallback: bool = True, chat_template: str | None = None
) -> PreTrainedTokenizerFast:
    """A tokenizer of ``kind``; ``prepend`` puts a blank in front of a text, ``fallback`` spells what it does
    not know by bytes."""
    tokenizer = Tokenizer.from_str(backend(kind, prepend, fallback))
    strip = [decoders.Strip(" ", 1, 0)] if prepend else []
    replace = decoders.Replace("▁", " ")
    tokenizer.decoder = (
        decoders.ByteLevel()
        if kind == "byte-level"
        else decoders.Sequence([replace, decoders.ByteFallback(), decoders.Fuse(), *strip])
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=list(CONTROL[3:]),
    )
    made.chat_template = chat_template
    return made
