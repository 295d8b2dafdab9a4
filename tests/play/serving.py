"""The page's server on loopback, and questions that show whether it keeps a secret."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from igpo_gym.envs.engine import Engine
from igpo_gym.envs.questions import QuestionStream
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Belief, Episode, Passage, Question
from igpo_gym.errors import ScoringError
from igpo_gym.lm.policy import Policy
from igpo_gym.play.episodes import Episodes
from igpo_gym.play.server import HOST, make_app
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import PRESETS
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.search import BM25Index
from igpo_gym.serving import bound
from igpo_gym.tools import Open, Search, Tool
from tests.conftest import MentionScorer
from tests.serving import in_thread
from tests.viewer.pages import EVIL

GOLD = "Wejherowo"
"""A gold answer that stands in no passage that the first searches find."""

PASSAGES = (
    Passage("drum", "The Tin Drum", f"The Tin Drum is a novel of 1959. {EVIL}"),
    Passage("grass", "Günter Grass", "Günter Grass was a writer."),
    Passage("secret", "Archive", f"The hidden place is {GOLD}."),
)
QUESTIONS = (Question("q-place", "Which place does The Tin Drum hide?", (GOLD, "Neustadt"), ("secret",), 1),)


class Moody(MentionScorer):
    """Counts mentions, unless it is told to fail."""

    fails = False

    def score(self, requests: Sequence[BeliefRequest]) -> list[Belief]:
        if self.fails:
            raise ScoringError("the scorer at\nhttp://name:secret@127.0.0.1:9/v1 does not answer")
        return super().score(requests)


class Follower:
    """An agent that searches on and on."""

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        return [f"<search>novel {len(episode.turns)}</search>" for episode in episodes]


def episodes(
    scorer: Moody, max_turns: int = 4, policy: Policy | None = None, tools: Sequence[Tool] = ()
) -> Episodes:
    """What a person plays over ``PASSAGES``, with more tools than search and open."""
    index = BM25Index.build(PASSAGES)
    all_tools: tuple[Tool, ...] = (Search(index, 2), Open(index), *tools)
    engine = Engine(TAGS, all_tools, PRESETS["igpo"], scorer, Rules(max_turns))
    return Episodes(engine, QuestionStream(QUESTIONS, seed=0), policy)


@contextlib.contextmanager
def serving(played: Episodes, agent: str = "") -> Iterator[str]:
    """The URL of the page while it is served by a thread."""
    with bound(HOST, 0) as sock:
        app = make_app(played, sock.getsockname()[1], agent)
        with in_thread(app, sock, log_level="critical", timeout_graceful_shutdown=0) as url:
            yield url
