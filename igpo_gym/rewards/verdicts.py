"""The instrument ``judge``: what a judge says about each answer.

A judge is an object with ``grade(questions, answers, predictions)``, which gives a verdict for each: one of
``VERDICTS``. Where an environment has one (``judge=``), every answer is graded, whatever the reward, once for
equal questions, gold answers and predictions. What it says stands in ``episode.measured[turn]["judge"]`` and
in the record, so that no reward that reads it has to ask again.

>>> class Lenient:
...     version = "lenient/1"
...     def grade(self, questions, answers, predictions):
...         return ["correct" for _ in questions]
>>> from igpo_gym.episode import Answer, EndReason, Question, Turn
>>> episode = Episode(Question("q", "Where?", ("Danzig",)), ())
>>> episode.append(Turn("...", Answer("Gdańsk, I believe")), EndReason.ANSWERED)
>>> Verdicts(Lenient()).measure([(episode, 0), (episode, 1)])
[None, {'verdict': 'correct', 'judge': 'lenient/1'}]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from igpo_gym.data.scores import JUDGE
from igpo_gym.episode import Answer, Episode
from igpo_gym.errors import JudgeError
from igpo_gym.rewards.interface import Judge, State
from igpo_gym.text import restored

VERDICTS = ("correct", "incorrect", "not attempted")
"""What a judge can say. Only the first earns anything."""

_KEPT = 65_536
"""How many verdicts are remembered."""

Asked: TypeAlias = tuple[str, tuple[str, ...], str]
"""A question, its gold answers, and a prediction."""


class Verdicts:
    """The instrument ``judge``: the verdict on each answer, and None for a state without one.

    A verdict is ``{"verdict": "correct", "judge": VERSION}``. Its version is the judge's own ``version``, if
    that tells one. Raises JudgeError for what is no verdict, and what the judge raises: a judge that fails
    gives no grade.
    """

    name = JUDGE

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._known: dict[tuple[str, Asked], str] = {}
        """By the judge's version and what it was asked."""

    @property
    def version(self) -> str:
        """The prompt and the model of the judge; empty if it does not tell."""
        return str(getattr(self._judge, "version", ""))

    def measure(self, states: Sequence[State]) -> list[dict[str, str] | None]:
        """Grade the answers among the states, equal ones once, with one call of the judge."""
        asked = [_asked(episode, turn) for episode, turn in states]
        wanted = [each for each in dict.fromkeys(asked) if each is not None]
        version = self.version
        known = {each: self._known[version, each] for each in wanted if (version, each) in self._known}
        known |= self._grade(version, [each for each in wanted if each not in known])
        return [None if each is None else {"verdict": known[each], "judge": version} for each in asked]

    def _grade(self, version: str, asked: Sequence[Asked]) -> dict[Asked, str]:
        if not asked:
            return {}
        verdicts = self._judge.grade(*map(list, zip(*asked, strict=True)))
        if len(verdicts) != len(asked):
            raise JudgeError(f"the judge gave {len(verdicts)} verdicts on {len(asked)} answers")
        if wrong := [verdict for verdict in verdicts if verdict not in VERDICTS]:
            raise JudgeError(f"the judge gave {wrong[0]!r:.40}, which is none of: {', '.join(VERDICTS)}")
        graded = dict(zip(asked, verdicts, strict=True))
        if len(self._known) + len(graded) > _KEPT:
            self._known.clear()
        self._known |= {(version, each): verdict for each, verdict in graded.items()}
        return graded


def _asked(episode: Episode, turn: int) -> Asked | None:
    action = episode.turns[turn - 1].action if turn else None
    if not isinstance(action, Answer):
        return None
    question = episode.question
    return question.text, tuple(map(restored, question.answers)), restored(action.text)
