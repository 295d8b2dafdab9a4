"""``hf``: a folder for ``datasets.load_from_disk``, an episode a row, with all that was measured of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from igpo_gym.agents.exports.rows import NO_TURN, Format, Row, Written, named
from igpo_gym.agents.exports.selection import Chosen
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.data.scores import METRICS, final_score
from igpo_gym.errors import SpecError
from igpo_gym.libraries import needs
from igpo_gym.storage import written_whole
from igpo_gym.text import well_formed


def _row(chosen: Chosen, tokens: Tokens | None) -> Row:
    episode, split = chosen.episode, chosen.split
    segments = [
        {"author": each.author, "role": each.role, "text": well_formed(each.text)}
        for each in episode.segments
    ]
    gains = [] if split is None else [*split.gains, None][: split.turns]
    return {
        **named(chosen),
        "question": well_formed(episode.question.text),
        "answers": [well_formed(answer) for answer in episode.question.answers],
        "prediction": None if episode.prediction is None else well_formed(episode.prediction),
        "end": str(episode.end or "running"),
        **{name: final_score(metric, episode) for name, metric in METRICS.items()},
        "segments": segments,
        "rewards": episode.turn_rewards,
        "gains": gains,
        "outcome": split and split.outcome,
        "advantages": list(chosen.advantages or ()),
        "beliefs": [belief.prob for belief in episode.beliefs],
        "kept": list(chosen.kept),
        **({} if tokens is None else tokens.row(chosen)),
    }


def write(chosen: Iterable[Chosen], out: Path, tokens: Tokens | None) -> Written:
    """Save the rows with ``datasets``; with ``tokens`` they have the columns of ``sft`` as well."""
    with needs("writing data sets for datasets", "data", "datasets"):
        from datasets import Dataset
        from datasets.utils.logging import disable_progress_bar
    rows = [_row(each, tokens) for each in chosen if any(each.kept)]
    if not rows:
        raise SpecError(NO_TURN)
    disable_progress_bar()
    with written_whole(out) as folder:
        Dataset.from_list(rows).save_to_disk(folder)
    return Written(len(rows))


HF = Format(write, "episodes", folder=True, tokenizer=True)
