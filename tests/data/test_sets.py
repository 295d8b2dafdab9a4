"""Each set in exactly its owners' layout, and the real cuts read a second way."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.data import resolve_questions
from igpo_gym.data.rows import table_rows
from igpo_gym.data.sets import browsecomp
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import DataError, SpecError
from igpo_gym.specs import fingerprint

SHARED = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[2] / "../shared")) / "data"
real = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the cuts of the public sets are not beside this checkout"
)


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def table(delimiter: str, *rows: list[str]) -> str:
    """As pandas writes one."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return text.getvalue()


TRIVIAQA = {
    "Data": [
        {
            "Answer": {
                "Aliases": ["Sunset Blvd", "Sunset Boulevard", "Sunset Blvd. "],
                "HumanAnswers": ["sunset"],
                "NormalizedAliases": ["sunset blvd"],
                "NormalizedValue": "sunset boulevard",
                "Type": "WikipediaEntity",
                "Value": "Sunset Boulevard",
            },
            "Question": "Which musical?",
            "QuestionId": "tc_33",
            "QuestionSource": "http://www.triviacountry.com/",
        }
    ],
    "Domain": "Web",
    "Version": 1.0,
}
HF_TRIVIAQA = {
    "question": "Which musical?",
    "question_id": "tc_33",
    "question_source": "http://www.triviacountry.com/",
    "answer": {
        "aliases": ["Sunset Blvd", "Sunset Boulevard", "Sunset Blvd. "],
        "normalized_value": "sunset boulevard",
        "value": "Sunset Boulevard",
        "human_answers": ["sunset"],
    },
}
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "G%C3%BCnter_Grass",
            "paragraphs": [
                {
                    "context": "He was born in Gdańsk. ",
                    "qas": [
                        {
                            "id": "5733",
                            "question": "Where?",
                            "answers": [
                                {"text": "Gdańsk", "answer_start": 15},
                                {"text": "in Gdańsk", "answer_start": 12},
                                {"text": "Gdańsk", "answer_start": 15},
                            ],
                            "is_impossible": False,
                        },
                        {
                            "id": "5734",
                            "question": "Who?",
                            "plausible_answers": [{"text": "Gdańsk", "answer_start": 15}],
                            "answers": [],
                            "is_impossible": True,
                        },
                    ],
                },
                {
                    "context": "That was in 1927.",
                    "qas": [
                        {
                            "id": "5735",
                            "question": "When?",
                            "answers": [{"text": "1927", "answer_start": 12}],
                            "is_impossible": False,
                        }
                    ],
                },
            ],
        }
    ],
}
HF_SQUAD = [
    {
        "id": asked["id"],
        "title": article["title"],
        "context": paragraph["context"],
        "question": asked["question"],
        "answers": {name: [each[name] for each in asked["answers"]] for name in ("text", "answer_start")},
    }
    for article in SQUAD["data"]
    for paragraph in article["paragraphs"]  # type: ignore[index]
    for asked in paragraph["qas"]  # type: ignore[index]
]
TRIVIA_QUESTION = Question(
    "tc_33",
    "Which musical?",
    ("Sunset Boulevard", "Sunset Blvd", "Sunset Blvd.", "sunset"),
    source="triviaqa",
)
POPQA = table(
    "\t",
    ["id", "subj", "prop", "obj", "subj_id", "s_pop", "question", "possible_answers"],
    [
        "4222362",
        "George Rankin",
        "occupation",
        "politician",
        "1850297",
        "142",
        "What is George Rankin's occupation?",
        '["political leader", "politician", "political leader"]',
    ],
)
TWO_WIKI = [
    {
        "_id": "8813f87c0bdd11eba7f7acde48001122",
        "type": "compositional",
        "question": "Who is the mother of the director of film Polish-Russian War (Film)?",
        "context": [
            ["Xawery Żuławski", ["Xawery Żuławski is a director.", " He is a son of Małgorzata Braunek."]],
            ["Polish-Russian War (film)", ["A film of 2009."]],
            ["Snow White", ["A tale."]],
        ],
        "entity_ids": "Q7417_Q1",
        "supporting_facts": [["Polish-Russian War (film)", 0], ["Xawery Żuławski", 1]],
        "evidences": [
            ["Polish-Russian War", "director", "Xawery"],
            ["Xawery", "mother", "Małgorzata Braunek"],
        ],
        "answer": "Małgorzata Braunek",
        "evidences_id": [],
        "answer_id": "Q274277",
    }
]
MUSIQUE = {
    "id": "2hop__460946_294723",
    "paragraphs": [
        {"idx": 0, "title": "Grant's First Stand", "paragraph_text": "An album.", "is_supporting": False},
        {"idx": 1, "title": "Miquette Giraudy", "paragraph_text": "Born in Nice. ", "is_supporting": True},
        {"idx": 2, "title": "Green (album)", "paragraph_text": "By Steve Hillage.", "is_supporting": True},
        {"idx": 3, "title": "Green (album)", "paragraph_text": "By another.", "is_supporting": False},
    ],
    "question": "Who is the spouse of the Green performer?",
    "question_decomposition": [
        {
            "id": 460946,
            "question": "Green >> performer",
            "answer": "Steve Hillage",
            "paragraph_support_idx": 2,
        },
        {"id": 294723, "question": "#1 >> spouse", "answer": "Miquette Giraudy", "paragraph_support_idx": 1},
    ],
    "answer": "Miquette Giraudy",
    "answer_aliases": ["Miquette", "Miquette Giraudy"],
    "answerable": True,
}
UNANSWERABLE = MUSIQUE | {
    "answerable": False,
    "paragraphs": MUSIQUE["paragraphs"][:1],  # type: ignore[index]
    "question_decomposition": [
        step | {"paragraph_support_idx": None}
        for step in MUSIQUE["question_decomposition"]  # type: ignore[union-attr]
    ],
}
STRATEGYQA = [
    {
        "qid": "e0044a7b4d146d611e73",
        "term": "Albany, Georgia",
        "description": "City in Georgia",
        "question": "Will the Albany in Georgia grow first?",
        "answer": False,
        "facts": ["Albany, GA has around 75,000 people"],
        "decomposition": ["How many live there?", "Is #1 smaller?"],
        "evidence": [
            ["no_evidence", ["operation"]],
            [[["Albany, Georgia-1", "Catch-22-35"]], [["Albany, Georgia-4"], "no_evidence"], ["operation"]],
        ],
    }
]
FANOUTQA = [
    {
        "id": "7dcbbbdc7f1120cd",
        "question": "Who bats how?",
        "decomposition": [
            {
                "id": "a",
                "question": "Who?",
                "decomposition": [
                    {
                        "id": "b",
                        "question": "Which draft?",
                        "decomposition": [],
                        "answer": "1998",
                        "depends_on": [],
                        "evidence": {"pageid": 1, "revid": 2, "title": "1998 draft", "url": "u"},
                    }
                ],
                "answer": ["Pat Burrell"],
                "depends_on": [],
                "evidence": None,
            },
            {
                "id": "c",
                "question": "How?",
                "decomposition": [],
                "answer": "Right",
                "depends_on": ["a"],
                "evidence": {"pageid": 3, "revid": 4, "title": "Pat Burrell", "url": "u"},
            },
        ],
        "answer": {
            "Pat Burrell": "Right",
            "team": {"name": "Phillies", "won": True},
            "years": [1998, 2001.5],
        },
        "categories": ["Sports"],
    }
]
SIMPLEQA = table(
    ",",
    ["metadata", "problem", "answer"],
    [
        "{'topic': 'Science', 'answer_type': 'Person', 'urls': ['https://a.example/x', 'https://b.example']}",
        "Who received the award,\nin 2010?",
        "Michio Sugeno",
    ],
    ["{'topic': 'Art', 'answer_type': 'Date', 'urls': []}", "When?", "1947"],
)
FRAMES = table(
    "\t",
    ["", "Prompt", "Answer", "wikipedia_link_1", "wikipedia_link_11+", "reasoning_types", "wiki_links"],
    [
        "0",
        "Whose name would it be?",
        "Jane Ballou",
        "https://en.wikipedia.org/wiki/President_of_the_United_States",
        "",
        "Multiple constraints",
        "['https://en.wikipedia.org/wiki/President_of_the_United_States', "
        "'https://en.wikipedia.org/wiki/Gda%C5%84sk#Name']",
    ],
)
WEBWALKERQA = {
    "question": "When is the deadline?",
    "answer": "March 21, 2025",
    "root_url": "https://2025.aclweb.org/",
    "info": {
        "hop": "multi-source",
        "domain": "conference",
        "type": "multi_source_easy",
        "difficulty_level": "easy",
        "source_website": ["https://2025.aclweb.org/calls/", "https://2025.aclweb.org/venue/"],
        "golden_path": ["root->calls", "root->venue"],
        "lang": "en",
    },
}
FLASHRAG = {
    "id": "dev_0",
    "question": "Were they of the same nationality?",
    "golden_answers": ["yes"],
    "metadata": {
        "type": "comparison",
        "level": "hard",
        "supporting_facts": {"title": ["Scott Derrickson", "Ed Wood", "Ed Wood"], "sent_id": [0, 0, 1]},
        "context": {
            "title": ["Ed Wood", "Scott Derrickson"],
            "sentences": [["A director.", " American."], ["American. "]],
        },
    },
}
CANARY = "a canary that stands in no other file"


