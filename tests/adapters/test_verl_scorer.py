"""The policy as the scorer in verl: what is asked, how the shifted rows are read, and what aborts do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("verl.experimental.agent_loop.agent_loop", reason="verl is not installed")

from verl.workers.rollout.llm_server import FullyAsyncLLMServerClient

from igpo_gym.adapters.verl.scorer import (
    MixedWeightsError,
    RolloutScorer,
    policy_request,
    prompt_log_probs,
)
from igpo_gym.agents.rollouts.records import read_recordings
from igpo_gym.episode import Belief, EndReason, Segment
from igpo_gym.errors import ScoringError, SpecError, TranscriptTooLongError
from igpo_gym.protocols import ANSWER_PROBE, CHAT, AnswerProbe
from igpo_gym.rewards.belief_requests import trajectory_requests
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.prompts import Prompt
from tests.adapters.episodes import QUESTION, settings
from tests.adapters.scripted import agent_loop
from tests.adapters.verl_servers import TellingServer, log_prob, sglang_fields, vllm_fields

SCRIPT = [
    "<think>who?</think><search>Günter Grass writer</search>",
    "I do not know.",
    "<answer>Danzig</answer>",
]
ROW = {"extra_info": {"question_id": QUESTION}}
PROMPT = (Segment("environment", "user", "Where was Günter Grass born?"),)
TWO = (
    BeliefRequest(PROMPT, ("Danzig", "Gdańsk"), ANSWER_PROBE),
    BeliefRequest(PROMPT, tuple(f"port {number}" for number in range(12)), ANSWER_PROBE),
)


def beliefs(server: TellingServer, requests: Any = TWO, **changes: Any) -> tuple[list[Belief], RolloutScorer]:
    """What the server's policy believes, asked as an agent loop asks."""

    async def run() -> tuple[list[Belief], RolloutScorer]:
        loop = asyncio.get_running_loop()
        scorer = RolloutScorer(server.framing, policy_request(server, "r"), loop, **{"pause": 0.0, **changes})
        return await asyncio.to_thread(scorer.score, requests), scorer

    return asyncio.run(run())


def by_hand(server: TellingServer, request: BeliefRequest, answer: str, version: int = 0) -> list[float]:
    """The log-probabilities of an answer's tokens, from the ids of the whole text."""
    framing = server.framing
    before = framing.ids(request.segments) + framing.text_ids(request.probe.prefix)
    ids = before + framing.text_ids(answer)
    return [log_prob(ids, place, version) for place in range(len(before), len(ids))]


@pytest.mark.parametrize("shape", [vllm_fields, sglang_fields])
def test_beliefs_are_those_of_the_answers_tokens_in_both_engines_shapes(shape: Any) -> None:
    server = TellingServer(shape=shape)
    server.version = 4
    found, scorer = beliefs(server)
    assert scorer.weights == 4
    for request, belief in zip(TWO, found, strict=True):
        assert len(belief.log_probs) == min(len(request.answers), 8)
        for answer, mean, tokens in zip(
            request.answers, belief.log_probs, belief.token_log_probs, strict=False
        ):
            expected = by_hand(server, request, answer, version=4)
            assert tokens == pytest.approx(expected)
            assert mean == pytest.approx(sum(expected) / len(expected))
    assert {request_id for request_id, _ in server.about} == {"r"}
    assert server.about_params[0] == {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "max_tokens": 1,
        "prompt_logprobs": 0,
    }


def test_a_token_that_joins_probe_and_answer_is_told() -> None:
    server = TellingServer()
    probe = AnswerProbe("So: ", "")
    asked = BeliefRequest(PROMPT, ("anzig", "Danzig"), probe)
    expected = tuple(server.framing.behind(probe.prefix, answer).joined for answer in asked.answers)
    assert expected == (True, False)
    ((belief,), _) = beliefs(server, (asked,))
    assert belief.joined == expected


def test_rows_that_are_not_about_what_was_sent_are_refused() -> None:
    ids = (7, 8, 9, 4)
    fields = vllm_fields(ids)
    assert prompt_log_probs(fields, Prompt(ids, 2)) == (log_prob(ids, 2), log_prob(ids, 3))
    unshifted = {name: [[0], *rows[:-1]] for name, rows in fields.items()}
    wrong = [
        (unshifted, "other tokens than the 4 that were sent"),
        ({**fields, "prompt_ids": fields["prompt_ids"][1:]}, "tells of 3 ids and 4"),
        ({"global_steps": 1}, "tells no prompt_logprobs; those of vllm and sglang do"),
        ({**fields, "prompt_logprobs": [[float("nan")]] * 4}, "log-probability nan"),
        ({**fields, "prompt_logprobs": [[0.5]] * 4}, r"log-probability 0\.5"),
    ]
    for told, problem in wrong:
        with pytest.raises(ScoringError, match=problem):
            prompt_log_probs(told, Prompt(ids, 2))


