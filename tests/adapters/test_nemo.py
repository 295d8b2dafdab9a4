from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("nemo_gym", reason="NeMo Gym is not installed")

from fastapi import FastAPI
from nemo_gym import server_utils
from nemo_gym.config_types import BaseServerConfig
from nemo_gym.server_utils import ServerClient
from omegaconf import OmegaConf
from responses_api_agents.gymnasium_agent.app import GymnasiumAgent, GymnasiumAgentConfig

from igpo_gym.adapters import nemo
from igpo_gym.adapters.nemo import AGENT, SearchQAServer, SearchQAServerConfig, dataset, rollout_advantages
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from tests.adapters.episodes import ATTEMPTS, QUESTION, played, settings, trained
from tests.conftest import REPOSITORY, MentionScorer
from tests.envs.test_asynchronous import PATIENCE, Gated
from tests.serving import free_port, in_thread, process


@pytest.fixture(autouse=True)
def client_of_this_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """NeMo Gym keeps one HTTP client a process, and a configuration that a process is started with."""
    monkeypatch.setenv("NEMO_GYM_CONFIG_DICT", "{}")
    monkeypatch.setattr(server_utils, "_GLOBAL_AIOHTTP_CLIENT", None)


SERVER = "searchqa_igpo"
EXAMPLE = REPOSITORY / "examples" / "nemo_gym"


