from __future__ import annotations

import copy
import inspect
import json
import pickle
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import igpo_gym  # noqa: F401
from igpo_gym import protocols
from igpo_gym.config import EnvConfig, Names, marks, meanings, shown
from igpo_gym.data.flaws import Flaws
from igpo_gym.data.interface import QuestionSet
from igpo_gym.envs import SearchQAEnv, SearchQAVectorEnv
from igpo_gym.episode import Passage, Question
from igpo_gym.errors import SpecError
from igpo_gym.protocols import AnswerProbe, TextProtocol
from igpo_gym.rewards import PRESETS, TERMS, RewardFunction, RewardTerm, make_term, resolve_reward
from igpo_gym.specs import KINDS
from tests.conftest import REPOSITORY, MentionScorer

FIELDS = {field.name: field.default for field in fields(EnvConfig)}
WORLD = "world#documents=60,questions=10"
CHEAP = EnvConfig(questions=WORLD, scorer=None, reward="outcome-f1")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"max_turns": 0}, "max_turns must be a whole number of at least 1, not 0"),
        ({"max_turns": None}, "max_turns must be a whole number of at least 1, not None"),
        ({"top_k": True}, "top_k must be a whole number of at least 1, not True"),
        ({"max_passage_chars": 0}, "max_passage_chars must be a whole number"),
        ({"max_reply_chars": "none"}, "max_reply_chars must be a whole number"),
        ({"repeat_passages": "yes"}, "repeat_passages must be true or false, not 'yes'"),
        ({"order": "sorted"}, "unknown order 'sorted'; choose one of: random, epoch"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        EnvConfig(**settings)


def test_a_configuration_of_texts_is_json() -> None:
    config = EnvConfig(questions="world:test", max_reply_chars=None, on_limit="answer", group_size=4)
    assert EnvConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_passwords_are_not_shown() -> None:
    config = EnvConfig(scorer="http://me:secret@host:8000/v1", search="http://me:secret@host/search")
    assert "secret" not in repr(config) + json.dumps(shown(config))
    assert "secret" in config.scorer


def test_passwords_in_lists_and_mappings_are_not_shown() -> None:
    mcp, tools = "mcp:http://me:secret@host", ("search", "open")
    config = replace(CHEAP, tools=["search", (mcp,)], probe={"url": [mcp]})
    assert shown(config)["tools"] == ["search", ("mcp:http://host",)]
    assert "secret" not in repr(config) + json.dumps(shown(config))
    for given in (
        {"config": asdict(CHEAP) | {"reference": "http://me:secret@host/v1"}},
        {"config": replace(CHEAP, tools=[*tools], reference="http://me:secret@host/v1")},
    ):
        env = gym.make("SearchQA-v0", **given)
        assert "secret" not in env.spec.to_json() + repr(env.spec)
        assert env.unwrapped.config.reference == "http://me:secret@host/v1"


def test_every_spec_says_what_it_names_and_every_field_what_it_means() -> None:
    assert {names.kind for names in marks(EnvConfig, Names).values()} <= set(KINDS)
    assert all(text.endswith(".") for text in meanings(EnvConfig).values())


def test_the_page_of_the_environment_lists_every_argument() -> None:
    words = meanings(EnvConfig)
    expected = [f"| `{name}` | `{default!r}` | {words[name]} |" for name, default in FIELDS.items()]
    lines = Path(REPOSITORY / "docs" / "environment.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| argument | default | meaning |") + 2
    assert lines[start : start + len(expected) + 1] == [*expected, ""]


@pytest.mark.parametrize("form", [SearchQAEnv, SearchQAVectorEnv])
def test_an_environment_is_made_of_a_configuration_its_names_or_both(form: Any) -> None:
    signature = inspect.signature(form).parameters
    assert all(name in signature and signature[name].default == default for name, default in FIELDS.items())
    made = [form(config=CHEAP), form(config=asdict(CHEAP)), form(**asdict(CHEAP))]
    assert [each.config for each in made] == [CHEAP] * 3
    assert form(config=CHEAP, max_turns=2).config == replace(CHEAP, max_turns=2)
    with pytest.raises(TypeError, match="argument 'max_turn'; did you mean max_turns"):
        form(config=CHEAP, max_turn=2)


def test_gymnasium_stores_a_configuration() -> None:
    env = gym.make("SearchQA-v0", config=replace(CHEAP, search="bm25", reference="http://me:secret@host/v1"))
    text = env.spec.to_json()
    assert "secret" not in text + repr(env.spec)
    assert gym.make(EnvSpec.from_json(text)).reset(seed=3)[0] == env.reset(seed=3)[0]


# Pickling.


@pytest.mark.parametrize("name", sorted(n for n in vars(protocols) if n.isupper()))
def test_protocols_are_pickled(name: str) -> None:
    value = getattr(protocols, name)
    again = pickle.loads(pickle.dumps(value))
    assert again == value
    if isinstance(value, TextProtocol):
        assert again.parse("<search>a</search>") == value.parse("<search>a</search>")


@pytest.mark.parametrize("reward", [*PRESETS.values(), resolve_reward("f1 + 0.5*gain(context=evidence)")])
def test_rewards_are_pickled(reward: RewardFunction) -> None:
    again = pickle.loads(pickle.dumps(reward))
    described = [(w, t.name, t.views, t.instruments, t.needs, t.outcome) for w, t in reward.terms]
    assert [(w, t.name, t.views, t.instruments, t.needs, t.outcome) for w, t in again.terms] == described
    assert again.name == reward.name


def test_a_changed_term_is_not_pickled_as_what_it_was_made_of() -> None:
    term = make_term("gain", context="evidence")
    assert pickle.loads(pickle.dumps(term)).name == term.name
    assert pickle.loads(pickle.dumps(replace(TERMS["gain"], name="mine", price=flat))).price is flat


def flat(episode: Any, turn: int) -> float:
    return 1.0


ARGUMENTS = {
    "questions": WORLD,
    "scorer": None,
    "reward": RewardFunction("flat", ((1.0, RewardTerm("f", flat)),)),
}


@pytest.mark.parametrize("model", [None, "nano"])
@pytest.mark.parametrize("name", ["SearchQA-v0", "SearchQA-IGPO-Discrete-v0"])
@pytest.mark.parametrize("form", [gym.make, gym.make_vec])
def test_an_environment_goes_on_where_it_was_pickled(form: Any, name: str, model: str | None) -> None:
    changes = {"scorer": model, "reward": "igpo"} if model else {}
    env = form(name, **{**ARGUMENTS, **changes})
    env.reset(seed=5)
    discrete, vector = "Discrete" in name, form is gym.make_vec
    action: Any = 0 if discrete else "<search>a</search>"
    env.step([action] if vector else action)
    again = pickle.loads(pickle.dumps(env))
    assert len(pickle.dumps(env)) < 100_000  # neither index nor model
    action = 17 if discrete else "<answer>a</answer>"
    ours, theirs = (each.step([action] if vector else action) for each in (env, again))
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1] == pytest.approx(theirs[1], abs=1e-6)
    np.testing.assert_array_equal(env.reset()[0], again.reset()[0])


