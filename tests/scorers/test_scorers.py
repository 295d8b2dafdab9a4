"""Scorers from their specs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from igpo_gym.errors import SpecError
from igpo_gym.scorers import resolve_reference, resolve_scorer
from igpo_gym.scorers.local import TransformersScorer
from tests.lm.tiny import make_model, make_tokenizer


def test_objects_and_none_pass() -> None:
    scorer = TransformersScorer(make_model(), make_tokenizer())
    assert resolve_scorer(scorer) is scorer
    assert resolve_scorer(None) is None


def test_equal_specs_share_a_scorer(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    scorer = resolve_scorer(str(tmp_path))
    assert isinstance(scorer, TransformersScorer)
    assert resolve_scorer(str(tmp_path)) is scorer


def test_a_spec_may_ask_for_no_cache_and_for_nothing_that_is_none() -> None:
    scorer = resolve_scorer("nano#device=cpu,cache_bytes=0")
    assert isinstance(scorer, TransformersScorer)
    assert scorer.reader.cache_bytes == 0
    with pytest.raises(SpecError, match="row_tokens at least 1"):
        resolve_scorer("nano#device=cpu,row_tokens=0")


def test_a_packaged_scorer_is_its_own_reference_and_no_other_is() -> None:
    scorer = TransformersScorer(make_model(), make_tokenizer())
    assert resolve_reference(None, "nano") is resolve_scorer("nano")
    assert resolve_reference(scorer, "nano") is scorer
    assert resolve_reference("nano", scorer) is resolve_scorer("nano")
    for other in (scorer, None, "none", "some/model"):
        assert resolve_reference(None, other) is None


@pytest.mark.parametrize(
    ("spec", "reason"),
    [("no/such-model", "cannot load"), ("x.gguf", "there is no file")],
)
def test_other_specs_are_refused_with_what_can_be_given(spec: str, reason: str) -> None:
    with pytest.raises(SpecError, match=rf"{reason}.*give nano, .*local folder.*\.gguf file"):
        resolve_scorer(spec)


def test_importing_the_room_does_not_import_torch() -> None:
    code = "import igpo_gym.scorers, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
