"""The registry of specs: its grammar, the order of looking up, plugins, trust and fingerprints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from igpo_gym import specs
from igpo_gym.agents.policies import resolve_policy
from igpo_gym.data import QuestionSet, resolve_questions
from igpo_gym.episode import Question
from igpo_gym.errors import SpecError
from igpo_gym.lm.names import packaged_folder
from igpo_gym.protocols import TAGS, resolve_protocol
from igpo_gym.rewards import RewardFunction, RewardTerm, resolve_reward
from igpo_gym.scorers import resolve_scorer
from igpo_gym.search import resolve_search
from igpo_gym.specs import (
    Spec,
    asks_for,
    fingerprint,
    fingerprints,
    from_file,
    objects,
    register,
    registry,
    resolve,
    unregister,
)

MINE = """
from igpo_gym.data import QuestionSet
from igpo_gym.episode import Belief, Question
from igpo_gym.protocols import TOOL_CALL
from igpo_gym.rewards import RewardFunction, RewardTerm
import dataclasses

class Silent:
    def __init__(self, words: int = 0, shout: bool = False, rate: float = 1.0, name: str = "7"):
        self.given = (words, shout, rate, name)
    def act(self, episodes):
        return ["" for _ in episodes]

class Fixed:
    def __init__(self, place, *, high: bool = False):
        self.place, self.high = place, high
    def score(self, requests):
        return [Belief((-0.5,) * len(r.answers), (1,) * len(r.answers)) for r in requests]

class Nothing:
    def __init__(self, questions):
        self.questions = questions
    def search(self, queries, k):
        return [[] for _ in queries]

def brevity(scale: float = 10.0):
    return RewardTerm("brevity", lambda episode, turn: -len(episode.turns[turn - 1].message) / scale)

CONSTANT = RewardTerm("constant", lambda episode, turn: 1.0)
SUM = RewardFunction("sum", ((2.0, CONSTANT),))
RECIPE = {"f1": 1.0, "my.stuff:brevity": 0.5}
MY_PROTOCOL = dataclasses.replace(TOOL_CALL, name="mine")

def one(word="Paris"):
    return QuestionSet("one", (Question("1", word + "?", (word,)),))

def wrong():
    return 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package of somebody's own in the working directory, which is not on the path of imports."""
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "__init__.py").touch()
    (tmp_path / "my" / "stuff.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    for name in ("my", "my.stuff"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    objects._attribute("my.stuff:one")
    return sys.modules["my.stuff"]


# The grammar.

KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)


@given(st.text(st.characters(exclude_characters="#")), st.dictionaries(KEYS, st.text()))
def test_a_spec_is_read_as_it_was_written(place: str, options: dict[str, str]) -> None:
    spec = Spec(place, {key: value.encode("utf-8", "replace").decode() for key, value in options.items()})
    assert Spec.parse(str(spec)) == spec


@given(st.dictionaries(KEYS, st.text(), min_size=1))
def test_values_join_no_specs(options: dict[str, str]) -> None:
    written = str(Spec("world", {k: v.encode("utf-8", "replace").decode() for k, v in options.items()}))
    assert specs.joined(f"{written} + {written}") == [written, written]


@given(st.text())
def test_any_text_is_a_spec_or_is_refused_by_name(text: str) -> None:
    try:
        spec = Spec.parse(text)
    except SpecError:
        return
    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize("text", ["x#", "x#a", "x#=1", "x#a=1,", "x#a b=1", "x#a=1,a=2"])
def test_options_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SpecError, match=r"options that cannot be read|twice"):
        Spec.parse(text)


def test_replicas_are_joined_by_commas() -> None:
    spec = Spec.parse("http://a:1/v1,https://b:2#model=x%2Cy")
    assert spec.places == ("http://a:1/v1", "https://b:2")
    assert spec.options == {"model": "x,y"}
    assert Spec("a,b").places == ("a,b",)


# The order of looking up.


