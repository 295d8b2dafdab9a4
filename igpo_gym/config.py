"""What an environment is made of: every argument, its default and its meaning, said here and nowhere else.

The single, the vector and the discrete environment, the command line, the trainer and the adapters are made
from :class:`EnvConfig`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from igpo_gym.errors import SpecError, check_known, choices
from igpo_gym.text import without_credentials

SpecOrObject: TypeAlias = Any
"""A text that names something, or the thing itself; which things fit, the argument's meaning says."""

Info: TypeAlias = Literal["full", "metrics"]
"""How much ``info`` tells, see :func:`igpo_gym.envs.info.episode_info`."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Names:
    """Says of a field that its texts are specs."""

    kind: str
    """What they name, a kind of :mod:`igpo_gym.specs`."""
    words: tuple[str, ...] = ("none",)
    """Words that the field knows itself, with what stands behind a colon or without."""

    def is_spec(self, value: object) -> bool:
        """Whether a value is a text that the registry is asked about."""
        return isinstance(value, str) and value.partition(":")[0] not in self.words


@dataclass(frozen=True, slots=True)
class Panel:
    """Says of a field where the help of a command lists it."""

    title: str


@dataclass(frozen=True, kw_only=True, repr=False)
class EnvConfig:
    """The arguments of an environment. Raises SpecError for a value of the wrong kind.

    A configuration of texts and numbers is JSON: ``EnvConfig(**json.loads(text))`` is the one that ``text``
    was made of, with ``dataclasses.asdict``.

    >>> EnvConfig(max_turns=4).max_turns
    4
    >>> shown(EnvConfig(scorer="http://me:secret@host:8000/v1"))["scorer"]
    'http://host:8000/v1'
    """

    questions: Annotated[
        SpecOrObject,
        Names("questions"),
        "Where questions come from: world, a file, a set and its file (nq:FILE; igpo-gym data list), a "
        "QuestionSet, Question objects, or records such as the rows of a datasets.Dataset.",
    ] = "world"
    search: Annotated[
        SpecOrObject,
        Names("search"),
        "The retriever: bm25:INDEX, bm25:CORPUS, dense:INDEX, hybrid:PART,PART, the URL of a server, a "
        "web search (serper, tavily, searxng:URL), or an object; by default BM25 over the questions' own "
        "passages.",
    ] = None
    search_cache: Annotated[
        str | None,
        "A folder that keeps what the retriever finds, for any number of runs; replay:FOLDER answers from it "
        "alone and never asks the retriever.",
    ] = None
    tools: Annotated[
        SpecOrObject,
        Names("tool"),
        "What the agent can call: names joined by ' + ' (search + open), a Tool, or a list of such.",
    ] = "search"
    scorer: Annotated[
        SpecOrObject,
        Names("scorer"),
        "The model that holds the belief: nano, a hub name, a folder, a GGUF file, the URL of a server, "
        "an AnswerScorer, or none.",
    ] = "nano"
    reward: Annotated[
        SpecOrObject,
        Names("reward"),
        "A preset, a term or a weighted sum of such (igpo-gym rewards lists them), or a RewardFunction.",
    ] = "igpo"
    reference: Annotated[
        SpecOrObject,
        Names("scorer"),
        "The frozen model that some rewards need, given as scorer is; by default a packaged scorer.",
    ] = None
    policy: Annotated[
        SpecOrObject,
        Names("policy"),
        "The policy that completes episodes, for rewards that need one (monte-carlo); given as an agent is.",
    ] = None
    judge: Annotated[
        SpecOrObject,
        Names("judge"),
        "A language model that grades answers: the URL of a server (http://host:8000/v1#model=NAME), or an "
        "object with grade(questions, answers, predictions); by default none.",
    ] = None
    protocol: Annotated[
        SpecOrObject,
        Names("protocol"),
        "How agent and environment write: tags, tags-chat, tool_call, tools, igpo, or a TextProtocol.",
    ] = "tags"
    probe: Annotated[
        SpecOrObject,
        "What stands around the gold answer when the scorer is asked, an AnswerProbe; by default the "
        "protocol's.",
    ] = None
    max_turns: Annotated[int, "Messages the agent may write in an episode."] = 6
    top_k: Annotated[int, "Passages that a query brings."] = 3
    on_invalid: Annotated[
        Literal["continue", "end"], "Whether a message that is no action ends the episode."
    ] = "continue"
    on_limit: Annotated[
        Literal["truncate", "answer"],
        "What follows the last turn: the end, or one more turn in which only an answer is allowed.",
    ] = "truncate"
    max_passage_chars: Annotated[
        int | None, "How much of a passage a reply shows, in characters; the tool open shows the rest."
    ] = 4000
    max_reply_chars: Annotated[
        int | None,
        "How long a reply is at most, in characters, without its tags and the line of the last message; "
        "of a longer one each passage is shown in part.",
    ] = 12_000
    repeat_passages: Annotated[
        bool, "Whether a passage that was shown before is shown again, or named alone."
    ] = True
    order: Annotated[
        Literal["random", "epoch"],
        "How questions follow each other: drawn anew each time, or each once before any comes again.",
    ] = "random"
    group_size: Annotated[int, "How many episodes in a row are on the same question."] = 1
    info: Annotated[
        Info, "How much info tells: full, or metrics (its numbers alone, for the fastest steps)."
    ] = "full"
    oracle_info: Annotated[bool, 'Whether info["gold"] holds the gold answers and evidence.'] = False
    render_mode: Annotated[
        str | None,
        "ansi (render returns a string), rgb_array (an image), human (prints after every step), or none.",
    ] = None

    may_be_zero: ClassVar[frozenset[str]] = frozenset()
    """The names of whole numbers of which 0 is one; all others are at least 1."""

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            value, least = getattr(self, name), 0 if name in self.may_be_zero else 1
            if isinstance(value, Integral) and not isinstance(value, int):  # of numpy, which JSON has not
                value = int(value)
                object.__setattr__(self, name, value)
            whole = isinstance(value, int) and not isinstance(value, bool)
            fits = (whole and value >= least) or (value is None and kind is not int)
            if kind in (int, int | None) and not fits:
                raise SpecError(f"{name} must be a whole number of at least {least}, not {value!r}")
            if kind is float and not (whole or isinstance(value, float)):
                raise SpecError(f"{name} must be a number, not {value!r}")
            if kind is bool and not isinstance(value, bool):
                raise SpecError(f"{name} must be true or false, not {value!r}")
            if kind is str and not isinstance(value, str):
                raise SpecError(f"{name} must be a text, not {value!r}")
            if get_origin(kind) is Literal:
                check_known(value, get_args(kind), name)

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={value!r}" for name, value in shown(self).items())
        return f"{type(self).__name__}({pairs})"


def kinds(config: type) -> dict[str, Any]:
    """The type of each field of a configuration."""
    return {name: get_args(hint)[0] for name, hint in _hints(config).items()}


def meanings(config: type) -> dict[str, str]:
    """The meaning of each field of a configuration, in a sentence."""
    return {name: get_args(hint)[-1] for name, hint in _hints(config).items()}


def marks(config: type, mark: type[T]) -> dict[str, T]:
    """What the fields are marked with, of one class; fields without such a mark are left out.

    >>> marks(EnvConfig, Names)["reference"]
    Names(kind='scorer', words=('none',))
    """
    return {
        name: each
        for name, hint in _hints(config).items()
        for each in get_args(hint)[1:-1]
        if isinstance(each, mark)
    }


def shown(config: EnvConfig) -> dict[str, Any]:
    """The fields by name, as they are shown and stored: without the credentials of URLs."""
    return without_credentials({field.name: getattr(config, field.name) for field in fields(config)})


@functools.cache
def _hints(config: type) -> dict[str, Any]:
    """The fields' annotations, evaluated once: the command line asks for them option by option."""
    hints = get_type_hints(config, include_extras=True)
    return {field.name: hints[field.name] for field in fields(config)}


