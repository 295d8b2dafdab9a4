from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("verifiers.v1", reason="verifiers is not installed")

from igpo_gym.adapters.session import Sessions
from igpo_gym.adapters.verifiers import NOT_HERE, SearchQAConfig, SearchQATaskset, assign_advantages
from igpo_gym.agents.training.estimators import Split, Turns, resolve_estimator
from igpo_gym.config import EnvConfig
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from tests.adapters.endpoint import PLUGINS, completion, episode_through_verifiers
from tests.adapters.episodes import QUESTION, settings
from tests.adapters.freed import assert_freed
from tests.conftest import REPOSITORY, MentionScorer
from tests.site import running

RIGHT = ["<think>who?</think><search>Günter Grass writer</search>", "<answer>Danzig</answer>"]
WRONG = ["<search>Odra</search>", "<answer>Cologne</answer>"]

PLUGIN_PATH = {**os.environ, "PYTHONPATH": f"{PLUGINS}{os.pathsep}{REPOSITORY}"}


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(**settings(CHAT))


def test_tasks_do_not_hold_the_answers() -> None:
    config = SearchQAConfig(id="searchqa-igpo", questions="world#documents=60,questions=10")
    tasks = list(SearchQATaskset(config))
    assert len({task.key for task in tasks}) == len(tasks) > 1
    assert set(tasks[0].data.model_dump(exclude_defaults=True)) == {
        "id",
        "idx",
        "name",
        "prompt",
        "question_id",
    }


def test_the_configuration_has_every_argument_of_the_environment() -> None:
    config = SearchQAConfig(id="searchqa-igpo", questions="world:test", max_turns=4, on_limit="answer")
    changed = {"questions": "world:test", "max_turns": 4, "on_limit": "answer", "protocol": CHAT}
    assert config.environment == EnvConfig(**changed)
    assert {field.name for field in fields(EnvConfig)} - set(SearchQAConfig.model_fields) == set(NOT_HERE)


def test_beliefs_are_kept_as_levels_beside_the_rewards(sessions: Sessions) -> None:
    trace = episode_through_verifiers(RIGHT, QUESTION, sessions)
    assert trace.info["igpo"]["beliefs"] == pytest.approx([1 / 10, 2 / 11])
    assert trace.info["igpo"]["turn_rewards"] == pytest.approx([2 / 11 - 1 / 10, 1.0])
    assert trace.info["igpo"]["turn_gains"] == pytest.approx([2 / 11 - 1 / 10])
    assert (trace.info["igpo"]["outcome"], trace.info["igpo"]["last_gain"]) == (1.0, False)
    assert {name: reward.score for name, reward in trace.rewards.items()} == pytest.approx(
        {"gain": 2 / 11 - 1 / 10, "f1": 1.0, "format-penalty": 0.0}
    )
    assert trace.metrics == {"em": 1.0, "f1": 1.0, "cover_em": 1.0, "tool_turns": 1.0}
    assert trace.to_record()["info"]["igpo"]["turn_rewards"] == pytest.approx([2 / 11 - 1 / 10, 1.0])


def test_a_rollout_that_the_library_cuts_short_runs_out_of_turns(sessions: Sessions) -> None:
    trace = episode_through_verifiers(RIGHT, QUESTION, sessions, max_turns=1)
    assert trace.stop_condition == "max_turns"
    assert trace.info["igpo"]["turn_rewards"] == [-2.0]
    assert trace.info["igpo"]["turn_gains"] == []
    assert assign_advantages([trace])[trace.id] == [0.0]  # it has no peers


def test_an_environment_that_is_dropped_leaves_no_thread_and_no_scorer() -> None:
    def use(scorer: MentionScorer) -> None:
        episode_through_verifiers(RIGHT, QUESTION, Sessions(**settings(CHAT, scorer=scorer)))

    assert_freed(use)


def test_advantages_are_those_of_the_group(sessions: Sessions) -> None:
    traces = [episode_through_verifiers(script, QUESTION, sessions) for script in (RIGHT, WRONG)]
    for trace in traces:
        for node in trace.nodes:
            if node.sampled:  # as a training client records it: two tokens of the template, three sampled
                node.token_ids, node.mask = [1, 2, 3, 4, 5], [False, False, True, True, True]
    given = assign_advantages(traces, "igpo-separate")
    fields = [trace.info["igpo"] for trace in traces]
    splits = [Split(tuple(each["turn_gains"]), each["outcome"], each["last_gain"]) for each in fields]
    expected = resolve_estimator("igpo-separate")(Turns.of(splits, ["q", "q"])).tolist()
    assert [*given[traces[0].id], *given[traces[1].id]] == expected
    credit = traces[0].branches[0].advantages
    assert [value for value in credit if value] == pytest.approx([expected[0]] * 3 + [expected[1]] * 3)


