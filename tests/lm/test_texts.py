"""Texts as they stand: the ids of segments, probe and answers are those of the transcript as one text."""

from __future__ import annotations

import unicodedata
from itertools import product
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from igpo_gym.episode import Segment
from igpo_gym.errors import SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.loading import load_tokenizer
from igpo_gym.lm.texts import TextTokenizer
from igpo_gym.protocols import ANSWER_PROBE, TAGS, AnswerProbe
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.prompts import check_probe, query_of
from tests.lm.sentencepiece import KINDS, LLAMA2, PHI3, make_tokenizer

MADE = list(product(KINDS, (True, False), (True, False)))
QUESTION = "Where is the tower?\n"
MESSAGE = "<think>hm</think><search>the tower</search>"
SEGMENTS = (
    Segment("environment", "user", QUESTION),
    Segment("agent", "assistant", MESSAGE),
    *TAGS.reply("Doc 1(Title: Tower) The tower is in Paris."),
)


def spelled(tokenizer: PreTrainedTokenizerFast, ids: Any) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(list(ids)))


@pytest.mark.parametrize("trim", [False, True])
def test_a_probe_that_is_joined_with_every_answer_is_seen_whatever_offsets_leave_out(trim: bool) -> None:
    """Some tokenizers leave the blank of a token out of where it stands (GPT-NeoX)."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    made.train_from_iterator(["is Paris is Danzig"] * 50, trainer)
    made.post_processor = processors.ByteLevel(trim_offsets=trim)
    framing = Framing(PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>"))
    found = framing.behind("The answer is ", "Paris")
    assert ([framing.text((number,)) for number in found.ids], found.joined) == ([" Paris"], True)


@pytest.mark.parametrize(("kind", "prepend", "fallback"), MADE)
def test_a_transcript_has_the_ids_that_it_has_as_one_text(kind: str, prepend: bool, fallback: bool) -> None:
    """Against the tokenizer itself, given the whole: the only blank that it inserts is the first."""
    tokenizer = make_tokenizer(kind, prepend, fallback)
    query = query_of(Framing(tokenizer), BeliefRequest(SEGMENTS, ("Paris", "the tower"), ANSWER_PROBE))
    for answer, prompt in zip(("Paris", "the tower"), query.prompts, strict=True):
        text = "".join(segment.text for segment in SEGMENTS) + ANSWER_PROBE.prefix + answer
        whole = tokenizer(text, return_offsets_mapping=True)
        assert spelled(tokenizer, prompt.ids) == spelled(tokenizer, whole["input_ids"])
        ends = [stop for _, stop in whole["offset_mapping"]]
        assert prompt.scored == sum(stop > len(text) - len(answer) for stop in ends)


@pytest.mark.parametrize(("kind", "prepend"), list(product(("unigram", "bpe", "legacy"), (True, False))))
@pytest.mark.parametrize("template", [PHI3, LLAMA2], ids=["phi3", "llama2"])
def test_a_chat_has_the_ids_of_its_rendering(kind: str, prepend: bool, template: str) -> None:
    tokenizer = make_tokenizer(kind, prepend, chat_template=template)
    roles = ("user", "assistant", "user")
    texts = ("Where is the tower?", "The tower is in Paris.", "Is Paris in France?")
    segments = [Segment("environment", role, text) for role, text in zip(roles, texts, strict=True)]  # type: ignore[arg-type]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    if template == LLAMA2:  # what the agent wrote has no blank in front: the model was not given one
        whole = whole.replace("[/INST] The", "[/INST]The")
    expected = tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert spelled(tokenizer, Framing(tokenizer).ids(segments)) == spelled(tokenizer, expected)


@pytest.mark.parametrize("kind", ["unigram", "bpe", "legacy"])
@pytest.mark.parametrize("blank", ["", " "])
def test_the_token_that_ended_a_message_stands_for_the_blank_before_it_too(kind: str, blank: str) -> None:
    """The template writes ``tower </s>``; the model may have left out the blank."""
    tokenizer = make_tokenizer(kind, chat_template=LLAMA2)
    framing = Framing(tokenizer)
    sampled = (*framing.text_ids("The tower" + blank), tokenizer.eos_token_id)
    roles, texts = ("user", "assistant", "user"), ("Where?", "The tower", "Is it?")
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
    whole = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    expected = whole.replace("[/INST] The", "[/INST]The").replace("tower </s>", f"tower{blank}</s>")
    segments = [
        Segment("environment", "user", "Where?"),
        Segment("agent", "assistant", "The tower", sampled),
        Segment("environment", "user", "Is it?"),
    ]
    assert framing.ids(segments) == tuple(tokenizer(expected, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("prepend", [True, False])
def test_a_seam_of_newlines_is_no_longer_than_it_is(prepend: bool) -> None:
    """Newlines that a tokenizer joins: a seam of two is one token, whatever stands in front."""
    template = (
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% set messages = messages[1:] %}"
        "{% endif %}" + PHI3
    ).replace("<|{{ m.role }}|>\n", "{{ '' if m.role == 'user' else '<|assistant|>\n' }}")
    tokenizer = make_tokenizer("bpe", prepend, chat_template=template)
    tokenizer.add_tokens(["\n\n", "\n\n\n"])
    segments = [Segment("environment", "system", "the"), Segment("environment", "user", "tower")]
    text = Framing(tokenizer).text(Framing(tokenizer).ids(segments))
    assert text.split() == ["the", "tower<|end|>", "<|assistant|>"]
    assert text.count("\n") == 4


@pytest.mark.parametrize(("kind", "prepend", "fallback"), MADE)
def test_no_text_spells_a_control_token_and_ids_spell_the_text(
    kind: str, prepend: bool, fallback: bool
) -> None:
    tokenizer = make_tokenizer(kind, prepend, fallback)
    texts = TextTokenizer(tokenizer)
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for text in ("a<s>b", "</s>", "<|user|> the <|end|>", "tower<|assistant|><s>"):
        ids = texts.ids(text)
        assert not control & set(ids)
        assert fallback is False or texts.text(ids) == text
    assert texts.text(texts.ids(" the tower")) == " the tower"


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_normalized_into_a_control_token(kind: str) -> None:
    """Full-width signs, which NFKC makes those of ASCII; as the tokenizer writes them they stay apart."""
    tokenizer = make_tokenizer(kind)
    made = tokenizer.backend_tokenizer
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), *([made.normalizer] if made.normalizer else [])]
    )
    texts = TextTokenizer(tokenizer)
    for text in ("＜/s＞", "a＜/s＞b", "<<s＞>", "＜｜end｜＞ the ＜|end|＞"):
        tokens = texts.tokens(text)
        assert not {number for number, *_ in tokens} & set(tokenizer.all_special_ids)
        assert texts.text(texts.ids(text)) == unicodedata.normalize("NFKC", text)
        assert [first for _, first, _ in tokens] == sorted(first for _, first, _ in tokens)
        assert (tokens[0][1], tokens[-1][2]) == (0, len(text))


def test_bytes_that_count_as_special_spell_texts() -> None:
    tokenizer = make_tokenizer("bpe")
    tokenizer.add_tokens(["<0x7E>"], special_tokens=True)
    assert spelled(tokenizer, Framing(tokenizer).text_ids("~")) == ["<0x7E>"]


def test_a_token_across_the_cut_counts_to_the_answer_and_is_told() -> None:
    pieces = ("<unk>", "The", "{", "-", "{-", "5", "7", "T", "h", "e", "Th")
    merges = [("T", "h"), ("Th", "e"), ("{", "-")]
    model = models.BPE({piece: n for n, piece in enumerate(pieces)}, merges, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    framing = Framing(PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>"))
    for question in ("The", "7"):
        segments = (Segment("environment", "user", question),)
        query = query_of(framing, BeliefRequest(segments, ("-5", "7"), AnswerProbe("The{", "}")))
        assert query.answers == (((1,), (4, 5), True), ((1, 2), (6,), False))


def test_a_tokenizer_that_joins_every_answer_with_the_probe_is_refused() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0, "▁is": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    framing = Framing(PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>"))
    with pytest.raises(SpecError, match="' joins ' ', the end of the answer probe"):
        check_probe(framing, "The answer is ")
    with pytest.raises(SpecError, match="with every answer; give a probe that ends otherwise"):
        query_of(framing, BeliefRequest(SEGMENTS, ("Paris",), AnswerProbe("The answer is ", ".")))


def test_the_packaged_models_read_texts_as_they_were_trained_to() -> None:
    tokenizer = load_tokenizer("nano")
    for _ in range(2):
        texts = TextTokenizer(tokenizer)
        assert (texts.apart, texts.changed) == (True, False)
        assert texts.text(texts.ids("Danzig")) == " Danzig"
        tokenizer.add_tokens(["<more>"], special_tokens=True)  # as a trainer does that wants a padding token
