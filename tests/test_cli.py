from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

import igpo_gym
from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.cli import app
from igpo_gym.config import EnvConfig
from igpo_gym.rewards import PRESETS, TERMS
from tests.conftest import PASSAGES, QUESTIONS

runner = CliRunner()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a corpus and questions, which is the working directory."""
    monkeypatch.setenv("IGPO_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    corpus = [json.dumps({"_id": p.id, "title": p.title, "text": p.text}) for p in PASSAGES]
    (tmp_path / "corpus.jsonl").write_text("\n".join(corpus))
    questions = [json.dumps({"id": q.id, "question": q.text, "answers": q.answers}) for q in QUESTIONS]
    (tmp_path / "questions.jsonl").write_text("\n".join(questions))
    return tmp_path


def run(*arguments: str, input: str = "", code: int = 0) -> str:
    result = runner.invoke(app, arguments, input=input)
    assert result.exit_code == code, result.output
    return result.output


SETTINGS = ("--questions", "jsonl:questions.jsonl", "--search", "bm25:index")
CHEAP = (*SETTINGS, "--scorer", "none", "--reward", "outcome-f1")


@pytest.mark.parametrize(
    "command",
    [
        *((), ("play",), ("rollout",), ("eval",), ("index",), ("index", "build"), ("world",)),
        *(("rewards",), ("relabel",), ("view",), ("import",), ("show",)),
    ],
)
def test_help_teaches(command: tuple[str, ...]) -> None:
    output = run(*command, "--help")
    assert "Usage" in output
    if command not in ((), ("index",)):
        assert "Example" in output
        assert f"igpo-gym {' '.join(command)}" in output


def test_an_index_is_built_and_a_person_plays(files: Path) -> None:
    assert "6 passages indexed" in run("index", "build", "corpus.jsonl", "index")
    output = run("play", *CHEAP, input="Tin Drum novel\n/answer Günter Grass\n")
    assert "Doc 1(Title: The Tin Drum)" in output
    assert "answered: F1" in output
    assert "gold answer:" in output


def test_an_episode_that_is_played_can_be_recorded(files: Path) -> None:
    run("index", "build", "corpus.jsonl", "index")
    output = run("play", *CHEAP, "--out", "mine.jsonl", input="Tin Drum novel\n/answer Günter Grass\n")
    assert output.endswith("igpo-gym view mine.jsonl\n")
    (episode,) = read_rollouts("mine.jsonl")
    assert episode.prediction == "Günter Grass"
    assert json.loads(Path("mine.jsonl").read_text())["settings"]["agent"] == "a person"
    assert "1 episodes" in run("view", "mine.jsonl", "--out", "page.html")
    run("play", *CHEAP, "--out", "none.jsonl", input="/quit\n")
    assert not Path("none.jsonl").exists()


@pytest.mark.parametrize("typed", ["/quit\n", ""])
def test_a_person_may_leave(files: Path, typed: str) -> None:
    run("index", "build", "corpus.jsonl", "index")
    assert "gold" not in run("play", *CHEAP, input=typed)


@pytest.mark.parametrize("option", [("--port", "8000"), ("--no-open",)])
def test_what_is_of_the_page_alone_is_told(files: Path, option: tuple[str, ...]) -> None:
    assert "of the page of --web" in run("play", *CHEAP, *option, input="/quit\n", code=2)


@pytest.mark.parametrize(
    ("tools", "prompt", "reply"),
    [
        ("open", "open (or", "Tin Drum: not seen in this episode"),
        ("", "/answer TEXT (or", "a call of no tool"),
    ],
)
def test_a_plain_line_calls_the_tool_that_there_is(files: Path, tools: str, prompt: str, reply: str) -> None:
    run("index", "build", "corpus.jsonl", "index")
    output = run("play", *CHEAP, "--tools", tools, input="Tin Drum\n/answer Grass\n")
    assert prompt in output
    assert reply in output
    assert "answered: F1" in output


def test_what_a_person_types_may_be_a_whole_message_or_nothing(files: Path) -> None:
    run("index", "build", "corpus.jsonl", "index")
    typed = "\n  \n/answer\n/answer \n<search>river</search>\n\n<hm>\n"
    output = run("play", *CHEAP, "--max-turns", "2", "--out", "mine.jsonl", input=typed)
    assert output.count("Invalid message") == 1  # <hm>, and neither Enter alone nor an answer without a text
    assert "turns exhausted" in output
    assert [turn.message for turn in next(read_rollouts("mine.jsonl")).turns] == [
        "<search>river</search>",
        "<hm>",
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("bench", "credit", "--quick", "--out"),
        ("bench", "train", "--quick", "--out"),
        ("rollout", "--agent", "expert", "--out"),
        ("eval", "--agent", "expert", "--out"),
        ("eval", "--agent", "expert", "--out", "fine.jsonl", "--table"),
        ("play", "--out"),
        ("train",),
    ],
    ids=" ".join,
)
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    files: Path, command: tuple[str, ...]
) -> None:
    output = run(*command, "corpus.jsonl/there.md", "--questions", "jsonl:missing.jsonl", code=2)
    assert "corpus.jsonl/there.md: not a directory" in output
    assert not Path("fine.jsonl").exists()


def test_a_rollout_is_recorded_and_resumed(files: Path) -> None:
    run("index", "build", "corpus.jsonl", "index")
    command = ("rollout", *CHEAP, "--agent", "scripted", "--out", "out.jsonl")
    output = run(*command, "--limit", "3")
    assert "exact match" in output
    assert "s a step" in output
    assert output.endswith("igpo-gym view out.jsonl\n")
    first = (files / "out.jsonl").read_bytes()
    run(*command, "--limit", "6")
    content = (files / "out.jsonl").read_bytes()
    assert content.startswith(first)
    ids = [episode.question.id for episode in read_rollouts(files / "out.jsonl")]
    assert sorted(ids) == sorted(q.id for q in QUESTIONS)
    run(*command, "--limit", "6")
    assert (files / "out.jsonl").read_bytes() == content
    assert "other settings (top_k)" in run(*command, "--top-k", "1", code=2)
    questions = files / "questions.jsonl"
    questions.write_text(questions.read_text().replace("Who wrote", "Who read"))
    assert "other settings (questions_hash)" in " ".join(run(*command, code=2).split())


def test_groups_are_recorded_and_resumed(files: Path) -> None:
    run("index", "build", "corpus.jsonl", "index")
    command = ("rollout", *CHEAP, "--agent", "scripted", "--out", "out.jsonl", "--limit", "2")
    run(*command)
    run(*command, "--group-size", "3")
    attempts = [(e.question.id, e.attempt) for e in read_rollouts(files / "out.jsonl")]
    assert sorted(attempts) == sorted((q.id, number) for q in QUESTIONS[:2] for number in range(3))


def test_a_language_model_plays_is_evaluated_and_resumed(files: Path) -> None:
    from tests.lm.tiny import make_model, make_tokenizer

    make_model().save_pretrained(files / "model")
    make_tokenizer().save_pretrained(files / "model")
    run("index", "build", "corpus.jsonl", "index")
    model = ("--agent", "model", "--max-tokens", "5", "--max-turns", "2")
    assert "turns exhausted" in run("play", *CHEAP, *model)
    command = ("eval", *SETTINGS, *model, "--out", "eval.jsonl")
    output = run(*command, "--limit", "3")
    assert all(name in output for name in ("em", "f1", "tokens", "invalid messages", "searches"))
    assert "3 questions, 3 episodes" in output
    first = (files / "eval.jsonl").read_bytes()
    assert "4 questions, 8 episodes" in run(*command, "--attempts", "2")
    assert (files / "eval.jsonl").read_bytes().startswith(first)
    # Fewer are asked for than there are: the others are not counted.
    assert "2 questions, 2 episodes" in run(*command, "--limit", "2")
    said = [segment for e in read_rollouts(files / "eval.jsonl") for segment in e.segments if segment.ids]
    assert len(said) == 16
    assert all(segment.log_probs and len(segment.ids or ()) == 5 for segment in said)
    assert "other settings (temperature)" in " ".join(run(*command, "--temperature", "1", code=2).split())
    os.utime(files / "model" / "model.safetensors", (1, 1))  # the time does not count, the content does
    run(*command)
    with (files / "model" / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        weights.write(b"\x01")
    assert "other settings (agent_fingerprint)" in " ".join(run(*command, code=2).split())


def test_a_rollout_is_not_resumed_with_other_models_an_other_index_or_other_evidence(files: Path) -> None:
    from tests.lm.tiny import make_model, make_tokenizer

    for name in ("scorer", "reference"):
        make_model().save_pretrained(files / name)
        make_tokenizer().save_pretrained(files / name)
    run("index", "build", "corpus.jsonl", "index")
    models = ("--scorer", "scorer", "--reference", "reference", "--reward", "igpo + tips")
    command = ("rollout", *SETTINGS, *models, "--agent", "scripted", "--limit", "1", "--out", "out.jsonl")
    run(*command)
    run(*command)
    questions = [json.loads(line) for line in (files / "questions.jsonl").read_text().splitlines()]
    questions[0]["evidence"] = ["d1"]
    changes = {
        "scorer_fingerprint": lambda: (files / "scorer" / "added.json").write_text("{}"),
        "reference_fingerprint": lambda: (files / "reference" / "added.json").write_text("{}"),
        "search_fingerprint": lambda: (files / "index" / "added").touch(),
        "evidence_hash": lambda: (files / "questions.jsonl").write_text(
            "\n".join(map(json.dumps, questions))
        ),
    }
    for name, change in changes.items():
        change()
        assert f"other settings ({name})" in " ".join(run(*command, code=2).split())
        (files / "out.jsonl").unlink()
        run(*command)
    line = json.loads((files / "out.jsonl").read_text())
    for name in changes:
        del line["settings"][name]  # as before there were such fingerprints
    (files / "out.jsonl").write_text(json.dumps(line) + "\n")
    run(*command)


def test_play_explains_what_goes_wrong_on_the_way(files: Path) -> None:
    run("index", "build", "corpus.jsonl", "index")
    output = run("play", *CHEAP, "--reward", "f1 + evidence-recall", code=2)
    assert "needs gold evidence" in " ".join(output.split())
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--agent", "experto"), "unknown policy 'experto'; did you mean expert?"),
        (("--agent", "http://127.0.0.1:9"), "no answer from http://127.0.0.1:9"),
        (("--agent", "expert", "--top-p", "0"), "top_p above 0"),
        (("--agent", "scripted", "--reward", "ipgo"), "unknown reward 'ipgo'; did you mean igpo?"),
        (("--agent", "scripted", "--reward", "f1 + "), "the reward 'f1 + ' has nothing beside a sign"),
        (("--agent", "scripted", "--questions", "mine.jsonl"), "'mine.jsonl': there is no such file"),
        (("--agent", "scripted", "--out", "questions.jsonl/x"), "questions.jsonl/x: not a directory"),
        (("--agent", "scripted", "--protocol", "xml"), "unknown protocol 'xml'; choose one of"),
        (("--agent", "scripted", "--questions", "quac:x"), "hotpotqa:"),
        (("--agent", "scripted", "--questions", "jsonl:missing.jsonl"), "missing.jsonl"),
        (("--agent", "scripted", "--scorer", "none", "--reward", "igpo"), "needs a scorer"),
    ],
)
def test_mistakes_are_explained_without_a_traceback(
    files: Path, arguments: tuple[str, ...], message: str
) -> None:
    run("index", "build", "corpus.jsonl", "index")
    output = run("rollout", "--out", "out.jsonl", *CHEAP, *arguments, code=2)
    assert message in " ".join(output.split())
    assert "Traceback" not in output
    assert not (files / "out.jsonl").exists()


def test_a_world_is_written_indexed_and_played(files: Path) -> None:
    run("world", "--out", "world", "--documents", "60", "--questions", "20", "--hops", "2", "--split", "test")
    run("index", "build", "world/corpus.jsonl", "index")
    questions = ("--questions", "jsonl:world/questions.jsonl", "--search", "bm25:index")
    run("rollout", *CHEAP, *questions, "--agent", "scripted", "--limit", "20", "--out", "out.jsonl")
    episodes = list(read_rollouts(files / "out.jsonl"))
    assert [episode.question.hops for episode in episodes] == [2] * 20
    assert all(episode.turns[0].passages for episode in episodes)
    assert "hops must be" in run("world", "--out", "w", "--hops", "5", code=2)
    before = {path.name: path.read_bytes() for path in Path("world").iterdir()}
    told = run("world", "--out", "world", "--documents", "60", "--questions", "20", "--seed", "1", code=2)
    assert "world holds corpus.jsonl and questions.jsonl already; name another folder" in " ".join(
        told.split()
    )
    assert {path.name: path.read_bytes() for path in Path("world").iterdir()} == before


def test_a_hard_world_is_written_and_played(files: Path) -> None:
    dials = (
        "--distractors",
        "1",
        "--outdated",
        "0.5",
        "--several",
        "0.2",
        "--unanswerable",
        "0.3",
        "--long-names",
        "1",
    )
    said = run(
        "world",
        "--out",
        "world",
        "--documents",
        "40",
        "--questions",
        "12",
        *dials,
        "--shown",
        "2",
        "--miss",
        "0.1",
    )
    search = "flawed:bm25:world/index#shown=2,miss=0.1"
    assert f"search them with --search {search}" in said
    assert (
        f"{len((files / 'world/corpus.jsonl').read_text().splitlines())} documents in world/corpus.jsonl"
        in said
    )
    run("index", "build", "world/corpus.jsonl", "world/index")
    questions = ("--questions", "jsonl:world/questions.jsonl", "--search", search, "--tools", "search + open")
    run(
        "rollout",
        *CHEAP,
        *questions,
        "--agent",
        "expert",
        "--max-turns",
        "12",
        "--limit",
        "12",
        "--out",
        "out.jsonl",
    )
    episodes = list(read_rollouts(files / "out.jsonl"))
    assert {call.tool for e in episodes for t in e.turns for call in getattr(t.action, "calls", ())} == {
        "search",
        "open",
    }
    assert all(len(episode.question.evidence_texts) == episode.question.hops for episode in episodes)
    assert "must not sum to more than 1" in run(
        "world", "--out", "w", "--several", "0.6", "--unanswerable", "0.6", code=2
    )


def test_a_corpus_that_is_none_is_explained(files: Path) -> None:
    (files / "bad.jsonl").write_text('{"id": "1", "contents": "fine"}\nnot json\n')
    assert "line 2" in run("index", "build", "bad.jsonl", "bad", code=2)
    assert not (files / "bad").exists()


def test_the_rewards_are_listed() -> None:
    output = run("rewards")
    assert "+1*gain +1*f1 -2*format-penalty" in output
    assert all(name in output for name in (*PRESETS, *TERMS))


WORLD = ("--questions", "world:test#documents=60,questions=2", "--max-turns", "4")


def test_recorded_episodes_are_relabeled_as_they_were_paid(files: Path) -> None:
    run("rollout", *WORLD, "--agent", "noisy", "--reward", "igpo + tips", "--out", "noisy.jsonl")
    rewards = ["igpo + tips", "ig-search(samples=1)", "monte-carlo(completions=1)"]
    chosen = [part for reward in rewards for part in ("--reward", reward)]
    output = run("relabel", "noisy.jsonl", *chosen, "--policy", "expert", "--out", "priced.jsonl")
    assert all(reward in output for reward in rewards)
    priced = [json.loads(line) for line in (files / "priced.jsonl").read_text().splitlines()]
    episodes = list(read_rollouts(files / "noisy.jsonl"))
    for episode, record in zip(episodes, priced, strict=True):
        assert record["question_id"] == episode.question.id
        assert list(record["rewards"]) == rewards
        paid = record["rewards"]["igpo + tips"]
        assert paid["turns"] == [pytest.approx(terms, abs=1e-5) for terms in episode.rewards]
        assert paid["return"] == pytest.approx(episode.total_reward, abs=1e-5)


def test_documents_are_drawn_as_in_the_recorded_environment(files: Path) -> None:
    """With its tools, the pages that they show, and within its limits of replies."""
    edges = ("--max-passage-chars", "40", "--no-repeat-passages", "--on-limit", "answer", "--max-turns", "3")
    tools = ("--tools", "search + open#page_chars=60")
    world = ("--questions", "world:test#documents=60,questions=2,shown=1", *tools, *edges)
    reward = "document-gain(samples=1) + gain(context=evidence)"
    run("rollout", *world, "--agent", "expert", "--reward", reward, "--out", "opened.jsonl")
    run("relabel", "opened.jsonl", "--reward", reward, "--out", "priced.jsonl")
    priced = [json.loads(line) for line in (files / "priced.jsonl").read_text().splitlines()]
    for episode, record in zip(read_rollouts(files / "opened.jsonl"), priced, strict=True):
        assert any(turn["document-gain(samples=1)"] for turn in record["rewards"][reward]["turns"])
        assert record["rewards"][reward]["turns"] == [
            pytest.approx(terms, abs=1e-5) for terms in episode.rewards
        ]


@pytest.mark.parametrize("out", ["whole.jsonl", "./whole.jsonl", "soft.jsonl", "hard.jsonl", "."])
def test_a_recording_is_never_written_over(files: Path, out: str) -> None:
    run("index", "build", "corpus.jsonl", "index")
    run("rollout", *CHEAP, "--agent", "scripted", "--out", "whole.jsonl")
    recorded = (files / "whole.jsonl").read_bytes()
    (files / "soft.jsonl").symlink_to("whole.jsonl")
    (files / "hard.jsonl").hardlink_to(files / "whole.jsonl")
    output = run("relabel", "whole.jsonl", "--reward", "f1", "--out", out, code=2)
    assert ("--out is a folder" if out == "." else "is read or written as well") in output
    assert (files / "whole.jsonl").read_bytes() == recorded


def test_a_recording_holds_the_environment_and_the_policy_and_relabel_reads_them_back(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edges = ("--tools", "search + open", "--on-limit", "answer", "--max-reply-chars", "none", "--top-k", "2")
    made = ("--agent", "noisy", "--reward", "igpo", "--temperature", "0.5", "--out", "noisy.jsonl")
    run("rollout", *WORLD, *edges, *made)
    settings = json.loads((files / "noisy.jsonl").read_text().splitlines()[0])["settings"]
    policy = {"agent": "noisy", "temperature": 0.5, "top_p": 1.0, "max_tokens": 256, "seed": 0}
    fields = asdict(EnvConfig(questions=WORLD[1], max_turns=4, tools="search + open", on_limit="answer",
                              max_reply_chars=None, top_k=2))  # fmt: skip
    for name in ("group_size", "order", "search_cache", "probe", "info", "oracle_info", "render_mode"):
        del fields[name]
    kept = {name: x for name, x in settings.items() if not name.endswith(("_fingerprint", "_hash"))}
    assert kept == fields | policy

    asked: list[EnvConfig] = []

    def assemble(config: EnvConfig) -> None:
        asked.append(config)
        raise ValueError("enough")

    monkeypatch.setattr("igpo_gym.envs.setup.assemble", assemble)
    run("relabel", "noisy.jsonl", "--reward", "monte-carlo", "--policy", "expert", "--out", "p.jsonl", code=2)
    assert asked == [EnvConfig(**fields | {"scorer": None, "reward": "outcome-f1"})]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reward", "igpo"), "needs a scorer, but scorer=None"),
        (("--reward", "f1", "--reward", "ipgo"), "unknown reward 'ipgo'; did you mean igpo?"),
        (("--reward", "tips"), "needs a frozen reference model"),
        (("--reward", "monte-carlo"), "needs a policy that completes the episodes"),
        (("--reward", "monte-carlo", "--policy", "experto"), "'experto'"),
        (("--reward", "f1", "--reward", "f1"), "two rewards of one name: f1, f1"),
    ],
)
def test_what_cannot_be_relabeled_is_explained(files: Path, arguments: tuple[str, ...], message: str) -> None:
    run("index", "build", "corpus.jsonl", "index")
    run("rollout", *CHEAP, "--agent", "scripted", "--out", "out.jsonl")
    (files / "priced.jsonl").write_text("old")
    output = run("relabel", "out.jsonl", *arguments, "--out", "priced.jsonl", code=2)
    assert message in " ".join(output.split())
    assert (files / "priced.jsonl").read_text() == "old"
    assert len(list(files.glob("*priced*"))) == 1


def test_a_file_that_names_no_data_set_needs_one_to_draw_documents(files: Path) -> None:
    run("rollout", *WORLD, "--agent", "noisy", "--reward", "igpo", "--out", "noisy.jsonl")
    lines = [json.loads(line) for line in (files / "noisy.jsonl").read_text().splitlines()]
    for line in lines:
        del line["settings"]
    (files / "bare.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ("relabel", "bare.jsonl", "--reward", "ig-search(samples=1)", "--out", "priced.jsonl")
    assert "give --questions" in run(*command, code=2)
    run(*command, "--scorer", "nano", *WORLD[:2])
    assert len((files / "priced.jsonl").read_text().splitlines()) == len(lines)


@pytest.mark.slow
def test_a_killed_rollout_loses_nothing_that_was_written(files: Path) -> None:
    command = [sys.executable, "-c", "from igpo_gym.cli import app; app()", "rollout"]
    command += ["--questions", "world:test#questions=2000", "--scorer", "none", "--reward", "outcome-f1"]
    command += ["--agent", "noisy", "--limit", "2000", "--out", "out.jsonl", "--batch-size", "4"]
    out = files / "out.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while not (out.exists() and out.stat().st_size):
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert process.wait(0.02) is None, "the rollout ended before it could be killed"
        process.kill()
    written = [line for line in out.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    assert 0 < len(written) < 2000
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = out.read_bytes().splitlines(keepends=True)
    assert lines[: len(written)] == written
    ids = [episode.question.id for episode in read_rollouts(out)]
    assert len(ids) == len(set(ids)) == 2000


def test_a_file_may_not_name_code_to_run(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("rollout", *WORLD, "--agent", "noisy", "--reward", "igpo", "--out", "noisy.jsonl")
    record = json.loads((files / "noisy.jsonl").read_text().splitlines()[0])
    record["settings"]["scorer"] = "evil.module:Scorer"
    (files / "evil.jsonl").write_text(json.dumps(record) + "\n")
    (files / "evil").mkdir()
    (files / "evil" / "__init__.py").touch()
    (files / "evil" / "module.py").write_text("raise ValueError('it ran')")
    command = ("relabel", "evil.jsonl", "--reward", "igpo", "--out", "priced.jsonl")
    output = " ".join(run(*command, code=2).split())
    assert "evil.jsonl names the scorer 'evil.module:Scorer'" in output
    assert "--trust-imports" in output
    assert "it ran" in run(*command, "--trust-imports", code=2)
    assert "it ran" in run(*command, "--scorer", "evil.module:Scorer", code=2)
    run(*command, "--scorer", "none")


def test_what_is_no_recording_is_told_in_words(files: Path) -> None:
    output = run("relabel", "questions.jsonl", "--reward", "f1", "--out", "priced.jsonl", code=2)
    assert "questions.jsonl, line 1: not a recorded episode" in " ".join(output.split())
    assert "KeyError" not in output


def test_a_file_without_a_scheme_is_told_as_what_it_was_read(files: Path) -> None:
    run("index", "build", "corpus.jsonl", "index")
    output = run("rollout", "--questions", "questions.jsonl", "--search", "index", "--scorer",
                 "none", "--reward", "f1", "--agent", "scripted", "--out", "out.jsonl")  # fmt: skip
    assert "read as jsonl:questions.jsonl" in output


OWN = """
from igpo_gym.rewards import RewardTerm

class Answers:
    def __init__(self, text="yes"):
        self.text = text
    def act(self, episodes):
        return [f"<answer>{self.text}</answer>" for _ in episodes]

def long(scale: float = 1.0):
    return RewardTerm("long", lambda episode, turn: scale)
"""


def test_ones_own_policy_and_term_work_from_a_command(files: Path) -> None:
    (files / "own").mkdir()
    (files / "own" / "__init__.py").touch()
    (files / "own" / "parts.py").write_text(OWN)
    script = "from igpo_gym.cli import app; app()"
    command = [sys.executable, "-c", script, "rollout", *WORLD, "--scorer", "none", "--limit", "1"]
    command += ["--agent", "own.parts:Answers#text=no", "--reward", "f1 + own.parts:long(scale=2)"]
    environment = os.environ | {"PYTHONPATH": str(Path(igpo_gym.__file__).parents[1]), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [*command, "--out", "own.jsonl"], cwd=files, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (episode,) = read_rollouts(files / "own.jsonl")
    assert episode.prediction == "no"
    assert episode.rewards == [{"f1": 0.0, "long(scale=2.0)": 2.0}]
