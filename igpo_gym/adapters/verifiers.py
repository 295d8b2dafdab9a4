"""verifiers (``verifiers.v1``): a taskset, an environment that plays the user, and a harness in this process.

verifiers finds plugins by the name of a top-level module. ``examples/verifiers/searchqa_igpo.py`` is one in a
line; where it can be imported, everything goes by its id::

    vf-eval searchqa-igpo --env.taskset.questions world --env.taskset.scorer nano -m MODEL -b URL

A trace's reward is the sum of the episode. What would be lost is kept in ``trace.info["igpo"]``: the gains of
the turns and the outcome, the rewards of the turns as they were paid, and the beliefs as levels (one more
than turns without an answer), so that whoever differences them does so once. :func:`assign_advantages` puts
our estimators' advantages on the trace's nodes, where a trainer reads the credit of each token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from igpo_gym.adapters.session import (
    Sessions,
    declared_settings,
    pydantic_settings,
    question_messages,
    shared_sessions,
)
from igpo_gym.adapters.tokens import end_unfinished, episode_fields, read_split, turn_advantages
from igpo_gym.agents.training.estimators import DEFAULT, Estimator, Seed
from igpo_gym.config import EnvConfig
from igpo_gym.data.scores import final_scores, scores
from igpo_gym.episode import Answer, EndReason, Episode
from igpo_gym.libraries import needs
from igpo_gym.protocols import CHAT
from igpo_gym.rewards import RewardFunction

with needs("igpo_gym.adapters.verifiers", "verifiers", "verifiers", "openai"):
    import verifiers.v1 as vf
    from openai import AsyncOpenAI
    from verifiers.v1.dialects.chat import message_to_wire


NOT_HERE = ("protocol", "probe", "order", "group_size", "info", "oracle_info", "render_mode")
"""The arguments of an environment that the taskset decides itself, or that change nothing in a trace."""


_SETTINGS = declared_settings(*NOT_HERE)
_Arguments: Any = pydantic_settings(vf.TasksetConfig, _SETTINGS)


class SearchQAConfig(_Arguments):
    """Which questions, and how they are played: the arguments of an environment, see :class:`EnvConfig`.

    verifiers writes its configuration into files: a URL with a password is refused.
    """

    @property
    def environment(self) -> EnvConfig:
        """The environment, in the protocol ``CHAT``."""
        return EnvConfig(protocol=CHAT, **{name: getattr(self, name) for name in _SETTINGS})


class SearchQAData(vf.TaskData):
    """A question as it travels: without its answers."""

    question_id: str


class SearchQATask(vf.Task[SearchQAData]):
    """One question. Its rewards are recorded by the environment, turn by turn."""

    @property
    def key(self) -> str:
        """The question's id: rollouts of one question are a group."""
        question_id: str = self.data.question_id
        return question_id

    environment: EnvConfig | None = None
    """Where the task comes from; it does not travel."""

    async def validate(self, runtime: vf.Runtime) -> bool | None:
        """Whether the gold answer is right in the environment; None for a task without one.

        No model is loaded: the answer is played with the outcome alone.
        """
        if self.environment is None:
            return None
        plain = replace(
            self.environment, scorer=None, reward="outcome-em", reference=None, policy=None, judge=None
        )
        return await asyncio.to_thread(_gold_answer_is_right, plain, self.data.question_id)


def _gold_answer_is_right(environment: EnvConfig, question_id: str) -> bool:
    env = shared_sessions(environment)()
    env.reset(options={"question_id": question_id})
    assert env.episode is not None
    env.step(CHAT.write(Answer(env.episode.question.answers[0])))
    return env.episode.done and scores(env.episode)["em"] == 1.0


class SearchQATaskset(vf.Taskset[SearchQATask, SearchQAConfig]):
    """A task for every question."""

    def load(self) -> Iterator[SearchQATask]:
        """The tasks in the order of the questions."""
        for question, (prompt,) in question_messages(self.config.environment):
            name = question.id
            data = SearchQAData(id=name, name=name, question_id=name, prompt=prompt["content"])
            task = SearchQATask(data, self.config.task)
            task.environment = self.config.environment
            yield task


