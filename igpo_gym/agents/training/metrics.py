"""What a training run measures of the episodes that it plays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from igpo_gym.agents.rollouts.summary import summarize
from igpo_gym.agents.training.logs import Metrics
from igpo_gym.data.metrics import cover_exact_match, normalize
from igpo_gym.episode import Answer, EndReason, Episode, Invalid, Turn, distinct
from igpo_gym.protocols import TAGS, TextProtocol, reply_beginning


def episode_metrics(episodes: Sequence[Episode], protocol: TextProtocol = TAGS) -> Metrics:
    """Means over ended episodes; those that were left out, and have no turn, count in ``end_*`` alone.
    Rewards and scores are those of the episodes that have an outcome.

    ``reward`` (of all turns together) and ``reward_*`` (each of its terms), ``f1``, ``em``, ``turns``,
    ``tool_turns`` (those that call tools), ``completion_tokens`` (the agent's), with a scorer ``gain`` (of
    the belief from the prompt to the end, in probability). ``end_*`` are the shares of episodes by why they
    ended, such as ``end_turns_exhausted`` (see :class:`igpo_gym.episode.EndReason`). Of all turns, the shares
    that are ``invalid``, and in which the agent ``guessed``: named a gold answer in a message that does not
    answer, before the question or anything that was read had named it. Such a guess raises a belief that
    reads the agent's words, and finds nothing. ``forged`` is the share in which the agent wrote a reply of
    the environment's itself: the beginning of a block that only replies have, in ``protocol`` or another.
    """
    reply = reply_beginning(protocol)
    ends = [episode.end for episode in episodes]
    episodes = [episode for episode in episodes if episode.turns]
    count = max(len(episodes), 1)
    paid = [episode for episode in episodes if episode.has_outcome]
    summary = summarize(episodes)
    turns = [turn for episode in episodes for turn in episode.turns]
    terms: dict[str, float] = defaultdict(float)
    for episode in paid:
        for rewards in episode.rewards:
            for name, reward in rewards.items():
                terms[name] += reward / len(paid)
    tokens = [len(segment.ids or ()) for episode in episodes for segment in episode.segments]
    gains = [each.belief_gain for each in episodes if each.belief_gain is not None]
    return {
        "reward": _mean(summary.returns),
        **{f"reward_{name}": reward for name, reward in terms.items()},
        "f1": _mean(summary.f1s),
        "em": _mean(summary.exact_matches),
        "turns": len(turns) / count,
        "tool_turns": _mean(summary.tool_turns),
        "completion_tokens": sum(tokens) / count,
        **{f"end_{_word(reason)}": ends.count(reason) / len(ends) for reason in EndReason},
        "invalid": _mean([isinstance(turn.action, Invalid) for turn in turns]),
        "guessed": sum(map(_guesses, episodes)) / max(len(turns), 1),
        "forged": _mean([bool(reply.search(turn.message)) for turn in turns]),
        **({"gain": float(np.mean(gains))} if gains else {}),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def hop_metrics(episodes: Sequence[Episode]) -> Metrics:
    """Means over ended episodes of each number of hops: ``f1_hops_2``, ``em_hops_2``; none if unknown."""
    episodes = [episode for episode in episodes if episode.turns]
    hops = sorted({each.question.hops for each in episodes if each.question.hops is not None})
    found: Metrics = {}
    for number in hops:
        summary = summarize([each for each in episodes if each.question.hops == number])
        if summary.scored:
            found[f"f1_hops_{number}"] = float(np.mean(summary.f1s))
            found[f"em_hops_{number}"] = float(np.mean(summary.exact_matches))
    return found


def answer_named(episode: Episode) -> Iterator[bool]:
    """Before each turn, whether the question and what was read so far name a gold answer.

    Each text is normalized once. An answer may begin in one text and end in the next.

    >>> from igpo_gym.episode import Passage, Question, ToolResult, Turn
    >>> from igpo_gym.tools import search_call
    >>> found = ToolResult(passages=((Passage("1", "Tin Drum", "By Günter Grass."),),))
    >>> turn = Turn("<search>drum</search>", search_call("drum"), results=(found,))
    >>> list(answer_named(Episode(Question("q", "Who?", ("Grass",)), (), turns=[turn, turn])))
    [False, True]
    """
    answers = [f" {words} " for answer in episode.question.answers if (words := normalize(answer))]
    read, text, named = " ", episode.question.text, False
    for turn in episode.turns:
        if not named and (words := normalize(text)):
            read += f"{words} "
            named = any(answer in read for answer in answers)
        yield named
        text = "\n".join(texts_of(turn))


def texts_of(turn: Turn) -> list[str]:
    """What a turn brought to read: of each call what the tool said in words, or else its passages."""
    worded = [result.text for result in turn.results if result.text]
    found = distinct(tuple(each for result in turn.results if not result.text for each in result.passages))
    return worded + [f"{passage.title} {passage.text}" for passage in found]


def outage_share(episodes: Sequence[Episode]) -> float:
    """The share of episodes with a turn in which a tool was unavailable; of those that have a turn."""
    return _mean([any(turn.failed for turn in episode.turns) for episode in episodes if episode.turns])


def _word(reason: EndReason) -> str:
    """The reason as part of a metric's name."""
    return reason.value.replace(" ", "_")


def _guesses(episode: Episode) -> int:
    """In how many turns the agent names a gold answer that it cannot have read."""
    answers, guesses = episode.question.answers, 0
    for turn, named in zip(episode.turns, answer_named(episode), strict=True):
        if named:
            break
        said = turn.message.replace("<", " <").replace(">", "> ")  # a tag is no part of the word beside it
        guesses += not isinstance(turn.action, Answer) and bool(cover_exact_match(said, answers))
    return guesses