def test_a_copy_shares_what_is_expensive() -> None:
    env = SearchQAEnv(CHEAP)
    env.reset(seed=0)
    assert copy.copy(env).engine is env.engine
    assert env.fork().questions is env.questions


def test_a_whole_number_of_numpy_is_one(question_set: QuestionSet) -> None:
    config = EnvConfig(questions=question_set, max_turns=np.int64(3))  # type: ignore[arg-type]
    assert type(config.max_turns) is int
    with pytest.raises(SpecError, match="max_turns must be a whole number of at least 1, not 0"):
        EnvConfig(max_turns=np.int64(0))  # type: ignore[arg-type]


def test_a_configuration_that_is_none_is_told() -> None:
    with pytest.raises(TypeError, match=r"config is an EnvConfig, or its fields by name, not 'x\.json'"):
        SearchQAEnv("x.json")  # type: ignore[arg-type]


ASKED = Question("q1", "Where?", ("Danzig", "Gdańsk"), evidence=("1",), evidence_titles=("Danzig",))
PORT = Passage("1", "Danzig", "A port. By the sea.")
BROUGHT = QuestionSet("own", (ASKED,), (PORT,), flaws=Flaws(shown=1))


@pytest.mark.parametrize(
    "given",
    [
        {"probe": AnswerProbe("The answer: \n", "."), "questions": WORLD},
        {"questions": BROUGHT, "tools": "search + open"},
        {"questions": [ASKED], "tools": ""},
        {"config": EnvConfig(questions=BROUGHT, tools="search + open", probe=AnswerProbe("It is \n", "."))},
    ],
    ids=["probe", "set", "questions", "config"],
)
def test_objects_with_fields_come_back_from_the_specs_json(given: dict[str, Any]) -> None:
    env = gym.make("SearchQA-Outcome-v0", **given)
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    one, two = env.unwrapped, again.unwrapped
    assert isinstance(one, SearchQAEnv)
    assert isinstance(two, SearchQAEnv)
    assert two.engine.protocol.probe == one.engine.protocol.probe
    assert two.questions.questions == one.questions.questions
    for each in (env, again):
        each.reset(seed=0)
    message = "<search>port</search>"
    assert env.step(message)[:4] == again.step(message)[:4]


@pytest.mark.parametrize("probe", [{"prefix": "a"}, {"prefix": "a", "suffix": "b", "more": ""}, "a", 1])
def test_what_is_no_probe_is_told(probe: Any) -> None:
    with pytest.raises(SpecError, match="a probe is an AnswerProbe, or its prefix and suffix by name, not "):
        SearchQAEnv(CHEAP, probe=probe)


@pytest.mark.parametrize("make", [gym.make, gym.make_vec])
@pytest.mark.parametrize("name", ["SearchQA-IGPO-v0", "SearchQA-Outcome-v0", "SearchQA-IGPO-Discrete-v0"])
def test_a_configuration_wins_over_what_an_id_sets(name: str, make: Any) -> None:
    scorer = MentionScorer()
    chosen = EnvConfig(questions="world:test", reward="igpo-logprob", scorer=scorer)
    named = {"reward": "watermark", "scorer": scorer}

    def engine(**settings: Any) -> Any:
        env = make(name, **settings).unwrapped
        return getattr(env, "text", env).engine

    own = "outcome-f1" if name == "SearchQA-Outcome-v0" else "igpo"
    for settings, reward, read_by in (
        ({"config": chosen}, "igpo-logprob", scorer),
        ({"config": asdict(replace(chosen, scorer=None)) | {"scorer": scorer}}, "igpo-logprob", scorer),
        ({"config": {"questions": "world:test", **named}}, "watermark", scorer),
        ({"config": chosen, "reward": "outcome-em"}, "outcome-em", scorer),
        ({"config": chosen, "reward": "outcome-em", "scorer": None}, "outcome-em", None),
        ({"config": {"max_turns": 2}, "scorer": scorer}, own, scorer),
        ({"config": EnvConfig(max_turns=2), "scorer": scorer}, own, scorer),
        ({"config": {"reward": "igpo", "scorer": scorer}}, "igpo", scorer),
        ({"scorer": scorer}, own, scorer),
    ):
        made = engine(**settings)
        assert (made.reward.name, made.scorer) == (reward, read_by)
