"""A policy over HTTP: the messages of a local policy where the server tells ids, texts where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.policies.remote import RemotePolicy
from igpo_gym.agents.rollouts.branches import Branching
from igpo_gym.agents.rollouts.collect import collect, collect_groups
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Answer, Branch, Message
from igpo_gym.errors import SamplingError, SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import TAGS, TOOL_CALL
from igpo_gym.rewards import PRESETS
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH
from igpo_gym.transport import API_KEY
from tests.conftest import PASSAGES, QUESTIONS
from tests.lm.test_templates import OPENED
from tests.lm.tiny import CHATML, make_model, make_tokenizer
from tests.site import Refusal, Route

GREEDY = Sampling(temperature=0, max_tokens=6)
INDEX = BM25Index.build(PASSAGES)
MODEL = make_model()
THOUGHT = "<think>to <search> or not</think>"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(API_KEY, raising=False)


@pytest.fixture
def connect() -> Iterator[Callable[..., RemotePolicy]]:
    with ExitStack() as stack:

        def connect(url: str, **settings: Any) -> RemotePolicy:
            defaults = {"sampling": GREEDY, "tokenizer": make_tokenizer(CHATML), "retries": 0, "backoff": 0.0}
            return stack.enter_context(RemotePolicy(url, **defaults | settings))

        yield connect


@torch.no_grad()
def complete(body: Any) -> Any:
    """As vLLM's ``/v1/completions``: greedy, with the token that ended the text among the tokens."""
    tokenizer = make_tokenizer(CHATML)
    prompt = torch.tensor([body["prompt"]])
    tokens: list[int] = []
    log_probs: list[float] = []
    reason = "length"
    while len(tokens) < body["max_tokens"]:
        row = MODEL(input_ids=torch.cat([prompt, torch.tensor([tokens]).long()], 1)).logits[0, -1]
        tokens.append(int(row[: len(tokenizer)].argmax()))
        log_probs.append(float(row.log_softmax(-1)[tokens[-1]]))
        text = tokenizer.decode(tokens)
        if tokens[-1] in (1, 3) or any(stop in text for stop in body["stop"]):
            reason = "stop"
            break
    told = {"tokens": [f"token_id:{token}" for token in tokens], "token_logprobs": log_probs}
    choice = {"index": 0, "text": tokenizer.decode(tokens), "finish_reason": reason, "logprobs": told}
    return {"choices": [choice]}


def says(text: str, reason: str = "stop", logprobs: object = None, **told: object) -> Route:
    """A completion of this text."""
    choice = {"index": 0, "text": text, "finish_reason": reason, "logprobs": logprobs, **told}
    return lambda body: {"choices": [choice]}


def site_of(completions: Route, **card: object) -> dict[str, Route]:
    models = {"data": [{"id": "tiny", **card}]}
    return {"/v1/models": lambda _: models, "/v1/completions": completions}


def make_engine(**settings: object) -> Engine:
    return replace(Engine(TAGS, (Search(INDEX, 2),), PRESETS["outcome-f1"], None, Rules(2)), **settings)


def test_messages_are_those_of_the_local_policy(start: Any, connect: Any) -> None:
    site = start(site_of(complete))
    local = LanguageModelPolicy(MODEL, make_tokenizer(CHATML), TAGS, GREEDY)
    remote = connect(site.url)
    ours, theirs = (list(collect(make_engine(), policy, QUESTIONS[:3])) for policy in (local, remote))
    for one, other in zip(ours, theirs, strict=True):
        assert [s.ids for s in one.segments] == [s.ids for s in other.segments]
        assert [s.text for s in one.segments] == [s.text for s in other.segments]
        for mine, yours in zip(one.segments, other.segments, strict=True):
            assert mine.vocabulary == yours.vocabulary
            assert mine.log_probs == (yours.log_probs and pytest.approx(yours.log_probs, abs=1e-4))


