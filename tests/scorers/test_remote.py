"""Beliefs over HTTP: equal to the local scorer's, or a clear error; never a wrong number, never a hang."""

from __future__ import annotations

import copy
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs import SearchQAVectorEnv
from igpo_gym.episode import Segment
from igpo_gym.errors import ScoringError, SpecError, TranscriptTooLongError
from igpo_gym.protocols import AnswerProbe
from igpo_gym.scorers import resolve_scorer
from igpo_gym.scorers.batching import BatchingScorer
from igpo_gym.scorers.interface import BeliefRequest, ask, ask_readable
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.scorers.prompts import query_of
from igpo_gym.scorers.remote import RemoteScorer
from igpo_gym.transport import API_KEY
from tests.lm.tiny import CHATML, make_model, make_tokenizer, request
from tests.scorers.servers import Engine
from tests.site import Handler, Raw, Refusal, Route, send

KINDS = ("sglang", "vllm", "openai")
PATHS = {"sglang": "/generate", "vllm": "/v1/completions", "openai": "/v1/completions"}
ALIASES = ("Grass", "Günter Grass", "G")
REQUESTS = [
    request("Who wrote it?", answers=ALIASES),
    request("Who wrote it?", turns=[1], answers=ALIASES),
    request("Who wrote it?", turns=[1, 2], answers=ALIASES),
    request("And who did not?", turns=[3], answers=["by 1959"]),
    request("Who wrote it?", answers=ALIASES),
]


@pytest.fixture(scope="module", params=[None, CHATML], ids=["plain", "chatml"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    tokenizer = make_tokenizer(request.param)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save_pretrained(folder)
    return Engine(make_model(), tokenizer, str(folder))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return Engine(make_model(), make_tokenizer(), str(folder))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY, raising=False)


@pytest.fixture
def connect() -> Iterator[Callable[..., RemoteScorer]]:
    """Makes a scorer for a site, impatient unless told otherwise, which is closed when the test ends."""
    with ExitStack() as stack:

        def connect(url: str, **settings: Any) -> RemoteScorer:
            impatient = {"retries": 0, "backoff": 0.0} | settings
            return stack.enter_context(RemoteScorer(url, **impatient))

        yield connect


def routes(engine: Engine, kind: str) -> dict[str, Route]:
    return {"sglang": engine.sglang, "vllm": engine.vllm, "openai": engine.echo}[kind]()


# What a good server gives.


@pytest.mark.parametrize("kind", KINDS)
def test_beliefs_equal_the_local_scorers(engine: Engine, kind: str, start: Any, connect: Any) -> None:
    scorer = connect(start(routes(engine, kind)).url)
    assert scorer.kind == kind
    expected = TransformersScorer(engine.model, engine.tokenizer).score(REQUESTS)
    for belief, right in zip(scorer.score(REQUESTS), expected, strict=True):
        assert belief.log_probs == pytest.approx(right.log_probs, abs=1e-5)


def test_a_vllm_server_also_echoes(plain: Engine, start: Any, connect: Any) -> None:
    url = start(plain.vllm()).url
    echo, native = connect(url, kind="openai"), connect(url, kind="vllm")
    for one, other in zip(echo.score(REQUESTS), native.score(REQUESTS), strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-9)


def test_an_empty_probe_and_sampled_ids_are_sent_as_they_are(plain: Engine, start: Any, connect: Any) -> None:
    segments = (Segment("environment", "user", "Who?"), Segment("agent", "assistant", "no", (7, 8, 9)))
    asked = BeliefRequest(segments, ("Grass",), AnswerProbe("", ""))
    site = start(plain.vllm())
    scorer = connect(site.url)
    assert scorer.score([asked])[0].log_probs == pytest.approx(
        TransformersScorer(plain.model, plain.tokenizer).score([asked])[0].log_probs, abs=1e-5
    )
    answer = scorer.framing.text_ids("Grass")
    assert tuple(site.posts()[-1]["prompt"][0])[-3 - len(answer) :] == (7, 8, 9, *answer)


def test_a_server_is_asked_about_the_first_eight_aliases(plain: Engine, start: Any, connect: Any) -> None:
    names = tuple(f"name {number}" for number in range(11))
    url = start(plain.vllm()).url
    expected = TransformersScorer(plain.model, plain.tokenizer).score([request("Who?", answers=names)])[0]
    for scorer, most in ((connect(url), 8), (connect(url, max_aliases=2), 2)):
        for asked in (scorer, BatchingScorer(scorer)):
            (belief,) = ask(asked, [request("Who?", answers=names)])
            assert belief.log_probs == pytest.approx(expected.log_probs[:most], abs=1e-5)
    candidates = replace(request("Who?", answers=names), aliases=False)
    assert connect(url).score([candidates])[0].log_probs == pytest.approx(expected.log_probs, abs=1e-5)
    with pytest.raises(SpecError, match="max_aliases=0 must be at least 1"):
        connect(url, max_aliases=0)


def test_sglang_is_asked_about_the_answers_alone(plain: Engine, start: Any, connect: Any) -> None:
    site = start(plain.sglang())
    scorer = connect(site.url)
    scorer.score(REQUESTS[:1])
    body = site.posts()[-1]
    answers = [scorer.framing.text_ids(answer) for answer in ALIASES]
    before = len(body["input_ids"][0]) - len(answers[0])
    assert [tuple(ids[before:]) for ids in body["input_ids"]] == answers
    assert body["logprob_start_len"] == [before - 1] * len(ALIASES)


def test_equal_requests_are_sent_once_and_all_aliases_together(
    plain: Engine, start: Any, connect: Any
) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url)
    before = len(site.posts())
    scorer.score(REQUESTS)
    sent = site.posts()[before:]
    assert len(sent) == 4
    assert sorted(len(body["prompt"]) for body in sent) == [1, 3, 3, 3]
    assert scorer.stats.requests == 5
    assert scorer.stats.tokens_forwarded == sum(len(ids) for body in sent for ids in body["prompt"])
    assert scorer.stats.seconds > 0
    assert scorer.score([]) == []


