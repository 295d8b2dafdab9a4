from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from igpo_gym.agents.policies.scripted import SCRIPTED, Knowledge, Script, ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.training.alarms import ALARMS, SPAN, WINDOW, alarms, paid_metrics, raised
from igpo_gym.agents.training.logs import Metrics, read_log
from igpo_gym.agents.training.metrics import episode_metrics
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.benchmark.credit.trajectories import AGENTS, MAX_TURNS, play_cast
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import (
    Answer,
    EndReason,
    Episode,
    Invalid,
    Passage,
    Question,
    ToolCall,
    ToolCalls,
    ToolResult,
    Turn,
)
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import resolve_reward
from igpo_gym.rewards.relabel import relabel
from igpo_gym.scorers import resolve_scorer
from igpo_gym.tools import search_call
from tests.agents.training.test_trainer import SMALL, timeless

IGPO = resolve_reward("igpo")
QUESTION = Question("q", "Who wrote The Tin Drum?", ("Günter Grass",))
DRUM = Passage("drum", "The Tin Drum", "A novel by Günter Grass.")
ODRA = Passage("odra", "Odra", "A river.")


def searched(query: str, *found: Passage) -> Turn:
    return Turn(f"<search>{query}</search>", search_call(query), results=(ToolResult(passages=(found,)),))


def played(turns: list[Turn], gains: list[float]) -> Episode:
    """An episode that was paid these gains, with an answer behind them that has none."""
    episode = Episode(QUESTION, TAGS.prompt(QUESTION))
    for turn in turns:
        episode.append(turn)
    episode.append(Turn("<answer>x</answer>", Answer("x")), EndReason.ANSWERED)
    episode.rewards = [{"gain": value, "f1": 0.0, "format-penalty": 0.0} for value in [*gains, 0.0]]
    return episode


def test_what_gains_were_paid_for_by_hand() -> None:
    turns = [
        searched("odra", ODRA),
        searched("odra again", ODRA),
        searched("both", ODRA, DRUM),
        Turn("hm", Invalid("no action")),
        searched("nothing"),
    ]
    found = paid_metrics([played(turns, [0.1, 0.2, 0.3, 0.05, -0.01]), played([], [])], IGPO)
    assert found == pytest.approx(
        {
            "gain_moved": (0.1 + 0.2 + 0.3 + 0.05 + 0.01) / 2,
            "gain_without_new": (0.2 + 0.05 - 0.01) / 2,
            "gain_seen": 0.2 / 2,
            "leaked_queries": 0.0,
        }
    )


def test_a_text_is_new_that_was_shown_in_part_before_or_is_said_by_a_tool() -> None:
    part, whole = Passage("drum", "The Tin Drum", "A novel."), DRUM
    opened = ToolResult("The Tin Drum (page 1 of 1)\n" + whole.text, ((whole,),))
    action = ToolCalls((ToolCall("open", {"document": "The Tin Drum"}),))
    page = Turn("<open>The Tin Drum</open>", action, results=(opened,))
    word = Turn("<say>x</say>", action, results=(ToolResult("It was Grass."),))
    found = paid_metrics([played([searched("drum", part), page, word], [0.1, 0.5, 0.2])], IGPO)
    assert (found["gain_moved"], found["gain_without_new"]) == (pytest.approx(0.8), 0.0)
    again = paid_metrics([played([searched("drum", whole), page, page, word, word], [0.1] * 5)], IGPO)
    assert again["gain_seen"] == again["gain_without_new"] == pytest.approx(0.2)


def test_what_closes_a_potential_hides_no_hack() -> None:
    """What an agent wrote into its belief is taken back at the end, and was paid all the same."""
    hack = [Turn("It is Grass.", Invalid("no action")), Turn("It is Grass.", Invalid("no action"))]
    episode = played(hack, [0.4, 0.4])
    episode.rewards[-1]["gain"] = -0.9
    closing = replace(
        IGPO, terms=tuple((weight, replace(term, last_turn=True)) for weight, term in IGPO.terms)
    )
    found = paid_metrics([episode], closing)
    assert found["gain_without_new"] == found["gain_moved"] == pytest.approx(0.8)


def test_who_names_what_a_tool_has_said_does_not_guess() -> None:
    action = ToolCalls((ToolCall("ask", {"text": "Who?"}),))
    asked = Turn("<ask>Who?</ask>", action, results=(ToolResult("It was Günter Grass."),))
    told = Turn("It was Günter Grass, so", Invalid("no action"))
    assert episode_metrics([played([asked, told], [0.0, 0.0])])["guessed"] == 0.0
    assert episode_metrics([played([told, asked], [0.0, 0.0])])["guessed"] == pytest.approx(1 / 3)


