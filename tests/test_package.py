from __future__ import annotations

import json
import subprocess
import sys

import gymnasium
import pytest

import igpo_gym

IDS = ("SearchQA-v0", "SearchQA-IGPO-v0", "SearchQA-Outcome-v0")


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = "import igpo_gym, sys, json; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    heavy = {"torch", "transformers", "bm25s", "tokenizers", "rich", "typer", "requests", "scipy"}
    assert not heavy & set(modules)


@pytest.mark.parametrize("name", IDS)
def test_the_specs_are_json_and_reach_both_forms(name: str) -> None:
    spec = gymnasium.spec(name)
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()) == spec
    assert spec.vector_entry_point is not None


def test_every_id_is_explained() -> None:
    assert igpo_gym.__doc__ is not None
    assert all(f"``{name}``" in igpo_gym.__doc__ for name in IDS)
