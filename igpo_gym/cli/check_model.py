"""``igpo-gym check model``: does a model fit a protocol?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from igpo_gym.cli.common import AsJson, console, explained, findings_table
from igpo_gym.errors import DataError, SpecError


def check_model(
    model: Annotated[str, typer.Argument(help="A packaged model, a hub name, a folder or a GGUF file.")],
    protocol: Annotated[str, typer.Option(help="The protocol that is played.")] = "tool_call",
    template: Annotated[
        Path | None,
        typer.Option(help="A file with the chat template to use in the place of the model's own."),
    ] = None,
    weights: Annotated[
        bool, typer.Option(help="Load the weights too, where they are there; else the tokenizer alone.")
    ] = True,
    device: Annotated[str, typer.Option(help="For the model.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Find out whether a model can score and be trained with IGPO: its template, tokens and beliefs.

    Examples:

      igpo-gym check model nano --protocol tags

      igpo-gym check model Qwen/Qwen3-4B --no-weights

      igpo-gym check model ./SmolLM2 --template training.jinja --json

    A scripted episode of three turns is played in the model's chat template. The exit status is 1 if anything
    is wrong. What needs the weights is not checked without them, and the table says so.
    """
    with explained():
        from igpo_gym.lm.loading import has_weights, load_reported, load_tokenizer
        from igpo_gym.protocols import resolve_protocol
        from igpo_gym.scorers.check_model import check_model as findings

        played, loaded, flaw = resolve_protocol(protocol), "without the weights", ""
        try:
            text = None if template is None else template.read_text(encoding="utf-8")
        except UnicodeDecodeError as problem:
            raise DataError(str(template), f"not UTF-8: {problem.reason}") from None
        with console.status(f"loading {escape(model)}"):
            tokenizer = load_tokenizer(model)
            if weights:
                try:
                    loaded, _, left_over = load_reported(model, device)
                    if left_over:
                        flaw = _homeless(left_over, type(loaded).__name__)
                except SpecError as problem:
                    loaded = str(problem)
                    flaw = loaded if has_weights(model) else ""
        if text is not None:
            tokenizer.chat_template = text
        found = findings(tokenizer, played, loaded, flaw)
    if as_json:
        console.print_json(data=[asdict(line) for line in found])
    else:
        console.print(findings_table(found, f"{escape(model)} with the protocol {played.name}"))
    raise typer.Exit(int(not found[-1].good))


def _homeless(tensors: list[str], model: str) -> str:
    """What is said of tensors of a checkpoint that its model has no place for."""
    number = f"{len(tensors)} tensors, such as" if len(tensors) > 1 else "a tensor,"
    return f"{model} has no place for {number} {tensors[0]}: the files are of another model"
