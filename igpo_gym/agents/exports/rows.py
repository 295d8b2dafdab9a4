"""What the formats share: what a format is, rows of JSON, messages, single turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from igpo_gym.agents.exports.selection import Chosen
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.agents.rollouts.records import json_line
from igpo_gym.episode import EndReason, Episode, Segment
from igpo_gym.errors import SpecError
from igpo_gym.storage import written_file

Row: TypeAlias = dict[str, Any]

NO_TURN = "--turns leaves no turn of the chosen episodes"


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    rows: int
    unlike: int = 0
    """Rows of texts that the model's tokenizer reads otherwise than the agent wrote them."""
    joined: int = 0
    """Turns that were left out: the tokenizer joins the end of their past with their beginning."""


@dataclass(frozen=True, slots=True)
class Format:
    """A form of training data."""

    write: Callable[[Iterable[Chosen], Path, Tokens | None], Written]
    """Writes the chosen episodes, whole or not at all."""
    rows: str
    """What one row is, in the plural."""
    folder: bool = False
    """Whether a folder is written, and not a file."""
    tokenizer: bool = False
    """Whether it has a use for a tokenizer."""


def write_jsonl(rows: Iterable[Row], out: Path, nothing: str) -> int:
    """Write rows as lines of JSON; returns how many. SpecError that says ``nothing`` where there is none."""
    count = 0
    with written_file(out) as file:
        for count, row in enumerate(rows, 1):  # noqa: B007 (the number of rows is returned)
            file.write(json_line(row))
        if not count:
            raise SpecError(nothing)
    return count


def named(chosen: Chosen) -> Row:
    """The columns that say which episode a row is of."""
    return {"question_id": chosen.episode.question.id, "attempt": chosen.episode.attempt}


def refuse_shared_messages(chosen: Chosen, form: str, instead: str) -> None:
    """Raise SpecError for an episode in which the environment writes within the assistant's message."""
    if any(each.author == "environment" and each.role == "assistant" for each in chosen.episode.segments):
        raise SpecError(
            f"{chosen.place}: the environment's replies stand inside the assistant's message (as under the "
            f"protocol tags), and whoever trains on {form} without token ids would train on them: {instead}"
        )


def refuse_left_out(chosen: Chosen, form: str, instead: str) -> None:
    """Raise SpecError where turns are left out, in a format that cannot say so."""
    if not all(chosen.kept):
        raise SpecError(f"--turns: {form} trains on all messages of the assistant: {instead}")


def advantages_of(chosen: Chosen, form: str) -> tuple[float, ...]:
    """The advantage of each turn. SpecError where the records have none."""
    if chosen.advantages is None:
        raise SpecError(
            f"{chosen.place}: {form} needs advantages, and not all records of the file tell how they were "
            "paid (no field 'split'); price them with igpo-gym relabel --records"
        )
    return chosen.advantages


@dataclass(frozen=True, slots=True)
class SingleTurn:
    """One message of the agent, with all before it as its prompt."""

    key: tuple[Any, ...]
    """The group and the transcript before it: equal where two turns share their past and are compared."""
    prompt: Any
    completion: Any
    """Texts, or with chat messages lists of them."""
    advantage: float
    same: bool
    """Whether the texts have the ids of the transcript; True for messages."""
    apart: bool
    """Whether a token ends where the prompt ends; True for messages."""
    named: Row


def single_turns(chosen: Chosen, form: str, tokens: Tokens | None) -> Iterator[SingleTurn]:
    """The kept turns of an episode; none of one without an outcome, which is compared with nothing."""
    if tokens is None:
        refuse_shared_messages(chosen, form, "give --tokenizer MODEL, the model that is trained")
    episode, advantages = chosen.episode, advantages_of(chosen, form)
    if chosen.split is None or chosen.split.outcome is None:
        return
    for number, (turn, kept) in enumerate(zip(episode.turns, chosen.kept, strict=True), 1):
        place = next((n for n, each in enumerate(turn.segments) if each.author == "agent"), None)
        if not kept or place is None:
            continue
        said = turn.segments[place]
        past = (*episode.context(number - 1), *turn.segments[:place])
        if tokens is None and past and past[-1].role == said.role:
            raise SpecError(
                f"{chosen.place}: turn {number} goes on with the message that the turn before it began, so "
                f"that {form} would train on both: give --tokenizer MODEL, the model that is trained"
            )
        prompt, completion, same, apart = _prompt_and_completion(
            episode, past, said, turn.segments[place + 1 :], tokens
        )
        key = (chosen.group, *((each.author, each.role, each.text) for each in past))
        label = {**named(chosen), "turn": number}
        yield SingleTurn(key, prompt, completion, advantages[number - 1], same, apart, label)


def _prompt_and_completion(
    episode: Episode, past: Sequence[Segment], said: Segment, after: Sequence[Segment], tokens: Tokens | None
) -> tuple[Any, Any, bool, bool]:
    if tokens is None:
        messages = replace(episode, prompt=tuple(past), turns=[]).messages()
        return messages, [{"role": said.role, "content": said.text}], True, True
    ends = after[0].role != said.role if after else episode.end is EndReason.ANSWERED
    texts = tokens.texts(past, said, ends)
    return texts.prompt, texts.completion, texts.same, texts.apart


def shared_once(turns: Iterable[SingleTurn]) -> list[SingleTurn]:
    """The turns; one that branches share, or that was said twice, is there once, with the mean advantage."""
    found: dict[tuple[Any, ...], tuple[SingleTurn, list[float]]] = {}
    for turn in turns:
        key = (*turn.key, str(turn.completion))
        found.setdefault(key, (turn, []))[1].append(turn.advantage)
    return [replace(turn, advantage=sum(own) / len(own)) for turn, own in found.values()]


def refuse_joined(turns: Sequence[SingleTurn], form: str) -> int:
    """How many turns are left out since their past and their beginning are one token. SpecError if all."""
    joined = sum(not turn.apart for turn in turns)
    if turns and joined == len(turns):
        raise SpecError(
            f"the tokenizer joins the end of every turn's past with its beginning, so that {form} would "
            "train on what the environment wrote; take --format sft, which has token ids"
        )
    return joined
