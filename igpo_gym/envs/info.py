"""What ``info`` tells about an episode. Gold data is in it only on request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from igpo_gym.data.scores import scores
from igpo_gym.episode import Episode, Invalid, ToolCalls
from igpo_gym.rewards.terms import INFORMATION_GAIN
from igpo_gym.tools.searching import queries


def episode_info(
    episode: Episode, oracle: bool, facts: Mapping[str, str | int] | None = None
) -> dict[str, Any]:
    """The ``info`` of an episode as it stands, after its reset or its latest turn.

    Always: ``question_id``, ``turn`` (0 after a reset), ``messages`` (the transcript in chat form), where the
    question names gold evidence ``evidence_match`` (how it is found in the corpus: "id", "title", "id or
    title" where that cannot be told, or "none"), and with a scorer ``belief`` (in [0, 1]) and
    ``belief_log_prob`` (nats per token), and where the tokenizer joins the end of the probe with an answer
    ``belief_joined`` (for each alias, whether it does). With ``facts`` of the retriever, ``search``: what it
    tells about itself as of now, such as ``cache_hits`` (see :class:`igpo_gym.search.interface.Reporting`).

    After a turn: ``action`` ("tools", "answer" or "invalid"), ``valid``, ``problem`` (why not), ``tools``
    (the names of the tools that were called), ``queries``, ``passage_ids``, ``passage_titles``, ``failed``
    (whether a call found its backend down), ``failed_turns`` (so far), ``reply_cut`` (characters that the
    reply leaves out), ``reward_terms``, and with a scorer ``gain``.

    At the end: ``end_reason`` (see :class:`igpo_gym.episode.EndReason`), ``prediction`` (None if unanswered),
    ``em``, ``f1``, ``cover_em`` (for an answer in parts also ``fanoutqa_loose``, with a judge
    ``judge``), ``tool_turns``.

    With ``oracle``: ``gold``, a dictionary of the ``answers`` and the ``evidence`` ids.

    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> episodes = engine.begin(questions.questions[:1])
    >>> _ = engine.settle(engine.play(episodes, ["<answer>Danzig</answer>"]))
    >>> info = episode_info(episodes[0], oracle=False)
    >>> info["action"], info["end_reason"], info["prediction"], info["f1"]
    ('answer', 'answered', 'Danzig', 0.0)
    """
    question, turn = episode.question, len(episode.turns)
    info: dict[str, Any] = {"question_id": question.id, "turn": turn, "messages": episode.messages()}
    if question.evidence:
        info["evidence_match"] = question.evidence_match
    if episode.beliefs:
        info["belief"] = episode.beliefs[-1].prob
        info["belief_log_prob"] = episode.beliefs[-1].log_prob
        if episode.beliefs[-1].joined:
            info["belief_joined"] = episode.beliefs[-1].joined
    if facts:
        info["search"] = dict(facts)
    if oracle:
        info["gold"] = {"answers": question.answers, "evidence": question.evidence}
    if turn:
        info |= _turn_info(episode, turn)
    if episode.end is not None:
        info["end_reason"] = episode.end.value
        info["prediction"] = episode.prediction
        info |= scores(episode)
        info["tool_turns"] = episode.tool_turns
    return info


def _turn_info(episode: Episode, turn: int) -> dict[str, Any]:
    played = episode.turns[-1]
    action = played.action
    passages = played.passages
    info: dict[str, Any] = {
        "action": action.kind,
        "valid": not isinstance(action, Invalid),
        "problem": action.reason if isinstance(action, Invalid) else "",
        "tools": tuple([call.tool for call in action.calls]) if isinstance(action, ToolCalls) else (),
        "queries": queries(action),
        "passage_ids": tuple([passage.id for passage in passages]),
        "passage_titles": tuple([passage.title for passage in passages]),
        "failed": played.failed,
        "failed_turns": sum([other.failed for other in episode.turns]),
        "reply_cut": played.cut,
        "reward_terms": dict(episode.rewards[-1]),
    }
    if episode.beliefs:
        info["gain"] = INFORMATION_GAIN.price(episode, turn)
    return info
