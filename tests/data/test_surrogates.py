"""Half of an escaped pair is legal JSON, but no tokenizer and no file accepts it: loaders replace it."""

from __future__ import annotations

import json
from pathlib import Path

from igpo_gym.data.sets.hotpotqa import load_hotpotqa
from igpo_gym.data.sets.jsonl import load_jsonl
from igpo_gym.search.corpus import read_corpus

HOTPOT = {
    "_id": "1",
    "question": "Who\ud800?",
    "answer": "A\udfff",
    "supporting_facts": [["T", 0]],
    "context": [["T", ["text\ud800 \U0001f600"]]],
}


def test_every_loader_gives_text_that_encodes(tmp_path: Path) -> None:
    array, lines, plain, corpus = (tmp_path / name for name in ("a.json", "h.jsonl", "q.jsonl", "c.jsonl"))
    array.write_text(json.dumps([HOTPOT]))
    lines.write_text(json.dumps(HOTPOT))
    plain.write_text(json.dumps({"id": "1", "question": "Who\ud800?", "answers": ["A\udfff"]}))
    corpus.write_text(json.dumps({"_id": "1", "title": "T", "text": "text\ud800 \U0001f600"}))
    for loaded in (load_hotpotqa(array), load_hotpotqa(lines), load_jsonl(plain)):
        assert (loaded.questions[0].text, loaded.questions[0].answers) == ("Who??", ("A?",))
    assert load_hotpotqa(array).passages[0].text == "text? \U0001f600"
    assert next(iter(read_corpus(corpus))).text == "text? \U0001f600"
