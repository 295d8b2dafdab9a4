import pytest

from igpo_gym.data.world import World
from igpo_gym.protocols import TAGS
from nano.tokenizer import BOS, TAG_TOKENS, VOCABULARY, build_tokenizer, token_id


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(worlds=3)


def ids(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


def test_it_is_small_and_the_same_every_time(tokenizer):
    assert tokenizer.get_vocab_size() <= VOCABULARY
    assert build_tokenizer(worlds=3).to_str() == tokenizer.to_str()


def test_a_text_begins_with_bos_and_a_segment_does_not(tokenizer):
    assert tokenizer.encode("Name it.").ids == [token_id(tokenizer, BOS), *ids(tokenizer, "Name it.")]


def test_tags_are_single_tokens_that_decoding_keeps(tokenizer):
    message = "<think>I need the seat</think><search>Lubia Museum</search>"
    found = tokenizer.encode(message).tokens
    assert [token for token in found if token in TAG_TOKENS] == [
        "<think>",
        "</think>",
        "<search>",
        "</search>",
    ]
    decoded = tokenizer.decode(ids(tokenizer, message), skip_special_tokens=True)
    assert TAGS.parse(decoded) == TAGS.parse(message)


def test_control_tokens_cannot_be_spelled_where_special_tokens_are_split(tokenizer):
    import copy

    safe = copy.deepcopy(tokenizer)
    safe.encode_special_tokens = True
    assert token_id(tokenizer, BOS) not in safe.encode(f"a {BOS}", add_special_tokens=False).ids
    assert token_id(tokenizer, "<search>") in safe.encode("<search>x", add_special_tokens=False).ids


def test_a_name_has_the_same_tokens_wherever_it_stands(tokenizer):
    world = World(split="test", seed=3)
    alone = 0
    for number in range(200):
        name = world.entity(number).name
        own = ids(tokenizer, name)
        for text in (f"in {name}.", f"<search>{name}</search>", f"(Title: {name})"):
            around = ids(tokenizer, text)
            assert any(around[i : i + len(own)] == own for i in range(len(around)))
        alone += len(own) == 2 * (world.entity(number).kind == "person") + 2 + (
            "the" in world.entity(number).phrase
        )
    # Nearly every word is as many tokens as syllables; a few letters merge across.
    assert alone > 170


def test_any_text_comes_back(tokenizer):
    text = " Größe 東京 🙂 a  b\n\tc"
    assert tokenizer.decode(ids(tokenizer, text)) == text


def test_a_missing_token_is_named(tokenizer):
    with pytest.raises(ValueError, match="no token '<nope>'"):
        token_id(tokenizer, "<nope>")
