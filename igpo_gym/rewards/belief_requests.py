"""What a scorer is asked about an episode: any belief, after any turn, and those of whole trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from random import Random

from igpo_gym.episode import Belief, BeliefView, Episode, Passage, Segment, ToolCall, ToolCalls, Turn
from igpo_gym.protocols import ANSWER_PROBE, AnswerProbe, TextProtocol
from igpo_gym.protocols.numbered import without_heads
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask
from igpo_gym.search.interface import Corpus
from igpo_gym.text import changed_texts
from igpo_gym.tools.opening import OPEN

_NO_PROBE = AnswerProbe("", "")


def score_trajectories(
    scorer: AnswerScorer, episodes: Sequence[Episode], probe: AnswerProbe = ANSWER_PROBE
) -> list[list[Belief]]:
    """For each episode its beliefs after the prompt and after every turn but an answer, in that order.

    These are the beliefs that the environment gives step by step. They are asked in one call, which a scorer
    with a prefix cache answers by forwarding each transcript once, with a branch for every turn.
    """
    requests = [trajectory_requests(episode, probe) for episode in episodes]
    asked = [request for trajectory in requests for request in trajectory]
    beliefs = iter(ask(scorer, asked))
    return [list(islice(beliefs, len(trajectory))) for trajectory in requests]


def trajectory_requests(episode: Episode, probe: AnswerProbe = ANSWER_PROBE) -> list[BeliefRequest]:
    """What has to be asked for all beliefs of an episode."""
    return [
        BeliefRequest(episode.context(turn), episode.question.answers, probe, origin(episode, turn))
        for turn in range(episode.states)
    ]


def belief_request(
    episode: Episode, turn: int, view: BeliefView, protocol: TextProtocol, corpus: Corpus = ()
) -> BeliefRequest:
    """What has to be asked for the belief after ``turn`` turns by a view.

    ``protocol`` is the one that the episode is played with. Raises ValueError where documents are to be drawn
    and ``corpus`` has too few.
    """
    answers, probe = episode.question.answers, protocol.probe
    if view.span == "tagged":
        answers, probe = tuple(f"<answer>{answer}</answer>" for answer in answers), _NO_PROBE
    segments = episode.context(turn)
    if view.context == "evidence":
        segments = _without_thoughts(episode, turn, protocol)
    if view.draw is not None and found_documents(episode, turn):
        passages = drawn_passages(episode, turn, view.draw, corpus)
        reply = episode.turns[turn - 1].segments[1:]
        segments = (*segments[: -len(reply)], *protocol.reply(protocol.passages(passages)))
    return BeliefRequest(segments, answers, probe, origin(episode, turn))


def origin(episode: Episode, turn: int) -> str:
    """What a request is about, for messages."""
    return f"question {episode.question.id!r}, after turn {turn}"


def found_documents(episode: Episode, turn: int) -> bool:
    """Whether turn ``turn`` found any document that random ones could stand in for."""
    return turn > 0 and bool(episode.turns[turn - 1].passages)


def drawn_passages(episode: Episode, turn: int, draw: int, corpus: Corpus) -> tuple[Passage, ...]:
    """As many random passages as the turn found, none of them among these; the same for every call.

    Raises ValueError if the corpus has too few.
    """
    found = {passage.id for passage in episode.turns[turn - 1].passages}
    rng = Random(f"{episode.question.id}/{turn}/{draw}")
    # Of twice as many numbers, at least half are those of other passages.
    numbers = rng.sample(range(len(corpus)), min(2 * len(found), len(corpus)))
    drawn = (corpus[number] for number in numbers)
    others = tuple(passage for passage in drawn if passage.id not in found)[: len(found)]
    if len(others) < len(found):
        raise ValueError(
            f"a corpus of {len(corpus)} passages has no {len(found)} others to put in the place of those "
            f"that turn {turn} of {episode.question.id!r} found"
        )
    return others


def _without_thoughts(episode: Episode, turn: int, protocol: TextProtocol) -> tuple[Segment, ...]:
    segments = list(episode.prompt)
    for played in episode.turns[:turn]:
        if calls := _calls_for_evidence(played):
            message = protocol.write(ToolCalls(calls))
            segments += Segment("agent", "assistant", message), *played.segments[1:]
    return tuple(segments)


def _calls_for_evidence(turn: Turn) -> tuple[ToolCall, ...]:
    """The calls of a turn as the evidence view shows them: no text in them passes for a document.

    A call of ``open`` that shows no document is left out, since its argument may say anything.
    """
    if not isinstance(turn.action, ToolCalls):
        return ()
    return tuple(
        ToolCall(call.tool, changed_texts(dict(call.arguments), without_heads))
        for call, result in zip(turn.action.calls, turn.results, strict=True)
        if call.tool != OPEN.name or any(result.passages)
    )