ID_SETS = "id_sets"
"""The argument with the settings that the id of a registered environment stands for."""


def make_config(config: EnvConfig | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> EnvConfig:
    """A configuration with some settings changed. Raises TypeError, with the known names, for another one.

    A configuration may be given by the names of its fields, as JSON holds it. What an id sets (``ID_SETS``
    among the settings) is for what is not said: a mapping says what it names, and an EnvConfig what it has
    other than by default.

    >>> outcome = {ID_SETS: {"reward": "outcome-f1", "scorer": None}}
    >>> made = make_config({"reward": "tips", "top_k": 5}, {**outcome, "max_turns": 2})
    >>> made.reward, made.scorer, made.top_k, made.max_turns
    ('tips', None, 5, 2)
    """
    given = {name: value for name, value in settings.items() if name != ID_SETS}
    if config is None or isinstance(config, Mapping):
        said = {**(config or {}), **given}
    elif isinstance(config, EnvConfig):
        said = said_by(config) | given
    else:
        raise TypeError(f"config is an EnvConfig, or its fields by name, not {config!r:.80}")
    known = [field.name for field in fields(EnvConfig)]
    for name in said:
        if name not in known:
            raise TypeError(f"unknown environment argument {name!r}; {choices(name, known)}")
    return EnvConfig(**(settings.get(ID_SETS, {}) | said))


def said_by(config: EnvConfig) -> dict[str, Any]:
    """The fields that are not as by default, by name.

    >>> said_by(EnvConfig(top_k=5))
    {'top_k': 5}
    """
    found = {field.name: getattr(config, field.name) for field in fields(EnvConfig)}
    return {name: value for name, value in found.items() if value != getattr(EnvConfig, name)}


def arguments(config: type) -> list[inspect.Parameter]:
    """The fields of a configuration as arguments, which are given by name."""
    hints = kinds(config)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(config)
    ]


def with_signature(arguments: Iterable[inspect.Parameter]) -> Callable[[F], F]:
    """Let ``help()``, specs and commands see ``arguments`` in the place of a function's ``**settings``."""

    def decorate(function: F) -> F:
        signature = inspect.signature(function, eval_str=True)
        own = {each.name: each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD}
        others = [each for each in arguments if each.name not in own]
        seen = signature.replace(parameters=[*own.values(), *others])
        # What inspect.signature() looks for; the type checker knows it of no function.
        function.__signature__ = seen  # type: ignore[attr-defined]
        return function

    return decorate
