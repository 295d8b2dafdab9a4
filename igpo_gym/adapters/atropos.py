"""Atropos (``atroposlib``): an environment that sends scored groups with an advantage for every token.

``examples/atropos_env.py`` is one in a line, with the command line of Atropos::

    run-api &                                        # and a trainer that registers there
    python examples/atropos_env.py serve --env.questions hotpotqa:train.json \\
        --env.scorer http://host:8001/v1 --env.tokenizer_name Qwen/Qwen3-4B \\
        --openai.server_type vllm --openai.base_url http://host:9001/v1 --openai.model_name Qwen/Qwen3-4B

A group holds the attempts at one question. All tokens of a turn have the advantage of the turn, compared
within the group; a score is the sum of an episode's rewards.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from igpo_gym.adapters.session import Sessions, declared_settings, pydantic_settings
from igpo_gym.adapters.tokens import end_unfinished, turn_advantages
from igpo_gym.agents.exports.tokens import IGNORED
from igpo_gym.agents.policies.messages import sampled_message
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.agents.training.estimators import DEFAULT, check_reward, resolve_estimator
from igpo_gym.data import resolve_questions
from igpo_gym.data.scores import METRICS, scores
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode, Message, Question
from igpo_gym.libraries import needs
from igpo_gym.lm.framing import Framing
from igpo_gym.protocols import CHAT
from igpo_gym.rewards import split

with needs("igpo_gym.adapters.atropos", "atropos", "atroposlib", "pydantic"):
    from atroposlib.envs.base import APIServerConfig, BaseEnv, BaseEnvConfig, ScoredDataGroup
    from pydantic import Field

logger = logging.getLogger(__name__)

NOT_HERE = ("protocol", "probe", "order", "group_size", "info", "oracle_info", "render_mode")
"""The arguments of an environment that Atropos decides itself, or that change nothing in a group."""

_SETTINGS = declared_settings(*NOT_HERE)
_Arguments: Any = pydantic_settings(BaseEnvConfig, _SETTINGS)


class SearchQAConfig(_Arguments):
    """The fields of Atropos, the arguments of :class:`SearchQAEnv` (in the protocol ``CHAT``), and these.

    Atropos writes its configuration into logs: a URL with a password is refused.
    """

    advantages: str = Field(DEFAULT, description="What compares the turns of a group.")
    gamma: float = Field(1.0, description="The discount for each turn.")
    max_message_tokens: int = Field(512, description="How long a message may be.")
    temperature: float = Field(1.0, description="Of the policy in training; tests are played at 0.")
    test_questions: str | None = Field(None, description="The questions of evaluations, played once each.")

    ensure_scores_are_not_same: bool = Field(
        False, description="Whether groups of equal sums are dropped; their turns may differ all the same."
    )


class SearchQA(BaseEnv):
    """Plays groups on whatever engine Atropos has that tells token ids (``vllm``, ``sglang``, ``trl``).

    What was sampled is what is scored and sent; nothing is tokenized twice. A row holds at most
    ``max_token_length`` tokens, or fewer where the trainer asks for fewer; an episode that has filled it ends
    there. Raises SpecError for an estimator that does not go with the reward.
    """

    name = "searchqa_igpo"
    env_config_cls = SearchQAConfig

    @classmethod
    def config_init(cls) -> tuple[SearchQAConfig, list[APIServerConfig]]:
        """What the command line starts from: one vLLM server."""
        return SearchQAConfig(), [APIServerConfig(server_type="vllm", base_url="http://localhost:9001/v1")]

    async def setup(self) -> None:
        """Load questions, index, scorer and framing."""
        config = self.config
        self.sessions = await asyncio.to_thread(Sessions, **self._settings)
        check_reward(resolve_estimator(config.advantages), self.sessions.engine.reward, config.gamma)
        self.framing = Framing(self.tokenizer)
        self._tests: Sessions | None = None
        self._ahead: list[Question] = []
        self._scored: dict[str, list[float]] = {}

    async def get_next_item(self) -> str:
        """The id of a question: each comes once, in a random order, before any comes again."""
        if not self._ahead:
            self._ahead = list(self.sessions.questions.questions)
            random.shuffle(self._ahead)
        return self._ahead.pop().id

    async def collect_trajectories(self, item: str) -> tuple[ScoredDataGroup | None, list[str]]:
        """Attempts at one question, played together; None where its prompt leaves no room for a message."""
        episodes = await self._play([self.sessions.questions.find(item)] * self.config.group_size)
        if any(not episode.turns for episode in episodes):
            logger.warning("the prompt of question %s leaves no room in %d tokens", item, self._room)
            return None, []
        self._note("train", episodes)
        return self.group(episodes), []

    def group(self, episodes: Sequence[Episode]) -> ScoredDataGroup:
        """Ended attempts at one question as Atropos sends them."""
        reward, room = self.sessions.engine.reward, self._room
        splits = [split(episode, reward) for episode in episodes]
        seed = random.getrandbits(32), 0  # as the order of questions, another one each time
        values = turn_advantages(splits, [0] * len(splits), self.config.advantages, self.config.gamma, seed)
        rows = [token_rows(episode, self.framing) for episode in episodes]
        return ScoredDataGroup(
            tokens=[row.ids[:room].tolist() for row in rows],
            masks=[np.where(row.mask, row.ids, IGNORED)[:room].tolist() for row in rows],
            scores=[episode.total_reward for episode in episodes],
            advantages=[
                np.append(0.0, own)[row.turn][:room].tolist() for row, own in zip(rows, values, strict=True)
            ],
            inference_logprobs=[  # 1 is what Atropos writes where the policy did not
                np.where(row.mask, row.log_probs.astype(float), 1.0)[:room].tolist() for row in rows
            ],
        )

    async def evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Play the test questions once each, at temperature 0; their scores go into the log."""
        if self.config.test_questions is None:
            return
        tests = resolve_questions(self.config.test_questions)
        if self._tests is None and self.config.search is None and tests.passages:  # which it is searched in
            settings = {**self._settings, "questions": self.config.test_questions}
            self._tests = await asyncio.to_thread(Sessions, **settings)
        engine = (self._tests or self.sessions).engine
        episodes = await self._play(tests.questions, engine, temperature=0.0, split="eval")
        means = self._note("eval", [episode for episode in episodes if episode.turns])
        await self.evaluate_log({f"eval/{name}": mean for name, mean in means.items()})

    async def wandb_log(self, wandb_metrics: dict[str, Any] | None = None) -> None:
        """Log the means of what was scored since the last log, beside Atropos' own."""
        told = {name: float(np.mean(values)) for name, values in self._scored.items()}
        self._scored = {}
        await super().wandb_log({**(wandb_metrics or {}), **told})

    @property
    def _settings(self) -> dict[str, Any]:
        """The arguments of the environment."""
        return {"protocol": CHAT, **{name: getattr(self.config, name) for name in _SETTINGS}}

    @property
    def _room(self) -> int:
        """How many tokens a row may have: a trainer refuses rows as long as its limit."""
        asked = self.max_token_len if self.max_token_len > 0 else self.config.max_token_length + 1
        return int(min(self.config.max_token_length, asked - 1))

    async def _play(
        self, questions: Sequence[Question], engine: Engine | None = None, **how: Any
    ) -> list[Episode]:
        """Episodes on the questions; one step is one belief call for all of them."""
        engine, room = engine or self.sessions.engine, self._room
        episodes = engine.begin(questions, range(len(questions)))
        await asyncio.to_thread(engine.start, episodes)
        while running := [
            (episode, ids)
            for episode in episodes
            if not episode.done and len(ids := self.framing.ids(episode.segments)) < room
        ]:
            asked = (self._message(ids, room - len(ids), **how) for _, ids in running)
            messages = await asyncio.gather(*asked)
            moves = await asyncio.to_thread(engine.play, [episode for episode, _ in running], messages)
            await asyncio.to_thread(engine.settle, moves)
        await asyncio.to_thread(end_unfinished, engine, episodes)
        return episodes

    async def _message(
        self, context: Sequence[int], room: int, temperature: float | None = None, split: str = "train"
    ) -> Message:
        engine = self.sessions.engine
        _, (ids,), (log_probs,), _ = await self.server.tokens_and_logprobs_completion(
            input_ids=list(context),
            max_tokens=min(self.config.max_message_tokens, room),
            temperature=self.config.temperature if temperature is None else temperature,
            stop=list(engine.protocol.stops),
            split=split,
        )
        return sampled_message(self.framing, engine.protocol, ids, log_probs)

    def _note(self, part: str, episodes: Sequence[Episode]) -> dict[str, float]:
        """Keep the scores for the log; their means. An episode that was aborted has none."""
        scored = [scores(episode) for episode in episodes if episode.has_outcome]
        for name in METRICS:
            self._scored.setdefault(f"{part}/{name}", []).extend(each[name] for each in scored)
        return {name: float(np.mean([each[name] for each in scored])) for name in METRICS if scored}
