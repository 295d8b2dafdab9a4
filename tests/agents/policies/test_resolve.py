from __future__ import annotations

from pathlib import Path

import pytest

from igpo_gym.agents.policies import resolve_policy
from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.data.interface import QuestionSet
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Sampling
from igpo_gym.protocols import TAGS
from tests.lm.tiny import make_model, make_tokenizer


def test_a_scripted_agent_has_the_seed(question_set: QuestionSet) -> None:
    agent = resolve_policy("noisy", question_set, TAGS, Sampling(seed=7))
    assert isinstance(agent, ScriptedAgent)
    assert agent._seed == 7


def test_a_folder_is_a_language_model(question_set: QuestionSet, tmp_path: Path) -> None:
    from igpo_gym.agents.policies.language_model import LanguageModelPolicy

    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    sampling = Sampling(temperature=0.5)
    policy = resolve_policy(str(tmp_path), question_set, TAGS, sampling)
    assert isinstance(policy, LanguageModelPolicy)
    assert policy.sampling == sampling


def test_an_object_that_acts_passes(question_set: QuestionSet) -> None:
    agent = ScriptedAgent("expert", question_set)
    assert resolve_policy(agent, question_set, TAGS) is agent
    with pytest.raises(SpecError, match=r"3 is no policy: it has no act\(episodes\)"):
        resolve_policy(3, question_set, TAGS)  # type: ignore[arg-type]


def test_what_is_no_policy_is_told_what_is_one(question_set: QuestionSet, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"cannot load the model .* or a scripted agent: expert, forger"):
        resolve_policy(str(tmp_path / "missing"), question_set, TAGS)
