"""``minari``: a data set of Minari, of texts; its spaces are Gymnasium's, of the characters that occur."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gymnasium.spaces import Text

from igpo_gym.agents.exports.rows import Format, Written, refuse_left_out
from igpo_gym.agents.exports.selection import Chosen
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.errors import SpecError
from igpo_gym.libraries import needs
from igpo_gym.storage import written_whole
from igpo_gym.text import well_formed

_NAME = re.compile(r"[-_\w]+-v\d+")
"""How Minari's data sets are named."""


def text_space(texts: Iterable[str]) -> Text:
    """The smallest space of texts that holds all of these.

    >>> space = text_space(["Danzig", "Wien", ""])
    >>> space.max_length, space.characters, "Graz" in space, "Danzig!" in space
    (6, 'DWaeginz', False, False)
    """
    told = list(texts)
    characters = "".join(sorted(set().union(*told))) or " "
    return Text(max_length=max(1, *map(len, told)), min_length=0, charset=characters)


def _buffer(chosen: Chosen) -> dict[str, Any]:
    """An episode as what was observed, T + 1 texts, and what was done."""
    episode = chosen.episode
    if not episode.rewards:
        raise SpecError(f"{chosen.place}: minari needs rewards; igpo-gym relabel --records pays them")
    steps = range(1, len(episode.turns) + 1)
    return {
        "observations": [
            well_formed(text) for text in (episode.prompt_text, *(turn.observation for turn in episode.turns))
        ],
        "actions": [well_formed(turn.message) for turn in episode.turns],
        "rewards": list(map(float, episode.turn_rewards)),
        "terminations": [episode.terminated and step == len(steps) for step in steps],
        "truncations": [episode.truncated and step == len(steps) for step in steps],
    }


def write(chosen: Iterable[Chosen], out: Path, tokens: Tokens | None) -> Written:
    """Write ``OUT/data``, which Minari loads by the folder, or by name from the folder above as its root."""
    with needs("writing data sets for Minari", "minari", "minari"):
        from minari.data_collector.episode_buffer import EpisodeBuffer
        from minari.dataset.minari_storage import MinariStorage
    if not _NAME.fullmatch(out.name):
        raise SpecError(f"--out {out.name!r}: a data set of Minari is a folder named such as searchqa-v0")
    buffers = []
    for each in chosen:
        refuse_left_out(each, "a data set of Minari", "it holds whole episodes; leave --turns out")
        buffers.append(_buffer(each))
    with written_whole(out) as folder:
        storage = MinariStorage.new(
            folder.resolve() / "data",
            observation_space=text_space(text for each in buffers for text in each["observations"]),
            action_space=text_space(text for each in buffers for text in each["actions"]),
            data_format="arrow",
        )
        storage.update_metadata({"dataset_id": out.name, "minari_version": _version()})
        storage.update_episodes([EpisodeBuffer(id=place, **each) for place, each in enumerate(buffers)])
    return Written(len(buffers))


def _version() -> str:
    from importlib.metadata import version

    return version("minari")


MINARI = Format(write, "episodes", folder=True)
