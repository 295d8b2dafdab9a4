"""The belief server and its client, over loopback: the local scorer's numbers, new weights, and trouble."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from igpo_gym.cli import app
from igpo_gym.episode import Belief, Segment
from igpo_gym.errors import ScoringError, SpecError, TranscriptTooLongError
from igpo_gym.lm.loading import load_model
from igpo_gym.lm.names import packaged_folder
from igpo_gym.protocols import ANSWER_PROBE, AnswerProbe
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.belief_client import BeliefServerScorer, push_weights
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.prompts import query_of
from igpo_gym.scorers.server import Limits, Pushes, make_app
from tests.serving import in_thread, left_alone, waits
from tests.site import Refusal, running

TOKEN = "a-token"
MESSAGES = [
    {"role": "user", "content": "Where is Danzig?"},
    {"role": "assistant", "content": "<think>hm</think><search>Danzig</search>"},
    {"role": "user", "content": "Danzig is a port in Poland."},
]
SEGMENTS = (
    Segment("environment", "user", MESSAGES[0]["content"]),
    Segment("agent", "assistant", MESSAGES[1]["content"]),
    Segment("environment", "user", MESSAGES[2]["content"]),
)
ANSWERS = ("Poland", "in Poland", "Prussia")
REQUESTS = [BeliefRequest(SEGMENTS[:stop], ANSWERS, ANSWER_PROBE) for stop in (1, 3)]
LONG = BeliefRequest((Segment("environment", "user", "where is it? " * 4000),), ("Poland",), ANSWER_PROBE)


def served(
    scorer: TransformersScorer,
    limits: Limits = Limits(),  # noqa: B008  (it is frozen)
    pushes: Pushes | None = None,
) -> contextlib.AbstractContextManager[str]:
    """Our own server in a thread: the root of its URLs."""
    return in_thread(make_app(scorer, "nano", limits, pushes))


@pytest.fixture(scope="module")
def local() -> TransformersScorer:
    return TransformersScorer.load("nano", "cpu")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    limits = Limits(max_requests=4, max_bytes=100_000)
    with served(TransformersScorer.load("nano", "cpu"), limits) as url:
        yield url


def close(found: Sequence[Belief], right: Sequence[Belief]) -> None:
    assert len(found) == len(right)
    for one, other in zip(found, right, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
        assert [len(tokens) for tokens in one.token_log_probs] == [
            len(tokens) for tokens in other.token_log_probs
        ]


def post(url: str, **body: Any) -> requests.Response:
    return requests.post(f"{url}/beliefs", json=body, timeout=60)


# The numbers.


def test_numbers_are_those_of_the_local_scorer(url: str, local: TransformersScorer) -> None:
    with BeliefServerScorer(url) as scorer:
        found = scorer.score(REQUESTS * 5)  # in three parts
        asked = [query_of(local.framing, request) for request in REQUESTS]
        tokens = sum(len(each.context) + sum(len(a.ids) for a in each.answers) for each in asked)
        assert scorer.stats.tokens_forwarded == 5 * tokens, "which a budget counts"
    close(found, local.score(REQUESTS * 5))
    assert len({belief.weights for belief in found}) == 1
    assert resolve_scorer(f"beliefs:{url}") is resolve_scorer(f"beliefs:{url}")


def test_a_plain_forward_pass_gives_the_same_for_messages_and_ids(url: str) -> None:
    """The number is computed here from the model's own logits over the ids of the template and the probe."""
    model, tokenizer = load_model("nano", "cpu")
    framing = TransformersScorer(model, tokenizer).framing
    probe = {"prefix": "It is in\n", "suffix": "."}
    context = framing.ids(SEGMENTS, probe["prefix"])
    before, answer = (framing.behind("It is in\n", "Poland")[place] for place in (0, 1))
    ids = torch.tensor([[*context, *before, *answer]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double().log_softmax(-1)
    start = len(context) + len(before)
    right = [logits[start + n - 1, token].item() for n, token in enumerate(answer)]
    for transcript in ({"messages": MESSAGES}, {"ids": list(context)}):
        told = post(url, **transcript, answers=["Poland"], probe=probe, session="one").json()
        assert told["beliefs"][0]["token_log_probs"][0] == pytest.approx(right, abs=1e-4)
        assert told["beliefs"][0]["log_probs"][0] == pytest.approx(sum(right) / len(right), abs=1e-4)


def test_clients_that_ask_at_once_get_their_own(url: str, local: TransformersScorer) -> None:
    asked = [
        BeliefRequest((Segment("environment", "user", f"Where is town {n}?"),), ("Poland",), ANSWER_PROBE)
        for n in range(32)
    ]
    with BeliefServerScorer(url) as scorer, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda request: scorer.score([request])[0], asked))
    close(found, local.score(asked))


