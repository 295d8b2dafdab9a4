from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.episode import Answer, Belief, BeliefView, Episode, Invalid, ToolResult, Turn
from igpo_gym.rewards import TERMS, make_term, resolve_reward
from tests.rewards.played import SEARCH, play, prices, seen_by

BELIEF_TERMS = ("gain", "log-gain", "new-best", "shaping")
probabilities = st.floats(0.01, 0.99)
tracks = st.lists(probabilities, min_size=1, max_size=8)


def test_gain_is_the_change_of_the_best_probability() -> None:
    episode = play(SEARCH, SEARCH, Invalid("no"), Answer("x"), beliefs=(0.1, 0.4, 0.3, 0.3))
    assert prices(TERMS["gain"], episode) == pytest.approx([0.3, -0.1, 0.0, 0.0])


def test_log_gain_is_the_change_in_nats() -> None:
    episode = play(SEARCH, SEARCH, Answer("x"), beliefs=(0.1, 0.4, 0.2))
    assert prices(TERMS["log-gain"], episode) == pytest.approx([math.log(4), -math.log(2), 0.0])


def test_only_a_new_best_belief_pays() -> None:
    episode = play(SEARCH, SEARCH, SEARCH, SEARCH, beliefs=(0.2, 0.5, 0.3, 0.4, 0.6))
    assert prices(TERMS["new-best"], episode) == pytest.approx([0.3, 0.0, 0.0, 0.1])


@given(probabilities, tracks)
def test_gains_sum_to_the_whole_change(start: float, rest: list[float]) -> None:
    episode = play(*[SEARCH] * len(rest), beliefs=(start, *rest))
    assert sum(prices(TERMS["gain"], episode)) == pytest.approx(rest[-1] - start)
    assert sum(prices(TERMS["log-gain"], episode)) == pytest.approx(math.log(rest[-1] / start))
    assert sum(prices(TERMS["new-best"], episode)) == pytest.approx(max(start, *rest) - start)


@pytest.mark.parametrize("name", ["gain", "log-gain", "new-best"])
def test_a_failed_search_pays_no_gain(name: str) -> None:
    episode = play(SEARCH, beliefs=(0.1, 0.4))
    episode.turns[0] = Turn("m", SEARCH, results=(ToolResult(failed=True),))
    assert prices(TERMS[name], episode) == [0.0]


@pytest.mark.parametrize("name", ["gain", "log-gain"])
def test_what_happened_in_a_failed_turn_is_no_gain_of_the_next(name: str) -> None:
    episode = play(SEARCH, SEARCH, SEARCH, beliefs=(0.1, 0.5, 0.6, 0.6))
    episode.turns[0] = Turn("m", SEARCH, results=(ToolResult(failed=True),))
    second = 0.1 if name == "gain" else math.log(0.6 / 0.5)
    assert prices(TERMS[name], episode) == pytest.approx([0.0, second, 0.0])


def test_a_turn_without_gain_is_still_a_turn() -> None:
    episode = play(SEARCH, SEARCH, Answer("Danzig"), beliefs=(0.1, 0.1, 0.4))
    rewards = [resolve_reward("igpo").price(episode, turn) for turn in (1, 2, 3)]
    assert [terms["gain"] for terms in rewards] == pytest.approx([0.0, 0.3, 0.0])
    assert [terms["f1"] for terms in rewards] == [0.0, 0.0, 1.0]


def test_beliefs_that_do_not_match_the_turns_are_an_error() -> None:
    with pytest.raises(IndexError):
        prices(TERMS["gain"], play(SEARCH, SEARCH, beliefs=(0.1, 0.2)))


def test_the_potential_of_an_end_is_nothing() -> None:
    episode = play(SEARCH, Answer("x"), beliefs=(0.2, 0.5))
    assert prices(TERMS["shaping"], episode) == pytest.approx([0.3, -0.5])
    episode = play(SEARCH, SEARCH, beliefs=(0.2, 0.5, 0.7), truncated=True)
    assert prices(make_term("shaping", gamma=0.9), episode) == pytest.approx([0.9 * 0.5 - 0.2, -0.5])


endings = st.sampled_from(["Danzig", "the port", "nowhere", None])


