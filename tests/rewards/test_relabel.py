from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.config import EnvConfig
from igpo_gym.data import resolve_questions
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Belief, BeliefView, EndReason, Episode
from igpo_gym.errors import PromptTooLongError
from igpo_gym.protocols import PROTOCOLS, TAGS, TOOL_CALL
from igpo_gym.rewards import PRESETS, RewardFunction, RewardTerm, resolve_reward, split
from igpo_gym.rewards.relabel import relabel
from igpo_gym.search.bm25 import BM25Index
from igpo_gym.tools import Search
from tests.conftest import PASSAGES, QUESTIONS, MentionScorer, play

VARIANTS = [*PRESETS, "igpo(context=evidence, aliases=logsumexp) + 0.1*evidence-recall - 0.01*search-cost"]


def some_episodes(engine: Engine) -> list[Episode]:
    return [
        play(
            engine, 1, "<search>Tin Drum</search>", "<search>Günter Grass</search>", "<answer>Danzig</answer>"
        ),
        play(engine, 2, "hm", "<think>Odra</think><search>Odra</search>", "<search>river</search>"),
        play(engine, 0, "<answer>Grass</answer>"),
    ]


@pytest.fixture
def everything(engine: Engine, question_set: QuestionSet, scorer: MentionScorer) -> Engine:
    """An engine that can pay any reward."""
    expert = ScriptedAgent("expert", question_set)
    return dataclasses.replace(engine, reference=scorer, corpus=PASSAGES, policy=expert)


@pytest.mark.parametrize("reward", VARIANTS)
def test_the_recorded_variant_gives_the_recorded_rewards(everything: Engine, reward: str) -> None:
    engine = dataclasses.replace(everything, reward=resolve_reward(reward))
    episodes = some_episodes(engine)
    # Measured anew, and from what was recorded.
    context = {"engine": engine, "policy": engine.policy}
    anew = {"scorer": MentionScorer(), "reference": MentionScorer(), "context": context}
    for sources in ({**anew, "corpus": PASSAGES}, {}):
        priced = list(relabel(iter(episodes), [reward], **sources, batch_size=2))  # type: ignore[arg-type]
        for episode, result in zip(episodes, priced, strict=True):
            assert result.rewards[reward] == [pytest.approx(terms) for terms in episode.rewards]
            assert dataclasses.replace(result.episode, rewards=episode.rewards) == episode
            assert result.returns[reward] == pytest.approx(episode.total_reward)


def test_all_variants_share_one_call_a_batch(everything: Engine) -> None:
    episodes = some_episodes(everything)
    scorer = MentionScorer()
    priced = list(
        relabel(
            episodes,
            VARIANTS,
            scorer,
            reference=scorer,
            corpus=PASSAGES,
            context={"engine": everything, "policy": everything.policy},
        )
    )
    # Plain, evidence and tagged beliefs of 3 + 4 + 1 states, and three draws for each of the 4 searches.
    assert scorer.calls == [3 * 8 + 3 * 4]
    assert [list(each.rewards) for each in priced] == [VARIANTS] * 3


def test_no_more_than_a_batch_is_held(engine: Engine) -> None:
    taken = 0

    def source() -> Iterator[Episode]:
        nonlocal taken
        for episode in some_episodes(engine):
            taken += 1
            yield episode

    priced = relabel(source(), ["outcome-f1"], batch_size=1)
    for number in range(1, 4):
        next(priced)
        assert taken == number


@given(st.permutations(range(3)), st.integers(1, 4))
def test_neither_order_nor_batch_changes_a_price(order: list[int], batch_size: int) -> None:
    engine = Engine(TAGS, (Search(BM25Index.build(PASSAGES), 2),), PRESETS["igpo"], MentionScorer(), Rules(3))
    episodes = some_episodes(engine)
    rewards = ["tips", "ig-search", "igpo(context=evidence)"]

    def priced(chosen: list[Episode], size: int) -> list[dict[str, list[dict[str, float]]]]:
        scorer = MentionScorer()
        found = relabel(chosen, rewards, scorer, reference=scorer, corpus=PASSAGES, batch_size=size)
        return [each.rewards for each in found]

    straight = priced(episodes, 3)
    assert priced([episodes[place] for place in order], batch_size) == [straight[place] for place in order]


