"""TRL's own tool loop on scripted messages: turns, thoughts, ends and beliefs of its conversations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl", minversion="1.16", reason="TRL is not installed, or older")

import torch
from transformers.utils import get_json_schema
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen3_chat_template

from igpo_gym.adapters.trl import Environments, TurnGRPOTrainer, dataset, environment_factory
from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.agents.training.estimators import Split, Turns, resolve_estimator
from igpo_gym.episode import EndReason, Episode, Invalid, Passage, ToolCalls
from igpo_gym.errors import AccessError, ScoringError, SpecError
from igpo_gym.protocols import ANSWER_PROBE, NATIVE
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH
from tests.adapters.episodes import QUESTION, settings
from tests.conftest import MentionScorer
from tests.lm.tiny import make_model, make_tokenizer


def call(tool: str, **arguments: Any) -> str:
    return f"<tool_call>\n{json.dumps({'name': tool, 'arguments': arguments})}\n</tool_call>"


PLANS = (
    ("plan A. " + call("search", query="Günter Grass writer"), call("answer", answer="Danzig"), "Bye."),
    # Two calls in one message are one turn, and what is said beside them is read by the scorer.
    (
        "plan B: Danzig! " + call("search", query="Odra") + call("search", query="Vistula"),
        call("answer", answer="Cologne"),
        "Bye.",
    ),
    ("plan C. I do not know.",),
    ("plan D. " + call("browse", url="x"), call("search", query="Odra"), call("answer", answer="Gdańsk")),
)
"""What four attempts at one question say; after an answer TRL lets them say one thing more."""


class Scripted(GRPOTrainer):
    """Samples what the plans say; all else is TRL's: its template, its parsing of calls, its loop."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[Any, None]:
        sampled = []
        for place, ids in enumerate(prompt_ids):
            read = self.processing_class.decode(ids)
            plan = next((plan for plan in PLANS if plan[0].partition(" <")[0] in read), None)
            if plan is None:
                sampled.append(PLANS[place % len(PLANS)][0])
            else:
                stage = read.count("<tool_response>\n") - ("Vistula" in plan[0])
                sampled.append((*plan, "Bye.")[stage])
        end = [self.processing_class.eos_token_id]
        return [
            self.processing_class(text, add_special_tokens=False)["input_ids"] + end for text in sampled
        ], None


class Turnwise(TurnGRPOTrainer, Scripted):
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        self.seen = inputs, output
        return output


def tokenizer() -> Any:
    made = make_tokenizer(qwen3_chat_template)
    made.eos_token = made.pad_token = "<|im_end|>"
    return made


CONFIG: dict[str, Any] = {
    "max_steps": 1,
    "per_device_train_batch_size": 4,
    "num_generations": 4,
    "max_completion_length": 2500,
    "logging_steps": 1,
    "report_to": [],
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "disable_tqdm": True,
}


def trained(
    kind: type[GRPOTrainer], folder: Path, config: dict[str, Any] | None = None, **changes: Any
) -> GRPOTrainer:
    """A trainer after one step on the plans, with the environments of ``settings``."""
    only = [each for each in settings(NATIVE)["questions"].questions if each.id == QUESTION]
    given = settings(NATIVE, questions=only, **changes)
    estimator = {"advantages": "igpo-separate"} if kind is Turnwise else {}
    trainer = kind(
        model=make_model("llama", max_position_embeddings=8192),
        processing_class=tokenizer(),
        args=GRPOConfig(output_dir=str(folder), **{**CONFIG, **(config or {})}),
        train_dataset=dataset(
            **{name: each for name, each in given.items() if name not in ("scorer", "records")}
        ),
        environment_factory=environment_factory(**given),
        **estimator,
    )
    trainer.train()
    return trainer


def episodes(trainer: GRPOTrainer) -> list[Episode]:
    return [environment.episode for environment in trainer.environments]


def p(mentions: int) -> float:
    return (1 + mentions) / (10 + mentions)