def test_no_more_requests_at_a_time_than_allowed_and_order_is_kept(
    plain: Engine, start: Any, connect: Any
) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url, concurrency=3)
    asked = [request(f"question {number}", answers=["Grass"]) for number in range(24)]
    expected = TransformersScorer(plain.model, plain.tokenizer).score(asked)
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda _: scorer.score(asked), range(4)))
    for beliefs in answers:
        assert [belief.log_prob for belief in beliefs] == pytest.approx(
            [belief.log_prob for belief in expected], abs=1e-5
        )
    assert 1 <= site.most_at_once <= 3
    assert scorer.stats.requests == 96


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_forms_of_the_url(suffix: str, plain: Engine, start: Any, connect: Any) -> None:
    site = start(plain.vllm())
    assert repr(connect(site.url + suffix)) == f"RemoteScorer({site.url!r}, model='tiny', kind='vllm')"


def test_a_server_below_a_path(plain: Engine, start: Any, connect: Any) -> None:
    site = start({f"/llm{path}": route for path, route in plain.vllm().items()})
    assert len(connect(f"{site.url}/llm/v1").score(REQUESTS)) == 5


def test_copies_are_the_scorer_and_a_closed_one_says_so(plain: Engine, start: Any, connect: Any) -> None:
    scorer = connect(start(plain.vllm()).url)
    assert copy.deepcopy(scorer) is scorer
    scorer.close()
    scorer.close()
    with pytest.raises(ScoringError, match="is closed"):
        scorer.score(REQUESTS)


def test_closing_ends_the_calls_of_others(plain: Engine, start: Any, connect: Any) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url, concurrency=1)
    asked, go_on = threading.Event(), threading.Event()

    def waits(body: Any) -> Any:
        asked.set()
        go_on.wait(30)
        return plain.vllm()["/v1/completions"](body)

    site.routes["/v1/completions"] = waits
    with ThreadPoolExecutor(1) as others:
        call = others.submit(scorer.score, REQUESTS)
        assert asked.wait(30)
        scorer.close()
        go_on.set()
        with pytest.raises(ScoringError, match="was closed meanwhile"):
            call.result()


def test_an_answer_without_tokens(plain: Engine, start: Any, connect: Any) -> None:
    with pytest.raises(ScoringError, match="answer 2 of 2 has no tokens") as told:
        connect(start(plain.vllm()).url).score([request("Who?", answers=["Grass", ""])])
    assert "Grass" not in str(told.value)


# Transcripts that are longer than the model reads.


def longest_prompts(scorer: RemoteScorer) -> list[int]:
    """How long the longest prompt of each request of ``REQUESTS`` is, in tokens."""
    queries = [query_of(scorer.framing, asked, scorer.max_aliases) for asked in REQUESTS]
    return [max(len(prompt.ids) for prompt in query.prompts) for query in queries]


