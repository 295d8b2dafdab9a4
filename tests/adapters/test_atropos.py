from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("atroposlib", reason="Atropos is not installed")

from atroposlib.envs.server_handling.server_manager import APIServerConfig

from igpo_gym.adapters.atropos import SearchQA, SearchQAConfig
from igpo_gym.adapters.session import Sessions
from igpo_gym.agents.exports.tokens import IGNORED
from igpo_gym.data import resolve_questions
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from tests.adapters.episodes import ATTEMPTS, QUESTION, settings, trained
from tests.adapters.scripted import ScriptedGenerate
from tests.conftest import REPOSITORY
from tests.lm.tiny import CHATML, make_tokenizer
from tests.serving import free_port, process
from tests.site import running

Use = Callable[[SearchQA], Any]


@contextmanager
def model() -> Iterator[str]:
    """A folder with a tokenizer."""
    with tempfile.TemporaryDirectory() as folder:
        make_tokenizer(CHATML).save_pretrained(folder)
        yield folder


def used(generate: ScriptedGenerate, use: Use, **changes: Any) -> Any:
    """What ``use`` returns for an environment that samples at a server on loopback."""

    async def go(url: str, name: str) -> Any:
        config = SearchQAConfig(
            **{
                "questions": "world#documents=60,questions=10",
                "scorer": None,
                "reward": "f1",
                "tokenizer_name": name,
                "group_size": len(ATTEMPTS),
                "use_wandb": False,
                "wandb_name": "searchqa",
                **changes,
            }
        )
        server = APIServerConfig(server_type="vllm", model_name=name, base_url=f"{url}/v1", api_key="x")
        env = SearchQA(config, [server])
        await env.setup()
        env.sessions = Sessions(**settings(CHAT))
        return await use(env)

    routes = {"/generate": generate, "/health": lambda body: {}}
    with running(routes) as site, model() as name:
        return asyncio.run(go(site.url, name))


def script_of(generate: ScriptedGenerate, tokens: list[int]) -> tuple[str, ...]:
    """Which script a row followed."""
    transcript = generate.tokenizer.decode(tokens)
    (found,) = (script for script in ATTEMPTS if all(message in transcript for message in script))
    return found


@pytest.mark.slow
def test_a_trainer_gets_the_advantage_of_each_token_through_the_server_of_atropos() -> None:
    generate = ScriptedGenerate(*ATTEMPTS)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    trainer = {
        "wandb_group": "g",
        "wandb_project": "p",
        "batch_size": len(ATTEMPTS),
        "max_token_len": 4000,
        "checkpoint_dir": "",
        "save_checkpoint_interval": 0,
        "starting_step": 0,
        "num_steps": 1,
    }

    async def send(env: SearchQA) -> None:
        await env.get_server_info()
        await env.register_env()
        group, _ = await env.collect_trajectories(QUESTION)
        await env.handle_send_to_api(group)

    command = [Path(sys.executable).with_name("run-api"), "--host", "127.0.0.1", "--port", port]
    with process(command, lambda line: "Uvicorn running" in line):
        requests.post(f"{url}/register", json=trainer, timeout=30).raise_for_status()
        assert requests.get(f"{url}/batch", timeout=30).json() == {"batch": None}  # the trainer has started
        used(generate, send, rollout_server_url=url, max_token_length=4000)
        ((group,),) = (requests.get(f"{url}/batch", timeout=30).json()["batch"],)

    scripts = [script_of(generate, tokens) for tokens in group["tokens"]]
    expected = trained(settings(CHAT), scripts)
    assert sorted(scripts) == sorted(ATTEMPTS)
    assert group["scores"][scripts.index(ATTEMPTS[2])] < 0 < group["scores"][scripts.index(ATTEMPTS[0])]
    for place, script in enumerate(scripts):
        tokens, masks, credit, log_probs = (
            group[name][place] for name in ("tokens", "masks", "advantages", "inference_logprobs")
        )
        own = [number != IGNORED for number in masks]
        assert [number for number in masks if number != IGNORED] == [
            number for number, mine in zip(tokens, own, strict=True) if mine
        ]
        assert log_probs == [-0.5 if mine else 1.0 for mine in own]
        assert not any(value for value, mine in zip(credit, own, strict=True) if not mine)
        runs = spans(own)
        assert len(runs) == len(script)
        for (start, stop), message, value in zip(runs, script, expected[place], strict=True):
            assert message in generate.tokenizer.decode(tokens[start:stop])
            assert credit[start:stop] == [value] * (stop - start)  # to the last digit, through JSON


def spans(own: list[bool]) -> list[tuple[int, int]]:
    """Where runs of True begin and end."""
    runs: list[tuple[int, int]] = []
    start = 0
    for mine, run in itertools.groupby(own):
        stop = start + len(list(run))
        runs += [(start, stop)] * mine
        start = stop
    return runs