def test_names_come_before_paths_and_paths_before_imports(mine: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "expert").mkdir()
    (tmp_path / "jsonl:x").write_text("{}")
    (tmp_path / "my.stuff:one").write_text('{"question": "Who?", "answers": "Grass"}\n')
    questions = resolve_questions("my.stuff:one")
    assert questions.questions[0].text == "Who?"  # the file
    (tmp_path / "my.stuff:one").unlink()
    assert resolve_questions("my.stuff:one").questions[0].text == "Paris?"
    assert type(resolve_policy("expert", questions, TAGS)).__name__ == "ScriptedAgent"
    with pytest.raises(ValueError, match="x: no such file"):
        resolve_questions("jsonl:x")


def test_everything_can_be_ones_own(mine: Any) -> None:
    questions = resolve_questions("my.stuff:one:Oslo")
    assert questions.questions[0].answers == ("Oslo",)
    assert resolve_questions("my.stuff:one#word=Rome").questions[0].answers == ("Rome",)
    assert resolve_search("my.stuff:Nothing", questions).questions is questions  # type: ignore[attr-defined]
    policy: Any = resolve_policy("my.stuff:Silent#words=3,shout=yes,rate=0.5,name=9", questions, TAGS)
    assert policy.given == (3, True, 0.5, "9")
    scorer: Any = resolve_scorer("my.stuff:Fixed:here#high=true")
    assert (scorer.place, scorer.high) == ("here", True)
    assert resolve_scorer("my.stuff:Fixed:here#high=true") is scorer
    assert resolve_scorer("my.stuff:Fixed:there") is not scorer
    assert resolve_protocol("my.stuff:MY_PROTOCOL") is mine.MY_PROTOCOL


@pytest.mark.parametrize(
    ("note", "value"),
    [
        (int, 3),
        ("int", 3),
        ("int | None", 3),
        (int | None, 3),
        (Optional[int], 3),  # noqa: UP045
        ("float | int", 3.0),
        (float, 3.0),
        (str, "3"),
        ("str | int", "3"),
        ("list[int]", "3"),
        (Path, "3"),
    ],
)
def test_options_are_numbers_where_annotations_say_so(note: Any, value: Any) -> None:
    def make(*, number: Any) -> Any:
        return number

    make.__annotations__["number"] = note
    made = specs.called(make, "x", "", {"number": "3"}, {})
    assert made == value
    assert type(made) is type(value)


def test_rewards_and_terms_can_be_ones_own(mine: Any) -> None:
    reward = resolve_reward("f1 + 0.5*my.stuff:brevity(scale=4) - my.stuff:CONSTANT")
    assert {term.name: weight for weight, term in reward.terms} == {
        "f1": 1.0,
        "brevity(scale=4.0)": 0.5,
        "constant": -1.0,
    }
    assert resolve_reward("my.stuff:SUM").terms == ((2.0, mine.CONSTANT),)
    assert [term.name for _, term in resolve_reward("my.stuff:RECIPE(scale=2)").terms] == [
        "f1",
        "brevity(scale=2.0)",
    ]
    with pytest.raises(SpecError, match=r"no parameter 'scal'"):
        resolve_reward("my.stuff:brevity(scal=4)")
    with pytest.raises(SpecError, match=r"3, which is no reward"):
        resolve_reward("my.stuff:wrong")


@pytest.mark.parametrize("name", ["", "a b", "a#b", "a:b", "a(b)", "a,b", "a\n", None, 5])
def test_a_name_that_no_spec_can_spell_is_refused(name: Any) -> None:
    with pytest.raises(SpecError, match="a name has neither blanks nor any of"):
        specs.register("protocol", name, TAGS)


def test_a_registered_reward_and_term_stand_in_sums() -> None:
    register("term", "one", lambda: RewardTerm("one", lambda episode, turn: 1.0))
    register("reward", "both", {"one": 0.5, "f1": 1.0})
    register("reward", "made", lambda weight=1.0: RewardFunction("made", ((float(weight), both[0][1]),)))
    try:
        both = resolve_reward("both").terms
        assert [(weight, term.name) for weight, term in both] == [(0.5, "one"), (1.0, "f1")]
        assert resolve_reward("2*made(weight=3)").terms[0][0] == 6.0
        assert resolve_reward("one + f1").needs == frozenset()
    finally:
        for kind, name in (("term", "one"), ("reward", "both"), ("reward", "made")):
            unregister(kind, name)
    with pytest.raises(SpecError, match="unknown reward 'both'"):
        resolve_reward("both")


