"""Does the packaged model do what it is for? Beliefs, gains and play on worlds it never saw.

    python -m benchmarks.nano                              # the packaged checkpoint, a few minutes
    python -m benchmarks.nano --model FOLDER --split validation --questions 120 --json out.json

The last parts are other worlds: names of three syllables, and searches that show two sentences of a document,
the rest of which has to be opened, in up to eight turns.

Every figure comes with its number of cases and a 95% interval over the questions. An AUC compares turns of
equal number alone. Use --split test to report, never to
choose anything: for that there is --split validation.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from igpo_gym.agents.policies.language_model import LanguageModelPolicy
from igpo_gym.agents.policies.scripted import Script, ScriptedAgent, noisy
from igpo_gym.data import resolve_questions
from igpo_gym.data.evidence import found_evidence
from igpo_gym.data.world import WorldQuestions, world_spec
from igpo_gym.data.world.oracle import judge_searches, known_hops, retrieved
from igpo_gym.episode import BELIEF, BeliefView, Episode, Invalid
from igpo_gym.lm.loading import load_model
from igpo_gym.lm.policy import Policy, Sampling
from igpo_gym.protocols import TAGS
from igpo_gym.rewards.belief_requests import belief_request
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.search import resolve_search
from igpo_gym.statistics import ANYTHING, SHARE, Bounds, Estimate, estimate, mean_over, stratified_auc
from igpo_gym.tools import queries as queries_of
from igpo_gym.tools import resolve_tools
from nano.playing import play_all

MODELS = Path(__file__).parents[1] / "igpo_gym" / "models"
TOP_K = 3
MAX_TURNS = 6
"""The environment's defaults."""

LONGER = 8
"""Turns where documents have to be opened."""


@dataclass(frozen=True)
class Figure:
    """A mean (or another statistic) with its interval."""

    value: float
    low: float
    high: float
    cases: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.cases}"


def mean(
    values: Iterable[float], questions: Sequence[str] | None = None, bounds: Bounds = ANYTHING
) -> Figure:
    """The mean; by default each value is of another question."""
    x = list(values)
    return figure(mean_over(x, range(len(x)) if questions is None else questions, bounds), len(x))


share = partial(mean, bounds=SHARE)
"""The mean of values from 0 to 1."""


@dataclass(frozen=True)
class Gain:
    """What a turn gained, or what the belief was at it."""

    question: str
    number: int
    """The turn's."""
    value: float


def mean_gain(gains: Sequence[Gain]) -> Figure:
    """The mean gain of turns."""
    return mean((gain.value for gain in gains), [gain.question for gain in gains])


def auc(positives: Sequence[Gain], negatives: Sequence[Gain]) -> Figure:
    """The chance that a positive exceeds a negative of a turn of equal number, ties counting half."""
    by_question: dict[str, tuple[list[Gain], list[Gain]]] = defaultdict(lambda: ([], []))
    for side, gains in enumerate((positives, negatives)):
        for gain in gains:
            by_question[gain.question][side].append(gain)
    samples = [
        tuple(
            np.array([getattr(gain, name) for gain in gains], dtype=float)
            for gains in sides
            for name in ("value", "number")
        )
        for sides in by_question.values()
    ]
    return figure(estimate(samples, stratified_auc, SHARE), len(positives))


def figure(found: Estimate, cases: int) -> Figure:
    return Figure(found.value, found.low, found.high, cases)


@dataclass
class Bench:
    """A model, a world, and what is asked of the one about the other."""

    model: Any
    tokenizer: Any
    questions: WorldQuestions

    def __post_init__(self) -> None:
        self.scorer = TransformersScorer(self.model, self.tokenizer)
        opens = self.questions.flaws.shown is not None
        self.tools = resolve_tools(
            "search + open" if opens else "search",
            retriever=resolve_search("bm25", self.questions),
            top_k=TOP_K,
            questions=self.questions,
        )
        self.protocol = TAGS.with_tools(tool.spec for tool in self.tools)
        self.max_turns = LONGER if opens else MAX_TURNS

    def episodes(self, policy: Policy) -> list[Episode]:
        """One episode for each question."""
        return play_all(policy, self.questions.questions, self.tools, self.max_turns)

    def agent(self, script: str | Script, seed: int = 0) -> ScriptedAgent:
        """A scripted agent for these questions and tools."""
        return ScriptedAgent(script, self.questions, self.protocol, seed)

    def elsewhere(self, **dials: Any) -> Bench:
        """The same model in a world that differs by its dials."""
        world = replace(self.questions.world, **dials)
        return Bench(self.model, self.tokenizer, cast("WorldQuestions", resolve_questions(world_spec(world))))

    def beliefs(self, episodes: Sequence[Episode], view: BeliefView = BELIEF) -> list[list[float]]:
        """The belief before the first turn and after every turn that the environment replied to."""
        requests = [
            belief_request(episode, turn, view, TAGS)
            for episode in episodes
            for turn in range(episode.states)
        ]
        found: list[float] = []
        for start in range(0, len(requests), 64):
            found += [belief.prob for belief in self.scorer.score(requests[start : start + 64])]
        probs = iter(found)
        return [list(islice(probs, episode.states)) for episode in episodes]


