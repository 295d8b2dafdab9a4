"""What a belief request is in token ids, for every scorer: on this machine, at a server, inside a trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from igpo_gym.episode import Belief
from igpo_gym.errors import SpecError, TranscriptTooLongError
from igpo_gym.lm.framing import AnswerIds, Framing, Ids
from igpo_gym.scorers.interface import BeliefRequest, check_tokens

__all__ = [
    "AnswerIds",
    "Prompt",
    "Query",
    "belief_of",
    "check_lengths",
    "check_probe",
    "length_of",
    "query_of",
]

STARTS = ("Paris", "the", "a", "X", "7", "1959", "É", "北", "(", '"')
"""How answers begin, to find out whether a tokenizer joins whatever answer with what stands before it."""


class Prompt(NamedTuple):
    """Token ids, of which the last ``scored`` are asked about; at least one stands before these."""

    ids: Ids
    scored: int


class Query(NamedTuple):
    """A request in token ids. Equal queries have equal beliefs."""

    context: Ids
    """The transcript."""
    answers: tuple[AnswerIds, ...]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What a server is asked: a prompt for each answer."""
        return tuple(
            Prompt((*self.context, *answer.before, *answer.ids), len(answer.ids)) for answer in self.answers
        )


def query_of(framing: Framing, request: BeliefRequest, max_aliases: int | None = None) -> Query:
    """What ``request`` is in token ids.

    ``max_aliases`` is how many of a question's answers are asked about (see :meth:`BeliefRequest.asked`).
    Raises ScoringError for an answer without tokens, and SpecError as ``framing`` and :func:`check_probe` do.

    >>> from igpo_gym.episode import Segment
    >>> from igpo_gym.lm.loading import load_tokenizer
    >>> from igpo_gym.protocols import ANSWER_PROBE
    >>> framing = Framing(load_tokenizer("nano"))
    >>> prompt = Segment("environment", "user", "Where is Danzig?")
    >>> query = query_of(framing, BeliefRequest((prompt,), ("Poland", "in Poland"), ANSWER_PROBE))
    >>> [framing.text(answer.ids) for answer in query.answers], [prompt.scored for prompt in query.prompts]
    ([' Poland', ' in Poland'], [3, 4])
    """
    return query_behind(framing, framing.ids(request.segments, request.probe.prefix), request, max_aliases)


def query_behind(
    framing: Framing, context: Ids, request: BeliefRequest, max_aliases: int | None = None
) -> Query:
    """As :func:`query_of`, behind the token ids ``context`` in the place of the request's segments."""
    prefix = request.probe.prefix
    check_probe(framing, prefix)
    answers = [framing.behind(prefix, answer, request.probe.suffix) for answer in request.asked(max_aliases)]
    if not all(answer.before for answer in answers):  # something must predict the answer's first token
        answers = [answer._replace(before=context[-1:] + answer.before) for answer in answers]
        context = context[:-1]
    before = min((answer.before for answer in answers), key=len, default=())
    check_tokens(request, before, [answer.ids for answer in answers])
    return Query(context, tuple(answers))


def check_probe(framing: Framing, prefix: str) -> None:
    """Raise SpecError if the tokenizer joins whatever answer with the end of a probe's ``prefix``."""
    if prefix and all(framing.behind(prefix, start).joined for start in STARTS):
        raise SpecError(
            f"the tokenizer {framing.name!r} joins {prefix[-1]!r}, the end of the answer probe, with every "
            "answer; give a probe that ends otherwise: probe=AnswerProbe(prefix, suffix)"
        )


def length_of(query: Query) -> int:
    """How many tokens a query has with its longest answer."""
    return len(query.context) + max(len(answer.before) + len(answer.ids) for answer in query.answers)


def check_lengths(lengths: Sequence[int], longest: int | None, reader: str) -> None:
    """Raise TranscriptTooLongError, with the places, for ``lengths`` in tokens beyond the ``longest``.

    ``reader`` says what reads no more; with None as the longest it reads whatever comes.
    """
    too_long = {
        place: f"a transcript with its probe and answer has {length} tokens to read, but {reader} reads at "
        f"most {longest}"
        for place, length in enumerate(lengths)
        if longest is not None and length > longest
    }
    if too_long:
        problems = tuple(too_long.values())
        raise TranscriptTooLongError(problems[0], tuple(too_long), problems)


def belief_of(tokens: Sequence[Sequence[float]], asked: Sequence[AnswerIds] = ()) -> Belief:
    """The belief of which these are, for each answer, the log-probabilities of its tokens, in nats.

    ``asked`` are the answers in token ids.

    >>> belief_of([[-1.0, -3.0], [-0.5]]).log_probs
    (-2.0, -0.5)
    """
    answers = tuple(tuple(answer) for answer in tokens)
    joined = tuple(answer.joined for answer in asked)
    means = tuple(sum(answer) / len(answer) for answer in answers)
    return Belief(means, answers, joined if any(joined) else ())
