import pickle

import pytest

from igpo_gym.errors import (
    DataError,
    MissingExtraError,
    OldLibraryError,
    SpecError,
    TranscriptTooLongError,
    check_known,
    choices,
    choose,
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (DataError("a.jsonl", "no answer", 3), "a.jsonl, line 3: no answer"),
        (DataError("a.jsonl", "no answer"), "a.jsonl: no answer"),
        (TranscriptTooLongError("9 tokens, 8 at most", (2, 5)), "9 tokens, 8 at most"),
        (MissingExtraError("charts", "plots"), "charts needs an optional dependency"),
        (OldLibraryError("LoRA", "peft>=0.18", "0.17.0"), "LoRA needs peft>=0.18, and 0.17.0 is installed"),
    ],
)
def test_errors_pass_between_processes(error: Exception, text: str) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert text in str(again)
    assert again.__dict__ == error.__dict__


def test_an_unknown_name_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(SpecError, match=r"unknown fruit 'kiwi'; choose one of: apple, pear"):
        choose({"pear": 1, "apple": 2}, "kiwi", "fruit")
    check_known(None, ("pear", None), "fruit")
    with pytest.raises(SpecError, match=r"unknown fruit 3; choose one of: pear, None"):
        check_known(3, ("pear", None), "fruit")


def test_the_nearest_name_is_asked_about() -> None:
    assert choices("zzz", ["top_k", "order"]) == "choose one of: top_k, order"
    assert choices("TOPK", ["top_k", "order"]) == "did you mean top_k? Choose one of: top_k, order"