def test_an_aborted_request_is_asked_again_with_all_others() -> None:
    server = TellingServer()
    server.aborts = 1
    found, _ = beliefs(server)
    assert len(server.about) == 2 * (2 + 8)
    assert found[0].token_log_probs[1] == pytest.approx(by_hand(server, TWO[0], "Gdańsk"))


def test_beliefs_are_of_one_version_of_the_weights() -> None:
    server = TellingServer()
    server.versions = [3, 3, 4]  # an update falls among the first ten requests
    found, scorer = beliefs(server)
    assert scorer.weights == 4
    assert len(server.about) == 20
    assert found[0].token_log_probs[0] == pytest.approx(by_hand(server, TWO[0], "Danzig", version=4))


def test_weights_that_never_rest_give_no_belief() -> None:
    server = TellingServer()
    server.versions = list(range(1000))
    with pytest.raises(MixedWeightsError, match="3 times in a row"):
        beliefs(server)


def test_a_transcript_without_room_is_named_by_its_place() -> None:
    server = TellingServer()
    long = BeliefRequest((Segment("environment", "user", "a b " * 300),), ("x",), ANSWER_PROBE)
    with pytest.raises(TranscriptTooLongError, match="max_model_len") as raised:
        beliefs(server, (TWO[0], long), longest=200)
    assert raised.value.requests == (1,)
    assert not server.about


def test_the_asynchronous_trainers_client_is_asked_without_going_on_after_an_abort() -> None:
    server = TellingServer()

    class Client(FullyAsyncLLMServerClient):
        """verl's client in front of the server, without Ray."""

        async def _acquire_server(self, request_id: str, **extra: Any) -> tuple[str, Any]:
            async def remote(request_id: str, **given: Any) -> Any:
                about = {name: given[name] for name in ("prompt_ids", "sampling_params")}
                return await server.generate(request_id, **about)

            return "one", SimpleNamespace(generate=SimpleNamespace(remote=remote))

        def _release_server(self, server_id: str, request_id: str | None = None) -> None:
            pass

    rollout = SimpleNamespace(name="vllm", full_determinism=False, response_length=100)
    client = Client(SimpleNamespace(actor_rollout_ref=SimpleNamespace(rollout=rollout)))
    ids = server.framing.text_ids("Danzig is a port")
    params = {"max_tokens": 1, "prompt_logprobs": 0}
    resumed = asyncio.run(client.generate("r", prompt_ids=list(ids), sampling_params=params))
    assert "prompt_logprobs" not in resumed.extra_fields  # which is why it is not asked this way
    output = asyncio.run(policy_request(client, "r")(ids))
    assert prompt_log_probs(output.extra_fields, Prompt(ids, 1)) == (log_prob(ids, len(ids) - 1),)


def test_the_policy_scores_the_episode_that_it_played(tmp_path: Path) -> None:
    server = TellingServer(SCRIPT)
    server.version = 5
    given = settings(CHAT, scorer="policy")
    loop = agent_loop(server, given, arguments={"records": str(tmp_path)})
    output = asyncio.run(loop.run({"temperature": 0.7}, **ROW, session_id=2, global_steps=6))
    ((told, episode),) = read_recordings(next(tmp_path.glob("*.jsonl")))
    assert told["scorer"] == "policy"
    assert (episode.attempt, episode.extra["step"], episode.extra["mixed_weights"]) == (2, 6, False)
    assert [turn.segments[0].weights for turn in episode.turns] == ["5", "5", "5"]
    requests = trajectory_requests(episode, CHAT.probe)
    assert len(requests) == len(episode.beliefs) == 3
    for request, belief in zip(requests, episode.beliefs, strict=True):
        for answer, tokens in zip(request.answers, belief.token_log_probs, strict=True):
            assert list(tokens) == pytest.approx(by_hand(server, request, answer, version=5))
    # All at once, when the episode had ended, at the server that played it.
    assert {request_id for request_id, _ in server.about} == set(server.turns)
    assert len(server.about) == 3 * 2
    gains = [
        after.prob - before.prob for before, after in zip(episode.beliefs, episode.beliefs[1:], strict=False)
    ]
    assert output.extra_fields["turn_scores"] == pytest.approx([gains[0], gains[1] - 2.0, 1.0])
    starts = [
        place
        for place, (own, before) in enumerate(
            zip(output.response_mask, [0, *output.response_mask], strict=False)
        )
        if own > before
    ]
    assert [output.token_rewards[start] for start in starts[:2]] == pytest.approx(gains)
    assert output.metrics.compute_score > 0
    assert output.extra_fields["reward_extra_info"]["mixed_weights"] == 0.0


