"""A model that is sure of the answer is said to be sure, whatever its tokenizer does at the ends of texts."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from transformers import AutoModelForCausalLM

from igpo_gym.episode import Segment
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