class ChatHarness(vf.Harness[vf.HarnessConfig]):
    """One model call a turn, made from this process: no program, no container, nothing to install."""

    APPENDS_SYSTEM_PROMPT = True
    SUPPORTS_RESUME = True
    EXECUTES_CODE = False
    NEEDS_CONTAINER = False

    async def launch(
        self,
        ctx: vf.ModelContext,
        trace: vf.Trace,
        runtime: vf.Runtime,
        endpoint: str,
        secret: str,
        mcp_urls: dict[str, str],
        data: vf.TaskData,
    ) -> vf.ProgramResult:
        """Ask the model for its next message; verifiers records it at the endpoint."""
        system, prompt = self.resolve_prompt(data)
        messages = [{"role": "system", "content": system}] if system else []
        if isinstance(prompt, str):
            messages.append({"role": "user", "content": prompt})
        else:
            messages += [message_to_wire(message) for message in prompt or []]
        async with AsyncOpenAI(base_url=endpoint, api_key=secret, max_retries=0) as client:
            await client.chat.completions.create(model=ctx.model, messages=messages)
        return vf.ProgramResult(exit_code=0, stdout="", stderr="")


class SearchQAEnvConfig(vf.EnvConfig):
    """The seat of the policy, which needs no sandbox."""

    agent: vf.AgentConfig = vf.AgentConfig(runtime={"type": "subprocess"})


class SearchQAEnv(vf.Env[SearchQAEnvConfig]):
    """Plays the user: answers each message of the policy as the environment does."""

    def __init__(self, config: SearchQAEnvConfig) -> None:
        super().__init__(config)
        self._sessions = Sessions(self.taskset.config.environment)

    async def run(self, task: vf.Task, agents: vf.Agents) -> None:
        """Play one episode."""
        env = self._sessions.coroutine()
        await env.reset(options={"question_id": task.data.question_id})
        assert env.episode is not None
        episode = env.episode
        async with agents.agent.interaction(task) as interaction:
            segment = await interaction.turn()
            while not segment.terminated:
                observation, *_ = await env.step(segment.last_reply)
                if episode.done:
                    break
                segment = await interaction.turn(observation)
        if episode.done or interaction.trace.ok:
            end_unfinished(env.engine, [episode])
        else:  # no fault of the agent's: groups leave it out
            env.engine.end(episode, EndReason.ABORTED)
        record(interaction.trace, episode, env.engine.reward)


def record(trace: vf.Trace, episode: Episode, reward: RewardFunction) -> None:
    """Write an episode onto its trace: the sum of each term of the reward, metrics, split and turns.

    An episode that was aborted, as one is that the library ended before its first turn, has neither an
    outcome nor scores.
    """
    for _, term in reward.terms:
        trace.record_reward(term.name, float(sum(terms[term.name] for terms in episode.rewards)))
    trace.record_metrics({**final_scores(episode), "tool_turns": float(episode.tool_turns)})
    trace.info["igpo"] = {
        **episode_fields(episode, reward),
        "reward_terms": episode.rewards,
    }


def assign_advantages(
    traces: Sequence[vf.Trace],
    estimator: str | Estimator = DEFAULT,
    gamma: float = 1.0,
    seed: Seed | None = None,
) -> dict[str, Any]:
    """Put a turn's advantage on every token that the policy sampled in it, as ``node.advantages``.

    ``traces`` are those of a batch; rollouts of one task are a group. Returns the advantages of the turns by
    trace id. ``seed`` is as in :func:`turn_advantages`, and so is SpecError; ValueError for a trace whose
    messages are not those that were rewarded, and for one of which nothing was recorded.
    """
    if unknown := [trace.id for trace in traces if "igpo" not in trace.info]:
        raise ValueError(
            f"trace {unknown[0]} has no record of an episode, as where its environment failed: leave it out"
        )
    values = turn_advantages(
        [read_split(trace.info["igpo"]) for trace in traces],
        [trace.task.key for trace in traces],
        estimator,
        gamma,
        seed,
    )
    for trace, own in zip(traces, values, strict=True):
        nodes = [node for node in trace.nodes if node.sampled]
        if len(own) != len(nodes):
            raise ValueError(
                f"trace {trace.id} has {len(nodes)} messages, but {len(own)} turns were rewarded"
            )
        for node, value in zip(nodes, own.tolist(), strict=True):
            node.advantages = [value] * sum(node.mask)
    return {trace.id: own.tolist() for trace, own in zip(traces, values, strict=True)}
