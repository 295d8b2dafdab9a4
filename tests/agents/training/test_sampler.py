"""Sampling at a server that is given the weights: a stand-in that does with them what vLLM does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from igpo_gym.agents.training.logs import read_log
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.run import Run
from igpo_gym.agents.training.sampler import ServedSampler
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.errors import SamplingError, SpecError
from igpo_gym.lm.loading import load_model
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import TAGS
from igpo_gym.transport import Server
from tests.agents.training.test_trainer import SMALL
from tests.site import Refusal, Site, running


class Served:
    """A model behind the endpoints of vLLM that are used, its own and those of its development mode."""

    def __init__(self) -> None:
        self.model, self.tokenizer = load_model("nano", "cpu")
        self.version = "default"
        self.loads = True
        self.folders: list[Path] = []
        self.calls: list[str] = []

    def routes(self) -> dict[str, Any]:
        noted = {
            "/pause?mode=wait": lambda body: {},
            "/resume": lambda body: {},
            "/reset_prefix_cache": lambda body: {"success": True},
            "/collective_rpc": self.reload,
            "/update_weight_version": self.name,
        }
        return {
            "/v1/models": lambda _: {"data": [{"id": "nano", "max_model_len": 4096}]},
            "/v1/completions": self.complete,
            "/weight_info": lambda _: {"weight_version": self.version},
        } | {path: self.noting(path, route) for path, route in noted.items()}

    def noting(self, path: str, route: Any) -> Any:
        def answer(body: Any) -> Any:
            self.calls.append(path)
            return route(body)

        return answer

    def reload(self, body: Any) -> Any:
        assert body["method"] == "reload_weights"
        folder = Path(body["kwargs"]["weights_path"])
        self.folders.append(folder)
        state = load_file(folder / "model.safetensors")
        if self.loads:
            self.model.load_state_dict(state)
        return {"results": [None]}

    def name(self, body: Any) -> Any:
        self.version = body["new_version"]
        return {"success": True}

    @torch.no_grad()
    def complete(self, body: Any) -> Any:
        if body.get("prompt_logprobs") is not None:
            (ids,) = body["prompt"]
            rows = self.model(torch.tensor([ids])).logits[0].log_softmax(-1)
            entries = [{str(t): {"logprob": rows[i, t].item()}} for i, t in enumerate(ids[1:])]
            return {"choices": [{"index": 0, "prompt_logprobs": [None, *entries]}]}
        ids, draw = list(body["prompt"]), torch.Generator().manual_seed(body["seed"])
        tokens, log_probs = [], []
        while len(tokens) < body["max_tokens"]:
            row = self.model(torch.tensor([ids + tokens])).logits[0, -1].log_softmax(-1)
            tokens.append(int(torch.multinomial(row.exp(), 1, generator=draw)))
            log_probs.append(float(row[tokens[-1]]))
            text = self.tokenizer.decode(tokens)
            if tokens[-1] == 2 or any(stop in text for stop in body["stop"]):
                break
        told = {"tokens": [f"token_id:{token}" for token in tokens], "token_logprobs": log_probs}
        return {"choices": [{"index": 0, "text": "", "finish_reason": "stop", "logprobs": told}]}


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def site(served: Served) -> Iterator[Site]:
    with running(served.routes()) as site:
        yield site


def sampler_of(url: str, **options: Any) -> ServedSampler:
    tokenizer = load_model("nano", "cpu")[1]
    return ServedSampler(url, TAGS, Sampling(max_tokens=8), tokenizer=tokenizer, **options)


@pytest.mark.slow
def test_a_run_samples_with_the_weights_of_each_update(served: Served, site: Site, tmp_path: Path) -> None:
    settings = Settings(
        **{**SMALL, "updates": 3, "validation_questions": 1}, sampler=site.url, learning_rate=0.003
    )
    train(tmp_path, settings)
    log = read_log(tmp_path / "log.jsonl")
    # Weights that were an update behind would be off by a hundred times as much.
    assert [line["log_prob_gap"] < 1e-4 for line in log[1:]] == [True] * 3
    assert [line["importance_ratio"] for line in log[1:]] == pytest.approx([1.0] * 3, abs=1e-4)
    last = load_file(tmp_path / "last" / "model.safetensors")
    weights = served.model.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in last.items())
    order = [
        "/pause?mode=wait",
        "/collective_rpc",
        "/reset_prefix_cache",
        "/update_weight_version",
        "/resume",
    ]
    assert served.calls == order * 4  # before the first batch, and after each update
    assert not any(folder.exists() for folder in served.folders)


def test_messages_carry_the_version_of_their_weights(site: Site, tmp_path: Path) -> None:
    for where in (site.url, "local"):
        run = Run(tmp_path, Settings(**{**SMALL, "max_tokens": 4}, sampler=where))
        versions = []
        for _ in range(2):
            said = [s for each in run.rollouts() for s in each.segments if s.author == "agent"]
            versions.append({segment.weights for segment in said})
            run.updates += 1
        assert versions == [{"0"}, {"1"}]
        run.close()


def test_a_server_that_computes_with_other_weights_is_refused(served: Served, site: Site) -> None:
    trained = TrainedModel("nano", "cpu")
    sampler = sampler_of(site.url)
    sampler.publish(trained)
    served.loads = False
    with torch.no_grad():
        for weight in trained.weights.values():
            weight.mul_(1.3)
    sampler.weights = "1"
    with pytest.raises(SamplingError, match=r"computes with others: it is \d+\.\d\d nats off a token"):
        sampler.publish(trained)
    sampler.close()


def test_a_server_that_lost_the_weights_is_an_error(served: Served, site: Site) -> None:
    sampler = sampler_of(site.url)
    sampler.publish(TrainedModel("nano", "cpu"))
    assert sampler.act([]) == []
    served.version = "default"
    with pytest.raises(SamplingError, match=r"has the weights 'default' and not '.*/': was it started anew"):
        sampler.act([])
    sampler.close()


def test_the_server_goes_on_after_weights_that_it_does_not_take(served: Served, site: Site) -> None:
    def broken(body: Any) -> Any:
        raise Refusal(500, {"error": "no such folder"})

    site.routes["/collective_rpc"] = broken
    sampler = sampler_of(site.url)
    with pytest.raises(SamplingError, match=r"takes no new weights: .*answered 500 .*no such folder"):
        sampler.publish(TrainedModel("nano", "cpu"))
    assert served.calls == ["/pause?mode=wait", "/resume"]
    sampler.close()


def test_a_server_without_its_development_mode_is_refused(site: Site) -> None:
    del site.routes["/weight_info"]
    with pytest.raises(SpecError, match="VLLM_SERVER_DEV_MODE=1"):
        sampler_of(site.url)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("nano", "sampler 'nano' is neither local nor a URL"),
        ("http://me:secret@host:1#weights=x", "sampler 'http://host:1' has options that it does not know"),
        ("http://127.0.0.1:1#sleep=1", "has options that it does not know; .*sleep=yes"),
        ("http://127.0.0.1:1#concurrency=many", "has options that it does not know"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_before_a_model_is_loaded(spec: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        Settings(sampler=spec)


def test_a_folder_without_room_is_named(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1 << 20})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    sampler = sampler_of(site.url, folder=tmp_path)
    with pytest.raises(SamplingError, match=r"0\.0 GiB free.*name another folder: .*#folder=FOLDER"):
        sampler.publish(TrainedModel("nano", "cpu"))
    sampler.close()
    assert list(tmp_path.iterdir()) == []


def test_adapters_are_handed_over_merged(served: Served, site: Site) -> None:
    pytest.importorskip("peft")
    trained = TrainedModel("nano", "cpu", lora=2)
    with torch.no_grad():
        for weight in trained.weights.values():
            weight.add_(0.05)
    sampler = sampler_of(site.url)
    sampler.publish(trained)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        ours, theirs = trained.model(ids).logits, served.model(ids).logits
    assert np.allclose(ours, theirs, atol=1e-3)
    sampler.close()


def test_a_server_sleeps_while_the_model_learns(served: Served, site: Site) -> None:
    for path in ("/sleep?level=2&mode=wait", "/wake_up"):
        site.routes[path] = served.noting(path, lambda body: {})
    sampler, trained = sampler_of(site.url, sleep=True), TrainedModel("nano", "cpu")
    sampler.publish(trained)
    served.calls.clear()
    with sampler.resting():
        assert served.calls == ["/sleep?level=2&mode=wait"]
    assert served.calls == ["/sleep?level=2&mode=wait", "/wake_up"]
    sampler.publish(trained)  # asleep it forgot its weights
    assert "/collective_rpc" in served.calls
    sampler.close()


def test_what_a_settings_file_says_of_the_sampler_holds_no_password(tmp_path: Path) -> None:
    from igpo_gym.config import shown

    settings = replace(Settings(), sampler="http://me:secret@host:8000")
    assert shown(settings)["sampler"] == "http://host:8000"


def test_a_server_that_is_not_there_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sampler holds is closed before the server has ever answered."""
    monkeypatch.setattr(Server, "_pause", lambda self, attempt: 0.0)
    with pytest.raises((SpecError, SamplingError), match=r"127\.0\.0\.1:9"):
        ServedSampler(
            "http://127.0.0.1:9", TAGS, Sampling(max_tokens=8), tokenizer=load_model("nano", "cpu")[1]
        )