@pytest.mark.slow
def test_a_conversation_is_read_as_it_stands(tmp_path: Path) -> None:
    scorer = MentionScorer()
    trainer = trained(Turnwise, tmp_path, scorer=scorer, records=tmp_path / "episodes")
    a, b, c, d = episodes(trainer)

    recorded = list(read_rollouts(tmp_path / "episodes" / "train-000000-0.jsonl"))
    assert [(each.end, each.attempt, each.rewards) for each in recorded] == [
        (each.end, place, each.rewards) for place, each in enumerate((a, b, c, d))
    ]
    trainer = trained(Turnwise, tmp_path, scorer=scorer, records=tmp_path / "episodes")
    again = list(read_rollouts(tmp_path / "episodes" / "train-000000-0.jsonl"))
    assert [each.attempt for each in again] == [0, 1, 2, 3], "a step that is made again"
    a, b, c, d = episodes(trainer)
    assert [each.prompt for each in recorded] == [each.prompt for each in (a, b, c, d)]
    assert [each.end for each in (a, b, c, d)] == [
        *(EndReason.ANSWERED, EndReason.ANSWERED, EndReason.INVALID_MESSAGE, EndReason.ANSWERED)
    ]
    assert [len(each.turns) for each in (a, b, c, d)] == [2, 2, 1, 3]
    assert isinstance(b.turns[0].action, ToolCalls)
    assert [each.arguments["query"] for each in b.turns[0].action.calls] == ["Odra", "Vistula"]
    assert d.turns[0].action == Invalid("there is no tool 'browse'")
    assert (a.prediction, c.prediction) == ("Danzig", None)
    assert "plan A." in a.turns[0].message
    assert all(segment.weights == "0" for each in (a, b, c, d) for segment in each.turns[0].segments[:1])
    assert trainer.environments[0].get_reward() == pytest.approx(p(1) - p(0) + 1.0)

    # One call for all states: two of A and of B, one of C, three of D.
    assert scorer.calls == [8, 8]
    # Danzig stands once in A's results; in B it is the thought that names it, and the Vistula's port.
    found = [sum(s.text.count("Danzig") for s in each.turns[0].segments) for each in (a, b)]
    assert found[0] == 1
    assert b.turns[0].segments[0].text.count("Danzig") == 1
    assert found[1] > 1

    inputs, output = trainer.seen
    splits = [
        Split((p(1) - p(0),), 1.0),
        Split((p(found[1]) - p(0),), 0.0),
        Split((), -2.0),
        Split((0.0, 0.0), -2.0 + 1.0),
    ]
    for row, expected in zip(inputs, splits, strict=True):
        assert row["turn_gains"] == pytest.approx(expected.gains)
        assert (row["outcome"], row["last_gain"]) == (pytest.approx(expected.outcome), False)
    values = iter(resolve_estimator("igpo-separate")(Turns.of(splits, ["q"] * 4)))
    for row, own, advantages, mask, ids in zip(
        *(inputs, splits, output["advantages"].numpy(), output["tool_mask"].numpy()),
        output["completion_ids"].tolist(),
        strict=True,
    ):
        turns = np.array(row["token_turns"])
        assert (mask[: len(turns)] == (turns > 0)).all()
        assert not advantages[len(turns) :].any()
        for turn in range(1, own.turns + 1):
            assert advantages[: len(turns)][turns == turn] == pytest.approx(next(values), abs=1e-6)
        # What is said after the answer is no part of the row.
        assert "Bye" not in trainer.processing_class.decode(ids[: len(turns)])
    assert next(values, None) is None
    log = trainer.state.log_history[0]
    assert (log["em"], log["batches_without_gain"]) == (0.5, 0.0)


