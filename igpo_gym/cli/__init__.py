"""The command line, a module for each family of commands. The table below is all of it."""

import typer

from igpo_gym.cli.bench import credit
from igpo_gym.cli.bench_study import bench_study
from igpo_gym.cli.bench_training import bench_training
from igpo_gym.cli.check_model import check_model
from igpo_gym.cli.check_server import check_server
from igpo_gym.cli.compare import compare
from igpo_gym.cli.corpora import build_index, show_index, world
from igpo_gym.cli.data import list_sets, show
from igpo_gym.cli.evaluate import evaluate
from igpo_gym.cli.play import play
from igpo_gym.cli.prepare import prepare_files
from igpo_gym.cli.rewards import relabel, rewards
from igpo_gym.cli.rollout import rollout
from igpo_gym.cli.serve import serve_search
from igpo_gym.cli.train import train
from igpo_gym.cli.transcripts import import_transcripts, show_episodes
from igpo_gym.cli.view import view

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Search question answering as Gymnasium environments whose step pays information gain.",
)
for command in (play, rollout, train, rewards, relabel, view, world):
    app.command()(command)
app.command("eval")(evaluate)
app.command()(compare)
app.command("import")(import_transcripts)
app.command("show")(show_episodes)

index_app = typer.Typer(no_args_is_help=True, help="Build search indexes, and look at them.")
index_app.command("build")(build_index)
index_app.command("show")(show_index)
app.add_typer(index_app, name="index")

data_app = typer.Typer(no_args_is_help=True, help="Sets of questions, and files for trainers.")
data_app.command("list")(list_sets)
data_app.command("show")(show)
data_app.command("prepare")(prepare_files)
app.add_typer(data_app, name="data")

serve_app = typer.Typer(no_args_is_help=True, help="Serve what is here to other programs, over HTTP.")
serve_app.callback()(lambda: None)
serve_app.command("search")(serve_search)
app.add_typer(serve_app, name="serve")

check_app = typer.Typer(no_args_is_help=True, help="Find out whether what is there fits together.")
check_app.callback()(lambda: None)
check_app.command("model")(check_model)
check_app.command("server")(check_server)
app.add_typer(check_app, name="check")

bench_app = typer.Typer(no_args_is_help=True, help="Compare reward shaping, each benchmark with a report.")
bench_app.command("credit")(credit)
bench_app.command("train")(bench_training)
bench_app.command("study")(bench_study)
app.add_typer(bench_app, name="bench")
