"""``igpo-gym export``: recorded episodes as training data of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from igpo_gym.cli.common import console, explained, tell_doubled


def export(
    file: Annotated[
        Path,
        typer.Argument(help="Records, as rollout, import and [b]relabel --records[/b] write them."),
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="[b]sft[/b], [b]dpo[/b], [b]kto[/b] (JSON lines, for TRL and others), [b]verl[/b] "
            "(parquet), [b]hf[/b] (a folder for datasets), [b]minari[/b].",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The file to write, or for hf and minari the folder; a file is replaced.")
    ],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="The model that will be trained: sft and hf have token ids and labels, dpo and kto "
            "its texts."
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help='Which episodes: [b]"f1 == 1 and searches <= 3"[/b].')
    ] = None,
    best: Annotated[
        str | None,
        typer.Option(help='Of each question\'s attempts so many, by what: [b]"1 by return"[/b].'),
    ] = None,
    top: Annotated[
        str | None, typer.Option(help='Of all that are left this share, by what: [b]"0.2 by gain"[/b].')
    ] = None,
    turns: Annotated[
        str | None,
        typer.Option(help='Which turns are trained on: [b]"gain >= 0"[/b]. Others stay as context.'),
    ] = None,
    advantages: Annotated[
        str,
        typer.Option(help="How turns are compared, as for [b]igpo-gym train[/b]: all episodes of the file."),
    ] = "igpo-separate",
) -> None:
    """Write recorded episodes as training data, with what each turn was worth.

    Filters are comparisons of names with values, joined by and, or, not, in; docs/export.md lists the names,
    and a wrong one is answered with all of them.

    Examples:

      igpo-gym export priced.jsonl --format sft --tokenizer MODEL --where "f1 == 1" --out sft.jsonl

      igpo-gym export priced.jsonl --format dpo --tokenizer MODEL --out pairs.jsonl

      igpo-gym export priced.jsonl --format hf --top "0.2 by gain" --out folder
    """
    from igpo_gym.agents.exports import export as write

    with explained():
        made = write(
            file,
            out,
            form,
            tokenizer=tokenizer,
            where=where,
            best=best,
            top=top,
            turns=turns,
            advantages=advantages,
        )
        tell_doubled(file)
    console.print(
        f"{made.rows} {made.what}, of {made.episodes} chosen episodes: {out}", markup=False, soft_wrap=True
    )
    if made.unread:
        console.print(
            f"{made.unread} episodes or turns are left out: they are longer than the scorer reads, so that "
            "they have no value to go by"
        )
    if made.aborted:
        console.print(
            f"{made.aborted} episodes or turns are left out: they were aborted, so that they have no outcome "
            "to go by"
        )
    if made.joined:
        console.print(
            f"{made.joined} turns are left out: {tokenizer} joins the end of their past to their start, "
            "and whoever tokenizes texts would train on what the environment wrote; --format sft has them",
            markup=False,
            soft_wrap=True,
        )
    if made.unlike:
        console.print(
            f"{made.unlike} of them are tokenized otherwise by {tokenizer} than the agent wrote them, since "
            "they are texts; --format sft keeps the ids",
            markup=False,
            soft_wrap=True,
        )
