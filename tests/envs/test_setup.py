from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.config import EnvConfig
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Passage
from igpo_gym.errors import SpecError
from igpo_gym.protocols import TOOL_CALL
from igpo_gym.rewards import PRESETS
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer


def test_settings_become_an_engine(question_set: QuestionSet) -> None:
    questions, engine = assemble(
        EnvConfig(
            questions=question_set,
            scorer=None,
            reward="outcome-em",
            protocol="tool_call",
            max_turns=4,
            top_k=5,
        )
    )
    assert questions is question_set
    assert engine.protocol is TOOL_CALL
    assert engine.reward is PRESETS["outcome-em"]
    assert (engine.rules.max_turns, engine.tools[0].top_k, engine.scorer) == (4, 5, None)
    assert engine.tools[0].retriever.search(["Wrocław"], 1)[0][0].id == "odra"


def test_what_a_reward_needs_is_given_or_missed(question_set: QuestionSet, scorer: MentionScorer) -> None:
    def settle(**settings: Any) -> Engine:
        return assemble(EnvConfig(questions=question_set, scorer=scorer, **settings))[1]

    assert settle(reward="tips", reference=scorer).reference is scorer
    assert settle(reward="ig-search").corpus[0] == PASSAGES[0]
    agent = ScriptedAgent("expert", question_set)
    assert settle(reward="monte-carlo", policy=agent).policy is agent
    assert isinstance(settle(reward="monte-carlo", policy="expert").policy, ScriptedAgent)
    for reward, problem in (("tips", "frozen reference model"), ("monte-carlo", "needs a policy")):
        with pytest.raises(ValueError, match=problem):
            settle(reward=reward)
    with pytest.raises(SpecError, match=r"3 is no policy: it has no act\(episodes\)"):
        settle(reward="monte-carlo", policy=3)


def test_a_search_elsewhere_has_no_corpus_to_draw_from(scorer: MentionScorer) -> None:
    class Elsewhere:
        def search(self, queries: Sequence[str], k: int) -> list[list[Passage]]:
            return [[] for _ in queries]

    with pytest.raises(ValueError, match="'ig-search' needs a corpus to draw random documents from"):
        assemble(EnvConfig(questions=QUESTIONS, search=Elsewhere(), scorer=scorer, reward="ig-search"))


@pytest.mark.parametrize("spec", ["hotpotqa", "word", "hotpot:file"])
def test_unknown_questions_are_explained(spec: str) -> None:
    with pytest.raises(SpecError, match="hotpotqa:"):
        assemble(EnvConfig(questions=spec, scorer=None, reward="outcome-f1"))
