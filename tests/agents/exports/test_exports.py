"""What is chosen of a file, and what each format writes of it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from igpo_gym.agents.exports import FORMATS, export
from igpo_gym.agents.exports.selection import Selection
from igpo_gym.agents.exports.tokens import Tokens
from igpo_gym.agents.exports.values import ToldEpisode, episode_values, value_of
from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.branches import Branching
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.records import read_rollouts, record_line, write_episodes
from igpo_gym.agents.training.estimators import Turns
from igpo_gym.agents.training.estimators.igpo import igpo_separate
from igpo_gym.benchmark.evaluation.measures import measure_named
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.episode import Episode
from igpo_gym.errors import DataError, MissingExtraError, SpecError
from igpo_gym.rewards import resolve_reward, split
from tests.agents.exports.played import ANSWERS, BELIEFS, QUERIES, chat, inside, priced, reply, written
from tests.lm.sentencepiece import LLAMA2
from tests.lm.tiny import CHATML, make_tokenizer

GAINS = [math.exp(after) - math.exp(before) for before, after in BELIEFS]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(place: Path) -> str:
    make_tokenizer(CHATML, bos=False).save_pretrained("model")
    return "model"


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def chosen(place: Path, **filters: str) -> list[str]:
    """The queries of the chosen episodes."""
    export(priced(place, chat), "o.jsonl", "sft", **filters)
    return [row["messages"][1]["content"][8:-9] for row in rows("o.jsonl")]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"where": "f1 == 1"}, [0, 2]),
        ({"where": "f1 == 1 and searches <= 3 and end == 'answered'"}, [0, 2]),
        ({"where": "not em == 1 or id == 'q1'"}, [1, 2, 3]),
        ({"where": "gain < 0"}, [1]),
        ({"where": "belief > 0.5 or return < 0"}, [0, 1]),
        ({"where": "layout in ('chat', 'tags') and turns == 2 and failed == 0"}, [0, 1, 2, 3]),
        ({"where": "prediction == 'Wien'"}, [1]),
        ({"best": "1"}, [0, 2]),
        ({"best": "1 by first_belief"}, [0, 2]),
        ({"top": "0.25 by gain"}, [0]),
        ({"top": "0.3 by gain"}, [0, 2]),
        ({"top": "1 by gain"}, [0, 1, 2, 3]),
        ({"where": "f1 == 0", "best": "1 by belief", "top": "0.5 by gain"}, [3]),
    ],
)
def test_filters(filters: dict[str, str], kept: list[int], place: Path) -> None:
    assert chosen(place, **filters) == [QUERIES[each] for each in kept]


@pytest.mark.parametrize(
    ("form", "options", "told"),
    [
        ("sft", {"where": "f1 == 0.5"}, "--where 'f1 == 0.5' leaves none of the 4 episodes"),
        ("sft", {"where": "judge == 1"}, "priced.jsonl, line 1: the episode has no judge (1 where a judge"),
        ("sft", {"where": "judge == 1"}, "igpo-gym relabel --records measures"),
        ("sft", {"where": "hops > 0"}, "the episode has no hops (hops of the question); leave the name out"),
        ("sft", {"where": "serch < 1"}, "did you mean searches?"),
        ("sft", {"best": "0"}, "a whole number from 1"),
        ("sft", {"best": "1 by end"}, "end is no number"),
        ("sft", {"top": "20%"}, "write AMOUNT by NAME"),
        ("sft", {"top": "1.5"}, "above 0 and at most 1"),
        ("sft", {"turns": "gain > 0"}, "give --tokenizer MODEL"),
        ("verl", {"turns": "gain > 0"}, "--format sft with --tokenizer"),
        ("verl", {"tokenizer": "model"}, "verl writes no tokens"),
        ("hf", {"turns": "gain > 5"}, "--turns leaves no turn"),
        ("kto", {"turns": "turn > 2"}, "no chosen turn has an advantage other than 0"),
        ("dpo", {"best": "1"}, "no two chosen turns share their past"),
        ("sft", {"advantages": "grpo"}, "grpo takes the outcome alone"),
        ("csv", {}, "unknown format of exports 'csv'"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    form: str, options: dict[str, str], told: str, place: Path
) -> None:
    with pytest.raises(SpecError) as caught:
        export(priced(place, chat), "out", form, **options)
    assert told in str(caught.value)
    assert sorted(path.name for path in place.iterdir()) == ["logs.jsonl", "priced.jsonl"]


@pytest.mark.parametrize("form", ["sft", "hf", "minari"])
def test_a_place_that_cannot_be_written_is_told_before_a_model_is_looked_for(form: str, place: Path) -> None:
    records = priced(place, chat)
    (place / "file").touch()
    model = "no/such/model" if FORMATS[form].tokenizer else None
    with pytest.raises(NotADirectoryError, match="file/out-v0"):
        export(records, "file/out-v0", form, tokenizer=model)


def test_a_file_without_episodes_is_named(place: Path) -> None:
    (place / "none.jsonl").touch()
    with pytest.raises(SpecError, match=r"none\.jsonl holds no episode"):
        export("none.jsonl", "out", "sft")


@pytest.mark.parametrize("form", ["sft", "dpo", "kto", "verl"])
def test_replies_inside_the_agents_message_need_tokens(form: str, place: Path) -> None:
    with pytest.raises(SpecError, match=r"line 1: the environment's replies stand inside .* --tokenizer"):
        export(priced(place, inside), "out", form)


@pytest.mark.parametrize("form", [inside, chat])
def test_labels_are_what_the_agent_wrote(
    form: Callable[[int], dict[str, object]], model: str, place: Path
) -> None:
    export(priced(place, form), "o.jsonl", "sft", tokenizer=model, turns="gain >= 0")
    tokenizer = make_tokenizer(CHATML, bos=False)
    for number, row in enumerate(rows("o.jsonl")):
        assert len(row["input_ids"]) == len(row["labels"]) == len(row["weights"])
        whole = tokenizer.decode(row["input_ids"])
        assert reply(number) in whole
        labels = tokenizer.decode([label for label in row["labels"] if label != -100])
        search = f"<search>{QUERIES[number]}</search>"
        answer = f"<answer>{ANSWERS[number]}</answer><|im_end|>"
        ended = "<|im_end|>" * (form is chat)  # there the search is a message, which it ends
        assert labels == (search + ended) * (GAINS[number] >= 0) + answer
        assert all(
            label in (-100, given) and (label != -100 or weight == 0)
            for given, label, weight in zip(row["input_ids"], row["labels"], row["weights"], strict=True)
        )


def test_the_blank_that_a_template_writes_before_the_end_is_learned_with_it(place: Path) -> None:
    make_tokenizer(LLAMA2, bos=False).save_pretrained("spaced")
    export(priced(place, chat), "o.jsonl", "sft", tokenizer="spaced")
    tokenizer = make_tokenizer(LLAMA2, bos=False)
    for number, row in enumerate(rows("o.jsonl")):
        labels = tokenizer.decode([label for label in row["labels"] if label != -100])
        assert labels == f"<search>{QUERIES[number]}</search> </s><answer>{ANSWERS[number]}</answer> </s>"


def test_weights_are_advantages(place: Path, model: str) -> None:
    """igpo-separate by hand: in a group of two, z is +-1, and gains are accumulated onto the outcome."""
    export(priced(place, chat), "o.jsonl", "sft", tokenizer=model)
    for number, row in enumerate(rows("o.jsonl")):
        sign = 1 if number % 2 == 0 else -1
        written = [weight for weight in row["weights"] if weight]
        assert {round(weight, 2) for weight in written} == {2 * sign, sign}
    export(priced(place, chat), "o.jsonl", "sft")
    assert [round(weight, 2) for weight in rows("o.jsonl")[1]["weights"]] == [0, -2, 0, -1]


def test_two_turns_in_one_message_have_no_weights_of_their_own(place: Path, model: str) -> None:
    """A thought and a call that follow one another, as chat logs have them."""

    def twice(number: int) -> dict[str, object]:
        told: dict[str, Any] = chat(number)
        told["messages"].insert(1, {"role": "assistant", "content": "Let me think."})
        return told

    episodes = written(place, twice)
    assert {len(each.turns) for each in episodes} == {3}
    reward = resolve_reward("outcome-f1")
    lines = []
    for number, episode in enumerate(episodes):
        episode.attempt = number % 2
        episode.rewards += [reward.price(episode, turn) for turn in (1, 2, 3)]
        lines.append(record_line({"questions": "mine", "reward": "outcome-f1"}, episode, reward))
    (place / "twice.jsonl").write_text("".join(lines))
    with pytest.raises(SpecError, match="line 1: 3 turns stand in 2 messages"):
        export("twice.jsonl", "o.jsonl", "sft", advantages="grpo")
    export("twice.jsonl", "o.jsonl", "sft", tokenizer=model, advantages="grpo")
    assert len(rows("o.jsonl")) == 4


def test_sampled_ids_are_kept(place: Path, model: str) -> None:
    """The ids of the record are written, also where its text would be tokenized otherwise."""
    path = priced(place, chat)
    tokens = Tokens.of(model)
    own = [*map(ord, "ab"), *tokens.end(next(read_rollouts(path)).segments)]  # any ids do
    records = rows("priced.jsonl")
    records[0]["turns"][0]["segments"][0] |= {"ids": own, "vocabulary": tokens.framing.vocabulary}
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    export(path, "o.jsonl", "sft", tokenizer=model, turns="turn == 1")
    assert [label for label in rows("o.jsonl")[0]["labels"] if label != -100] == own


def test_weights_are_those_of_the_turn_whatever_stands_before_it(place: Path, model: str) -> None:
    """A prompt with an example by an agent, in a record that another program wrote."""
    path = priced(place, chat)
    export(path, "plain.jsonl", "sft", tokenizer=model)
    records = rows("priced.jsonl")
    example = {"author": "agent", "role": "assistant", "text": "an example"}
    for record in records:
        record["prompt"] += [example, {"author": "environment", "role": "user", "text": "now you"}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    export(path, "o.jsonl", "sft", tokenizer=model)
    for plain, told in zip(rows("plain.jsonl"), rows("o.jsonl"), strict=True):
        for own in ("labels", "weights"):
            kept = [
                [value for value, label in zip(each[own], each["labels"], strict=True) if label != -100]
                for each in (plain, told)
            ]
            assert kept[0] == kept[1]


def test_dpo_pairs_turns_of_one_past(place: Path, model: str) -> None:
    made = export(priced(place, chat), "o.jsonl", "dpo")
    assert (made.rows, made.what, made.episodes) == (2, "pairs", 4)
    first = rows("o.jsonl")[0]
    assert first["prompt"] == [{"role": "user", "content": "Which port?"}]
    assert first["chosen"] == [{"role": "assistant", "content": f"<search>{QUERIES[0]}</search>"}]
    assert first["rejected"] == [{"role": "assistant", "content": f"<search>{QUERIES[1]}</search>"}]
    assert first["margin"] == pytest.approx(4, abs=0.01)
    assert export(priced(place, inside), "o.jsonl", "dpo", tokenizer=model).unlike == 0
    assert rows("o.jsonl")[1]["chosen"] == f"<search>{QUERIES[2]}</search>"
    assert rows("o.jsonl")[1]["prompt"].endswith("Whose novel?<|im_end|>\n<|im_start|>assistant\n")


def test_dpo_pairs_the_turns_at_which_branches_part(place: Path) -> None:
    question_set, engine = assemble(
        EnvConfig(questions="world:test#documents=60,questions=6", scorer="nano", protocol="tool_call")
    )
    agent = ScriptedAgent("noisy", question_set, engine.protocol)
    branching = Branching.parse("even:2")
    played = list(collect(engine, agent, question_set.questions, branching=branching))
    write_episodes(place / "trees.jsonl", played, {"questions": question_set.name}, engine.reward)
    made = export("trees.jsonl", "o.jsonl", "dpo")
    # One episode of each question begins at the prompt: what shares its past with it is a branch.
    said: dict[tuple[str, ...], set[str]] = {}
    for episode in played:
        past = [episode.question.text]
        for turn in episode.turns:
            said.setdefault(tuple(past), set()).add(turn.message)
            past += [turn.message, turn.observation]
    parted = {past: messages for past, messages in said.items() if len(messages) > 1}
    assert 3 <= made.rows == len(rows("o.jsonl")) <= len(parted)
    for row in rows("o.jsonl"):
        messages = [each["content"] for each in row["prompt"]]
        (past,) = (
            each
            for each in parted
            if each[0] in "".join(messages) and messages[len(messages) + 1 - len(each) :] == list(each[1:])
        )
        told = [row[name][0]["content"] for name in ("chosen", "rejected")]
        assert set(told) <= parted[past]
        assert told[0] != told[1]
        assert row["margin"] > 0


def test_searches_are_calls_of_search_as_in_evaluations(place: Path) -> None:
    question_set, engine = assemble(
        EnvConfig(
            questions="world:test#shown=1,hops=2", scorer=None, reward="outcome-f1", tools="search + open"
        )
    )
    agent = ScriptedAgent("expert", question_set, engine.protocol)
    played = list(collect(engine, agent, question_set.questions[:6]))
    assert any(each.calls_of("open") for each in played)
    values = episode_values()
    for each in played:
        told = ToldEpisode(each, None, None)
        searches, turns = (value_of(values, name, told, "here") for name in ("searches", "tool_turns"))
        assert searches == measure_named("searches").value(each)
        assert turns == each.tool_turns >= searches


@pytest.mark.parametrize("apart", [{"step": 7}, {"questions": "theirs"}])
def test_turns_that_are_not_compared_are_neither_paired_nor_one_row(
    place: Path, apart: dict[str, Any]
) -> None:
    """Their advantages are relative to their own groups: steps of a trainer, sets that share ids."""
    path = priced(place, chat)
    lines = path.read_text().splitlines()[:2]
    for number in range(2):  # the searches of the other group are other ones; its answers are the same
        other = lines[number].replace(QUERIES[number], f"other {number}")
        record = json.loads(other)
        lines.append(json.dumps(record | {"settings": record["settings"] | apart}))
    path.write_text("\n".join(lines))
    export(path, "o.jsonl", "dpo")
    pairs = [tuple(row[name][0]["content"] for name in ("chosen", "rejected")) for row in rows("o.jsonl")]
    searches = [(QUERIES[0], QUERIES[1]), ("other 0", "other 1")]
    assert pairs == [tuple(f"<search>{query}</search>" for query in pair) for pair in searches]
    path.write_text("\n".join([*lines[:2], json.dumps(json.loads(lines[0]) | {"settings": apart})]))
    assert export(path, "o.jsonl", "kto", turns="turn == 1").rows == 2  # alone in its group, it is worth 0
    assert rows("o.jsonl")[0]["advantage"] == pytest.approx(2, abs=0.01)


def test_kto_labels_are_signs_and_shared_turns_are_one_row(place: Path, model: str) -> None:
    path = priced(place, inside)
    made = export(path, "o.jsonl", "kto", tokenizer=model)
    assert made.rows == 8
    assert [row["label"] for row in rows("o.jsonl")] == [True, True, False, False] * 2
    prompt = rows("o.jsonl")[1]["prompt"]
    assert prompt.endswith(f"<information>{reply(0)}</information>\n\n")
    assert rows("o.jsonl")[1]["completion"] == f"<answer>{ANSWERS[0]}</answer><|im_end|>"

    lines = path.read_text().splitlines(keepends=True)
    third = json.loads(lines[1]) | {"attempt": 2}  # a branch: the first turn again, and another answer
    third["turns"][1] = json.loads(lines[0])["turns"][1]
    path.write_text(lines[0] + lines[1] + json.dumps(third) + "\n")
    kept = export(path, "o.jsonl", "kto", tokenizer=model, turns="turn == 1")
    assert kept.rows == 2


def test_a_turn_that_goes_on_with_a_message_is_no_completion_of_its_own(place: Path, model: str) -> None:
    """The message before it would be its prompt, and a template would end it between the two."""
    path = priced(place, chat)
    lines = path.read_text().splitlines()
    first = json.loads(lines[0])
    first["turns"][0]["segments"] = first["turns"][0]["segments"][:1]
    path.write_text("\n".join([json.dumps(first), *lines[1:]]) + "\n")
    with pytest.raises(SpecError, match=r"line 1: turn 2 goes on with the message .* give --tokenizer"):
        export(path, "o.jsonl", "kto")
    assert export(path, "o.jsonl", "kto", tokenizer=model).rows == 8


def test_what_was_not_read_is_left_out_where_its_value_is_asked_for(place: Path, model: str) -> None:
    path = priced(place, chat)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0] |= {"unread": [1]}
    lines[0]["split"]["gains"][0] = None
    lines[2] |= {"unread": [0, 1], "beliefs": [], "rewards": []}
    lines[2]["split"] = {"gains": [None, None], "outcome": None, "last_gain": True}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def left(**filters: str) -> tuple[int, int, int]:
        made = export(path, "out.jsonl", "sft", tokenizer=model, **filters)
        return made.rows, made.episodes, made.unread

    assert left() == (4, 4, 0)
    assert left(where="f1 >= 0") == (4, 4, 0)
    assert left(where="gain > -9") == left(top="1") == left(top="1 by belief") == (3, 3, 1)
    assert left(best="1 by return") == (2, 2, 1)
    assert left(where="f1 == 1 or gain > -9") == (4, 4, 0), "the first part decides of the third episode"
    assert left(turns="gain > -9") == (3, 4, 3), "a turn of the first, and both of the third"
    lines = [line | {"unread": [0], "beliefs": [], "rewards": []} for line in lines]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SpecError, match="none of the 4 episodes has what they are ranked by"):
        left(top="1 by gain")


def aborted(place: Path) -> Path:
    """Records of which the last is the second attempt at q0 again, but aborted."""
    path = priced(place, chat)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[3] = lines[1] | {"attempt": 2, "end": "aborted"}
    lines[3]["split"] = {"gains": [*lines[1]["split"]["gains"], 0.0], "outcome": None, "last_gain": True}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("filters", "kept", "left_out"),
    [
        ({"where": "f1 < 1"}, [1], 1),
        ({"where": "not em == 1"}, [1], 1),
        ({"where": "return < 9"}, [0, 1, 0], 1),
        ({"where": "outcome >= 0"}, [0, 1, 0], 1),
        ({"where": "f1 == 1 or end == 'aborted'"}, [0, 0, 2], 0),
        ({"where": "end == 'aborted' or f1 == 1"}, [0, 0, 2], 0),
        ({"where": "f1 >= 0 and end != 'aborted'"}, [0, 1, 0], 0),
        ({"best": "1"}, [0, 0], 1),
        ({"top": "1 by cover_em"}, [0, 1, 0], 1),
        ({"turns": "advantage < 9"}, [0, 1, 0], 2),
        ({"turns": "gain < 9"}, [0, 1, 0, 2], 0),
    ],
)
def test_what_was_aborted_is_neither_right_nor_wrong(
    place: Path, model: str, filters: dict[str, str], kept: list[int], left_out: int
) -> None:
    made = export(aborted(place), "o.jsonl", "sft", tokenizer=model, **filters)
    assert [row["attempt"] for row in rows("o.jsonl")] == kept
    assert made.aborted == left_out
    assert made.unread == 0


def test_what_was_aborted_is_compared_with_nothing(place: Path) -> None:
    path = aborted(place)
    ended = place / "ended.jsonl"
    ended.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:3]))
    for form in ("dpo", "kto"):
        export(path, f"{form}.jsonl", form)
        export(ended, f"{form}-ended.jsonl", form)
        assert rows(f"{form}.jsonl") == rows(f"{form}-ended.jsonl") != []
    with pytest.raises(SpecError, match="no two chosen turns"):
        export(path, "o.jsonl", "dpo", where="attempt != 1")
    export(path, "o.jsonl", "sft", where="end == 'aborted'")
    assert set(rows("o.jsonl")[0]["weights"]) == {0.0}
    ended.write_text(path.read_text(encoding="utf-8").splitlines()[3])
    with pytest.raises(SpecError, match="none of the 1 episodes"):
        export(ended, "o.jsonl", "sft", top="1 by f1")


def test_a_shared_turn_has_the_mean_advantage_whatever_is_left_out(place: Path) -> None:
    question_set, engine = assemble(
        EnvConfig(questions="world:test#documents=60,questions=6", scorer="nano", protocol="tool_call")
    )
    agent = ScriptedAgent("noisy", question_set, engine.protocol)
    played = list(
        collect(engine, agent, question_set.questions, group_size=2, branching=Branching.parse("even:2"))
    )
    write_episodes(place / "trees.jsonl", played, {"questions": question_set.name}, engine.reward)

    def turn(episode: Episode, number: int) -> tuple[str, int, int]:
        """Which turn it is: of the episode that a branch left, where the two share it."""
        branch = episode.branch
        shared = branch is not None and number <= branch.turn
        return episode.question.id, branch.attempt if branch and shared else episode.attempt, number

    turns = Turns.of([split(each, engine.reward) for each in played], [each.question.id for each in played])
    own = dict(zip(map(id, played), turns.by_episode(igpo_separate()(turns)), strict=True))
    leaves: dict[tuple[str, int, int], list[float]] = {}
    for episode in played:
        for number, value in enumerate(own[id(episode)].tolist(), 1):
            leaves.setdefault(turn(episode, number), []).append(value)
    assert any(min(values) < 0 < max(values) for values in leaves.values()), "no leaves disagree"
    chosen = list(Selection.read(turns="advantage > 0").of(place / "trees.jsonl"))
    assert len(chosen) == len(played)
    for known in chosen:
        means = [fmean(leaves[turn(known.episode, n)]) for n in range(1, len(known.episode.turns) + 1)]
        assert known.advantages == pytest.approx(means, abs=1e-9)
        assert known.kept == tuple(mean > 0 for mean in means)


def test_turns_whose_past_ends_within_a_token_are_left_out(
    place: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokenizer knows "\\n\\n<" as one token, and replies inside the message end with blank lines."""
    tokenizer = make_tokenizer(CHATML, bos=False)
    tokenizer.add_tokens(["\n\n<"])
    tokenizer.save_pretrained("joining")
    made = export(priced(place, inside), "o.jsonl", "kto", tokenizer="joining")
    assert (made.rows, made.joined) == (4, 4)
    assert all(row["completion"].startswith("<search>") for row in rows("o.jsonl"))
    with pytest.raises(SpecError, match="take --format sft"):
        export(priced(place, inside), "o2.jsonl", "kto", tokenizer="joining", turns="last")
    assert not Path("o2.jsonl").exists()


