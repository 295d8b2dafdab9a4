"""The training benchmark's findings in words, charts and tables, and as files for other programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from igpo_gym.benchmark.charts import intervals, lines
from igpo_gym.benchmark.report import (
    Cell,
    Page,
    Section,
    Table,
    csv_text,
    estimate_cell,
    json_text,
    markdown_table,
    number,
    render,
)
from igpo_gym.benchmark.training.measures import (
    MEASURES,
    Measure,
    along,
    by_variant,
    curves,
    estimates,
    final,
    improvement,
    reached,
)
from igpo_gym.benchmark.training.run import Outcome, Variant
from igpo_gym.statistics import Estimate, leaders

X_AXES = {"update": "updates", "tokens": "tokens written", "seconds": "seconds of training"}


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """All that the report is made from."""

    outcomes: tuple[Outcome, ...]
    baseline: Variant
    settings: Mapping[str, Any]
    bias: Mapping[str, Mapping[str, Estimate]]
    """The drift of each estimator on noise, by the kind of outcome (see ``bias.OUTCOMES``)."""

    @property
    def threshold(self) -> float:
        """The F1 to reach: the best that the baseline reached, as the mean of the middle half of its runs."""
        return max(height.value for _, height in curves(self.outcomes, "update")[self.baseline])


def overview(result: TrainingResult) -> list[Table]:
    """Tables with a row for each variant and a column for each measure: scores, then behavior."""
    scores = [measure for measure in MEASURES if measure.score]
    others = [measure for measure in MEASURES if not measure.score]
    return [
        _measure_table(
            result, scores, "How good is it? Means of the middle half of the seeds, with 95% intervals"
        ),
        _measure_table(result, others, "How does it behave? Means of the middle half of the seeds"),
    ]


def _measure_table(result: TrainingResult, measures: Sequence[Measure], caption: str) -> Table:
    columns = {measure: estimates(result.outcomes, measure) for measure in measures}
    best = {measure: leaders(_named(found)) for measure, found in columns.items() if measure.score}
    rows = tuple(
        (
            Cell(str(variant), f"seeds: {len(runs)}"),
            *(
                estimate_cell(found[variant], measure.unit, str(variant) in best.get(measure, ()))
                for measure, found in columns.items()
            ),
        )
        for variant, runs in by_variant(result.outcomes).items()
    )
    return Table(("variant", *(measure.title for measure in measures)), rows, caption)


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
    return Table(("estimator", *kinds), rows, "Gradient on stopping; positive: episodes become shorter")


def findings(result: TrainingResult) -> Iterator[str]:
    """What the figures come to, a sentence each."""
    ends = _named(estimates(result.outcomes, MEASURES[0]))
    best = leaders(ends)
    top = max(best or ends, key=lambda name: ends[name].value)
    others = sorted(best - {top})
    if not best:
        rest = "; with one seed there are no intervals, and no difference is sure."
    elif others:
        rest = f"; not surely worse: {', '.join(others)}."
    else:
        rest = ", surely better than all others."
    yield f"Best F1 at the end: {top}, {_told(ends[top])}{rest}"
    for title, of in (("at the end", final), ("along the run", along)):
        chances = _named(improvement(result.outcomes, result.baseline, of))
        surely = [f"{name} ({_told(each)})" for name, each in chances.items() if each.low > 0.5]
        worse = [f"{name} ({_told(each)})" for name, each in chances.items() if each.high < 0.5]
        yield (
            f"Chance to beat {result.baseline} {title}: surely above one half for "
            f"{', '.join(surely) or 'none'}; surely below for {', '.join(worse) or 'none'}."
        )
    biased = [
        f"{name} ({kind}: {_told(each)})"
        for name, found in result.bias.items()
        for kind, each in found.items()
        if each.low > 0 or each.high < 0
    ]
    yield f"Estimators that drift in length on noise: {'; '.join(biased) or 'none'}."


def page(result: TrainingResult) -> Page:
    """The whole report."""
    seeds = len({outcome.seed for outcome in result.outcomes})
    lines_of = {title: _named(curves(result.outcomes, x)) for x, title in X_AXES.items()}
    chances = {
        f"chance to beat the baseline {title}": _named(improvement(result.outcomes, result.baseline, of))
        for title, of in (("at the end", final), ("along the run", along))
    }
    return Page(
        title="Which reward trains best?",
        lead=(
            f"Every variant trained {result.settings['model']} for {result.settings['updates']} updates of "
            f"{result.settings['batch_questions']} questions x {result.settings['group_size']} rollouts on "
            f"{result.settings['questions']}, with {seeds} seeds; F1 is that of play at temperature "
            f"{result.settings['validation_temperature']:g} on "
            f"{result.settings['validation_questions']} questions of {result.settings['validation']}. "
            "Intervals are 95% bootstrap intervals over the seeds. The baseline is the first variant."
        ),
        findings=tuple(findings(result)),
        sections=(
            Section(
                "Learning curves",
                ("Means of the middle half of the seeds; the bands are 95% intervals.",),
                images=(lines(lines_of, "validation F1", "F1 against updates, tokens and time"),),
            ),
            Section("All variants at a glance", tables=(*overview(result), speed_table(result))),
            Section(
                "Is it better than the baseline?",
                ("The chance that a run of the variant beats one of the baseline; one half is no better.",),
                images=(
                    intervals(
                        chances, {}, dict.fromkeys(chances, "percent"), dict.fromkeys(chances, 0.5), "chances"
                    ),
                ),
            ),
            Section(
                "Does the estimator teach where there is nothing to learn?",
                (
                    "The expected gradient on the chance to stop when gains and outcomes are noise, in "
                    "standard deviations of a batch's gradient. An interval without 0 is a bias.",
                ),
                tables=(bias_table(result),),
            ),
        ),
    )


def training_files(result: TrainingResult) -> dict[str, str]:
    """The texts of all files, by name.

    ``report.html`` for people, its tables in ``tables.md`` for documents; ``measures.csv`` with every
    estimate, ``curves.csv`` with every validation of every run, and ``training.json`` with all of it.
    """
    report = page(result)
    tables = [table for section in report.sections for table in section.tables]
    points = [
        {"variant": str(outcome.variant), "seed": outcome.seed, **point}
        for outcome in result.outcomes
        for point in outcome.curve
    ]
    rows = [
        {
            "measure": m.key,
            "variant": str(v),
            "value": e.value,
            "low": e.low,
            "high": e.high,
            "seeds": e.units,
        }
        for m in MEASURES
        for v, e in estimates(result.outcomes, m).items()
    ]
    return {
        "report.html": render(report),
        "tables.md": "\n".join(markdown_table(table) for table in tables),
        "curves.csv": csv_text(points, tuple(dict.fromkeys(name for point in points for name in point))),
        "measures.csv": csv_text(rows, tuple(rows[0])),
        "training.json": json_text(
            {
                "settings": result.settings,
                "runs": [asdict(outcome) for outcome in result.outcomes],
                "estimates": rows,
            }
        ),
    }


def _named(found: Mapping[Variant, Any]) -> dict[str, Any]:
    return {str(variant): value for variant, value in found.items()}


def _told(estimate: Estimate) -> str:
    cell = estimate_cell(estimate)
    return f"{cell.text} {cell.detail}".strip()
