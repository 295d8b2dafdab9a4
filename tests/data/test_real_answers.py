"""Every answer of the real cuts, scored by the package and by the owners' rules."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.data.parts import parts_of, share_of_parts
from igpo_gym.data.scores import resolve_metric
from tests.data import published

DATA = Path(os.environ.get("IGPO_GYM_SHARED", Path(__file__).parents[2] / "../shared")) / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real cuts are not beside this checkout")


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]


def nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def whole(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def deepresearcher() -> list[list[str]]:
    rows = (
        pytest.importorskip("pyarrow.parquet").read_table(DATA / "deepresearcher/dev685.parquet").to_pylist()
    )
    found = [row["reward_model"]["ground_truth"] for row in rows]
    texts = [each if isinstance(each, str) else each["target"] for each in found]
    return [text.split("<|answer_split|>") if isinstance(text, str) else list(text) for text in texts]


@cache
def said_by_an_agent() -> tuple[str, ...]:
    texts = [row["gen_text_store"] for row in lines("transcripts/r1_searcher_hotpotqa60.jsonl")]
    answers = [text.rpartition("<answer>")[2].partition("</answer>")[0] for text in texts]
    return tuple(filter(str.strip, answers))


CUTS: dict[str, Callable[[], list[list[str]]]] = {
    "hotpotqa": lambda: [[row["answer"]] for row in lines("hotpotqa/dev300.jsonl")],
    "nq_open": lambda: [row["answer"] for row in lines("nq_open/dev300.jsonl")],
    "triviaqa": lambda: [
        [row["Answer"]["Value"], *row["Answer"]["Aliases"]] for row in whole("triviaqa/sample.json")["Data"]
    ],
    "2wiki": lambda: [[str(row["answer"])] for row in lines("2wiki/questions250.jsonl")],
    "musique": lambda: [[str(row["answer"])] for row in lines("musique/questions250.jsonl")],
    "deepresearcher": deepresearcher,
    "strategyqa": lambda: [["yes" if row["answer"] else "no"] for row in whole("strategyqa/dev.json")],
    "fanoutqa": lambda: [list(parts_of(row["answer"])) for row in whole("fanoutqa/dev60.json")],
    "transcripts": lambda: [[said] for said in said_by_an_agent()],
}


def predictions(answers: list[str], others: list[str]) -> Iterator[str]:
    """Right, nearly right and wrong ones."""
    first = answers[0]
    yield from (first, answers[-1], first.upper(), f"The answer is {first}.", f"“{first}”", "", "yes")
    yield from (unicodedata.normalize("NFD", first), " ".join(reversed(first.split())), *others)


RULES = {
    "em_squad1": published.squad1_em,
    "f1_squad1": published.squad1_f1,
    "em_mlqa": published.mlqa_em,
    "f1_mlqa": published.mlqa_f1,
    "igpo_f1": published.igpo_f1,
}
IN_NFC = {"em": published.squad1_em, "f1": published.hotpotqa_f1}


SLOW = ("deepresearcher",)
"""The largest."""


@pytest.mark.parametrize("cut", [pytest.param(cut, marks=[pytest.mark.slow] * (cut in SLOW)) for cut in CUTS])
def test_every_metric_is_its_owners(cut: str) -> None:
    rows, said = CUTS[cut](), said_by_an_agent()
    assert rows
    letter = {resolve_metric(name): rule for name, rule in RULES.items()}
    composed = {resolve_metric(name): rule for name, rule in IN_NFC.items()}
    for place, answers in enumerate(rows):
        golds = [*answers[:5], *answers[-1:]]
        for prediction in predictions(answers, [rows[place - 1][0], said[place % len(said)]]):
            for metric, rule in letter.items():
                right = max(rule(prediction, gold) for gold in golds)
                assert metric(prediction, golds) == pytest.approx(right), (metric.name, place)
            # Where no word is left, this package compares what was written.
            wordy = [gold for gold in golds if published.squad_words(gold)]
            for metric, rule in composed.items() if wordy else ():
                right = max(rule(nfc(prediction), nfc(gold)) for gold in wordy)
                assert metric(prediction, wordy) == pytest.approx(right), (metric.name, place)
        for metric in composed:
            assert metric(answers[-1], answers) == 1.0


def test_parts_of_a_nested_answer_are_found_in_its_text() -> None:
    for row in whole("fanoutqa/dev60.json"):
        parts = parts_of(row["answer"])
        entries = row["answer"] if isinstance(row["answer"], list | dict) else [row["answer"]]
        assert len(parts) == len(entries) * (1 + isinstance(entries, dict))
        assert share_of_parts(". ".join(parts), parts) == 1.0
        assert share_of_parts("", parts) == 0.0
        assert share_of_parts(f"It is {parts[0]}!", parts) >= 1 / len(parts)
