"""OpenEnv: the environment behind OpenEnv's own server, and a typed client for it.

Server::

    import uvicorn
    from igpo_gym.adapters.openenv import server

    uvicorn.run(server(questions="world"), port=8000)

Client::

    with SearchQAClient(base_url="http://localhost:8000").sync() as env:
        result = env.reset(seed=0)
        result = env.step(SearchQAAction(message="<search>Danzig</search>"))
        print(result.reward, result.observation.info["belief"])
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gymnasium.error import ResetNeeded

from igpo_gym.adapters.session import Sessions
from igpo_gym.envs.asynchronous import AsyncSearchQA
from igpo_gym.libraries import needs

with needs("igpo_gym.adapters.openenv", "openenv", "openenv"):
    from openenv.core import EnvClient
    from openenv.core.client_types import StepResult
    from openenv.core.env_server import Action, Environment, Observation, State, create_fastapi_app
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import Field


class SearchQAAction(Action):
    """A message of the agent."""

    message: str


class SearchQAObservation(Observation):
    """What the environment says. Its reward is that of the turn, and ``None`` after a reset."""

    text: str = ""
    """The prompt, then the replies; empty after an answer."""
    truncated: bool = False
    """Whether the turns ran out before an answer."""
    info: dict[str, Any] = Field(default_factory=dict)
    """The ``info`` of an environment; OpenEnv's own ``metadata`` does not travel."""


class SearchQAEnvironment(Environment[SearchQAAction, SearchQAObservation, State]):
    """The environment as OpenEnv's server holds it, one for each connection."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, env: AsyncSearchQA) -> None:
        super().__init__()
        self._env = env
        self._episode_id: str | None = None

    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> SearchQAObservation:
        """Begin an episode on a question drawn by the seed, or as ``options`` say.

        They are those of :meth:`AsyncSearchQA.reset`: ``question_id`` and ``max_turns``. Raises ValueError
        for another.
        """
        text, info = await self._env.reset(seed=seed, options=options)
        self._episode_id = episode_id
        return SearchQAObservation(text=text, info=info)

    async def step_async(
        self, action: SearchQAAction, timeout_s: float | None = None, **kwargs: Any
    ) -> SearchQAObservation:
        """Play one message."""
        text, reward, terminated, truncated, info = await self._env.step(action.message)
        return SearchQAObservation(
            text=text, reward=reward, done=terminated or truncated, truncated=truncated, info=info
        )

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, **options: Any
    ) -> SearchQAObservation:
        """As :meth:`reset_async`, for who has no event loop; the server has one."""
        return asyncio.run(self.reset_async(seed, episode_id, **options))

    def step(
        self, action: SearchQAAction, timeout_s: float | None = None, **kwargs: Any
    ) -> SearchQAObservation:
        """As :meth:`step_async`, for who has no event loop."""
        return asyncio.run(self.step_async(action, timeout_s, **kwargs))

    @property
    def state(self) -> State:
        """The episode's id, as the client chose it, and how many messages it has played."""
        episode = self._env.episode
        return State(episode_id=self._episode_id, step_count=len(episode.turns) if episode else 0)


def server(max_concurrent_envs: int = 256, **settings: Any) -> FastAPI:
    """An app for uvicorn. ``settings`` are the arguments of :class:`SearchQAEnv`; all sessions share them.

    An episode lives in a session (``/ws``, the client's way). A plain POST has none: ``/reset`` shows a
    prompt, and ``/step`` is answered with 409. An unknown question is answered with 422.
    """
    sessions = Sessions(**settings)
    app: FastAPI = create_fastapi_app(
        lambda: SearchQAEnvironment(sessions.coroutine()),
        SearchQAAction,
        SearchQAObservation,
        max_concurrent_envs=max_concurrent_envs,
    )
    app.add_exception_handler(
        ResetNeeded, _refusing(409, "there is no episode: play in a session, as SearchQAClient does")
    )
    app.add_exception_handler(ValueError, _refusing(422))
    return app


def _refusing(status: int, reason: str = "") -> Callable[[Request, Exception], Response]:
    """Answers an error of the caller with a status and a line, where it would else be a traceback and 500."""

    def refuse(request: Request, problem: Exception) -> Response:
        return JSONResponse({"detail": reason or str(problem)}, status)

    return refuse


class SearchQAClient(EnvClient[SearchQAAction, SearchQAObservation, State]):
    """OpenEnv's client with the types of this environment; needs no model and no questions on its side."""

    def _step_payload(self, action: SearchQAAction) -> dict[str, Any]:
        return {"message": action.message}

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[SearchQAObservation]:
        ends = {"reward": payload.get("reward"), "done": payload.get("done", False)}
        return StepResult(SearchQAObservation(**payload["observation"], **ends), **ends)

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State(**payload)
