"""The server: who may ask it, what it answers, and how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.play.server import MAX_BYTES
from tests.play.serving import GOLD, PASSAGES, QUESTIONS, Follower, Moody, episodes, serving

SEARCH = {"tool": "search", "arguments": {"query": "The Tin Drum"}}


def post(url: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{url}/{path}", content, headers={"Origin": url, **headers}, timeout=60)


def begun(url: str) -> str:
    answer = post(url, "episodes")
    assert answer.status_code == 201
    return f"episodes/{answer.json()['key']}"


def test_an_episode_over_http(url: str) -> None:
    path = begun(url)
    answer = post(url, f"{path}/turns", {"turns": 0, "action": SEARCH})
    assert answer.status_code == 200
    assert answer.json()["episode"]["turns"] == 1
    assert GOLD not in answer.text
    assert requests.get(f"{url}/{path}", timeout=60).text == answer.text
    again = post(url, f"{path}/turns", {"turns": 0, "action": SEARCH})
    assert again.status_code == 409
    ended = post(url, f"{path}/turns", {"turns": 1, "action": {"answer": GOLD}}).json()
    assert ended["episode"]["end"] == "answered"
    assert ended["question"]["answers"][0] == GOLD
    assert requests.get(f"{url}/episodes/unknown", timeout=60).status_code == 404
    assert post(url, "episodes/unknown/turns", {"turns": 0, "action": {}}).status_code == 404


def test_the_page_runs_its_own_script_alone(url: str) -> None:
    answer = requests.get(f"{url}/", timeout=60)
    assert "default-src 'none'; script-src 'sha256-" in answer.text
    assert "connect-src 'self'" in answer.text
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert answer.headers["Cache-Control"] == "no-store"
    assert GOLD not in answer.text
    for path in ("docs", "openapi.json", "redoc"):
        assert requests.get(f"{url}/{path}", timeout=60).status_code == 404


def test_other_names_for_this_machine_are_refused(url: str) -> None:
    """A page of another site whose name is made to mean this machine (DNS rebinding)."""
    port = url.rpartition(":")[2]
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.example",
    ):
        answer = requests.get(f"{url}/", headers={"Host": host}, timeout=60)
        assert (answer.status_code, "<html" in answer.text) == (403, False), host
        assert post(url, "episodes", Host=host, Origin=f"http://{host}").status_code == 403
    assert requests.get(f"{url}/", headers={"Host": f"localhost:{port}"}, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "https://127.0.0.1", "http://127.0.0.1"]
)
def test_pages_from_elsewhere_cannot_post(url: str, origin: str) -> None:
    path = begun(url)
    body = {"turns": 0, "action": {"answer": "x"}}
    assert post(url, f"{path}/turns", body, Origin=origin).status_code == 403
    assert post(url, "episodes", Origin=origin).status_code == 403
    assert requests.post(f"{url}/{path}/turns", json=body, timeout=60).status_code == 403
    assert requests.get(f"{url}/{path}", timeout=60).json()["episode"]["turns"] == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[" * 50_000, 422),
        (b"[]", 422),
        ({"turns": "0", "action": {}}, 422),
        ({"turns": 0, "action": {"message": "x" * MAX_BYTES}}, 413),
        ({"turns": 0, "action": {"tool": "rm", "arguments": {}}}, 502),
    ],
)
def test_what_is_no_turn_is_refused(url: str, body: Any, status: int) -> None:
    path = begun(url)
    answer = post(url, f"{path}/turns", body)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert requests.get(f"{url}/{path}", timeout=60).json()["episode"]["turns"] == 0


def test_a_scorer_that_fails_is_one_line(url: str, scorer: Moody) -> None:
    path = begun(url)
    scorer.fails = True
    answer = post(url, f"{path}/turns", {"turns": 0, "action": SEARCH})
    assert answer.status_code == 502
    assert answer.json()["detail"] == "the scorer at http://127.0.0.1:9/v1 does not answer"
    assert post(url, "episodes").status_code == 502
    scorer.fails = False
    assert post(url, f"{path}/turns", {"turns": 0, "action": SEARCH}).status_code == 200


def test_half_a_pair_of_surrogates_locks_no_episode(url: str) -> None:
    path = begun(url)
    message = {"message": "<search>\ud83d The Tin Drum</search>"}
    assert post(url, f"{path}/turns", {"turns": 0, "action": message}).status_code == 200
    assert requests.get(f"{url}/{path}", timeout=60).json()["episode"]["turns"] == 1


def test_an_agent_is_watched() -> None:
    with serving(episodes(Moody(), policy=Follower()), "follower") as url:
        path = begun(url)
        state = post(url, f"{path}/turns", {"turns": 0, "action": {}}).json()
        assert state["own"]["turns"][0]["action"]["calls"] == [["search", "novel 0"]]
        assert '"agent":"follower"' in requests.get(f"{url}/", timeout=60).text


STUCK = """
import time
from igpo_gym.tools import ToolSpec
class Stuck:
    spec = ToolSpec("wait", "Wait.", {"type": "object", "properties": {"what": {"type": "string"}}})
    def run(self, calls):
        print("waiting", flush=True)
        time.sleep(600)
tool = Stuck()
"""

ASK = "import sys, requests; requests.post(sys.argv[1], sys.argv[2], headers={'Origin': sys.argv[3]})"


def test_the_command_records_and_ends_at_once(tmp_path: Path) -> None:
    """Ctrl-C, while a step runs that would take ten minutes."""
    lines = [json.dumps({"id": q.id, "question": q.text, "answers": q.answers}) for q in QUESTIONS]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    corpus = [json.dumps({"_id": p.id, "title": p.title, "text": p.text}) for p in PASSAGES]
    (tmp_path / "corpus.jsonl").write_text("\n".join(corpus))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "stuck.py").write_text(STUCK)
    code = "import sys; sys.path.insert(0, '.'); from igpo_gym.cli import app; app()"
    options = (
        *("--questions", "jsonl:questions.jsonl", "--search", "bm25:corpus.jsonl", "--scorer", "none"),
        *("--reward", "outcome-f1", "--tools", "search + own.stuck:tool"),
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "play", "--web", "--no-open", "--out", "mine.jsonl", *options],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        while not (match := re.match(r"play at (\S+)/ ", line := process.stdout.readline())):
            assert line, process.communicate(timeout=60)[1]
        url = match[1]
        ended = post(url, f"{begun(url)}/turns", {"turns": 0, "action": {"answer": "Danzig"}})
        assert ended.json()["episode"]["end"] == "answered"
        path, body = begun(url), {"turns": 0, "action": {"tool": "wait", "arguments": {"what": "x"}}}
        asking = [sys.executable, "-c", ASK, f"{url}/{path}/turns", json.dumps(body), url]
        with subprocess.Popen(asking, stderr=subprocess.DEVNULL):
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=120)  # ten minutes would be too long
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert out == "igpo-gym view mine.jsonl\n"
    assert err == ""
    (episode,) = read_rollouts(tmp_path / "mine.jsonl")
    assert episode.prediction == "Danzig"