def encrypted(text: str, canary: str = CANARY) -> str:
    """As the owners' script: XOR with the digest of the password, repeated to the length; base64."""
    packed, key = text.encode(), hashlib.sha256(canary.encode()).digest()
    key = key * (len(packed) // len(key)) + key[: len(packed) % len(key)]
    return base64.b64encode(bytes(a ^ b for a, b in zip(packed, key, strict=True))).decode()


BROWSECOMP = table(
    ",",
    ["problem", "answer", "problem_topic", "canary"],
    [encrypted("Which port, named twice, " * 9), encrypted("Gdańsk"), "Geography", CANARY],
    [encrypted("Which novel?"), encrypted("The Tin Drum"), "Art", "another"],
)

EXAMPLES: dict[str, tuple[str, str, tuple[Question, ...]]] = {
    "nq": (
        "NQ-open.dev.jsonl",
        lines(
            {"question": "when was it", "answer": ["14 December 1972 UTC", "December 1972"]},
            {"question": "who", "answer": ["Bob Russell ", "Bob Russell"]},
        ),
        (
            Question("1", "when was it", ("14 December 1972 UTC", "December 1972"), source="nq"),
            Question("2", "who", ("Bob Russell",), source="nq"),
        ),
    ),
    "triviaqa": ("unfiltered-web-dev.json", json.dumps(TRIVIAQA, indent=2), (TRIVIA_QUESTION,)),
    "popqa": (
        "popQA.tsv",
        POPQA,
        (
            Question(
                "4222362",
                "What is George Rankin's occupation?",
                ("politician", "political leader"),
                source="popqa",
            ),
        ),
    ),
    "2wiki": (
        "dev.json",
        json.dumps(TWO_WIKI),
        (
            Question(
                "8813f87c0bdd11eba7f7acde48001122",
                "Who is the mother of the director of film Polish-Russian War (Film)?",
                ("Małgorzata Braunek",),
                ("Polish-Russian War (film)", "Xawery Żuławski"),
                2,
                "2wiki",
            ),
        ),
    ),
    "musique": (
        "musique_full_v1.0_dev.jsonl",
        lines(MUSIQUE, UNANSWERABLE),
        (
            Question(
                "2hop__460946_294723",
                "Who is the spouse of the Green performer?",
                ("Miquette Giraudy", "Miquette"),
                ("Green (album)", "Miquette Giraudy"),
                2,
                "musique",
            ),
        ),
    ),
    "squad": (
        "dev-v2.0.json",
        json.dumps(SQUAD, indent=2),
        (
            Question("5733", "Where?", ("Gdańsk", "in Gdańsk"), ("Günter Grass",), 1, "squad"),
            Question("5735", "When?", ("1927",), ("Günter Grass#2",), 1, "squad"),
        ),
    ),
    "bamboogle": (
        "bamboogle.csv",
        table(",", ["Question", "Answer"], ["Who was it, then?", "Dwight D. Eisenhower"]),
        (Question("2", "Who was it, then?", ("Dwight D. Eisenhower",), hops=2, source="bamboogle"),),
    ),
    "strategyqa": (
        "strategyqa_train.json",
        json.dumps(STRATEGYQA, indent=4),
        (
            Question(
                "e0044a7b4d146d611e73",
                "Will the Albany in Georgia grow first?",
                ("no",),
                ("Albany, Georgia", "Catch-22"),
                2,
                "strategyqa",
            ),
        ),
    ),
    "fanoutqa": (
        "fanout-final-dev.json",
        json.dumps(FANOUTQA),
        (
            Question(
                "7dcbbbdc7f1120cd",
                "Who bats how?",
                ("Pat Burrell: Right; team: (name: Phillies; won: yes); years: 1998, 2001.5",),
                ("1998 draft", "Pat Burrell"),
                2,
                "fanoutqa",
                parts=(
                    *("Pat Burrell", "Right", "team", "name", "Phillies", "won", "yes"),
                    *("years", "1998", "2001.5"),
                ),
            ),
        ),
    ),
    "simpleqa": (
        "simple_qa_test_set.csv",
        SIMPLEQA,
        (
            Question("2", "Who received the award,\nin 2010?", ("Michio Sugeno",), source="simpleqa"),
            Question("4", "When?", ("1947",), source="simpleqa"),
        ),
    ),
    "frames": (
        "test.tsv",
        FRAMES,
        (
            Question(
                "0",
                "Whose name would it be?",
                ("Jane Ballou",),
                ("President of the United States", "Gdańsk"),
                2,
                "frames",
            ),
        ),
    ),
    "webwalkerqa": (
        "main.jsonl",
        lines(WEBWALKERQA),
        (
            Question(
                "1",
                "When is the deadline?",
                ("March 21, 2025",),
                ("https://2025.aclweb.org/calls/", "https://2025.aclweb.org/venue/"),
                2,
                "webwalkerqa",
            ),
        ),
    ),
    "flashrag": (
        "hotpotqa.jsonl",
        lines(FLASHRAG),
        (
            Question(
                "dev_0",
                "Were they of the same nationality?",
                ("yes",),
                ("Scott Derrickson", "Ed Wood"),
                2,
                "hotpotqa",
            ),
        ),
    ),
    "browsecomp": (
        "browse_comp_test_set.csv",
        BROWSECOMP.replace(encrypted("Which novel?"), encrypted("Which novel?", "another")).replace(
            encrypted("The Tin Drum"), encrypted("The Tin Drum", "another")
        ),
        (
            Question("2", "Which port, named twice, " * 9, ("Gdańsk",), source="browsecomp", protected=True),
            Question("3", "Which novel?", ("The Tin Drum",), source="browsecomp", protected=True),
        ),
    ),
    "csv": (
        "mine.csv",
        table(
            ",",
            ["id", "question", "answers", "hops", "Evidence"],
            ["a", "Which port?", '["Danzig", "Gdańsk"]', "2", '["p1", "p2"]'],
            ["", "Who?", "Grass", "", "p3"],
        ),
        (
            Question("a", "Which port?", ("Danzig", "Gdańsk"), ("p1", "p2"), 2, "mine"),
            Question("3", "Who?", ("Grass",), ("p3",), source="mine"),
        ),
    ),
    "jsonl": (
        "mine.jsonl",
        lines({"id": " a ", "question": "Which?", "answers": ["Danzig", 1457], "hops": 1, "evidence": "p1"}),
        (Question("a", "Which?", ("Danzig", "1457"), ("p1",), 1, "mine"),),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_set_in_its_owners_layout_is_read_by_name_and_recognized(tmp_path: Path, name: str) -> None:
    file, content, questions = EXAMPLES[name]
    (tmp_path / file).write_text(content, encoding="utf-8", newline="")
    named = resolve_questions(f"{name}:{tmp_path / file}")
    assert named.questions == questions
    recognized = resolve_questions(str(tmp_path / file))
    assert recognized.name == named.name == f"{name}:{tmp_path / file}"
    assert recognized.questions == questions


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("rubbish", [{"title": "Danzig", "text": "A port."}, {"question": "Where?"}])
def test_what_is_missing_is_named_with_what_is_there(
    tmp_path: Path, name: str, rubbish: dict[str, str]
) -> None:
    path = tmp_path / "other"
    path.write_text(lines(rubbish))
    with pytest.raises(DataError, match=rf"other, line 1: no .*; there is: {', '.join(rubbish)}"):
        resolve_questions(f"{name}:{path}")
    with pytest.raises(
        DataError, match=r"line 1: no known layout .*; there is: .*; looked for .*nq: question, answer"
    ):
        resolve_questions(str(path))


def test_squad_is_read_as_its_owners_and_as_hugging_face_have_it(tmp_path: Path) -> None:
    original, rows = tmp_path / "dev-v2.0.json", tmp_path / "validation.parquet"
    original.write_text(json.dumps(SQUAD))
    pq.write_table(pa.Table.from_pylist(HF_SQUAD), rows)
    first, second = resolve_questions(str(original)), resolve_questions(str(rows))
    assert first.questions == second.questions == EXAMPLES["squad"][2]
    assert (first.left_out, second.left_out) == (1, 1)
    assert first.passages == (
        Passage("Günter Grass", "Günter Grass", "He was born in Gdańsk."),
        Passage("Günter Grass#2", "Günter Grass", "That was in 1927."),
    )
    kept = resolve_questions(f"{rows}#unanswerable=true").questions
    assert [each.answers[0] for each in kept] == ["Gdańsk", "unanswerable", "1927"]
    assert kept[1].evidence == ("Günter Grass",)


def test_a_paragraph_without_a_title_is_called_by_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text(lines({**HF_SQUAD[0], "title": None}))
    found = resolve_questions(str(tmp_path / "q.jsonl"))
    assert found.passages == (
        Passage("He was born in Gdańsk.", "He was born in Gdańsk.", HF_SQUAD[0]["context"].strip()),
    )
    assert found.questions[0].evidence == ("He was born in Gdańsk.",)


@pytest.mark.parametrize(
    "answers",
    [
        {"text": ["Gdańsk", "Danzig"], "answer_start": [1, 2]},
        [{"text": "Gdańsk", "answer_start": 1}, {"text": "Danzig", "answer_start": 2}],
        {"value": "Gdańsk", "aliases": ["Danzig"], "normalized_value": "gdańsk"},
        ["Gdańsk", "Danzig"],
    ],
)
def test_the_answers_in_an_object_are_its_texts(tmp_path: Path, answers: Any) -> None:
    (tmp_path / "q.jsonl").write_text(lines({"id": "1", "question": "Where?", "answers": answers}))
    assert resolve_questions(str(tmp_path / "q.jsonl")).questions[0].answers == ("Gdańsk", "Danzig")


def test_the_records_of_any_set_may_stand_in_the_field_data(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text(
        json.dumps({"version": 1.0, "data": [{"question": "Where?", "answer": "Danzig"}]}, indent=1)
    )
    assert resolve_questions(str(path)).name == f"jsonl:{path}"


def test_hugging_face_has_triviaqa_otherwise(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(lines(HF_TRIVIAQA))
    assert resolve_questions(str(tmp_path / "t.jsonl")).questions == (TRIVIA_QUESTION,)


def test_2wiki_has_aliases_in_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "dev.json").write_text(json.dumps(TWO_WIKI))
    (tmp_path / "id_aliases.json").write_text(
        lines(
            {"Q_id": "Q1", "aliases": ["not this"], "demonyms": []},
            {
                "Q_id": "Q274277",
                "aliases": ["M. Braunek", "", "Małgorzata Braunek "],
                "demonyms": ["Braunek"],
            },
        )
    )
    found = resolve_questions(f"2wiki:{tmp_path / 'dev.json'}")
    assert found.questions[0].answers == ("Małgorzata Braunek", "M. Braunek", "Braunek")
    assert [passage.id for passage in found.passages] == [
        "Xawery Żuławski",
        "Polish-Russian War (film)",
        "Snow White",
    ]
    (tmp_path / "id_aliases.json").write_text(lines({"aliases": ["x"]}))
    with pytest.raises(DataError, match=r"id_aliases\.json, line 1: no 'Q_id'; there is: aliases"):
        resolve_questions(f"2wiki:{tmp_path / 'dev.json'}")


@pytest.mark.parametrize("form", ["2wiki:{}", "{}", "{}#limit=1"])
def test_other_aliases_beside_a_file_of_2wiki_are_noticed(tmp_path: Path, form: str) -> None:
    (tmp_path / "dev.json").write_text(json.dumps(TWO_WIKI))
    spec, seen = form.format(tmp_path / "dev.json"), {fingerprint(form.format(tmp_path / "dev.json"))}
    for alias in ("Braunek", "M. Braunek"):
        (tmp_path / "id_aliases.json").write_text(lines({"Q_id": "Q274277", "aliases": [alias]}))
        assert resolve_questions(spec).questions[0].answers[-1] == alias
        seen.add(fingerprint(spec))
    assert len(seen) == 3


def test_musique_gives_paragraphs_and_unanswerable_questions_on_request(tmp_path: Path) -> None:
    path = tmp_path / "full.jsonl"
    path.write_text(lines(MUSIQUE, UNANSWERABLE))
    found = resolve_questions(f"musique:{path}")
    assert found.left_out == 1
    assert found.passages == (
        Passage("Grant's First Stand", "Grant's First Stand", "An album."),
        Passage("Miquette Giraudy", "Miquette Giraudy", "Born in Nice."),
        Passage("Green (album)", "Green (album)", "By Steve Hillage."),
        Passage("Green (album)#2", "Green (album)", "By another."),
    )
    asked = f"musique:{path}#unanswerable=true"
    assert resolve_questions(asked).name == asked
    assert resolve_questions(f"{asked},limit=1").name == f"{asked},limit=1"
    for spec in (asked, f"{path}#unanswerable=true"):
        both = resolve_questions(spec)
        first, second = both.questions
        assert both.left_out == 0
        assert first.answers == ("Miquette Giraudy", "Miquette")
        assert second.answers == ("unanswerable", "cannot be answered", "unknown")
        assert (second.id, second.evidence, second.hops) == ("2hop__460946_294723-unanswerable", (), 2)
        hint = " (If this cannot be known, the answer is: unanswerable.)"
        assert first.text == second.text == f"Who is the spouse of the Green performer?{hint}"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"paragraphs": "text"}, "'paragraphs' must be a list of objects"),
        ({"paragraphs": [{"idx": 0, "title": "T"}]}, "no 'paragraph_text'; there is: idx, title"),
        ({"question_decomposition": [{"paragraph_support_idx": 9}]}, "9 is that of no paragraph"),
        ({"answer": None}, "no 'answer'; there is: id, paragraphs, question"),
    ],
)
def test_a_bad_record_of_musique_is_named(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(lines(MUSIQUE, MUSIQUE | {"id": "2"} | change))
    with pytest.raises(DataError, match=rf"m\.jsonl, line 2: .*{problem}"):
        resolve_questions(f"musique:{path}")


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        ("popqa", '""political leader"", ', "", None),
        ("popqa", '[""', '""', "line 2: 'possible_answers' must be a JSON list"),
        ("popqa", "George Rankin\toccupation", "George Rankin", "line 2: 7 columns, not the 8 of the first"),
        ("popqa", '"[', '"[x', "line 2: 'possible_answers' must be a JSON list"),
        ("simpleqa", "{'topic'", "{topic", "line 2: 'metadata' must be a dictionary"),
        ("simpleqa", "1947", "\"['1947', '1948']\"", "line 4: 'answer' holds a list written as text"),
        ("simpleqa", "1947\n", '"1947', "line 4: not a table: unexpected end of data"),
        ("frames", "['https", "[https", "line 2: 'wiki_links' must be a list of URLs"),
        ("strategyqa", "false", '"no"', "entry 1: 'answer' must be true or false, found str"),
        ("strategyqa", '"qid"', '"id"', "entry 1: no 'qid'; there is: id, term"),
        ("fanoutqa", '{"Pat Burrell": "Right", ', '{"Pat Burrell": null, ', "'answer' holds NoneType"),
        ("triviaqa", '"Value"', '"value_"', "entry 1: no 'Value' or 'value'; there is: Aliases"),
        ("triviaqa", '"Data": [', '"Data": 3, "x": [', "not JSON: 'Data' must be a list, found int"),
        ("webwalkerqa", '"info"', '"infos"', "line 1: no 'info' or 'Info'; there is: question"),
        ("browsecomp", CANARY, "x" + CANARY, "line 2: 'problem' cannot be decrypted with the canary"),
        ("nq", '"Bob Russell "', '" "', "line 2: 'answer' holds an empty text"),
    ],
)
def test_what_is_wrong_is_named_and_no_answer_shown(
    tmp_path: Path, name: str, old: str, new: str, problem: str | None
) -> None:
    file, content, _ = EXAMPLES[name]
    assert old in content
    (tmp_path / file).write_text(content.replace(old, new), encoding="utf-8")
    if problem is None:
        assert resolve_questions(f"{name}:{tmp_path / file}")
        return
    with pytest.raises(DataError) as told:
        resolve_questions(f"{name}:{tmp_path / file}")
    assert problem in str(told.value)
    assert str(told.value).startswith(f"{tmp_path / file}")
    for answer in ("political leader", "1947", "Bob Russell", "Phillies", "Jane Ballou"):
        assert answer not in str(told.value)