@pytest.mark.parametrize("tells", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_transcripts_that_are_too_long_are_named(
    kind: str, tells: bool, plain: Engine, start: Any, connect: Any
) -> None:
    lengths = longest_prompts(connect(start(plain.vllm()).url))
    longest = max(lengths)  # so that the request with that many tokens has no room for one behind it
    narrow = replace(plain, longest=longest, tells=tells)
    site = start(routes(narrow, kind))
    scorer = connect(site.url, retries=3)
    before = len(site.posts())
    with pytest.raises(TranscriptTooLongError, match=str(longest)) as told:
        scorer.score(REQUESTS)
    assert told.value.requests == tuple(place for place, length in enumerate(lengths) if length == longest)
    sent = len(site.posts()) - before
    assert sent == (0 if tells else len(set(REQUESTS))), "nothing is sent for nothing, and nothing twice"
    # The limit is known from the refusal on.
    before = len(site.posts())
    with pytest.raises(TranscriptTooLongError, match=f"reads at most {longest - 1}"):
        scorer.score(REQUESTS)
    assert len(site.posts()) == before
    expected = TransformersScorer(plain.model, plain.tokenizer).score(REQUESTS)
    for place, belief in enumerate(ask_readable(scorer, REQUESTS)):
        if lengths[place] == longest:
            assert belief is None
        else:
            assert belief is not None
            assert belief.log_probs == pytest.approx(expected[place].log_probs, abs=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        "the decoder prompt (length 71) is longer than the maximum model length of 64. Make sure that ...",
        "Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens). Use a shorter input",
        "Requested token count exceeds the model's maximum context length of 64 tokens. You requested",
        "the request exceeds the available context size, try increasing it",
        "request (80 tokens) exceeds the available context size (64 tokens), try increasing it",
        "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
        {"code": "context_length_exceeded"},
    ],
)
@pytest.mark.parametrize("status", [400, 413, 422])
def test_servers_say_it_in_many_words(
    words: Any, status: int, plain: Engine, start: Any, connect: Any
) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url, retries=3)
    site.routes["/v1/completions"] = raising(Refusal(status, {"error": {"message": words}}))
    before = len(site.posts())
    with pytest.raises(TranscriptTooLongError, match=str(status)) as told:
        scorer.score(REQUESTS[:2])
    assert told.value.requests == (0, 1)
    assert len(site.posts()) == before + 2, "a refusal is not asked for again"


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("spelled", [False, True])
def test_an_error_does_not_repeat_the_prompt(
    spelled: bool, status: int, plain: Engine, start: Any, connect: Any
) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url)

    def echo(body: Any) -> Any:
        ids = body["prompt"][0] if isinstance(body["prompt"][0], list) else body["prompt"]
        raise Refusal(status, {"input": scorer.framing.text(ids[-12:]) if spelled else ids[-12:]})

    site.routes["/v1/completions"] = echo
    with pytest.raises(ScoringError, match=f"{status}.*its words repeat what it was asked"):
        scorer.score(REQUESTS[:1])


@pytest.mark.parametrize("refusal", [Refusal(400, {"error": "no logprobs today"}), Refusal(503, "context")])
def test_other_refusals_are_not_taken_for_it(
    refusal: Refusal, plain: Engine, start: Any, connect: Any
) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url)
    site.routes["/v1/completions"] = raising(refusal)
    with pytest.raises(ScoringError) as told:
        scorer.score(REQUESTS[:2])
    assert not isinstance(told.value, TranscriptTooLongError)


