from __future__ import annotations

import asyncio
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl.experimental.agent_loop.agent_loop", reason="verl is not installed")

import torch
from datasets import Dataset
from hydra import compose, initialize_config_module
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from verl import DataProto
from verl.experimental.agent_loop import AgentLoopWorker
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.ray_trainer import compute_advantage
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils.dataset.rl_dataset import RLHFDataset

from igpo_gym.adapters.tokens import placed_rewards
from igpo_gym.adapters.verl import REGISTERED, check_algorithm, dataset, stop_params
from igpo_gym.adapters.verl.check import agent_loop as agent_loop_entry
from igpo_gym.adapters.verl.check import configuration
from igpo_gym.adapters.verl.published import loop_settings, overrides
from igpo_gym.agents.training.estimators import Split, Turns, resolve_estimator
from igpo_gym.agents.training.recipes import RECIPES
from igpo_gym.errors import SpecError
from igpo_gym.protocols import CHAT
from igpo_gym.rewards import resolve_reward
from tests.adapters.episodes import QUESTION, settings
from tests.adapters.scripted import ScriptedServer, agent_loop
from tests.conftest import REPOSITORY
from tests.lm.tiny import make_model

SCRIPT = [
    "<think>who?</think><search>Günter Grass writer</search>",
    "I do not know.",
    "<answer>Danzig</answer>",
]
ROW = {"extra_info": {"question_id": QUESTION}}


def test_gains_lie_on_first_tokens_and_the_outcome_on_the_last() -> None:
    server = ScriptedServer(SCRIPT)
    output = asyncio.run(agent_loop(server, settings(CHAT)).run({"temperature": 1.0}, **ROW))
    fields = output.as_dict()
    mask, rewards = fields["response_mask"], fields["rm_scores"]
    starts = [place for place in range(len(mask)) if mask[place] and (not place or not mask[place - 1])]
    last = max(place for place in range(len(mask)) if mask[place])
    assert len(starts) == 3
    # The penalty for the second message is part of the outcome.
    assert rewards[starts].tolist() == pytest.approx([2 / 11 - 1 / 10, 0.0, 0.0])
    assert rewards[last].item() == -1.0
    assert output.extra_fields["turn_scores"] == pytest.approx([2 / 11 - 1 / 10, -2.0, 1.0])
    assert rewards.sum().item() == pytest.approx(output.reward_score)
    assert fields["rollout_log_probs"][mask.bool()].tolist() == [-0.5] * int(mask.sum())
    assert server.tokenizer.decode(fields["responses"][mask.bool()]).startswith(SCRIPT[0])
    assert output.extra_fields["reward_extra_info"] == pytest.approx(
        {
            "acc": 1.0,
            "em": 1.0,
            "f1": 1.0,
            "cover_em": 1.0,
            "information_gain": 2 / 11 - 1 / 10,
            "aborted": 0.0,
            "mixed_weights": 0.0,
        }
    )
    assert server.params == {
        "temperature": 1.0,
        "max_tokens": 512,
        "stop": ["</search>", "</answer>"],
        "include_stop_str_in_output": True,
    }


def test_an_episode_that_fills_its_row_loses_no_reward() -> None:
    server = ScriptedServer(["<search>Grass</search>"] * 40)
    output = asyncio.run(agent_loop(server, settings(CHAT, max_turns=50), response_length=300).run({}, **ROW))
    fields = output.as_dict()
    assert 250 < len(fields["responses"]) == len(fields["rm_scores"]) <= 300
    assert fields["rm_scores"][fields["response_mask"].bool()][-1].item() == -2.0
    assert output.extra_fields["turn_scores"][-1] == pytest.approx(-2.0)
    assert fields["rm_scores"].sum().item() == pytest.approx(output.reward_score)


def test_an_episode_whose_row_does_not_show_its_turns_is_aborted(caplog: pytest.LogCaptureFixture) -> None:
    server = ScriptedServer(["", "<answer>Danzig</answer>"])
    server.silent = True
    output = asyncio.run(agent_loop(server, settings(CHAT)).run({}, **ROW))
    fields = output.as_dict()
    assert not fields["response_mask"].any()
    assert not fields["rm_scores"].any()
    assert f"an episode is aborted: the episode '{QUESTION}' has 2 turns and 1 stretches" in caplog.text