@pytest.mark.parametrize(
    ("kind", "spec", "problem"),
    [
        ("policy", "experrt", "unknown policy 'experrt'; did you mean expert?"),
        ("scorer", "nanoo", "unknown scorer 'nanoo'; did you mean nano?"),
        (
            "protocol",
            "tag",
            "unknown protocol 'tag'; did you mean tags? Choose one of: igpo",
        ),
        ("questions", "jsnl:x", "unknown questions 'jsnl:x'; did you mean jsonl?"),
        ("questions", "mine:x", "unknown questions 'mine:x'; choose one of: 2wiki:FILE, FILE, "),
        (
            "questions",
            "my.jsonl",
            "unknown questions 'my.jsonl': there is no such file or folder; choose one",
        ),
        ("questions", "data/mine", "unknown questions 'data/mine': there is no such file or folder; choose"),
        ("questions", "my.stuff:on", "'my.stuff' has no 'on' (did you mean one?)"),
        ("questions", "my.stiff:one", "cannot import 'my.stiff', which 'my.stiff:one' names"),
        ("questions", "no.such:one", "cannot import 'no.such'"),
        ("policy", "my.stuff:Silent#word=1", "no option 'word' (did you mean words?); it has: words, shout"),
        ("policy", "my.stuff:Silent#words=x", "'x' is no int, which words of the policy 'my.stuff:Silent'"),
        ("policy", "my.stuff:Silent#shout=maybe", "'maybe' is no bool"),
        ("policy", "my.stuff:Silent#rate=inf", "'inf' is no float"),
        ("policy", "my.stuff:wrong", "my.stuff:wrong gave 3, which is no policy: it has no act(episodes)"),
        ("policy", "my.stuff:wrong:x", "takes nothing behind its colon, and 'x' stands there"),
        ("scorer", "my.stuff:Fixed", "needs something behind its colon: its place"),
        ("scorer", "nano:x", "takes nothing behind its colon"),
        ("protocol", "tags#a=1", "the protocol 'tags' is an object that takes no options"),
        ("search", 3, "3 is no retriever: it has no search(queries, k); or give one of: "),
        ("policy", QuestionSet, "is no policy: it has no act(episodes)"),
        ("pol", "expert", "unknown kind 'pol'; choose one of: questions, search"),
        (
            "search",
            "localhost:8000/retrieve",
            "; did you mean http://localhost:8000/retrieve? Choose one of: ",
        ),
        ("scorer", "localhost:8000", "; did you mean http://localhost:8000? Choose one of: "),
        ("tool", "search+open", "; several are joined by ' + ': 'search + open'. Choose one of: "),
        ("questions", "c++.jsonl", "there is no such file or folder; choose one of: "),
        (
            "search",
            "lone:Mine",
            "; lone.py is imported with a dot in front of the colon: put it into a folder",
        ),
    ],
)
def test_what_is_wrong_is_told_with_what_is_right(
    mine: ModuleType, kind: str, spec: Any, problem: str
) -> None:
    context = {"questions": resolve_questions("my.stuff:one"), "protocol": TAGS, "sampling": None}
    Path("lone.py").touch()
    with pytest.raises(SpecError) as caught:
        resolve(kind, spec, **(context if kind in ("policy", "search") else {}))
    assert problem in str(caught.value)


