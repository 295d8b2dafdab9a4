"""``igpo-gym data prepare``: files of questions for trainers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from igpo_gym.cli.common import console, explained, tell_doubled
from igpo_gym.specs import fingerprint

if TYPE_CHECKING:
    from igpo_gym.data.interface import QuestionSet
    from igpo_gym.episode import Question


def prepare_files(
    questions: Annotated[str, typer.Argument(help="The questions, as for [b]data show[/b].")],
    out: Annotated[Path, typer.Option(help="A new folder for the files and manifest.json.")],
    form: Annotated[
        str, typer.Option("--format", help="The trainer that reads them: jsonl, verl, search-r1 or trl.")
    ] = "jsonl",
    validation_size: Annotated[
        float, typer.Option(min=0, help="What is held out: a share below 1, or a number of questions.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Another seed holds other questions out.")] = 0,
    against: Annotated[
        list[str] | None,
        typer.Option(help="A test set whose questions are taken out; give it several times."),
    ] = None,
    rollouts: Annotated[
        Path | None,
        typer.Option(help="Keep what these episodes solve at times: in 1 to n-1 of a question's n attempts."),
    ] = None,
    metric: Annotated[str, typer.Option(help="The score of a solved episode: em, f1 or cover_em.")] = "em",
    solved_at: Annotated[float, typer.Option(min=0, max=1, help="The least score that is solved.")] = 1.0,
    protocol: Annotated[
        str | None, typer.Option(help="Whose prompt verl and TRL get; by default that of their adapters.")
    ] = None,
    tools: Annotated[str, typer.Option(help="The tools that the prompt tells of.")] = "search",
) -> None:
    """Make training and validation files for a trainer.

    A question that is asked twice is taken once. manifest.json says what each file holds, what was left
    out and why, and the hashes of all that it was made from.

    Examples:

      igpo-gym data prepare hotpotqa:hotpot_train_v1.1.json --format verl --validation-size 500 --out data

      igpo-gym data prepare nq:train.jsonl --against nq:dev.jsonl --against triviaqa:dev.json --out data

      igpo-gym data prepare train.jsonl --rollouts groups.jsonl --validation-size 0.05 --format trl --out data
    """
    from igpo_gym.data import resolve_questions
    from igpo_gym.data.preparation import prepare
    from igpo_gym.data.training_files import check, write_files
    from igpo_gym.protocols import CHAT

    with explained():
        check(out, form)
        read = resolve_questions(questions)
        tests = {spec: resolve_questions(spec) for spec in against or ()}
        prepared = prepare(
            read.questions,
            tests={spec: each.questions for spec, each in tests.items()},
            solved=None if rollouts is None else _solved(rollouts, read.questions, metric, solved_at),
            validation_size=validation_size,
            seed=seed,
        )
        manifest: dict[str, Any] = {
            "questions": _made_from(questions, read),
            "against": [_made_from(spec, each) for spec, each in tests.items()],
            "rollouts": None,
            "validation_size": validation_size,
            "seed": seed,
        }
        if rollouts is not None:
            tell_doubled(rollouts)
            attempts = {"file": str(rollouts), "fingerprint": fingerprint(rollouts)}
            manifest["rollouts"] = {**attempts, "metric": metric, "solved_at": solved_at}
        prompted, protocol = form in ("verl", "trl"), protocol or CHAT.name
        manifest |= {"protocol": protocol, "tools": tools} if prompted else {}
        prompt = _prompts(read, protocol, tools) if prompted else lambda question: ()
        written = write_files(out, prepared, form, prompt, manifest)
    table = Table("questions", "where")
    for name, file in written["files"].items():
        table.add_row(f"{file['questions']:,}", escape(str(out / name)))
    for reason, dropped in written["dropped"].items():
        table.add_row(f"{dropped['questions']:,}", escape(f"left out: {reason}"))
    console.print(table)


def _made_from(spec: str, questions: QuestionSet) -> dict[str, Any]:
    """What a manifest says of a set."""
    return {"spec": questions.name, "fingerprint": fingerprint(spec), "questions": len(questions.questions)}


def _solved(
    rollouts: Path, questions: Sequence[Question], metric: str, least: float
) -> dict[str, list[bool]]:
    """For each question that recorded episodes asked, by its id, which attempts solved it.

    Questions are known by their text: where ids are line numbers, another file has the same, and an
    imported transcript has the text as its prompt shows it. ValueError below two attempts, and for a
    recording that asks none of the questions.
    """
    from igpo_gym.agents.rollouts.records import read_rollouts
    from igpo_gym.data.scores import scores
    from igpo_gym.data.wording import forms
    from igpo_gym.episode import EndReason
    from igpo_gym.errors import choose
    from igpo_gym.text import restored

    ids: dict[str, list[str]] = {}
    for question in questions:
        for form in forms(question.text):
            ids.setdefault(form, []).append(question.id)
    solved: dict[str, list[bool]] = {}
    for episode in read_rollouts(rollouts):
        if episode.end is not EndReason.ABORTED:
            score = choose(scores(episode), metric, "metric")
            known = (ids.get(form, ()) for form in forms(restored(episode.question.text)))
            for id_ in dict.fromkeys(chain.from_iterable(known)):
                solved.setdefault(id_, []).append(score >= least)
    if not solved:
        raise ValueError(f"{rollouts} asks none of the questions; record them with igpo-gym rollout")
    if all(len(attempts) < 2 for attempts in solved.values()):
        raise ValueError(
            f"{rollouts} has one attempt at each question, which says nothing of how often it is solved; "
            "record groups, with --group-size 8"
        )
    return solved


def _prompts(
    questions: QuestionSet, protocol: str, tools: str
) -> Callable[[Question], Sequence[Mapping[str, str]]]:
    """What gives the messages that open an episode on a question."""
    from igpo_gym.adapters.session import question_messages

    found = question_messages(questions=questions, protocol=protocol, tools=tools)
    messages = {question.id: each for question, each in found}
    return lambda question: messages[question.id]