@pytest.mark.slow
def test_the_model_in_training_believes_in_what_it_has_read(tmp_path: Path) -> None:
    weights: list[dict[str, torch.Tensor]] = []

    class Watched(Turnwise):
        def _generate(self, prompts: list[Any]) -> Any:
            weights.append({name: each.detach().clone() for name, each in self.model.named_parameters()})
            self.talks = super()._generate(prompts)
            return self.talks

    trainer = trained(Watched, tmp_path, scorer="policy")
    prompt_ids, completion_ids, mask, *_ = trainer.talks
    model = make_model("llama", max_position_embeddings=8192)
    model.load_state_dict(weights[0], strict=False)
    encode = trainer.processing_class._tokenizer.encode

    def plain(context: list[int]) -> list[float]:
        probe = encode(ANSWER_PROBE.prefix, add_special_tokens=False).ids
        means = []
        for answer in ("Danzig", "Gdańsk"):
            own = encode(answer, add_special_tokens=False).ids
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([context + probe + own])).logits[0].log_softmax(-1)
            means.append(float(logits[-len(own) - 1 : -1].gather(1, torch.tensor(own)[:, None]).mean()))
        return means

    checked = 0
    for place, episode in enumerate(episodes(trainer)):
        ids, own = completion_ids[place], mask[place]
        starts = [n for n in range(1, len(own)) if own[n] and not own[n - 1]]  # where the next message begins
        contexts = [prompt_ids[place], *(prompt_ids[place] + ids[:start] for start in starts)]
        assert len(episode.beliefs) == len(contexts)
        for belief, context in zip(episode.beliefs, contexts, strict=True):
            assert belief.log_probs == pytest.approx(plain(context), abs=1e-4)
            checked += 1
    assert checked == 8


def test_the_plain_trainer_is_told_what_it_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scorer = MentionScorer()
    trainer = trained(Scripted, tmp_path, scorer=scorer)
    assert "calls and results alone" in caplog.text
    # Each call is a turn: B has three states before its answer, and D, whose first never came here, two.
    assert scorer.calls == [8]
    assert [each.end for each in episodes(trainer)][2] is EndReason.INVALID_MESSAGE
    assert trainer.environments[1].rewards[0] == pytest.approx(0.0)  # B's thought is not read


def test_the_plain_trainer_has_no_policy_for_a_scorer(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="train with TurnGRPOTrainer"):
        trained(Scripted, tmp_path, scorer="policy")


@pytest.mark.slow
def test_a_conversation_that_trl_breaks_off_says_why(tmp_path: Path) -> None:
    a, b, _, d = episodes(trained(Turnwise, tmp_path, {"max_tool_calling_iterations": 1}))
    assert a.end is EndReason.TURNS_EXHAUSTED
    assert a.turns[1].action == Invalid("the conversation ended before the calls were run")
    assert [len(each.turns) for each in (a, b, d)] == [2, 2, 2]

    (a, b, *_) = episodes(trained(Turnwise, tmp_path, {"max_completion_length": 150}))
    assert a.end is b.end is EndReason.CONTEXT_EXHAUSTED
    # The calls were run, but what they brought was not shown.
    assert isinstance(a.turns[0].action, ToolCalls)
    assert len(a.turns[0].segments) == 1
    assert a.turns[0].passages


@pytest.mark.slow
def test_the_environments_own_limit_ends_a_conversation(tmp_path: Path) -> None:
    a, _, c, d = episodes(trained(Turnwise, tmp_path, max_turns=1))
    assert (a.end, c.end) == (EndReason.TURNS_EXHAUSTED, EndReason.INVALID_MESSAGE)
    assert len(a.turns) == 1
    # A call of a tool that there is not never reaches the environment, and its message is a turn.
    assert (d.end, len(d.turns)) == (EndReason.TURNS_EXHAUSTED, 1)

    _, b, _, d = episodes(trained(Turnwise, tmp_path / "2", max_turns=2))
    # Two calls of one message take one turn: the answer in the second message counts.
    assert [(each.end, len(each.turns)) for each in (b, d)] == [
        (EndReason.ANSWERED, 2),
        (EndReason.TURNS_EXHAUSTED, 2),
    ]
    (*_, d) = episodes(trained(Turnwise, tmp_path / "3", max_turns=2, on_limit="answer"))
    assert (d.end, len(d.turns)) == (EndReason.ANSWERED, 3)
    (*_, d) = episodes(trained(Turnwise, tmp_path / "4", on_invalid="end"))
    assert (d.end, len(d.turns)) == (EndReason.INVALID_MESSAGE, 1)


