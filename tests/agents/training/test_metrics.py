from __future__ import annotations

from dataclasses import replace

import pytest

from igpo_gym.agents.training.metrics import (
    answer_named,
    episode_metrics,
    outage_share,
)
from igpo_gym.data.metrics import cover_exact_match
from igpo_gym.episode import (
    Answer,
    Belief,
    EndReason,
    Episode,
    Invalid,
    Passage,
    Question,
    Segment,
    ToolResult,
    Turn,
)
from igpo_gym.protocols import TAGS
from igpo_gym.tools import search_call

QUESTION = Question("q", "Who wrote The Tin Drum?", ("Günter Grass",))
FOUND = ((Passage("drum", "The Tin Drum", "A novel by Günter Grass."),),)


def played(*turns: Turn, rewards: list[dict[str, float]], beliefs: tuple[float, ...] = ()) -> Episode:
    episode = Episode(QUESTION, TAGS.prompt(QUESTION))
    for turn in turns:
        said = Segment("agent", "assistant", turn.message, ids=(1, 2, 3))
        answered = isinstance(turn.action, Answer)
        episode.append(replace(turn, segments=(said,)), EndReason.ANSWERED if answered else None)
    episode.rewards, episode.beliefs = rewards, [Belief((value,)) for value in beliefs]
    episode.end = episode.end or EndReason.TURNS_EXHAUSTED
    return episode


def test_means_over_episodes_by_hand() -> None:
    right = played(
        Turn(
            "<search>drum</search>",
            search_call("drum"),
            results=(ToolResult(passages=FOUND),),
            observation="found",
        ),
        Turn("<answer>Günter Grass</answer>", Answer("Günter Grass")),
        rewards=[{"gain": 0.25, "f1": 0.0}, {"gain": 0.0, "f1": 1.0}],
        beliefs=(-2.0, -1.0),
    )
    lost = played(Turn("hm", Invalid("no action")), rewards=[{"gain": 0.0, "f1": 0.0}], beliefs=(-2.0, -2.0))
    metrics = episode_metrics([right, lost])
    assert metrics == pytest.approx(
        {
            "reward": 0.625,
            "reward_gain": 0.125,
            "reward_f1": 0.5,
            "f1": 0.5,
            "em": 0.5,
            "turns": 1.5,
            "tool_turns": 0.5,
            "completion_tokens": 4.5,
            "end_answered": 0.5,
            "end_invalid_message": 0.0,
            "end_turns_exhausted": 0.5,
            "end_context_exhausted": 0.0,
            "end_aborted": 0.0,
            "invalid": 1 / 3,
            "guessed": 0.0,
            "forged": 0.0,
            "gain": (2.718281828**-1 - 2.718281828**-2) / 2,
        }
    )


def test_a_guess_names_the_answer_before_anything_else_has() -> None:
    def search(message: str, found: bool) -> Turn:
        return Turn(
            message,
            search_call("x"),
            results=(ToolResult(passages=FOUND if found else ()),),
            observation="seen",
        )

    none: dict[str, float] = {}
    guess, plain = "<think>günter grass?</think><search>x</search>", "<search>x</search>"
    once = played(search(guess, True), search(guess, False), rewards=[none, none])
    read = played(search(plain, True), search(guess, False), rewards=[none, none])
    answered = played(Turn("<answer>Günter Grass</answer>", Answer("Günter Grass")), rewards=[none])
    assert episode_metrics([once])["guessed"] == 0.5
    assert episode_metrics([read])["guessed"] == 0
    assert episode_metrics([answered])["guessed"] == 0


def test_a_reply_that_the_agent_writes_is_forged() -> None:
    forged = Turn("<think><information>Grass</information></think>", Invalid("no action"))
    plain = Turn("<think>information</think>", Invalid("no action"))
    assert episode_metrics([played(forged, plain, rewards=[{}, {}])])["forged"] == 0.5


@pytest.mark.parametrize("answer", ["Günter Grass", "Grass the Danzig", "drum by", "Drum a", "A", "Gunter"])
def test_an_answer_is_named_where_all_that_was_read_so_far_covers_it(answer: str) -> None:
    """Also where it begins in one text and ends in the next, and where articles and accents stand between."""
    texts = ["Drum", "The", "By Gu\u0308nter Grass.", "", "\u0308 a Danzig", "drum! By Grass"]
    turns = [Turn("", search_call("x"), results=(_found(text),)) for text in texts]
    episode = Episode(Question("q", "Whose Tin Drum?", (answer,)), (), turns=turns)
    read = ["Whose Tin Drum?", *texts]
    assert list(answer_named(episode)) == [
        bool(cover_exact_match("\n".join(read[: number + 1]), [answer])) for number in range(len(turns))
    ]


def _found(text: str) -> ToolResult:
    return ToolResult(passages=((Passage(text, "", text),),))


def test_what_was_left_out_counts_in_no_share() -> None:
    left_out = Episode(Question("2", "Who?", ("x",)), (), end=EndReason.ABORTED)
    down = Turn("m", search_call("q"), results=(ToolResult(failed=True),))
    played = Episode(Question("1", "Who?", ("x",)), (), turns=[down], end=EndReason.TURNS_EXHAUSTED)
    played.rewards.append({})
    assert outage_share([played, left_out]) == 1.0
    assert outage_share([left_out]) == 0.0
    told = episode_metrics([played, left_out])
    assert (told["turns"], told["end_aborted"], told["end_turns_exhausted"]) == (1.0, 0.5, 0.5)
    assert episode_metrics([left_out])["turns"] == 0.0