def test_a_server_samples_branches_as_the_local_policy_does(start: Any, connect: Any) -> None:
    site = start(site_of(complete))
    local = LanguageModelPolicy(MODEL, make_tokenizer(CHATML), TAGS, GREEDY)
    branching = Branching.parse("even:2")
    ours, theirs = (
        collect_groups(make_engine(), policy, QUESTIONS[:2], 1, branching=branching)
        for policy in (local, connect(site.url))
    )
    for mine, yours in zip(ours, theirs, strict=True):
        assert [each.branch for each in yours] == [None, Branch(0, 0), Branch(0, 1)]
        for one, other in zip(mine, yours, strict=True):
            assert [s.ids for s in one.segments] == [s.ids for s in other.segments]
        for leaf in yours[1:]:
            assert leaf.turns[: leaf.branch.turn] == yours[0].turns[: leaf.branch.turn]
    # What leaves share is asked for once.
    leaves = [leaf for group in theirs for leaf in group]
    shared = sum(leaf.branch.turn for leaf in leaves if leaf.branch)
    assert len(site.posts("/v1/")) == sum(len(leaf.turns) for leaf in leaves) - shared


def test_what_is_asked_of_a_server(start: Any, connect: Any) -> None:
    site = start(site_of(says("x")))
    policy = connect(site.url, sampling=Sampling(0.7, 0.9, 5, 11, seed=3))
    engine = make_engine()
    episodes = engine.begin(QUESTIONS[:1] * 2, [0, 1])
    policy.act(episodes)
    first, second = sorted(site.posts("/v1/"), key=lambda body: body["seed"])
    assert first["seed"] != second["seed"]
    assert max(first["seed"], second["seed"]) < 2**31
    asked = {name: first[name] for name in ("model", "temperature", "top_p", "top_k", "max_tokens", "stop")}
    assert asked == {
        "model": "tiny",
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 5,
        "max_tokens": 11,
        "stop": ["</search>", "</answer>"],
    }


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        ("vllm", {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0}),
        ("sglang", {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "frequency_penalty": 0.0}),
        ("llamacpp", {"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "typical_p": 1.0}),
        ("system", {}),
    ],
)
def test_no_default_of_a_server_decides_about_a_token(
    start: Any, connect: Any, owner: str, told: dict[str, float]
) -> None:
    """What a request leaves out, these engines take from the model's generation_config."""
    routes = site_of(says("x"), **({} if owner == "sglang" else {"owned_by": owner}))
    if owner == "sglang":
        routes["/get_model_info"] = lambda _: {"model_path": "tiny"}
    site = start(routes)
    connect(site.url).act(make_engine().begin(QUESTIONS[:1]))
    connect(site.url, sampling=Sampling(top_k=7)).act(make_engine().begin(QUESTIONS[:1]))
    plain, chosen = site.posts("/v1/")
    names = {"top_k", "min_p", "repetition_penalty", "repeat_penalty", "typical_p"}
    assert {name: plain.get(name) for name in told} == told
    assert names & plain.keys() == names & told.keys()
    assert chosen["top_k"] == 7


@pytest.mark.parametrize(
    ("said", "reason", "text"),
    [
        ('<search>a river</search><open page="2">Danzig', "stop", "<search>a river</search>"),
        ("<search>a river", "stop", "<search>a river</search>"),
        (f"{THOUGHT}<answer>x", "stop", f"{THOUGHT}<answer>x</answer>"),
        ("<search>a river</search>", "stop", "<search>a river</search>"),
        ("<search>a river</search> and more", "length", "<search>a river</search>"),
        ("<search>a ri", "length", "<search>a ri"),
        ("I do not know", "stop", "I do not know"),
    ],
)  # fmt: skip
def test_a_server_without_ids_gives_texts_with_their_closing_tag(
    start: Any, connect: Any, said: str, reason: str, text: str
) -> None:
    policy = connect(start(site_of(says(said, reason))).url)
    told = policy.act(make_engine().begin(QUESTIONS[:2]))
    assert [each.text if isinstance(each, Message) else each for each in told] == [text, text]
    cut_off = reason == "length" and not text.endswith("</search>")
    assert [isinstance(each, Message) and each.cut_off for each in told] == [cut_off] * 2


