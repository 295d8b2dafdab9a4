"""The wrapper for one environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.error import ResetNeeded

from igpo_gym.envs.information_gain.text_env import TextEnv
from igpo_gym.envs.information_gain.turns import Play, check_same, gold_answers, told_info
from igpo_gym.envs.information_gain.wrapper import GainWrapper
from igpo_gym.episode import EndReason, Episode

if TYPE_CHECKING:
    _Wrapper = gym.Wrapper[Any, Any, Any, Any]
else:  # before Gymnasium 1.4 some of its classes take no parameters
    _Wrapper = gym.Wrapper


class InformationGain(GainWrapper, _Wrapper, gym.utils.RecordConstructorArgs):
    """Pays each step of any environment of texts how much it raised a model's probability of the answer.

    What the agent is asked and told becomes a transcript, and the reward of a step the change of the belief
    in the gold answers that it brought. Every step is paid, the last one too, so that an episode's gains sum
    to the whole change; a step that ends without an observation is paid none (a potential, ``shaping``, is
    closed at the end as in a search environment). ``info`` has ``belief``,
    ``gain``, ``reward_terms`` and at the end ``end_reason`` in addition; :attr:`episode` is what was played,
    and ``split(env.episode, env.reward)`` its gains and outcome. The gold answers are not shown.

    Args:
        env: an environment, or an object with ``reset`` and ``step`` like one (see :class:`TextEnv`).
        scorer: whose belief it is, an object or a spec such as ``"nano"``, a folder, a server's URL.
        answers: where the gold answers are: an entry of ``info`` after a reset, or else an attribute of the
            environment; a list of texts; or a function of the environment and ``info``.
        reward: terms that need no search: ``gain``, ``log-gain``, ``new-best``, ``shaping``, sums of such.
        mode: "add" the environment's own reward, which is then the outcome, or "replace" it.
        reference: the frozen model that ``teacher-gain`` needs.
        probe: what is asked behind each state.
        observation_text: from an observation to a text, where it is none.
        action_text: from an action to a text, where it is none.

    A transcript that grows longer than the scorer reads truncates the episode. When the scorer fails,
    ``step`` raises ScoringError after the environment has moved: call it again with the same action, and the
    scorer is asked anew while the environment is not.

    >>> from igpo_gym.episode import Belief
    >>> class Mentions:  # a model that believes what it has read
    ...     def score(self, requests):
    ...         told = ["".join(segment.text for segment in each.segments) for each in requests]
    ...         known = [each.answers[0] in text for each, text in zip(requests, told)]
    ...         return [Belief((-1.0 if each else -3.0,)) for each in known]
    >>> class Oracle:
    ...     def reset(self, seed=None):
    ...         return "What is it?", {"answers": "a pear"}
    ...     def step(self, action):
    ...         return "It is a pear.", 0.0, False, True, {}
    >>> env = InformationGain(Oracle(), scorer=Mentions(), reward="log-gain")
    >>> _ = env.reset(seed=0)
    >>> _, reward, *_, info = env.step("Tell me.")
    >>> reward, info["end_reason"]
    (2.0, 'turns exhausted')

    Raises SpecError for a reward that needs more than beliefs or has an outcome of its own, TypeError for
    observations that are no texts, and from ``reset`` ValueError where no answers are found.
    """

    _ends_too_long = True

    def _wrap(self, env: Any, told: dict[str, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, **told)
        gym.Wrapper.__init__(self, env if isinstance(env, gym.Env) else TextEnv(env))
        self.episode: Episode | None = None
        """The running, or just ended, episode."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset the environment, and ask for the first belief."""
        self.episode = self._owed = None
        observation, info = self.env.reset(seed=seed, options=options)
        gold = gold_answers(self._answers, self.env, info, self.env.get_wrapper_attr)
        episode = self._turns.opened(observation, gold, f"episode {self._number}")
        self._turns.step([], [episode])
        self.episode = episode
        self._number += 1
        return observation, {**info, **told_info(episode)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step the environment, and price what it told."""
        if self.episode is None or self.episode.done:
            raise ResetNeeded("call reset() before step(): there is no running episode")
        if self._owed is None:
            self._turns.action_text(action)  # raises before the environment moves
            self._owed = action, self.env.step(action)
        asked, (observation, paid, terminated, truncated, info) = self._owed
        check_same(asked, action)
        play = Play(self.episode, action, observation, float(paid), bool(terminated), bool(truncated))
        (reward,) = self._turns.step([play])
        self._owed = None
        too_long = self.episode.end is EndReason.CONTEXT_EXHAUSTED
        told = {**info, **told_info(self.episode)}
        return observation, reward, play.terminated, play.truncated or too_long, told
