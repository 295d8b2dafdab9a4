"""Evaluate a model on cuts of four question sets three ways, and check the table by a second computation.

    python -m scripts.evaluation_trial DATA OUT --agent MODEL

DATA holds cuts of the sets in their owners' layouts: ``hotpotqa/dev300.jsonl`` (distractor setting, Hugging
Face's layout), ``nq_open/dev300.jsonl``, ``2wiki/questions250.jsonl`` with the passages of
``2wiki/corpus.json`` (``[{title, text}]``), ``strategyqa/dev.json``. MODEL is what ``igpo-gym eval --agent``
takes; ``python scripts/smollm2.py`` prints the folder of a small one. OUT gets a recording, a card and the
table as Markdown, CSV and JSON for each way: ``closed-book``, ``search`` (the question is the query of one
BM25 search: HotpotQA in its own passages, the others in those of 2Wiki) and ``oracle`` (HotpotQA alone has
gold evidence). What is there is not played again.

Small models do not keep to a form, so a message without a tag counts as an answer here (``short``), and the
search is made for them (``Searched``).

At the end EM, F1 and the counts are computed again from the lines of the recordings, with none of the
package's code, and differences are an error.
"""

from __future__ import annotations

import argparse
import json
import re
import string
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from igpo_gym import Answer, Episode, Message, Sampling, TextProtocol, ToolCalls, resolve_policy
from igpo_gym.data import QuestionSet
from igpo_gym.protocols import CHAT, Grammar
from igpo_gym.protocols.grammar import checked_answer
from igpo_gym.tools import search_call

COMMAND = [sys.executable, "-c", "from igpo_gym.cli import app; app()", "eval"]
OPTIONS = (
    *("--protocol", "scripts.evaluation_trial:short", "--max-turns", "1"),
    *("--on-limit", "answer", "--max-passage-chars", "600", "--max-tokens", "32", "--batch-size", "30"),
)


@dataclass(frozen=True)
class Lenient:
    """A grammar in which a message without a tag is an answer."""

    strict: Grammar

    def read(self, message: str, tools: Any) -> ToolCalls | Answer:
        """The action, or the whole message as an answer."""
        try:
            return self.strict.read(message, tools)
        except ValueError:
            return checked_answer(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.strict, name)


def short() -> TextProtocol:
    """A chat whose answers are short texts."""
    user = "Answer the question with a name, a date, yes or no, or a few words.\n\nQuestion: {question}\n"
    return replace(CHAT, name="short", grammar=Lenient(CHAT.grammar), user=lambda protocol: user)


class Searched:
    """An agent for which the question is searched before it answers."""

    def __init__(
        self, agent: str, questions: QuestionSet, protocol: TextProtocol, sampling: Sampling
    ) -> None:
        self.protocol = protocol
        self.agent = resolve_policy(agent, questions, protocol, sampling)

    def act(self, episodes: Sequence[Episode]) -> Sequence[str | Message]:
        """The search first, then the agent's message."""
        reading = [episode for episode in episodes if episode.turns]
        read = iter(self.agent.act(reading) if reading else ())
        return [
            next(read) if each.turns else self.protocol.write(search_call(each.question.text))
            for each in episodes
        ]


def prepare(data: Path, out: Path) -> dict[str, str]:
    """Write what has no loader as plain JSON lines; returns the spec of each set."""
    nq = _lines(data / "nq_open" / "dev300.jsonl")
    wiki = _lines(data / "2wiki" / "questions250.jsonl")
    strategy = json.loads((data / "strategyqa" / "dev.json").read_text(encoding="utf-8"))
    corpus = json.loads((data / "2wiki" / "corpus.json").read_text(encoding="utf-8"))
    rows: dict[str, Iterable[Mapping[str, Any]]] = {
        "nq": ({"question": each["question"], "answers": each["answer"]} for each in nq),
        "2wiki": (
            {"id": str(each["idx"]), "question": each["question"], "answers": [each["answer"]]}
            for each in wiki
        ),
        "strategyqa": (
            {"id": each["qid"], "question": each["question"], "answers": ["yes" if each["answer"] else "no"]}
            for each in strategy
        ),
        "corpus": (
            {"_id": str(number), "title": each["title"], "text": each["text"]}
            for number, each in enumerate(corpus)
        ),
    }
    for name, records in rows.items():
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (out / f"{name}.jsonl").write_text(text, encoding="utf-8")
    own = {name: f"jsonl:{out / name}.jsonl" for name in ("nq", "2wiki", "strategyqa")}
    return {"hotpotqa": f"hotpotqa:{data / 'hotpotqa' / 'dev300.jsonl'}", **own}