@pytest.mark.parametrize("key", ["stop_reason", "matched_stop"])
@pytest.mark.parametrize(
    ("said", "stop", "text"),
    [
        ("I could use <search> but I give up.", None, "I could use <search> but I give up."),
        ("<answer>Paris", 151645, "<answer>Paris"),
        ("<answer>Paris", "</answer>", "<answer>Paris</answer>"),
        ("<search>a river", "</search>", "<search>a river</search>"),
        ("<search>a river</search>", "</search>", "<search>a river</search>"),
    ],
)
def test_a_message_that_the_model_ended_itself_is_not_completed(
    start: Any, connect: Any, key: str, said: str, stop: object, text: str
) -> None:
    policy = connect(start(site_of(says(said, **{key: stop}))).url)
    assert policy.act(make_engine().begin(QUESTIONS[:1])) == [text]


def test_the_token_that_ended_a_text_is_kept_as_an_id(start: Any, connect: Any) -> None:
    told = {"tokens": ["token_id:80", "token_id:3"], "token_logprobs": [-0.5, -0.1]}
    policy = connect(start(site_of(says("n", logprobs=told))).url)
    (message,) = policy.act(make_engine().begin(QUESTIONS[:1]))
    assert isinstance(message, Message)
    assert (message.text, message.ids, message.log_probs) == ("m", (80, 3), (-0.5, -0.1))


def test_a_server_that_stops_within_a_thought_is_asked_to_go_on(start: Any, connect: Any) -> None:
    tokenizer = make_tokenizer(OPENED)
    parts = ["use <search>q</search>", ", then</think><search>real</search>"]
    texts = [Framing(tokenizer).text_ids(part) for part in parts]

    def answer(body: Any) -> Any:
        ids = texts[len(body["prompt"]) > length]
        told = {"tokens": [f"token_id:{n}" for n in ids], "token_logprobs": [-0.5] * len(ids)}
        return says("", logprobs=told, stop_reason="</search>")(body)

    site = start(site_of(answer))
    policy = connect(site.url, tokenizer=tokenizer, sampling=Sampling(temperature=0, max_tokens=99))
    episodes = make_engine().begin(QUESTIONS[:1])
    length = len(Framing(tokenizer).ids(episodes[0].segments))
    (message,) = policy.act(episodes)
    assert (message.text, message.ids) == ("".join(parts), texts[0] + texts[1])
    first, second = site.posts("/v1/")
    assert second["prompt"] == [*first["prompt"], *texts[0]]
    assert second["max_tokens"] == 99 - len(texts[0])


def test_a_server_without_ids_that_stops_within_a_thought_is_asked_to_go_on(start: Any, connect: Any) -> None:
    tokenizer = make_tokenizer(OPENED)
    parts = iter(["use <search>q</search>", ", then</think><search>real"])
    site = start(site_of(lambda body: says(next(parts))(body)))
    policy = connect(site.url, tokenizer=tokenizer, sampling=Sampling(temperature=0, max_tokens=99))
    assert policy.act(make_engine().begin(QUESTIONS[:1])) == [
        "use <search>q</search>, then</think><search>real</search>"
    ]
    first, second = site.posts("/v1/")
    thought = Framing(tokenizer).text_ids("use <search>q</search>")
    assert second["prompt"] == [*first["prompt"], *thought]
    assert second["max_tokens"] == 99 - len(thought)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"text": "<search>q</search>"}, "<search>q</search>"),  # a server that tells no reason
        ({"text": "\ud800<search>q</search>", "finish_reason": "stop"}, "?<search>q</search>"),
    ],
)
def test_odd_answers_are_read(start: Any, connect: Any, choice: dict[str, str], message: str) -> None:
    policy = connect(start(site_of(lambda _: {"choices": [choice]})).url)
    assert policy.act(make_engine().begin(QUESTIONS[:1])) == [message]


def test_a_tag_in_a_thought_that_the_template_opened_is_no_action_of_a_chat(start: Any, connect: Any) -> None:
    text = "use <search>q</search>, then</think><answer>Paris"
    answer = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    routes = {"/v1/models": lambda _: {"data": [{"id": "tiny"}]}, "/v1/chat/completions": lambda _: answer}
    policy = connect(start(routes).url, tokenizer=None, kind="chat")
    engine = make_engine()
    episodes = engine.begin(QUESTIONS[:1])
    (move,) = engine.play(episodes, policy.act(episodes))
    assert move.turn.action == Answer("Paris")


