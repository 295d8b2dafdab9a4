"""The options of the commands, made from the fields of a configuration, and ``--config FILE``.

A field that :class:`igpo_gym.config.EnvConfig` gains is an option of every command that plays from then on,
unless a command leaves it out.
"""

from __future__ import annotations

import functools
import inspect
import json
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer

import igpo_gym.specs as specs
from igpo_gym.cli.common import TrustImports, explained
from igpo_gym.config import EnvConfig, Names, Panel, SpecOrObject, kinds, marks, meanings
from igpo_gym.errors import DataError, SpecError, choices
from igpo_gym.storage import check_writable

C = TypeVar("C", bound=EnvConfig)
KEYWORD = inspect.Parameter.KEYWORD_ONLY

NO_OPTIONS = ("probe", "info", "oracle_info", "render_mode")
"""The arguments of an environment that are for code alone: no text gives a probe, and no command reads
``info`` or calls ``render``."""

ABOUT_ITSELF = ("_fingerprint", "_hash")
"""What the names end with under which a run writes about itself; a configuration may hold them."""

NOT_IN_FILES = ("quick", "recipe")
"""Options that a file cannot give: what other options are by default hangs on them."""

PANEL = Panel("Environment")
"""Where the help lists the arguments of the environment."""


def configured(
    base: type[C], without: Iterable[str] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of ``base``, and ``--config``.

    The command's first argument is the configuration; its other arguments are its own options. Fields that
    are named in ``without`` are no options, and ``defaults`` are those that differ from the field's. A user's
    mistake ends the command with its explanation.
    """
    first: dict[str, Any] = {field.name: field.default for field in fields(base)} | defaults
    left_out = {name: first[name] for name in (*NO_OPTIONS, *without)}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        specs_of = {**marks(base, Names), "agent": Names("policy", ())} | {
            each.name: mark for each in own for mark in _metadata(each.annotation) if isinstance(mark, Names)
        }
        known = (first.keys() - left_out.keys() | {each.name for each in own}) - {*NOT_IN_FILES}

        @functools.wraps(command)
        def run(context: typer.Context, config: Path | None, trust_imports: bool, **given: Any) -> None:
            with explained():
                files = [file for file in (config, given.get("like")) if file is not None]
                if len(files) > 1:
                    raise SpecError("give --config or --like, not both")
                for file in files:
                    _check_specs(context, specs_of, file, trust_imports, given)
                if config is not None:
                    _check_kept(config, given)
                chosen = {name: left_out[name] if name in left_out else given.pop(name) for name in first}
                command(base(**chosen), **given)

        options = [
            *own,
            *(
                option(base, name, kind, first[name])
                for name, kind in kinds(base).items()
                if name not in left_out
            ),
            _parameter("config", _config_option(known, left_out), None),
            _parameter("trust_imports", TrustImports, False),
        ]
        run.__annotations__ = {}
        run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [_parameter("context", typer.Context), *(each.replace(kind=KEYWORD) for each in options)]
        )
        return run

    return decorate


def _metadata(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())


def _parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, KEYWORD, annotation=annotation, default=default)


def option(base: type, name: str, kind: Any, default: Any, panel: Panel | None = PANEL) -> inspect.Parameter:
    """The option of a field, listed in ``panel`` unless the field says where. What may be None is written
    "none"."""
    place = marks(base, Panel).get(name, panel)
    read: dict[str, Any] = {}
    if kind is SpecOrObject or str in get_args(kind):
        kind, read = str, {"parser": _text_or_none, "metavar": "<text>"}
    elif int in get_args(kind):
        kind, read = int, {"parser": _number_or_none, "metavar": "<int|none>"}
    told = typer.Option(help=meanings(base)[name], rich_help_panel=place.title if place else None, **read)
    return _parameter(name, Annotated[kind | None if default is None else kind, told], default)


def _text_or_none(value: Any) -> str | None:
    return None if value in (None, "none") else str(value)


def _number_or_none(value: Any) -> int | None:
    return None if value in (None, "none") else int(value)


def _config_option(names: Collection[str], left_out: Mapping[str, Any]) -> Any:
    def read(context: typer.Context, file: Path | None) -> Path | None:
        if file is not None:
            with explained():
                preset(context, file, _read_file(file), names, left_out)
        return file

    option = typer.Option(
        "--config",
        help="JSON or TOML with options by name, as a run's settings.json has them; what the command line "
        "says comes before it.",
        is_eager=True,  # before the options whose defaults it sets
        callback=read,
    )
    return Annotated[Path | None, option]


def preset(
    context: typer.Context,
    file: Path,
    settings: Mapping[str, Any],
    names: Collection[str],
    left_out: Mapping[str, Any] | None = None,
) -> None:
    """Let the settings of a file stand for the options of a command that the command line does not give.

    ``names`` are the options that it may give. Fields of ``left_out`` may stand in the file with the values
    that they have anyway. Raises SpecError, with the nearest name, for a setting that is not known or no
    text, number or truth.
    """
    options = {each.name: each for each in context.command.params if each.name in names}
    known = {str(name): getattr(each, "multiple", False) for name, each in options.items()}
    context.default_map = {**(context.default_map or {}), **_checked(file, settings, known, left_out or {})}


def _read_file(file: Path) -> dict[str, Any]:
    """The settings of a JSON or TOML file. Raises DataError for a file that cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
        found = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as problem:
        raise DataError(file, f"neither JSON nor TOML that can be read ({problem})") from None
    if not isinstance(found, dict):
        raise DataError(file, "its JSON is no object: write settings by name")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises ValueError for a name that stands twice, as TOML does."""
    if repeated := [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]:
        raise ValueError(f"{repeated[0]!r} is set twice")
    return dict(pairs)


def _checked(
    file: Path, found: Mapping[str, Any], known: Mapping[str, bool], left_out: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings by name; None is the text "none", as on the command line.

    ``known`` are the options, and whether each may be given several times.
    """
    settings = {}
    for key, value in found.items():
        name = key.replace("-", "_")
        if name in settings:
            raise SpecError(f"{file} sets {name} twice, with - and with _")
        if name in known:
            settings[name] = _value(file, name, value, several=known[name])
        elif name in left_out:
            if value != left_out[name]:
                raise SpecError(f"{file} sets {name}, which this command does not take")
        elif not name.endswith(ABOUT_ITSELF):
            raise SpecError(f"{file} has an unknown setting {key!r}; {choices(name, sorted(known))}")
    return settings


def _value(file: Path, name: str, value: Any, several: bool) -> Any:
    if several and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    if value is None:
        return "none"
    if isinstance(value, str | int | float):
        # As a text, so that the option reads it as strictly as from the command line: 1.5 is no whole number.
        return [str(value)] if several else str(value)
    raise SpecError(f"{file}: {name} must be a text, a number or a truth, not {value!r:.60}")


def _check_kept(file: Path, given: Mapping[str, Any]) -> None:
    """Raise ValueError for an option that names the file of options itself, to be written."""
    for each in given.values():
        for path in each if isinstance(each, list) else [each]:
            if isinstance(path, Path) and path.is_file():
                check_writable(path, file)


def _check_specs(
    context: typer.Context,
    specs_of: Mapping[str, Names],
    file: Path,
    trusted: bool,
    given: Mapping[str, Any],
) -> None:
    """Ask for trust in what the file alone names and what can run code."""
    for name, names in specs_of.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "DEFAULT_MAP":
            value = given.get(name)
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and names.is_spec(each):
                    specs.from_file(names.kind, each, file, trusted=trusted)
