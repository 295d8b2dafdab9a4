"""Beliefs of a real vLLM on this machine's CPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import igpo_gym
from igpo_gym.envs import SearchQAVectorEnv
from igpo_gym.scorers.check_server import check_server, requests_of
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.remote import RemoteScorer
from tests.integration.vllm import needs_vllm, vllm_server

pytestmark = [pytest.mark.slow, needs_vllm]

NANO = str(Path(igpo_gym.__file__).parent / "models" / "nano")


@pytest.fixture(scope="module", params=["--enable-prefix-caching", "--no-enable-prefix-caching"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # Prompts are read in pieces of 256 tokens, and several of them at once.
    arguments = [request.param, "--max-model-len", "1024", "--max-num-batched-tokens", "256"]
    with vllm_server(NANO, tmp_path_factory.mktemp("vllm") / "server.log", *arguments) as url:
        yield url


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_smollm2_passes_the_check_of_servers(dtype: str, smollm2: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from igpo_gym.cli import app; app()", "check", "server"]
    with vllm_server(smollm2, tmp_path / "server.log", "--max-model-len", "2048", dtype=dtype) as url:
        options = [url, "--model", str(smollm2), "--dtype", dtype, "--device", "cpu"]
        checked = subprocess.run([*command, *options], capture_output=True, text=True)
    print(checked.stdout)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_beliefs_are_the_models_in_every_order(url: str) -> None:
    with RemoteScorer(url, tokenizer=NANO) as scorer:
        found = list(check_server(scorer, TransformersScorer.load(NANO, "cpu"), "float32"))
    assert [each.what for each in found if each.good is False] == []
    assert len([each for each in found if each.good]) == 4


@pytest.mark.parametrize("tells", [True, False])
def test_a_vector_environment_goes_on_without_the_episode_that_is_too_long(url: str, tells: bool) -> None:
    local = TransformersScorer.load(NANO, "cpu")
    local.reader.longest = 1023
    with RemoteScorer(url, tokenizer=NANO) as remote:
        assert remote.longest == 1023
        if not tells:
            remote.longest = None  # as if the server had not told; it refuses
        (seen, right) = (_play(scorer) for scorer in (remote, local))
        assert remote.longest == 1023
    assert seen[1] == right[1] == [[False, True, False]] * 2
    for paid, due in zip(seen[0], right[0], strict=True):
        assert paid == pytest.approx(due, abs=1e-4)


def _play(scorer: Any) -> tuple[list[list[float]], list[list[bool]]]:
    """The rewards and truncations of two steps, in which the second of three episodes grows too long."""
    envs = SearchQAVectorEnv(3, questions="world:test", scorer=scorer, autoreset_mode="SameStep")
    envs.reset(seed=0)
    long = f"<think>{'where is it? ' * 400}</think><search>Danzig</search>"
    messages = ["<search>Salman</search>", long, "<search>Danzig</search>"]
    steps = [envs.step(messages) for _ in range(2)]
    return [step[1].tolist() for step in steps], [step[3].tolist() for step in steps]


def test_what_is_generated_in_between_changes_no_belief(url: str) -> None:
    with RemoteScorer(url, tokenizer=NANO) as scorer:
        requests = requests_of(scorer)
        before = scorer.score(requests)
        prompts = [list(scorer.framing.ids(each.segments)) for each in requests]
        # This fills the prefix cache, if there is one, with the beginnings of all that is scored.
        scorer._server.post("/v1/completions", {"model": scorer.model, "prompt": prompts, "max_tokens": 4})
        after = scorer.score(requests[::-1])[::-1]
    for one, other in zip(before, after, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