def response(message: str) -> dict[str, Any]:
    """A model's answer as NeMo Gym passes it on."""
    text = {"type": "output_text", "text": message, "annotations": []}
    said = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    rest = {"created_at": 0.0, "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return {"id": "r", "object": "response", "model": "scripted", "output": [said], **rest}


def model(scripts: Sequence[Sequence[str]]) -> FastAPI:
    """A model server: a conversation that begins follows the next script."""
    app, running = FastAPI(), iter(scripts)
    messages: list[str] = []

    @app.post("/v1/responses")
    def respond(body: dict[str, Any]) -> dict[str, Any]:
        if not any(said.get("role") == "assistant" for said in body["input"]):
            messages[:] = next(running)
        return response(messages.pop(0))

    return app


def address(url: str) -> dict[str, Any]:
    host, _, port = url.removeprefix("http://").partition(":")
    return {"host": host, "port": int(port)}


def client(**servers: str) -> ServerClient:
    """What NeMo Gym's servers find each other by."""
    kinds = {SERVER: "resources_servers", "policy_model": "responses_api_models"}
    found = {name: {kinds[name]: {name: address(url)}} for name, url in servers.items()}
    head = BaseServerConfig(host="127.0.0.1", port=1)
    return ServerClient(head_server_config=head, global_config_dict=OmegaConf.create(found))


def server(given: dict[str, Any]) -> FastAPI:
    config = SearchQAServerConfig(host="", port=0, entrypoint="app.py", name=SERVER, environment=given)
    app: FastAPI = SearchQAServer(config=config, server_client=client()).setup_webserver()
    return app


@contextmanager
def agent(given: dict[str, Any], scripts: Sequence[Sequence[str]], max_steps: int = 6) -> Iterator[str]:
    """The URL of NeMo Gym's own agent between the environment and the scripted model, all on loopback."""
    with ExitStack() as stack:
        environment = stack.enter_context(in_thread(server(given)))
        policy = stack.enter_context(in_thread(model(scripts)))
        config = GymnasiumAgentConfig(
            host="",
            port=0,
            entrypoint="app.py",
            name=AGENT,
            resources_server={"type": "resources_servers", "name": SERVER},
            model_server={"type": "responses_api_models", "name": "policy_model"},
            max_steps=max_steps,
        )
        servers = client(**{SERVER: environment, "policy_model": policy})
        app = GymnasiumAgent(config=config, server_client=servers).setup_webserver()
        yield stack.enter_context(in_thread(app))


def run(url: str, row: dict[str, Any]) -> dict[str, Any]:
    """A rollout as NeMo Gym collects it: the row, and what the agent made of it."""
    answered = requests.post(f"{url}/run", json=row, timeout=60)
    answered.raise_for_status()
    return {**row, **answered.json()}


def row_of(given: dict[str, Any]) -> dict[str, Any]:
    (row,) = (row for row in dataset(**given) if row["question_id"] == QUESTION)
    return row


def test_the_advantages_of_rollouts_are_those_of_the_engine() -> None:
    given = settings(CHAT)
    with agent(given, ATTEMPTS) as url:
        rollouts = [run(url, row_of(given)) for _ in ATTEMPTS]
    assert rollout_advantages(json.loads(json.dumps(rollouts))) == trained(given, ATTEMPTS)  # bit for bit
    right, _, out_of_turns = rollouts
    assert right["reward"] == sum(right["info"]["turn_rewards"])
    assert right["info"]["beliefs"] == pytest.approx([1 / 10, 2 / 11])
    assert (right["terminated"], right["info"]["em"]) == (True, 1.0)
    assert (out_of_turns["truncated"], out_of_turns["info"]["outcome"]) == (True, -2.0)
    said = [item["role"] for item in right["response"]["output"]]
    assert said == ["assistant", "user", "assistant"]


def test_a_rollout_that_the_agent_cuts_is_refused_by_name() -> None:
    given = settings(CHAT)
    with agent(given, ATTEMPTS[2:], max_steps=2) as url:
        rollout = run(url, row_of(given))
    with pytest.raises(SpecError, match=r"'q-birth' tells no gains: .*max_steps of the agent"):
        rollout_advantages([rollout])


def test_requests_out_of_order_are_explained() -> None:
    given = settings(CHAT)
    row = row_of(given)
    with in_thread(server(given)) as url:
        body = {**row, "response": response("<answer>Danzig</answer>")}
        refused = requests.post(f"{url}/step", json=body, timeout=30)
        assert (refused.status_code, "POST /reset first" in refused.text) == (409, True)
        del row["question_id"]
        refused = requests.post(f"{url}/reset", json=row, timeout=30)
        assert (refused.status_code, "names no question" in refused.text) == (422, True)


def begun(url: str, given: dict[str, Any]) -> tuple[requests.Session, dict[str, Any]]:
    """A session whose episode has begun, and its row."""
    session, row = requests.Session(), row_of(given)
    session.post(f"{url}/reset", json=row, timeout=30).raise_for_status()
    return session, row


def test_a_response_that_comes_again_gets_the_first_answer() -> None:
    """NeMo Gym's client posts again where its connection broke; turn and reward are had once."""
    given = settings(CHAT)
    _, steps = played(given, ATTEMPTS[0])
    with in_thread(server(given)) as url:
        session, row = begun(url, given)
        for message, expected in zip(ATTEMPTS[0], steps, strict=True):
            body = {**row, "response": response(message)}
            first, again = (session.post(f"{url}/step", json=body, timeout=30).json() for _ in range(2))
            assert first == again
            assert (first["reward"], first["terminated"]) == (pytest.approx(expected.reward), expected.done)
        other = session.post(f"{url}/step", json={**row, "response": response("more")}, timeout=30)
    assert (other.status_code, "has ended: POST /reset first" in other.text) == (409, True)
    assert first["info"]["turn_rewards"] == pytest.approx([step.reward for step in steps])


def test_a_message_of_the_same_words_is_another_turn() -> None:
    given = settings(CHAT)
    with in_thread(server(given)) as url:
        session, row = begun(url, given)
        bodies = [{**row, "response": {**response("hm"), "id": name}} for name in ("r1", "r2")]
        turns = [session.post(f"{url}/step", json=body, timeout=30).json()["info"]["turn"] for body in bodies]
    assert turns == [1, 2]


def test_a_response_that_comes_again_while_it_is_played_waits_for_the_one_answer() -> None:
    scorer = Gated()
    given = settings(CHAT, scorer=scorer)
    message = ATTEMPTS[0][0]
    with in_thread(server(given)) as url, ThreadPoolExecutor() as pool:
        session, row = begun(url, given)

        def step(said: str) -> requests.Response:
            body = {**row, "response": response(said)}
            return requests.post(f"{url}/step", json=body, cookies=session.cookies, timeout=PATIENCE)

        scorer.gate.clear()
        scorer.busy.clear()
        first = pool.submit(step, message)
        assert scorer.busy.wait(PATIENCE)
        again = pool.submit(step, message)
        other = step("something else")
        scorer.gate.set()
        answers = [first.result().json(), again.result().json()]
    assert (other.status_code, "plays another message" in other.text) == (409, True)
    assert answers[0] == answers[1]
    _, (expected, _) = played(settings(CHAT), ATTEMPTS[0])
    assert (answers[0]["reward"], answers[0]["info"]["turn"]) == (pytest.approx(expected.reward), 1)


def test_a_message_that_could_not_be_played_is_played_when_it_comes_again() -> None:
    scorer = MentionScorer()
    given = settings(CHAT, scorer=scorer)
    with in_thread(server(given)) as url:
        session, row = begun(url, given)
        body = {**row, "response": response(ATTEMPTS[0][0])}
        scorer.problem = "the server is down"
        # A server that fails closes the connection: each request has one of its own.
        step = partial(requests.post, f"{url}/step", json=body, cookies=session.cookies, timeout=30)
        assert step().status_code == 500
        scorer.problem = ""
        assert step().json()["info"]["turn"] == 1


def test_a_session_that_nobody_asks_any_more_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose reset was posted again, without its cookie, or whose episode the agent cut."""
    scorer = Gated()
    given = settings(CHAT, scorer=scorer)
    config = SearchQAServerConfig(host="", port=0, entrypoint="app.py", name=SERVER, environment=given)
    environment = SearchQAServer(config=config, server_client=client())
    with in_thread(environment.setup_webserver()) as url, ThreadPoolExecutor() as pool:
        lost, row = begun(url, given)
        kept, _ = begun(url, given)
        assert len(environment.session_state) == 2
        body = {**row, "response": response(ATTEMPTS[0][0])}
        scorer.gate.clear()
        scorer.busy.clear()
        running = pool.submit(kept.post, f"{url}/step", json=body, timeout=PATIENCE)
        assert scorer.busy.wait(PATIENCE)
        with monkeypatch.context() as patch:
            patch.setattr(nemo, "IDLE", 0.0)
            # A reset, even one that is refused, forgets what is idle, and not what is played.
            assert (
                requests.post(f"{url}/reset", json={**row, "question_id": None}, timeout=30).status_code
                == 422
            )
        scorer.gate.set()
        assert running.result().status_code == 200
        refused = lost.post(f"{url}/step", json=body, timeout=30)
        assert (refused.status_code, "POST /reset first" in refused.text) == (409, True)
        last, _ = begun(url, given)
        for session in (kept, last):
            other = {**row, "response": response("<answer>Danzig</answer>")}
            assert session.post(f"{url}/step", json=other, timeout=30).json()["terminated"]


@pytest.mark.slow
def test_the_example_runs_as_a_process_of_nemo_gym(tmp_path: Path) -> None:
    file = EXAMPLE / "resources_servers" / SERVER / "configs" / f"{SERVER}.yaml"
    config = OmegaConf.load(file)
    del config[AGENT]
    own = config[SERVER].resources_servers[SERVER]
    own.host, own.port = "127.0.0.1", free_port()
    own.environment = {"questions": "world#documents=60,questions=10", "scorer": None, "reward": "outcome-f1"}
    OmegaConf.save(config, tmp_path / "config.yaml")
    rows = [sys.executable, EXAMPLE / "rows.py", tmp_path / "config.yaml", "--out", tmp_path / "rows.jsonl"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run(rows, check=True, env=environment)
    row = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])

    config.head_server = {"host": "127.0.0.1", "port": free_port()}
    config.dry_run = False
    environment |= {"NEMO_GYM_CONFIG_DICT": OmegaConf.to_yaml(config), "NEMO_GYM_CONFIG_PATH": SERVER}
    command = [sys.executable, "app.py"]
    folder = EXAMPLE / "resources_servers" / SERVER
    with process(command, lambda line: "Uvicorn running" in line, cwd=folder, env=environment):
        url = f"http://127.0.0.1:{own.port}"
        session = requests.Session()
        session.post(f"{url}/reset", json=row, timeout=60).raise_for_status()
        body = {**row, "response": response("<answer>nobody</answer>")}
        step = session.post(f"{url}/step", json=body, timeout=60).json()
    assert (step["reward"], step["terminated"], step["info"]["outcome"]) == (0.0, True, 0.0)
