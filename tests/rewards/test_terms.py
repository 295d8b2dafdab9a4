from __future__ import annotations

from dataclasses import replace

import pytest

from igpo_gym.episode import Answer, Invalid, Passage, Question, ToolCalls, ToolResult
from igpo_gym.errors import SpecError
from igpo_gym.rewards import TERMS, make_term
from igpo_gym.tools import open_call, search_call
from tests.rewards.played import SEARCH, found, play, prices


def test_f1_and_em_are_paid_on_the_last_turn_alone() -> None:
    episode = play(SEARCH, Answer("port Danzig"))
    assert prices(TERMS["f1"], episode) == pytest.approx([0.0, 2 * 1.0 * (2 / 3) / (1 + 2 / 3)])
    assert prices(TERMS["em"], episode) == [0.0, 0.0]
    assert prices(TERMS["em"], play(SEARCH, Answer("danzig."))) == [0.0, 1.0]


def test_a_truncated_episode_scores_nothing_and_is_malformed() -> None:
    episode = play(SEARCH, SEARCH, truncated=True)
    assert prices(TERMS["f1"], episode) == prices(TERMS["em"], episode) == [0.0, 0.0]
    assert prices(TERMS["format-penalty"], episode) == [0.0, 1.0]


def test_each_invalid_message_is_malformed_once() -> None:
    penalty = TERMS["format-penalty"]
    assert prices(penalty, play(Invalid("a"), SEARCH, Answer("x"))) == [1.0, 0.0, 0.0]
    assert prices(penalty, play(SEARCH, Invalid("a"), truncated=True)) == [0.0, 1.0]


def test_evidence_and_redundancy_by_hand() -> None:
    episode = play(SEARCH, SEARCH, SEARCH, Invalid("no"), Answer("x"))
    episode.question = Question("1", "Where?", ("A",), evidence=("a", "b", "b2", "c"))
    episode.turns[:3] = [found("a", "x", "b"), found("a", "x", "c", "y"), found()]
    assert prices(TERMS["evidence-recall"], episode) == pytest.approx([0.5, 0.25, 0.0, 0.0, 0.0])
    assert prices(TERMS["redundancy"], episode) == pytest.approx([0.0, -0.5, 0.0, 0.0, 0.0])
    assert prices(TERMS["search-cost"], episode) == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_each_query_of_a_message_costs() -> None:
    both, one = search_call("Danzig", "Vistula"), search_call("port")
    several = ToolCalls((*both.calls, *one.calls, *open_call("Danzig").calls))
    assert prices(TERMS["search-cost"], play(several, both, open_call("Danzig"), one)) == [3.0, 2.0, 0.0, 1.0]


def test_a_document_of_which_a_part_was_shown_is_neither_found_nor_seen() -> None:
    episode = play(SEARCH, SEARCH, SEARCH)
    needed = ("It lies in Pomerania.",)
    episode.question = Question("1", "Where?", ("Pomerania",), evidence=("a",), evidence_texts=needed)
    part, whole = Passage("a", "Danzig", "A port."), Passage("a", "Danzig", "A port. It lies in Pomerania.")
    episode.turns[:] = [
        replace(episode.turns[0], results=(ToolResult(passages=((passage,),)),), observation=passage.text)
        for passage in (part, whole, part)
    ]
    assert prices(TERMS["evidence-recall"], episode) == [0.0, 1.0, 0.0]
    assert prices(TERMS["redundancy"], episode) == [0.0, 0.0, -1.0]


def test_evidence_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs gold evidence; question '1' names none"):
        prices(TERMS["evidence-recall"], play(SEARCH))


def test_terms_say_what_they_need_and_where_they_are_from() -> None:
    needs = {name: set(term.needs) for name, term in TERMS.items() if term.needs}
    assert needs == {
        **{name: {"scorer"} for name in ("gain", "log-gain", "new-best", "shaping")},
        "teacher-gain": {"reference"},
        "document-gain": {"scorer", "corpus"},
        "value-gain": {"policy"},
        "judge": {"judge"},
        "evidence-recall": {"evidence"},
    }
    assert all(term.formula and term.source for term in TERMS.values())
    outcomes = {"f1", "em", "judge", "format-penalty", "no-search"}
    assert {name for name, term in TERMS.items() if term.outcome} == outcomes


def test_a_term_is_named_by_what_is_not_the_default() -> None:
    assert make_term("gain", context="full").name == "gain"
    assert (
        make_term("gain", aliases="first", context="evidence").name == "gain(context=evidence, aliases=first)"
    )
    assert (
        make_term("shaping", gamma="0.5").name == make_term("shaping", gamma=0.5).name == "shaping(gamma=0.5)"
    )


@pytest.mark.parametrize(
    ("name", "given", "problem"),
    [
        ("gains", {}, "unknown reward term 'gains'; did you mean gain.* Choose one of: document-gain, em, "),
        ("gain", {"gamma": 1.0}, "'gain' has no parameter 'gamma'; it has: context, aliases"),
        ("f1", {"context": "full"}, "'f1' has no parameter 'context'; it has: metric"),
        (
            "shaping",
            {"gamma": "much"},
            "'much' is no float, which gamma of the reward term 'shaping' must be",
        ),
        ("shaping", {"gamma": "nan"}, "'nan' is no float"),
        ("value-gain", {"completions": "1.5"}, "'1.5' is no int"),
        ("value-gain", {"completions": 0}, "completions must be at least 1, not 0"),
        ("document-gain", {"samples": 0}, "samples must be at least 1, not 0"),
        ("teacher-gain", {"tau": 0.0}, "tau must be above 0, not 0.0"),
        ("gain", {"context": "thoughts"}, "unknown context 'thoughts'; choose one of: full, evidence"),
        ("gain", {"aliases": "mean"}, "unknown aliases 'mean'; choose one of: max, first, logsumexp"),
    ],
)
def test_parameters_that_do_not_fit_are_explained(name: str, given: dict[str, str], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        make_term(name, **given)
