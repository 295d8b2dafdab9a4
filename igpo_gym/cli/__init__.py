"""The command line, a module for each family of commands. The tables below are all of it."""

from typing import Annotated

import typer

from igpo_gym import __version__
from igpo_gym.cli.lazy import Command, LazyGroup, add_commands

COMMANDS = {
    "play": Command(
        "igpo_gym.cli.play:play", "Play an episode in the terminal or in a browser, or watch one."
    ),
    "rollout": Command(
        "igpo_gym.cli.rollout:rollout", "Let an agent play many episodes, and record them.", resumed=True
    ),
    "train": Command(
        "igpo_gym.cli.train:train",
        "Train a language model to search and answer, with IGPO or a rival of it.",
        resumed=True,
    ),
    "rewards": Command(
        "igpo_gym.cli.rewards:rewards",
        "List the rewards: the presets, and the terms that they and your own sums are made of.",
    ),
    "relabel": Command(
        "igpo_gym.cli.relabel:relabel",
        "Tell what recorded or imported episodes would have been paid under any rewards.",
        resumed=True,
    ),
    "view": Command(
        "igpo_gym.cli.view:view",
        "Look at episodes: what each turn was paid, token by token and side by side.",
    ),
    "world": Command(
        "igpo_gym.cli.corpora:world",
        "Write a generated world to files: a corpus of invented facts, and questions over it.",
    ),
    "eval": Command(
        "igpo_gym.cli.evaluate:evaluate", "Measure how well an agent answers questions.", resumed=True
    ),
    "compare": Command(
        "igpo_gym.cli.compare:compare",
        "Tell which of two evaluations is better, by how much, and on which questions.",
    ),
    "import": Command(
        "igpo_gym.cli.transcripts:import_transcripts",
        "Read the transcripts of any search agent, and write them as records.",
    ),
    "show": Command(
        "igpo_gym.cli.transcripts:show_episodes",
        "Show recorded episodes in the terminal, with the belief after each turn.",
    ),
    "export": Command(
        "igpo_gym.cli.export:export",
        "Write recorded episodes as training data, with what each turn was worth.",
    ),
    "doctor": Command(
        "igpo_gym.cli.doctor:doctor",
        "Show what is installed and what is missing: versions, devices, extras, models, caches.",
    ),
}

GROUPS = {
    "index": (
        "Build search indexes, and look at them.",
        {
            "build": Command(
                "igpo_gym.cli.corpora:build_index",
                "Build an index of a corpus, for search by words (BM25) or by meaning (--dense).",
            ),
            "show": Command(
                "igpo_gym.cli.corpora:show_index",
                "Show what an index is: its kind and format, how many passages it has, its encoder, its "
                "files.",
            ),
        },
    ),
    "data": (
        "Sets of questions, and files for trainers.",
        {
            "list": Command(
                "igpo_gym.cli.data:list_sets",
                "List every set of questions: how it is named, its layout, its size and license, and who "
                "publishes it.",
            ),
            "show": Command(
                "igpo_gym.cli.data:show",
                "Show what was read from a file of questions, and what is odd in it.",
            ),
            "prepare": Command(
                "igpo_gym.cli.prepare:prepare_files", "Make training and validation files for a trainer."
            ),
        },
    ),
    "serve": (
        "Serve what is here to other programs, over HTTP.",
        {
            "search": Command(
                "igpo_gym.cli.serve:serve_search",
                "Serve a search index over HTTP, in Search-R1's protocol: for igpo-gym, Search-R1, verl, "
                "SkyRL, slime.",
            ),
            "beliefs": Command(
                "igpo_gym.cli.serve:serve_beliefs",
                "Serve a model's beliefs over HTTP: how likely are these answers after this transcript?",
            ),
        },
    ),
    "check": (
        "Find out whether what is there fits together.",
        {
            "model": Command(
                "igpo_gym.cli.check_model:check_model",
                "Find out whether a model can score and be trained with IGPO: its template, tokens and "
                "beliefs.",
            ),
            "scorer": Command(
                "igpo_gym.cli.check_scorer:check_scorer",
                "Find out whether a scorer is a fit judge of your questions, before you train with its "
                "beliefs.",
            ),
            "server": Command(
                "igpo_gym.cli.check_server:check_server",
                "Find out whether a server can be a scorer, and how good and costly its beliefs are.",
            ),
        },
    ),
    "bench": (
        "Compare reward shaping, each benchmark with a report.",
        {
            "credit": Command(
                "igpo_gym.cli.bench:credit",
                "Which reward pays the right turns? Compare variants where the useful turns are known.",
                resumed=True,
            ),
            "train": Command(
                "igpo_gym.cli.bench_training:bench_training",
                "Which reward trains best? Learning curves of rewards and estimators, over seeds.",
                resumed=True,
            ),
            "study": Command(
                "igpo_gym.cli.bench_study:bench_study",
                "Does information gain train better agents? The study of docs/study.md.",
                resumed=True,
            ),
        },
    ),
}

FIRST = f"""\
igpo-gym {__version__}: search question answering whose turns pay information gain. Three things to try:

  igpo-gym play                                                  you search, and see the belief move
  igpo-gym rollout --agent expert --limit 20 --out e.jsonl       an agent plays, and is recorded
  igpo-gym train runs/first --updates 5                          a small language model learns, on a CPU

igpo-gym --help lists all commands. igpo-gym doctor shows what is installed."""
"""What ``igpo-gym`` alone says."""

app = typer.Typer(
    cls=LazyGroup, invoke_without_command=True, rich_markup_mode="rich", pretty_exceptions_enable=False
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"igpo-gym {__version__}")
        raise typer.Exit


@app.callback()
def first(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Search question answering as Gymnasium environments whose step pays information gain."""
    if context.invoked_subcommand is None:
        typer.echo(FIRST)


add_commands(app, COMMANDS)
for _name, (_help, _commands) in GROUPS.items():
    _group = typer.Typer(cls=LazyGroup, no_args_is_help=True, help=_help)
    _group.callback()(lambda: None)
    add_commands(_group, _commands)
    app.add_typer(_group, name=_name)
