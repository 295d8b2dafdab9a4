"""``igpo-gym eval``: how well an agent answers the questions of one set or of several."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from igpo_gym.cli.common import (
    TOO_FEW,
    Agent,
    BatchSize,
    BudgetText,
    ClearText,
    EstimateOnly,
    Limit,
    MaxTokens,
    Seed,
    Temperature,
    TopP,
    assemble,
    console,
    explained,
    make_policy,
    named_files,
    tell_cache,
    tell_forecast,
    tell_view,
)
from igpo_gym.cli.options import NO_OPTIONS, PANEL, configured, preset
from igpo_gym.cli.recording import SAMPLING, Recording, episodes_left, record
from igpo_gym.config import EnvConfig, Names, shown
from igpo_gym.errors import SpecError
from igpo_gym.text import without_credentials

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.costs import Meter
    from igpo_gym.benchmark.evaluation.measures import Measure
    from igpo_gym.benchmark.evaluation.table import Scores
    from igpo_gym.episode import Episode
    from igpo_gym.lm.policy import Policy, Sampling

NOT_IN_CARDS = ("like", "config", "trust_imports", "out", "table", "budget", "estimate")
"""Options that a card does not hold: they say where things are, not what is played."""

WITHOUT = ("order", "group_size")
"""The arguments of an environment that say which episodes there are, which an evaluation decides itself."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is played, and where it is recorded."""

    agent: str
    sets: Mapping[str, EnvConfig]
    """The environment of each set of questions, by its spec as records tell it."""
    sampling: Sampling
    limit: int
    """How many questions of each set."""
    attempts: int
    batch_size: int
    out: Path


def _from_card(context: typer.Context, file: Path | None) -> Path | None:
    if file is not None:
        from igpo_gym.benchmark.evaluation.card import read_card

        with explained():
            names = {str(each.name) for each in context.command.params} - {*NOT_IN_CARDS}
            settings = dict(read_card(file)["settings"])
            if isinstance(places := settings.get("search"), list) and len(set(map(str, places))) == 1:
                settings["search"] = places[:1]  # that of any sets
            preset(context, file, settings, names)
    return file


@configured(EnvConfig, without=(*WITHOUT, "questions", "search"), scorer="none", reward="outcome-f1")
def evaluate(
    config: EnvConfig,
    out: Annotated[
        Path | None,
        typer.Option(help="The JSONL file, one episode a line; resumed if it exists. Its card is beside it."),
    ] = None,
    questions: Annotated[
        list[str],
        typer.Option(
            help="A set of questions; give it several times, or join sets by ' + '.",
            rich_help_panel=PANEL.title,
        ),
    ] = ["world:test"],  # noqa: B006  (typer copies it)
    search: Annotated[
        list[str] | None,
        typer.Option(
            help="The retriever of all sets, or one for each set in their order; [b]none[/b]: BM25 over the "
            "set's own passages.",
            rich_help_panel=PANEL.title,
        ),
    ] = None,
    agent: Agent = "nano",
    limit: Limit = 200,
    attempts: Annotated[
        int, typer.Option(min=1, help="Episodes per question, averaged; more than 1 want a temperature.")
    ] = 1,
    metrics: Annotated[
        str, typer.Option(help="Scores of the answers, joined by commas."), Names("metric", ())
    ] = "em,f1,cover_em,igpo_f1,fanoutqa_loose",
    table: Annotated[
        list[Path] | None,
        typer.Option(help="Also write the table to FILE.md, FILE.csv or FILE.json; give it several times."),
    ] = None,
    batch_size: BatchSize = 64,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    max_tokens: MaxTokens = 256,
    seed: Seed = 0,
    clear_text: ClearText = False,
    budget: BudgetText = None,
    estimate: EstimateOnly = False,
    like: Annotated[
        Path | None,
        typer.Option(
            help="The card of an evaluation that is run again; what the command line says comes before it.",
            is_eager=True,
            callback=_from_card,
        ),
    ] = None,
) -> None:
    """Measure how well an agent answers questions.

    Prints a table with a column for each set and their average: scores of the answers, searches, opened
    documents, turns, tokens, invalid messages, failed searches, and why episodes ended, each with a 95%
    interval over questions. The episodes are kept, and the same command goes on from them; beside them lies a
    card that says everything that decided the figures.

    Examples:

      igpo-gym eval --out nano.jsonl --table nano.md

      igpo-gym eval --agent ./checkpoint --questions hotpotqa:dev.jsonl --questions jsonl:mine.jsonl
      --search none --search bm25:wiki-index --limit 500 --out dev.jsonl

      igpo-gym eval --agent closed-book:http://host:8000/v1 --questions jsonl:mine.jsonl --out closed.jsonl

      igpo-gym eval --like nano.card.json
    """
    from igpo_gym.agents.policies.bounds import played_by
    from igpo_gym.agents.rollouts.costs import Budget, Meter
    from igpo_gym.benchmark.evaluation import card
    from igpo_gym.benchmark.evaluation import table as tables
    from igpo_gym.benchmark.evaluation.measures import measures
    from igpo_gym.lm.policy import Sampling
    from igpo_gym.specs import listed
    from igpo_gym.storage import check_all_writable, check_writable

    meter = Meter(Budget.parse(budget))
    out = out or (card.again(like) if like else None)
    if out is None:
        raise SpecError("give --out, the file for the episodes")
    for file in table or ():
        tables.check_format(file)
    read = [*named_files(config, agent, *questions, *(search or ())), *([like] if like else [])]
    files = [path for path in read if not path.is_dir()]  # within a folder it is gone on with, not replaced
    check_writable(out, *files)
    check_all_writable([card.card_of(out), *(table or ())], out, *read)
    if out.exists() and not out.is_file():
        raise SpecError(f"{out} is a pipe or device, and the table is made of what is written: name a file")
    asked = measures(listed(metrics))
    configs = [replace(config, questions=spec, search=place) for spec, place in _sets(questions, search)]
    sets = {shown(each)["questions"]: played_by(agent, each) for each in configs}
    sampling = Sampling(temperature, top_p, max_tokens=max_tokens, seed=seed)
    plan = Evaluation(agent, sets, sampling, limit, attempts, batch_size, out)
    _check_questions(plan, () if clear_text else listed(metrics))
    if estimate:
        _estimate(plan)
        return
    begun = out.exists() and out.stat().st_size > 0
    earlier = card.earlier_packages(card.card_of(out)) if begun else []
    decided, wanted = _play(plan, asked, clear_text, meter)
    scores, missing = _scores(plan, wanted, asked)
    if not scores.sets:
        raise SpecError("no episode was played: the agent, or the scorer, cannot read the prompts")
    _print(scores)
    if missing:
        console.print(f"{missing} episodes are left out: the agent, or the scorer, cannot read their prompts")
    for file in table or ():
        _write(file, scores)
    if earlier:
        decided["earlier_packages"] = earlier
        console.print("episodes that were there before were played with other versions of packages")
    told = tables.as_json(scores) | {"left_out": missing}
    card.write_card(card.card_of(out), _settings(config, plan, metrics), decided, told)
    console.print(f"card: {card.card_of(out)}", markup=False)
    tell_view(out)
    if like is not None:
        _print_differences(like, decided, told)


