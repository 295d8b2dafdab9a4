"""What ``info`` tells about an episode. Gold data is in it only on request."""

from __future__ import annotations

from typing import Any

from igpo_gym.data.metrics import cover_exact_match, exact_match, f1
from igpo_gym.episode import Episode, Invalid, Search
from igpo_gym.rewards.terms import INFORMATION_GAIN


def episode_info(episode: Episode, oracle: bool) -> dict[str, Any]:
    """The ``info`` of an episode as it stands, after its reset or its latest turn.

    Always: ``question_id``, ``turn`` (0 after a reset), ``messages`` (the transcript in chat form), and with
    a scorer ``belief`` (in [0, 1]) and ``belief_log_prob`` (nats per token).

    After a turn: ``action`` ("search", "answer" or "invalid"), ``valid``, ``problem`` (why not), ``queries``,
    ``passage_ids``, ``passage_titles``, ``search_failed``, ``failed_searches`` (so far), ``reward_terms``,
    and with a scorer ``gain``.

    At the end: ``prediction`` (None if unanswered), ``em``, ``f1``, ``cover_em``, ``searches``.

    With ``oracle``: ``gold``, a dictionary of the ``answers`` and the ``evidence`` ids.
    """
    question, turn = episode.question, len(episode.turns)
    info: dict[str, Any] = {"question_id": question.id, "turn": turn, "messages": episode.messages()}
    if episode.beliefs:
        info["belief"] = episode.beliefs[-1].prob
        info["belief_log_prob"] = episode.beliefs[-1].log_prob
    if oracle:
        info["gold"] = {"answers": question.answers, "evidence": question.evidence}
    if turn:
        info |= _turn_info(episode, turn)
    if episode.done:
        prediction, answers = episode.prediction, question.answers
        info["prediction"] = prediction
        info["em"] = exact_match(prediction, answers)
        info["f1"] = f1(prediction, answers)
        info["cover_em"] = cover_exact_match(prediction, answers)
        info["searches"] = episode.searches
    return info


def _turn_info(episode: Episode, turn: int) -> dict[str, Any]:
    played = episode.turns[-1]
    action = played.action
    passages = played.passages
    info: dict[str, Any] = {
        "action": action.kind,
        "valid": not isinstance(action, Invalid),
        "problem": action.reason if isinstance(action, Invalid) else "",
        "queries": action.queries if isinstance(action, Search) else (),
        "passage_ids": tuple(passage.id for passage in passages),
        "passage_titles": tuple(passage.title for passage in passages),
        "search_failed": played.search_failed,
        "failed_searches": sum(other.search_failed for other in episode.turns),
        "reward_terms": dict(episode.rewards[-1]),
    }
    if episode.beliefs:
        info["gain"] = INFORMATION_GAIN.price(episode, turn)
    return info