def evaluate(
    out: Path, way: str, agent: str, specs: Iterable[str], search: Iterable[str], count: int
) -> None:
    """Run ``igpo-gym eval`` one way."""
    sets = [part for spec in specs for part in ("--questions", spec)]
    places = [part for spec in search for part in ("--search", spec)]
    tables = [part for end in ("md", "csv", "json") for part in ("--table", f"{out / way}.{end}")]
    to = ("--out", f"{out / way}.jsonl", "--agent", agent, "--limit", str(count))
    subprocess.run([*COMMAND, *to, *sets, *places, *tables, *OPTIONS], check=True)


def check(out: Path, way: str) -> int:
    """Compare the table of one way with figures from its recording; returns how many were compared."""
    table = json.loads((out / f"{way}.json").read_text(encoding="utf-8"))
    records = list(_lines(out / f"{way}.jsonl"))
    compared = 0
    for column in table["sets"]:
        own = [each for each in records if each["settings"]["questions"] == column["spec"]]
        assert len(own) == column["episodes"], (way, column["set"], len(own))
        for name, value in figures(own).items():
            told = column["estimates"].get(name, {}).get("mean")
            assert (value is None and told is None) or abs(value - told) < 1e-9, (way, column["set"], name)
            compared += 1
    return compared


def figures(records: list[dict[str, Any]]) -> dict[str, float | None]:
    """The figures of a set's records, by SQuAD's rules for answers (HotpotQA's for yes and no)."""
    pairs = [(each["prediction"], each["question"]["answers"]) for each in records]
    turns = [each["turns"] for each in records]
    tokens = [
        sum(len(s.get("ids") or ()) for turn in each for s in turn["segments"] if s["author"] == "agent")
        for each in turns
    ]
    known = [number for number in tokens if number]
    calls = [sum(len(t["action"].get("calls", ())) for t in each) for each in turns]
    return {
        "em": _mean(max(float(_same(said, gold)) for gold in golds) for said, golds in pairs),
        "f1": _mean(max(_f1(said, gold) for gold in golds) for said, golds in pairs),
        "searches": _mean(calls),
        "turns": _mean(map(len, turns)),
        "tokens": _mean(known) if known else None,
        "invalid messages": _mean(sum(t["action"]["kind"] == "invalid" for t in each) for each in turns),
        "answered": _mean(each["end"] == "answered" for each in records),
        "turns exhausted": _mean(each["end"] == "turns exhausted" for each in records),
    }


def _normal(text: str) -> str:
    kept = "".join(sign for sign in text.lower().replace("‹", "<") if sign not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def _same(said: str | None, gold: str) -> bool:
    return said is not None and _normal(said) == _normal(gold)


def _f1(said: str | None, gold: str) -> float:
    if said is None:
        return 0.0
    ours, theirs = _normal(said), _normal(gold)
    if ours != theirs and {ours, theirs} & {"yes", "no", "noanswer"}:
        return 0.0
    left, right = Counter(ours.split()), Counter(theirs.split())
    common = (left & right).total()
    return 2 * common / (left.total() + right.total()) if common else 0.0


def _mean(values: Iterable[float]) -> float:
    numbers = [float(value) for value in values]
    return sum(numbers) / len(numbers)


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def main() -> None:
    """Evaluate, then check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--agent", default="nano")
    parser.add_argument("--count", type=int, default=30, help="questions of each set")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    specs = prepare(asked.data, asked.out)
    corpus = f"bm25:{asked.out / 'corpus.jsonl'}"
    ways = {
        "closed-book": (f"closed-book:{asked.agent}", list(specs.values()), ["none"]),
        "search": (
            f"scripts.evaluation_trial:Searched:{asked.agent}",
            list(specs.values()),
            ["none", corpus, corpus, corpus],
        ),
        "oracle": (f"oracle:{asked.agent}", [specs["hotpotqa"]], ["none"]),
    }
    for way, (agent, sets, search) in ways.items():
        evaluate(asked.out, way, agent, sets, search, asked.count)
    print(f"{sum(check(asked.out, way) for way in ways)} figures are those of a second computation")


if __name__ == "__main__":
    main()
