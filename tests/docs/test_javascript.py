"""The client in JavaScript of docs/beliefs.md, run by node against a real server."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from igpo_gym.episode import Segment
from igpo_gym.protocols import ANSWER_PROBE
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from tests.conftest import REPOSITORY
from tests.docs.pages import blocks
from tests.scorers.test_server import served

NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_client_in_javascript(tmp_path: Path) -> None:
    assert NODE is not None
    (block,) = (each for each in blocks(REPOSITORY / "docs" / "beliefs.md") if each.language == "javascript")
    client = tmp_path / "client.mjs"
    client.write_text(block.code, encoding="utf-8")
    local = TransformersScorer.load("nano", "cpu")
    with served(TransformersScorer.load("nano", "cpu")) as url:
        told = subprocess.run([NODE, str(client), url], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    prompt = (Segment("environment", "user", "Where is Danzig?"),)
    (right,) = local.score([BeliefRequest(prompt, ("Poland", "Peru"), ANSWER_PROBE)])
    assert json.loads(told.stdout) == pytest.approx([2.718281828459045**mean for mean in right.log_probs])
