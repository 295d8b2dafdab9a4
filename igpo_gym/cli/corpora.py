"""``igpo-gym index`` and ``igpo-gym world``: corpora to search, and questions over them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from igpo_gym.cli.common import console, explained, plainly, progress
from igpo_gym.cli.options import option
from igpo_gym.config import with_signature
from igpo_gym.data.world.dials import WorldSettings, world_arguments
from igpo_gym.errors import DataError, SpecError

_DENSE = "Dense indexes"


def build_index(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="FILES... OUT",
            help="The files of the corpus, [b]-[/b] for standard input; last the folder of the index, where "
            "an older one is replaced.",
        ),
    ],
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Leave passages without text out, and count them.")
    ] = False,
    dense: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Make a dense index with this sentence-transformers encoder, a folder or a hub name, in the "
            "place of a BM25 index.",
            rich_help_panel=_DENSE,
        ),
    ] = None,
    query_prefix: Annotated[
        str | None,
        typer.Option(
            help="What stands before each query; by default what the model itself names.",
            rich_help_panel=_DENSE,
        ),
    ] = None,
    passage_prefix: Annotated[
        str | None,
        typer.Option(
            help="What stands before each passage; by default what the model itself names.",
            rich_help_panel=_DENSE,
        ),
    ] = None,
    faiss: Annotated[
        str,
        typer.Option(
            help="How vectors are searched: [b]flat[/b] (exact), [b]hnsw[/b] (fast, most memory), "
            "[b]ivfpq[/b] (least memory), or [b]auto[/b]: flat up to 200,000 passages, hnsw up to a million, "
            "else ivfpq.",
            rich_help_panel=_DENSE,
        ),
    ] = "auto",
    batch_size: Annotated[
        int, typer.Option(min=1, help="Passages encoded at a time.", rich_help_panel=_DENSE)
    ] = 32,
    device: Annotated[
        str, typer.Option(help="Where to encode: cpu, cuda, mps, or auto.", rich_help_panel=_DENSE)
    ] = "auto",
) -> None:
    """Build an index of a corpus, for search by words (BM25) or by meaning (--dense).

    The corpus may be JSON lines, a JSON array, tab-separated or parquet,
    plain, .gz, .zst, .bz2 or .xz, with the fields of Search-R1 and FlashRAG
    (id, contents), BEIR (_id, title, text), Wikipedia-DPR (id, text, title),
    or title and text alone; or HotpotQA's questions, for their contexts.
    What it is read as is said.

    Some encoders were trained with prefixes and are poor without: E5 with
    "query: " and "passage: "; BGE (English) with "Represent this sentence
    for searching relevant passages: " before queries, and nothing before
    passages. Those that name their own need no option.

    Examples:

      igpo-gym index build corpus.jsonl wiki-index

      igpo-gym index build part1.jsonl.gz part2.jsonl.gz wiki-index

      zcat corpus.jsonl.gz | igpo-gym index build - wiki-index

      igpo-gym index build psgs_w100.tsv wiki-dense --dense intfloat/e5-base-v2 --query-prefix "query: "
      --passage-prefix "passage: "

      igpo-gym rollout --search hybrid:bm25:wiki-index,dense:wiki-dense ...
    """
    from igpo_gym.search.corpus import located, read_corpus
    from igpo_gym.specs import named_paths
    from igpo_gym.storage import check_writable

    with explained():
        *files, out = places
        if not files:
            raise SpecError("name the files of the corpus, and then the folder of the index")
        if Path(out).is_file():
            raise SpecError(f"{out} is a file: name the folder of the index last")
        check_writable(Path(out), *map(Path, files), *named_paths(dense), folder=True)
        if dense is None and (faiss != "auto" or (query_prefix, passage_prefix) != (None, None)):
            raise SpecError("--faiss and the prefixes are for a dense index: name its encoder with --dense")
        with located(*files, skip_empty=skip_empty):
            passages = read_corpus(*files, skip_empty=skip_empty, tell=plainly)
            if dense is None:
                from igpo_gym.search.bm25 import BM25Index

                kind, count = "bm25", len(BM25Index.build_folder(passages, out, progress=True))
            else:
                from igpo_gym.search.dense import build_dense

                kind = "dense"
                count = build_dense(
                    passages,
                    out,
                    dense,
                    query_prefix=query_prefix,
                    passage_prefix=passage_prefix,
                    kind=faiss,
                    batch_size=batch_size,
                    device=device,
                    progress=True,
                    tell=plainly,
                )
    plainly(f"{count:,} passages indexed in {out}; search them with --search {kind}:{out}")


def show_index(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
) -> None:
    """Show what an index is: its kind and format, how many passages it has, its encoder, its files.

    Example:

      igpo-gym index show wiki-index
    """
    from igpo_gym.search.manifest import KINDS, MANIFEST

    with explained():
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            facts = {name: value for name, value in manifest.items() if name != "files"}
            if facts.get("kind") not in KINDS:
                raise ValueError
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            raise DataError(folder, f"no index: no {MANIFEST} of one that can be read") from None
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) else f"{value!r}" if "prefix" in name else str(value)
        table.add_row(escape(name.replace("_", " ")), escape(shown))
    sizes = {each.name: each.stat().st_size for each in sorted(folder.iterdir()) if each.is_file()}
    table.add_row("files", escape("\n".join(f"{size:>15,} bytes  {name}" for name, size in sizes.items())))
    console.print(table)


@with_signature(
    option(WorldSettings, each.name, each.annotation, each.default, None) for each in world_arguments()
)
def world(
    out: Annotated[Path, typer.Option(help="The folder for corpus.jsonl and questions.jsonl.")],
    **settings: Any,
) -> None:
    """Write a generated world to files: a corpus of invented facts, and questions over it.

    --shown and --miss are about the search, so they stand in the search that
    the command names at its end.

    Examples:

      igpo-gym world --documents 100000 --out world

      igpo-gym world --outdated 0.3 --unanswerable 0.2 --shown 2 --out hard

      igpo-gym index build world/corpus.jsonl world/index

      igpo-gym rollout --questions jsonl:world/questions.jsonl --search bm25:world/index ...
    """
    from igpo_gym.data.flaws import flawed_spec
    from igpo_gym.data.world import FILES, World, write_world

    with explained():
        made = World.of(**settings)
        there = [name for name in FILES if (out / name).exists()]
        if there:
            raise FileExistsError(f"{out} holds {' and '.join(there)} already; name another folder")
        written = write_world(out, made, progress)
    plainly(f"{written:,} documents in {out}/corpus.jsonl, {made.questions:,} questions in questions.jsonl")
    if made.flaws:
        plainly(f"search them with --search {flawed_spec(f'bm25:{out}/index', made.flaws)}")