@pytest.mark.parametrize(
    ("algorithm", "reward", "problem"),
    [
        ({"use_kl_in_reward": True}, "igpo", r"algorithm\.use_kl_in_reward writes a penalty"),
        (
            {"adv_estimator": "igpo-separate", "rollout_correction": {"rollout_rs": "token_k1"}},
            "igpo",
            r"algorithm\.rollout_correction\.rollout_rs takes rejected tokens out of the mask",
        ),
        ({"adv_estimator": "igpo-separate-last"}, "igpo", "does not pay .* to igpo-separate, not"),
        ({"adv_estimator": "rebn"}, "potential", "pays the last turn a gain: .* to rebn-last, not rebn"),
        ({"adv_estimator": "vine-last"}, "igpo", "vine needs a gain on the last turn"),
        ({"adv_estimator": "rebn-last", "gamma": 0.9}, "potential", r"write potential\(gamma=0\.9\)"),
    ],
)
def test_settings_of_verl_that_do_not_fit_the_reward_are_refused(
    algorithm: dict[str, Any], reward: str, problem: str
) -> None:
    with pytest.raises(SpecError, match=problem):
        check_algorithm(OmegaConf.create(algorithm), resolve_reward(reward))


def test_settings_of_verl_that_fit_are_taken() -> None:
    for name, reward in {"igpo-separate": "igpo", "rebn-last": "potential", "grpo": "igpo"}.items():
        check_algorithm(OmegaConf.create({"adv_estimator": name}), resolve_reward(reward))
    correction = {"rollout_is": "token", "rollout_rs": None}
    algorithm = {"adv_estimator": "igpo-separate", "rollout_correction": correction}
    check_algorithm(OmegaConf.create(algorithm), resolve_reward("igpo"))
    check_algorithm(None, resolve_reward("igpo"))


def test_a_prompt_without_room_is_refused() -> None:
    loop = agent_loop(ScriptedServer([]), settings(CHAT), prompt_length=10)
    with pytest.raises(SpecError, match=r"tokens, but data\.max_prompt_length is 10"):
        asyncio.run(loop.run({}, **ROW))


def float32(value: float) -> float:
    """As verl keeps it; -0 is not a gain of 0, but none."""
    return float(np.float32(value)) + 0.0


episodes = st.lists(
    st.lists(
        st.tuples(st.integers(2, 4), st.integers(1, 3), st.floats(-2, 1).map(float32)), min_size=1, max_size=4
    ),
    min_size=4,
    max_size=4,
)
"""Four episodes; a turn is how many tokens the agent and then the environment wrote, and a number paid."""

WITHOUT_LAST = [name for name in REGISTERED if not resolve_estimator(name).needs_last_gain]


@given(episodes, st.sampled_from(WITHOUT_LAST), st.sampled_from([1.0, 0.9]))
def test_estimators_give_what_they_give_outside_verl(drawn: Any, name: str, gamma: float) -> None:
    width = 40
    # The last row is one that verl pads a batch with.
    mask, rewards = torch.zeros(5, width), torch.zeros(5, width)
    numbers = -np.ones((5, width), dtype=int)
    for row, episode in enumerate(drawn):
        place = 0
        for turn, (own, reply, paid) in enumerate(episode):
            mask[row, place : place + own] = 1
            numbers[row, place : place + own] = turn
            # The last number is the outcome, the others are gains.
            rewards[row, place + own - 1 if turn == len(episode) - 1 else place] = paid
            place += own + reply
    groups = ["a", "a", "b", "b"]
    data = DataProto.from_dict(
        tensors={"token_level_rewards": rewards, "response_mask": mask},
        non_tensors={"uid": np.array([*groups, "pad"], dtype=object)},
    )
    config = OmegaConf.create({"gamma": gamma})
    result = compute_advantage(data, adv_estimator=name, gamma=gamma, config=config).batch["advantages"]
    exact = [[paid for _, _, paid in episode] for episode in drawn]
    splits = [Split(tuple(each[:-1]), each[-1]) for each in exact]
    values = iter(resolve_estimator(name)(Turns.of(splits, groups), gamma))
    assert not result[4].any()
    for row, episode in enumerate(drawn):
        assert not result[row][torch.from_numpy(numbers[row] < 0)].any()
        for turn in range(len(episode)):
            value = next(values)
            assert result[row][torch.from_numpy(numbers[row] == turn)].tolist() == pytest.approx(
                [value] * episode[turn][0], rel=1e-5, abs=1e-6
            )