def test_a_failure_of_the_engine_is_no_outcome(sessions: Sessions) -> None:
    """The good attempt's credit must not come from an outage."""
    good = episode_through_verifiers(RIGHT, QUESTION, sessions)
    failed = episode_through_verifiers(RIGHT, QUESTION, sessions, fails_at=1)
    assert not failed.ok
    assert failed.info["igpo"]["outcome"] is None
    assert failed.metrics == {"tool_turns": 1.0}, "nobody can tell whether it was right"
    given = assign_advantages([good, failed])
    assert given[failed.id] == [0.0]
    assert given[good.id][-1] == 0.0
    at_once = episode_through_verifiers(RIGHT, QUESTION, sessions, fails_at=0)
    assert assign_advantages([good, at_once])[at_once.id] == []
    del failed.info["igpo"]
    with pytest.raises(ValueError, match=f"trace {failed.id} has no record of an episode"):
        assign_advantages([good, failed])


def test_a_password_in_the_configuration_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="scorer: this library writes its configuration") as caught:
        SearchQAConfig(id="searchqa-igpo", scorer="http://me:secret@host:8000/v1")
    assert "secret" not in str(caught.value)


def test_wrong_uses_are_explained(sessions: Sessions) -> None:
    trace = episode_through_verifiers(RIGHT, QUESTION, sessions)
    with pytest.raises(SpecError, match="unknown advantage estimator 'igpo'"):
        assign_advantages([trace], "igpo")
    with pytest.raises(SpecError, match="gigpo compares states"):
        assign_advantages([trace], "gigpo")
    with pytest.raises(SpecError, match="were paid gains"):
        assign_advantages([trace], "grpo")
    trace.info["igpo"]["turn_gains"] = []
    with pytest.raises(ValueError, match="has 2 messages, but 1 turns were rewarded"):
        assign_advantages([trace])


@pytest.mark.slow
def test_vf_validate_checks_the_gold_answers(tmp_path: Path) -> None:
    questions = tmp_path / "one.jsonl"
    row = {"question": "Who wrote The Tin Drum?", "golden_answers": ["Günter Grass"], "id": "q"}
    questions.write_text(json.dumps(row))
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text(json.dumps({"id": "0", "contents": "Günter Grass\nA writer."}) + "\n")
    command = [Path(sys.executable).with_name("vf-validate"), "searchqa-igpo", "--only-gold"]
    options = {
        "--taskset.questions": questions,
        "--taskset.search": f"bm25:{corpus}",
        "--output-dir": tmp_path,
        "--runtime.type": "subprocess",
    }
    arguments = [str(part) for option in options.items() for part in option]
    subprocess.run([*command, *arguments], cwd=tmp_path, env=PLUGIN_PATH)
    (written,) = tmp_path.rglob("results.jsonl")
    rows = [json.loads(line) for line in written.read_text().splitlines()]
    assert [(row["name"], row["reason"]) for row in rows] == [("q", "valid")]


@pytest.mark.slow
def test_vf_eval_finds_the_plugin(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("vf-eval")
    with running({"/v1/chat/completions": lambda body: completion(body, RIGHT)}) as site:
        options = {
            "--env.taskset.questions": "world#documents=60,questions=10",
            "--env.taskset.scorer": "nano",
            "--client.base-url": f"{site.url}/v1",
            "--client.api-key-var": "IGPO_GYM_NO_KEY",
            "--output-dir": str(tmp_path),
        }
        arguments = [part for option in options.items() for part in option]
        subprocess.run(
            [command, "searchqa-igpo", "-n", "1", "-r", "2", "-m", "scripted", "--no-rich", *arguments],
            check=True,
            cwd=tmp_path,
            env=PLUGIN_PATH,
        )
    (traces,) = tmp_path.rglob("traces.jsonl")
    records = [json.loads(line) for line in traces.read_text().splitlines()]
    assert len(records) == 2
    assert all("turn_rewards" in json.dumps(record) for record in records)
