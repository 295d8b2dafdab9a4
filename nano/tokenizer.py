"""The tokenizer of the packaged model: byte-level BPE of about a thousand tokens, made for the world's text.

Every invented word is written in as many tokens as it has syllables, with the same tokens wherever it stands,
which is what lets a small model copy names it has never met. A year is two tokens, its century and the rest,
so that years can be compared. The tags of the protocol are single tokens, but not control tokens: a decoded
message keeps them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from igpo_gym.data.world import World
from igpo_gym.data.world.language import KINDS
from igpo_gym.data.world.names import FIRST, LATER
from igpo_gym.episode import Question
from igpo_gym.protocols import TAGS
from igpo_gym.protocols.protocol import unavailable
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH

if TYPE_CHECKING:
    from tokenizers import Tokenizer

VOCABULARY = 1024
PAD, BOS, EOS = "<|pad|>", "<|bos|>", "<|eos|>"
TAG_TOKENS = tuple(
    f"<{slash}{name}>" for name in ("think", "search", "open", "information", "answer") for slash in ("", "/")
)

_INVENTED = re.compile(rf"\b({'|'.join(FIRST)})((?:{'|'.join(LATER)})+)\b")
_LATER = re.compile("|".join(LATER))
_YEAR = re.compile(r"\b(1[5-9])(\d0)\b")
_TAG = re.compile(r"</?\w+>")


def _syllables_apart(text: str) -> str:
    """The text with a digit between the syllables of invented words, and a letter within years, so that no
    merge crosses them."""
    text = _YEAR.sub(r"\1x\2", text)
    return _INVENTED.sub(lambda match: "1".join([match[1], *_LATER.findall(match[2])]), text)


def _fixed_texts() -> list[str]:
    """What the protocol and the scripted agents write again and again, in pieces between tags."""
    types = [name for kind in KINDS.values() for name in kind.types]
    texts = [
        TAGS.prompt(Question("", "-", ("-",)))[0].text,
        TAGS.with_tools((SEARCH, OPEN)).prompt(Question("", "-", ("-",)))[0].text,
        TAGS.reply_text(TAGS.passages(())),
        TAGS.reply_text("Doc 1(Title: - ) -\nDoc 2(Title: - ) -\nDoc 3(Title: - ) -"),
        TAGS.reply_text(unavailable("search")),
        TAGS.reply_text(TAGS.invalid("text after the action; stop after your action")),
        TAGS.reply_text(TAGS.invalid("no action: the message has no <search> or <answer> block")),
        TAGS.reply_text(TAGS.invalid("<search> is not closed with </search>")),
        f"{TAGS.probe.prefix} - {TAGS.probe.suffix}",
        "I need the -",
        "I look again",
        "I read -",
        " (page 1 of 1)",
        "I read on",
        "I search the question",
        "I do not know.",
        "I think the answer is -",
        "what is the year of",
        "what is the region that contains",
        *types,
    ]
    return [piece for text in texts for piece in _TAG.split(text)]


def _corpus(worlds: int) -> Iterator[str]:
    for seed in range(worlds):
        world = World(seed=seed, hops=(1, 4), questions=200)
        for passage in world.passages():
            yield _syllables_apart(f"{passage.title} {passage.text}")
        for question in world.all_questions():
            yield _syllables_apart(question.text)
        yield from _fixed_texts() * 60
        yield from FIRST


def build_tokenizer(worlds: int = 20) -> Tokenizer:
    """Train the tokenizer on the text of that many training worlds; a few seconds, the same every time."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAG_TOKENS),
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(worlds), trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAG_TOKENS])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, token_id(tokenizer, BOS))]
    )
    return tokenizer


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that the tokenizer must have. Raises ValueError if it has not."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer has no token {token!r}")
    return int(found)