def kind_of(episode: Episode) -> str:
    """The row of the tables that an episode belongs to."""
    kind = episode.question.id.partition("/")[2].partition("-")[0]
    return f"{episode.question.hops} hops" if kind == "bridge" else kind


def expert_figures(bench: Bench) -> dict[str, Any]:
    """Beliefs along the expert's trajectories."""
    episodes = bench.episodes(bench.agent("expert"))
    rows: dict[str, dict[str, list[Gain]]] = defaultdict(lambda: defaultdict(list))
    for episode, beliefs in zip(episodes, bench.beliefs(episodes), strict=True):
        into, question = rows[kind_of(episode)], episode.question.id
        into["belief before"].append(Gain(question, 0, beliefs[0]))
        into["belief after"].append(Gain(question, 0, beliefs[-1]))
        steps = enumerate(pairwise(beliefs), 1)
        gains = [Gain(question, number, after - before) for number, (before, after) in steps]
        into["intermediate gain"] += gains[:-1]
        into["last gain"] += gains[-1:]
    return {
        kind: {name: mean_gain(values) for name, values in row.items()} for kind, row in sorted(rows.items())
    }


def gain_figures(bench: Bench) -> dict[str, Any]:
    """How well the gain of a turn tells useful searches from useless ones, over a noisy expert's turns."""
    episodes = bench.episodes(bench.agent(partial(noisy, rate=0.45), seed=1))
    gains: dict[str, dict[str, list[Gain]]] = defaultdict(lambda: defaultdict(list))
    for episode, beliefs in zip(episodes, bench.beliefs(episodes), strict=True):
        seen: set[str] = set()
        complete = False
        steps = zip(episode.turns, judge_searches(episode), beliefs[:-1], beliefs[1:], strict=False)
        for number, (turn, verdict, before, after) in enumerate(steps, 1):
            was_complete = complete
            seen |= found_evidence(episode.question, turn.passages)
            complete = all(known_hops(episode.question, seen))
            if verdict == "useful":
                name = "completes" if complete else "intermediate"
            elif verdict is None:
                name = "invalid after" if was_complete else "invalid"
            else:
                name = f"{verdict} after evidence" if was_complete else verdict
            gain = Gain(episode.question.id, number, after - before)
            gains[kind_of(episode)][name].append(gain)
            gains["all"][name].append(gain)
    table: dict[str, Any] = {}
    for kind, by_name in sorted(gains.items()):
        useless = [g for name, values in by_name.items() if name.startswith(("irr", "red")) for g in values]
        table[kind] = {
            "AUC completing": auc(by_name["completes"], useless),
            "AUC intermediate": auc(by_name["intermediate"], useless),
            **{f"gain, {name}": mean_gain(values) for name, values in sorted(by_name.items())},
        }
    return table


def policy_figures(bench: Bench, temperature: float) -> dict[str, Any]:
    """The model plays."""
    begun = time.perf_counter()
    sampling = Sampling(temperature=temperature, max_tokens=64)
    episodes = bench.episodes(
        LanguageModelPolicy(bench.scorer.reader, bench.tokenizer, bench.protocol, sampling)
    )
    seconds = time.perf_counter() - begun
    turns = [turn for episode in episodes for turn in episode.turns]
    queries = [
        (episode.question.id, query)
        for episode in episodes
        for turn in episode.turns
        for query in queries_of(turn.action)
    ]
    titles = {passage.title for passage in bench.questions.passages}
    right: dict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        hit = float(episode.prediction in episode.question.answers)
        right[f"EM, {kind_of(episode)}"].append(hit)
        right["EM"].append(hit)
    return {
        "valid actions": share(
            (not isinstance(turn.action, Invalid) for turn in turns),
            [episode.question.id for episode in episodes for _ in episode.turns],
        ),
        **{name: share(values) for name, values in sorted(right.items())},
        "answered": share(episode.prediction is not None for episode in episodes),
        "turns with tools": mean(episode.tool_turns for episode in episodes),
        "queries beyond a name": share(
            (query not in titles for _, query in queries), [q for q, _ in queries]
        ),
        "evidence found": share(all(known_hops(e.question, retrieved(e))) for e in episodes),
        "episodes a second": Figure(len(episodes) / seconds, float("nan"), float("nan"), len(episodes)),
    }


