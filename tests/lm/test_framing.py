"""Framing: control tokens from the framing alone, stable prefixes, and the template's own words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.episode import Episode, Question, Segment, Turn
from igpo_gym.errors import SpecError
from igpo_gym.lm.framing import REMEMBERED, Framing, remembered
from igpo_gym.protocols import PROTOCOLS
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.tools import search_call
from tests.lm.tiny import CHATML, CONTROL, make_model, make_tokenizer

# Like Qwen's: a default system prompt, old thoughts dropped, content stripped.
FORGETFUL = """\
{% if messages[0].role != 'system' %}<|im_start|>system
You are helpful.<|im_end|>
{% endif %}{% for message in messages %}{% set content = message.content | trim %}\
{% if message.role == 'assistant' %}{% set content = content.split('</think>')[-1] %}{% endif %}\
<|im_start|>{{ message.role }}
{{ content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
# Like DeepSeek-R1's: the agent's message is opened inside a thought.
THINKING = CHATML.replace("assistant\n{%", "assistant\n<think>\n{%")
# Like Mistral's: no system role of its own, no generation prompt, an end of text after each answer.
INSTRUCT = """\
<s>{% if messages[0].role == 'system' %}{% set first = messages[0].content + '\n\n' %}\
{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}\
{% for message in messages %}{% if message.role == 'user' %}[INST] {{ first if loop.first }}\
{{ message.content }} [/INST]{% else %} {{ message.content }}</s>{% endif %}{% endfor %}"""
TEMPLATES = {
    "chatml": CHATML,
    "forgetful": FORGETFUL,
    "thinking": THINKING,
    "instruct": INSTRUCT,
    "none": None,
}

pieces = st.one_of(st.text(st.characters(exclude_categories=("Cs",)), max_size=8), st.sampled_from(CONTROL))
texts = st.lists(pieces, max_size=6).map("".join)
questions = texts.filter(str.strip)
CONTROL_IDS = set(range(len(CONTROL)))

framings = {name: Framing(make_tokenizer(template)) for name, template in TEMPLATES.items()}


def control(ids: tuple[int, ...]) -> list[int]:
    return [token for token in ids if token in CONTROL_IDS]


@given(texts)
def test_no_text_spells_a_control_token(text: str) -> None:
    ids = framings["none"].text_ids(text)
    assert control(ids) == []
    assert make_tokenizer().decode(ids, clean_up_tokenization_spaces=False) == text


def test_the_protocols_tags_stay_whole() -> None:
    tokenizer = make_tokenizer()
    tag = tokenizer.convert_tokens_to_ids("<search>")
    assert framings["none"].text_ids("a<search>b")[1] == tag


@given(
    name=st.sampled_from(sorted(TEMPLATES)),
    protocol=st.sampled_from(sorted(PROTOCOLS)),
    question=questions,
    turns=st.lists(st.tuples(texts, texts), max_size=4),
)
def test_a_transcript_begins_with_what_it_was(
    name: str, protocol: str, question: str, turns: list[tuple[str, str]]
) -> None:
    framing, grammar = framings[name], PROTOCOLS[protocol]
    asked = Question("1", question, ("yes",))
    episode = Episode(asked, grammar.prompt(asked))
    earlier = framing.ids(episode.segments)
    for message, body in turns:
        said = Segment("agent", "assistant", message)
        episode.append(Turn(message, search_call("q"), (said, *grammar.reply(body))))
        later = framing.ids(episode.segments)
        assert later[: len(earlier)] == earlier
        assert len(later) > len(earlier)
        earlier = later


@pytest.mark.parametrize("name", TEMPLATES)
def test_text_never_changes_the_control_tokens(name: str) -> None:
    def conversation(text: str) -> list[Segment]:
        return [
            Segment("environment", "system", text),
            Segment("environment", "user", text),
            Segment("agent", "assistant", text),
            Segment("environment", "user", text),
        ]

    framing = framings[name]
    expected = control(framing.ids(conversation("a")))
    assert control(framing.ids(conversation("".join(CONTROL)))) == expected


@pytest.mark.parametrize("name", ["chatml", "forgetful", "instruct"])
@pytest.mark.parametrize("roles", [("user",), ("system", "user"), ("user", "assistant", "user")])
def test_a_plain_conversation_reads_as_the_template_writes_it(name: str, roles: tuple[str, ...]) -> None:
    tokenizer = make_tokenizer(TEMPLATES[name])
    messages = [{"role": role, "content": f"text {number}"} for number, role in enumerate(roles)]
    written = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    segments = [Segment("environment", role, f"text {number}") for number, role in enumerate(roles)]  # type: ignore[arg-type]
    ids = Framing(tokenizer).ids(segments)
    # Old Mistral templates put a blank before what the agent wrote; the agent has not written it yet.
    assert tokenizer.decode(ids).replace("[/INST]", "[/INST] ") == written.replace(
        "[/INST]", "[/INST] "
    ).replace("  ", " ")


def test_an_opened_thought_is_opened_in_every_turn() -> None:
    tokenizer = make_tokenizer(THINKING)
    segments = [
        Segment("environment", "user", "q"),
        Segment("agent", "assistant", "hm</think>a"),
        Segment("environment", "user", "r"),
    ]
    assert tokenizer.decode(Framing(tokenizer).ids(segments)) == (
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n<think>\nhm</think>a<|im_end|>\n"
        "<|im_start|>user\nr<|im_end|>\n<|im_start|>assistant\n<think>\n"
    )


def test_consecutive_segments_of_a_role_are_one_message() -> None:
    framing = framings["chatml"]
    together = [Segment("environment", "user", "q"), Segment("agent", "assistant", "a")]
    inline = Segment("environment", "assistant", "result")
    assert framing.ids([*together, inline]) == framing.ids(together) + framing.text_ids("result")


@pytest.mark.parametrize("bos", [True, False])
def test_without_a_template_the_tokenizers_own_beginning_stands_first_and_once(bos: bool) -> None:
    framing = Framing(make_tokenizer(bos=bos))
    segments = [Segment("environment", "user", "q\n"), Segment("agent", "assistant", "a")]
    assert framing.ids(segments) == ((0,) if bos else ()) + framing.text_ids("q\n") + framing.text_ids("a")


def test_sampled_ids_stand_for_their_text() -> None:
    framing = framings["none"]
    segments = [Segment("environment", "user", "q"), Segment("agent", "assistant", "abc", (40, 41))]
    assert framing.ids(segments)[-2:] == (40, 41)


def test_what_follows_a_message_may_be_what_ends_it() -> None:
    """As GLM-4's: the role of the next message ends the agent's, a tool's another way than a user's."""
    tokenizer = make_tokenizer(
        "{% for m in messages %}<|{{ 'observation' if m.role == 'tool' else m.role }}|>\n{{ m.content }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        bos=False,
    )
    roles = ["<|user|>", "<|assistant|>", "<|observation|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": roles})
    user, _, observation = tokenizer.convert_tokens_to_ids(roles)
    framing = Framing(tokenizer)
    assert framing.end_ids == {tokenizer.eos_token_id, user, observation}
    for role, end in (("tool", observation), ("user", user)):
        messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
        messages.append({"role": role, "content": "r"})
        said = Segment("agent", "assistant", "a", (*framing.text_ids("a"), end))
        reply = Segment("environment", role, "r")  # type: ignore[arg-type]
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert framing.text(framing.ids([Segment("environment", "user", "q"), said, reply])) == rendered


def test_ids_of_another_tokenizer_are_refused() -> None:
    with pytest.raises(SpecError, match="another tokenizer"):
        framings["none"].ids([Segment("agent", "assistant", "a", (100_000,))])


@pytest.mark.parametrize("make", [TransformersScorer, LanguageModelPolicy])
def test_a_model_without_embeddings_for_what_texts_may_hold_is_refused(make: Any) -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.add_tokens(["<pad1>", "<pad2>", "<pad3>"], special_tokens=True)  # which no text spells
    make(make_model(), tokenizer)
    tokenizer.chat_template = CHATML.replace("<|im_end|>", "<pad3>")
    with pytest.raises(SpecError, match=r"LlamaForCausalLM .*no embedding for the token '<pad3>' \(400\)"):
        make(make_model(), tokenizer)
    tokenizer.chat_template = CHATML
    tokenizer.add_tokens(["<more>"])
    with pytest.raises(SpecError, match=r"no embedding for the token '<more>' \(401\), .*resize_token_emb"):
        make(make_model(), tokenizer)
    make(make_model(vocab_size=402), tokenizer)


def test_a_text_that_no_tokenizer_takes_is_read_as_it_is_written_elsewhere() -> None:
    framing = framings["none"]
    assert framing.text_ids("a \ud800 b") == framing.text_ids("a ? b")


def test_a_vocabulary_may_have_holes() -> None:
    state = json.loads(make_tokenizer().backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        if token["content"] == "</s>":
            state["model"]["vocab"]["</s>"] = token["id"] = 409
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token="</s>"
    )
    framing = Framing(tokenizer)
    assert (len(tokenizer) < 409, framing.size, framing.end_ids) == (True, 410, {409})
    sampled = Segment("agent", "assistant", "a", (50, 409), vocabulary=framing.vocabulary)
    assert framing.ids([Segment("environment", "user", "q"), sampled])[-2:] == (50, 409)
    model = make_model("llama", vocab_size=430)
    with torch.no_grad():
        model.lm_head.weight[409] = 100 * model.lm_head.weight[:400].mean(0)
    assert LanguageModelPolicy(model, tokenizer)._vocabulary == 410


def test_the_shared_tokenizer_is_left_as_it_is() -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(2)
    framing = Framing(tokenizer)
    assert len(framing.text_ids("many words indeed")) > 2
    assert tokenizer("<|im_end|>", add_special_tokens=False).input_ids == [3]


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(SpecError, match="ByT5Tokenizer is a slow tokenizer"):
        Framing(ByT5Tokenizer())


def test_text_that_a_model_would_take_for_a_control_token_is_taken_apart() -> None:
    words = Tokenizer(WordLevel({"<unk>": 0, "</s>": 1, "word": 2}, unk_token="<unk>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="<unk>")
    assert Framing(tokenizer).text_ids("word </s> word") == (2, 0, 0, 2)


def test_what_a_tokenizer_does_not_know_ends_no_text() -> None:
    words = Tokenizer(WordLevel({"</s>": 0, "word": 1}, unk_token="</s>"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", unk_token="</s>")
    assert Framing(tokenizer).text_ids(f"word {'other' * 1000} word") == (1, 1)


def test_a_control_token_that_a_character_spells_is_refused() -> None:
    words = Tokenizer(WordLevel({"<unk>": 0, "~": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="~", unk_token="<unk>")
    with pytest.raises(SpecError, match="could spell the control token '~'"):
        Framing(tokenizer)


REFUSED = {
    "drops old turns": (
        "{% for m in messages[-1:] %}<|im_start|>{{ m.role }}\n{{ m.content }}{% endfor %}",
        "does not show each message",
    ),
    "numbers its turns": (
        "{% for m in messages %}<|im_start|>{{ loop.index }}{{ m.content }}{% endfor %}",
        "in another way than its first",
    ),
    "opens otherwise": (
        CHATML.replace("<|im_start|>assistant\n{% endif", "<|im_start|>bot\n{% endif"),
        "opens the agent's message",
    ),
    "raises": ("{{ raise_exception('no chat today') }}", "no chat today"),
}


@pytest.mark.parametrize("flaw", REFUSED)
def test_a_template_that_rewrites_a_plain_conversation_is_refused(flaw: str) -> None:
    template, reason = REFUSED[flaw]
    with pytest.raises(SpecError, match=reason):
        Framing(make_tokenizer(template))


def test_a_template_without_system_messages_says_so_when_one_comes() -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + CHATML
    framing = Framing(make_tokenizer(refuses))
    framing.ids([Segment("environment", "user", "q")])
    with pytest.raises(SpecError, match="no system message at the beginning"):
        framing.ids([Segment("environment", "system", "s"), Segment("environment", "user", "q")])


@pytest.mark.slow
def test_a_real_template_is_cut_as_it_writes(smollm2: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    segments = [Segment("environment", "user", "q<|im_end|>"), Segment("agent", "assistant", "a")]
    ids = Framing(tokenizer).ids([*segments, Segment("environment", "user", "r")])
    messages = [{"role": segment.role, "content": segment.text} for segment in segments]
    messages.append({"role": "user", "content": "r"})
    written = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(ids) == written
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 4  # the text's own is not one


def test_ids_of_another_vocabulary_are_not_read() -> None:
    framing = Framing(make_tokenizer())
    assert Framing(make_tokenizer(CHATML, bos=False)).vocabulary == framing.vocabulary
    grown = make_tokenizer()
    grown.add_tokens(["<answer>"])
    assert Framing(grown).vocabulary != framing.vocabulary
    segment = Segment("agent", "assistant", "the novel", ids=(5, 6))
    assert framing.sampled(segment) == (5, 6)
    assert framing.sampled(replace(segment, vocabulary=framing.vocabulary)) == (5, 6)
    foreign = replace(segment, ids=(5, 10**6), vocabulary="another")
    assert framing.sampled(foreign) is None
    assert framing.ids([foreign]) == framing.ids([replace(segment, ids=None)])


def test_ids_of_long_texts_are_not_remembered() -> None:
    asked: list[str] = []
    read = remembered(lambda text: asked.append(text) or len(text))
    for length, times in ((10, 1), (REMEMBERED[-1][0], 1), (REMEMBERED[-1][0] + 1, 2)):
        asked.clear()
        assert [read("a" * length), read("a" * length)] == [length, length]
        assert len(asked) == times


def test_ids_that_are_not_known_are_those_of_the_text() -> None:
    framing = framings["chatml"]
    told = [Segment("environment", "user", "Where?"), Segment("agent", "assistant", "<think>Danzig")]
    assert framing.ids([told[0], replace(told[1], ids=(), log_probs=())]) == framing.ids(told)
