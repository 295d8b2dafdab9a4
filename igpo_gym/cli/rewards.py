"""``igpo-gym rewards`` and ``igpo-gym relabel``: what a turn can be paid for, and what it would have been."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from igpo_gym.cli.common import (
    BudgetText,
    EstimateOnly,
    TrustImports,
    console,
    explained,
    in_cells,
    make_policy,
    progress,
    tell_forecast,
)
from igpo_gym.cli.recording import SAMPLING
from igpo_gym.config import EnvConfig, Names, marks
from igpo_gym.episode import UNREAD

if TYPE_CHECKING:
    from igpo_gym.agents.rollouts.costs import Meter
    from igpo_gym.agents.rollouts.summary import Values
    from igpo_gym.episode import Episode
    from igpo_gym.rewards import RewardFunction
    from igpo_gym.rewards.relabel import Priced


def rewards() -> None:
    """List the rewards: the presets, and the terms that they and your own sums are made of.

    A reward is a preset, a term, or a weighted sum of them. Parameters are given in parentheses; below the
    formula of a term are those that it has, with their defaults. A preset takes those of its terms.

    Example:

      igpo-gym rewards

      igpo-gym rollout --reward "igpo(context=evidence) + 0.1*evidence-recall - 0.01*search-cost" ...
    """
    from igpo_gym.rewards import make_term, resolve_reward
    from igpo_gym.rewards.terms import parameters
    from igpo_gym.specs import names

    presets = Table("preset", "terms", "needs")
    for name in names("reward"):
        reward = resolve_reward(name)
        terms = " ".join(f"{weight:+g}*{term.name}" for weight, term in reward.terms)
        presets.add_row(name, terms, ", ".join(sorted(reward.needs)))
    table = Table(
        Column("term", no_wrap=True),
        Column("value of a turn", overflow="fold"),
        Column("needs", max_width=9),
        Column("tokens a turn", max_width=15),
        show_lines=True,
    )
    for name in names("term"):
        term = make_term(name)
        given = ", ".join(f"{key}={default}" for key, default in parameters(name).items())
        table.add_row(
            name,
            f"{escape(term.formula)}\n[dim]{term.source}{'; ' * bool(given)}{given}[/dim]",
            ", ".join(sorted(term.needs)),
            escape(term.cost),
        )
    console.print(presets, table)
    console.print(
        "b: the belief, a probability per token. Tokens: a [b]turn[/b] has those of its message and reply, "
        "an [b]ask[/b] those of the probe and the answers; what several terms read is read once."
    )


def relabel(
    file: Annotated[Path, typer.Argument(help="Recorded episodes, as [b]igpo-gym rollout[/b] writes them.")],
    out: Annotated[
        Path,
        typer.Option(
            help="The JSONL file to write; one that is there is replaced at the end. What a killed run left "
            "(OUT.part) is gone on with."
        ),
    ],
    reward: Annotated[
        list[str], typer.Option(help="A reward, see [b]igpo-gym rewards[/b]; give it several times.")
    ],
    scorer: Annotated[
        str | None,
        typer.Option(
            help="The model that holds the beliefs, by default that of the recording; [b]none[/b] to take "
            "the recorded beliefs."
        ),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="The frozen model that some rewards need, given as a scorer is.")
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help="The agent that completes episodes for [b]monte-carlo[/b], given as for rollout."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="The judge that grades answers anew, a server's URL; by default the recorded verdicts are "
            "taken."
        ),
    ] = None,
    questions: Annotated[
        str | None, typer.Option(help="The data set of the recording, if the file does not tell.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="The search of the recording, if the file does not tell.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Episodes that are measured in one call.")] = 16,
    records: Annotated[
        bool,
        typer.Option(
            "--records", help="Write whole records, paid the first reward, to be shown and priced again."
        ),
    ] = False,
    budget: BudgetText = None,
    estimate: EstimateOnly = False,
    trust_imports: TrustImports = False,
) -> None:
    """Tell what recorded or imported episodes would have been paid under any rewards.

    Line n of the output is about episode n: for each reward the [b]return[/b], and for each turn the weighted
    terms. Every belief is computed once, however many rewards use it, and no more than a batch is held in
    memory.

    Examples:

      igpo-gym relabel expert.jsonl --reward igpo --reward tips --reward ig-search --out priced.jsonl

      igpo-gym relabel expert.jsonl --reward "igpo(context=evidence)" --out priced.jsonl

      igpo-gym relabel expert.jsonl --reward monte-carlo --policy expert --out priced.jsonl

      igpo-gym relabel records.jsonl --reward igpo --scorer nano --records --out priced.jsonl
    """
    from igpo_gym.agents.rollouts.costs import Budget, Meter, Spent
    from igpo_gym.agents.rollouts.estimates import Work, estimated
    from igpo_gym.agents.rollouts.records import read_settings
    from igpo_gym.agents.rollouts.resumed import ResumedFile, whole_lines
    from igpo_gym.agents.rollouts.summary import Values
    from igpo_gym.lm.policy import forget_prefixes
    from igpo_gym.rewards import resolve_reward
    from igpo_gym.rewards.relabel import relabel as priced_episodes
    from igpo_gym.scorers import resolve_scorer
    from igpo_gym.specs import fingerprint, from_file, named_paths, resolve
    from igpo_gym.storage import check_writable
    from igpo_gym.text import without_credentials

    options = {"questions": questions, "search": search, "scorer": scorer, "reference": reference}
    given = {name: value for name, value in options.items() if value is not None}
    with explained():
        meter = Meter(Budget() if estimate else Budget.parse(budget))
        if out.is_dir():
            raise IsADirectoryError(f"--out is a folder ({out}); name a file")
        settings = read_settings(file)
        for name in SPECS:
            if name not in given and NAMES[name].is_spec(settings.get(name)):
                from_file(NAMES[name].kind, settings[name], file, trusted=trust_imports)
        settings |= given
        read = (path for name in SPECS for path in named_paths(settings.get(name)))
        check_writable(out, file, *read)
        functions = [resolve_reward(each) for each in reward]
        corpus, context = _world(settings, policy, {need for each in functions for need in each.needs})
        if judge is not None:
            context["judge"] = resolve("judge", judge)
        with file.open("rb") as lines:
            total = sum(1 for _ in lines)
        returns = {function.name: Values() for function in functions}

        unread: Counter[str] = Counter()

        def tell(line: dict[str, Any]) -> None:
            if states := line.get(UNREAD):
                unread["prompts" if 0 in states else "episodes"] += 1
            unit = f"{line['questions']}: {line['question_id']}"  # sets may share ids
            for name, paid in line["rewards"].items():
                returns[name].add(paid["return"], unit)

        def tell_again(line: dict[str, Any]) -> None:
            if records:
                told = {"questions": _set(line["settings"]), "question_id": line["question"]["id"]}
                line = {**told, UNREAD: line.get(UNREAD), "rewards": line["priced"]}
            tell(line)

        models = {
            name: without_credentials(settings[name])
            for name in ("scorer", "reference")
            if isinstance(settings.get(name), str)
        }
        chosen = {**options, **models, "policy": policy, "judge": judge, "protocol": settings.get("protocol")}
        made = {
            "file": file.name,
            "fingerprint": fingerprint(file),
            "rewards": list(returns),
            "records": records,
            **{f"{name}_fingerprint": fingerprint(settings[name]) for name in models},
            **{name: without_credentials(text) for name, text in chosen.items() if isinstance(text, str)},
        }
        # In a record, what was asked anew takes the place of what had been; of other models, all stays.
        anew = {name: text for name, text in models.items() if text != "none"}
        told = anew | {f"{name}_fingerprint": fingerprint(settings[name]) for name in anew}
        told["reward"] = functions[0].name
        recordings: deque[dict[str, Any]] = deque()
        readers = [*(resolve_scorer(settings.get(name)) for name in models), context.get("policy")]
        meter.watch(*readers)

        def price(skip: int) -> Iterator[Priced]:
            return priced_episodes(
                meter.until(_episodes(file, recordings, alone=bool(corpus or context), skip=skip)),
                functions,
                settings.get("scorer"),
                reference=settings.get("reference"),
                corpus=corpus,
                context=context,
                protocol=settings.get("protocol", "tags"),
                batch_size=batch_size,
                partial=True,
            )

        if estimate:
            done = whole_lines(out, made, batch_size)
            pieces = _batches(price(done), batch_size, meter, judge is not None)
            work = Work("episodes", total - done, pieces, meter)
            tell_forecast(estimated([work]), (work.left, work.what))
            return
        with ResumedFile(out, made, tell_again, batch_size) as written:
            forget_prefixes(*readers)
            for each in progress(price(written.done), "episodes", total - written.done):
                own = recordings.popleft()
                line = _line(each, own)
                meter.add(Spent(verdicts=_graded(each) if judge else 0))
                written.write(_record(each, line, functions[0], own | told) if records else line)
                tell(line)
                if written.done % batch_size == 0:
                    forget_prefixes(*readers)
            meter.check(written.done, total, "episodes")
    console.print(_table(returns))
    if unread["prompts"]:
        console.print(
            f"{unread['prompts']} episodes are not priced: their prompts are longer than the scorer reads"
        )
    if unread["episodes"]:
        console.print(
            f"{unread['episodes']} episodes are longer than the scorer reads: turns behind that have no gain"
        )


def _batches(priced: Iterator[Priced], size: int, meter: Meter, judged: bool) -> Iterator[int]:
    """Price a batch after another; yields how many episodes each has."""
    from igpo_gym.agents.rollouts.costs import Spent

    while batch := list(islice(priced, size)):
        meter.add(Spent(verdicts=sum(map(_graded, batch)) if judged else 0))
        yield len(batch)


def _graded(priced: Priced) -> int:
    from igpo_gym.agents.rollouts.costs import in_episode

    return int(in_episode(priced.episode).verdicts)


NAMES = marks(EnvConfig, Names)
SPECS = tuple(name for name in NAMES if name not in ("reward", "policy", "judge"))
"""The specs of a recording that are used; rewards, policies and judges are those of the command line."""


def _episodes(file: Path, made: deque[dict[str, Any]], alone: bool, skip: int) -> Iterator[Episode]:
    """The episodes of a file behind the first ``skip``; the settings of each are added to ``made``.

    ValueError for two sets where one is asked.
    """
    from igpo_gym.agents.rollouts.records import read_recordings

    first: str | None = None
    for settings, episode in read_recordings(file, skip):
        made.append(settings)
        name = _set(settings)
        first = name if first is None else first
        if alone and name != first:
            raise ValueError(
                f"{file} holds episodes of several sets, such as {first} and {name}; what needs passages "
                "or an agent prices one set"
            )
        yield episode


def _set(settings: dict[str, Any]) -> str:
    return str(settings.get("questions", ""))


def _line(priced: Priced, settings: dict[str, Any]) -> dict[str, Any]:
    """What an episode is paid, as JSON values."""
    rewards = {
        name: {"return": priced.returns[name], "turns": turns} for name, turns in priced.rewards.items()
    }
    question = priced.episode.question.id
    return {
        "questions": _set(settings),
        "question_id": question,
        "attempt": priced.episode.attempt,
        **({UNREAD: priced.episode.extra[UNREAD]} if UNREAD in priced.episode.extra else {}),
        "rewards": rewards,
    }


def _record(
    priced: Priced, line: dict[str, Any], reward: RewardFunction, settings: dict[str, Any]
) -> dict[str, Any]:
    """The episode's record, paid ``reward``, with what each reward would pay beside it (``priced``)."""
    from igpo_gym.agents.rollouts.records import to_record
    from igpo_gym.rewards.split import Split

    extra = {
        name: value
        for name, value in priced.episode.extra.items()
        if name not in ("relabeled", "priced", "split")
    }
    episode = replace(priced.episode, extra=extra)
    if priced.rewards:
        record = to_record(replace(episode, rewards=priced.rewards[reward.name]), reward)
    else:  # nothing was measured, so that it is a member of no set
        unpaid = Split((None,) * len(episode.turns), None, last_gain=True)
        record = {**to_record(episode), "split": asdict(unpaid)}
    return {"settings": settings, **record, "priced": line["rewards"]}


