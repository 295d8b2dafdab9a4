"""A model that is sure of the answer is said to be sure, whatever its tokenizer does at the ends of texts."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from igpo_gym.episode import Segment
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from tests.lm.sentencepiece import KINDS, PHI3, make_tokenizer
from tests.lm.tiny import make_model

QUESTION = "Where is the tower?\n"


@pytest.mark.parametrize(("kind", "prepend"), list(product(KINDS, (True, False))))
@pytest.mark.parametrize("template", [None, PHI3], ids=["plain", "phi3"])
def test_the_scorer_says_what_the_model_says(kind: str, prepend: bool, template: str | None) -> None:
    """The model learns one text, tokenized as a whole by its tokenizer; that says how sure it is."""
    tokenizer = make_tokenizer(kind, prepend, chat_template=template)
    opening = f"<|user|>\n{QUESTION}<|end|>\n<|assistant|>\n" if template else QUESTION
    before = f"{opening}{ANSWER_PROBE.prefix}"
    whole = tokenizer(before + "Paris", add_special_tokens=not template, return_offsets_mapping=True)
    ids = torch.tensor([whole["input_ids"]])
    asked = [place for place, (_, stop) in enumerate(whole["offset_mapping"]) if stop > len(before)]
    model = learned(ids)
    with torch.no_grad():
        log_probs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    sure = float(sum(log_probs[place - 1, ids[0, place]] for place in asked) / len(asked))
    assert sure > -0.01
    request = BeliefRequest((Segment("environment", "user", QUESTION),), ("Paris",), ANSWER_PROBE)
    (belief,) = TransformersScorer(model, tokenizer).score([request])
    assert belief.log_prob == pytest.approx(sure, abs=1e-4)
    assert len(belief.token_log_probs[0]) == len(asked)


WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""Where Qwen's tokenizer cuts: newlines stay with the signs before them."""


def like_qwen() -> PreTrainedTokenizerFast:
    """A byte-level BPE that joins signs with the newline behind them."""
    made = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(WORDS), "isolated"), byte_level])
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([f"It is so.\nIs it (not)?\n{ANSWER_PROBE.around('D.C.')}\n"] * 40, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>")


@pytest.mark.parametrize(("answer", "last"), [("D.C.", ".\n"), ("(not)", ")"), ("D.C", ".C")])
def test_the_scorer_says_what_the_model_says_at_the_answers_end(answer: str, last: str) -> None:
    tokenizer = like_qwen()
    text = QUESTION + ANSWER_PROBE.around(answer)
    start = text.index(answer)
    whole = tokenizer(text, return_offsets_mapping=True)
    spans = whole["offset_mapping"]
    asked = [n for n, (first, end) in enumerate(spans) if end > start and first < start + len(answer)]
    ids = torch.tensor([whole["input_ids"]])
    assert tokenizer.decode(ids[0, asked[-1]]) == last
    model = learned(ids)
    with torch.no_grad():
        log_probs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    sure = [float(log_probs[place - 1, ids[0, place]]) for place in asked]
    assert min(sure) > -0.05
    request = BeliefRequest((Segment("environment", "user", QUESTION),), (answer,), ANSWER_PROBE)
    (belief,) = TransformersScorer(model, tokenizer).score([request])
    assert belief.token_log_probs[0] == pytest.approx(sure, abs=1e-4)
    assert belief.joined == ((True,) if last == ".\n" else ())


def test_an_answer_of_nothing_has_no_tokens_whatever_stands_around_it() -> None:
    """The newlines before and behind it may be one token."""
    assert Framing(like_qwen()).behind("is\n", "", "\n").ids == ()


def learned(ids: torch.Tensor) -> AutoModelForCausalLM:
    """A tiny model that has learned to write ``ids``."""
    model = make_model(vocab_size=600, num_hidden_layers=1).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        loss = model(input_ids=ids, labels=ids).loss
        if loss < 1e-3:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()
