"""Is a server a good scorer? What ``igpo-gym check server`` asks it, and what it finds.

That the server speaks a known dialect, scores the tokens that it is sent, and has the tokenizer that is
thought, is found out when a :class:`RemoteScorer` is made. Here its beliefs are compared: with themselves in
other orders of the requests, with those of the same model on this machine, and at the end of its context.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

from igpo_gym.episode import Belief, Passage, Question, Segment
from igpo_gym.errors import ScoringError, TranscriptTooLongError
from igpo_gym.protocols import TAGS
from igpo_gym.scorers.findings import Finding
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest
from igpo_gym.scorers.prompts import length_of, query_of
from igpo_gym.scorers.remote import RemoteScorer
from igpo_gym.tools import search_call

QUESTIONS = (
    ("Who wrote The Tin Drum?", ("Günter Grass", "Grass")),
    ("Where was the author of The Tin Drum born?", ("Danzig", "Gdańsk", "Gdańsk, Poland")),
    ("Which river is near the birthplace of the author of The Tin Drum?", ("Vistula", "the Vistula")),
)
SENTENCES = (
    "The Tin Drum is a novel of 1959 by Günter Grass.",
    "Günter Grass was a writer born in Danzig, today Gdańsk.",
    "The Vistula is a river that meets the sea near Gdańsk.",
    "A river is a stream of water that flows to a sea, a lake or another river.",
    "It was filmed in 1979, and the film was shown in Cannes.",
)
TOLERANCE = {"float32": (1e-3, 1e-2), "bfloat16": (2e-2, 0.3), "float16": (5e-3, 0.1)}
"""By how much a probability may differ, and its logarithm in nats a token, by what a server computes in:
engines sum in other orders, and half precision feels it."""

MOST_TOKENS = 4096
"""How long a transcript is sent to try the end of a server's context: longer ones cost too much."""


def requests_of(scorer: RemoteScorer) -> list[BeliefRequest]:
    """Requests before the first and after every turn of some episodes, as long as the server reads them.

    Documents have one to sixteen sentences, so that prompts of very unequal lengths share beginnings.
    """
    draw = random.Random(0)
    requests = []
    for text, answers in QUESTIONS:
        segments = TAGS.prompt(Question(text, text, answers))
        requests.append(BeliefRequest(segments, answers, TAGS.probe))
        for number in range(3):
            message = TAGS.write(search_call(f"{text} {number}"), "I need to know more.")
            found = " ".join(draw.choices(SENTENCES, k=draw.choice((1, 3, 8, 16))))
            reply = TAGS.reply(TAGS.passages([Passage(str(number), "The Tin Drum", found)]))
            segments += (Segment("agent", "assistant", message), *reply)
            requests.append(BeliefRequest(segments, answers, TAGS.probe))
    most = scorer.longest or MOST_TOKENS
    return [request for request in requests if _length(scorer, request) <= most]


def orders(scorer: RemoteScorer, requests: Sequence[BeliefRequest]) -> Iterator[tuple[str, list[Belief]]]:
    """The beliefs of all requests, in the order of ``requests``, asked in several orders."""
    yield "one at a time", [scorer.score([request])[0] for request in requests]
    places = list(range(len(requests)))
    shuffled = [random.Random(seed).sample(places, len(places)) for seed in range(2)]
    for name, order in (
        ("all at once", places),
        ("again", places),
        ("from the last to the first", places[::-1]),
        *((f"shuffled {number}", order) for number, order in enumerate(shuffled, 1)),
    ):
        beliefs = dict(zip(order, scorer.score([requests[place] for place in order]), strict=True))
        yield name, [beliefs[place] for place in places]