def test_records_without_a_split_have_no_weights(place: Path) -> None:
    path = priced(place, chat)
    records = rows("priced.jsonl")
    del records[2]["split"]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    export(path, "o.jsonl", "sft")
    assert "weights" not in rows("o.jsonl")[0]
    with pytest.raises(SpecError, match="line 1: kto needs advantages"):
        export(path, "o2.jsonl", "kto")
    records[1]["split"]["gains"] = []
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(DataError, match="line 2: its split cannot be read"):
        export(path, "o3.jsonl", "sft")
    assert not Path("o2.jsonl").exists()
    assert not Path("o3.jsonl").exists()


def test_records_of_version_1_are_exported(place: Path) -> None:
    path = Path(__file__).parents[1] / "rollouts" / "records" / "data" / "version1.jsonl"
    made = export(path, "folder", "hf")
    assert made.rows == made.episodes == len(path.read_text().splitlines())


def test_protected_questions_are_no_training_data(place: Path) -> None:
    path = priced(place, chat)
    records = rows("priced.jsonl")
    records[3]["question"]["protected"] = True
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(SpecError, match="line 4: protected questions are for tests alone"):
        export(path, "o.jsonl", "sft")


def test_hf_loads_from_disk(place: Path, model: str) -> None:
    datasets = pytest.importorskip("datasets")
    export(priced(place, inside), "folder", "hf", tokenizer=model, turns="gain >= 0")
    read = datasets.load_from_disk("folder")
    assert read["f1"] == [1, 0, 1, 0]
    assert read[1]["kept"] == [False, True]
    assert read[0]["gains"] == [pytest.approx(GAINS[0]), None]
    assert {each["author"] for each in read[0]["segments"]} == {"agent", "environment"}
    assert len(read[0]["input_ids"]) == len(read[0]["labels"])
    with pytest.raises(FileExistsError, match="is there already"):
        export(priced(place, inside), "folder", "hf")


