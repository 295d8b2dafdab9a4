"""An episode as a person reads it: the dialogue, with a bar for the belief after each turn."""

from __future__ import annotations

import io

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from igpo_gym.episode import Answer, Belief, Episode, Turn
from igpo_gym.text import printable

_BAR_WIDTH = 30


class Screen(Console):
    """The terminal. One that was closed is an OSError, and does not end the program as it does with rich."""

    def on_broken_pipe(self) -> None:
        """Let the BrokenPipeError that is being handled go on."""
        raise


def dialogue(episode: Episode) -> RenderableType:
    """The whole episode. It shows the transcript, and nothing of the gold answer."""
    return Group(*(moment(episode, turn) for turn in range(len(episode.turns) + 1)))


def moment(episode: Episode, turn: int) -> RenderableType:
    """What turn ``turn`` added: the message, the reply, the reward and the belief (0: the prompt)."""
    parts: list[RenderableType] = []
    if turn == 0:
        parts.append(Panel(Text(printable(episode.prompt_text.strip()))))
    else:
        parts.append(turn_panel(episode.turns[turn - 1], turn))
        if turn <= len(episode.rewards):  # an imported episode was paid nothing
            rewards = episode.rewards[turn - 1]
            terms = ", ".join(f"{name} {value:+.3f}" for name, value in rewards.items())
            parts.append(Text(f"reward {sum(rewards.values()):+.3f} ({terms})", style="dim"))
    if turn < len(episode.beliefs):
        parts.append(belief_bar(episode.beliefs[turn], episode.beliefs[turn - 1] if turn else None))
    return Group(*parts)


def turn_panel(turn: Turn, number: int) -> RenderableType:
    """One message of the agent, with the environment's reply."""
    said = Text(
        printable(turn.message.strip()), style="bold green" if isinstance(turn.action, Answer) else "cyan"
    )
    body = Group(said, Text(printable(turn.observation.strip()))) if turn.observation else said
    return Panel(body, title=f"turn {number}", title_align="left")


def belief_bar(belief: Belief, before: Belief | None = None) -> Text:
    """The belief in the gold answer as a bar, with its change."""
    filled = round(belief.prob * _BAR_WIDTH)
    bar = Text("belief ").append("█" * filled, style="green").append("░" * (_BAR_WIDTH - filled), style="dim")
    bar.append(f" {belief.prob:.3f}")
    if before is not None:
        gain = belief.prob - before.prob
        bar.append(f" ({gain:+.3f})", style="green" if gain > 0 else "red" if gain < 0 else "dim")
    return bar


def ansi(episode: Episode, width: int = 100) -> str:
    """The dialogue as a string with terminal colors."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system="standard")
    with console.capture() as capture:
        console.print(dialogue(episode))
    return capture.get()
