"""``igpo-gym index build`` and ``igpo-gym world``: corpora to search, and questions over them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from igpo_gym.cli.common import console, explained, progress


def build_index(
    file: Annotated[Path, typer.Argument(help="JSONL: id, contents (Search-R1) or _id, title, text (BEIR).")],
    out: Annotated[Path, typer.Argument(help="The folder of the index; one that is there is replaced.")],
) -> None:
    """Build a BM25 index of a corpus.

    Example:

      igpo-gym index build corpus.jsonl wiki-index

      igpo-gym rollout --search bm25:wiki-index --questions jsonl:questions.jsonl ...
    """
    from igpo_gym.search.bm25 import BM25Index
    from igpo_gym.search.corpus import read_corpus

    with explained():
        index = BM25Index.build_folder(read_corpus(file), out, progress=True)
    console.print(
        f"{len(index):,} passages indexed in {out}; search them with --search bm25:{out}", markup=False
    )


def world(
    out: Annotated[Path, typer.Option(help="The folder for corpus.jsonl and questions.jsonl.")],
    documents: Annotated[int, typer.Option(help="How many documents, from 40 to ten million.")] = 500,
    questions: Annotated[int, typer.Option(help="How many questions.")] = 500,
    hops: Annotated[str, typer.Option(help="Facts a question chains: a number or a range, 1 to 4.")] = "1-3",
    coupling: Annotated[float, typer.Option(help="How much a hop says about later ones, 0 to 1.")] = 0.8,
    split: Annotated[str, typer.Option(help="train, validation or test: they share no names.")] = "train",
    seed: Annotated[int, typer.Option(help="Another seed is another world.")] = 0,
) -> None:
    """Write a generated world to files: a corpus of invented facts, and questions over it.

    Examples:

      igpo-gym world --documents 100000 --out world

      igpo-gym index build world/corpus.jsonl world/index

      igpo-gym rollout --questions jsonl:world/questions.jsonl --search bm25:world/index ...
    """
    from igpo_gym.data.world import World, read_hops, write_world

    with explained():
        made = World(documents, questions, read_hops(hops), coupling, seed, split)
        write_world(out, made, progress)
    console.print(
        f"{documents:,} documents in {out}/corpus.jsonl, {questions:,} questions in questions.jsonl"
    )