def test_verl_in_both_shapes(tmp_path: Path) -> None:
    prompt = [{"content": "Answer the given question. Think. Question: who wrote it?\n", "role": "user"}]
    search_r1 = [
        {
            "id": "test_0",
            "question": "who wrote it?",
            "golden_answers": ["Grass", "Günter Grass"],
            "data_source": source,
            "prompt": prompt,
            "ability": "fact-reasoning",
            "reward_model": {"ground_truth": {"target": ["Grass", "Günter Grass"]}, "style": "rule"},
            "extra_info": {"index": 0, "split": "test"},
        }
        for source in ("nq", "hotpotqa")
    ]
    igpo = [
        {
            "data_source": "tq",
            "prompt": [{"content": "Who wrote it?", "role": "user"}],
            "ability": "search & question answering",
            "reward_model": {
                "ground_truth": "grass<|answer_split|>günter grass<|answer_split|>",
                "style": "x",
            },
            "extra_info": {"index": "tq_7", "split": "dev"},
        }
    ]
    for name, records in (("r1.parquet", search_r1), ("igpo.parquet", igpo)):
        pq.write_table(pa.Table.from_pylist(records), tmp_path / name)
    answers = ("Grass", "Günter Grass")
    assert resolve_questions(f"verl:{tmp_path / 'r1.parquet'}").questions == (
        Question("nq/test_0", "who wrote it?", answers, source="nq"),
        Question("hotpotqa/test_0", "who wrote it?", answers, source="hotpotqa"),
    )
    (found,) = resolve_questions(f"{tmp_path / 'igpo.parquet'}").questions
    assert found == Question("tq_7", "Who wrote it?", ("grass", "günter grass"), source="tq")
    without = [{key: value for key, value in search_r1[0].items() if key not in ("id", "question")}]
    pq.write_table(pa.Table.from_pylist(without), tmp_path / "bare.parquet")
    (found,) = resolve_questions(f"verl:{tmp_path / 'bare.parquet'}").questions
    assert (found.id, found.text) == ("0", "who wrote it?")


