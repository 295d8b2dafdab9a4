"""Episodes of validations are kept to look at: with beliefs, and not without bound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.agents.training.samples import FILES, KEPT, keep_samples, samples
from igpo_gym.agents.training.settings import Settings
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.errors import ScoringError
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import PRESETS
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search
from tests.conftest import MentionScorer, play

SETTINGS = Settings(model="nano", validation="http://me:secret@host/questions")


@pytest.fixture
def referee(index: BM25Index) -> Engine:
    """An engine as validations have it: nobody is asked for beliefs."""
    return Engine(TAGS, (Search(index, 2),), PRESETS["outcome-f1"], None, Rules(3))


def test_samples_have_the_beliefs_of_the_scorer(tmp_path: Path, referee: Engine) -> None:
    episode = play(referee, 1, "<search>Günter Grass writer born</search>", "<answer>Danzig</answer>")
    keep_samples(tmp_path, 7, [episode] * (KEPT + 1), SETTINGS, referee.reward, MentionScorer())
    (file,) = samples(tmp_path)
    assert file.name == "000007.jsonl"
    found = list(read_rollouts(file))
    assert len(found) == KEPT
    before, after = (belief.prob for belief in found[0].beliefs)
    assert found[0].rewards[0]["gain"] == pytest.approx(after - before)
    assert found[0].rewards[1]["f1"] == 1.0
    settings = json.loads(file.read_text().splitlines()[0])["settings"]
    assert (settings["agent"], settings["reward"], settings["update"]) == ("nano, update 7", "igpo", 7)
    assert "secret" not in file.read_text()


def test_without_a_scorer_they_are_as_they_were_played(tmp_path: Path, referee: Engine) -> None:
    class Failing(MentionScorer):
        def score(self, requests: object) -> list[object]:  # type: ignore[override]
            raise ScoringError("down")

    for update, scorer in enumerate((None, Failing())):
        episode = play(referee, 1, "<answer>Danzig</answer>")
        keep_samples(tmp_path, update, [episode], SETTINGS, referee.reward, scorer)
        (found,) = read_rollouts(samples(tmp_path)[-1])
        assert found.beliefs == []
        assert found.rewards == [{"f1": 1.0}]


def test_the_first_and_the_latest_are_kept(tmp_path: Path, referee: Engine) -> None:
    episode = play(referee, 1, "<answer>Danzig</answer>")
    for update in range(0, 10 * (FILES + 3), 10):
        keep_samples(tmp_path, update, [episode], SETTINGS, referee.reward, None)
    kept = [int(path.stem) for path in samples(tmp_path)]
    assert kept == [0, *range(40, 130, 10)]