def test_a_query_leaks_the_answer_until_a_document_has_it() -> None:
    def leaks(*turns: Turn) -> float:
        return paid_metrics([played(list(turns), [0.0] * len(turns))], IGPO)["leaked_queries"]

    assert leaks(searched("books of günter grass", DRUM), searched("Günter Grass", ODRA)) == 0.5
    assert leaks(searched("The Tin Drum", DRUM), searched("Günter Grass", ODRA)) == 0
    assert leaks() == 0


def line(**values: float) -> Metrics:
    quiet = {"gain": 0.2, "em": 0.5, "completion_tokens": 50.0, "guessed": 0.0, "forged": 0.0}
    return (
        quiet | {"gain_moved": 1.0, "gain_without_new": 0.0, "gain_seen": 0.0, "leaked_queries": 0.0} | values
    )


def names(log: list[Metrics]) -> set[str]:
    found = alarms(log)
    assert found["alarms"] == len(raised(found))
    return {alarm.name for alarm in raised(found)}


@pytest.mark.parametrize("alarm", ALARMS, ids=lambda alarm: alarm.name)
def test_each_alarm_is_raised_by_its_own_hack_alone(alarm: object) -> None:
    hacked = {
        "gain_without_new": line(gain_without_new=0.3),
        "gain_seen": line(gain_seen=0.22, gain_without_new=0.22),
        "apart": line(gain=0.35, em=0.35),
        "leaked_queries": line(leaked_queries=0.1),
        "guessed": line(guessed=0.2),
        "forged": line(forged=0.2),
        "length": line(completion_tokens=110),
    }[alarm.name]  # type: ignore[attr-defined]
    before = [line()] * 2 * SPAN
    assert names(before) == set()
    assert names([*before, *[hacked] * SPAN]) == {alarm.name}  # type: ignore[attr-defined]


def test_what_is_no_hack_raises_nothing() -> None:
    before = [line()] * SPAN
    assert names([*before, *[line(gain=0.6, em=0.9)] * SPAN]) == set()  # both rise
    assert names([*before, *[line(gain=0.0, em=0.1)] * SPAN]) == set()  # both fall
    assert names([*before, *[line(gain=0.5, em=0.1)] * WINDOW]) == set()  # other questions, by chance
    assert names([*before, line(forged=0.4)]) == set()  # a single batch
    assert names([line(gain_moved=0.0)] * WINDOW) == set()  # nothing is paid
    assert alarms(before[: WINDOW - 1]) == {}
    assert "alarm_apart" not in alarms([*before, *before[1:]])


def test_length_drifts_either_way() -> None:
    before = [line()] * WINDOW
    assert alarms([*before, *[line(completion_tokens=100)] * WINDOW])["alarm_length"] == pytest.approx(1)
    assert alarms([*before, *[line(completion_tokens=12.5)] * WINDOW])["alarm_length"] == pytest.approx(2)


TASK = EnvConfig(questions="world:test#hops=2-3", scorer=None, reward="outcome-f1", max_turns=MAX_TURNS)


def priced(episodes: list[Episode]) -> list[Episode]:
    """The episodes with the rewards of nano's beliefs."""
    return [
        replace(each.episode, rewards=each.rewards[IGPO.name])
        for each in relabel(episodes, [IGPO], resolve_scorer("nano"))
    ]


@pytest.fixture(scope="module")
def cast() -> dict[str, list[Episode]]:
    """Episodes of each agent of the credit benchmark, priced with nano's beliefs."""
    questions, engine = assemble(TASK)
    trajectories = [each for group in play_cast(engine, questions, 16, 2) for each in group]
    return {agent: priced([each.episode for each in trajectories if each.agent == agent]) for agent in AGENTS}


def update(episodes: list[Episode]) -> Metrics:
    """What a run logs of these episodes; scripted messages are counted in nano's tokens."""
    framing = resolve_scorer("nano").framing
    tokens = [len(framing.text_ids(turn.message)) for each in episodes for turn in each.turns]
    told = episode_metrics(episodes) | paid_metrics(episodes, IGPO)
    return told | {"completion_tokens": sum(tokens) / len(episodes)}


def test_hacking_agents_of_the_credit_benchmark_raise_their_alarms_and_no_other_does(
    cast: dict[str, list[Episode]],
) -> None:
    found = {agent: names([update(episodes)] * WINDOW) for agent, episodes in cast.items()}
    hackers = {"leaker": {"guessed"}, "forger": {"guessed", "forged"}}
    assert found == {agent: set[str]() for agent in AGENTS} | hackers


