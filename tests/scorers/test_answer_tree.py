"""The tree of answers, against the paths that it must have."""

from hypothesis import given
from hypothesis import strategies as st

from igpo_gym.scorers.answer_tree import answer_tree
from igpo_gym.scorers.prompts import AnswerIds

ids = st.integers(0, 3)
tuples = st.lists(ids, min_size=1, max_size=6).map(tuple)


def behind(probe: tuple[int, ...], answers: tuple[tuple[int, ...], ...]) -> tuple[AnswerIds, ...]:
    return tuple(AnswerIds(probe, answer) for answer in answers)


@given(tuples, st.lists(tuples, min_size=1, max_size=12).map(tuple))
def test_every_answer_token_is_predicted_by_the_probe_and_the_answer_before_it(
    probe: tuple[int, ...], answers: tuple[tuple[int, ...], ...]
) -> None:
    tree = answer_tree(behind(probe, answers))
    seen = [tuple(tree.tokens[i] for i in range(len(tree.tokens)) if row[i]) for row in tree.sees.tolist()]
    expected = [probe + answer[:stop] for answer in answers for stop in range(len(answer))]
    assert [seen[predictor] for predictor in tree.predictors] == expected
    assert list(tree.targets) == [token for answer in answers for token in answer]
    assert list(tree.depths) == [len(path) - 1 for path in seen]


@given(tuples, st.lists(tuples, min_size=1, max_size=12).map(tuple))
def test_shared_beginnings_are_there_once(
    probe: tuple[int, ...], answers: tuple[tuple[int, ...], ...]
) -> None:
    paths = {(probe + answer)[:stop] for answer in answers for stop in range(1, len(probe + answer))}
    assert len(answer_tree(behind(probe, answers)).tokens) == len(paths)


def test_means_are_per_answer() -> None:
    tree = answer_tree(behind((7,), ((1, 2), (3,))))
    belief = tree.belief([-1.0, -3.0, -0.5])
    assert (belief.log_probs, belief.token_log_probs) == ((-2.0, -0.5), ((-1.0, -3.0), (-0.5,)))
