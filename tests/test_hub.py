"""The hub: asked once whether it is there, and its libraries silenced for a block alone."""

from __future__ import annotations

import pytest
import requests
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging as transformers_logging

from igpo_gym import hub
from igpo_gym.errors import SpecError
from igpo_gym.lm.loading import load_model
from igpo_gym.search.dense.encoder import load_encoder


@pytest.mark.parametrize("level", [transformers_logging.INFO, transformers_logging.CRITICAL])
def test_a_user_who_silenced_transformers_stays_so(level: int) -> None:
    before = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity(level)
    try:
        with hub.quiet():
            assert transformers_logging.get_verbosity() >= transformers_logging.ERROR
        assert not transformers_logging.is_progress_bar_enabled()
        assert are_progress_bars_disabled()
        assert transformers_logging.get_verbosity() == level
    finally:
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(before)


def test_the_hub_is_asked_once_whether_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def head(url: str, timeout: float) -> None:
        asked.append(url)
        raise requests.ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(requests, "head", head)
    hub.unreachable.cache_clear()
    try:
        for load, name in ((load_model, "owner/name"), (load_model, "bare-word"), (load_encoder, "a/b")):
            with pytest.raises(SpecError, match=rf"'{name}' \(it is not in the local cache, and .*reached"):
                load(name)
        assert len(asked) == 1
    finally:
        hub.unreachable.cache_clear()
