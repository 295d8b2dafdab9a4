"""Every chat template that TRL brings is framed, and what is framed is what the template itself shows."""

from __future__ import annotations

import itertools
import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

from igpo_gym.episode import Segment
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.templates import rendered
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.prompts import query_of
from tests.conftest import REPOSITORY

LIBRARY = find_spec("trl")
FOLDER = None if LIBRARY is None or LIBRARY.origin is None else Path(LIBRARY.origin).parent / "chat_templates"
TEMPLATES = [] if FOLDER is None else sorted(FOLDER.glob("*.jinja"))
pytestmark = pytest.mark.skipif(not TEMPLATES, reason="TRL is not installed")
TABLE = runpy.run_path(str(REPOSITORY / "scripts" / "template_table.py"))

SAID = (
    Segment("environment", "user", "first question"),
    Segment("agent", "assistant", "second thing"),
    Segment("environment", "user", "third reply"),
    Segment("agent", "assistant", "fourth thing"),
    Segment("environment", "user", "fifth reply"),
)
CHANNELS = ("gptoss", "muse_glimmer")
"""These show the agent's messages in a channel that they do not open; here it is opened."""


def asked(framing: Framing, count: int) -> tuple[list[int], str]:
    """The ids that a belief is asked behind after so many messages, and their text up to the sentence."""
    query = query_of(framing, BeliefRequest(SAID[:count], ("Paris",), ANSWER_PROBE))
    head, sentence, _ = framing.text(query.prompts[0].ids).partition("\nNow there's enough information")
    assert sentence
    return list(query.context), head


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_a_template_is_framed_as_it_shows_messages(file: Path) -> None:
    tokenizer = TABLE["tokenizer_for"](file.read_text(encoding="utf-8"))
    assert TABLE["findings"](tokenizer.chat_template)[-1].good
    framing = Framing(tokenizer)
    contexts = []
    for count in (1, 3, 5):
        ids, text = asked(framing, count)
        contexts.append(ids)
        before, _, tail = text.rpartition(SAID[count - 1].text)
        assert [before.count(each.text) for each in SAID[: count - 1]] == [1] * (count - 1)
        assert tail.endswith("<think>")
        assert tail.count("<think>") - tail.count("</think>") == 1
        own = rendered(tokenizer, [{"role": "user", "content": SAID[0].text}])
        if SAID[0].text not in own:  # it shows lists of parts alone
            parts = [{"type": "text", "text": SAID[0].text}]
            own = rendered(tokenizer, [{"role": "user", "content": parts}])
        if count == 1:
            shown = own.partition("<think>")[0]
            assert text.startswith(shown)
            if not file.stem.startswith(CHANNELS):
                assert text == f"{shown}<think>"
    for short, long in itertools.pairwise(contexts):
        assert long[: len(short)] == short
