"""Words of every script."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

import bm25s
import pytest
from bm25s.stopwords import STOPWORDS_EN
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data.sets.hotpotqa import load_hotpotqa
from igpo_gym.episode import Passage
from igpo_gym.search.bm25 import BM25Index, words
from igpo_gym.words import STOP_WORDS, characters
from tests.search.bm25.conftest import last_bit

SHARED = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[1] / "../shared"))

PASSAGES = [
    Passage("beijing", "", "北京是中国的首都"),
    Passage("kyoto", "", "京都は日本の古い都です。"),
    Passage("seoul", "", "서울은 대한민국의 수도이다."),
    Passage("thai", "", "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย"),
    Passage("lao", "", "ວຽງຈັນເປັນນະຄອນຫຼວງຂອງປະເທດລາວ"),
    Passage("khmer", "", "ភ្នំពេញជារាជធានីនៃកម្ពុជា"),
    Passage("burmese", "", "ရန်ကုန်မြို့သည် မြန်မာနိုင်ငံ၏ အကြီးဆုံးမြို့ ဖြစ်သည်"),
    Passage("hindi", "", "नई दिल्ली भारत की राजधानी है"),
    Passage("tamil", "", "சென்னை தமிழ்நாட்டின் தலைநகரம்"),
    Passage("arabic", "", "القاهرة عاصمة مصر"),
    Passage("turkish", "", "İstanbul Türkiye'nin en büyük şehridir"),
    Passage("wide", "", "Ｔｏｋｙｏ　２０２０"),
    Passage("nfd", "", unicodedata.normalize("NFD", "Gdańsk, ville de résumés")),
    Passage("german", "", "Die Straße"),
    Passage("greek", "", "ΟΔΥΣΣΕΥΣ"),
    Passage("english", "", "Warsaw is the capital of Poland."),
]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("北京", "beijing"),
        ("首都", "beijing"),
        ("都", "kyoto"),  # three times there, once in the capital of China
        ("日本", "kyoto"),
        ("서울", "seoul"),
        ("กรุงเทพ", "thai"),
        ("เมืองหลวง", "thai"),
        ("ປະເທດລາວ", "lao"),
        ("កម្ពុជា", "khmer"),
        ("ရန်ကုန်", "burmese"),
        ("दिल्ली", "hindi"),
        ("தமிழ்நாட்டின்", "tamil"),
        ("القاهرة", "arabic"),
        ("istanbul", "turkish"),
        ("ISTANBUL", "turkish"),
        ("i\u0307stanbul", "turkish"),
        ("tokyo", "wide"),
        ("2020", "wide"),
        ("gdańsk", "nfd"),
        ("STRASSE", "german"),
        ("οδυσσευς", "greek"),
        ("ｗａｒｓａｗ", "english"),
    ],
)
def test_text_of_any_script_is_found(query: str, first: str) -> None:
    assert BM25Index.build(PASSAGES).search([query], 1)[0][0].id == first


def test_a_character_alone_finds_every_passage_that_has_it() -> None:
    passages = [Passage("pair", "", "北京"), Passage("alone", "", "京"), Passage("none", "", "北方")]
    index = BM25Index.build(passages)
    assert {passage.id for passage in index.search(["京"], 5)[0]} == {"pair", "alone"}
    assert {passage.id for passage in index.search(["方"], 5)[0]} == {"none"}


def test_a_mark_does_not_split_a_word() -> None:
    passages = [Passage("wrong", "", "हद ल क ब"), Passage("right", "", "हिन्दी भाषा")]
    assert [passage.id for passage in BM25Index.build(passages).search(["हिन्दी"], 5)[0]] == ["right"]


def test_a_blank_between_scripts_is_not_needed() -> None:
    assert words("北京2008年奥运会 IBM東京") == ["北京", "2008", "年奥", "奥运", "运会", "ibm", "東京"]
    assert characters("北京2008年 京") == ["北", "京"]


def test_what_does_not_show_does_not_count() -> None:
    assert words("co\u00adoperate") == words("cooperate") == ["cooperate"]
    assert words("می\u200cخواهم") == words("میخواهم")
    assert words("abc\u200e") == ["abc"]
    assert words("\u0301 \ud800") == []


def test_single_characters_do_not_lengthen_a_passage() -> None:
    """Three pairs weigh as three English words do."""
    passages = [
        Passage("cjk", "", "北京首都"),
        Passage("english", "", "one two three"),
        Passage("x", "", "x"),
    ]
    index = BM25Index.build(passages)
    (chinese,), (english,) = index.search(["北京", "two"], 5)
    assert chinese.score == english.score > 0


def test_stop_words_are_those_of_bm25s() -> None:
    assert frozenset(STOPWORDS_EN) == STOP_WORDS


@given(st.text(st.characters(codec="ascii")))
def test_ascii_words_are_runs_of_letters_digits_and_underscores(text: str) -> None:
    assert words(text) == re.findall(r"\w+", text.lower())


@given(st.text())
def test_spellings_of_one_text_have_the_same_words(text: str) -> None:
    """Of letters only: what is no letter may turn into one, as the sign of a trade mark does."""
    text = " ".join(character for character in text if character.isalpha())
    assert words(unicodedata.normalize("NFD", text)) == words(unicodedata.normalize("NFC", text))


def old_words(text: str) -> list[str]:
    """The rule for words without folding and pairs."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in STOPWORDS_EN]


def is_english(text: str) -> bool:
    """Whether both rules agree: Latin letters without marks, and no İ and ß, which folding changes."""
    return not {*"İß"} & {*text} and all(
        character < "\u0250" or unicodedata.category(character)[0] in "PSZ" for character in text
    )


@last_bit
@pytest.mark.skipif(
    not (SHARED / "data/hotpotqa").is_dir(), reason="the HotpotQA sample is not beside this checkout"
)
def test_english_rankings_and_scores_are_those_of_the_plain_rule() -> None:
    found = load_hotpotqa(SHARED / "data/hotpotqa/dev300.jsonl")
    texts = [f"{passage.title}\n{passage.text}" for passage in found.passages]
    english = [number for number, text in enumerate(texts) if is_english(text)]
    assert len(english) > 0.9 * len(texts)

    def reference(numbers: list[int]) -> bm25s.BM25:
        model = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
        model.index([old_words(texts[number]) for number in numbers], show_progress=False)
        return model

    def ranking(model: bm25s.BM25, query: str, k: int) -> list[tuple[int, float]]:
        scores = model.get_scores(old_words(query)).tolist()
        return sorted(enumerate(scores), key=lambda pair: (-pair[1], pair[0]))[:k]

    among = set(english)
    only_english, every = reference(english), reference(list(range(len(texts))))
    index = BM25Index.build([found.passages[number] for number in english])
    whole = BM25Index.build(found.passages)
    queries = [question.text for question in found.questions if is_english(question.text)]
    assert len(queries) > 0.9 * len(found.questions)
    for query in queries:
        assert index.ranked(words(query), 10) == ranking(only_english, query, 10)
        # Passages with words of other scripts have another length now, and shift the mean a little.
        rankings = whole.ranked(words(query), 20), ranking(every, query, 20)
        ours, theirs = ([pair for pair in pairs if pair[0] in among][:5] for pairs in rankings)
        assert [number for number, _ in ours] == [number for number, _ in theirs]
        assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], rel=1e-2)
