"""``igpo-gym check server``: whether a server can be a scorer, and how good its beliefs are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from igpo_gym.cli.common import console, explained, findings_table
from igpo_gym.errors import SpecError, choose
from igpo_gym.text import without_credentials

if TYPE_CHECKING:
    from igpo_gym.scorers.interface import AnswerScorer


def check_server(
    url: Annotated[
        str, typer.Argument(help="The server's, as --scorer takes it: http://host:8000/v1, options behind #.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The same model, on this machine: a folder or a hub name; its tokenizer is used."),
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="What the server computes in: float32, bfloat16 or float16.")
    ] = "bfloat16",
    device: Annotated[str, typer.Option(help="For the model on this machine.")] = "auto",
) -> None:
    """Find out whether a server can be a scorer, and how good and costly its beliefs are.

    Examples:

      vllm serve Qwen/Qwen2.5-0.5B-Instruct --port 8000

      igpo-gym check server http://127.0.0.1:8000

      igpo-gym check server http://127.0.0.1:8000 --model Qwen/Qwen2.5-0.5B-Instruct

      igpo-gym check server "http://127.0.0.1:8000#timeout=600"  # seconds, for a slow one

    Beliefs after every turn of a few episodes are asked for in several orders, compared with those of the
    same model here, and at the end of the server's context. The exit status is 1 if anything is wrong.
    """
    with explained():
        from igpo_gym.scorers import resolve_scorer
        from igpo_gym.scorers.check_server import TOLERANCE
        from igpo_gym.scorers.check_server import check_server as findings
        from igpo_gym.scorers.remote import RemoteScorer
        from igpo_gym.specs import Spec

        choose(TOLERANCE, dtype, "dtype")
        spec = Spec.parse(url)
        if not spec.place.lower().startswith(("http://", "https://")):
            raise SpecError(
                f"{without_credentials(url)!r} is no server; give its URL, such as http://127.0.0.1:8000"
            )
        options = {"tokenizer": model, **spec.options} if model else spec.options
        scorer = resolve_scorer(str(Spec(spec.place, options)))
        assert isinstance(scorer, RemoteScorer)
        found = list(findings(scorer, _local(model, device, dtype), dtype))
        console.print(findings_table(found))
    raise typer.Exit(int(any(each.good is False for each in found)))


def _local(model: str | None, device: str, dtype: str) -> AnswerScorer | None:
    if model is None:
        return None
    import torch

    from igpo_gym.scorers.local import TransformersScorer

    return TransformersScorer.load(model, device, getattr(torch, dtype))