def test_an_update_within_an_episode_is_counted_and_its_gains_are_of_one_version(tmp_path: Path) -> None:
    server = TellingServer(SCRIPT)
    server.versions = [1]  # the weights that score are newer than those that played
    loop = agent_loop(server, settings(CHAT, scorer="policy"), arguments={"records": str(tmp_path)})
    output = asyncio.run(loop.run({}, **ROW))
    ((_, episode),) = read_recordings(next(tmp_path.glob("*.jsonl")))
    assert episode.extra["mixed_weights"] is True
    assert output.extra_fields["reward_extra_info"]["mixed_weights"] == 1.0
    for request, belief in zip(trajectory_requests(episode, CHAT.probe), episode.beliefs, strict=True):
        assert list(belief.token_log_probs[0]) == pytest.approx(
            by_hand(server, request, request.answers[0], version=1)
        )


def test_an_episode_without_one_version_is_aborted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("igpo_gym.adapters.verl.loop.PAUSE", 0.0)
    server = TellingServer(SCRIPT)
    server.aborts = 1000
    loop = agent_loop(server, settings(CHAT, scorer="policy"), arguments={"records": str(tmp_path)})
    output = asyncio.run(loop.run({}, **ROW))
    check_record_of_aborted(tmp_path, turns=3)
    fields = output.as_dict()
    assert not fields["response_mask"].any()
    assert not fields["rm_scores"].any()
    assert f"the episode on '{QUESTION}' is aborted: the weights changed" in caplog.text
    told = output.extra_fields["reward_extra_info"]
    assert (told["aborted"], told["acc"], told["em"]) == (1.0, 0.0, 0.0), "its answer was right"


def check_record_of_aborted(folder: Path, turns: int) -> None:
    """The record of the one episode tells that it was aborted, and no gain that nobody measured."""
    ((_, episode),) = read_recordings(next(folder.glob("*.jsonl")))
    assert episode.end is EndReason.ABORTED
    assert not episode.beliefs
    assert episode.extra["split"] == {"gains": [None] * turns, "outcome": None, "last_gain": True}


def test_an_episode_that_verl_aborts_is_not_priced(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    server = TellingServer(SCRIPT)
    generate = server.generate

    async def aborted(request_id: str, **given: Any) -> Any:
        output = await generate(request_id, **given)
        if server.turns[request_id] > 1:
            output.stop_reason = "aborted"
        return output

    server.generate = aborted  # type: ignore[method-assign]
    loop = agent_loop(server, settings(CHAT, scorer="policy"), arguments={"records": str(tmp_path)})
    output = asyncio.run(loop.run({}, **ROW))
    check_record_of_aborted(tmp_path, turns=1)
    assert "its outcome is None" in caplog.text
    assert not any(output.response_mask)
    assert not server.about
    assert output.num_turns == 2


def test_an_engine_that_tells_no_log_probabilities_of_prompts_is_refused() -> None:
    server = TellingServer(SCRIPT)
    with pytest.raises(SpecError, match=r"scorer: policy needs .* \(vllm, sglang\), not trtllm"):
        agent_loop(server, settings(CHAT, scorer="policy"), name="trtllm")


def test_a_row_of_another_set_asks_its_own_question() -> None:
    server = TellingServer(["<answer>Odra</answer>"])
    row = {**ROW, "question": "Which river?", "golden_answers": ["Odra"], "data_source": "rivers"}
    output = asyncio.run(agent_loop(server, settings(CHAT, scorer="policy")).run({}, **row))
    assert output.extra_fields["reward_extra_info"]["acc"] == 1.0
    assert "Which river?" in server.tokenizer.decode(output.prompt_ids)
    with pytest.raises(SpecError, match=r"names the question 'q-none', which is not in the set"):
        asyncio.run(agent_loop(server, settings(CHAT)).run({}, extra_info={"question_id": "q-none"}))


def test_the_end_of_an_episode_is_the_records_reason(tmp_path: Path) -> None:
    server = TellingServer(["<search>Grass</search>"] * 3)
    loop = agent_loop(server, settings(CHAT, scorer="policy"), arguments={"records": str(tmp_path)})
    asyncio.run(loop.run({}, **ROW))
    ((_, episode),) = read_recordings(next(tmp_path.glob("*.jsonl")))
    assert episode.end is EndReason.TURNS_EXHAUSTED
    assert len(episode.beliefs) == 4