def test_a_row_has_no_more_tokens_than_the_trainer_takes() -> None:
    prompt = len(ScriptedGenerate().framing.ids(CHAT.prompt(settings(CHAT)["questions"].questions[1])))

    async def collect(env: SearchQA) -> Any:
        return (await env.collect_trajectories(QUESTION))[0]

    room = prompt + 150
    group = used(ScriptedGenerate(*ATTEMPTS), collect, max_token_length=room)
    assert {len(tokens) for tokens in group["tokens"]} <= set(range(prompt, room + 1))
    assert all(score < 0 for score in group["scores"])  # none came to an answer
    for name in ("masks", "advantages", "inference_logprobs"):
        assert [len(row) for row in group[name]] == [len(tokens) for tokens in group["tokens"]]
    assert used(ScriptedGenerate(*ATTEMPTS), collect, max_token_length=20) is None


def test_each_question_comes_once_before_any_comes_again() -> None:
    async def items(env: SearchQA) -> list[str]:
        return [await env.get_next_item() for _ in range(8)]

    drawn = used(ScriptedGenerate(), items)
    assert sorted(drawn[:4]) == sorted(drawn[4:])
    assert len(set(drawn)) == 4


def test_an_evaluation_is_written_down(tmp_path: Path) -> None:
    answers = [("<answer>1</answer>",)] * 100  # whichever question is asked first

    async def evaluate(env: SearchQA) -> dict[str, list[float]]:
        await env.evaluate()
        return env._scored

    questions = tmp_path / "two.jsonl"
    row = {"question": "Which number?", "golden_answers": ["1"]}
    rows = [{**row, "id": "a", "golden_answers": ["9"]}, {**row, "id": "b"}]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scored = used(
        ScriptedGenerate(*answers),
        evaluate,
        test_questions=str(questions),
        data_dir_to_save_evals=str(tmp_path / "evals"),
        max_token_length=4000,
    )
    assert scored == {"eval/em": [0.0, 1.0], "eval/f1": [0.0, 1.0], "eval/cover_em": [0.0, 1.0]}
    (written,) = (tmp_path / "evals").glob("*.json")
    assert json.loads(written.read_text())["results"]["all"]["eval/em"] == 0.5


def test_test_questions_are_searched_in_their_own_passages() -> None:
    """``world`` and ``world:test`` share none."""
    test = resolve_questions("world:test#documents=60,questions=10")
    titles = {passage.id: passage.title for passage in test.passages}
    found: list[bool] = []

    async def evaluate(env: SearchQA) -> None:
        played = env._play

        async def watched(questions: Any, engine: Any = None, **how: Any) -> Any:
            for question in questions:
                (passages,) = engine.retriever.search([titles[question.evidence[0]]], 3)
                found.append(question.evidence[0] in {passage.id for passage in passages})
            return await played(questions, engine, **how)

        env._play = watched  # type: ignore[method-assign]
        await env.evaluate()

    answers = [("<answer>x</answer>",)] * 100  # whichever question is asked first
    used(ScriptedGenerate(*answers), evaluate, test_questions=test.name, max_token_length=4000)
    assert found == [True] * len(test.questions)


def test_a_password_in_the_configuration_is_refused_and_not_shown() -> None:
    for name in ("scorer", "search"):
        with pytest.raises(ValueError, match=f"{name}: this library writes its configuration") as caught:
            SearchQAConfig(**{name: "http://me:secret@host:8000/v1"})
        assert "secret" not in str(caught.value)


def test_an_estimator_that_ignores_gains_is_refused() -> None:
    async def nothing(env: SearchQA) -> None:
        raise AssertionError("not reached")

    with pytest.raises(SpecError, match="grpo takes the outcome alone"):
        used(ScriptedGenerate(), nothing, advantages="grpo", reward="igpo", scorer="nano")
    with pytest.raises(SpecError, match=r"write potential\(gamma=0\.9\)"):
        used(ScriptedGenerate(), nothing, advantages="rebn", gamma=0.9, reward="potential", scorer="nano")


@pytest.mark.slow
def test_the_example_writes_groups(tmp_path: Path) -> None:
    generate = ScriptedGenerate(*[(f"<answer>{place}</answer>",) for place in range(100)])
    out = tmp_path / "groups.jsonl"
    with running({"/generate": generate, "/health": lambda body: {}}) as site, model() as name:
        options = {
            "--env.questions": "world#documents=60,questions=10",
            "--env.scorer": "nano",
            "--env.tokenizer_name": name,
            "--env.data_path_to_save_groups": out,
            "--env.total_steps": 2,
            "--env.group_size": 2,
            "--env.use_wandb": "False",
            "--openai.server_type": "vllm",
            "--openai.base_url": f"{site.url}/v1",
            "--openai.model_name": name,
            "--openai.api_key": "x",
        }
        arguments = [str(part) for option in options.items() for part in option]
        subprocess.run(
            [sys.executable, REPOSITORY / "examples" / "atropos_env.py", "process", *arguments],
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
    groups = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(groups) == 2
    assert all(len(group["advantages"]) == 2 for group in groups)