def test_beliefs_of_another_model_are_not_kept(everything: Engine) -> None:
    engine = dataclasses.replace(everything, reward=resolve_reward("tips + igpo(context=evidence)"))
    episodes = some_episodes(engine)
    (priced, *_) = relabel(episodes, ["igpo"], MentionScorer())
    # Those of the reference are, for it is not asked anew.
    assert [view.model for view in priced.episode.views[0]] == ["reference"]
    for episode in episodes:
        episode.extra["mixed_weights"] = True
    (priced, *_) = relabel(episodes, ["igpo"], MentionScorer())
    assert "mixed_weights" not in priced.episode.extra, "all beliefs are of one version"
    (priced, *_) = relabel(episodes, ["tips", "igpo"], "none")
    assert priced.episode.extra["mixed_weights"]
    assert (priced.episode.beliefs, priced.episode.views) == (episodes[0].beliefs, episodes[0].views)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_what_the_scorer_cannot_read_has_no_gain_and_is_told(engine: Engine, batch_size: int) -> None:
    episodes = some_episodes(engine)
    long, *others = episodes
    prompt = sum(len(segment.text) for segment in long.prompt)
    one_turn = sum(len(segment.text) for segment in long.context(1))
    (whole, *_) = relabel([long], ["igpo"], MentionScorer())
    narrow = MentionScorer(longest=one_turn)
    cut, *rest = relabel([long, *others], ["igpo"], narrow, batch_size=batch_size)
    assert cut.episode.extra["unread"] == [2]
    assert cut.rewards["igpo"][0] == pytest.approx(whole.rewards["igpo"][0])
    paid = dataclasses.replace(cut.episode, rewards=cut.rewards["igpo"])
    gains = split(paid, resolve_reward("igpo")).gains
    assert gains == (pytest.approx(whole.rewards["igpo"][0]["gain"]), None)
    assert all("unread" not in each.episode.extra for each in rest if each.episode.states < 3)
    # What is priced by recorded beliefs has no more gains than they tell of, and says so.
    (recorded,) = relabel([paid], ["igpo"], "none")
    assert recorded.episode.extra["unread"] == [2]
    assert (
        split(dataclasses.replace(paid, rewards=recorded.rewards["igpo"]), resolve_reward("igpo")).gains
        == gains
    )
    (anew,) = relabel([paid], ["igpo"], MentionScorer())
    assert "unread" not in anew.episode.extra

    asked = dataclasses.replace(long, prompt=(dataclasses.replace(long.prompt[0], text="x" * 9999),))
    with pytest.raises(PromptTooLongError, match=f"the prompt of '{long.question.id}'"):
        list(relabel([*others, asked], ["igpo"], MentionScorer(longest=prompt * 9), batch_size=batch_size))
    *first, unread = relabel(
        [*others, long, asked],
        ["igpo"],
        MentionScorer(longest=prompt * 9),
        batch_size=batch_size,
        partial=True,
    )
    assert unread.rewards == unread.returns == {}
    assert unread.episode.extra["unread"] == [0, 1, 2]
    assert first[-1].episode.beliefs, "another attempt at the same question is priced"
    for rewards, paid in ((["igpo"], {}), (["f1", "igpo"], {}), (["f1"], {"f1"})):
        was, kept = relabel([first[0].episode, unread.episode], rewards, "none", partial=True)
        assert was.rewards.keys() == {*rewards}
        assert kept.rewards.keys() == {*paid}
        assert kept.episode.extra["unread"] == [0, 1, 2]
    with pytest.raises(PromptTooLongError, match="was longer than its scorer reads"):
        list(relabel([unread.episode], ["igpo"], "none"))
    (again, *_) = relabel([unread.episode], ["igpo"], MentionScorer())
    assert "unread" not in again.episode.extra


def test_what_a_recorded_reference_could_not_read_stays_so(everything: Engine) -> None:
    reward = resolve_reward("tips + igpo")
    whole = play(everything, 1, "<search>Tin Drum</search>", "<search>Günter Grass</search>")
    one_turn = sum(len(segment.text) for segment in whole.context(1))
    (episode,) = (
        priced.episode
        for priced in relabel([whole], [reward], MentionScorer(), reference=MentionScorer(longest=one_turn))
    )
    assert (episode.unread, episode.is_unread(2)) == ({2}, False)
    (anew,) = relabel([episode], [reward], MentionScorer())
    (view,) = anew.episode.views[0]
    assert (anew.episode.unread, anew.episode.is_unread(2), anew.episode.is_unread(2, [view])) == (
        {2},
        False,
        True,
    )
    # A record of before tells the state alone: it counts as unread in each view.
    old = dataclasses.replace(
        episode, views=[{view: dataclasses.replace(state[view], unread=False)} for state in episode.views]
    )
    (anew,) = relabel([old], [reward], MentionScorer())
    assert (anew.episode.is_unread(2), anew.episode.is_unread(2, [view])) == (False, True)


def test_what_was_measured_keeps_its_state(engine: Engine) -> None:
    (episode, *_) = some_episodes(engine)
    for measured in ([{}, {"label": 1}, {"label": 2}, {}], [{"label": None}, {}, {}, {"label": 3}]):
        recorded = dataclasses.replace(episode, measured=measured, instruments={"label": "1"})
        (priced,) = relabel([recorded], ["igpo"], "none")
        assert priced.episode.measured == measured
    (plain,) = relabel([dataclasses.replace(episode, measured=[])], ["igpo"], "none")
    assert plain.episode.measured == []