def test_a_transcript_that_is_too_long_is_named(url: str) -> None:
    with BeliefServerScorer(url) as scorer:
        for long in (LONG, BeliefRequest(LONG.segments * 3, ("Poland",), ANSWER_PROBE)):  # 3 times: too large
            with pytest.raises(TranscriptTooLongError) as told:
                scorer.score([*REQUESTS, long])
            assert told.value.requests == (2,)


def test_each_transcript_that_is_too_long_is_told_its_own_length(url: str) -> None:
    texts = ["where is it? " * count for count in (1500, 2000)]
    bodies = [
        {"messages": [{"role": "user", "content": text}], "answers": ["Poland"]} for text in (*texts, "?")
    ]
    first, second, short = post(url, requests=bodies).json()["beliefs"]
    assert first["too_long"] != second["too_long"]
    assert "log_probs" in str(short)


def test_a_probe_before_many_answers_is_refused_before_it_is_read(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("igpo_gym.scorers.served.query_of", None)
    body = {"messages": MESSAGES, "answers": ["x"] * 1024}
    refused = post(url, **body, probe={"prefix": "7 " * 6000, "suffix": ""})
    assert refused.status_code == 422
    assert "12,289,024 characters together" in refused.json()["detail"]


def test_a_probe_that_is_too_long_costs_no_memory(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tree of answers sees takes memory by its square, and the probe is a part of the tree."""
    monkeypatch.setattr("igpo_gym.scorers.local.answer_tree", None)
    body = {"messages": MESSAGES, "answers": ["Poland"]}
    told = post(url, **body, probe={"prefix": "7 " * 6000, "suffix": ""})
    assert "has 120" in told.json()["beliefs"][0]["too_long"]
    refused = post(url, **body, probe={"prefix": "7 " * 9000, "suffix": ""})
    assert refused.status_code == 422
    assert "each with its probe" in refused.json()["detail"]


# What is refused.


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"answers": ["x"]}, "one of segments, messages, ids, not none"),
        ({"messages": [], "ids": [1], "answers": ["x"]}, "not messages and ids"),
        ({"messages": MESSAGES}, "answers must be a list"),
        ({"messages": MESSAGES, "answers": []}, "1 to 1024 answers, not 0"),
        ({"messages": MESSAGES, "answers": [""]}, "no tokens"),
        ({"messages": [{"role": "robot", "content": ""}], "answers": ["x"]}, "role must be one of"),
        ({"messages": MESSAGES, "answers": ["x"], "probe": "no"}, "probe must be an object"),
        ({"ids": [True], "answers": ["x"]}, "list of token ids"),
        ({"ids": [10**9], "answers": ["x"]}, "token ids from 0 to"),
        ({"ids": [], "answers": ["x"]}, "at least one"),
        ({"messages": MESSAGES, "answers": ["y " * 20_000]}, "tokens together, and 16384 are the most"),
        ({"requests": []}, "1 to 4 requests"),
        ({"requests": [{"messages": MESSAGES, "answers": ["x"]}, 7]}, "request 2 of 2"),
        ({"messages": MESSAGES, "answers": ["x"], "version": 1}, "version must be a text"),
    ],
)
def test_what_is_no_request_is_told(url: str, body: dict[str, Any], words: str) -> None:
    answer = post(url, **body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_body_that_is_too_long_or_no_json(url: str) -> None:
    assert requests.post(f"{url}/beliefs", data=b"x" * 100_001, timeout=60).status_code == 413
    assert requests.post(f"{url}/beliefs", data=b"{", timeout=60).status_code == 422


def test_answers_do_not_show_in_refusals(url: str) -> None:
    refused = post(url, messages=MESSAGES, answers=["Secretville", 7])
    assert refused.status_code == 422
    assert "Secretville" not in refused.text


def test_metrics_and_health(url: str) -> None:
    post(url, messages=MESSAGES, answers=["Poland"])
    text = requests.get(f"{url}/metrics", timeout=60).text
    values = dict(re.findall(r"^igpo_gym_(\w+) (\S+)$", text, re.M))
    assert float(values["beliefs_total"]) >= 1
    assert float(values["tokens_forwarded_total"]) >= float(values["tokens_minimum_total"]) > 0
    assert 'igpo_gym_answers_total{status="200"}' in text
    health = requests.get(f"{url}/health", timeout=60).json()
    assert (health["status"], health["model"], health["longest"]) == ("ok", "nano", 4096)


def test_who_finds_the_line_full_is_told_to_come_back_and_loses_nothing(local: TransformersScorer) -> None:
    scorer = TransformersScorer.load("nano", "cpu")
    with served(scorer, Limits(waiting=1)) as url, ThreadPoolExecutor(8) as pool:
        with scorer.reader.lock:  # the scorer is at work
            first = pool.submit(post, url, messages=MESSAGES, answers=["Poland"])
            waits(url, 1)
            refused = post(url, messages=MESSAGES, answers=["Poland"])
            later = pool.submit(BeliefServerScorer(url).score, REQUESTS)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert first.result().status_code == 200
        close(later.result(), local.score(REQUESTS))


def test_what_nobody_waits_for_any_more_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was killed leaves its place to those who live."""
    scorer = TransformersScorer.load("nano", "cpu")
    at_work, answer = threading.Event(), scorer.answer

    def noted(queries: Any, before_pass: Any) -> Any:
        at_work.set()
        return answer(queries, before_pass)

    monkeypatch.setattr(scorer, "answer", noted)
    with served(scorer, Limits(waiting=2)) as url, ThreadPoolExecutor(8) as pool:
        with scorer.reader.lock:
            first = pool.submit(post, url, messages=MESSAGES, answers=["Poland"])
            assert at_work.wait(60)  # so that what comes now is of another batch
            body = json.dumps({"messages": MESSAGES, "answers": ["Prussia"]}).encode()
            with left_alone(url, "/beliefs", body):
                waits(url, 2)
            waits(url, 1)
            last = pool.submit(post, url, messages=MESSAGES, answers=["Poland"])
        assert [first.result().status_code, last.result().status_code] == [200, 200]
    assert scorer.stats.requests == 2


def test_the_scorer_does_not_take_the_server_down(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = TransformersScorer.load("nano", "cpu")
    with served(scorer) as url, monkeypatch.context() as patch:
        patch.setattr(scorer, "answer", lambda queries, before_pass: 1 / 0)
        assert post(url, messages=MESSAGES, answers=["Poland"]).status_code == 500
        patch.undo()
        assert post(url, messages=MESSAGES, answers=["Poland"]).status_code == 200


# New weights.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of weights: "good" is nano with other numbers, the others do not fit."""
    source, root = packaged_folder("nano"), tmp_path / "weights"
    weights = load_file(source / "model.safetensors")
    name = next(name for name in sorted(weights) if weights[name].ndim == 2)
    changed = {
        "good": {key: weight * 0.9 for key, weight in weights.items()},
        "lacking": {key: weight for key, weight in weights.items() if "norm" not in key},
        "more": {**weights, "surplus.weight": torch.zeros(2)},
        "shape": {**weights, name: weights[name][:, :-1].contiguous()},
        "dtype": {**weights, name: weights[name].to(torch.int8)},
        "broken": {**weights, name: torch.full_like(weights[name], torch.nan)},
        "settings": weights,
    }
    for each, tensors in changed.items():
        (root / each).mkdir(parents=True)
        save_file(tensors, root / each / "model.safetensors", {"format": "pt"})
        shutil.copy(source / "config.json", root / each)
    config = json.loads((source / "config.json").read_text())
    (root / "settings" / "config.json").write_text(
        json.dumps({**config, "rms_norm_eps": 0.5, "layer_norm_eps": 0.5})
    )
    (root / "damaged").mkdir()
    (root / "damaged" / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0notjson!")
    (root / "pickled").mkdir()
    (root / "pickled" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")
    (root / "link").symlink_to(source)
    (root / "inner").mkdir()
    (root / "inner" / "model.safetensors").symlink_to(source / "model.safetensors")
    for each, index in {
        "elsewhere": {"weight_map": dict.fromkeys(weights, "../../outside/model.safetensors")},
        "absolute": {"weight_map": dict.fromkeys(weights, str(tmp_path / "outside" / "model.safetensors"))},
        "listless": ["weight_map"],
    }.items():
        (root / each).mkdir()
        shutil.copy(root / "good" / "model.safetensors", root / each / "part.safetensors")
        (root / each / "model.safetensors.index.json").write_text(json.dumps(index))
    shutil.copytree(root / "good", tmp_path / "outside")
    shutil.copytree(root / "good", root / "adapter")
    (root / "adapter" / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "outside")})
    )
    return root


@pytest.fixture
def pushable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("IGPO_GYM_WEIGHTS_TOKEN", TOKEN)
    with served(TransformersScorer.load("nano", "cpu"), pushes=Pushes.of(folder)) as url:
        yield url


def test_pushed_weights_are_those_that_answer(pushable: str, folder: Path, local: TransformersScorer) -> None:
    model, tokenizer = load_model("nano", "cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.9)
    with BeliefServerScorer(pushable) as scorer:
        before = scorer.score(REQUESTS)
        version = push_weights(pushable, "good")
        after = scorer.score(REQUESTS)
    close(before, local.score(REQUESTS))
    close(after, TransformersScorer(model, tokenizer).score(REQUESTS))
    assert {belief.weights for belief in after} == {version} != {belief.weights for belief in before}
    gone = post(pushable, messages=MESSAGES, answers=["x"], version=before[0].weights)
    assert (gone.status_code, gone.json()["version"]) == (409, version)
    assert post(pushable, messages=MESSAGES, answers=["x"], version=version).status_code == 200


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lacking", "they lack "),
        ("more", "they have surplus.weight, for which there is no place"),
        ("shape", "is needed; save them from a whole model of this kind"),
        ("dtype", "in I8"),
        ("broken", "that are not finite"),
        ("settings", "config.json has "),
        ("damaged", "cannot read model.safetensors"),
        ("pickled", "no safetensors"),
        ("nowhere", "no safetensors"),
        ("link", "leads out"),
        ("inner", "leads out"),
        ("elsewhere", "'../../outside/model.safetensors', no safetensors beside it"),
        ("absolute", "no safetensors beside it"),
        ("listless", "is no index of weights"),
        ("adapter", "is an adapter"),
        ("../weights/good", "no name below"),
        ("/etc", "no name below"),
        ("", "no name below"),
        ("a\0b", "no name below"),
        ("\ud800", "no name below"),
        ("x" * 300, "no name below"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(pushable: str, name: str, words: str) -> None:
    before = post(pushable, messages=MESSAGES, answers=list(ANSWERS)).json()
    with pytest.raises(ScoringError, match="422") as told:
        push_weights(pushable, name)
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert post(pushable, messages=MESSAGES, answers=list(ANSWERS)).json() == before


def test_weights_in_parts_are_taken(pushable: str, folder: Path) -> None:
    weights = load_file(folder / "good" / "model.safetensors")
    names = sorted(weights)
    parts = {"1.safetensors": names[:5], "2.safetensors": names[5:]}
    (folder / "parts").mkdir()
    for part, own in parts.items():
        save_file({name: weights[name] for name in own}, folder / "parts" / part, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: part for part, own in parts.items() for name in own}}
    (folder / "parts" / "model.safetensors.index.json").write_text(json.dumps(index))
    push_weights(pushable, "parts")
    in_parts = post(pushable, messages=MESSAGES, answers=list(ANSWERS)).json()["beliefs"]
    push_weights(pushable, "good")
    assert post(pushable, messages=MESSAGES, answers=list(ANSWERS)).json()["beliefs"] == in_parts


def test_weights_want_the_token(pushable: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
        answer = requests.post(f"{pushable}/weights", json={"name": "good"}, headers=headers, timeout=60)
        assert answer.status_code == 401
        assert TOKEN not in answer.text
    monkeypatch.setenv("IGPO_GYM_WEIGHTS_TOKEN", "wrong-one")
    with pytest.raises(ScoringError, match="401") as told:
        push_weights(pushable, "good")
    assert "wrong-one" not in str(told.value)
    assert requests.post(f"{url}/weights", json={"name": "good"}, timeout=60).status_code == 404


def test_a_folder_without_a_token_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IGPO_GYM_WEIGHTS_TOKEN", raising=False)
    with pytest.raises(SpecError, match="set IGPO_GYM_WEIGHTS_TOKEN"):
        Pushes.of(folder)
    with pytest.raises(SpecError, match="no folder"):
        Pushes.of(folder / "nowhere")


# The client in trouble, with a scripted server.

HEALTH = {"kind": "igpo-gym beliefs", "model": "m", "max_requests": 1, "max_bytes": 10_000}


def answer(version: str, value: float) -> dict[str, Any]:
    return {"version": version, "beliefs": [{"token_log_probs": [[value]]}]}


def test_a_call_whose_weights_change_is_asked_anew() -> None:
    """The first belief is of version a; when the second is asked, that has gone."""
    script: list[Any] = [
        answer("a", -1.0),
        Refusal(409, {"version": "b"}),
        answer("b", -2.0),
        answer("b", -3.0),
    ]

    def beliefs(body: Any) -> Any:
        step = script.pop(0)
        if isinstance(step, Refusal):
            assert body["version"] == "a"
            raise step
        return step

    two = [BeliefRequest(SEGMENTS[:1], ("x",), AnswerProbe("", ""))] * 2
    with running({"/health": lambda _: HEALTH, "/beliefs": beliefs}) as site:
        found = BeliefServerScorer(site.url).score(two)
    assert [(belief.weights, belief.log_prob) for belief in found] == [("b", -2.0), ("b", -3.0)]
    assert script == []


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"version": "a", "beliefs": []},
        {"version": "a", "beliefs": [{}]},
        {"version": "a", "beliefs": [{"token_log_probs": [[]]}]},
        {"version": "a", "beliefs": [{"token_log_probs": [["-1"]]}]},
        {"version": "a", "beliefs": [{"token_log_probs": [[-1.0], [-2.0]]}]},
        {"version": "a", "beliefs": [{"token_log_probs": [[-(10**400)]]}]},
        {"version": "a", "beliefs": [{"token_log_probs": [[math.nan]]}]},
        {"version": "a", "beliefs": [{"token_log_probs": [[True]]}]},
    ],
)
def test_an_answer_that_is_none_is_one_line(told: Any) -> None:
    request = BeliefRequest(SEGMENTS[:1], ("x",), AnswerProbe("", ""))
    with (
        running({"/health": lambda _: HEALTH, "/beliefs": lambda _: told}) as site,
        pytest.raises(ScoringError, match="no belief from"),
    ):
        BeliefServerScorer(site.url).score([request])


@pytest.mark.parametrize("told", [{}, [], {"version": 3}])
def test_a_push_that_is_not_answered_is_one_line(told: Any) -> None:
    with (
        running({"/weights": lambda _: told}) as site,
        pytest.raises(ScoringError, match="does not tell the version of the weights 'new'"),
    ):
        push_weights(site.url, "new", retries=0)


def test_limits_that_are_no_limits_are_told() -> None:
    with (
        running({"/health": lambda _: {**HEALTH, "max_requests": math.inf}}) as site,
        pytest.raises(SpecError, match="does not tell its limits"),
    ):
        BeliefServerScorer(site.url)


@pytest.mark.parametrize("status", [413, 422])
def test_an_error_does_not_repeat_a_gold_answer(status: int) -> None:
    def echo(body: Any) -> Any:
        raise Refusal(status, {"input": body["requests"][0]["answers"]})

    request = BeliefRequest(SEGMENTS[:1], ("Günter Grass",), AnswerProbe("", ""))
    with (
        running({"/health": lambda _: HEALTH, "/beliefs": echo}) as site,
        pytest.raises(ScoringError, match=rf"{status}.*its words repeat what it was asked") as told,
    ):
        BeliefServerScorer(site.url).score([request])
    assert "Grass" not in str(told.value)


def test_what_is_no_belief_server_is_told() -> None:
    with (
        running({"/health": lambda _: {"status": "ok"}}) as site,
        pytest.raises(SpecError, match=r"give .*/v1"),
    ):
        BeliefServerScorer(site.url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ScoringError, match="no answer from"):
        BeliefServerScorer(f"http://127.0.0.1:{port}", retries=0)


# The command.


def command(*options: str) -> tuple[subprocess.Popen[str], str]:
    code = "from igpo_gym.cli import app; app()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", "beliefs", "nano", "--port", "0", "--device", "cpu", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    match = re.search(r"serving beliefs of nano at (http\S+)", process.stdout.readline())
    assert match, process.communicate()
    return process, match[1]


def test_a_server_that_ends_answers_the_batch_at_work_and_refuses_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scorer = TransformersScorer.load("nano", "cpu")
    at_work, answer = threading.Event(), scorer.answer

    def noted(*asked: Any) -> Any:
        at_work.set()
        return answer(*asked)

    monkeypatch.setattr(scorer, "answer", noted)
    served = make_app(scorer)
    with in_thread(served) as url, ThreadPoolExecutor(2) as pool:
        with scorer.reader.lock:
            first = pool.submit(post, url, messages=MESSAGES, answers=["Poland"])
            assert at_work.wait(60)  # so that what comes now is of another batch
            second = pool.submit(post, url, messages=MESSAGES, answers=["Poland"])
            waits(url, 2)
            served.state.ending()
            refused = [second.result(), post(url, messages=MESSAGES, answers=["Poland"])]
        assert first.result().status_code == 200
    assert [(each.status_code, each.headers["Retry-After"]) for each in refused] == [(503, "1")] * 2


def test_a_server_that_is_told_to_end_refuses_what_has_not_begun() -> None:
    process, url = command()
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    body = json.dumps({"messages": MESSAGES, "answers": ["Poland"]}).encode()
    with socket.create_connection(address, timeout=60) as half:
        half.sendall(b"POST /beliefs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert requests.get(f"{url}/health", timeout=60).ok  # so the half request has arrived
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionError):
            while True:  # as long as it lets others in, it does not end yet
                socket.create_connection(address, timeout=60).close()
        half.sendall(body)
        told = half.makefile("rb").read()
    assert told.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in told.lower()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "Traceback" not in err


def test_a_server_that_dies_is_one_line() -> None:
    process, url = command()
    scorer = BeliefServerScorer(url, retries=1, backoff=0.0)
    process.kill()
    process.communicate()
    with pytest.raises(ScoringError, match="no answer from"):
        scorer.score(REQUESTS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nanoo"], "did you mean nano?"),
        (["nano", "--weights-folder", "nowhere"], "there is no folder"),
    ],
)
def test_wrong_settings_are_told_before_a_model_is_loaded(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["serve", "beliefs", *arguments, "--port", "0"])
    assert done.exit_code == 2
    assert words in " ".join(done.output.split())
