from __future__ import annotations

import pytest

from igpo_gym.data.wording import forms, wording


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Who wrote Poland’s “Tin Drum”?", 'who wrote Poland\'s "Tin Drum"'),
        ("Poland´s", "Polandʼs"),
        ("1939–1945", "1939-1945"),
        ("1939−1945", "1939 - 1945"),
        ("Who—of all—won?", "Who -- of all -- won?"),
        ("¿Quién…?", "quién..."),
        ("谁写了铁皮鼓？", "谁写了铁皮鼓"),
        ("من كتبها؟", "من كتبها"),
        ("Ｗｈｏ？", "Who?"),
        ("STRASSE", "Straße"),
        ("U.S.", "US"),
        ("J.R.R. Tolkien", "JRR Tolkien"),
        ("Cafe\u0301", "Café"),
        ("Dan\u00adzig", "Danzig"),
        ("What is −5?", "What is -5?"),
        ("C ++", "C＋＋"),
        ("the twenty-five", "the twenty five"),
        ("Is 3 < 5?", "Is 3 ‹ 5?"),  # as prompts show it
    ],
)
def test_signs_make_no_other_question(text: str, other: str) -> None:
    assert wording(text) == wording(other) != ""


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Is 1.5 it?", "Is 15 it?"),
        ("♈?", "♉?"),
        ("कि", "की"),
        ("1+23", "12+3"),
        ("Who designed C?", "Who designed C++?"),
        ("Who designed C?", "Who designed C#?"),
        ("What is 5 + 7?", "What is -5 + 7?"),
        ("5% of it", "5 of it"),
        ("1/2 of it", "12 of it"),
        ("Who, A?", "Who, B?"),
        ("?", "!"),
    ],
)
def test_other_words_make_another(text: str, other: str) -> None:
    assert wording(text) != wording(other)
    assert forms(text).isdisjoint(forms(other))
