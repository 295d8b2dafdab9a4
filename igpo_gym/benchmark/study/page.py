"""The study's page, made from ``runs.jsonl`` alone (and ``credit.json``, where it is)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from igpo_gym.benchmark.charts import intervals, lines, scatter
from igpo_gym.benchmark.report import (
    NOTHING,
    Cell,
    Image,
    Page,
    Section,
    Table,
    estimate_cell,
    estimate_text,
    number,
    p_text,
)
from igpo_gym.benchmark.study.credit import FEWEST_POINTS, MEASURES, POINTS, predictions
from igpo_gym.benchmark.study.measures import improved, iqm, of_arm, profile
from igpo_gym.benchmark.study.records import StudyRun
from igpo_gym.benchmark.study.rows import ARMS, STARTS, Tuned, planned_seeds, rows
from igpo_gym.benchmark.study.run import tuned
from igpo_gym.benchmark.study.verdicts import (
    Finding,
    Verdict,
    by_arm,
    by_hops,
    ends,
    findings,
    lead,
    leads,
    placebo,
    world_of,
)
from igpo_gym.statistics import FEWEST, Estimate

LEAD = "This is about a small model in a generated world, and about nothing larger."


def study_page(runs: Sequence[StudyRun], credit: Mapping[str, Mapping[str, float]]) -> Page:
    """All that the runs come to."""
    arms = by_arm(runs)
    found = findings(runs)
    sections = [Section("The tests, in their order", (_CHAIN,), tables=(chain_table(found),))]
    if arms:
        sections += [
            Section("Arms", (_ARMS,), images=_images(arms), tables=(arm_table(arms), hops_table(arms))),
            Section("Placebo", (_PLACEBO,), tables=(placebo_table(runs),)),
            Section("One arm against another", (_AGAINST,), tables=(against_table(arms), starts_table(arms))),
            Section(
                "Hacking along training",
                (_HACKING,),
                tables=tuple(hacking_table(arms, what) for what in HACKS),
            ),
        ]
    sections.append(_credit_section(credit, runs))
    sections.append(Section("Tuning", (_tuning_sentence(runs),), tables=(tuning_table(runs),)))
    sections.append(Section("All runs", tables=(run_table(runs),)))
    return Page(
        "Does information gain train better agents?", LEAD, tuple(_headlines(runs, found)), tuple(sections)
    )


_CHAIN = (
    "Exact two-sample permutation tests over runs, two-sided at 0.05. The first that does not hold ends the "
    f"chain: what follows has an interval and no verdict. Below {FEWEST} seeds an arm there is none either."
)
_ARMS = (
    "Means over seeds of the last validation, and the interquartile mean over seeds and numbers of hops. "
    "Collapsed groups are the mean over all updates."
)
_PLACEBO = (
    "Leads over outcome-only GRPO in F1 at the end. The placebo's lead is said to have vanished only if its "
    "upper end lies below half of igpo's lead."
)
_AGAINST = "Of arms in one world: differences of means at the end, and the chance to beat a run of the other."
HACKS = {"guessed": "Turns with a guess", "forged": "Turns with a forged reply"}
_HACKING = (
    "A guess names a gold answer that the agent cannot have read; a forged reply is a block of the "
    "environment's that the agent writes itself."
)


def _headlines(runs: Sequence[StudyRun], found: Sequence[Finding]) -> Iterator[str]:
    known = tuned(runs)
    planned = list(rows(known))
    there = {run.hash for run in runs}
    hours = sum(run.core_seconds for run in runs) / 3600
    yield f"{len(there)} of {len(planned)} runs are there ({hours:.1f} core-hours)" + (
        "." if len(there) == len(planned) else ": the study is not whole."
    )
    for each in found:
        short = "" if each.planned else ", fewer than planned"
        tested = "" if math.isnan(each.p) else f", p {p_text(each.p)}"
        seeds = f"{each.seeds[0]} and {each.seeds[1]} seeds{short}"
        yield f"{each.hypothesis.name} ({each.hypothesis.claim}): {each.verdict}{tested}; {seeds}."
    told = placebo(runs)
    if not math.isnan(told.placebo.high) and not math.isnan(told.igpo.value):
        comes_to = "it has vanished" if told.vanished else "it has not vanished"
        yield (
            f"The placebo's lead over GRPO is {estimate_text(told.placebo)}, "
            f"igpo's {estimate_text(told.igpo)}: "
            f"{comes_to if told.leads else 'igpo has none that could vanish'}."
        )
    for run in runs:
        if run.outcome.stopped is not None:
            yield (
                f"{run.arm}, seed {run.seed}, could not go on after update {run.outcome.stopped}: its F1 "
                "counts as 0 from there."
            )
    if len(sources := {run.source for run in runs}) > 1:
        yield f"The runs were made by {len(sources)} states of the code: {', '.join(sorted(sources))}."


def chain_table(found: Sequence[Finding]) -> Table:
    """The tests and what they came to."""
    rows_ = tuple(
        (
            Cell(each.hypothesis.name, each.hypothesis.claim),
            Cell(f"{each.seeds[0]}, {each.seeds[1]}", "" if each.planned else "fewer than planned"),
            estimate_cell(each.ahead, best=each.verdict is Verdict.HOLDS),
            Cell(p_text(each.p)),
            Cell(each.verdict),
        )
        for each in found
    )
    return Table(("hypothesis", "seeds", "ahead", "p", "verdict"), rows_)


def arm_table(arms: Mapping[str, Sequence[StudyRun]]) -> Table:
    """Each arm at the end, and along training."""
    counts = planned_seeds()
    rows_ = []
    for name, runs in arms.items():
        end = [run.outcome.curve[-1] for run in runs]
        means = [run.outcome.means for run in runs]
        rows_.append(
            (
                Cell(name, f"{len(runs)} of {counts[name]} seeds, {world_of(name)}"),
                _over([point["validation_f1"] for point in end]),
                estimate_cell(of_arm(by_hops(runs), iqm)),
                _over([point.get("validation_em", math.nan) for point in end]),
                _over([point["tokens"] / 1000 for point in end]),
                _over([each.get("collapsed_groups", math.nan) for each in means], "percent"),
                _over([run.update_seconds for run in runs]),
                _over([each.get("unmoved_episodes", math.nan) for each in means], "percent"),
                _over([each.get("noisy_episodes", math.nan) for each in means], "percent"),
            )
        )
    header = ("arm", "F1", "IQM of F1", "exact match", "thousand tokens", "collapsed groups")
    more = ("core seconds an update", "episodes not moved", "episodes with noise")
    return Table((*header, *more), tuple(rows_), "At the end")


def hops_table(arms: Mapping[str, Sequence[StudyRun]]) -> Table:
    """F1 at the end by the number of hops."""
    names = sorted({n for runs in arms.values() for n in runs[0].outcome.curve[-1] if "_f1_hops_" in n})
    rows_ = tuple(
        (Cell(arm), *(_over([run.outcome.curve[-1].get(name, math.nan) for run in runs]) for name in names))
        for arm, runs in arms.items()
    )
    return Table(("arm", *(_hops(n.rpartition("_")[2]) for n in names)), rows_, "F1 by the number of hops")


def _hops(number: str) -> str:
    return f"{number} hop" if number == "1" else f"{number} hops"


def starts_table(arms: Mapping[str, Sequence[StudyRun]]) -> Table:
    """The lead of igpo over GRPO from each start, seed by seed."""
    found = {start: leads(arms, start) for start in STARTS}
    rows_ = tuple((Cell(start), Cell(f"{len(x)}"), _over(x)) for start, x in found.items() if x)
    return Table(("from", "seeds", "ahead of GRPO in F1 at the end"), rows_, "igpo by its start")


def placebo_table(runs: Sequence[StudyRun]) -> Table:
    """Leads over GRPO."""
    told = placebo(runs)
    named = {"placebo": told.placebo, "igpo": told.igpo, "noise, control (a)": told.noise}
    return Table(("arm", "ahead of GRPO"), tuple((Cell(n), estimate_cell(e)) for n, e in named.items()))


AGAINST = ("grpo", "igpo", "igpo-3")


def against_table(arms: Mapping[str, Sequence[StudyRun]]) -> Table:
    """Each arm against GRPO and against igpo of its world."""
    rows_ = []
    for base in AGAINST:
        for name, runs in arms.items():
            if base in arms and name != base and world_of(name) == world_of(base) and not _started(name):
                ours, theirs = by_hops(runs), by_hops(arms[base])
                ahead = lead(ends(runs), ends(arms[base]))
                rows_.append(
                    (
                        Cell(f"{name} against {base}"),
                        estimate_cell(ahead),
                        estimate_cell(improved(ours, theirs)),
                    )
                )
    return Table(("arms", "ahead in F1 at the end", "probability of improvement"), tuple(rows_))


def hacking_table(arms: Mapping[str, Sequence[StudyRun]], what: str) -> Table:
    """Guesses or forgeries at each validation, of the arms that differ in whose belief pays."""
    chosen = {name: arms[name] for name in ("grpo", "igpo", "frozen", "frozen-nano") if name in arms}
    updates = sorted({int(point["update"]) for runs in chosen.values() for point in runs[0].outcome.curve})
    rows_ = []
    for name, runs in chosen.items():
        told = [
            {int(p["update"]): p.get(f"validation_{what}", math.nan) for p in r.outcome.curve} for r in runs
        ]
        cells = (_over([each.get(at, math.nan) for each in told], "percent") for at in updates)
        rows_.append((Cell(name), *cells))
    return Table(("arm", *(f"update {at}" for at in updates)), tuple(rows_), HACKS[what])


def tuning_table(runs: Sequence[StudyRun]) -> Table:
    """Part 1: F1 at the end for each arm and rate."""
    found: dict[tuple[str, float], list[float]] = {}
    for run in runs:
        if run.part == 1:
            found.setdefault((run.arm, run.learning_rate), []).append(ends([run])[0])
    rows_ = tuple(
        (Cell(arm), Cell(f"{rate:g}"), Cell(f"{len(x)}"), Cell(number(float(np.mean(x)))))
        for (arm, rate), x in sorted(found.items())
    )
    return Table(("arm", "learning rate", "seeds", "F1 at the end"), rows_)


def _tuning_sentence(runs: Sequence[StudyRun]) -> str:
    known: Tuned | None = tuned(runs)
    if known is None:
        return "Part 1 is not whole: no learning rate is chosen."
    rates = ", ".join(f"{rate:g} for {family}" for family, rate in known.rates.items())
    return f"Chosen: {rates}. The study is {'slow' if known.slow else 'not slow'}."


def run_table(runs: Sequence[StudyRun]) -> Table:
    """Every run with its hash and its command."""
    rows_ = tuple(
        (
            Cell(run.hash),
            Cell(f"{run.part}"),
            Cell(run.arm),
            Cell(f"{run.seed}"),
            Cell(f"{run.learning_rate:g}"),
            Cell(f"{ends([run])[0]:.3f}"),
            Cell(f"{run.core_seconds:.0f}"),
            Cell(run.command),
        )
        for run in runs
    )
    header = ("hash", "part", "arm", "seed", "learning rate", "F1 at the end", "core-seconds", "command")
    return Table(header, rows_)


def _credit_section(credit: Mapping[str, Mapping[str, float]], runs: Sequence[StudyRun]) -> Section:
    title, found = "Does credit predict training?", predictions(credit, runs)
    if not found:
        return Section(title, (f"No credit measures are there yet; the arms will be {', '.join(POINTS)}.",))
    words = (
        "A point is an arm. Across: its credit measure on the same recorded episodes. Up: its lead in F1 at "
        f"the end over igpo in the same world. Below {FEWEST_POINTS} points there is no coefficient."
    )
    panels = {MEASURES[each.measure]: each.points for each in found}
    rows_ = tuple(
        (
            Cell(MEASURES[each.measure]),
            Cell(f"{len(each.points)}"),
            Cell(number(each.rho)),
            Cell(p_text(each.p)),
        )
        for each in found
    )
    return Section(
        title,
        (words,),
        images=(scatter(panels, "lead over igpo", "Credit measures against training results."),),
        tables=(Table(("credit measure", "arms", "Spearman's rho", "exact p"), rows_),),
    )


def _images(arms: Mapping[str, Sequence[StudyRun]]) -> tuple[Image, ...]:
    mixed = {name: runs for name, runs in arms.items() if world_of(name) == "one to four hops"}
    shown = {
        name: runs
        for name, runs in mixed.items()
        if name in ("grpo", "igpo", "igpo-joint", "placebo", "noise")
    }
    if not shown:
        return ()
    panels: dict[str, dict[str, list[tuple[float, Estimate]]]] = {}
    for x, title in (("update", "updates"), ("tokens", "tokens sampled")):
        panels[title] = {
            name: [
                (
                    float(np.mean([point[x] for point in points])),
                    of_arm(np.array([[point["validation_f1"]] for point in points])),
                )
                for points in zip(*(run.outcome.curve for run in runs), strict=True)
            ]
            for name, runs in shown.items()
        }
    heights = np.linspace(0, 1, 101)
    shares = {
        name: [
            (float(at), Estimate(float(share), math.nan, math.nan, len(runs)))
            for at, share in zip(heights, profile(by_hops(runs), heights), strict=True)
        ]
        for name, runs in shown.items()
    }
    igpo = {
        name: lead(ends(runs), ends(mixed["igpo"]))
        for name, runs in mixed.items()
        if name != "igpo" and "igpo" in mixed
    }
    title = "ahead of igpo in F1 at the end"
    return (
        lines(panels, "validation F1", "F1 against updates and tokens, means over seeds"),
        lines({"F1": shares}, "share of runs and hops above", "Performance profiles"),
        *((intervals({title: igpo}, {}, {}, {title: 0.0}, title),) if igpo else ()),
    )


def _over(values: Sequence[float], unit: str = "number") -> Cell:
    known = [value for value in values if not math.isnan(value)]
    return estimate_cell(of_arm(np.array(known)[:, None]), unit) if known else Cell(NOTHING)


def _started(name: str) -> bool:
    return "model" in dict(ARMS[name].changed)
