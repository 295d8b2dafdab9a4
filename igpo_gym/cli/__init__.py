"""The command line, a module for each family of commands. The table below is all of it."""

import typer

from igpo_gym.cli.corpora import build_index, world
from igpo_gym.cli.evaluate import evaluate
from igpo_gym.cli.play import play
from igpo_gym.cli.rewards import reprice, rewards
from igpo_gym.cli.rollout import rollout

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Search question answering as Gymnasium environments whose step pays information gain.",
)
for command in (play, rollout, rewards, reprice, world):
    app.command()(command)
app.command("eval")(evaluate)

index_app = typer.Typer(no_args_is_help=True, help="Build search indexes.")
index_app.command("build")(build_index)
app.add_typer(index_app, name="index")
