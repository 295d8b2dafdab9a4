"""Episodes to look at: played by hand, and full of markup."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from igpo_gym.agents.rollouts.records import to_record
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from igpo_gym.rewards import PRESETS, RewardFunction
from tests.conftest import play

SEARCH = "<think>who wrote it?</think><search>The Tin Drum novel</search>"
AGAIN = "<think>and where was he born?</think><search>Günter Grass writer born</search>"
RIGHT = "<think>there it is</think><answer>Danzig</answer>"
WRONG = "<answer>Cologne</answer>"

EVIL = (
    "</script><script>window.acted = 1</script><img src=x onerror='window.acted = 2'>"
    '<a href="javascript:window.acted=3">go</a><!--<svg onload=window.acted=4>]]>\u2028\u2029\x00\x07\x85&lt;'
    "<iframe src='http://127.0.0.1:9/'></iframe>{{7*7}}${window.acted = 5}"
)


def group(engine: Engine) -> list[Episode]:
    """Four attempts at one question, two of them right, and one at another."""
    attempts = [(SEARCH, AGAIN, RIGHT), (SEARCH, WRONG), (AGAIN, RIGHT), ("nonsense", SEARCH, WRONG)]
    episodes = [play(engine, 1, *messages) for messages in attempts]
    for number, episode in enumerate(episodes):
        episode.attempt = number
    return [*episodes, play(engine, 0, SEARCH, "<answer>Günter Grass</answer>")]


def write(
    path: Path,
    episodes: Iterable[Episode],
    paid_by: RewardFunction | None = PRESETS["igpo"],
    **settings: Any,
) -> Path:
    """A recording of some episodes."""
    told = {"questions": "tiny", "agent": "hand", "reward": paid_by.name if paid_by else None, **settings}
    records = ({"settings": told, **to_record(episode, paid_by)} for episode in episodes)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path