def test_a_tag_with_attributes_is_closed_where_the_server_does_not_tell_the_stop(
    start: Any, connect: Any
) -> None:
    protocol = TAGS.with_tools((SEARCH, OPEN))
    policy = connect(start(site_of(says('<open page="2">Danzig'))).url, protocol=protocol)
    assert policy.act(make_engine().begin(QUESTIONS[:1])) == ['<open page="2">Danzig</open>']


def test_a_token_that_the_server_says_ended_a_text_ends_the_message(start: Any, connect: Any) -> None:
    """One of the model's generation_config, which its tokenizer does not have for an end."""
    told = {"tokens": ["token_id:80", "token_id:2"], "token_logprobs": [-0.5, -0.1]}
    for stop, cut_off in ((2, False), (None, True)):
        policy = connect(start(site_of(says("m", logprobs=told, stop_reason=stop))).url)
        (message,) = policy.act(make_engine().begin(QUESTIONS[:1]))
        assert (message.ids, message.cut_off) == ((80, 2), cut_off)


def test_a_transcript_longer_than_the_model_reads_gets_an_empty_message(start: Any, connect: Any) -> None:
    site = start(site_of(complete, max_model_len=10))
    (message,) = connect(site.url).act(make_engine().begin(QUESTIONS[:1]))
    assert (message.text, message.ids) == ("", ())
    assert not site.posts("/v1/")


@pytest.mark.parametrize("protocol", [TAGS, TOOL_CALL])
def test_a_chat_is_sent_as_messages(start: Any, connect: Any, protocol: Any) -> None:
    def chat(body: Any) -> Any:
        return {"choices": [{"message": {"role": "assistant", "content": "hm"}, "finish_reason": "stop"}]}

    site = start({"/v1/models": lambda _: {"data": [{"id": "tiny"}]}, "/v1/chat/completions": chat})
    policy = connect(site.url, protocol=protocol, tokenizer=None, kind="chat")
    engine = make_engine(protocol=protocol)
    episodes = list(collect(engine, policy, QUESTIONS[:1]))
    first, second = site.posts("/v1/")
    assert first["messages"] == episodes[0].messages()[: len(first["messages"])]
    assert "continue_final_message" not in first
    assert second.get("continue_final_message", False) is (protocol is TAGS)
    assert episodes[0].turns[0].message == "hm"


@pytest.mark.parametrize("content", [None, "<think>so it", "<answer>Grass</answer>"])
def test_a_chat_that_was_cut_off_says_so_and_the_others_go_on(start: Any, connect: Any, content: Any) -> None:
    """As a reasoning model answers whose thoughts took all the tokens: without a content."""
    lengths = iter(["length", "stop"])

    def chat(body: Any) -> Any:
        length = next(lengths)
        said = content if length == "length" else "<answer>Grass</answer>"
        message = {"role": "assistant", "content": said, "reasoning_content": "Grass?"}
        return {"choices": [{"message": message, "finish_reason": length}]}

    site = start({"/v1/models": lambda _: {"data": [{"id": "tiny"}]}, "/v1/chat/completions": chat})
    policy = connect(site.url, protocol=TOOL_CALL, tokenizer=None, kind="chat", concurrency=1)
    engine = make_engine(protocol=TOOL_CALL)
    episodes = engine.begin(QUESTIONS[:2])
    moves = engine.play(episodes, policy.act(episodes))
    assert moves[1].turn.action == Answer("Grass")
    if content is None or "think" in content:
        reason = moves[0].turn.action.reason
        assert reason.startswith("the message was cut off at its limit of tokens (")
        assert "cut off" in moves[0].turn.observation
        assert moves[0].turn.message == (content or "")
        assert moves[0].turn.segments[0].ids == (None if content else ())
    else:
        assert moves[0].turn.action == Answer("Grass")  # it was complete by then