def test_verl_knows_the_estimators_by_name() -> None:
    assert {"igpo-joint", "igpo-separate", "igpo-scaled", "a2tgpo", "vine"} <= set(REGISTERED)
    assert not {"grpo", "rloo", "gigpo"} & set(REGISTERED)
    for name in REGISTERED:
        assert callable(get_adv_estimator_fn(name))
        assert callable(get_adv_estimator_fn(f"{name}-last"))
    assert get_adv_estimator_fn("grpo").__module__.startswith("verl.")


def test_a_turn_without_a_gain_is_none_of_gain_0_in_verl() -> None:
    """By hand: gains 3 | 0, 3 have mean 2 and std sqrt(2), the outcomes are equal; two turns have no gain."""
    splits = [Split((None, 3.0), 1.0), Split((0.0, 3.0, None), 1.0)]
    mask, rewards = torch.zeros(2, 12), torch.zeros(2, 12)
    for row, own in enumerate(splits):
        for turn in range(own.turns):
            mask[row, 3 * turn : 3 * turn + 2] = 1
        rewards[row] = torch.from_numpy(placed_rewards(mask[row], own, "q"))
    data = DataProto.from_dict(
        tensors={"token_level_rewards": rewards, "response_mask": mask},
        non_tensors={"uid": np.array(["a", "a"], dtype=object)},
    )
    config = OmegaConf.create({"gamma": 0.0})
    result = compute_advantage(data, adv_estimator="igpo-separate", gamma=0.0, config=config).batch
    z = 1 / math.sqrt(2)
    assert result["advantages"][:, ::3].numpy() == pytest.approx(
        np.array([[0, z, 0, 0], [-2 * z, z, 0, 0]]), abs=1e-5
    )


def test_engines_are_told_to_stop_in_their_own_words() -> None:
    assert stop_params("sglang", ("</a>", "</b>")) == {"stop": ["</a>", "</b>"], "no_stop_trim": True}
    assert stop_params("trtllm", ("</a>", "</b>")) == {}


def test_rows_name_their_questions_and_not_their_answers() -> None:
    rows = dataset(**settings(CHAT))
    assert [row["extra_info"]["question_id"] for row in rows] == [
        "q-author",
        "q-birth",
        "q-river",
        "q-writer",
    ]
    assert "Grass" not in str(rows[0])


def test_verl_reads_the_rows_from_a_file(tmp_path: Path) -> None:
    rows = dataset(**settings(CHAT))
    Dataset.from_list(rows).to_parquet(str(tmp_path / "train.parquet"))
    config = OmegaConf.create({"max_prompt_length": 512, "cache_dir": str(tmp_path)})
    tokenizer = ScriptedServer([]).tokenizer
    read = RLHFDataset(data_files=str(tmp_path / "train.parquet"), tokenizer=tokenizer, config=config)
    assert [row["raw_prompt"] for row in read] == [row["prompt"] for row in rows]
    assert [row["extra_info"] for row in read] == [row["extra_info"] for row in rows]
    assert read[0]["agent_name"] == "searchqa"


LOOPS = ("igpo.yaml", "dr_venus.yaml", "grpo.yaml")


