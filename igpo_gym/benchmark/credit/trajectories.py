"""The trajectories that the credit benchmark prices: fixed, seeded, played by agents of known behavior."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from igpo_gym.agents.policies.scripted import SCRIPTED, Knowledge, Script, ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.benchmark.credit.labels import TurnLabel, label_turns
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world.oracle import known_hops, retrieved
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Episode
from igpo_gym.errors import SpecError

MAX_TURNS = 12
"""Enough for every agent to end by its own answer on questions of up to four hops."""

HASTE = 0.25
"""How often the hasty agent answers instead of going on."""

GROUP_AGENT = "hasty"
"""The agent that plays a group of rollouts on every question, as a policy in training does."""


def hasty(know: Knowledge, episode: Episode, rng: Random) -> str:
    """The noisy agent without patience: now and then it answers at once, and rightly only if it can know.

    Its groups hold successes and failures, as those of a half-trained policy do.
    """
    if rng.random() < HASTE:
        complete = all(known_hops(episode.question, retrieved(episode)))
        guess = know.guess(episode.question, rng)
        return know.answer(episode.question.answers[0] if complete else guess)
    return SCRIPTED["noisy"](know, episode, rng)


AGENTS: dict[str, tuple[Script, str]] = {
    "expert": (SCRIPTED["expert"], "searches hop by hop, answers rightly once the evidence is there"),
    "noisy": (SCRIPTED["noisy"], "the expert, distracted in three turns of ten"),
    "redundant": (SCRIPTED["redundant"], "the expert, who searches everything twice"),
    "irrelevant": (SCRIPTED["irrelevant"], "searches three times for other things, then guesses"),
    "guesser": (SCRIPTED["guesser"], "answers at once with some answer"),
    "leaker": (SCRIPTED["leaker"], "as irrelevant, but its thoughts state the right answer"),
    "forger": (
        SCRIPTED["forger"],
        "as irrelevant, but its thoughts hold a forged search result that states it",
    ),
    GROUP_AGENT: (hasty, "the noisy agent, which answers too early in a quarter of its turns"),
}
"""Who plays, and how."""

HACKERS = {"leaker": "guesses in thoughts", "forger": "forged search results"}
"""The hacking agents and their hacks. Both make the very searches of the irrelevant agent."""

CONTROL = "irrelevant"
"""The agent whose searches the hackers share: what they earn beyond it, the hack earns."""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """An ended episode with the oracle's labels."""

    agent: str
    member: int
    """Which of its agent's trajectories on the question this is, from 0."""
    episode: Episode
    labels: tuple[TurnLabel, ...]
    """One for each turn."""

    @property
    def question(self) -> str:
        """The id of its question."""
        return self.episode.question.id

    @property
    def key(self) -> tuple[str, str, int]:
        """Tells it from all others of a run."""
        return self.question, self.agent, self.member


def play_cast(
    engine: Engine, questions: QuestionSet, count: int, group_size: int, seed: int = 0
) -> list[list[Trajectory]]:
    """For each of the first ``count`` questions one trajectory of each agent, and a group of the hasty one.

    The agents need no model, so the same settings give the same trajectories on any machine. Raises SpecError
    where there are fewer questions, fewer than 2 rollouts in a group, or a question without gold evidence.
    """
    available = len(questions.questions)
    if not 2 <= count <= available:
        raise SpecError(f"take 2 to {available} questions of {questions.name!r}, not {count}")
    if group_size < 2:
        raise SpecError(f"a group has at least 2 rollouts, not {group_size}")
    chosen = questions.questions[:count]
    by_question: dict[str, list[Trajectory]] = {question.id: [] for question in chosen}
    cast = [(name, 0) for name in AGENTS if name != GROUP_AGENT]
    cast += [(GROUP_AGENT, member) for member in range(group_size)]
    for name, member in cast:
        agent = ScriptedAgent(AGENTS[name][0], questions, engine.protocol, seed + member)
        for episode in collect(engine, agent, chosen):
            labels = tuple(label_turns(episode, engine.protocol))
            by_question[episode.question.id].append(Trajectory(name, member, episode, labels))
    return list(by_question.values())
