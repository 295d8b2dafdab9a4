"""What a scorer is asked about an episode: any belief, after any turn, and those of whole trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from igpo_gym.episode import Belief, BeliefView, Episode, Segment, ToolCall, ToolCalls, ToolResult
from igpo_gym.protocols import ANSWER_PROBE, AnswerProbe, ReplyLimits, TextProtocol
from igpo_gym.protocols.numbered import without_heads
from igpo_gym.rewards.random_documents import found_documents, results_with_others
from igpo_gym.scorers.interface import AnswerScorer, BeliefRequest, ask
from igpo_gym.search.interface import Corpus
from igpo_gym.text import changed_texts
from igpo_gym.tools.opening import OPEN, PAGE_CHARS

_NO_PROBE = AnswerProbe("", "")
_LIMITS = ReplyLimits()


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
    episode: Episode,
    turn: int,
    view: BeliefView,
    protocol: TextProtocol,
    corpus: Corpus = (),
    limits: ReplyLimits = _LIMITS,
    page_chars: int = PAGE_CHARS,
) -> BeliefRequest:
    """What has to be asked for the belief after ``turn`` turns by a view.

    ``protocol`` is the one that the episode is played with, ``limits`` those of its replies, and
    ``page_chars`` the length of the pages that its ``open`` shows, for replies that a view has written anew.
    Raises ValueError where documents are to be drawn and ``corpus`` has too few.
    """
    answers, probe = episode.question.answers, protocol.probe
    if view.span == "tagged":
        answers, probe = tuple(f"<answer>{answer}</answer>" for answer in answers), _NO_PROBE
    segments = episode.context(turn)
    if view.context == "evidence" or (view.draw is not None and found_documents(episode, turn)):
        segments = _viewed(episode, turn, view, protocol, corpus, limits, page_chars)
    return BeliefRequest(segments, answers, probe, origin(episode, turn))


def origin(episode: Episode, turn: int) -> str:
    """What a request is about, for messages."""
    return f"question {episode.question.id!r}, after turn {turn}"


def _viewed(
    episode: Episode,
    turn: int,
    view: BeliefView,
    protocol: TextProtocol,
    corpus: Corpus,
    limits: ReplyLimits,
    page_chars: int,
) -> tuple[Segment, ...]:
    """The transcript as a view has it: without thoughts, or with random documents in its latest reply."""
    segments = list(episode.prompt)
    for number, played in enumerate(episode.turns[:turn], 1):
        said, reply = played.segments[:1], played.segments[1:]
        calls = played.action.calls if isinstance(played.action, ToolCalls) else ()
        pairs = list(zip(calls, played.results, strict=True))
        drawn = view.draw is not None and number == turn and found_documents(episode, turn)
        if drawn:
            others = results_with_others(episode, turn, view.draw or 0, corpus, page_chars)
            pairs = list(zip(calls, others, strict=True))
        if view.context == "evidence":
            pairs = [(_plain(call), result) for call, result in pairs if _is_evidence(call, result)]
            if not pairs:
                continue
            message = protocol.write(ToolCalls(tuple(call for call, _ in pairs)))
            said = (Segment("agent", "assistant", message),)
        if drawn or len(pairs) < len(calls):
            shown = limits.shown_before(episode.turns[: number - 1])
            last_call = protocol.says_last_call(played.observation)
            reply, _ = protocol.reply_to(pairs, shown, limits, last_call)
        segments += *said, *reply
    return tuple(segments)


def _is_evidence(call: ToolCall, result: ToolResult) -> bool:
    """Whether the evidence view has a call: not an ``open`` that shows no document, whose argument may say
    anything."""
    return call.tool != OPEN.name or any(result.passages)


def _plain(call: ToolCall) -> ToolCall:
    """The call as the evidence view shows it: no text in it passes for a document."""
    return ToolCall(call.tool, changed_texts(dict(call.arguments), without_heads))
