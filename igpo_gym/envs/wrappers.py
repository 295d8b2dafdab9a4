"""Wrappers: other views of the same environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv, VectorWrapper

if TYPE_CHECKING:
    _VectorWrapper = VectorWrapper[
        tuple[str, ...], Sequence[str], tuple[str, ...], Sequence[str], npt.NDArray[Any]
    ]
else:  # before Gymnasium 1.4 the class takes no parameters
    _VectorWrapper = VectorWrapper

Messages = Sequence[dict[str, str]]


def transcript(messages: Messages) -> str:
    """The whole transcript as one text; each message begins on a line of its own.

    >>> transcript([{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}])
    'Where?\\nThere.'
    """
    contents = [message["content"] for message in messages]
    return "".join(text if text.endswith("\n") else f"{text}\n" for text in contents[:-1]) + contents[-1]


def _messages(info: Mapping[str, Any]) -> Any:
    """The transcripts that ``info`` tells. Raises ValueError where it tells numbers alone."""
    if "messages" not in info:
        raise ValueError("a transcript needs info['messages']: make the environment with info='full'")
    return info["messages"]


class TranscriptObservation(gym.Wrapper[str, str, str, str], gym.utils.RecordConstructorArgs):
    """Makes the observation the whole transcript so far, the agent's own messages included.

    >>> import gymnasium as gym, igpo_gym
    >>> from igpo_gym.envs import TranscriptObservation
    >>> env = TranscriptObservation(gym.make("SearchQA-Outcome-v0"))
    >>> prompt, _ = env.reset(seed=0)
    >>> env.step("<search>river</search>")[0].startswith(prompt + "<search>river</search>")
    True
    """

    def __init__(self, env: gym.Env[str, str]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Reset; the transcript is the prompt."""
        _, info = self.env.reset(seed=seed, options=options)
        return transcript(_messages(info)), info

    def step(self, action: str) -> tuple[str, Any, bool, bool, dict[str, Any]]:
        """Step; the transcript has grown by the action and the reply."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return transcript(_messages(info)), reward, terminated, truncated, info


class VectorTranscriptObservation(_VectorWrapper):
    """:class:`TranscriptObservation` for the vector environment, ``infos["final_obs"]`` included.

    >>> import gymnasium as gym, igpo_gym
    >>> envs = VectorTranscriptObservation(gym.make_vec("SearchQA-Outcome-v0", num_envs=2))
    >>> prompts, _ = envs.reset(seed=0)
    >>> transcripts = envs.step(["<search>river</search>"] * 2)[0]
    >>> transcripts[1].startswith(prompts[1] + "<search>river</search>")
    True
    """

    def __init__(self, env: VectorEnv[tuple[str, ...], Sequence[str], npt.NDArray[Any]]) -> None:
        super().__init__(env)
        self._transcripts: list[str] = [""] * env.num_envs

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """Reset; the transcripts of the environments that began anew are their prompts."""
        _, infos = self.env.reset(seed=seed, options=options)
        return self._observe(infos), infos

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]:
        """Step; each transcript has grown, or is the prompt of the next episode."""
        _, rewards, terminations, truncations, infos = self.env.step(actions)
        for index in np.flatnonzero(infos.get("_final_obs", [])):
            infos["final_obs"][index] = transcript(_messages(infos["final_info"])[index])
        return self._observe(infos), rewards, terminations, truncations, infos

    def _observe(self, infos: dict[str, Any]) -> tuple[str, ...]:
        messages = _messages(infos)
        for index in np.flatnonzero(infos["_messages"]):
            self._transcripts[index] = transcript(messages[index])
        return tuple(self._transcripts)


NUMBERS = (
    *("turn", "belief", "belief_log_prob", "gain", "valid", "failed", "failed_turns", "reply_cut"),
    *("em", "f1", "cover_em", "tool_turns"),
)
"""The numbers in ``info`` that every reward has, see :func:`igpo_gym.envs.info.episode_info`."""


def numbers(info: Mapping[str, Any], names: Sequence[str] = NUMBERS) -> dict[str, float]:
    """The entries of ``info`` with these names as floats; nan for one that is not there.

    >>> numbers({"turn": 1, "valid": True, "messages": []}, ["turn", "valid", "f1"])
    {'turn': 1.0, 'valid': 1.0, 'f1': nan}
    """
    return {name: float(info.get(name, np.nan)) for name in names}


class NumericInfo(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Keeps of ``info`` the same numbers in every step, for libraries that stack it: Tianshou, Minari.

    ``names`` are the entries that are kept, by default :data:`NUMBERS`. One that a step does not have (a
    score before the end, say) is nan.

    >>> import gymnasium as gym, igpo_gym
    >>> env = NumericInfo(gym.make("SearchQA-Outcome-v0"), names=["turn", "f1"])
    >>> env.reset(seed=0)[1], env.step("<answer>Danzig</answer>")[-1]
    ({'turn': 0.0, 'f1': nan}, {'turn': 1.0, 'f1': 0.0})
    """

    def __init__(self, env: gym.Env[Any, Any], names: Sequence[str] = NUMBERS) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, names=names)
        gym.Wrapper.__init__(self, env)
        self._names = tuple(names)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset; ``info`` has numbers alone."""
        observation, info = self.env.reset(seed=seed, options=options)
        return observation, dict(numbers(info, self._names))

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step; ``info`` has numbers alone."""
        *rest, info = self.env.step(action)
        return (*rest, dict(numbers(info, self._names)))
