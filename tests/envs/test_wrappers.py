from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import igpo_gym  # noqa: F401
from igpo_gym.envs import SearchQAVectorEnv, TranscriptObservation, VectorTranscriptObservation
from igpo_gym.envs.wrappers import NUMBERS, NumericInfo, transcript


def test_messages_begin_on_lines_of_their_own() -> None:
    messages = [{"role": "user", "content": text} for text in ("a", "b\n", "c")]
    assert transcript(messages) == "a\nb\nc"


@pytest.mark.parametrize("protocol", ["tags", "tool_call"])
def test_the_transcript_only_ever_grows(settings: dict[str, Any], protocol: str) -> None:
    env = TranscriptObservation(gym.make("SearchQA-IGPO-v0", **settings, protocol=protocol))
    before, _ = env.reset(seed=0)
    for message in ("<search>river</search>", "hm", "<answer>x</answer>"):
        after = env.step(message)[0]
        assert after.startswith(before)
        assert message in after[len(before) :]
        before = after


def test_the_raw_transcript_of_inline_replies_is_what_a_scorer_reads(settings: dict[str, Any]) -> None:
    env = TranscriptObservation(gym.make("SearchQA-IGPO-v0", **settings))
    env.reset(seed=0)
    observation = env.step("<search>river</search>")[0]
    episode = env.unwrapped.episode  # type: ignore[attr-defined]
    assert observation == "".join(segment.text for segment in episode.segments)


def test_vector_transcripts_are_those_of_the_single_form(settings: dict[str, Any]) -> None:
    plain = SearchQAVectorEnv(2, **settings, autoreset_mode="SameStep")
    envs = VectorTranscriptObservation(SearchQAVectorEnv(2, **settings, autoreset_mode="SameStep"))
    singles = [TranscriptObservation(gym.make("SearchQA-IGPO-v0", **settings)) for _ in range(2)]
    observations, _ = envs.reset(seed=4)
    plain.reset(seed=4)
    assert observations == tuple(env.reset(seed=4 + index)[0] for index, env in enumerate(singles))
    for actions in (["<search>river</search>", "hm"], ["<answer>x</answer>", "<search>port</search>"]):
        observations, _, terminations, _, infos = envs.step(actions)
        plain.step(actions)
        for index, env in enumerate(singles):
            expected = env.step(actions[index])[0]
            if terminations[index]:
                assert infos["final_obs"][index] == expected
                expected = env.reset()[0]
            assert observations[index] == expected
    mask = np.array([False, True])
    observations, _ = envs.reset(options={"reset_mask": mask})
    assert observations[1] == singles[1].reset()[0]


def test_numeric_info_has_the_same_numbers_in_every_step() -> None:
    env = NumericInfo(gym.make("SearchQA-IGPO-v0"))
    messages = ("<search>river</search>", "no tags", "<answer>Danzig</answer>")
    infos = [env.reset(seed=0)[1], *(env.step(message)[-1] for message in messages)]
    assert {tuple(info) for info in infos} == {NUMBERS}
    assert all(type(value) is float for info in infos for value in info.values())
    assert [info["turn"] for info in infos] == [0.0, 1.0, 2.0, 3.0]
    assert [info["valid"] for info in infos[1:]] == [1.0, 0.0, 1.0]
    assert [math.isnan(info["f1"]) for info in infos] == [True, True, True, False]
    assert infos[1]["gain"] == pytest.approx(infos[1]["belief"] - infos[0]["belief"])
