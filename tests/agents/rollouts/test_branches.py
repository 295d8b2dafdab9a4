"""Rollouts that branch: from which states, with which numbers, and what the branches are paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from igpo_gym.agents.rollouts.branches import Branching, Leaf, by_belief, evenly, owners
from igpo_gym.agents.rollouts.collect import collect, collect_groups
from igpo_gym.agents.rollouts.records import from_record, to_record
from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Belief, Branch, Episode
from igpo_gym.errors import SpecError
from igpo_gym.rewards import split
from tests.conftest import QUESTIONS, MentionScorer, known, play
from tests.envs.information_gain.games import Pushed

SEARCHES = ("The Tin Drum novel", "Günter Grass writer", "river")


class Varied:
    """Searches twice, for what its attempt says, then answers."""

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        return [
            "<answer>Danzig</answer>"
            if len(each.turns) == 2
            else f"<search>{SEARCHES[(each.attempt + len(each.turns)) % 3]}</search>"
            for each in episodes
        ]


def test_the_largest_change_of_belief_says_where() -> None:
    episode = Episode(QUESTIONS[0], ())
    episode.beliefs = [Belief((value,)) for value in (-2.0, -1.9, -3.0, -2.8)]
    episode.turns = [None] * 4  # type: ignore[list-item]
    assert by_belief(episode, 2) == [1, 1]  # .135 .150 .050 .061: the fall at turn 2
    assert evenly(episode, 2) == [1, 2]
    assert evenly(episode, 3) == [1, 2, 3]
    episode.turns = episode.turns[:1]
    episode.beliefs = episode.beliefs[:1]
    assert (by_belief(episode, 2), evenly(episode, 2)) == ([0, 0], [0, 0])
    episode.beliefs = []
    with pytest.raises(SpecError, match="need a scorer"):
        by_belief(episode, 1)


@pytest.mark.parametrize("text", ["belief", "belief:0", "belief:x", "odd:2", "even:-1", ""])
def test_a_wrong_mode_is_explained(text: str) -> None:
    with pytest.raises(SpecError, match="write belief:2 or even:2"):
        Branching.parse(text)


@pytest.mark.parametrize("measure", ["step", "end"])
@pytest.mark.parametrize("mode", ["belief:2", "even:2"])
def test_branches_are_what_an_unbranched_episode_is(engine: Engine, mode: str, measure: str) -> None:
    engine = replace(engine, measure=measure)  # type: ignore[arg-type]
    questions = [QUESTIONS[1], QUESTIONS[0], QUESTIONS[1]]
    groups = collect_groups(engine, Varied(), questions, 2, 3, Branching.parse(mode))
    assert [[each.attempt for each in group] for group in groups] == [
        [0, 1, 2, 3, 4, 5],
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10, 11],
    ]
    plain = replace(engine, measure="step")
    for group in groups:
        first = group[0].attempt
        assert [each.branch and each.branch.attempt - first for each in group] == [None, None, 0, 0, 1, 1]
        for each in group:
            again = play(plain, QUESTIONS.index(each.question), *(turn.message for turn in each.turns))
            assert known(each) == known(again)
            if each.branch:
                source = group[each.branch.attempt - first]
                assert each.turns[: each.branch.turn] == source.turns[: each.branch.turn]


def test_a_branch_knows_which_shared_states_were_not_read(engine: Engine) -> None:
    prompt = engine.begin(QUESTIONS[:1])[0].prompt_text
    engine = replace(engine, scorer=MentionScorer(len(prompt)), measure="end")
    (group,) = collect_groups(engine, Varied(), QUESTIONS[:1], 1, 3, Branching.parse("even:2"))
    assert [each.unread for each in group] == [{1, 2}] * 3
    assert [split(each, engine.reward).gains for each in group] == [(None, None)] * 3


def test_a_run_that_was_stopped_plays_the_branches_that_are_missing(engine: Engine) -> None:
    mode = Branching.parse("even:2")
    whole = {each.attempt: each for each in collect(engine, Varied(), QUESTIONS[:1], 2, 2, (), mode)}
    kept = {0, 2, 1}
    recorded = [from_record(to_record(whole[number])) for number in kept if number < 2]
    done = {(QUESTIONS[0].id, number) for number in kept}
    rest = {
        each.attempt: each for each in collect(engine, Varied(), QUESTIONS[:1], 2, 2, done, mode, recorded)
    }
    assert sorted(rest) == [3, 4, 5]
    assert all(known(rest[number]) == known(whole[number]) for number in rest)


def test_records_say_where_a_branch_left(engine: Engine) -> None:
    (group,) = collect_groups(engine, Varied(), QUESTIONS[:1], 1, 3, Branching.parse("even:2"))
    assert [to_record(each).get("branch") for each in group] == [
        None,
        {"attempt": 0, "turn": 1},
        {"attempt": 0, "turn": 2},
    ]
    assert from_record(to_record(group[1])).branch == Branch(0, 1)
    assert "branch" not in to_record(group[0])


def test_a_shared_turn_is_the_one_that_was_played_first(engine: Engine) -> None:
    groups = collect_groups(engine, Varied(), QUESTIONS[:2], 1, 3, Branching.parse("even:2"))
    leaves = [Leaf.of(number, each) for number, group in enumerate(groups) for each in group]
    assert owners(leaves).tolist() == [0, 1, 2, 0, 4, 5, 0, 1, 8, 9, 10, 11, 9, 13, 14, 9, 10, 17]


def test_a_branch_knows_that_what_it_shares_was_paid_by_several_versions(engine: Engine) -> None:
    engine = replace(engine, scorer=Pushed())
    (group,) = collect_groups(engine, Varied(), QUESTIONS[2:3], 1, 3, Branching.parse("even:2"))
    assert [each.branch and each.branch.turn for each in group] == [None, 1, 2]
    assert [each.extra.get("mixed_weights") for each in group] == [True, True, True]
    assert "mixed_weights" not in group[0].branched(0, 3).extra, "it shares no turn"
