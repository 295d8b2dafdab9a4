"""What the check of a server finds out about good servers and about odd ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from igpo_gym.scorers.check_server import check_server, requests_of
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.remote import RemoteScorer
from tests.lm.tiny import make_model, make_tokenizer
from tests.scorers.servers import Engine
from tests.site import Refusal, Route, running


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return Engine(make_model(), make_tokenizer(), str(folder), longest=700)


@pytest.fixture
def found() -> Iterator[Any]:
    """What is found about a server with these routes: by name, what is said, and whether it is good."""

    def check(routes: dict[str, Route], local: Any = None) -> dict[str, tuple[str, bool | None]]:
        with running(routes) as site, RemoteScorer(site.url, retries=0) as scorer:
            return {each.what: (each.found, each.good) for each in check_server(scorer, local, "float32")}

    return check


@pytest.mark.parametrize("tells", [True, False])
def test_a_good_server(engine: Engine, tells: bool, found: Any) -> None:
    local = TransformersScorer(engine.model, engine.tokenizer)
    told = found(replace(engine, tells=tells).vllm(), local)
    assert list(told) == [
        "server",
        "reads",
        "the order of requests",
        "the same model here",
        "a transcript that is too long",
        "a belief costs",
    ]
    assert told["server"] == ("vllm, serves 'tiny'", True)
    assert told["reads"] == ("699 tokens", None)
    assert told["the order of requests"][1]
    assert told["the same model here"][1]
    assert told["a transcript that is too long"] == ("ends its own episode; nothing is sent", True)


def test_prompts_are_long_and_short_and_share_beginnings(engine: Engine) -> None:
    with running(engine.vllm()) as site, RemoteScorer(site.url) as scorer:
        requests = requests_of(scorer)
        lengths = [len(scorer.framing.ids(each.segments)) for each in requests]
    assert max(lengths) > 2 * min(lengths)
    assert any(
        one is not other and other.segments[: len(one.segments)] == one.segments
        for one in requests
        for other in requests
    )


def test_beliefs_that_depend_on_what_was_asked_before_are_noticed(engine: Engine, found: Any) -> None:
    good, count = engine.vllm(), iter(range(10_000))

    def drifts(body: Any) -> Any:
        answer = good["/v1/completions"](body)
        worse = 0.2 * next(count)
        for choice in answer["choices"]:
            for table in choice["prompt_logprobs"][1:]:
                for entry in table.values():
                    entry["logprob"] -= worse
        return answer

    assert found(good | {"/v1/completions": drifts})["the order of requests"][1] is False


def test_other_weights_than_those_here_are_noticed(engine: Engine, found: Any) -> None:
    other = make_model(initializer_range=0.2)
    told = found(engine.vllm(), TransformersScorer(other, engine.tokenizer))
    assert told["the same model here"][1] is False


def test_a_server_that_refuses_what_it_says_that_it_reads_is_noticed(engine: Engine, found: Any) -> None:
    routes = engine.vllm()
    good = routes["/v1/completions"]

    def refuses(body: Any) -> Any:
        if any(len(ids) == 699 for ids in body["prompt"]):
            raise Refusal(400, {"error": "out of memory"})
        return good(body)

    said, verdict = found(routes | {"/v1/completions": refuses})["a transcript that is too long"]
    assert verdict is False
    assert said.startswith("one of 699 tokens is refused: ")
    assert said.endswith('{"error": "out of memory"}')


def test_a_server_that_never_tells_its_limit(engine: Engine, found: Any) -> None:
    routes = replace(engine, longest=None).vllm()
    good = routes["/v1/completions"]

    def refuses(body: Any) -> Any:
        if any(len(ids) > 600 for ids in body["prompt"]):
            raise Refusal(400, {"error": {"code": "context_length_exceeded"}})
        return good(body)

    told = found(routes | {"/v1/completions": refuses})
    assert told["reads"][0] == "it does not tell how much"
    assert told["the order of requests"][1]
    said, good = told["a transcript that is too long"]
    assert said == "not tried: the limit is not told, or above 4,096 tokens"
    assert good is None