def given(loop: str, environment: dict[str, str], folder: Path) -> list[str]:
    """What the launch script hands to verl: it is run with a python that prints its arguments."""
    (folder / "bin").mkdir()
    printing = folder / "bin" / "python"
    printing.write_text(
        "#!/bin/sh\n"
        f'case "$*" in "-m igpo_gym.adapters.verl "*) exec {sys.executable} "$@";; esac\n'
        'printf "%s\\n" "$@"\n'
    )
    printing.chmod(0o755)
    (folder / "data" / "tests" / "nq").mkdir(parents=True)
    (folder / "data" / "manifest.json").touch()
    (folder / "data" / "tests" / "nq" / "train.parquet").touch()
    settings = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        **environment,
    }
    script = [REPOSITORY / "examples" / "verl" / "run.sh", "trainer.total_epochs=2"]
    ran = subprocess.run(
        script,
        env={**os.environ, "DATA": str(folder / "data"), "LOOP": loop, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    module, *overrides = ran.stdout.splitlines()[1:]
    assert module == "verl.trainer.main_ppo"
    return overrides


@pytest.mark.slow
@pytest.mark.parametrize("loop", LOOPS)
def test_verl_takes_what_the_launch_script_gives(loop: str, tmp_path: Path) -> None:
    overrides = given(loop, {"GPUS": "7", "LOGGER": "wandb"}, tmp_path)
    config = configuration(overrides)  # composed and validated by verl
    published = {
        "igpo.yaml": ("igpo-joint", 32, 16, 1.0),
        "dr_venus.yaml": ("igpo-scaled", 16, 8, 0.95),
        "grpo.yaml": ("grpo", 32, 16, 1.0),
    }
    algorithm, rollout, actor = (
        config.algorithm,
        config.actor_rollout_ref.rollout,
        config.actor_rollout_ref.actor,
    )
    assert published[loop] == (
        algorithm.adv_estimator,
        config.data.train_batch_size,
        rollout.n,
        algorithm.gamma,
    )
    assert (actor.optim.lr, actor.kl_loss_coef, actor.use_kl_loss) == (1e-6, 0.001, True)
    assert (actor.clip_ratio_low, actor.clip_ratio_high, actor.ppo_epochs) == (0.2, 0.2, 1)
    assert actor.loss_agg_mode == "token-mean"
    recipe = {"dr_venus.yaml": "dr-venus"}.get(loop, "paper")
    steps = config.data.train_batch_size // actor.ppo_mini_batch_size  # both count questions
    assert steps == RECIPES[recipe].settings["minibatches"]
    assert rollout.max_model_len > config.data.max_prompt_length + config.data.max_response_length
    trainer = config.trainer
    assert trainer.save_freq > 0
    assert trainer.test_freq > 0
    assert (trainer.n_gpus_per_node, trainer.total_epochs, trainer.resume_mode) == (7, 2, "auto")
    assert list(trainer.logger) == ["console", "wandb"]
    data = config.data
    assert str(data.train_files).endswith("train.parquet")
    assert [Path(file).parent.name for file in data.val_files] == ["data", "nq"]
    assert agent_loop_entry(config)["_target_"] == "igpo_gym.adapters.verl.SearchAgentLoop"


def test_a_recipe_says_in_verls_words_what_it_says_in_ours() -> None:
    for name, recipe in RECIPES.items():
        made = dict(line.split("=", 1) for line in overrides(name, {}))
        assert float(made["actor_rollout_ref.actor.optim.lr"]) == recipe.settings["learning_rate"]
        assert made["algorithm.adv_estimator"] == recipe.settings["advantages"]
        chosen, tokens = loop_settings(name, {})
        assert tokens == recipe.settings["max_tokens"]
        assert chosen["reward"] == recipe.settings["reward"]
        assert chosen["protocol"] == "igpo"
        steps = int(made["data.train_batch_size"]) / int(made["actor_rollout_ref.actor.ppo_mini_batch_size"])
        assert steps == recipe.settings["minibatches"]
    assert overrides("paper", {"reward": "potential"})[0] == "algorithm.adv_estimator=igpo-joint-last"


def test_the_answers_metric_is_verls_core_metric_of_each_data_set() -> None:
    """verl's own code sorts the metrics of an agent loop's outputs into val-core and val-aux."""
    infos: dict[str, list[float]] = {"reward": []}
    sources, uids = ["nq", "nq", "bamboogle"], ["a", "b", "c"]
    for answer in ("Danzig", "Cologne", "Danzig"):
        server = ScriptedServer([f"<answer>{answer}</answer>"])
        output = asyncio.run(agent_loop(server, settings(CHAT), {"accuracy": "igpo_f1"}).run({}, **ROW))
        infos["reward"].append(output.reward_score)
        for name, value in output.extra_fields["reward_extra_info"].items():
            infos.setdefault(name, []).append(value)
    told = PPOTrainer._val_metrics_update(SimpleNamespace(), sources, uids, infos, [2, 2, 2])
    core = {name: value for name, value in told.items() if name.startswith("val-core/")}
    assert core == {"val-core/nq/acc/mean@1": 0.5, "val-core/bamboogle/acc/mean@1": 1.0}
    assert told["val-aux/nq/em/mean@1"] == 0.5
    assert {"val-aux/nq/information_gain/mean@1", "val-aux/nq/mixed_weights/mean@1"} <= told.keys()


def test_a_batch_without_gains_raises_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    mask = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 0, 1, 1]])
    outcomes = torch.tensor([[0, 0, 0, 0, 1.0], [0, 0, 0, 0, 0.0]])
    estimate = get_adv_estimator_fn("igpo-separate")
    groups = np.array(["a", "a"], dtype=object)
    estimate(token_level_rewards=outcomes, response_mask=mask, index=groups)
    assert "no turn of a batch has a gain" in caplog.text
    caplog.clear()
    outcomes[0, 0] = 0.1
    estimate(token_level_rewards=outcomes, response_mask=mask, index=groups)
    assert not caplog.text