@given(st.floats(0, 1), tracks, tracks, endings, endings, probabilities)
def test_the_potential_ranks_trajectories_as_the_outcome_does(
    gamma: float, first: list[float], second: list[float], one: str | None, other: str | None, start: float
) -> None:
    """Two trajectories of one question begin with one belief: shaping moves their returns by the same."""

    def returns(reward: str, rest: list[float], answer: str | None) -> float:
        actions = [SEARCH] * len(rest) + ([Answer(answer)] if answer else [])
        episode = play(*actions, beliefs=(start, *rest), truncated=answer is None)
        priced = [resolve_reward(reward).price(episode, turn) for turn in range(1, len(actions) + 1)]
        return sum(gamma**turn * sum(terms.values()) for turn, terms in enumerate(priced))

    shaped, plain = f"potential(gamma={gamma!r})", "f1 - 2*format-penalty"
    for rest, answer in ((first, one), (second, other)):
        assert returns(shaped, rest, answer) == pytest.approx(returns(plain, rest, answer) - start)


TAGGED = BeliefView(span="tagged", model="reference")
PAPER = make_term("teacher-gain", form="paper")


def test_tips_of_the_paper_by_hand() -> None:
    """Phi = tau * log(sum over aliases of P^(1/tau)), from the sums of the tokens' log-probabilities."""
    track = [(math.log(0.01), math.log(0.03)), (math.log(0.2), math.log(0.1)), (math.log(0.1), math.log(0.1))]
    episode = seen_by(play(SEARCH, SEARCH, Answer("Danzig")), teacher=(TAGGED, track))
    gains = [math.log(0.3 / 0.04), math.log(0.2 / 0.3), 0.0]
    assert prices(make_term("teacher-gain", form="paper"), episode) == pytest.approx(gains)
    tips = [resolve_reward("tips(form=paper)").price(episode, turn) for turn in (1, 2, 3)]
    paid = [terms["teacher-gain(form=paper)"] for terms in tips]
    assert paid == pytest.approx([0.02 * gain for gain in gains])
    assert [terms["f1"] for terms in tips] == [0.0, 0.0, 1.0]
    # With tau = 2 the square roots of the probabilities are summed.
    phis = [2 * math.log(math.sqrt(math.exp(a)) + math.sqrt(math.exp(b))) for a, b in track]
    changes = [after - before for before, after in pairwise(phis)]
    term = make_term("teacher-gain", tau=2.0, form="paper")
    assert prices(term, episode) == pytest.approx([*changes, 0.0])


def test_tips_as_released_by_hand() -> None:
    """Phi from means over the tokens; the last turn takes back what Phi was before it."""
    states = [((-4.0, -2.0), (-6.0,)), ((-1.0, -3.0), (-2.0,)), ((-0.5, -0.1), (-3.0,))]
    phis = [math.log(math.exp(sum(first) / 2) + math.exp(second[0])) for first, second in states]
    answered = play(SEARCH, SEARCH, Answer("Danzig"))
    answered.views = [{TAGGED: Belief((math.nan, math.nan), tokens)} for tokens in states]
    expected = [phis[1] - phis[0], phis[2] - phis[1], -phis[2]]
    assert prices(TERMS["teacher-gain"], answered) == pytest.approx(expected)
    assert TERMS["teacher-gain"].last_turn
    # Where the turns ran out, Phi of the last state is paid and taken back at once.
    cut = play(SEARCH, SEARCH, truncated=True)
    cut.views = answered.views
    assert prices(TERMS["teacher-gain"], cut) == pytest.approx([phis[1] - phis[0], -phis[1]])


def test_ig_search_by_hand() -> None:
    """The first three tokens weigh three times; the alias that the real documents make likeliest counts."""
    states = [((-1.0,), (-1.0,)), ((-0.1, -0.2, -0.3, -2.0, -3.0), (-4.0, -4.0)), ((-5.0,) * 5, (-0.5, -0.7))]
    episode = play(SEARCH, SEARCH, Answer("x"))
    episode.beliefs = [Belief((math.nan, math.nan), tokens) for tokens in states]
    drawn = [((-2.0,) * 5, (-3.0, -1.0)), ((-1.0, -1.0, -1.0, -4.0, -4.0), (-0.1, -0.1))]
    views = {BeliefView(draw=number): Belief((math.nan, math.nan), each) for number, each in enumerate(drawn)}
    episode.views = [views] * 3
    found = (3 * (-0.1 - 0.2 - 0.3) - 2.0 - 3.0) / 11
    first = found - (-2.0 + (3 * -3.0 - 8.0) / 11) / 2
    second = (-0.5 - 0.7) / 2 - ((-3.0 - 1.0) / 2 - 0.1) / 2
    assert prices(make_term("document-gain", samples=2), episode) == pytest.approx([first, second, 0.0])
    assert len(TERMS["document-gain"].views) == 1 + 3


