"""How far beliefs move with the forms in which the published code and this package ask for them.

    python scripts/belief_deviations.py r1_searcher_hotpotqa60.jsonl --aliases questions.parquet

Every transcript of R1-Searcher is asked about in the forms of ``requests``, with the same answers, by
SmolLM2-135M. What is printed stands in docs/METHOD.md, section 8. The CPU time is bounded: what it does not
suffice for is left out, as is what comes after Ctrl-C. With ``--keep FILE`` the beliefs are written there, a
transcript a line, and the same command goes on where the one before it ended.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from igpo_gym.agents.rollouts.transcripts import read_transcripts
from igpo_gym.data import resolve_questions
from igpo_gym.episode import Answer, BeliefView, Episode, Segment, ToolCalls, Turn
from igpo_gym.protocols import ANSWER_PROBE, TAGS, TextProtocol
from igpo_gym.protocols.igpo import igpo
from igpo_gym.protocols.probe import OPEN_PROBE
from igpo_gym.rewards.belief_requests import belief_request
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest
from igpo_gym.scorers.local import TransformersScorer
from igpo_gym.statistics import rank_correlation


def replayed(episode: Episode, protocol: TextProtocol) -> Episode:
    """The same thoughts, calls and passages, in the form of a protocol."""
    made = Episode(episode.question, protocol.prompt(episode.question))
    for turn in episode.turns:
        action = turn.action
        if not isinstance(action, ToolCalls | Answer):
            break
        thought = turn.message.partition("<|begin_of_query|>")[0].partition("<answer>")[0]
        for tag in ("<think>", "</think>"):
            thought = thought.replace(tag, "")
        message = protocol.write(action, thought.strip())
        segments: tuple[Segment, ...] = (Segment("agent", "assistant", message),)
        if isinstance(action, ToolCalls):
            body, _ = protocol.results(list(zip(action.calls, turn.results, strict=True)))
            segments += protocol.reply(body)
        made.turns.append(Turn(message, action, segments, turn.results))
    return made


def searches(episode: Episode) -> int:
    """How many turns in front are searches with a reply: so many gains are compared."""
    return len(list(itertools.takewhile(lambda turn: isinstance(turn.action, ToolCalls), episode.turns)))


def requests(episode: Episode) -> dict[str, list[BeliefRequest]]:
    """What is asked about a transcript in each form, state by state."""
    answers, states = episode.question.answers, range(searches(episode) + 1)
    thought = Segment("environment", "assistant", "<think>")
    published, tags = replayed(episode, igpo(think=True)), replayed(episode, TAGS)
    return {
        PUBLISHED: [BeliefRequest(published.context(n), answers, OPEN_PROBE) for n in states],
        f"{PUBLISHED}, one text at the seam": [
            BeliefRequest(published.context(n)[:-1], answers, ANSWER_PROBE) for n in states
        ],
        "tags": [BeliefRequest(tags.context(n), answers, ANSWER_PROBE) for n in states],
        "tags, the published seam": [
            BeliefRequest((*tags.context(n), thought), answers, OPEN_PROBE) for n in states
        ],
        "tags, evidence alone": [
            belief_request(tags, n, BeliefView(context="evidence"), TAGS) for n in states
        ],
    }


Beliefs = dict[str, np.ndarray]
"""The log belief in each state of a transcript, by form."""

PUBLISHED = "igpo(think=true)"
"""The form of the published code: JSON calls and replies, a thought that the environment opens, and a probe
that is tokenized apart from it."""

PAIRS = (
    (PUBLISHED, f"{PUBLISHED}, one text at the seam"),
    ("tags, the published seam", "tags"),
    (PUBLISHED, "tags"),
    ("tags", "tags, evidence alone"),
)
"""What is compared."""


def log_beliefs(scorer: AnswerScorer, asked: Sequence[BeliefRequest], alias: str = "max") -> np.ndarray:
    """The log belief in each state, by the likeliest answer or by the first."""
    found = [belief.log_probs for belief in scorer.score(asked)]
    return np.array([max(each) if alias == "max" else each[0] for each in found])


def compared(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> dict[str, float]:
    """How two forms differ, over all states and over all gains of log-probability and of probability."""
    apart = np.concatenate(one) - np.concatenate(other)
    gains = [np.concatenate([np.diff(each) for each in side]) for side in (one, other)]
    probs = [np.concatenate([np.diff(np.exp(each)) for each in side]) for side in (one, other)]
    return {
        "states": len(apart),
        "mean": float(apart.mean()),
        "mean |difference|": float(np.abs(apart).mean()),
        "largest": float(np.abs(apart).max()),
        "gains": len(gains[0]),
        "mean |log gain|": float(np.abs(gains[0]).mean()),
        "mean |difference of log gains|": float(np.abs(gains[0] - gains[1]).mean()),
        "same sign of log gain": float((np.sign(gains[0]) == np.sign(gains[1])).mean()),
        "rank correlation of log gains": rank_correlation(*gains),
        "mean |gain|": float(np.abs(probs[0]).mean()),
        "mean |difference of gains|": float(np.abs(probs[0] - probs[1]).mean()),
        "rank correlation of gains": rank_correlation(*probs),
    }


def aliases(scorer: AnswerScorer, file: Path, count: int) -> dict[str, float]:
    """Of questions with several answers: the first alias against the likeliest, after the prompt."""
    several = [each for each in resolve_questions(f"verl:{file}").questions if len(each.answers) > 1]
    chosen = several[:: max(1, len(several) // count)][:count]
    asked = [BeliefRequest(TAGS.prompt(each), each.answers[:8], ANSWER_PROBE) for each in chosen]
    apart = log_beliefs(scorer, asked) - log_beliefs(scorer, asked, "first")
    return {
        "questions": len(chosen),
        "first is not the likeliest": float((apart > 0).mean()),
        "mean difference": float(apart.mean()),
        "median difference": float(np.median(apart)),
    }


def measured(
    scorer: AnswerScorer, played: Iterable[Episode], minutes: float, kept: Path | None
) -> list[Beliefs]:
    """The beliefs of each transcript, by form: those that ``kept`` has, and those that time suffices for."""
    found: list[Beliefs] = []
    if kept is not None and kept.exists():
        lines = kept.read_text().splitlines()
        found = [{form: np.array(values) for form, values in json.loads(line).items()} for line in lines]
    with suppress(KeyboardInterrupt):  # what there is by then is told
        for episode in itertools.islice(played, len(found), None):
            if time.process_time() > minutes * 60:
                break
            found.append({form: log_beliefs(scorer, asked) for form, asked in requests(episode).items()})
            if kept is not None:
                with kept.open("a") as file:
                    print(json.dumps({form: each.tolist() for form, each in found[-1].items()}), file=file)
            print(f"transcript {len(found)}: {time.process_time():.0f} s of CPU time", flush=True)
    return found


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("transcripts", type=Path, help="records that igpo-gym import reads")
    parser.add_argument("--aliases", type=Path, help="questions with several answers, as verl has them")
    parser.add_argument("--count", type=int, default=50, help="how many transcripts")
    parser.add_argument("--minutes", type=float, default=14.0, help="of CPU time, about")
    parser.add_argument("--keep", type=Path, help="a file of beliefs to write, and to go on from")
    given = parser.parse_args(arguments if arguments is None else list(arguments))
    scorer = TransformersScorer.load("smollm2", device="cpu")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background, too
    played = itertools.islice(
        (each for each in read_transcripts(given.transcripts) if searches(each)), given.count
    )
    transcripts = measured(scorer, played, given.minutes, given.keep)
    found = {form: [each[form] for each in transcripts] for form in transcripts[0]}
    print(f"{len(transcripts)} transcripts")
    for one, other in PAIRS:
        print(f"{one} against {other}: {json.dumps(compared(found[one], found[other]), indent=1)}")
    lowest = [float(np.max(each)) for each in found["tags"]]
    print(f"highest log belief of a transcript: at least {min(lowest):.2f}", flush=True)
    if given.aliases is not None:
        print(json.dumps(aliases(scorer, given.aliases, 20), indent=1), flush=True)
    logs, probs = (np.concatenate([np.diff(f(each)) for each in found["tags"]]) for f in (np.array, np.exp))
    together = rank_correlation(logs, probs)
    print(f"rank correlation of log gains and gains (tags): {together:.3f}")


if __name__ == "__main__":
    main()