@pytest.mark.slow
def test_verls_own_worker_plays_episodes(tmp_path: Path) -> None:
    server = ScriptedServer(["<search>capital</search>", "I do not know.", "<answer>x</answer>"])
    server.tokenizer.pad_token = "<|im_end|>"
    server.tokenizer.save_pretrained(tmp_path / "model")
    make_model("llama").save_pretrained(tmp_path / "model")
    world = "world#documents=60,questions=10"
    loops = [
        {
            "name": "searchqa",
            "_target_": "igpo_gym.adapters.verl.SearchAgentLoop",
            "settings": {"questions": world, "scorer": "nano", "max_turns": 4},
        }
    ]
    OmegaConf.save(OmegaConf.create(loops), tmp_path / "loops.yaml")
    changes = {
        "algorithm.adv_estimator": "igpo-separate",
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.model.path": tmp_path / "model",
        "actor_rollout_ref.rollout.agent.agent_loop_config_path": tmp_path / "loops.yaml",
        "actor_rollout_ref.rollout.prompt_length": 256,
        "actor_rollout_ref.rollout.response_length": 1200,
    }
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", [f"{key}={value}" for key, value in changes.items()])
    worker = AgentLoopWorker(config, server)
    rows = dataset(questions=world)[:3]

    def column(name: str) -> np.ndarray:
        values = np.empty(len(rows), dtype=object)
        values[:] = [row[name] for row in rows]
        return values

    batch = DataProto.from_dict(
        tensors={"dummy": torch.zeros(len(rows), 1)},
        non_tensors={
            "agent_name": column("agent_name"),
            "raw_prompt": column("prompt"),
            "extra_info": column("extra_info"),
        },
        meta_info={"global_steps": 1, "validate": False},
    )
    output = asyncio.run(worker.generate_sequences(batch))
    assert output.batch["responses"].shape == (3, 1200)
    sums = [sum(rewards) for rewards in output.non_tensor_batch["turn_scores"]]
    # This worker is that of verl's older trainer, which writes the sum on the last token.
    assert output.batch["rm_scores"].sum(1).tolist() == pytest.approx(sums, rel=1e-5)
    assert len(set(sums)) == 3