def check_server(
    scorer: RemoteScorer, local: AnswerScorer | None = None, precision: str = "bfloat16"
) -> Iterator[Finding]:
    """What is found out about a server; ``local`` is the same model on this machine.

    ``precision`` is the one that the server computes in, a key of ``TOLERANCE``. Raises ScoringError where
    the server fails.
    """
    yield Finding("server", f"{scorer.kind}, serves {scorer.model!r}", True)
    requests = requests_of(scorer)
    try:
        scorer.score(requests)
    except TranscriptTooLongError as problem:  # of a server that tells its limit in its refusals alone
        requests = [each for place, each in enumerate(requests) if place not in problem.requests]
    reads = f"{scorer.longest:,} tokens" if scorer.longest else "it does not tell how much"
    if not requests:
        yield Finding("reads", f"{reads}: not even a question with its prompt", False)
        return
    yield Finding("reads", reads)
    before = scorer.stats
    asked = dict(orders(scorer, requests))
    alone = asked.pop("one at a time")
    furthest = max(asked, key=lambda order: _furthest(alone, asked[order])[0])
    yield _compared("the order of requests", alone, asked[furthest], precision, f" ({furthest})")
    if local is not None:
        here = local.score([_asked(scorer, request) for request in requests])
        yield _compared("the same model here", here, alone, precision)
    yield _end_of_context(scorer)
    spent = scorer.stats
    beliefs, seconds = spent.requests - before.requests, spent.seconds - before.seconds
    tokens = spent.tokens_forwarded - before.tokens_forwarded
    speed = f"{seconds / beliefs:.3f} s, at {tokens / seconds:,.0f} tokens a second"
    yield Finding("a belief costs", f"{tokens / beliefs:,.0f} tokens and {speed}")


def _end_of_context(scorer: RemoteScorer) -> Finding:
    """The longest transcript that fits is answered, and one that is longer by a token is named."""
    what = "a transcript that is too long"
    if scorer.longest is None or scorer.longest > MOST_TOKENS:
        return Finding(what, f"not tried: the limit is not told, or above {MOST_TOKENS:,} tokens")
    fits, longer = (_padded(scorer, length) for length in (scorer.longest, scorer.longest + 1))
    sent = scorer.stats.requests
    try:
        scorer.score([fits])
    except ScoringError as problem:
        return Finding(what, f"one of {scorer.longest:,} tokens is refused: {problem}", False)
    try:
        scorer.score([fits, longer])
    except TranscriptTooLongError as problem:
        named = problem.requests == (1,) and scorer.stats.requests == sent + 1
        return Finding(what, "ends its own episode; nothing is sent", named)
    return Finding(what, f"one of {scorer.longest + 1:,} tokens is answered", False)


def _padded(scorer: RemoteScorer, length: int) -> BeliefRequest:
    """A request whose longest prompt has so many tokens."""
    (text, answers), *_ = QUESTIONS
    prompt = TAGS.prompt(Question(text, text, answers))
    token = scorer.framing.text_ids("a")[0]

    def padded(count: int) -> BeliefRequest:
        thought = Segment("agent", "assistant", "a" * count, (token,) * count)
        return BeliefRequest((*prompt, thought), answers, TAGS.probe)

    return padded(1 + length - _length(scorer, padded(1)))


def _asked(scorer: RemoteScorer, request: BeliefRequest) -> BeliefRequest:
    """The request with the aliases alone that the server is asked about."""
    return replace(request, answers=request.asked(scorer.max_aliases))


def _length(scorer: RemoteScorer, request: BeliefRequest) -> int:
    """How many tokens the longest prompt of a request has."""
    return length_of(query_of(scorer.framing, request, scorer.max_aliases))


def _compared(
    what: str, ones: Sequence[Belief], others: Sequence[Belief], precision: str, note: str = ""
) -> Finding:
    moved, nats = furthest = _furthest(ones, others)
    return Finding(
        what,
        f"{len(ones)} beliefs differ by at most {moved:.1e}, or {nats:.1e} nats a token{note}",
        all(found <= most for found, most in zip(furthest, TOLERANCE[precision], strict=True)),
    )


def _furthest(ones: Sequence[Belief], others: Sequence[Belief]) -> tuple[float, float]:
    """The largest difference of an answer's probability, and of its log-probability, in nats a token."""
    gaps = [
        (abs(math.exp(here) - math.exp(there)), abs(here - there))
        for one, other in zip(ones, others, strict=True)
        for here, there in zip(one.log_probs, other.log_probs, strict=True)
    ]
    return max(probability for probability, _ in gaps), max(nats for _, nats in gaps)