def parquet(path: Path, answers: pa.Array) -> str:
    questions = [f"Which one is number {number}?" for number in range(len(answers))]
    pq.write_table(pa.table({"question": questions, "answer": answers}), path)
    return str(path)


MAPS = pa.map_(pa.string(), pa.float32())


@pytest.mark.parametrize(
    ("answers", "texts"),
    [
        (pa.array([0.1, 16777216.0, 1e-7], pa.float32()), ["0.1", "16777216", "1e-07"]),
        (pa.array([0.1, 3.0], pa.float32()).cast(pa.float16()), ["0.1", "3"]),
        (pa.array([0.1], pa.float32()).dictionary_encode(), ["0.1"]),
        (pa.array([[0.7], [0.7, 0.1]], pa.large_list(pa.float32())), ["0.7", "0.7|0.1"]),
        (pa.array([{"share": [0.7]}], pa.struct({"share": pa.list_(pa.float32(), 1)})), ["share: 0.7"]),
        (
            pa.array([[("Danzig", 0.7), ("Elbing", 2)], [("Thorn", 1)]], MAPS),
            ["Danzig: 0.7; Elbing: 2", "Thorn: 1"],
        ),
        (pa.array([[[("Danzig", 0.7)], [("Thorn", 1)]]], pa.list_(MAPS)), ["Danzig: 0.7|Thorn: 1"]),
        (pa.array([0.1, 1 / 3]), ["0.1", "0.3333333333333333"]),
    ],
)
def test_answers_of_parquet_are_those_that_were_written(
    tmp_path: Path, answers: pa.Array, texts: list[str]
) -> None:
    found = resolve_questions(parquet(tmp_path / "q.parquet", answers)).questions
    assert ["|".join(each.answers) for each in found] == texts