def _world(settings: dict[str, Any], policy: str | None, needs: set[str]) -> tuple[Any, dict[str, Any]]:
    """The corpus, and what instruments are made from, from the settings of the recording."""
    from igpo_gym.config import EnvConfig
    from igpo_gym.envs.setup import assemble
    from igpo_gym.lm.policy import Sampling

    if not ("corpus" in needs or policy):
        return (), {}
    if "questions" not in settings:
        raise ValueError("the file does not tell which data set it was recorded on; give --questions")
    known = {field.name for field in fields(EnvConfig)} - {"policy", "reference", "judge"}
    chosen = {name: value for name, value in settings.items() if name in known}
    with console.status("loading questions and index"):
        question_set, engine = assemble(EnvConfig(**chosen | {"scorer": None, "reward": "outcome-f1"}))
    if policy is None:
        return engine.corpus, {}
    sampling = Sampling(**{name: settings[name] for name in SAMPLING if name in settings})
    made = make_policy(policy, question_set, engine, sampling)
    return engine.corpus, {"engine": engine, "policy": made}


def _table(returns: dict[str, Values]) -> Table:
    """The mean return under each reward, with its 95% interval over questions."""
    from igpo_gym.statistics import mean_over

    table = Table("reward", "return", "95% interval", "questions", "episodes")
    for name, found in returns.items():
        cells = in_cells(mean_over(found.values, found.questions))
        table.add_row(escape(name), *cells, str(len(found.values)))
    return table
