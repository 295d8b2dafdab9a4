"""Commands that are imported when they are asked for, so that each starts with what it needs itself."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
import typer.main
from typer.core import TyperGroup

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has ended, as shells have it: 128 and the number of SIGINT."""

RESUMED = f"{__name__}.resumed"
"""Under which a context keeps whether the same command goes on."""


class Command(NamedTuple):
    """A command that is not imported yet."""

    place: str
    """Its function, as "module:attribute"."""
    help: str
    """What the list of commands says of it: the first sentence of its docstring."""
    resumed: bool = False
    """Whether the same command goes on where one was interrupted; what others write is whole or not there."""


def add_commands(app: typer.Typer, commands: Mapping[str, Command]) -> None:
    """Put commands into a group that was made with ``cls=LazyGroup``, each under its name."""
    for name, command in commands.items():
        app.command(name, help=command.help)(_stand_in(command))


def _stand_in(told: Command) -> Callable[[], None]:
    """What stands in the list of commands for a function that is not imported."""

    def command() -> None:
        pass

    command.told = told  # type: ignore[attr-defined]
    return command


def _flowing(text: str) -> str:
    """A docstring for a screen of any width: typer breaks lines where the source does.

    Examples, which are indented, keep their lines.

    >>> print(_flowing("Play.\\n\\n    It is\\n    long.\\n\\n      igpo-gym play"))
    Play.
    <BLANKLINE>
    It is long.
    <BLANKLINE>
      igpo-gym play
    """
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(each if each.startswith(" ") else each.replace("\n", " ") for each in paragraphs)


class LazyGroup(TyperGroup):
    """A group that lists its commands without importing any, and imports the one that is asked for.

    What no command explains may come of a library that is too old: then that is told in its place. Of a full
    disk behind what is printed, the system's word is enough.
    """

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run the command that the arguments ask for."""
        try:
            return super().main(*args, **settings)
        except Exception as problem:
            from igpo_gym.errors import OldLibraryError  # what lists commands imports none of the package
            from igpo_gym.libraries import check_versions

            try:
                check_versions("igpo-gym", "")
            except OldLibraryError as old:
                typer.echo(f"error {old}", err=True)
                sys.exit(2)
            if isinstance(problem, OSError):
                from igpo_gym.cli.common import tell_mistake

                tell_mistake(problem)
                sys.exit(2)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C ends it with a line that says what becomes of its work."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = "the same command goes on" if ctx.meta.get(RESUMED) else "nothing was written"
            typer.echo(f"interrupted; {kept}", err=True)
            raise typer.Exit(INTERRUPTED) from None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The name of the command that the arguments ask for, the command, and its own arguments."""
        name, found, rest = super().resolve_command(ctx, args)
        told: Command | None = getattr(getattr(found, "callback", None), "told", None)
        if told is None:
            return name, found, rest
        ctx.meta[RESUMED] = told.resumed and "--estimate" not in rest
        module, _, attribute = told.place.partition(":")
        made = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
        function = getattr(import_module(module), attribute)
        made.command(name, help=_flowing(function.__doc__))(function)
        return name, typer.main.get_command(made), rest