def test_an_adapter_reads_as_much_as_the_model_it_is_served_on(
    plain: Engine, start: Any, connect: Any
) -> None:
    base = {"id": "base", "root": plain.source, "max_model_len": 99}
    adapter = {"id": "tiny", "root": "/somewhere", "parent": "base", "max_model_len": None}
    site = start(plain.vllm() | {"/v1/models": lambda _: {"data": [base, adapter]}})
    assert connect(site.url, model="tiny").longest == 98


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tells", [True, False])
def test_a_vector_environment_goes_on_without_the_episode_that_is_too_long(
    kind: str, tells: bool, plain: Engine, question_set: QuestionSet, start: Any
) -> None:
    site = start(routes(replace(plain, longest=900, tells=tells), kind))
    settings: dict[str, Any] = {"questions": question_set, "max_turns": 3}
    served = SearchQAVectorEnv(3, scorer=site.url, autoreset_mode="SameStep", **settings)
    long = f"<think>{'hm ' * 300}</think><search>drum</search>"
    messages = ["<search>The Tin Drum</search>", long, "<search>Vistula</search>"]
    reader = TransformersScorer(plain.model, plain.tokenizer)
    reader.reader.longest = 899
    local = SearchQAVectorEnv(3, scorer=reader, autoreset_mode="SameStep", **settings)
    for envs in (served, local):
        envs.reset(seed=0)
    for _ in range(2):
        (seen, paid, ended, cut, _), (right, due, over, truncated, _) = (
            envs.step(messages) for envs in (served, local)
        )
        assert list(seen) == list(right)
        assert paid == pytest.approx(due, abs=1e-4)
        assert ended.tolist() == over.tolist() == [False] * 3
        assert cut.tolist() == truncated.tolist() == [False, True, False]
    served.close()


# Specs, models and tokenizers.


def test_a_url_is_a_spec_with_options(plain: Engine, start: Any) -> None:
    site = start(plain.vllm() | {"/v1/models": lambda _: {"data": [{"id": "tiny"}, {"id": "other"}]}})
    spec = f"{site.url}/v1#model=tiny,tokenizer={plain.source},kind=vllm"
    scorer = resolve_scorer(spec)
    assert isinstance(scorer, RemoteScorer)
    assert resolve_scorer(spec) is scorer
    scorer.close()
    with pytest.raises(
        SpecError, match=r"no option 'modell' \(did you mean model\?\); it has: model, tokenizer, kind"
    ):
        resolve_scorer(f"{site.url}#modell=tiny")


@pytest.mark.parametrize(
    "url", ["http://", "ftp://host", "host:8000", "http://host:port", "http://[::1", "http://host/?key=1", ""]
)
def test_what_is_not_the_url_of_a_server(url: str) -> None:
    with pytest.raises(SpecError, match="has the form http://host:8000"):
        RemoteScorer(url)


@pytest.mark.parametrize(
    "setting", [{"timeout": 0}, {"retries": -1}, {"backoff": -0.5}, {"concurrency": 0}, {"kind": "tgi"}]
)
def test_wrong_settings(setting: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"must be|choose one of: openai, sglang, vllm"):
        RemoteScorer("http://127.0.0.1:9", **setting)


def test_one_of_several_models_must_be_named(plain: Engine, start: Any, connect: Any) -> None:
    site = start(plain.vllm() | {"/v1/models": lambda _: {"data": [{"id": "tiny"}, {"id": "other"}]}})
    with pytest.raises(SpecError, match=r"serves tiny, other; give model="):
        connect(site.url)
    with pytest.raises(SpecError, match=r"unknown model .*'big'; choose one of: other, tiny"):
        connect(site.url, model="big")
    assert connect(site.url, model="tiny", tokenizer=plain.tokenizer).model == "tiny"
    for nothing in ({"data": None}, {"data": [7]}, [], "models"):
        site.routes["/v1/models"] = lambda _, nothing=nothing: nothing
        with pytest.raises(SpecError, match="give model="):
            connect(site.url)
    del site.routes["/v1/models"]
    with pytest.raises(SpecError, match="does not tell which model it serves; give model="):
        connect(site.url)
    assert connect(site.url, model="tiny", tokenizer=Path(plain.source)).model == "tiny"


def test_a_tokenizer_that_is_not_found(plain: Engine, start: Any, connect: Any) -> None:
    site = start(Engine(plain.model, plain.tokenizer, "/no/such/folder").vllm())
    with pytest.raises(SpecError, match=r"no tokenizer for 'tiny'.*/no/such/folder.*tokenizer="):
        connect(site.url)
    assert connect(site.url, tokenizer=plain.source).score(REQUESTS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_of_another_model_is_noticed(kind: str, plain: Engine, start: Any, connect: Any) -> None:
    other = make_tokenizer()
    vocabulary = json.loads(other.backend_tokenizer.to_str())
    table = vocabulary["model"]["vocab"]
    table["o"], table["e"] = table["e"], table["o"]
    folder = Path(plain.source).parent / f"swapped-{kind}"
    other.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(vocabulary))
    with pytest.raises(SpecError, match="its tokenizer is another one"):
        connect(start(routes(plain, kind)).url, tokenizer=folder)


