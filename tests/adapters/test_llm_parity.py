"""The same question and messages give the same replies, rewards and ends in every library as in Gymnasium."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from igpo_gym.episode import Answer, ToolCalls
from igpo_gym.protocols import CHAT, NATIVE, TAGS, TextProtocol
from igpo_gym.tools import queries
from tests.adapters.episodes import QUESTION, SCRIPTS, Act, Driver, Step, played, settings, text


def gem(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("gem", reason="GEM is not installed")
    from igpo_gym.adapters.gem import SearchQA

    env = SearchQA(**given)
    # GEM chooses questions by the seed alone: go through the stream to the one that is wanted.
    prompt, info = env.reset(seed=0)
    while info["question_id"] != QUESTION:
        prompt, info = env.reset()
    steps = []
    for act in script:
        observation, reward, terminated, truncated, _ = env.step(text(given["protocol"], act))
        steps.append(Step(given["protocol"].body(observation), reward, terminated or truncated))
    return prompt, steps


def skyrl(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("skyrl_gym", reason="SkyRL-gym is not installed")
    import skyrl_gym

    import igpo_gym.adapters.skyrl  # noqa: F401

    env = skyrl_gym.make("searchqa_igpo", env_config=given, extras={"question_id": QUESTION})
    prompt, _ = env.init([])
    steps = []
    for act in script:
        output = env.step(text(given["protocol"], act))
        body = "".join(message["content"] for message in output["observations"])
        steps.append(Step(given["protocol"].body(body), output["reward"], output["done"]))
    return prompt, steps


def aviary(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("aviary.core", reason="aviary is not installed")
    from aviary.core import Message, ToolCall, ToolRequestMessage

    from igpo_gym.adapters.aviary import SearchQADataset

    def action(act: Act) -> Message:
        if isinstance(act, Answer):
            return ToolRequestMessage(tool_calls=[ToolCall.from_name("answer", answer=act.text)])
        if isinstance(act, ToolCalls):
            calls = [ToolCall.from_name("search", query=query) for query in queries(act)]
            return ToolRequestMessage(tool_calls=calls)
        return Message(role="assistant", content=act)

    async def play() -> Any:
        places = [question.id for question in given["questions"].questions]
        env = SearchQADataset(**given).get_new_env_by_idx(places.index(QUESTION))
        messages, tools = await env.reset()
        assert [tool.info.name for tool in tools] == ["search", "answer"]
        steps = []
        for act in script:
            replies, reward, done, _ = await env.step(action(act))
            steps.append(Step("".join(reply.content or "" for reply in replies), reward, done))
        return [{"role": each.role, "content": each.content} for each in messages], steps

    return asyncio.run(play())


def openenv(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("openenv.core", reason="OpenEnv is not installed")
    from igpo_gym.adapters.openenv import SearchQAAction, SearchQAClient, server
    from tests.serving import in_thread

    with in_thread(server(**given)) as url, SearchQAClient(base_url=url).sync() as client:
        prompt = client.reset(question_id=QUESTION).observation.text
        steps = []
        for act in script:
            result = client.step(SearchQAAction(message=text(given["protocol"], act)))
            body = given["protocol"].body(result.observation.text)
            steps.append(Step(body, result.reward, result.done))
        assert client.state().step_count == len(script)
    return prompt, steps


def trl_tools(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")
    from igpo_gym.adapters.trl import dataset, environment_factory

    rows = {row["question_id"]: row for row in dataset(**given)}
    env = environment_factory(**given)()
    env.reset(**rows[QUESTION])
    bodies = []
    for act in script:
        if isinstance(act, str):
            pytest.skip("TRL calls tools; what is no call does not reach the environment")
        bodies.append(env.answer(act.text) if isinstance(act, Answer) else env.search(*queries(act)))
    assert env.get_reward() == pytest.approx(sum(env.rewards))
    steps = [
        Step(body, reward, place == len(script))
        for place, (body, reward) in enumerate(zip(bodies, env.rewards, strict=True), 1)
    ]
    return [plain(message) for message in rows[QUESTION]["prompt"]], steps


def trl_rollouts(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")
    from igpo_gym.adapters.trl import Rollouts, dataset
    from tests.adapters.scripted import ScriptedTrainer

    rows = {row["question_id"]: row for row in dataset(**given)}
    trainer = ScriptedTrainer([text(given["protocol"], act) for act in script])
    rollout = Rollouts(**given)([rows[QUESTION]["prompt"]], trainer)
    steps = [
        Step(given["protocol"].body(body), reward, place == len(script))
        for place, (body, reward) in enumerate(
            zip(trainer.replies(rollout), rollout["turn_rewards"][0], strict=True), 1
        )
    ]
    return [plain(message) for message in rows[QUESTION]["prompt"]], steps


def verifiers(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("verifiers.v1", reason="verifiers is not installed")
    from igpo_gym.adapters.session import Sessions
    from tests.adapters.endpoint import episode_through_verifiers

    messages = [text(given["protocol"], act) for act in script]
    trace = episode_through_verifiers(messages, QUESTION, sessions=Sessions(**given))
    said = [node.message for node in trace.nodes]
    replies = [message.content for message in said[1:] if message.role == "user"]
    bodies = [given["protocol"].body(reply) for reply in replies] + [""] * len(script)
    rewards = trace.info["igpo"]["turn_rewards"]
    assert trace.reward == pytest.approx(sum(rewards))
    steps = [
        Step(body, reward, place == len(script))
        for place, (body, reward) in enumerate(zip(bodies, rewards, strict=False), 1)
    ]
    return [{"role": said[0].role, "content": said[0].content}], steps


def verl(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("verl.experimental.agent_loop.agent_loop", reason="verl is not installed")
    from igpo_gym.adapters.verl import dataset
    from tests.adapters.scripted import ScriptedServer, agent_loop, user_messages

    rows = {row["extra_info"]["question_id"]: row for row in dataset(**given)}
    server = ScriptedServer([text(given["protocol"], act) for act in script])
    output = asyncio.run(agent_loop(server, given).run({}, **rows[QUESTION]))
    replies = user_messages(server.tokenizer.decode(output.response_ids), len(script))
    assert output.reward_score == pytest.approx(sum(output.extra_fields["turn_scores"]))
    steps = [
        Step(given["protocol"].body(reply), reward, place == len(script))
        for place, (reply, reward) in enumerate(
            zip(replies, output.extra_fields["turn_scores"], strict=True), 1
        )
    ]
    return rows[QUESTION]["prompt"], steps


def tinker(given: dict[str, Any], script: Sequence[Act]) -> Any:
    pytest.importorskip("tinker_cookbook", reason="Tinker cookbook is not installed")
    from tinker_cookbook.rl.rollouts import do_single_rollout

    from igpo_gym.adapters.session import Sessions
    from igpo_gym.adapters.tinker import SearchQA
    from tests.adapters.scripted import ScriptedCompleter, user_messages

    policy = ScriptedCompleter([text(given["protocol"], act) for act in script])
    env = SearchQA(Sessions(**given), policy.framing, QUESTION, sorted(policy.framing.end_ids))
    trajectory = asyncio.run(do_single_rollout(policy, env))
    said = user_messages(policy.tokenizer.decode(trajectory.final_ob.to_ints()), 1 + len(script))
    steps = [
        Step(given["protocol"].body(reply), transition.reward, transition.episode_done)
        for reply, transition in zip(said[1:], trajectory.transitions, strict=False)
    ]
    return [{"role": "user", "content": said[0]}], steps


def swift(given: dict[str, Any], script: Sequence[Act]) -> Any:
    from tests.adapters.test_swift import rollout

    output = rollout([text(given["protocol"], act) for act in script], given)
    said = [plain(message) for message in output.messages]
    bodies = [message["content"] for message in said[1:] if message["role"] == "user"] + [""]
    rewards = output.rollout_infos["step_rewards"]
    steps = [
        Step(given["protocol"].body(body), reward, place == len(script))
        for place, (body, reward) in enumerate(zip(bodies, rewards, strict=True), 1)
    ]
    return said[:1], steps


def nemo(given: dict[str, Any], script: Sequence[Act]) -> Any:
    from tests.adapters.test_nemo import requests, response, row_of, server
    from tests.serving import in_thread

    row, steps = row_of(given), []
    with in_thread(server(given)) as url, requests.Session() as session:
        session.post(f"{url}/reset", json=row).raise_for_status()
        for act in script:
            body = {**row, "response": response(text(given["protocol"], act))}
            step = session.post(f"{url}/step", json=body).json()
            reply = given["protocol"].body(step["observation"] or "")
            steps.append(Step(reply, step["reward"], step["terminated"] or step["truncated"]))
    return row["responses_create_params"]["input"], steps


def atropos(given: dict[str, Any], script: Sequence[Act]) -> Any:
    from tests.adapters.scripted import ScriptedGenerate, user_messages
    from tests.adapters.test_atropos import used

    async def play(env: Any) -> Any:
        (episode,) = await env._play([env.sessions.questions.find(QUESTION)])
        (row,) = env.group([episode])["tokens"]
        return episode.turn_rewards, episode.done, row

    generate = ScriptedGenerate([text(given["protocol"], act) for act in script])
    rewards, done, row = used(generate, play, max_token_length=4000)
    said = user_messages(generate.tokenizer.decode(row), 1 + len(script))
    steps = [
        Step(given["protocol"].body(body), reward, done and place == len(script))
        for place, (body, reward) in enumerate(zip(said[1:], rewards, strict=False), 1)
    ]
    return [{"role": "user", "content": said[0]}], steps


def plain(message: dict[str, str]) -> dict[str, str]:
    return {name: message[name] for name in ("role", "content")}


DRIVERS: dict[str, tuple[Driver, TextProtocol]] = {
    "gem": (gem, TAGS),
    "skyrl": (skyrl, CHAT),
    "aviary": (aviary, NATIVE),
    "openenv": (openenv, TAGS),
    "verifiers": (verifiers, CHAT),
    "verl": (verl, CHAT),
    "trl tools": (trl_tools, NATIVE),
    "trl rollouts": (trl_rollouts, CHAT),
    "tinker": (tinker, CHAT),
    "swift": (swift, CHAT),
    "nemo": (nemo, CHAT),
    "atropos": (atropos, CHAT),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("library", DRIVERS)
def test_an_episode_is_the_same_as_through_gymnasium(library: str, script: str) -> None:
    drive, protocol = DRIVERS[library]
    given = settings(protocol)
    prompt, steps = drive(given, SCRIPTS[script])
    expected_prompt, expected = played(given, SCRIPTS[script])
    assert [step.body for step in steps[:-1]] == [step.body for step in expected[:-1]]
    assert [step.reward for step in steps] == pytest.approx([step.reward for step in expected])
    assert [step.done for step in steps] == [step.done for step in expected]
    if isinstance(prompt, str):
        assert prompt == "".join(message["content"] for message in expected_prompt)
    else:
        assert prompt == expected_prompt
