"""Shifted servers and foreign tokenizers betray themselves, whatever the model; good ones do not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from igpo_gym.lm.framing import Framing
from igpo_gym.scorers.handshake import NOISE, flaw, probe
from igpo_gym.scorers.wire import DIALECTS, Scores
from tests.lm.tiny import CHATML, make_model, make_tokenizer
from tests.scorers.servers import Engine


def answers(engine: Engine, shift: int, noise: float = 0.0) -> list[Scores]:
    """What a server with this engine answers to the probe."""
    prompts = probe(Framing(engine.tokenizer))
    route = engine.echo(shift)["/v1/completions"]
    scores = DIALECTS["openai"].read(route(DIALECTS["openai"].ask("tiny", prompts)), prompts)
    rng = random.Random(0)
    return [
        [
            entry._replace(
                log_prob=entry.log_prob + rng.uniform(-noise, noise),
                likeliest=entry.likeliest and entry.likeliest + rng.uniform(-noise, noise),
            )
            for entry in score
        ]
        for score in scores
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3"])
def test_a_shift_is_noticed_and_noise_is_not(family: str) -> None:
    engine = Engine(make_model(family), make_tokenizer(CHATML), "")
    prompts = probe(Framing(engine.tokenizer))
    assert len(prompts) >= 6
    assert flaw(prompts, answers(engine, shift=0, noise=NOISE / 2), engine.tokenizer) is None
    assert "shifted by one" in str(flaw(prompts, answers(engine, shift=1), engine.tokenizer))


def test_words_of_another_tokenizer_are_noticed() -> None:
    engine = Engine(make_model(), make_tokenizer(), "")
    prompts = probe(Framing(engine.tokenizer))
    scores = answers(engine, shift=0)
    scores[3][2] = scores[3][2]._replace(text="zebra")
    assert "its tokenizer is another one" in str(flaw(prompts, scores, engine.tokenizer))


def test_spaces_may_be_shown_in_any_way() -> None:
    engine = Engine(make_model(), make_tokenizer(), "")
    shown = [
        [entry._replace(text=str(entry.text).replace(" ", "Ġ").replace(",", "▁,")) for entry in score]
        for score in answers(engine, shift=0)
    ]
    assert flaw(probe(Framing(engine.tokenizer)), shown, engine.tokenizer) is None


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0, 1])
def test_a_real_model(shift: int, smollm2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    engine = Engine(AutoModelForCausalLM.from_pretrained(smollm2).eval(), tokenizer, str(smollm2))
    problem = flaw(probe(Framing(tokenizer)), answers(engine, shift), tokenizer)
    assert ("shifted by one" in problem) if problem else shift == 0