def test_hf_has_no_score_of_what_was_aborted(place: Path) -> None:
    datasets = pytest.importorskip("datasets")
    export(aborted(place), "folder", "hf")
    read = datasets.load_from_disk("folder")
    assert read["f1"] == read["em"] == read["cover_em"] == read["outcome"] == [1, 0, 1, None]
    assert read["gains"][3] == [pytest.approx(GAINS[1]), 0]


def test_verl_reads_its_columns(place: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(priced(place, chat), "o.parquet", "verl")
    messages = parquet.read_table("o.parquet").column("messages").to_pylist()
    assert [message["role"] for message in messages[0]] == ["user", "assistant", "user", "assistant"]


def test_minari_loads_its_form(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari", reason="Minari is not installed")
    export(priced(place, inside), "searchqa-v0", "minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(place))
    read = minari.load_dataset("searchqa-v0")
    assert (read.total_episodes, read.total_steps) == (4, 8)
    episode = read[0]
    assert list(episode.actions) == [f"<search>{QUERIES[0]}</search>", f"<answer>{ANSWERS[0]}</answer>"]
    assert list(episode.rewards) == [pytest.approx(GAINS[0]), 1.0]
    assert list(episode.terminations) == [False, True]
    assert all(text in read.observation_space for text in episode.observations)
    assert all(text in read.action_space for text in episode.actions)
    assert "§" not in read.observation_space
    with pytest.raises(SpecError, match="named such as searchqa-v0"):
        export(priced(place, inside), "folder", "minari")


def test_minari_is_asked_for_by_its_extra(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("minari", "minari.data_collector.episode_buffer"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"igpo-gym\[minari\]"):
        export(priced(place, inside), "searchqa-v0", "minari")


def test_every_format_says_what_a_row_is() -> None:
    assert all(each.rows in ("episodes", "pairs", "turns") for each in FORMATS.values())