def test_a_name_is_its_modules() -> None:
    script = "from igpo_gym.specs import register; register('policy', 'expert', object)"
    environment = os.environ | {"PYTHONPATH": str(Path(specs.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert "'expert' is that of igpo_gym.agents.policies; choose another name" in done.stderr
    register("search", "mine", object)
    register("search", "mine", dict)  # as a notebook's cell that runs again
    unregister("search", "mine")
    with pytest.raises(SpecError, match=r"'bm25' is that of igpo_gym\.search; choose another name"):
        register("search", "bm25", object)
    with pytest.raises(SpecError, match="no search is registered as 'mine'"):
        unregister("search", "mine")


def test_sets_of_questions_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"id": "1", "question": "Who?", "answers": "Grass"}\n')
    both = resolve_questions(f"world:test#documents=40,questions=2 + jsonl:{path}")
    world = resolve_questions("world:test#documents=40,questions=2")
    assert [question.text for question in both.questions] == [
        *(question.text for question in world.questions),
        "Who?",
    ]
    assert both.passages == world.passages
    assert both.fingerprint == world.fingerprint
    with pytest.raises(SpecError, match=r"two questions of .* have the id '1'"):
        resolve_questions(f"{path} + {path}")


def test_a_file_without_a_scheme_is_recognized(tmp_path: Path) -> None:
    plain, array, lines = (tmp_path / name for name in ("plain.jsonl", "array.json", "lines.jsonl"))
    plain.write_text('{"id": "1", "question": "Who?", "answers": "Grass"}\n')
    record = {
        "_id": "1",
        "question": "Who?",
        "answer": "Grass",
        "supporting_facts": [["Drum", 0]],
        "context": [["Drum", ["A novel."]]],
    }
    array.write_text(json.dumps([record]))
    lines.write_text(json.dumps(record) + "\n")
    assert [resolve_questions(str(path)).name.partition(":")[0] for path in (plain, array, lines)] == [
        "jsonl",
        "hotpotqa",
        "hotpotqa",
    ]
    plain.write_text("neither\n")
    with pytest.raises(ValueError, match=r"plain\.jsonl, line 1: not JSON"):
        resolve_questions(str(plain))


# Plugins.


def test_plugins_are_loaded_once_and_a_broken_one_is_a_warning(
    mine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def setup() -> None:
        loads.append(1)
        register("policy", "from-plugin", "my.stuff:Silent", form="from-plugin[#words=N]")

    mine.setup = setup  # type: ignore[attr-defined]
    points = [
        EntryPoint("broken", "no.such.module:setup", specs.PLUGINS),
        EntryPoint("mine", "my.stuff:setup", specs.PLUGINS),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == specs.PLUGINS else [])
    monkeypatch.setattr(registry, "_loaded", False)
    questions = QuestionSet("q", (Question("1", "Who?", ("Grass",)),))
    resolve_policy("expert", questions, TAGS)
    assert not loads  # a name that is there already needs no plugin
    try:
        with pytest.warns(RuntimeWarning, match=r"the plugin 'broken' \(no\.such\.module:setup\) cannot"):
            policy: Any = resolve_policy("from-plugin#words=2", questions, TAGS)
        assert policy.given[0] == 2
        resolve_policy("from-plugin", questions, TAGS)
        assert loads == [1]
        assert "from-plugin[#words=N]" in specs.forms("policy")
    finally:
        unregister("policy", "from-plugin")


def test_the_registry_is_light_and_knows_the_rooms_at_the_first_lookup(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "file").touch()
    script = (
        "import sys, igpo_gym.specs as specs;"
        "assert not {'torch', 'transformers', 'requests', 'igpo_gym.data'} & set(sys.modules);"
        "assert specs.fingerprint('world') == '';"
        "assert specs.resolve('questions', 'world#documents=40,questions=3').questions;"
        "assert specs.resolve('protocol', 'tags').name == 'tags';"
        "assert not {'torch', 'transformers', 'bm25s'} & set(sys.modules)"
    )
    root = Path(specs.__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path, env=environment)


# Trust.


def test_a_file_may_name_data_and_not_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["igpo-gym", "relabel"])
    model = tmp_path / "model"
    model.mkdir()
    for kind, spec in (
        ("scorer", "nano"),
        ("scorer", "none"),
        ("scorer", str(model)),
        ("scorer", "HTTP://host:8000/v1#kind=vllm"),
        ("questions", "world:test#hops=2 + jsonl:missing.jsonl"),
        ("search", f"bm25:{model}"),
        ("reward", "igpo(context=evidence) + 0.1*evidence-recall - 0.01*search-cost"),
        ("reward", "f1(metric=em_squad1) + gain"),
        ("estimator", "permuted(of=igpo-joint)"),
        ("metric", "em, em_mlqa(language=es)"),
        ("protocol", "tags"),
    ):
        assert from_file(kind, spec, "out.jsonl") == spec
    for kind, spec in (
        ("scorer", "os.path:join"),
        ("scorer", "owner/name"),
        ("questions", "world + my.stuff:one"),
        ("search", "my.stuff:Nothing#a=1"),
        ("reward", "f1 + 0.5*my.stuff:brevity(scale=2)"),
        ("reward", "f1(metric=my.stuff:score)"),
        ("reward", "gain + igpo(aliases=first, metric=my.stuff:score)"),
        ("estimator", "permuted(of=noise(of=my.stuff:mine))"),
        ("metric", "em, em_mlqa(language=my.stuff:tongue)"),
        ("protocol", "my.stuff:MY_PROTOCOL"),
    ):
        with pytest.raises(
            SpecError, match=r"out\.jsonl names the .*on the command line, or give --trust-imports"
        ):
            from_file(kind, spec, "out.jsonl")
        assert from_file(kind, spec, "out.jsonl", trusted=True) == spec
        for argument in (spec, f"--option={spec}"):
            monkeypatch.setattr(sys, "argv", ["igpo-gym", "relabel", argument])
            assert from_file(kind, spec, "out.jsonl") == spec
        monkeypatch.setattr(sys, "argv", ["igpo-gym", "relabel"])
    with pytest.raises(SpecError, match="what is no text: 3"):
        from_file("scorer", 3, "out.jsonl")  # type: ignore[arg-type]


def test_a_name_that_runs_code_is_not_taken_from_a_file() -> None:
    register("tool", "mcp", lambda command: None, form="mcp:COMMAND", runs_code=True)
    try:
        with pytest.raises(SpecError, match=r"'mcp:rm -rf /', which is neither"):
            from_file("tool", "mcp:rm -rf /", "settings.json")
    finally:
        unregister("tool", "mcp")


def test_a_model_of_the_hub_is_not_fetched_for_an_index_that_a_file_names(folder: Path) -> None:
    for spec in ("dense:vectors", f"dense:vectors#model={folder}", "hybrid:dense:vectors,bm25:wiki"):
        assert from_file("search", spec, "card.json") == spec
    for spec in ("dense:vectors#model=owner/name", "hybrid:bm25:wiki,dense:vectors%23model=owner/name"):
        with pytest.raises(SpecError, match=r"card\.json names the .*dense:vectors#model=owner/name"):
            from_file("search", spec, "card.json")


def test_what_a_name_wraps_is_trusted_and_hashed_as_it_would_be_alone(folder: Path) -> None:
    for spec in ("closed-book:expert", "oracle:http://host:8000/v1#kind=chat", "closed-book:model"):
        assert from_file("policy", spec, "card.json") == spec
    for spec in ("os.path:join", "owner/name"):
        with pytest.raises(SpecError, match=f"card.json names the policy '{spec}'"):
            from_file("policy", f"oracle:{spec}", "card.json")
    assert fingerprint("closed-book:model#device=cpu") == fingerprint("model")
    assert fingerprint("closed-book:expert") == fingerprint("oracle:http://host:1") == ""


def test_what_a_maker_asks_for_is_known_before_it_is_called() -> None:
    assert asks_for("policy", "closed-book:expert", "questions")
    assert not asks_for("policy", "oracle:nano#device=cpu", "questions")
    assert not asks_for("policy", "http://host:8000/v1#kind=chat", "questions")


# Fingerprints.


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder, in the working directory."""
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(bytes(3 << 20))
    return model


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))


def test_copies_are_equal_and_a_changed_byte_is_not(folder: Path) -> None:
    first = fingerprint("model")
    copy = Path(shutil.copytree(folder, "copy"))
    os.utime(copy / "config.json", (1, 1))
    (copy / "README.md").write_text("not what a model is made of")
    assert first == fingerprint(copy) == fingerprint(str(folder))
    flip(copy / "model.safetensors", 2 << 20)
    assert fingerprint("copy") != first
    shutil.copy(folder / "model.safetensors", copy / "model.safetensors")
    assert fingerprint("copy") == first
    (copy / "config.json").rename(copy / "other.json")
    (copy / "config.json").write_text("{}")
    assert fingerprint("copy") != first


def test_the_working_directory_plays_no_part(folder: Path) -> None:
    known = fingerprint("nano")
    for name in ("world", "test", "nano", "bm25", "none", "expert", "x.jsonl"):
        Path(name).mkdir()
        (Path(name) / "file").touch()
    for spec in (
        None,
        "",
        "world",
        "world:test",
        "bm25",
        "none",
        "expert",
        "http://host:1",
        "jsonl:no",
    ):
        assert fingerprint(spec) == ""
    assert fingerprint("nano") == known
    Path("q.jsonl").write_text("{}")
    assert fingerprint("jsonl:q.jsonl") == fingerprint("hotpotqa:q.jsonl") == fingerprint(Path("q.jsonl"))
    assert fingerprint("q.jsonl#a=1") == fingerprint("world + q.jsonl") == fingerprint("q.jsonl")
    assert len({fingerprint("q.jsonl + model"), fingerprint("model"), fingerprint("q.jsonl")}) == 3


def test_a_large_file_is_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = folder / "model.safetensors"
    hashed: list[Path] = []
    real = fingerprints._hash

    def counted(path: Path, size: int) -> str:
        hashed.append(path)
        return real(path, size)

    monkeypatch.setattr(fingerprints, "_hash", counted)
    now = time.time()
    monkeypatch.setattr(fingerprints.time, "time", lambda: now + 60)
    first = fingerprint(folder)
    assert fingerprint(folder) == first
    assert fingerprint("./model") == first
    assert hashed == [weights]
    flip(weights, 5)
    assert fingerprint(folder) != first
    assert len(hashed) == 2
    # What was written a moment ago might be written again without showing it: it is not remembered yet.
    monkeypatch.setattr(fingerprints.time, "time", lambda: weights.stat().st_mtime)
    flip(weights, 5)
    assert fingerprint(folder) == fingerprint(folder) == first
    assert len(hashed) == 4


def test_what_is_remembered_wrongly_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints.time, "time", lambda: 2e10)
    first = fingerprint(folder)
    (memo,) = Path(os.environ["IGPO_GYM_CACHE"]).rglob("*.json")
    for text in ("", "[]", '{"state": 1}', '{"hash": "x"}'):
        memo.write_text(text)
        assert fingerprint(folder) == first


def test_a_very_large_file_counts_by_its_ends_and_its_header(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "WHOLE_BYTES", 4 << 20)
    weights = folder / "model.safetensors"
    header = 2 << 20
    weights.write_bytes(header.to_bytes(8, "little") + bytes(6 << 20))
    first = fingerprint(folder)
    for place, counts in ((9, True), (header - 1, True), (3 << 20, False), ((6 << 20) + 7, True)):
        flip(weights, place)
        assert (fingerprint(folder) != first) is counts
        flip(weights, place)
    with weights.open("ab") as file:
        file.write(b"\0")
    assert fingerprint(folder) != first


def test_a_very_large_file_that_is_no_weights_counts_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "WHOLE_BYTES", 4 << 20)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(bytes(6 << 20))
    first = fingerprint(corpus)
    flip(corpus, 3 << 20)
    assert fingerprint(corpus) != first


# Threads.


def test_eight_threads_make_their_first_environments_at_once() -> None:
    script = """
import threading, gymnasium, igpo_gym
barrier, made = threading.Barrier(8), []
def make():
    barrier.wait()
    try:
        env = gymnasium.make("SearchQA-IGPO-v0", questions="world#documents=60,questions=10")
        env.reset(seed=0)
        made.append(env.unwrapped.engine.scorer)
    except BaseException as problem:
        made.append(repr(problem))
threads = [threading.Thread(target=make) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(made) == 8 and len({id(each) for each in made}) == 1, made
"""
    environment = os.environ | {"PYTHONPATH": str(Path(specs.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]


def test_packaged_models_have_a_fingerprint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A later version of the package may have others under their names."""
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    nano, base = fingerprint("nano"), fingerprint("nano-base")
    assert len({nano, base, ""}) == 3
    assert fingerprint("closed-book:nano#device=cpu") == nano == fingerprint(packaged_folder("nano"))
    copy = tmp_path / "models" / "nano"
    shutil.copytree(packaged_folder("nano"), copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    monkeypatch.setattr("igpo_gym.lm.names.packaged_folder", lambda name: tmp_path / "models" / name)
    assert fingerprint("nano") not in ("", nano)