def test_a_map_that_has_a_key_twice_is_named_and_not_shown(tmp_path: Path) -> None:
    path = parquet(tmp_path / "q.parquet", pa.array([[("Thorn", 1)], [("secret", 1), ("secret", 2)]], MAPS))
    with pytest.raises(DataError, match="row 2: a map that has a key twice") as told:
        resolve_questions(path)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ({"style": "x"}, "row 2: no 'reward_model.ground_truth'"),
        ({"ground_truth": "['a', 'b']"}, "row 2: 'reward_model.ground_truth' holds a list written as text"),
        ({"ground_truth": ""}, "row 2: 'reward_model.ground_truth' holds an empty list"),
    ],
)
def test_a_bad_row_of_parquet_is_named(tmp_path: Path, model: dict[str, str], problem: str) -> None:
    good = {"data_source": "tq", "question": "Who?", "reward_model": {"ground_truth": "x", "style": "x"}}
    path = tmp_path / "bad.parquet"
    pq.write_table(
        pa.Table.from_pylist([good | {"id": "1"}, good | {"id": "2", "reward_model": model}]), path
    )
    with pytest.raises(DataError) as told:
        resolve_questions(f"verl:{path}")
    assert str(told.value).startswith(f"{path}: {problem}")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"bad\.parquet: not a whole parquet file: "):
        resolve_questions(f"verl:{path}")


def test_any_set_may_come_as_parquet(tmp_path: Path) -> None:
    path = tmp_path / "nq.parquet"
    pq.write_table(pa.Table.from_pylist([{"question": "who", "answer": ["a", "b"]}]), path)
    found = resolve_questions(str(path))
    assert (found.name, found.questions) == (f"nq:{path}", (Question("1", "who", ("a", "b"), source="nq"),))


def test_browsecomp_plus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [
        {"docid": encrypted(id_), "text": encrypted("A port."), "url": encrypted("https://a.example")}
        for id_ in ("17", "4", "17")
    ]
    record = {
        "query_id": "769",
        "query": encrypted("Which port?"),
        "answer": encrypted("Gdańsk"),
        "gold_docs": documents[:1],
        "negative_docs": [],
        "evidence_docs": documents,
    }
    path = tmp_path / "plus.jsonl"
    path.write_text(lines(record))
    with pytest.raises(DataError, match=r"line 1: 'query' cannot be decrypted with the canary"):
        resolve_questions(f"browsecomp-plus:{path}")
    monkeypatch.setattr(browsecomp, "PLUS_KEY", hashlib.sha256(CANARY.encode()).digest())
    right = Question("769", "Which port?", ("Gdańsk",), ("17", "4"), 2, "browsecomp-plus", protected=True)
    assert resolve_questions(f"browsecomp-plus:{path}").questions == (right,)
    pq.write_table(pa.Table.from_pylist([record | {"canary": CANARY}]), tmp_path / "plus.parquet")
    monkeypatch.undo()
    assert resolve_questions(str(tmp_path / "plus.parquet")).questions == (right,)


def test_a_data_set_in_a_folder_that_has_changed_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "nq_open" / "data").mkdir(parents=True)
    file = tmp_path / "nq_open" / "data" / "train-00000-of-00001.parquet"
    spec = f"hf:{tmp_path / 'nq_open'}"
    fingerprints = set()
    for answer in ("a", "b"):
        pq.write_table(pa.Table.from_pylist([{"question": "who", "answer": [answer]}]), file)
        assert resolve_questions(spec).questions[0].answers == (answer,)
        fingerprints.add(fingerprint(f"{spec}:train"))
    assert len(fingerprints) == 2