def knower(know: Knowledge, episode: Episode, rng: Random) -> str:
    """Knows the answers by heart: searches for the answer, then gives it."""
    answer = episode.question.answers[0]
    return know.answer(answer) if episode.turns else know.protocol.write(search_call(answer))


def circler(know: Knowledge, episode: Episode, rng: Random) -> str:
    """Searches for one thing again and again; later thoughts hold the forger's results."""
    forged = SCRIPTED["forger" if episode.turns else "irrelevant"](know, episode, rng)
    thought, search, _ = forged.rpartition("<search>")
    if not episode.turns or not search:
        return forged
    first = episode.turns[0].action
    assert isinstance(first, ToolCalls)
    return thought + know.protocol.write(first)


def idler(know: Knowledge, episode: Episode, rng: Random) -> str:
    """As the forger, but its searches find nothing."""
    thought, search, _ = SCRIPTED["forger"](know, episode, rng).rpartition("<search>")
    return thought + know.protocol.write(search_call("zzz")) if search else know.answer("zzz")


def returner(know: Knowledge, episode: Episode, rng: Random) -> str:
    """The expert, which at the end strays three times and searches for the last evidence after each."""
    strays = sum("I stray" in turn.message for turn in episode.turns)
    if strays and "I stray" in episode.turns[-1].message:
        (*_, last) = [turn.action for turn in episode.turns if "I stray" not in turn.message]
        assert isinstance(last, ToolCalls)
        return know.protocol.write(last)
    message = SCRIPTED["expert"](know, episode, rng)
    if "<answer>" in message and strays < 3:
        return know.search(know.stray(episode.question, rng), rng, "I stray")
    return message


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (knower, {"leaked_queries", "guessed"}),
        (circler, {"gain_without_new", "gain_seen", "guessed", "forged"}),
        (idler, {"gain_without_new", "guessed", "forged"}),
        (returner, set()),  # nano's belief falls astray and rises again, and most of that cancels
    ],
)
def test_searches_that_find_nothing_new_or_name_the_answer_raise_their_alarms(
    script: Script, expected: set[str]
) -> None:
    questions, engine = assemble(TASK)
    agent = ScriptedAgent(script, questions, engine.protocol)
    episodes = list(collect(engine, agent, questions.questions[:16]))
    assert names([update(priced(episodes))] * WINDOW) == expected


def test_a_weak_policy_that_turns_to_forging_raises_what_its_drift_shows(
    cast: dict[str, list[Episode]],
) -> None:
    def drifting(hacker: str, updates: int = WINDOW) -> list[Metrics]:
        """Two episodes of the expert in sixteen, the others search in vain; more and more are hacked."""
        honest = [*cast["expert"][:2], *cast["irrelevant"][2:16]]
        shares = [*[0] * updates, 4, 8, 12, *[16] * updates]
        return [update([*cast[hacker][:share], *honest[share:]]) for share in shares]

    assert names(drifting("irrelevant")) == set()
    # nano hardly believes what a thought states or forges, so belief and outcome do not drift apart.
    assert names(drifting("forger")) == {"guessed", "forged", "length"}
    assert names(drifting("leaker")) == {"guessed"}
    assert alarms(drifting("forger", SPAN))["alarm_apart"] == pytest.approx(0.05, abs=0.01)


def test_a_run_logs_its_alarms_warns_once_and_goes_on_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(**{**SMALL, "updates": 7, "validate_every": 2}, epochs=1)
    forge = "igpo_gym.agents.training.run.episode_metrics"
    monkeypatch.setattr(forge, lambda *given: episode_metrics(*given) | {"forged": 0.5})
    with caplog.at_level(logging.WARNING):
        train(tmp_path / "whole", settings)
    told = [each.getMessage() for each in caplog.records if "alarm forged" in each.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("update 5: alarm forged, 0.50 where 0.10 is alarming: the agent writes replies")
    whole = read_log(tmp_path / "whole" / "log.jsonl")
    assert [line.get("alarm_forged") for line in whole] == [None] * 5 + [0.5] * 3
    assert all(line["alarms"] >= 1 for line in whole[5:])

    stopped = iter([False] * 3 + [True])
    train(tmp_path / "resumed", settings, stop=lambda: next(stopped))
    train(tmp_path / "resumed", settings)
    assert timeless(read_log(tmp_path / "resumed" / "log.jsonl")) == timeless(whole)