# Servers that cannot be scorers.


def test_shifted_log_probabilities_are_refused(engine: Engine, start: Any, connect: Any) -> None:
    with pytest.raises(SpecError, match=r"shifted by one token.*llama-cpp-python"):
        connect(start(engine.echo(shift=1)).url)


def test_a_server_that_ignores_echo_is_refused(plain: Engine, start: Any, connect: Any) -> None:
    site = start(plain.echo(echoes=False))
    with pytest.raises(SpecError, match=rf"{site.url} cannot be a scorer.*ignores echo.*llama.cpp"):
        connect(site.url)


def test_a_server_that_takes_no_token_ids_is_refused(plain: Engine, start: Any, connect: Any) -> None:
    def text_only(body: Any) -> Any:
        problem = {"type": "string_type", "loc": ("body", "prompt"), "msg": "Input should be a valid string"}
        raise Refusal(500, {"error": {"message": f"1 validation error: {problem}"}})  # llama-cpp-python's

    site = start(plain.echo() | {"/v1/completions": text_only})
    with pytest.raises(SpecError, match=r"llama-cpp-python do not.*as 'openai'.*should be a valid string"):
        connect(site.url)


def test_a_server_that_adds_tokens_is_refused(plain: Engine, start: Any, connect: Any) -> None:
    good = plain.echo()["/v1/completions"]

    def with_bos(body: Any) -> Any:
        return good(body | {"prompt": [[0, *ids] for ids in body["prompt"]]})

    with pytest.raises(SpecError, match=r"it answers for \d+ tokens where \d+ were sent"):
        connect(start(plain.echo() | {"/v1/completions": with_bos}).url)


def test_a_server_that_scores_one_token_for_all_is_refused(plain: Engine, start: Any, connect: Any) -> None:
    def flat(answer: Any) -> Any:
        for choice in answer["choices"]:
            for table in choice["prompt_logprobs"][1:]:
                for entry in table.values():
                    entry["logprob"] = -1.0
        return answer

    site = start(spoiled(plain, "vllm", flat))
    with pytest.raises(SpecError, match="different tokens the same log-probability"):
        connect(site.url)


def test_another_kind_of_server(start: Any, connect: Any, plain: Engine) -> None:
    page = Raw(lambda handler: send(handler, 200, b"<html>hello</html>"))
    site = start(dict.fromkeys(("/v1/models", "/v1/completions", "/generate"), raising(page)))
    with pytest.raises(SpecError, match=r"vllm.*what is not JSON: <html>hello"):
        connect(site.url, model="tiny", tokenizer=plain.tokenizer)


def test_nobody_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ScoringError, match=rf"no answer from http://127.0.0.1:{port}: .*refused"):
        RemoteScorer(f"http://127.0.0.1:{port}", retries=1, backoff=0)


# Answers that are wrong.


def spoiled(engine: Engine, kind: str, spoil: Callable[[Any], Any]) -> dict[str, Route]:
    """The routes of a good server whose scores are spoiled."""
    good = routes(engine, kind)
    return good | {PATHS[kind]: lambda body: spoil(good[PATHS[kind]](body))}


def raising(problem: Exception) -> Route:
    def route(_: Any) -> Any:
        raise problem

    return route


def last_entry(choice: Any) -> Any:
    return next(iter(choice["prompt_logprobs"][-1].values()))