def test_a_data_set_of_several_configurations_says_which(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "several"
    for name in ("main", "other"):
        (folder / name).mkdir(parents=True)
        (folder / name / "test.jsonl").write_text(lines({"question": "Where?", "answer": name}))
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files: main/*\n"
        "- config_name: other\n  data_files: other/*\n---\n"
    )
    with pytest.raises(SpecError, match=r"\['main', 'other'\]; write hf:.*:CONFIG"):
        resolve_questions(f"hf:{folder}")
    for spec in (
        f"hf:{folder}:other",
        f"hf:{folder}:other:{next(iter(datasets.load_dataset(str(folder), 'other')))}",
    ):
        assert resolve_questions(spec).questions[0].answers == ("other",)


def test_what_save_to_disk_wrote_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    train = datasets.Dataset.from_list([{"question": "Where?", "answer": "Danzig"}])
    train.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": train, "test": train}).save_to_disk(str(tmp_path / "two"))
    for spec in ("one", "one:train", "two", "two:test"):
        assert resolve_questions(f"hf:{tmp_path / spec}").questions[0].answers == ("Danzig",)
    with pytest.raises(SpecError, match=r"has no split 'dev'; it has: train"):
        resolve_questions(f"hf:{tmp_path / 'one'}:dev")
    (tmp_path / "q.jsonl").write_text("{}")
    with pytest.raises(SpecError, match=r"q\.jsonl is a file: write it without hf:"):
        resolve_questions(f"hf:{tmp_path / 'q.jsonl'}")


@pytest.mark.parametrize("spec", ["hf:{}", "hf:{}:validation", "hf:{}:default:validation"])
def test_a_data_set_of_the_hub_from_a_folder(tmp_path: Path, spec: str) -> None:
    folder = tmp_path / "nq_open"
    folder.mkdir()
    records = [{"question": "who", "answer": ["a"]}, {"question": "where", "answer": ["b", "c"]}]
    for split, part in (("train", records[:1]), ("validation", records)):
        pq.write_table(pa.Table.from_pylist(part), folder / f"{split}-00000-of-00001.parquet")
    found = resolve_questions(spec.format(folder))
    assert [question.answers for question in found.questions] == [("a",), ("b", "c")]
    assert found.name == spec.format(folder)
    (only,) = resolve_questions(f"hf:{folder}:train").questions
    assert only == Question("1", "who", ("a",), source="nq")
    with pytest.raises(ValueError, match="has no split 'test'; it has: train, validation"):
        resolve_questions(f"hf:{folder}:test")


texts = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1).filter(str.strip)


@given(
    st.lists(st.tuples(texts, st.lists(st.integers() | texts.map(lambda t: f"a{t}"), min_size=1)), min_size=1)
)
def test_jsonl_gives_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "q.jsonl"
    records = [
        {"id": n, "question": text, "answers": answers, "hops": n}
        for n, (text, answers) in enumerate(rows, 1)
    ]
    path.write_text(lines(*records), encoding="utf-8")
    found = resolve_questions(f"jsonl:{path}").questions
    assert [(q.id, q.text, q.hops) for q in found] == [
        (str(n), text, n) for n, (text, _) in enumerate(rows, 1)
    ]
    for question, (_, answers) in zip(found, rows, strict=True):
        assert set(question.answers) == {str(answer).strip() for answer in answers}
        assert question.answers[0] == str(answers[0]).strip()
        assert len(set(question.answers)) == len(question.answers)


@real
def test_every_row_of_the_real_cuts_is_read() -> None:
    """Counted and compared with what json and pyarrow read, record by record."""
    nq = [json.loads(line) for line in (SHARED / "nq_open/dev300.jsonl").open(encoding="utf-8")]
    found = resolve_questions(str(SHARED / "nq_open/dev300.jsonl"))
    assert found.name.startswith("nq:")
    assert [(q.text, q.answers) for q in found.questions] == [
        (each["question"], tuple(dict.fromkeys(answer.strip() for answer in each["answer"]))) for each in nq
    ]
    (trivia,) = resolve_questions(str(SHARED / "triviaqa/sample.json")).questions
    assert trivia.answers == (
        "Sunset Boulevard",
        "Sunset Blvd",
        "West Sunset Boulevard",
        "Sunset Bulevard",
        "Sunset Blvd.",
    )
    for name in ("2wiki", "musique"):
        path = SHARED / f"{name}/questions250.jsonl"
        records = [json.loads(line) for line in path.open(encoding="utf-8")]
        cut = resolve_questions(f"{name}:{path}")
        assert [(q.id, q.text, q.answers, q.source) for q in cut.questions] == [
            (str(each["idx"]), each["question"], (each["answer"].strip(),), name) for each in records
        ]
        assert len(records) == 250
    strategy = json.loads((SHARED / "strategyqa/dev.json").read_text(encoding="utf-8"))
    found = resolve_questions(str(SHARED / "strategyqa/dev.json"))
    assert [(q.id, q.answers, q.hops) for q in found.questions] == [
        (each["qid"], ("yes" if each["answer"] else "no",), len(each["decomposition"])) for each in strategy
    ]
    assert len(strategy) == 229
    assert found.questions[0].evidence == ("Albany, Georgia", "Albany, New York")


@real
def test_the_real_parquet_of_igpo() -> None:
    path = SHARED / "deepresearcher/dev685.parquet"
    records = pq.read_table(path).to_pylist()
    found = resolve_questions(str(path))
    assert found.name == f"verl:{path}"
    assert Counter(q.source for q in found.questions) == {
        "tq": 121,
        "2wiki": 121,
        "hotpotqa": 117,
        "popqa": 116,
        "nq": 112,
        "musique": 98,
    }
    for question, record in zip(found.questions, records, strict=True):
        assert question.id == record["extra_info"]["index"]
        assert question.text == record["prompt"][0]["content"]
        aliases = [each.strip() for each in record["reward_model"]["ground_truth"].split("<|answer_split|>")]
        assert question.answers == tuple(dict.fromkeys(alias for alias in aliases if alias))


@real
def test_the_real_fanoutqa() -> None:
    records = json.loads((SHARED / "fanoutqa/dev60.json").read_text(encoding="utf-8"))
    found = resolve_questions(str(SHARED / "fanoutqa/dev60.json")).questions
    assert [q.id for q in found] == [each["id"] for each in records]
    assert Counter(type(each["answer"]).__name__ for each in records) == {"dict": 53, "int": 4, "list": 3}
    for question, record in zip(found, records, strict=True):
        (answer,) = question.answers
        if isinstance(record["answer"], dict):
            assert answer.partition(": ")[0] == next(iter(record["answer"])).strip()
            assert all(key.strip() in answer for key in record["answer"])
        elif isinstance(record["answer"], int):
            assert answer == str(record["answer"])
        else:
            assert answer == ", ".join(map(str, record["answer"]))
        assert question.evidence[0] == _first_page(record["decomposition"])


def _first_page(steps: list[dict[str, Any]]) -> str:
    for step in steps:
        if step["decomposition"]:
            return _first_page(step["decomposition"])
        if step["evidence"]:
            return str(step["evidence"]["title"])
    raise AssertionError


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    """With a byte order mark, carriage returns, an empty line, and a line end within a cell."""
    path = tmp_path / "sheet.csv"
    path.write_bytes('\ufeffQuestion,Answer\r\n\r\n"Who,\r\nthen?",Grass\r\nWhere?,Danzig\r\n'.encode())
    found = resolve_questions(f"csv:{path}").questions
    assert [(q.id, q.text, q.answers) for q in found] == [
        ("3", "Who,\r\nthen?", ("Grass",)),
        ("5", "Where?", ("Danzig",)),
    ]


def test_hops_are_read_as_pandas_writes_them_and_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("question,answer,hops\nWho?,Danzig,2.0\nWhere?,Thorn,\nWhen?,1457,nan\nWhy?,Oskar, 3\n")
    assert [each.hops for each in resolve_questions(str(path)).questions] == [2, None, None, 3]
    for cell, found in (("Danzig", "str"), ("2.5", "another number"), ("inf", "another number")):
        path.write_text(f"question,answer,hops\nWho, me?,{cell}\n")
        with pytest.raises(DataError) as error:
            resolve_questions(str(path))
        assert str(error.value) == f"{path}, line 2: 'hops' must be a whole number from 1, found {found}"


@pytest.mark.parametrize(
    "header", ["QUESTION,ANSWER,Hops", "Answers,question,hops", "golden_answers,Question,id"]
)
def test_a_table_of_ones_own_is_recognized_whatever_its_capitals(tmp_path: Path, header: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(f"{header}\n1,1,1\n")
    assert resolve_questions(str(path)).name == f"csv:{path}"


@pytest.mark.parametrize(
    ("names", "answer"), [(("Question", "Answer"), "Danzig"), (("question", "answer"), ["Danzig"])]
)
@pytest.mark.parametrize("file", ["mine.jsonl", "quiz/bamboozled.json", "banquet.jsonl"])
def test_a_question_and_its_answer_are_ones_own(
    tmp_path: Path, file: str, names: tuple[str, str], answer: object
) -> None:
    """Bamboogle and NQ have no other fields either, and are recognized by the file's name."""
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True)
    path.write_text(lines(dict(zip(names, ("Where?", answer), strict=True))))
    (found,) = resolve_questions(str(path)).questions
    assert found == Question("1", "Where?", ("Danzig",), source=path.stem)
    path.with_suffix(".csv").write_text(f"{','.join(names)}\nWhere?,Danzig\n")
    (found,) = resolve_questions(str(path.with_suffix(".csv"))).questions
    assert found == Question("2", "Where?", ("Danzig",), source=path.stem)


@pytest.mark.parametrize(
    ("file", "answer", "layout"),
    [
        ("Bamboogle Prerelease - Sheet1.csv", "Answer", "bamboogle"),
        ("bamboogle/test.csv", "Answer", "bamboogle"),
        ("NQ-open.dev.jsonl", "answer", "nq"),
        ("nq_open/dev.jsonl", "answer", "nq"),
    ],
)
def test_bamboogle_and_nq_are_recognized_by_a_word_of_their_name(
    tmp_path: Path, file: str, answer: str, layout: str
) -> None:
    path = tmp_path / "data" / file
    path.parent.mkdir(parents=True)
    question = "Question" if answer == "Answer" else "question"
    header = f"{question},{answer}\nWhere?,Danzig\n"
    path.write_text(header if path.suffix == ".csv" else lines({question: "Where?", answer: ["Danzig"]}))
    found = resolve_questions(str(path))
    assert (found.name, found.questions[0].source) == (f"{layout}:{path}", layout)


def test_a_field_of_the_right_name_goes_before_one_with_capitals(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    for record in (
        {"Question": "Who?", "question": "Where?", "Answer": "Danzig"},
        {"question": "Where?", "Question": "Who?", "Answer": "Danzig"},
    ):
        path.write_text(lines(record))
        (found,) = resolve_questions(str(path)).questions
        assert (found.text, found.answers) == ("Where?", ("Danzig",))


@pytest.mark.parametrize("scheme", ["", "csv:", "nq:", "triviaqa:", "webwalkerqa:", "browsecomp:", "jsonl:"])
@pytest.mark.parametrize(
    "text",
    [
        "Who wrote it?,Oskar\nWhere?,Oskar\n",
        "Oskar,Oskar\nWho?,Oskar\n",
        '{"question": 1959, "answer": 1959}',
        '{"question": "Who?", "answers": ["Oskar"], "parts": 1959}',
        '{"question": "Who?", "answers": ["a"], "parts": [1959]}',
        '{"question": "Who?", "answers": ["a"], "source": 1959}',
        '{"id": "q", "question": "Who?", "answers": {"Oskar": [null]}}',
        '{"question": "?", "answers": ["a"], "evidence": ["E", "E"], "evidence_texts": ["Oskar", "1959"]}',
    ],
)
def test_no_message_holds_what_may_be_a_gold_answer(tmp_path: Path, text: str, scheme: str) -> None:
    path = tmp_path / "questions"
    path.write_text(text)
    told = ""
    try:
        resolve_questions(f"{scheme}{path}")
    except DataError as problem:
        told = str(problem)
    assert "oskar" not in told.lower()
    assert "1959" not in told


@pytest.mark.parametrize("depth", [100, *range(300, 1000, 50), 5000])
@pytest.mark.parametrize("name", ["jsonl", "popqa", "csv", "fanoutqa"])
def test_a_record_that_is_nested_deeply_is_read_or_refused(tmp_path: Path, name: str, depth: int) -> None:
    value = "[" * depth + '"Danzig"' + "]" * depth
    steps = '{"decomposition": [' * depth + "]}" * depth
    text = {
        "jsonl": f'{{"question": "Where?", "answers": {value}}}',
        "popqa": "id\tobj\tquestion\tpossible_answers\n1\tx\tWhere?\t" + value.replace('"', "") + "\n",
        "csv": "question,answer\nWhere?," + value.replace('"', "") + "\n",
        "fanoutqa": f'[{{"id": 1, "question": "?", "answer": "x", "decomposition": [{steps}]}}]',
    }[name]
    path = tmp_path / "questions"
    path.write_text(text)
    with suppress(DataError), warnings.catch_warnings(action="ignore"):
        assert resolve_questions(f"{name}:{path}").questions[0].answers


@pytest.mark.parametrize("lines_before", ["", "Who?,Grass,3\n"])
def test_an_empty_cell_is_told_with_its_line_and_its_column(tmp_path: Path, lines_before: str) -> None:
    """In the first line of the table too, by which its layout is recognized."""
    path = tmp_path / "sheet.csv"
    number = 2 + lines_before.count("\n")
    for column, cells in (("Answer", "Where?,,2"), ("question", ",Danzig,2")):
        path.write_text(f"question,Answer,hops\n{lines_before}{cells}\n")
        with pytest.raises(DataError) as error:
            resolve_questions(str(path))
        assert str(error.value) == f"{path}, line {number}: {column!r} holds an empty cell"


def test_a_table_may_have_semicolons(tmp_path: Path) -> None:
    """As spreadsheets write it where the comma is a decimal point."""
    path = tmp_path / "sheet.csv"
    path.write_text('question;answer;id\nWhere, then?;"Danzig; or Elbing";a1\n')
    (found,) = resolve_questions(str(path)).questions
    assert (found.text, found.answers, found.id) == ("Where, then?", ("Danzig; or Elbing",), "a1")


def test_two_columns_of_one_name_are_refused_and_unnamed_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("question,answer,,\nWhere?,Danzig,,\n")
    assert resolve_questions(f"csv:{path}").questions[0].answers == ("Danzig",)
    for name in ("answer", "Answer"):
        path.write_text(f"question,answer,{name}\nWhere?,Danzig,Elbing\n")
        with pytest.raises(DataError, match=r"sheet\.csv, line 1: columns 2 and 3 have one name"):
            resolve_questions(f"csv:{path}")


def test_a_plain_file_with_ids_of_questions_is_none_of_triviaqa(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    for answer in ({"answer": "Danzig"}, {"answers": ["Danzig"]}):
        for name in ("question_id", "qid", "_id"):
            path.write_text(lines({name: "a7", "question": "Where?", **answer}))
            found = resolve_questions(str(path))
            assert found.name.startswith("jsonl:")
            assert [(each.id, each.answers) for each in found.questions] == [("a7", ("Danzig",))]
    table = tmp_path / "mine.csv"
    table.write_text("question_id,question,answer\na7,Where?,Danzig\n")
    assert resolve_questions(str(table)).questions[0].id == "a7"


def test_evidence_in_a_cell_may_be_a_number_or_a_list_of_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('question,answers,evidence\nWhere?,Danzig,12\nWho?,"[1927, true]","[12, 13]"\n')
    first, second = resolve_questions(str(path)).questions
    assert (first.evidence, second.evidence, second.answers) == (("12",), ("12", "13"), ("1927", "yes"))


def test_lines_with_a_field_of_the_name_of_triviaqas_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    for data in ([1], [{"a": 1}], "x"):
        path.write_text(lines(*({"question": f"{n}?", "answers": ["x"], "Data": data} for n in range(2))))
        assert len(resolve_questions(str(path)).questions) == 2
    path.write_text(lines({"question": "?", "answers": ["x"], "Data": [1]}))
    assert len(resolve_questions(str(path)).questions) == 1
    path.write_text(json.dumps(TRIVIAQA, indent=4))
    assert resolve_questions(str(path)).name.startswith("triviaqa:")


def test_a_file_of_flashrag_in_the_hubs_cache_is_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob, link = tmp_path / "blobs" / "f00", tmp_path / "snapshots" / "abc" / "nq" / "dev.jsonl"
    for folder in (blob.parent, link.parent):
        folder.mkdir(parents=True)
    blob.write_text(lines(FLASHRAG))
    link.symlink_to(blob)
    assert resolve_questions(f"flashrag:{link}").questions[0].source == "nq"
    monkeypatch.chdir(link.parent)
    assert resolve_questions("flashrag:dev.jsonl").questions[0].source == "nq"


def test_blank_aliases_that_owners_left_in_are_no_answers(tmp_path: Path) -> None:
    record = {"QuestionId": "1", "Question": "Where?", "Answer": {"Value": "Danzig", "Aliases": ["", " "]}}
    (tmp_path / "trivia.jsonl").write_text(json.dumps(record))
    assert resolve_questions(f"triviaqa:{tmp_path / 'trivia.jsonl'}").questions[0].answers == ("Danzig",)
    (tmp_path / "dev.json").write_text(json.dumps(TWO_WIKI))
    plain = resolve_questions(f"2wiki:{tmp_path / 'dev.json'}").questions[0].answers
    other = tmp_path / "other"
    other.mkdir()
    (other / "dev.json").write_text(json.dumps(TWO_WIKI))
    blank = {"Q_id": TWO_WIKI[0]["answer_id"], "aliases": [" "], "demonyms": [""]}
    (other / "id_aliases.json").write_text(json.dumps(blank))
    assert resolve_questions(f"2wiki:{other / 'dev.json'}").questions[0].answers == plain


BAD_VALUES = (
    None,
    True,
    3,
    -1.5,
    "",
    " ",
    "x",
    [],
    [None],
    [3],
    ["x"],
    [["x"]],
    [{}],
    {},
    {"title": "x"},
    {"x": []},
)


def records() -> dict[str, dict[str, Any]]:
    """One record of each set, as JSON has it."""
    found: dict[str, dict[str, Any]] = {
        "nq": {"question": "who", "answer": ["a"]},
        "triviaqa": HF_TRIVIAQA,
        "popqa": {"id": 3, "question": "who", "obj": "a", "possible_answers": ["a"]},
        "2wiki": TWO_WIKI[0],
        "hotpotqa": TWO_WIKI[0],
        "musique": MUSIQUE,
        "bamboogle": {"Question": "who", "Answer": "a"},
        "strategyqa": STRATEGYQA[0],
        "fanoutqa": FANOUTQA[0],
        "simpleqa": {"metadata": {"topic": "a"}, "problem": "who", "answer": "a"},
        "frames": {"Prompt": "who", "Answer": "a", "wiki_links": ["https://en.wikipedia.org/wiki/A"]},
        "webwalkerqa": WEBWALKERQA,
        "flashrag": FLASHRAG,
        "browsecomp": {"problem": encrypted("who"), "answer": encrypted("a"), "canary": CANARY},
        "browsecomp-plus": {
            "query_id": "1",
            "query": encrypted("who"),
            "answer": encrypted("a"),
            "evidence_docs": [{"docid": encrypted("7")}],
            "canary": CANARY,
        },
        "verl": {
            "id": "1",
            "data_source": "nq",
            "question": "who",
            "prompt": [{"role": "user", "content": "who"}],
            "reward_model": {"ground_truth": {"target": ["a"]}},
            "extra_info": {"index": 3},
            "metadata": FLASHRAG["metadata"],
        },
        "jsonl": {
            "id": "1",
            "question": "who",
            "answers": ["a"],
            "evidence": ["p"],
            "hops": 2,
            "source": "x",
        },
        "csv": {"id": "1", "question": "who", "answers": '["a"]', "hops": 2, "source": "x"},
    }
    return found


@pytest.mark.filterwarnings("ignore:.*says little")
@pytest.mark.parametrize("name", records())
def test_any_value_in_any_field_is_read_or_named(tmp_path: Path, name: str) -> None:
    """No value of a wrong type, on the top level or one below, gives another error than DataError."""
    record, path = records()[name], tmp_path / "q.jsonl"
    path.write_text(lines(record))
    assert len(resolve_questions(f"{name}:{path}").questions) == 1
    changes: list[dict[str, Any]] = []
    for field, value in record.items():
        changes += [{**record, field: bad} for bad in BAD_VALUES]
        if isinstance(value, dict):
            changes += [{**record, field: {**value, key: bad}} for key in value for bad in BAD_VALUES]
        if isinstance(value, list) and value and isinstance(value[0], dict):
            changes += [
                {**record, field: [{**value[0], key: bad}, *value[1:]]}
                for key in value[0]
                for bad in BAD_VALUES
            ]
    for number, change in enumerate(changes):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(lines(change))
        with suppress(DataError):
            (question,) = resolve_questions(f"{name}:{path}").questions
            assert all(isinstance(each, str) and each.strip() for each in (question.text, *question.answers))
            assert all(isinstance(each, str) for each in (question.id, question.source, *question.evidence))
            assert question.hops is None or question.hops >= 1


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_cell_may_be_longer_than_pythons_own_limit(tmp_path: Path, name: str) -> None:
    path, text = tmp_path / name, "Where? " * 40_000  # 280,000 characters; csv's own limit is 131,072
    path.write_text(table("," if name.endswith("csv") else "\t", ["Question", "Answer"], [text, "Danzig"]))
    (row,) = table_rows(path)
    assert row.fields == {"Question": text, "Answer": "Danzig"}


def test_a_cell_that_is_never_closed_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igpo_gym.data.rows.LINE_BYTES", 200_000)
    before = csv.field_size_limit(131_072)
    try:
        path = tmp_path / "a.csv"
        path.write_text('Question,Answer\n"' + "Where?\n" * 60_000)
        with pytest.raises(DataError, match=r"a\.csv, line 2: not a table: field larger than"):
            list(table_rows(path))
    finally:
        csv.field_size_limit(before)
