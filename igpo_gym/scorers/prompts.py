"""What a belief request is in token ids, for every scorer: on this machine, at a server, inside a trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from igpo_gym.episode import Belief
from igpo_gym.lm.framing import Framing, Ids
from igpo_gym.scorers.interface import BeliefRequest, check_tokens


class Prompt(NamedTuple):
    """Token ids, of which the last ``scored`` are asked about; at least one stands before these."""

    ids: Ids
    scored: int


class AnswerIds(NamedTuple):
    """An answer behind its probe."""

    before: Ids
    """The tokens between the transcript and the answer: the probe's, at least one."""
    ids: Ids
    """The answer's own, which are asked about; at least one."""


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
    Raises ScoringError for an answer without tokens, and SpecError as ``framing`` does.

    >>> from igpo_gym.episode import Segment
    >>> from igpo_gym.lm.loading import load_tokenizer
    >>> from igpo_gym.protocols import ANSWER_PROBE
    >>> framing = Framing(load_tokenizer("nano"))
    >>> prompt = Segment("environment", "user", "Where is Danzig?")
    >>> query = query_of(framing, BeliefRequest((prompt,), ("Poland", "in Poland"), ANSWER_PROBE))
    >>> [framing.text(answer.ids) for answer in query.answers], [prompt.scored for prompt in query.prompts]
    (['Poland', 'in Poland'], [2, 3])
    """
    context, probe = framing.ids(request.segments), framing.text_ids(request.probe.prefix)
    if not probe:  # something must predict the answer's first token
        context, probe = context[:-1], context[-1:]
    answers = [framing.text_ids(answer) for answer in request.asked(max_aliases)]
    check_tokens(request, probe, answers)
    return Query(context, tuple(AnswerIds(probe, answer) for answer in answers))


def belief_of(tokens: Sequence[Sequence[float]]) -> Belief:
    """The belief of which these are, for each answer, the log-probabilities of its tokens, in nats.

    >>> belief_of([[-1.0, -3.0], [-0.5]]).log_probs
    (-2.0, -0.5)
    """
    answers = tuple(tuple(answer) for answer in tokens)
    return Belief(tuple(sum(answer) / len(answer) for answer in answers), answers)
