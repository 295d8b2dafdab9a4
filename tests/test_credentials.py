"""A password in a URL stands nowhere: not in specs, reprs, files that are written, or errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import igpo_gym  # noqa: F401  (registers the environments)
from igpo_gym.agents.training.folder import agree, keep
from igpo_gym.agents.training.settings import Settings
from igpo_gym.benchmark.training.outcomes import shared
from igpo_gym.cli import app
from igpo_gym.errors import AccessError, SamplingError, ScoringError, SearchError, SpecError
from igpo_gym.specs import Spec, resolve
from igpo_gym.text import without_credentials
from igpo_gym.transport import API_KEY
from tests.lm.tiny import make_model, make_tokenizer
from tests.scorers.servers import Engine
from tests.search.web import engines as web_engines
from tests.search.web.site import Reply, serving
from tests.site import Site, running

SECRET = "hunter2"
runner = CliRunner()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server that scores."""
    monkeypatch.delenv(API_KEY, raising=False)
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    with running(Engine(make_model(), make_tokenizer(), str(tmp_path / "tokenizer")).vllm()) as site:
        yield site


def with_password(url: str, scheme: str = "http") -> str:
    return f"{scheme}://jane:{SECRET}@{url.partition('://')[2]}/v1"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://jane:hunter2@host:8000/v1#kind=vllm", "http://host:8000/v1#kind=vllm"),
        ("HTTP://jane:hunter2@host", "HTTP://host"),
        ("  http://hunter2@host", "  http://host"),
        ("http://a:1,https://jane:hunter2@b:2", "http://a:1,https://b:2"),
        ("http://jane:hunter2@ss@host/x", "http://host/x"),
        ("http://jane:hunter2/@host/x", "http://host/x"),
        ("http://jane:hunter2#@host/x", "http://host/x"),
        ("no answer from 'http://jane:hunter2@h', twice", "no answer from 'http://h', twice"),
        ("http://host:8000/v1#model=owner@main", "http://host:8000/v1#model=owner@main"),
        ("mail me@host, at 'http://host:80' or me@there", "mail me@host, at 'http://host:80' or me@there"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert without_credentials(shown) == shown


WORD = st.text("abcdefgh0123456789%-._~!$&*+;=", min_size=1)


@given(WORD, WORD, st.sampled_from(["http", "HTTPS", "hTTp"]))
def test_no_user_and_no_password_is_shown(user: str, password: str, scheme: str) -> None:
    assert without_credentials(f"{scheme}://{user}:{password}@host:1/v1") == f"{scheme}://host:1/v1"


@pytest.mark.parametrize("form", [gym.make, gym.make_vec])
@pytest.mark.parametrize("name", ["SearchQA-v0", "SearchQA-IGPO-Discrete-v0"])
def test_an_environment_does_not_tell_it(site: Site, form: Any, name: str) -> None:
    world = "world#documents=60,questions=5"
    env = form(name, questions=world, scorer=with_password(site.url), reward="igpo")
    env.reset(seed=0)
    assert SECRET not in env.spec.to_json() + repr(env.spec) + repr(env.unwrapped.spec)
    assert env.spec.kwargs["questions"] == world
    assert any(header.startswith("Basic ") for header in authorizations(site))
    env.close()


def authorizations(site: Site) -> list[str]:
    return [headers.get("Authorization", "") for headers in site.headers]


@pytest.mark.parametrize("scheme", ["http", "HTTP"])
def test_a_recording_does_not_hold_it(site: Site, tmp_path: Path, scheme: str) -> None:
    out = tmp_path / "out.jsonl"
    spec = with_password(site.url, scheme)
    world = ("--questions", "world#documents=60,questions=2")
    command = ("rollout", *world, "--agent", "expert", "--scorer", spec, "--out", str(out))
    done = runner.invoke(app, command)
    assert done.exit_code == 0, done.output
    assert SECRET not in out.read_text() + done.output
    assert json.loads(out.read_text().splitlines()[0])["settings"]["scorer"] == spec.replace(
        f"jane:{SECRET}@", ""
    )
    assert runner.invoke(app, command).exit_code == 0  # and it is resumed


def test_a_run_does_not_hold_it(tmp_path: Path) -> None:
    settings = Settings(scorer=f"http://jane:{SECRET}@host:8000/v1#kind=vllm")
    keep(tmp_path / "run", settings)
    agree(tmp_path / "run", Settings(scorer="http://jane:other@host:8000/v1#kind=vllm"))
    told = (tmp_path / "run" / "settings.json").read_text() + json.dumps(shared(settings)) + repr(settings)
    assert SECRET not in told
    assert "http://host:8000/v1#kind=vllm" in told
    assert SECRET in settings.scorer  # in memory, where it is used


@pytest.mark.parametrize("url", [f"http://jane:{SECRET}@127.0.0.1:9", f"HTTP://jane:{SECRET}@127.0.0.1:9"])
@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("kind", ["search", "questions", "scorer", "policy", "protocol", "reward"])
def test_an_error_does_not_tell_it(kind: str, blank: str, url: str) -> None:
    for end in ("#a", "#a=1,a=2", "#hue=red", "/?key=1", "#retries=0"):
        with pytest.raises((SpecError, ScoringError, SamplingError)) as caught:
            resolve(kind, f"{blank}{url}{end}", questions=None, protocol=None, sampling=None)
        assert SECRET not in str(caught.value)


def test_a_password_that_breaks_the_grammar_is_not_told() -> None:
    for spec in (f"http://jane:{SECRET}#@host", f"http://jane:x#{SECRET}@host#kind=vllm"):
        with pytest.raises(ValueError, match="options that cannot be read") as caught:
            Spec.parse(spec)
        assert SECRET not in str(caught.value)


WEB_KEYS = {"serper": "SERPER_API_KEY", "tavily": "TAVILY_API_KEY"}


@pytest.mark.parametrize("engine", WEB_KEYS)
def test_the_key_of_a_web_search_stands_nowhere(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(WEB_KEYS[engine], SECRET)
    monkeypatch.setenv(API_KEY, "the key of a scorer")
    answers = {"serper": web_engines.serper, "tavily": web_engines.tavily}
    monkeypatch.setattr(web_engines, "KEY", SECRET)
    out = tmp_path / "out.jsonl"
    caplog.set_level("DEBUG")
    with serving(answers[engine]()) as site:
        spec = f"{engine}#url={site.url}"
        world = ("--questions", "world#documents=60,questions=2", "--search", spec, "--scorer", "none")
        done = runner.invoke(
            app, ("rollout", *world, "--reward", "f1", "--agent", "expert", "--out", str(out))
        )
        assert done.exit_code == 0, done.output
        assert site.asked
        assert all(SECRET in str(asked.headers) for asked in site.asked)
        assert all("the key of a scorer" not in str(asked.headers) for asked in site.asked)
        env = gym.make("SearchQA-v0", questions="world", search=spec, scorer=None, reward="outcome-f1")
        retriever = resolve("search", spec, questions=None)
        assert spec in out.read_text()
        told = (
            out.read_text(),
            done.output,
            caplog.text,
            env.spec.to_json(),
            repr(env.spec),
            repr(retriever),
        )
        assert SECRET not in "".join(told) + retriever.identity + str(retriever.facts())


@pytest.mark.parametrize("engine", WEB_KEYS)
@pytest.mark.parametrize("status", [200, 400, 401, 403, 429, 500])
def test_a_web_search_that_is_told_its_key_does_not_tell_it(
    engine: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEB_KEYS[engine], SECRET)
    with serving(lambda asked: Reply(f"{asked.headers} is wrong: {SECRET}", status)) as site:
        retriever = resolve("search", f"{engine}#url={site.url},retries=0,backoff=0", questions=None)
        with pytest.raises((AccessError, SearchError)) as caught:
            retriever.search(["Danzig"], 3)
    assert SECRET not in str(caught.value) + repr(caught.value)


def test_a_key_that_no_header_can_carry_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERPER_API_KEY", f"{SECRET}\nX-Other: ü")
    with pytest.raises(SpecError, match="SERPER_API_KEY") as caught:
        resolve("search", "serper", questions=None)
    assert SECRET not in str(caught.value)


def test_what_a_recording_tells_is_neither_printed_nor_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    play = ("--agent", "expert", "--limit", "2", "--scorer", "none", "--reward", "f1")
    assert runner.invoke(app, ["rollout", *play, "--out", "own.jsonl"]).exit_code == 0
    told = Path("own.jsonl").read_text()
    url = with_password("http://host:8000")
    Path("theirs.jsonl").write_text(told.replace('"scorer": null', f'"scorer": "{url}", "note": ["{url}"]'))
    for command in (
        ("compare", "own.jsonl", "theirs.jsonl", "--table", "c.json", "--table", "c.md"),
        ("import", "theirs.jsonl", "--out", "i.jsonl"),
        ("relabel", "theirs.jsonl", "--reward", "f1", "--scorer", "none", "--records", "--out", "r.jsonl"),
        ("relabel", "theirs.jsonl", "--reward", "f1", "--scorer", "none", "--out", "p.jsonl"),
        ("view", "theirs.jsonl", "p.jsonl", "--out", "v.html"),
        ("show", "theirs.jsonl"),
    ):
        done = runner.invoke(app, command)
        assert done.exit_code == 0, done.output
        assert SECRET not in done.output
    Path("theirs.jsonl").unlink()
    assert all(SECRET not in path.read_text() for path in tmp_path.iterdir())
    assert "http://host:8000/v1" in Path("i.jsonl").read_text()
