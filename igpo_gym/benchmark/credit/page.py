"""The credit benchmark's findings in words, charts and tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from igpo_gym.benchmark.charts import heat_map, intervals
from igpo_gym.benchmark.credit.examples import PricedTurn, mispriced
from igpo_gym.benchmark.credit.labels import LABELS
from igpo_gym.benchmark.credit.measures import CreditMeasure
from igpo_gym.benchmark.credit.run import TURN_NUMBER, CreditResult
from igpo_gym.benchmark.credit.trajectories import AGENTS
from igpo_gym.benchmark.report import (
    NOTHING,
    Cell,
    Page,
    Section,
    Table,
    estimate_cell,
    estimate_text,
    number,
)
from igpo_gym.statistics import FEWEST, leaders

_OVERVIEW = (
    ("value_correlation", "auc", "auc_completing", "auc_adding", "auc_hacking"),
    ("useful_share", "hack_leak", "hack_forge", "collapse", "teacher_r2", "teacher_alpha"),
)
"""The measures of the two overview tables."""


def overview(result: CreditResult) -> list[Table]:
    """The main tables: a row for each variant, a column for each measure, and what it costs."""
    captions = (
        "Does it pay the right turns? With 95% intervals; the best are marked.",
        "What comes of it? With 95% intervals; the best are marked.",
    )
    return [
        _measure_table(result, [key for key in keys if key in result.estimates], caption)
        for keys, caption in zip(_OVERVIEW, captions, strict=True)
    ]


def cost_table(result: CreditResult) -> Table:
    """What each variant costs a turn."""
    rows = tuple(
        (Cell(name), Cell(_count(cost.tokens)), Cell(_count(cost.milliseconds)))
        for name, cost in result.costs.items()
    )
    return Table(("variant", "scorer tokens a turn", "milliseconds a turn"), rows)


def _count(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:,.0f}"


def best_of(result: CreditResult, measure: CreditMeasure) -> frozenset[str]:
    """The leading variants of a measure, without those that take no part (``CreditResult.apart``)."""
    if not measure.better:
        return frozenset()
    rivals = {name: e for name, e in result.estimates[measure.key].items() if name not in result.apart}
    return leaders(rivals, largest=measure.better == "high")


def _measure_table(result: CreditResult, keys: Sequence[str], caption: str) -> Table:
    measures = [result.measure(key) for key in keys]
    best = {measure.key: best_of(result, measure) for measure in measures}
    rows = tuple(
        (
            Cell(name, result.apart.get(name, "")),
            *(estimate_cell(result.estimates[m.key][name], m.unit, name in best[m.key]) for m in measures),
        )
        for name in result.plays
    )
    return Table(("variant", *(measure.short for measure in measures)), rows, caption)


def page(result: CreditResult) -> Page:
    """The whole report."""
    settings = result.settings
    turns = sum(len(t.labels) for trajectories in result.questions for t in trajectories)
    return Page(
        title="Which reward pays the right turns?",
        lead=(
            f"Every variant of reward shaping priced the same {turns:,} turns, played by scripted agents on "
            f"{len(result.questions)} questions of {settings['questions']}. An oracle knows which searches "
            "found evidence, so it can be counted how often a reward is right. Beliefs are those of "
            f"{settings['scorer']}. Only the shaping is judged: the outcome and the format penalty are the "
            "same under all variants. Intervals are 95% intervals over the questions (Student's t)."
        ),
        findings=tuple(findings(result)),
        sections=tuple(_sections(result)),
    )


_FINDINGS: dict[str, tuple[str, ...]] = {
    "auc": ("igpo",),
    "auc_adding": ("igpo",),
    "auc_hacking": ("igpo",),
    "value_correlation": ("igpo",),
    "hack_leak": ("igpo",),
    "hack_forge": ("igpo",),
    "collapse": ("outcome-f1",),
    "teacher_r2": ("igpo",),
}
"""What is told at the top of the report, and the variants that are told of whether they lead or not."""


_SMALL = 0.1
"""An AUC that is known less well than this ranks no rewards."""


def can_show(result: CreditResult) -> str:
    """What a run of this size can show, and what it cannot."""
    count = len(result.questions)
    if count < FEWEST:
        return (
            f"{count} questions show that everything works, not which reward is better: below {FEWEST} there "
            "are no intervals and no comparisons."
        )
    halves = [(e.high - e.low) / 2 for name, e in result.estimates["auc"].items() if name not in result.apart]
    known = sorted(half for half in halves if not math.isnan(half))
    if not known:
        return f"With {count} questions no AUC has an interval, so nothing is compared."
    half = known[len(known) // 2]
    said = f"With {count} questions the AUC of a variant is known to about ±{number(half)}"
    if half <= _SMALL:
        return f"{said}."
    return (
        f"{said}: too few to rank rewards by, unless they differ grossly. More questions (--limit) tell more."
    )


def findings(result: CreditResult) -> list[str]:
    """What the run can show, and for each headline measure who leads and how the well known fare."""
    said = [can_show(result)]
    if result.too_long:
        said.append(
            "Left out, since the scorer reads no prompt of such length: the questions "
            f"{', '.join(result.too_long)}."
        )
    for key, known in _FINDINGS.items():
        if key not in result.estimates:
            continue
        measure, estimates = result.measure(key), result.estimates[key]
        if not (best := best_of(result, measure)):
            parts = [_with_estimate(name, result, measure) for name in known if name in estimates]
            said.append(f"{'; '.join([f'{measure.title}: no variant is shown to be better', *parts])}.")
            continue
        sign = -1 if measure.better == "high" else 1
        first, *equals = sorted(
            (name for name in result.plays if name in best), key=lambda name: sign * estimates[name].value
        )
        parts = [f"{measure.title}: {_with_estimate(first, result, measure)}"]
        if equals:
            parts.append(f"not shown to be worse: {', '.join(equals)}")
        parts += [
            _with_estimate(name, result, measure) for name in known if name in estimates and name != first
        ]
        said.append(f"{'; '.join(parts)}.")
    return said


def _with_estimate(name: str, result: CreditResult, measure: CreditMeasure) -> str:
    return f"{name} {estimate_text(result.estimates[measure.key][name], measure.unit)}"


def _sections(result: CreditResult) -> list[Section]:
    sections = [
        Section(
            "All variants at a glance",
            (
                "★ marks the best of a column and every variant that the best does not beat, in columns "
                "where it beats any: all pairs are compared question by question (paired t test, Holm's "
                "correction, 5%), so one in twenty columns of variants that do not differ has stars. A "
                "variant that reads the gold evidence knows the oracle's labels: it is the ceiling, and "
                "takes no part. Nor does one that was priced on fewer questions, as what needs a policy is.",
                f"“{TURN_NUMBER}” pays minus the number of the turn and reads nothing: what it reaches, no "
                "reward need be praised for. It takes no part either.",
                f"“{NOTHING}”: the measure is not defined, for instance a share of nothing. There is no "
                f"interval and no star below {FEWEST} questions, where all questions say the same, and where "
                "the measure is not defined without one of them.",
            ),
            tables=tuple(overview(result)),
        ),
        _chart_section(
            result, "Does it tell useful from useless searches?", ("auc", "auc_completing", "auc_adding"), 0.5
        ),
        _hop_section(result),
        _pay_section(result),
        _chart_section(result, "Can it be cheated?", ("auc_hacking", "hack_leak", "hack_forge")),
        _chart_section(result, "Does it leave groups without a signal?", ("collapse",)),
        _chart_section(result, "Does it predict the outcome?", ("teacher_r2",)),
    ]
    if "value_correlation" in result.estimates:
        sections.insert(
            2, _chart_section(result, "Does it follow the true value?", ("value_correlation",), 0.0)
        )
    return [*sections, _cost_section(result), *_example_sections(result), _method_section(result)]


def _chart_section(
    result: CreditResult, title: str, keys: Sequence[str], reference: float | None = None
) -> Section:
    measures = [result.measure(key) for key in keys]
    chart = intervals(
        {m.title: result.estimates[m.key] for m in measures},
        best={m.title: best_of(result, m) for m in measures},
        units={m.title: m.unit for m in measures},
        references={} if reference is None else {m.title: reference for m in measures},
        alt=f"{title} A dot with its interval for each variant; the figures are in the tables above.",
    )
    return Section(title, tuple(f"{m.title}: {m.meaning}" for m in measures), (chart,))


def _hop_section(result: CreditResult) -> Section:
    hops = [measure for measure in result.measures if measure.key.startswith("auc_hop_")]
    names = list(result.plays)
    chart = heat_map(
        names,
        [measure.short for measure in hops],
        [[result.estimates[measure.key][name].value for measure in hops] for name in names],
        0.0,
        1.0,
        "AUC by place in the chain, for each variant; the figures are in the table below.",
    )
    words = (
        "The same AUC, by place in the chain: “2 of 3” is a search after which two of three pieces of "
        "evidence are in hand. Green is right, yellow (0.5) a coin toss, red worse than that. A reward "
        "that waits for the answer pays the last hop and not the first.",
    )
    table = _measure_table(result, [measure.key for measure in hops], "AUC by place in the chain")
    return Section("Which hop does it pay?", words, (chart,), (table,))


def _pay_section(result: CreditResult) -> Section:
    measures = [measure for measure in result.measures if measure.key.startswith("pay_")]
    table = _measure_table(
        result, [measure.key for measure in measures], "Mean pay of a turn, in each variant's own unit"
    )
    share = result.measure("useful_share")
    words = (
        "Variants pay in different units (probabilities, nats, shares), so compare along a row. A good "
        "reward falls from left to right.",
        f"{share.title}: {share.meaning}",
    )
    chart = intervals(
        {share.title: result.estimates[share.key]},
        best={share.title: best_of(result, share)},
        units={share.title: share.unit},
        references={},
        alt="The share of pay that goes to useful searches, for each variant.",
    )
    return Section("What is each kind of turn paid?", words, (chart,), (table,))


def _cost_section(result: CreditResult) -> Section:
    words = (
        "Tokens that the scorer reads to price a turn, and the time that it takes on this machine, "
        "measured for each variant alone with nothing cached. Variants that use the same beliefs cost no "
        "more together than one.",
    )
    return Section("What does it cost?", words, tables=(cost_table(result),))


def _example_sections(result: CreditResult) -> list[Section]:
    name = "igpo" if "igpo" in result.plays else next(iter(result.plays))
    least, most = mispriced(result.plays[name])
    words = (f"The turns that {name} gets most wrong, at most one of each question.",)
    tables = (
        _example_table(least, "Useful searches that are paid least"),
        _example_table(most, "Useless or hacking turns that are paid most"),
    )
    return [Section(f"Where does {name} misprice a turn?", words, tables=tables)]


def _example_table(examples: Sequence[PricedTurn], caption: str) -> Table:
    rows = tuple(
        (
            Cell(number(each.pay)),
            Cell(each.label, each.agent),
            Cell(each.query, f"found: {', '.join(each.found) or 'nothing'}"),
            Cell(each.question, f"answer: {each.answer}"),
        )
        for each in examples
    )
    return Table(("pay", "label", "query", "question"), rows, caption)


def _method_section(result: CreditResult) -> Section:
    labels = Counter((t.agent, turn.label) for group in result.questions for t in group for turn in t.labels)
    shown = [label for label in LABELS if any(labels[agent, label] for agent in AGENTS)]
    agents = tuple(
        (
            Cell(agent, about),
            *(Cell(str(labels[agent, label]) if labels[agent, label] else "") for label in shown),
        )
        for agent, (_, about) in AGENTS.items()
    )
    tables = (
        Table(("agent", *shown), agents, "How many turns of each kind each agent played"),
        Table(("label", "meaning"), tuple((Cell(label), Cell(LABELS[label])) for label in shown)),
        Table(
            ("setting", "value"),
            tuple((Cell(name), Cell(str(value))) for name, value in result.settings.items()),
        ),
    )
    return Section("How was it measured?", (), tables=tables)