def test_a_busy_server_is_asked_again(start: Any, connect: Any) -> None:
    failures = [503, 429]

    def busy(body: Any) -> Any:
        if failures:
            raise Refusal(failures.pop())
        return complete(body)

    policy = connect(start(site_of(busy)).url, retries=3)
    assert len(policy.act(make_engine().begin(QUESTIONS[:1]))[0].ids) > 0


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({}, "does not hold one choice"),
        ({"choices": [{"text": None}]}, "has no text"),
        ({"choices": [{"logprobs": {"tokens": ["token_id:1"], "token_logprobs": []}}]}, "0 log-prob"),
        ({"choices": [{"logprobs": {"tokens": ["token_id:1"], "token_logprobs": [None]}}]}, "not a finite"),
        ({"choices": [{"logprobs": {"tokens": ["token_id:x"], "token_logprobs": [-1]}}]}, "invalid literal"),
        ({"choices": [{"logprobs": {"tokens": ["token_id:9999"], "token_logprobs": [-1]}}]}, "does not have"),
        ({"choices": [{"logprobs": {"tokens": ["token_id:-5"], "token_logprobs": [-1]}}]}, "does not have"),
        ({"choices": [{"logprobs": {"tokens": ["token_id:5"], "token_logprobs": [5.0]}}]}, "above 0"),
    ],
)
def test_an_answer_that_is_not_right_is_an_error(start: Any, connect: Any, answer: Any, problem: str) -> None:
    policy = connect(start(site_of(lambda _: answer)).url)
    with pytest.raises(SamplingError, match=problem):
        policy.act(make_engine().begin(QUESTIONS))


def test_a_server_that_fails_is_an_error(start: Any, connect: Any) -> None:
    def fail(body: Any) -> Any:
        raise Refusal(500, {"error": "out of memory"})

    policy = connect(start(site_of(fail)).url)
    with pytest.raises(SamplingError, match=r"500 .*out of memory"):
        policy.act(make_engine().begin(QUESTIONS))
    with pytest.raises(SamplingError, match="no answer from"):
        connect("http://127.0.0.1:9")


def test_an_error_does_not_repeat_the_question(start: Any, connect: Any) -> None:
    def echo(body: Any) -> Any:
        raise Refusal(422, {"input": QUESTIONS[0].text})

    with pytest.raises(SamplingError, match=r"422.*its words repeat what it was asked") as told:
        connect(start(site_of(echo)).url).act(make_engine().begin(QUESTIONS))
    assert QUESTIONS[0].text not in str(told.value)


@pytest.mark.parametrize("key", ["prompt", "text", "content"], ids=["vllm", "sglang", "llamacpp"])
def test_a_tokenizer_that_is_not_the_servers_is_refused(start: Any, connect: Any, key: str) -> None:
    def detokenize(shift: int) -> Route:
        return lambda body: {key: make_tokenizer(CHATML).decode([each + shift for each in body["tokens"]])}

    site = site_of(complete)
    connect(start(site | {"/detokenize": detokenize(0)}).url).act(make_engine().begin(QUESTIONS))
    url = start(site | {"/detokenize": detokenize(1)}).url
    with pytest.raises(SpecError, match=r"another tokenizer than .*give the model's own as tokenizer="):
        connect(url)


@pytest.mark.parametrize("told", [None, [], {}, {"prompt": 3}, {"prompt": None, "text": ""}])
def test_a_server_that_does_not_tell_its_tokenizer_is_trusted(start: Any, connect: Any, told: Any) -> None:
    assert connect(start(site_of(complete) | {"/detokenize": lambda body: told}).url)


def test_a_spec_names_a_server(start: Any, tmp_path: Path) -> None:
    make_tokenizer(CHATML).save_pretrained(tmp_path)
    questions = QuestionSet("tiny", QUESTIONS, PASSAGES)
    site = start(site_of(complete))
    policy = resolve_policy(f"{site.url}/v1#tokenizer={tmp_path}", questions, TAGS, GREEDY)
    assert isinstance(policy, RemotePolicy)
    with policy:
        assert policy.sampling == GREEDY
        assert len(policy.act(make_engine().begin(QUESTIONS))) == len(QUESTIONS)
    for wrong, problem in (
        ("kind=x", "choose one of: chat, completions"),
        ("color=red", "no option 'c"),
    ):
        with pytest.raises(SpecError, match=problem):
            resolve_policy(f"{site.url}#{wrong}", questions, TAGS, GREEDY)
    with pytest.raises(SpecError, match="no tokenizer for 'tiny'"):
        resolve_policy(site.url, questions, TAGS, GREEDY)
