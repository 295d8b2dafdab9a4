"""The training benchmark's findings in words, charts and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from igpo_gym.agents.training.alarms import ALARMS
from igpo_gym.benchmark.charts import intervals, lines
from igpo_gym.benchmark.report import (
    Cell,
    Page,
    Section,
    Table,
    estimate_cell,
    estimate_text,
    number,
    p_text,
)
from igpo_gym.benchmark.training.measures import (
    MEASURES,
    TrainingMeasure,
    Versus,
    against,
    alarm_curves,
    alarming,
    along,
    by_variant,
    curves,
    estimates,
    final,
    reached,
)
from igpo_gym.benchmark.training.outcomes import Variant
from igpo_gym.benchmark.training.run import TrainingResult
from igpo_gym.statistics import FEWEST, LEVEL, detectable, holm, p_value

X_AXES = {"update": "updates", "tokens": "tokens written", "seconds": "seconds of training"}


def overview(result: TrainingResult) -> list[Table]:
    """Tables with a row for each variant and a column for each measure: scores, then behavior."""
    scores = [measure for measure in MEASURES if measure.score]
    others = [measure for measure in MEASURES if not measure.score]
    return [
        _measure_table(result, scores, "How good is it? Means over the seeds, with 95% intervals"),
        _measure_table(result, others, "How does it behave? Means over the seeds, with 95% intervals"),
    ]


def _measure_table(result: TrainingResult, measures: Sequence[TrainingMeasure], caption: str) -> Table:
    columns = {measure: estimates(result.outcomes, measure) for measure in measures}
    rows = tuple(
        (
            Cell(str(variant), f"seeds: {len(runs)}"),
            *(estimate_cell(found[variant], measure.unit) for measure, found in columns.items()),
        )
        for variant, runs in by_variant(result.outcomes).items()
    )
    return Table(("variant", *(measure.title for measure in measures)), rows, caption)


def baseline_table(result: TrainingResult) -> Table:
    """How each variant compares with the baseline in F1 at the end, and along the run beside it."""
    ends, means = (against(result.outcomes, result.baseline, of) for of in (final, along))
    rows = tuple(
        (
            Cell(str(variant), f"seeds in common: {end.ahead.units}"),
            estimate_cell(end.ahead, best=_told_apart(end) and end.ahead.value > 0),
            Cell(p_text(end.p)),
            Cell(p_text(end.corrected)),
            Cell(p_text(end.exact)),
            Cell(number(end.chance)),
            estimate_cell(means[variant].ahead),
        )
        for variant, end in ends.items()
    )
    header = (
        "variant",
        "ahead in F1 at the end",
        "p",
        "p, corrected",
        "p, permutation",
        "chance to beat a run of it",
        "ahead in F1 along the run",
    )
    return Table(header, rows, f"Against {result.baseline}")


def _told_apart(versus: Versus) -> bool:
    return versus.corrected < LEVEL


def speed_table(result: TrainingResult) -> Table:
    """How soon each variant is as good as the baseline in the end."""
    times = reached(result.outcomes, result.threshold)
    rows = tuple(
        (
            Cell(str(variant)),
            Cell(f"{median:.0f}" if math.isfinite(median) else "never"),
            Cell(number(share, "percent")),
        )
        for variant, (median, share) in times.items()
    )
    caption = f"Updates until validation F1 is {result.threshold:.2f}, the best of the baseline"
    return Table(("variant", "median updates", "runs that got there"), rows, caption)


def bias_table(result: TrainingResult) -> Table:
    """What each estimator teaches where there is nothing to learn."""
    kinds = tuple(dict.fromkeys(kind for found in result.bias.values() for kind in found))
    rows = tuple(
        (Cell(name), *(estimate_cell(found[kind]) for kind in kinds)) for name, found in result.bias.items()
    )
    caption = "Gradient on stopping; positive: episodes become shorter"
    return Table(("estimator", *kinds), rows, f"{caption}. Gamma is {result.settings['gamma']:g}")


def can_show(result: TrainingResult) -> str:
    """What a run of this size can show, and what it cannot."""
    seeds = min(map(len, by_variant(result.outcomes).values()))
    if seeds < FEWEST:
        count = "1 seed shows" if seeds == 1 else f"{seeds} seeds show"
        return (
            f"{count} that the variants train and what they cost, not which is better: below {FEWEST} seeds "
            "there are no intervals and no tests."
        )
    found = against(result.outcomes, result.baseline)
    least = [detectable(each.ahead, len(found)) for each in found.values()]
    known = sorted(each for each in least if not math.isnan(each))
    if not known:
        return f"With {seeds} seeds and nothing to compare with the baseline, nothing is tested."
    return (
        f"With {seeds} seeds and {len(found)} to compare with the baseline, a lead in F1 at the end is told "
        f"from luck where it is about {number(known[len(known) // 2])} or more."
    )


def findings(result: TrainingResult) -> Iterator[str]:
    """What the run can show, and what its figures come to, a sentence each."""
    yield can_show(result)
    found = against(result.outcomes, result.baseline)
    tested = {variant: each for variant, each in found.items() if not math.isnan(each.p)}
    if tested:
        ends = estimates(result.outcomes, MEASURES[0])
        top = max((result.baseline, *tested), key=lambda variant: ends[variant].value)
        yield f"Highest mean F1 at the end: {top}, {estimate_text(ends[top])}."
        apart = {variant: each for variant, each in tested.items() if _told_apart(each)}
        better = [_compared(variant, each) for variant, each in apart.items() if each.ahead.value > 0]
        worse = [_compared(variant, each) for variant, each in apart.items() if each.ahead.value < 0]
        same = [_compared(variant, each) for variant, each in tested.items() if variant not in apart]
        yield (
            f"Against {result.baseline} in F1 at the end: better {', '.join(better) or 'none'}; worse "
            f"{', '.join(worse) or 'none'}; not told apart {', '.join(same) or 'none'}."
        )
    drifts = [(name, kind, each) for name, kinds in result.bias.items() for kind, each in kinds.items()]
    corrected = holm([p_value(each) for _, _, each in drifts])
    biased = [
        f"{name} ({kind}: {estimate_text(each)})"
        for (name, kind, each), p in zip(drifts, corrected, strict=True)
        if p < LEVEL
    ]
    yield f"Estimators that drift in length on noise: {'; '.join(biased) or 'none'}."
    for outcome in result.outcomes:
        if outcome.stopped is not None:
            yield (
                f"{outcome.variant}, seed {outcome.seed}, could not go on after update {outcome.stopped}: "
                "its scores count as 0 from there."
            )
    runs_of = by_variant(result.outcomes)
    for variant, raised in alarming(result.outcomes).items():
        for alarm, seeds in raised.items():
            runs = f"in {len(seeds)} of {len(runs_of[variant])} runs"
            yield f"Alarm {alarm.name}, {variant}, {runs}: {alarm.sentence}."


def _compared(variant: Variant, versus: Versus) -> str:
    return f"{variant} (ahead by {estimate_text(versus.ahead)}, corrected p {p_text(versus.corrected)})"


def page(result: TrainingResult) -> Page:
    """The whole report."""
    seeds = len({outcome.seed for outcome in result.outcomes})
    lines_of = {title: _named(curves(result.outcomes, x)) for x, title in X_AXES.items()}
    ahead = {
        f"ahead in F1 {title}": {
            str(variant): each.ahead
            for variant, each in against(result.outcomes, result.baseline, of).items()
        }
        for title, of in (("at the end", final), ("along the run", along))
    }
    return Page(
        title="Which reward trains best?",
        lead=(
            f"Every variant trained {result.settings['model']} for {result.settings['updates']} updates of "
            f"{result.settings['batch_questions']} questions x {result.settings['group_size']} rollouts on "
            f"{result.settings['questions']}, with {seeds} seeds; F1 is that of play at temperature "
            f"{result.settings['validation_temperature']:g} on "
            f"{result.settings['validation_questions']} questions of "
            f"{result.settings['validation'] or 'what is held out for validation'}. "
            f"Intervals are 95% intervals over the seeds (Student's t), from {FEWEST} seeds on. The baseline "
            "is the first variant."
        ),
        findings=tuple(findings(result)),
        sections=(
            Section(
                "Learning curves",
                (f"Means over the seeds; the bands are 95% intervals, from {FEWEST} seeds on.",),
                images=(lines(lines_of, "validation F1", "F1 against updates, tokens and time"),),
            ),
            Section("All variants at a glance", tables=(*overview(result), speed_table(result))),
            Section(
                "Is it better than the baseline?",
                (
                    "F1 at the end decides, and was named before the run: each variant is held against the "
                    "baseline seed by seed (paired t test), and p is corrected for the number of variants "
                    "(Holm). ★ marks a lead whose corrected p is below 0.05; of benchmarks of variants that "
                    "do not differ one in twenty has one. The permutation test takes the runs for unpaired "
                    "and assumes nothing about their distribution. F1 along the run is shown and not tested.",
                ),
                images=(
                    intervals(
                        ahead,
                        {},
                        {},
                        dict.fromkeys(ahead, 0.0),
                        "How far each variant is ahead of the baseline; the figures are in the table below.",
                    ),
                ),
                tables=(baseline_table(result),),
            ),
            _alarms(result),
            Section(
                "Does the estimator teach where there is nothing to learn?",
                (
                    "The expected gradient on the chance to stop when gains and outcomes are noise, in "
                    "standard deviations of a batch's gradient.",
                ),
                tables=(bias_table(result),),
            ),
        ),
    )


def _alarms(result: TrainingResult) -> Section:
    """What is watched, how near to alarming it came, and in which runs it was."""
    panels = {alarm.name: _named(alarm_curves(result.outcomes, alarm)) for alarm in ALARMS}
    drawn = {name: found for name, found in panels.items() if found}
    alt = "Each alarm's curve over its threshold; the numbers are in training.json"
    known = alarming(result.outcomes)
    rows = tuple(
        (
            Cell(alarm.name),
            Cell(number(alarm.threshold)),
            Cell(alarm.sentence),
            Cell(", ".join(f"{v}: {len(own[alarm])}" for v, own in known.items() if alarm in own) or "none"),
        )
        for alarm in ALARMS
    )
    return Section(
        "Are rewards hacked?",
        (
            "Means over the seeds of each alarm's curve, over its threshold: above 1 it is raised. A curve "
            "begins with the fifth update. The table counts the runs in which it was raised at any update.",
        ),
        images=(lines(drawn, "curve over threshold", alt, level=1.0),) if drawn else (),
        tables=(Table(("alarm", "threshold", "what it says", "runs with it"), rows, "Alarms"),),
    )


def _named(found: Mapping[Variant, Any]) -> dict[str, Any]:
    return {str(variant): value for variant, value in found.items()}