def vllm(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    """Spoils the last choice of a vLLM server's answer."""

    def spoil(answer: Any) -> Any:
        change(answer["choices"][-1])
        return answer

    return spoil


def sglang(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    def spoil(answer: Any) -> Any:
        change(answer[-1]["meta_info"])
        return answer

    return spoil


def echo(change: Callable[[Any], object]) -> Callable[[Any], Any]:
    def spoil(answer: Any) -> Any:
        change(answer["choices"][-1]["logprobs"])
        return answer

    return spoil


WRONG_ANSWERS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "null": ("vllm", vllm(lambda choice: last_entry(choice).update(logprob=None)), "None is not a log-prob"),
    "NaN": ("vllm", vllm(lambda choice: last_entry(choice).update(logprob=float("nan"))), "nan is not"),
    "inf": ("vllm", vllm(lambda choice: last_entry(choice).update(logprob=float("-inf"))), "-inf is not"),
    "vLLM's -inf": (
        "vllm",
        vllm(lambda choice: last_entry(choice).update(logprob=-9999.0)),
        "-9999.0 is not",
    ),
    "positive": ("vllm", vllm(lambda choice: last_entry(choice).update(logprob=3.5)), "3.5 is not"),
    "text": ("vllm", vllm(lambda choice: last_entry(choice).update(logprob="-1")), "'-1' is not"),
    "truth": ("vllm", vllm(lambda choice: last_entry(choice).update(logprob=False)), "False is not"),
    "one entry less": ("vllm", vllm(lambda choice: choice["prompt_logprobs"].pop()), r"\d+ tokens where \d+"),
    "one entry more": (
        "vllm",
        vllm(lambda choice: choice["prompt_logprobs"].insert(0, None)),
        "tokens where",
    ),
    "other tokens": ("vllm", vllm(lambda choice: choice["prompt_logprobs"].reverse()), "form of 'vllm'"),
    "no entries": ("vllm", vllm(lambda choice: choice.update(prompt_logprobs=None)), "no prompt_logprobs"),
    "no choices": ("vllm", lambda answer: {}, r"form of 'vllm' \(KeyError: 'choices'\)"),
    "one choice less": ("vllm", lambda answer: {"choices": answer["choices"][:-1]}, "2 prompts where 3"),
    "the same choice": ("vllm", lambda answer: {"choices": answer["choices"][:1] * 3}, "numbers its answers"),
    "a list": ("vllm", lambda answer: [answer], "form of 'vllm'"),
    "null alone": ("vllm", lambda answer: None, "form of 'vllm'"),
    "other ids": (
        "sglang",
        sglang(lambda meta: meta["input_token_logprobs"][-1].__setitem__(1, 5)),
        r"scored the token 5 where \d+ was sent",
    ),
    "start too late": ("sglang", sglang(lambda meta: meta["input_token_logprobs"].pop(0)), "asked about"),
    "truncated": ("sglang", sglang(lambda meta: meta.update(prompt_tokens=3)), r"3 tokens where \d+"),
    "one answer less": ("sglang", lambda answer: answer[:-1], "2 prompts where 3"),
    "aborted": ("sglang", lambda answer: [{"text": ""}] * 3, "form of 'sglang'"),
    "an object": ("sglang", lambda answer: {"error": "no"}, "form of 'sglang'"),
    "null triple": (
        "sglang",
        sglang(lambda meta: meta["input_token_logprobs"][-1].__setitem__(0, None)),
        "None is not",
    ),
    "echo ignored": (
        "openai",
        echo(lambda table: [table[name].__delitem__(slice(1, None)) for name in table]),
        "ignores echo",
    ),
    "echo too short": (
        "openai",
        echo(lambda table: [table[name].__delitem__(slice(2)) for name in table]),
        "tokens where",
    ),
    "echo null": (
        "openai",
        echo(lambda table: table["token_logprobs"].__setitem__(-2, None)),
        "None is not",
    ),
    "echo without usage": ("openai", lambda answer: {"choices": answer["choices"]}, "KeyError: 'usage'"),
    "echo without logprobs": (
        "openai",
        lambda answer: answer | {"choices": [{"index": index} for index in range(3)]},
        "form of 'openai'",
    ),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_wrong_answers_are_errors(name: str, plain: Engine, start: Any, connect: Any) -> None:
    kind, spoil, reason = WRONG_ANSWERS[name]
    site = start(routes(plain, kind))
    scorer = connect(site.url)
    site.routes |= spoiled(plain, kind, spoil)
    with pytest.raises(ScoringError, match=rf"no belief from {site.url}: .*{reason}"):
        scorer.score(REQUESTS[:1])
    site.routes |= routes(plain, kind)
    assert len(scorer.score(REQUESTS)) == len(REQUESTS), "the scorer works again when the server does"


def reset(handler: Handler) -> None:
    """Drop the connection with a TCP reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    handler.wfile = handler.rfile  # nothing is left to flush


def cut(handler: Handler) -> None:
    """Promise more than is sent."""
    send(handler, 200, b'{"choices": [', {"Content-Length": "1000"})
    handler.close_connection = True


BROKEN_CONNECTIONS: dict[str, tuple[Exception, str]] = {
    "truncated JSON": (Raw(lambda handler: send(handler, 200, b'{"choices": [{"ind')), "not JSON"),
    "not UTF-8": (Raw(lambda handler: send(handler, 200, b"\xff\xfe\xfa")), "not JSON"),
    "deep JSON": (Raw(lambda handler: send(handler, 200, b"[" * 100_000)), "not JSON"),
    "no content": (Raw(lambda handler: send(handler, 200, b"")), "not JSON"),
    "too long": (Raw(lambda handler: send(handler, 200, b" " * (4 << 20))), r"more than the 2,\d+,\d+ bytes"),
    "reset": (Raw(reset), "no answer|broke off"),
    "cut": (Raw(cut), "broke off its answer"),
    "bad request": (Refusal(400, {"message": "maximum context length is 2048"}), "400.*context length"),
    "gone": (Refusal(404, {}), "404"),
    "redirect": (Refusal(307, {}, {"Location": "http://127.0.0.1:9/"}), "307"),
    "unauthorized": (Refusal(401, {}), rf"401.*{API_KEY}"),
    "busy": (Refusal(429, "slow down", {"Retry-After": "0"}), "429.*slow down"),
    "down": (Refusal(503, {}), "503"),
}


@pytest.mark.parametrize("name", BROKEN_CONNECTIONS)
def test_broken_connections_and_refusals_are_errors(
    name: str, plain: Engine, start: Any, connect: Any
) -> None:
    problem, reason = BROKEN_CONNECTIONS[name]
    site = start(plain.vllm())
    scorer = connect(site.url, retries=1)
    site.routes["/v1/completions"] = raising(problem)
    with pytest.raises(ScoringError, match=reason):
        scorer.score(REQUESTS)
    site.routes |= plain.vllm()
    assert len(scorer.score(REQUESTS)) == len(REQUESTS)


@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "byte by byte"])
def test_a_server_that_hangs_is_given_up(trickles: bool, plain: Engine, start: Any, connect: Any) -> None:
    ended = threading.Event()

    def hang(handler: Handler) -> None:
        handler.close_connection = True
        if trickles:
            send(handler, 200, b"[", {"Content-Length": "1000000"})
        while not ended.wait(0.05):
            if trickles:
                handler.wfile.write(b" ")

    site = start(plain.vllm())
    scorer = connect(site.url, timeout=2.0, retries=3)
    site.routes["/v1/completions"] = raising(Raw(hang))
    before = len(site.posts())
    try:
        with pytest.raises(ScoringError, match="within the timeout of 2 seconds"):
            scorer.score(REQUESTS[:1])
    finally:
        ended.set()
    assert len(site.posts()) == before + 1, "a late answer is not asked for again"


# Patience.


@pytest.mark.parametrize(
    "trouble",
    [
        Refusal(429, "busy", {"Retry-After": "0"}),
        Refusal(429, "busy", {"Retry-After": "in a while"}),
        Refusal(500, {}),
        Refusal(503, {}),
        Raw(reset),
        Raw(cut),
    ],
    ids=["429", "429 with nonsense", "500", "503", "reset", "cut"],
)
def test_what_passes_is_retried(trouble: Exception, plain: Engine, start: Any, connect: Any) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url, retries=3)
    good = scorer.score(REQUESTS[:1])
    rounds = iter(range(10))

    def at_last(body: Any) -> Any:
        if next(rounds) < 1:
            raise trouble
        return plain.vllm()["/v1/completions"](body)

    site.routes["/v1/completions"] = at_last
    assert scorer.score(REQUESTS[:1]) == good
    assert next(rounds) == 2


def test_as_many_retries_as_allowed(plain: Engine, start: Any, connect: Any) -> None:
    site = start(plain.vllm())
    scorer = connect(site.url, retries=3)
    site.routes["/v1/completions"] = raising(Refusal(503, "down"))
    before = len(site.posts())
    with pytest.raises(ScoringError, match="503"):
        scorer.score(REQUESTS[:1])
    assert len(site.posts()) - before == 4


def test_an_environment_takes_the_url_of_a_server(
    plain: Engine, question_set: QuestionSet, start: Any
) -> None:
    site = start(plain.vllm())
    env = gym.make("SearchQA-IGPO-v0", questions=question_set, scorer=f"{site.url}/v1")
    before = len(site.posts())
    _, info = env.reset(seed=0)
    _, reward, *_, info = env.step("<search>The Tin Drum</search>")
    assert len(site.posts()) == before + 2, "one belief at the reset, one after the turn"
    assert reward == pytest.approx(info["gain"])
    env.close()