def _sets(questions: Sequence[str], search: Sequence[str] | None) -> list[tuple[str, str | None]]:
    """The spec of each set, and that of its search."""
    from igpo_gym.specs import joined

    specs = [part for each in questions for part in joined(each)]
    for spec in specs:
        if specs.count(spec) > 1:
            raise SpecError(f"the questions {without_credentials(spec)!r} are given twice")
    places = [None if place == "none" else place for place in search or ["none"]]
    if len(places) not in (1, len(specs)):
        raise SpecError(
            f"{len(places)} retrievers for {len(specs)} sets of questions: give --search once for all of "
            "them, or once for each"
        )
    return list(zip(specs, places * len(specs) if len(places) == 1 else places, strict=True))


def _check_questions(plan: Evaluation, metrics: Sequence[str]) -> None:
    """Raise what is wrong with any set of questions, before anything else is loaded.

    ``metrics`` are those that records of protected questions have to tell, since they hold no texts.
    """
    from igpo_gym.data import resolve_questions
    from igpo_gym.data.evidence import require_evidence
    from igpo_gym.data.scores import require_recorded
    from igpo_gym.tools.evidence import GOLD_EVIDENCE

    with console.status("loading questions"):
        for config in plan.sets.values():
            question_set = resolve_questions(config.questions)
            if any(question.protected for question in question_set.questions):
                for metric in metrics:
                    require_recorded(metric, question_set.name)
            if config.tools == GOLD_EVIDENCE:
                require_evidence(without_credentials(plan.agent), question_set)


def _settings(config: EnvConfig, plan: Evaluation, metrics: str) -> dict[str, Any]:
    """The options of the command as a card holds them; ``config`` is what all sets have in common."""
    own = (*NO_OPTIONS, *WITHOUT, "questions", "search")
    return {
        **{name: value for name, value in shown(config).items() if name not in own},
        "questions": list(plan.sets),
        "search": [shown(each)["search"] or "none" for each in plan.sets.values()],
        "agent": without_credentials(plan.agent),
        "limit": plan.limit,
        "attempts": plan.attempts,
        "metrics": metrics,
        "batch_size": plan.batch_size,
        **{name: getattr(plan.sampling, name) for name in SAMPLING},
    }


