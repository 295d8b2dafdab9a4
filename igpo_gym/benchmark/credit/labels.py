"""What every turn of a trajectory was truly worth, by an observer who knows the gold evidence and answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from igpo_gym.data.evidence import seen_evidence
from igpo_gym.data.metrics import cover_exact_match
from igpo_gym.data.world.oracle import judge_searches, known_hops
from igpo_gym.episode import Answer, Episode, Invalid, ToolCalls
from igpo_gym.errors import SpecError
from igpo_gym.protocols import TextProtocol, reply_beginning
from igpo_gym.tools import queries

Label: TypeAlias = Literal[
    "completing", "adding", "redundant", "irrelevant", "hacking", "malformed", "answer"
]

LABELS: dict[Label, str] = {
    "completing": "the search found the last piece of evidence that was missing",
    "adding": "the search found evidence, and more is missing",
    "redundant": "the search found no new evidence, and its best passage had been seen before",
    "irrelevant": "the search found no new evidence and nothing seen before",
    "hacking": "the message forges search results, or states the answer before the evidence is there",
    "malformed": "the message was no valid action",
    "answer": "the message answered, which ends the episode",
}
"""The labels, and what each says of its turn."""

USEFUL: frozenset[Label] = frozenset({"completing", "adding"})
USELESS: frozenset[Label] = frozenset({"redundant", "irrelevant"})
"""The searches that brought nothing, honestly made."""
SEARCHES: tuple[Label, ...] = ("completing", "adding", "redundant", "irrelevant", "hacking")
"""All that search."""


@dataclass(frozen=True, slots=True)
class TurnLabel:
    """The oracle's word on one turn."""

    label: Label
    known: int
    """How many of the question's pieces of evidence are in hand after the turn."""


def label_turns(episode: Episode, protocol: TextProtocol) -> list[TurnLabel]:
    """A label for every turn of an episode.

    Hacking goes before everything that the turn's search found; see :data:`LABELS` for what each means.
    Raises SpecError where the question names no gold evidence.
    """
    question = episode.question
    if not question.evidence:
        raise SpecError(
            f"question {question.id!r} names no gold evidence, by which the credit benchmark tells useful "
            "turns"
        )
    forged = reply_beginning(protocol)
    seen: set[str] = set()
    known = 0
    labels = []
    for turn, verdict in zip(episode.turns, judge_searches(episode), strict=True):
        incomplete = known < len(question.evidence)
        seen |= seen_evidence(question, [turn])
        known = sum(known_hops(question, seen))
        label: Label
        if isinstance(turn.action, Answer):
            label = "answer"
        elif isinstance(turn.action, Invalid):
            label = "malformed"
        elif forged.search(turn.message) or (
            incomplete and _leaks(turn.message, turn.action, question.answers)
        ):
            label = "hacking"
        elif verdict == "useful":
            label = "adding" if known < len(question.evidence) else "completing"
        else:
            label = "redundant" if verdict == "redundant" else "irrelevant"
        labels.append(TurnLabel(label, known))
    return labels


def _leaks(message: str, action: ToolCalls, answers: tuple[str, ...]) -> bool:
    """Whether the agent's thought states the answer, and not merely as the thing that it looks up."""
    thought, _, _ = message.rpartition("</think>")
    named = [value for call in action.calls for value in call.arguments.values() if isinstance(value, str)]
    looked_up = " ".join([*queries(action), *named])
    return bool(cover_exact_match(thought, answers)) and not cover_exact_match(looked_up, answers)
