"""GEM (``gem-llm``): the environment as a ``gem.Env``.

>>> import gem, igpo_gym.adapters.gem                                        # doctest: +SKIP
>>> env = gem.make("qa:SearchQA-IGPO-v0", seed=0)                            # doctest: +SKIP

Importing the module registers ``qa:`` and the name of every text environment of this package. GEM's vector
environments, observation wrappers and its trainers' per-turn rewards work as with GEM's own environments.
"""

from __future__ import annotations

from typing import Any

import gymnasium

from igpo_gym.adapters.session import shared_sessions
from igpo_gym.libraries import needs

with needs("igpo_gym.adapters.gem", "gem", "gem"):
    import gem

ENVIRONMENTS = ("SearchQA-v0", "SearchQA-IGPO-v0", "SearchQA-Outcome-v0")


class SearchQA(gem.Env):
    """One episode at a time; observations, rewards, ends and ``info`` are those of :class:`SearchQAEnv`.

    ``seed`` seeds the first reset, where that brings no seed of its own. ``settings`` are the arguments of
    :class:`SearchQAEnv`; environments of equal settings share their questions, index and scorer.
    """

    def __init__(self, seed: int | None = None, **settings: Any) -> None:
        super().__init__()
        self._settings = settings
        self._env = shared_sessions(**settings)()
        self._seed = self._first_seed = seed

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        """Begin an episode; the observation is the prompt."""
        told = self._env.reset(seed=self._seed if seed is None else seed)
        self._seed = None  # only now: the seed of a reset that failed is not taken
        return told

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Play one message; the observation is the reply."""
        return self._env.step(action)

    def sample_random_action(self) -> str:
        """A random text, hardly ever a valid message."""
        return self._env.action_space.sample()

    def spawn(self, same_state: bool = False, **kwargs: Any) -> SearchQA:
        """Another environment of these settings and this seed, changed by ``kwargs``.

        With ``same_state`` it is at the same point: the same episode, and the same questions to come.
        """
        child = SearchQA(**{"seed": self._first_seed, **self._settings, **kwargs})
        if same_state:
            fork, new = self._env.fork(), child._env
            fork.config, fork.engine, fork.questions = new.config, new.engine, new.questions
            child._env, child._seed = fork, self._seed
        return child


for _name in ENVIRONMENTS:
    gem.register(f"qa:{_name}", SearchQA, **gymnasium.spec(_name).kwargs)
