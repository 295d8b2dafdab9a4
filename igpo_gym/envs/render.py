"""An episode as a person reads it: the dialogue, with a bar for the belief after each turn."""

from __future__ import annotations

import io
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from igpo_gym.episode import Answer, Belief, Episode, Turn
from igpo_gym.libraries import needs
from igpo_gym.terminal import Terminal

_BAR_WIDTH = 30

Picture: TypeAlias = "npt.NDArray[np.uint8]"
"""[height, width, 3], of any episode the same size."""

_COLUMNS, _ROWS, _FONT_SIZE = 100, 40, 14
_BACKGROUND, _INK = (250, 250, 250), (30, 30, 30)


class Screen(Terminal):
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
        messages = (segment.text.strip() for segment in episode.prompt)
        parts.append(Panel(Text("\n\n".join(filter(None, messages)))))
    else:
        parts.append(turn_panel(episode.turns[turn - 1], turn))
        if turn <= len(episode.rewards):  # an imported episode was paid nothing
            rewards = episode.rewards[turn - 1]
            terms = ", ".join(f"{name} {value:+.3f}" for name, value in rewards.items())
            parts.append(Text(f"reward {sum(rewards.values()):+.3f} ({terms})", style="dim"))
    if turn < len(episode.beliefs):
        read = not episode.is_unread(turn)
        bar = belief_bar(episode.beliefs[turn], episode.beliefs[turn - 1] if turn and read else None)
        parts.append(bar if read else bar.append(" (of the turn before: the scorer could not read this one)"))
    return Group(*parts)


def turn_panel(turn: Turn, number: int) -> RenderableType:
    """One message of the agent, with the environment's reply."""
    said = Text(turn.message.strip(), style="bold green" if isinstance(turn.action, Answer) else "cyan")
    body = Group(said, Text(turn.observation.strip())) if turn.observation else said
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


def drawn(episode: Episode, mode: str) -> str | Picture:
    """The dialogue in a render mode: "ansi" or "rgb_array"."""
    return picture(episode) if mode == "rgb_array" else ansi(episode)


def ansi(episode: Episode, width: int = 100) -> str:
    """The dialogue as a string with terminal colors."""
    return _text(episode, width, colored=True)


def picture(episode: Episode) -> Picture:
    """The end of the dialogue as an image, for libraries that want frames (videos, windows).

    Raises MissingExtraError without matplotlib, whose font it is.
    """
    with needs('render_mode="rgb_array"', "plots", "matplotlib", "PIL"):
        from matplotlib import get_data_path
        from PIL import Image, ImageDraw, ImageFont
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSansMono.ttf", _FONT_SIZE)
    lines = _text(episode, _COLUMNS, colored=False).splitlines()[-_ROWS:]
    advance, height = _FONT_SIZE * 0.6, _FONT_SIZE + 4
    image = Image.new("RGB", (round(advance * (_COLUMNS + 2)), height * (_ROWS + 1)), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        draw.text((advance, height * (row + 0.5)), line, fill=_INK, font=font)
    return np.asarray(image)


def _text(episode: Episode, width: int, colored: bool) -> str:
    console = Terminal(
        file=io.StringIO(), force_terminal=colored, width=width, color_system="standard" if colored else None
    )
    with console.capture() as capture:
        console.print(dialogue(episode))
    return capture.get()
