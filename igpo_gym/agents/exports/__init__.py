"""Recorded episodes as training data of other programs: the best of them, with what each turn was worth.

A format is a file of this package and a line of ``FORMATS``. What can be named in filters is in
:mod:`igpo_gym.agents.exports.values`; docs/export.md shows all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from igpo_gym.agents.exports.dpo import DPO
from igpo_gym.agents.exports.filters import UnknownError
from igpo_gym.agents.exports.hf import HF
from igpo_gym.agents.exports.kto import KTO
from igpo_gym.agents.exports.minari import MINARI
from igpo_gym.agents.exports.rows import Format, Written
from igpo_gym.agents.exports.selection import Chosen, Selection
from igpo_gym.agents.exports.sft import SFT
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.agents.exports.values import NoOutcomeError, UnreadError
from igpo_gym.agents.exports.verl import VERL
from igpo_gym.agents.training.estimators import DEFAULT, Estimator
from igpo_gym.errors import SpecError, choose
from igpo_gym.specs import named_paths
from igpo_gym.storage import check_new, check_writable

__all__ = ["FORMATS", "Exported", "Format", "export"]

FORMATS: Mapping[str, Format] = {
    "sft": SFT,
    "dpo": DPO,
    "kto": KTO,
    "verl": VERL,
    "hf": HF,
    "minari": MINARI,
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote."""

    rows: int
    what: str
    """What a row is, in the plural."""
    episodes: int
    """How many episodes were chosen."""
    unlike: int
    """Rows of texts that the model's tokenizer reads otherwise than the agent wrote them."""
    joined: int
    """Turns that were left out: the tokenizer joins the end of their past with their beginning."""
    unread: int
    """Episodes and turns that filters left out, since the scorer could not read what they go by."""
    aborted: int
    """Episodes and turns that filters left out, since they go by an outcome, which an episode that was
    aborted, or has not ended, does not have."""


def export(
    records: str | Path,
    out: str | Path,
    form: str,
    *,
    tokenizer: str | Path | None = None,
    where: str | None = None,
    best: str | None = None,
    top: str | None = None,
    turns: str | None = None,
    advantages: str | Estimator = DEFAULT,
) -> Exported:
    """Write episodes of a file of records as training data, whole or not at all.

    Args:
        records: what ``igpo-gym rollout``, ``import`` or ``relabel --records`` wrote.
        out: the file, or for ``hf`` and ``minari`` the folder; a file that is there is replaced.
        form: one of ``FORMATS``.
        tokenizer: the model that is trained, for the formats that have a use for it.
        where: which episodes, such as ``"f1 == 1 and searches <= 3"``.
        best: how many of each question's attempts, by what: ``"1 by return"``.
        top: which share of all that is left, by what: ``"0.2 by gain"``.
        turns: which turns are trained on, such as ``"gain >= 0"``.
        advantages: the estimator that makes the advantages of turns from what they were paid.

    Raises SpecError for what does not fit and for an export with nothing in it, ValueError where ``out`` is
    what is read, DataError for what is no record, MissingExtraError, and FileExistsError for a folder that
    holds something.
    """
    records, out = Path(records), Path(out)
    chosen = choose(FORMATS, form, "format of exports")
    if tokenizer is not None and not chosen.tokenizer:
        raise SpecError(f"--tokenizer: the format {form} writes no tokens; leave it out")
    selection = Selection.read(where, best, top, turns, advantages)
    if chosen.folder:
        check_new(out)
    read = [] if tokenizer is None else named_paths(str(tokenizer))
    check_writable(out, records, *read, folder=chosen.folder)
    tokens = None if tokenizer is None else Tokens.of(tokenizer)
    count = 0
    unknown = Counter[type[UnknownError]]()

    def left_out(problem: UnknownError) -> None:
        unknown[type(problem)] += 1

    def counted(episodes: Iterable[Chosen]) -> Iterator[Chosen]:
        nonlocal count
        for episode in episodes:
            count += 1
            yield episode

    written: Written = chosen.write(counted(selection.of(records, left_out)), out, tokens)
    return Exported(
        written.rows,
        chosen.rows,
        count,
        written.unlike,
        written.joined,
        unread=unknown[UnreadError],
        aborted=unknown[NoOutcomeError],
    )
