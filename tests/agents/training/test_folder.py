from __future__ import annotations

from pathlib import Path

import pytest

from igpo_gym.agents.training.folder import agree
from igpo_gym.agents.training.settings import Settings
from igpo_gym.errors import DataError


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null", "{", "[" * 100_000, "\ud800"])
def test_settings_that_are_damaged_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=r"settings\.json: .*choose another folder"):
        agree(tmp_path, Settings())