def test_the_calls_of_a_message_have_one_limit_together() -> None:
    environments = environment_factory(**settings(NATIVE, max_turns=1))
    env = environments()
    for number, told in (
        (None, ["Doc 1", "All turns are used", "All turns are used"]),
        (1, ["Doc 1", "Doc 1", "The answer is given"]),
        (2, ["All turns are used"] * 3),
    ):
        environments.message = number
        env.reset(question_id=QUESTION)
        replies = [env.search(query="Odra"), env.search(query="Grass"), env.answer(answer="Danzig")]
        assert all(words in reply for words, reply in zip(told, replies, strict=True)), replies


# The environments by themselves.


def test_all_tools_that_are_configured_are_offered() -> None:
    environments = environment_factory(**settings(NATIVE, tools="search + open"))
    assert environments.tools == ("search", "open", "answer")
    env = environments()
    env.reset(question_id=QUESTION)
    assert "born in Danzig" in env.search(query="Günter Grass writer")
    assert "born in Danzig" in env.open(document="Günter Grass")
    assert "'page'" in env.open(document="Günter Grass", page="two")
    for method, spec in ((env.search, SEARCH), (env.open, OPEN)):
        told = get_json_schema(method)["function"]
        assert (told["name"], told["description"]) == (spec.name, spec.description)
        assert told["parameters"]["required"] == spec.parameters["required"]
        for name, schema in spec.parameters["properties"].items():
            # What transformers reads from a signature: all but the bounds of numbers.
            assert told["parameters"]["properties"][name] == {
                key: value for key, value in schema.items() if key != "minimum"
            }
    assert not hasattr(environment_factory(**settings(NATIVE))(), "open")


def test_after_the_answer_the_model_is_told_that_all_is_said() -> None:
    env = environment_factory(**settings(NATIVE))()
    env.reset(question_id=QUESTION)
    told = "The answer is given and the episode is over: nothing more is read."
    assert env.answer(answer="Danzig") == told
    assert env.search(query="Grass") == told
    assert env.get_reward() == pytest.approx(1.0)
    env.reset(question_id=QUESTION)
    assert env.rewards == []
    assert "Danzig" in env.search(query="Günter Grass writer")


def test_what_ends_a_run_is_not_told_to_the_model() -> None:
    class Locked:
        def search(self, queries: list[str], k: int) -> list[list[Passage]]:
            raise AccessError("the key is refused")

    env = environment_factory(**settings(NATIVE, search=Locked()))()
    env.reset(question_id=QUESTION)
    with pytest.raises(AccessError):
        env.search(query="Grass")  # TRL tells this to the model, and goes on
    with pytest.raises(AccessError, match="the key is refused"):
        env.get_reward()


def test_names_that_trl_uses_are_no_names_of_tools() -> None:
    class Reset:
        spec = OPEN.__class__("reset", "Begin anew.", SEARCH.parameters)

        def run(self, calls: Any) -> Any:
            return []

    with pytest.raises(SpecError, match="cannot have the name 'reset'"):
        environment_factory(**settings(NATIVE, tools=Reset()))


def test_environments_of_another_kind_are_refused() -> None:
    with pytest.raises(SpecError, match="environment_factory is to be"):
        TurnGRPOTrainer(environment_factory=lambda: None)
    made: Environments = environment_factory(**settings(NATIVE))
    with pytest.raises(SpecError, match="give them to environment_factory"):
        TurnGRPOTrainer(environment_factory=made, tools=[print])
