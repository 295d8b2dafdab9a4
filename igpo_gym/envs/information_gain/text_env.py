"""Environments of other libraries as Gymnasium's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym

from igpo_gym.envs.spaces import UnicodeText

if TYPE_CHECKING:
    _Env = gym.Env[Any, Any]
else:  # before Gymnasium 1.4 some of its classes take no parameters
    _Env = gym.Env


class TextEnv(_Env):
    """An object with ``reset`` and ``step`` as Gymnasium's, such as an environment of GEM, as a ``gym.Env``.

    Observations and actions are texts of any length.

    >>> class Echo:
    ...     def reset(self, seed=None):
    ...         return "Say something.", {}
    ...     def step(self, action):
    ...         return action, 1.0, True, False, {}
    >>> env = TextEnv(Echo())
    >>> env.reset(seed=1)[0], env.step("yes")[:3]
    ('Say something.', ('yes', 1.0, True))
    """

    def __init__(self, env: Any) -> None:
        self.inner = env
        """The object."""
        self.observation_space = UnicodeText()
        self.action_space = UnicodeText()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Reset the object; options are passed on where there are any."""
        super().reset(seed=seed)
        observation, info = self.inner.reset(seed=seed, **({"options": options} if options else {}))
        return observation, dict(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the object."""
        observation, reward, terminated, truncated, info = self.inner.step(action)
        return observation, float(reward), bool(terminated), bool(truncated), dict(info)

    def close(self) -> None:
        """Close the object, if it can be closed."""
        getattr(self.inner, "close", lambda: None)()

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not set yet
            raise AttributeError(name)
        return getattr(self.inner, name)
