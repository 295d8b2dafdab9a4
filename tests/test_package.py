from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import igpo_gym
from igpo_gym import specs

IDS = ("SearchQA-v0", "SearchQA-IGPO-v0", "SearchQA-Outcome-v0")


HEAVY = {
    *("torch", "transformers", "tokenizers", "sentence_transformers", "faiss", "bm25s", "numba", "scipy"),
    *("fastapi", "uvicorn", "requests", "trafilatura", "datasets", "pyarrow", "zstandard", "jinja2"),
    "matplotlib",
}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("igpo_gym", set()),
        ("igpo_gym.cli", {"typer", "rich"}),
        *((f"igpo_gym.{room}", set()) for room in ("data", "search", "viewer")),
    ],
)
def test_an_import_imports_no_heavy_library(name: str, own: set[str]) -> None:
    code = f"import {name}, sys, json; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert not ({*HEAVY, "typer", "rich"} - own) & set(modules)


def test_the_list_of_rewards_needs_no_library_of_requests_or_schemas() -> None:
    code = (
        "import sys; sys.argv = ['igpo-gym', 'rewards']; from igpo_gym.cli import app\n"
        "try: app()\nexcept SystemExit: print('requests' in sys.modules, 'jsonschema' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines()[-1] == "False False"


@pytest.mark.parametrize("name", IDS)
def test_the_specs_are_json_and_reach_both_forms(name: str) -> None:
    spec = gymnasium.spec(name)
    assert gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()) == spec
    assert spec.vector_entry_point is not None


def test_every_id_is_explained() -> None:
    assert igpo_gym.__doc__ is not None
    assert all(f"``{name}``" in igpo_gym.__doc__ for name in IDS)


SURFACE = [
    "Answer",
    "AnswerProbe",
    "AnswerScorer",
    "BM25Index",
    "Belief",
    "BeliefRequest",
    "EndReason",
    "EnvConfig",
    "Episode",
    "Estimator",
    "InformationGain",
    "Invalid",
    "LanguageModelPolicy",
    "Message",
    "Passage",
    "Policy",
    "Question",
    "QuestionSet",
    "RemotePolicy",
    "RemoteScorer",
    "Retriever",
    "RewardFunction",
    "RewardTerm",
    "RolloutFile",
    "Sampling",
    "ScriptedAgent",
    "SearchQADiscreteEnv",
    "SearchQAEnv",
    "SearchQAVectorEnv",
    "Segment",
    "Settings",
    "Split",
    "TextProtocol",
    "Tool",
    "ToolCall",
    "ToolCalls",
    "ToolResult",
    "ToolSpec",
    "TranscriptObservation",
    "TransformersScorer",
    "Turn",
    "Turns",
    "VectorInformationGain",
    "collect",
    "information_gain",
    "read_rollouts",
    "read_transcripts",
    "register",
    "relabel",
    "resolve_estimator",
    "resolve_policy",
    "resolve_reward",
    "split",
    "train",
]
"""What users may rely on: a change here is a change for them."""


def test_the_public_surface_is_what_it_is() -> None:
    assert sorted(igpo_gym.__all__) == sorted(["__version__", *SURFACE])
    assert set(SURFACE) <= set(dir(igpo_gym))
    for name in SURFACE:
        assert getattr(igpo_gym, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = igpo_gym.nothing


def test_type_checkers_see_the_surface_that_there_is() -> None:
    tree = ast.parse(Path(igpo_gym.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        (statement.module, name.asname)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for name in statement.names
    }
    assert seen == {(module, name) for name, module in igpo_gym._MODULES.items()}


def test_the_faces_of_the_rooms_have_what_they_list() -> None:
    rooms = {kind.room for kind in specs.KINDS.values()}
    for room in (*sorted(rooms), "igpo_gym.envs", "igpo_gym.agents.rollouts", "igpo_gym.agents.training"):
        module = importlib.import_module(room)
        assert module.__all__
        assert all(hasattr(module, name) for name in module.__all__), room
