"""What ``info`` tells about an episode. Gold data is in it only on request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from igpo_gym.config import Info
from igpo_gym.data.scores import scores
from igpo_gym.episode import MIXED_WEIGHTS, Episode, Invalid, ToolCalls
from igpo_gym.rewards.terms import INFORMATION_GAIN
from igpo_gym.tools.searching import queries


def episode_info(
    episode: Episode,
    oracle: bool = False,
    facts: Mapping[str, str | int] | None = None,
    info: Info = "full",
) -> dict[str, Any]:
    """The ``info`` of an episode as it stands, after its reset or its latest turn.

    With ``info="metrics"`` the numbers alone. Always ``turn`` (0 after a reset), and with a scorer what
    :func:`belief_info` tells. After a turn ``valid``, ``failed`` (whether a call found its backend down),
    ``failed_turns`` (so far) and ``reply_cut`` (characters that the reply leaves out). At the end ``em``,
    ``f1``, ``cover_em`` (for an answer in parts also ``fanoutqa_loose``, with a judge ``judge``), and
    ``tool_turns``.

    With ``info="full"`` also, always: ``question_id``, ``messages`` (the transcript in chat form), where the
    question names gold evidence ``evidence_match`` (how it is found in the corpus: "id", "title", "id or
    title" where that cannot be told, or "none"), where the tokenizer joins the probe with an answer's
    beginning or end ``belief_joined`` (for each alias, whether it does), and with ``facts`` of the retriever
    ``search``: what it tells about itself as of now, such as ``cache_hits`` (see
    :class:`igpo_gym.search.interface.Reporting`). After a turn: ``action`` ("tools", "answer" or "invalid"),
    ``problem`` (why it is invalid), ``tools`` (the names of the tools that were called), ``queries``,
    ``passage_ids``, ``passage_titles`` and ``reward_terms``. At the end: ``end_reason`` (see
    :class:`igpo_gym.episode.EndReason`) and ``prediction`` (None if unanswered).

    With ``oracle``: ``gold``, a dictionary of the ``answers`` and the ``evidence`` ids.

    >>> from igpo_gym.config import EnvConfig
    >>> from igpo_gym.envs.setup import assemble
    >>> questions, engine = assemble(EnvConfig(questions="world:test", scorer=None, reward="outcome-f1"))
    >>> episodes = engine.begin(questions.questions[:1])
    >>> _ = engine.settle(engine.play(episodes, ["<answer>Danzig</answer>"]))
    >>> info = episode_info(episodes[0])
    >>> info["action"], info["end_reason"], info["prediction"], info["f1"]
    ('answer', 'answered', 'Danzig', 0.0)
    >>> list(episode_info(episodes[0], info="metrics"))
    ['turn', 'valid', 'failed', 'failed_turns', 'reply_cut', 'em', 'f1', 'cover_em', 'tool_turns']
    """
    turns, question = episode.turns, episode.question
    told = {"turn": len(turns), **belief_info(episode)}
    if turns:
        told["valid"] = not isinstance(turns[-1].action, Invalid)
        told["failed"] = turns[-1].failed
        told["failed_turns"] = episode.failed_turns
        told["reply_cut"] = turns[-1].cut
    if episode.end is not None:
        told |= scores(episode)
        told["tool_turns"] = episode.tool_turns
    if oracle:
        told["gold"] = {"answers": question.answers, "evidence": question.evidence}
    return told if info == "metrics" else told | _texts(episode, facts)


def belief_info(episode: Episode) -> dict[str, Any]:
    """What ``info`` tells of an episode's beliefs, as they stand; nothing where no scorer is at work.

    ``belief`` (in [0, 1]) and ``belief_log_prob`` (nats per token); with a scorer that tells the version of
    its weights ``mixed_weights`` (whether they changed within the episode, whose beliefs were then asked
    anew); after a turn ``gain``, the change of the belief.
    """
    if not episode.beliefs:
        return {}
    latest = episode.beliefs[-1]
    told: dict[str, Any] = {"belief": latest.prob, "belief_log_prob": latest.log_prob}
    if latest.weights:
        told[MIXED_WEIGHTS] = bool(episode.extra.get(MIXED_WEIGHTS, False))
    if episode.turns:
        told["gain"] = INFORMATION_GAIN.price(episode, len(episode.turns))
    return told


def _texts(episode: Episode, facts: Mapping[str, str | int] | None) -> dict[str, Any]:
    """What ``info`` tells beside the numbers."""
    question = episode.question
    told: dict[str, Any] = {"question_id": question.id, "messages": episode.messages()}
    if question.evidence:
        told["evidence_match"] = question.evidence_match
    if episode.beliefs and episode.beliefs[-1].joined:
        told["belief_joined"] = episode.beliefs[-1].joined
    if facts:
        told["search"] = dict(facts)
    if episode.turns:
        action, passages = episode.turns[-1].action, episode.turns[-1].passages
        told["action"] = action.kind
        told["problem"] = action.reason if isinstance(action, Invalid) else ""
        told["tools"] = tuple([call.tool for call in action.calls]) if isinstance(action, ToolCalls) else ()
        told["queries"] = queries(action)
        told["passage_ids"] = tuple([passage.id for passage in passages])
        told["passage_titles"] = tuple([passage.title for passage in passages])
        told["reward_terms"] = dict(episode.rewards[-1])
    if episode.end is not None:
        told["end_reason"] = episode.end.value
        told["prediction"] = episode.prediction
    return told


CHUNK = 64
"""How many dictionaries are held at a time, so that a thousand environments need no thousand of them."""


def columns(infos: Iterable[tuple[int, Mapping[str, Any]]], count: int) -> dict[str, Any]:
    """The ``infos`` of a vector environment of ``count`` places, from pairs of a place and its ``info``.

    It is what Gymnasium's ``VectorEnv._add_info`` makes of them one after another, made a column at a time:
    for each key an array with a value for each place, and under ``_key`` the mask of the places that have
    one. The dtype is that of the first value where this is a number, else object. A value that is a
    dictionary becomes a dictionary of columns.

    >>> told = columns([(0, {"turn": 1}), (2, {"turn": 3, "queries": ("Danzig",)})], 3)
    >>> told["turn"], told["_turn"], told["queries"].tolist()
    (array([1, 0, 3]), array([ True, False,  True]), [None, None, ('Danzig',)])
    """
    told: dict[str, Any] = {}
    pairs = iter(infos)
    while some := dict(islice(pairs, CHUNK)):
        _add(told, some, count)
    return told


def _add(told: dict[str, Any], infos: Mapping[int, Mapping[str, Any]], count: int) -> None:
    """Write the infos of some places into the columns."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, info in infos.items():
        alike.setdefault(tuple(info), []).append(place)
    for keys, places in alike.items():
        at = np.array(places)
        of_places = zip(*[infos[place].values() for place in places], strict=True)
        for key, values in zip(keys, of_places, strict=True):
            there = f"_{key}"
            if there not in told:
                told[there] = np.zeros(count, dtype=np.bool_)
                told[key] = {} if isinstance(values[0], dict) else _empty(values[0], count)
            told[there][at] = True
            column = told[key]
            if isinstance(column, dict):
                _add(column, dict(zip(places, values, strict=True)), count)
            else:
                # A tuple among objects is one value, no row of them.
                column[at] = np.fromiter(values, column.dtype, len(values))


def _empty(value: Any, count: int) -> npt.NDArray[Any]:
    """A column for values such as this one."""
    if type(value) in (int, float, bool):
        return np.zeros(count, dtype=type(value))
    return np.full(count, None, dtype=object)
