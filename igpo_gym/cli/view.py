"""``igpo-gym view``: recorded episodes as one page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from igpo_gym.cli.common import console, explained, tell_doubled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from igpo_gym.viewer.data import TokenNames
    from igpo_gym.viewer.runs import ShownRun


def view(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Recorded episodes; what [b]igpo-gym relabel[/b] wrote about one stands behind it.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The page to write; without it a page is written and opened.")
    ] = None,
    advantages: Annotated[
        str, typer.Option(help="How turns are compared, as for [b]igpo-gym train[/b].")
    ] = "igpo-separate",
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="The model whose tokenizer spells the gold answers' tokens, a folder or hub name. By "
            "default that of the packaged model where it was the scorer; else the tokens are numbered."
        ),
    ] = None,
    start: Annotated[int, typer.Option(min=0, help="How many episodes of each file are left out.")] = 0,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="How many episodes of each file to show, at most all.")
    ] = None,
) -> None:
    """Look at episodes: what each turn was paid, token by token and side by side.

    The page is one file that asks for nothing else. It has a list to search, filter and sort, every episode
    with its belief curve, rewards and advantages, the attempts at a question side by side, and, of several
    files, one episode under two rewards and two runs on the same questions.

    Examples:

      igpo-gym view groups.jsonl

      igpo-gym view groups.jsonl priced.jsonl --out rewards.html

      igpo-gym view before.jsonl after.jsonl --out compared.html
    """
    import tempfile
    import webbrowser

    from igpo_gym.specs import named_paths
    from igpo_gym.storage import check_writable
    from igpo_gym.viewer.page import write_page
    from igpo_gym.viewer.runs import read_runs

    with explained():
        if out is not None:
            check_writable(out, *files, *named_paths(tokenizer))
        with console.status("reading episodes"):
            runs = read_runs(files, start, episodes)
            for file in files:
                tell_doubled(file, start, episodes)
            names = _token_names(runs, tokenizer)
        target = out or Path(tempfile.mkdtemp(prefix="igpo-gym-view-")) / f"{files[0].stem}.html"
        number = write_page(target, runs, advantages, names)
    console.print(f"{number} episodes: {target}", markup=False, soft_wrap=True)
    if out is None and not webbrowser.open(target.resolve().as_uri()):
        console.print("no browser was found; open the page yourself", markup=False)


def _token_names(runs: Sequence[ShownRun], tokenizer: str | None) -> TokenNames | None:
    """What spells the tokens of gold answers, if that is known."""
    by_nano = all(each.settings.get("scorer") == "nano" for run in runs for each in run.episodes)
    spells = tokenizer or ("nano" if by_nano else None)
    if spells is None:
        return None
    from igpo_gym.lm.framing import Framing
    from igpo_gym.lm.loading import load_tokenizer

    framing = Framing(load_tokenizer(spells))
    return lambda answer: [framing.token_text(number) for number in framing.text_ids(answer)]
