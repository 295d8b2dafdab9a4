"""Games of other libraries, where these are installed."""

from __future__ import annotations

from typing import Any

import pytest

from igpo_gym.envs.information_gain import InformationGain
from tests.conftest import MentionScorer, p


def test_a_game_of_gem() -> None:
    game = pytest.importorskip("gem.envs.game_env.guess_the_number", exc_type=ImportError)
    # GEM takes what stands in \boxed{}, and tells "lower" or "higher".
    env = InformationGain(game.GuessTheNumberEnv(max_turns=3), MentionScorer(), "game_number")
    prompt, info = env.reset(seed=1)
    number = str(env.get_wrapper_attr("game_number"))
    before = p(prompt.count(number))
    assert info["belief"] == pytest.approx(before)
    text = prompt
    for guess in ("\\boxed{1}", f"\\boxed{{{number}}}"):
        observation, reward, terminated, _, info = env.step(guess)
        text += guess + observation
        after = p(text.count(number))
        assert info["reward_terms"]["gain"] == pytest.approx(after - before)
        assert reward == pytest.approx(after - before + info["reward_terms"]["environment"])
        before = after
    assert terminated
    assert info["reward_terms"]["environment"] == 1.0


def test_a_game_of_textarena() -> None:
    textarena: Any = pytest.importorskip("textarena", exc_type=ImportError)

    class OnePlayer:
        """A game of TextArena for one player, as Gymnasium has it."""

        def __init__(self, name: str) -> None:
            self.game = textarena.make(name)

        def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
            self.game.reset(num_players=1, seed=seed)
            return self.told(), {"answers": self.game.state.game_state["game_number"]}

        def told(self) -> str:
            """What is new: TextArena shows the player's own words too."""
            return "\n".join(text for player, text, _ in self.game.get_observation()[1] if player != 0)

        def step(self, action: str) -> tuple[str | None, float, bool, bool, dict[str, Any]]:
            done, _ = self.game.step(action)
            rewards, _ = self.game.close() if done else ({0: 0.0}, {})
            return None if done else self.told(), float(rewards[0]), done, False, {}

    env = InformationGain(OnePlayer("GuessTheNumber-v0-raw"), MentionScorer())
    prompt, _ = env.reset(seed=3)
    assert env.episode is not None
    (number,) = env.episode.question.answers
    wrong = next(str(each) for each in range(1, 21) if str(each) != number)
    told, reward, *_ = env.step(f"[{wrong}]")
    text = f"{prompt}[{wrong}]{told}"
    assert reward == pytest.approx(p(text.count(number)) - p(prompt.count(number)))
    _, reward, terminated, _, info = env.step(f"[{number}]")
    assert terminated
    assert info["gain"] == 0.0  # it ends without an observation
    assert reward == info["reward_terms"]["environment"] == 1.0