def _estimate(plan: Evaluation) -> None:
    """Tell what the episodes will take that the file does not have; nothing is written."""
    from igpo_gym.agents.rollouts.estimates import SECONDS, estimated, together

    found, left = [], []
    for name, config in plan.sets.items():
        question_set, engine = assemble(config)
        policy = make_policy(plan.agent, question_set, engine, plan.sampling)
        chosen = question_set.questions[: plan.limit]
        recording = Recording.of(config, question_set, plan.agent, plan.sampling)
        others = plan.sets.keys() - {name}
        work = episodes_left(
            engine, policy, chosen, plan.out, recording, plan.batch_size, plan.attempts, others
        )
        left.append((work.left, work.what if len(plan.sets) == 1 else f"episodes of {name}"))
        if work.left:
            found.append(estimated([work], SECONDS / len(plan.sets)))
    tell_forecast(together(found), *left)


def _play(
    plan: Evaluation, asked: Sequence[Measure], clear_text: bool, meter: Meter
) -> tuple[dict[str, Any], set[tuple[str, str, int]]]:
    """Play all sets into the file; returns what decides the figures, and which episodes are asked for."""
    from igpo_gym.benchmark.evaluation.card import decided_by, set_facts
    from igpo_gym.specs import asks_for

    alone = asks_for("policy", plan.agent, "questions")  # such an agent is made anew for each set
    policy: Policy | None = None
    decided: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    wanted: set[tuple[str, str, int]] = set()
    for name, config in plan.sets.items():
        if len(plan.sets) > 1:
            console.print(name, markup=False)
        question_set, engine = assemble(config)
        if policy is None or alone:
            policy = make_policy(plan.agent, question_set, engine, plan.sampling)
        recording = Recording.of(config, question_set, plan.agent, plan.sampling)
        prints = dict(recording.fingerprints)
        agent_fingerprint = prints.pop("agent_fingerprint")
        facts[name] = set_facts(question_set, engine, prints)
        decided = decided_by(engine, policy, agent_fingerprint, asked, facts)
        chosen = question_set.questions[: plan.limit]
        record(
            engine,
            policy,
            chosen,
            plan.out,
            recording,
            plan.batch_size,
            plan.attempts,
            clear_text,
            plan.sets.keys() - {name},
            meter=meter,
        )
        tell_cache(engine.facts())
        wanted |= {(name, question.id, attempt) for question in chosen for attempt in range(plan.attempts)}
    return decided, wanted


def _scores(
    plan: Evaluation, wanted: set[tuple[str, str, int]], asked: Sequence[Measure]
) -> tuple[Scores, int]:
    """The table, and how many episodes are not in it: they were aborted before their first turn."""
    from igpo_gym.agents.rollouts.records import read_recordings, set_of
    from igpo_gym.benchmark.evaluation.table import tabulate

    missing = set(wanted)

    def found() -> Iterator[tuple[str, Episode]]:
        for settings, episode in read_recordings(plan.out):
            place = (set_of(settings), episode.question.id, episode.attempt)
            if place in wanted:
                if place not in missing:
                    raise ValueError(f"{plan.out}: attempt {place[2]} at {place[1]!r} stands there twice")
                missing.remove(place)
                yield place[0], episode

    return tabulate(found(), asked, list(plan.sets)), len(missing)


def _print(scores: Scores) -> None:
    from igpo_gym.benchmark.evaluation.table import as_table
    from igpo_gym.benchmark.report import rich_table

    console.print(rich_table(as_table(scores)))
    counts = [sum(getattr(one, what) for one in scores.sets) for what in ("questions", "episodes")]
    bare = any(math.isnan(found.low) for one in scores.sets for found in one.estimates.values())
    console.print(f"{counts[0]} questions, {counts[1]} episodes" + f"; {TOO_FEW}" * bare, highlight=False)


def _write(file: Path, scores: Scores) -> None:
    from igpo_gym.benchmark.evaluation.table import as_json, as_rows, as_table, in_format
    from igpo_gym.storage import written_file

    with written_file(file) as written:
        written.write(in_format(file, as_table(scores), as_rows(scores), as_json(scores)))


def _print_differences(file: Path, decided: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
    """Say what is not as it was when the card was written."""
    import json

    from igpo_gym.benchmark.evaluation.card import differences, read_card
    from igpo_gym.benchmark.report import json_text

    then = read_card(file)
    now = json.loads(json_text({"decided_by": decided, "scores": scores}))
    for part, what in (("decided_by", "what decides the figures"), ("scores", "the figures")):
        found = list(differences(then[part], now[part]))
        if not found:
            console.print(f"{what}: as on {file}", markup=False)
        for line in found:
            console.print(f"other than on {file}: {line}", markup=False)
