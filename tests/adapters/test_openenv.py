from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

pytest.importorskip("openenv.core", reason="OpenEnv is not installed")

import gymnasium as gym

from igpo_gym.adapters.openenv import SearchQAAction, SearchQAClient, server
from igpo_gym.protocols import TAGS
from tests.adapters.episodes import QUESTION, settings
from tests.conftest import REPOSITORY
from tests.serving import in_thread

SEARCH = SearchQAAction(message="<search>Günter Grass writer</search>")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_thread(server(**settings(TAGS))) as url:
        yield url


def test_sessions_do_not_disturb_each_other(url: str) -> None:
    with SearchQAClient(base_url=url).sync() as one, SearchQAClient(base_url=url).sync() as other:
        one.reset(question_id=QUESTION, episode_id="first")
        other.reset(question_id="q-river")
        found = one.step(SEARCH)
        assert found.observation.info["belief"] == pytest.approx(2 / 11)
        assert found.observation.info["reward_terms"]["gain"] == pytest.approx(found.reward)
        assert "gold" not in found.observation.info
        assert other.state().step_count == 0
        state = one.state()
        assert (state.episode_id, state.step_count) == ("first", 1)


def test_the_seed_draws_the_question_that_it_draws_in_gymnasium(url: str) -> None:
    env = gym.make("SearchQA-v0", **settings(TAGS))
    with SearchQAClient(base_url=url).sync() as client:
        for seed in range(4):
            assert client.reset(seed=seed).observation.text == env.reset(seed=seed)[0]


def test_a_mistake_reaches_the_client_and_ends_nothing(url: str) -> None:
    with SearchQAClient(base_url=url).sync() as client:
        with pytest.raises(RuntimeError, match="no question has the id 'nope'"):
            client.reset(question_id="nope")
        client.reset(question_id=QUESTION)
        assert client.step(SEARCH).reward == pytest.approx(2 / 11 - 1 / 10)


def test_a_reset_takes_the_options_of_the_environment_and_refuses_others(url: str) -> None:
    with SearchQAClient(base_url=url).sync() as client:
        client.reset(question_id=QUESTION, max_turns=1)
        step = client.step(SEARCH)
        assert (step.done, step.observation.truncated) == (True, True)
        client.reset(question_id=QUESTION)
        assert not client.step(SEARCH).done
        with pytest.raises(RuntimeError, match="unknown reset option 'question'"):
            client.reset(question="zzz")
        with pytest.raises(RuntimeError, match="max_turns must be a whole number"):
            client.reset(max_turns=0)
        assert client.state().step_count == 1  # the episode that was running is still there
    unknown = requests.post(f"{url}/reset", json={"question": "zzz"}, timeout=30)
    assert (unknown.status_code, "unknown reset option 'question'" in unknown.json()["detail"]) == (422, True)


def test_requests_without_a_session_are_refused_in_a_line(url: str) -> None:
    prompt = requests.post(f"{url}/reset", json={"seed": 0}, timeout=30)
    assert prompt.json()["observation"]["text"]
    step = requests.post(f"{url}/step", json={"action": {"message": "<search>x</search>"}}, timeout=30)
    assert (step.status_code, step.json()) == (
        409,
        {"detail": "there is no episode: play in a session, as SearchQAClient does"},
    )
    unknown = requests.post(f"{url}/reset", json={"question_id": "nope"}, timeout=30)
    assert (unknown.status_code, "no question has the id 'nope'" in unknown.json()["detail"]) == (422, True)


@pytest.mark.slow
def test_the_example_is_what_the_command_line_calls_valid(tmp_path: Path, url: str) -> None:
    folder = shutil.copytree(REPOSITORY / "examples" / "openenv", tmp_path / "openenv")
    (folder / "uv.lock").touch()  # what `uv lock` makes on the machine that builds the container
    for place in ([folder], ["--url", url]):
        command = [Path(sys.executable).with_name("openenv"), "validate", *place]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