def test_document_gain_without_weights_by_hand() -> None:
    draws = {
        f"draw{number}": (BeliefView(draw=number), [(math.log(p), math.log(p / 2)) for p in probabilities])
        for number, probabilities in enumerate([(0.1, 0.2, 0.4), (0.1, 0.1, 0.2)])
    }
    episode = seen_by(play(SEARCH, SEARCH, Answer("x"), beliefs=(0.1, 0.4, 0.2)), **draws)
    expected = [math.log(0.4) - (math.log(0.2) + math.log(0.1)) / 2]
    expected += [math.log(0.2) - (math.log(0.4) + math.log(0.2)) / 2, 0.0]
    plain = make_term("document-gain", samples=2, head_weight=1.0)
    assert prices(plain, episode) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"document-gain\(head_weight=1\) needs none"):
        prices(make_term("document-gain", samples=2), episode)


def test_monte_carlo_by_hand() -> None:
    episode = play(SEARCH, Invalid("no"), Answer("Danzig"))
    episode.measured = [{"value(completions=8)": value} for value in (0.25, 0.75, 0.5)]
    assert prices(TERMS["value-gain"], episode) == pytest.approx([0.5, -0.25, 0.0])


def test_the_evidence_context_reads_other_beliefs() -> None:
    track = [(math.log(p), math.log(p / 2)) for p in (0.1, 0.2, 0.2)]
    episode = seen_by(
        play(SEARCH, SEARCH, Answer("x"), beliefs=(0.1, 0.9, 0.9)), evidence=(BeliefView("evidence"), track)
    )
    assert prices(make_term("gain", context="evidence"), episode) == pytest.approx([0.1, 0.0, 0.0])
    assert prices(TERMS["gain"], episode) == pytest.approx([0.8, 0.0, 0.0])


def test_aliases_by_hand() -> None:
    episode = play(SEARCH)
    episode.beliefs = [Belief((math.log(0.1), math.log(0.2))), Belief((math.log(0.3), math.log(0.1)))]
    for aliases, change in (("max", 0.3 - 0.2), ("first", 0.3 - 0.1), ("logsumexp", 0.4 - 0.3)):
        assert prices(make_term("gain", aliases=aliases), episode) == pytest.approx([change])


pairs = st.lists(st.tuples(probabilities, probabilities, probabilities), min_size=2, max_size=5)


def with_aliases(states: list[tuple[float, ...]]) -> Episode:
    episode = play(*[SEARCH] * (len(states) - 1))
    episode.beliefs = [Belief(tuple(map(math.log, state))) for state in states]
    episode.views = [{TAGGED: belief} for belief in episode.beliefs]
    return episode


@given(pairs, st.permutations(range(3)))
def test_the_order_of_the_aliases_does_not_matter(states: list[tuple[float, ...]], order: list[int]) -> None:
    swapped = [tuple(state[place] for place in order) for state in states]
    for name in (*BELIEF_TERMS, "teacher-gain"):
        for aliases in ("max", "logsumexp"):
            term = PAPER if name == "teacher-gain" else make_term(name, aliases=aliases)
            assert prices(term, with_aliases(states)) == pytest.approx(prices(term, with_aliases(swapped)))


@given(pairs)
def test_an_alias_without_a_chance_changes_nothing(states: list[tuple[float, ...]]) -> None:
    with_another = [(*state, 1e-300) for state in states]
    for name in (*BELIEF_TERMS, "teacher-gain"):
        for aliases in ("max", "first", "logsumexp"):
            term = PAPER if name == "teacher-gain" else make_term(name, aliases=aliases)
            assert prices(term, with_aliases(with_another)) == pytest.approx(
                prices(term, with_aliases(states))
            )