def test_a_term_of_ones_own_is_priced_too(engine: Engine) -> None:
    evidence = BeliefView(context="evidence")
    mine = RewardFunction(
        "mine",
        (
            (
                2.0,
                RewardTerm(
                    "belief", lambda episode, turn: episode.belief(turn - 1, evidence).prob, (evidence,)
                ),
            ),
        ),
    )
    (priced,) = relabel(some_episodes(engine)[2:], [mine], MentionScorer())
    assert priced.rewards == {"mine": [{"belief": pytest.approx(2 / 10)}]}


@pytest.mark.parametrize(
    ("reward", "given", "problem"),
    [
        ("ig-search", {}, "reward 'ig-search' needs a scorer, but scorer=None"),
        ("ig-search", {"scorer": MentionScorer()}, "reward 'ig-search' needs a corpus"),
        ("tips", {"scorer": MentionScorer()}, "reward 'tips' needs a frozen reference model"),
        ("monte-carlo", {}, "reward 'monte-carlo' needs a policy"),
        (
            "igpo(context=evidence)",
            {"scorer": MentionScorer(), "protocol": "tool_call"},
            "'tool_call'; give prot",
        ),
        ("tipps", {}, "unknown reward 'tipps'"),
    ],
)
def test_what_is_missing_is_said(engine: Engine, reward: str, given: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        list(relabel(some_episodes(engine), [reward], **given))  # type: ignore[arg-type]


def test_evidence_that_is_not_known_is_said(engine: Engine) -> None:
    episode = some_episodes(engine)[0]
    episode.question = dataclasses.replace(episode.question, evidence=())
    with pytest.raises(ValueError, match="question 'q-birth' names none"):
        list(relabel([episode], ["igpo", "evidence-recall"]))


def test_rewards_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two rewards of one name: igpo, igpo"):
        next(relabel([], ["igpo", "igpo"]))


def test_beliefs_that_do_not_match_the_turns_are_an_error(engine: Engine) -> None:
    episode = some_episodes(engine)[0]
    episode.beliefs.append(Belief((0.0,)))
    with pytest.raises(ValueError, match="recorded for 'q-birth' are not as many as its turns"):
        list(relabel([episode], ["igpo"]))


def test_episodes_of_another_protocol_are_priced_by_it(engine: Engine) -> None:
    engine = dataclasses.replace(
        engine, protocol=TOOL_CALL, corpus=PASSAGES, reward=resolve_reward("ig-search(context=evidence)")
    )
    episode = play(engine, 1, '<tool_call>{"name": "search", "arguments": {"query": "Danzig"}}</tool_call>')
    (priced,) = relabel([episode], [engine.reward], MentionScorer(), corpus=PASSAGES, protocol="tool_call")
    assert priced.rewards[engine.reward.name] == [pytest.approx(terms) for terms in episode.rewards]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_packaged_scorer_reprices_what_it_paid(protocol: str) -> None:
    """Step by step in an environment, then after a record, whole trajectories at once."""
    questions = resolve_questions("world:test#documents=60,questions=4")
    reward = " + ".join(
        ["igpo", "0.5*tips(tau=2)", "ig-search(samples=2)", "gain(context=evidence)", "watermark"]
    )
    question_set, engine = assemble(
        EnvConfig(questions=questions, reward=reward, protocol=protocol, max_turns=4)
    )
    agent = ScriptedAgent("noisy", question_set, engine.protocol)
    episodes = list(collect(engine, agent, question_set.questions, batch_size=4))
    records = [from_record(json.loads(json.dumps(to_record(episode)))) for episode in episodes]
    assert records == episodes
    given = {"protocol": protocol, "corpus": question_set.passages}
    for scorer in ("nano", None):
        priced = relabel(records, [reward, "outcome-em"], scorer, **given)  # type: ignore[arg-type]
        for episode, result in zip(episodes, priced, strict=True):
            assert result.rewards[reward] == [pytest.approx(terms, abs=1e-5) for terms in episode.rewards]


def test_an_abort_is_no_end_that_is_paid(everything: Engine) -> None:
    reward = resolve_reward("igpo + potential")
    (episode,) = everything.begin([QUESTIONS[1]])
    engine = dataclasses.replace(everything, reward=reward)
    engine.start([episode])
    engine.settle(engine.play([episode], ["<search>Danzig</search>"]))
    engine.end(episode, EndReason.ABORTED)
    (priced,) = relabel([episode], [reward], MentionScorer())
    assert priced.rewards[reward.name] == [pytest.approx(terms) for terms in episode.rewards]
    assert episode.rewards[0]["gain"] != 0