def influence_figures(bench: Bench) -> dict[str, Any]:
    """What an agent's own words do to the belief: its first turn's gain, by agent and context, and as a share
    of what the expert's whole chain gains on the same questions."""
    chains = bench.beliefs(bench.episodes(bench.agent("expert")))
    honest = np.mean([row[-1] - row[0] for row in chains])
    table = {}
    for name in ("irrelevant", "leaker", "forger"):
        episodes = bench.episodes(bench.agent(name))
        for context in ("full", "evidence"):
            gains = [row[1] - row[0] for row in bench.beliefs(episodes, BeliefView(context=context))]
            table[f"{name}, {context} context"] = {
                "first gain": mean(gains),
                "share of a chain": mean(float(gain / honest) for gain in gains),
            }
    return table


def elsewhere_figures(bench: Bench) -> dict[str, Any]:
    """Greedy play and the expert's last belief in worlds with other names, and with documents to open."""
    table = {}
    for name, dials in ELSEWHERE.items():
        other = bench.elsewhere(**dials)
        beliefs = other.beliefs(other.episodes(other.agent("expert")))
        greedy = policy_figures(other, 0.0)
        table[name] = {
            "belief after": mean(row[-1] for row in beliefs),
            **{key: value for key, value in greedy.items() if key.startswith(("EM", "valid", "turns"))},
        }
    return table


ELSEWHERE: dict[str, dict[str, Any]] = {
    "names of three syllables": {"long_names": 1.0},
    "two sentences shown": {"shown": 2},
}
"""Dials of other worlds."""


def time_figures(bench: Bench) -> dict[str, Any]:
    """Milliseconds of a belief call for 16 running episodes, median over turns; one call a turn."""
    episodes = bench.episodes(bench.agent("expert"))
    long = [episode for episode in episodes if len(episode.turns) >= 4][:16]
    times = []
    for _ in range(5):
        bench.scorer.clear()
        for turn in range(3):
            requests = [BeliefRequest(e.context(turn), e.question.answers, TAGS.probe) for e in long]
            begun = time.perf_counter()
            bench.scorer.score(requests)
            times.append(1000 * (time.perf_counter() - begun))
    return {
        "belief call, 16 episodes (ms)": Figure(float(np.median(times)), min(times), max(times), len(times))
    }


def load_bench(folder: Path, world: str) -> Bench:
    """A checkpoint and a world, by its spec."""
    questions = resolve_questions(world)
    assert isinstance(questions, WorldQuestions)
    return Bench(*load_model(folder, "cpu"), questions)


def show(console: Console, title: str, rows: dict[str, Any]) -> None:
    """Print nested figures as one table."""
    table = Table(title=title, title_justify="left")
    for column in ("", "figure", "value [95% interval]"):
        table.add_column(column)
    for name, row in rows.items():
        for figure, value in row.items() if isinstance(row, dict) else [("", row)]:
            table.add_row(name, figure, str(value))
    console.print(table)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODELS / "nano")
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--options", default="hops=1-4", help="world options, such as hops=3,documents=5000")
    parser.add_argument("--parts", default="expert,gain,greedy,sampled,influence,elsewhere,time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    options = ",".join(filter(None, (f"questions={args.questions}", args.options)))
    world = f"world:{args.split}#{options}"
    bench = load_bench(args.model, world)
    parts: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {
        "expert": ("Beliefs along the expert's trajectories", lambda: expert_figures(bench)),
        "gain": ("Gains of a noisy expert's turns", lambda: gain_figures(bench)),
        "greedy": ("Greedy play", lambda: policy_figures(bench, 0.0)),
        "sampled": ("Play at temperature 1", lambda: policy_figures(bench, 1.0)),
        "influence": ("The agent's own words", lambda: influence_figures(bench)),
        "elsewhere": ("Other worlds", lambda: elsewhere_figures(bench)),
        "time": ("Time", lambda: time_figures(bench)),
    }
    console = Console(width=110)
    results: dict[str, Any] = {"model": args.model.name, "world": world}
    for name in args.parts.split(","):
        title, measure = parts[name]
        results[name] = measure()
        show(console, f"{title} ({args.model.name} on {world})", results[name])
    if args.json:
        args.json.write_text(json.dumps(results, default=lambda figure: vars(figure), indent=2) + "\n")


if __name__ == "__main__":
    main()
