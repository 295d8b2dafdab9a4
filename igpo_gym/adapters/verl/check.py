"""A dry run of what ``run.sh`` starts, on this machine's CPU: a mistake then costs no GPU hours.

    python -m igpo_gym.adapters.verl.check [--small MODEL] OVERRIDES ...

The overrides are those of ``verl.trainer.main_ppo``. verl's own code composes and validates the
configuration, reads the data and loads the tokenizer; the agent loop's index, scorer and judge are tried; a
small model in verl's own vLLM server then plays two episodes on a training question, through verl's worker
and queue, and each turn's reward is looked for in ``token_level_rewards``. A line is printed for each step.
The exit status is 1 where one fails.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import igpo_gym
from igpo_gym.adapters.session import Sessions
from igpo_gym.adapters.tokens import placed_rewards
from igpo_gym.adapters.verl.cpu import small, vllm_server
from igpo_gym.adapters.verl.estimators import check_algorithm
from igpo_gym.adapters.verl.loop import environment_of
from igpo_gym.adapters.verl.rows import asked
from igpo_gym.agents.rollouts.records import read_rollouts
from igpo_gym.episode import Episode
from igpo_gym.errors import SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.names import PACKAGED
from igpo_gym.rewards import RewardFunction, split

EPISODES = 2
READ = 200
"""Of how many questions of a file the prompts are measured."""

_ROLLOUT = "actor_rollout_ref.rollout"


def configuration(overrides: Sequence[str]) -> Any:
    """verl's configuration with these overrides, validated by verl. Raises what verl raises."""
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", list(overrides))
    validate_config(config, need_reference_policy(config), need_critic(config))
    for section in (config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor, config.algorithm):
        omega_conf_to_dataclass(section)
    if not config.trainer.use_v1:
        raise SpecError("trainer.use_v1 must be True: the older trainer sees the sum of an episode's rewards")
    gpus, parallel = (
        config.trainer.n_gpus_per_node,
        config.actor_rollout_ref.rollout.tensor_model_parallel_size,
    )
    if gpus % parallel:
        raise SpecError(
            f"trainer.n_gpus_per_node={gpus} cannot be divided among replicas of "
            f"{_ROLLOUT}.tensor_model_parallel_size={parallel} GPUs"
        )
    return config


def agent_loop(config: Any) -> dict[str, Any]:
    """The entry of the agent loop file that the configuration plays by default."""
    agent = config.actor_rollout_ref.rollout.agent
    loops = OmegaConf.to_container(OmegaConf.load(agent.agent_loop_config_path))
    found: dict[str, Any] = {each["name"]: each for each in loops}
    if agent.default_agent_loop not in found:
        known = ", ".join(found)
        raise SpecError(
            f"{agent.agent_loop_config_path} has no loop {agent.default_agent_loop!r}; it has {known}"
        )
    loop: dict[str, Any] = found[agent.default_agent_loop]
    return loop


def datasets(config: Any, tokenizer: Any) -> dict[str, Any]:
    """verl's training and validation data."""
    from verl.trainer.ppo.utils import create_rl_dataset

    files = {"training": config.data.train_files, "validation": config.data.val_files}
    return {
        name: create_rl_dataset(paths, config.data, tokenizer, None, is_train=name == "training")
        for name, paths in files.items()
    }


def longest_prompt(rows: Sequence[Mapping[str, Any]], sessions: Sessions, framing: Framing) -> int:
    """How many tokens the longest prompt of these rows has."""
    questions = [asked(row, sessions.questions) for row in rows]
    return max(len(framing.ids(episode.segments)) for episode in sessions.engine.begin(questions))


class SeenEpisode(NamedTuple):
    """An episode, and what verl's trainer saw of it."""

    episode: Episode
    mask: Any
    """Boolean, [tokens]: what the policy wrote."""
    rewards: Any
    """``token_level_rewards``, [tokens]."""


def trial(config: Any, loop: Mapping[str, Any], row: dict[str, Any], model: str) -> list[SeenEpisode]:
    """Two episodes on a row's question.

    They are played by the small model in verl's vLLM server, through verl's worker and queue, and verl's
    trainer computes their advantages.
    """
    import ray
    import transfer_queue as tq
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    with tempfile.TemporaryDirectory() as scratch:
        records, loops = Path(scratch, "records"), Path(scratch, "loops.yaml")
        OmegaConf.save(OmegaConf.create([{**loop, "records": str(records), "max_message_tokens": 64}]), loops)
        tried = small(config, model, prompt=2048, response=1536, context=4096, n=EPISODES)
        OmegaConf.update(tried, f"{_ROLLOUT}.agent.agent_loop_config_path", str(loops))
        OmegaConf.update(tried, "transfer_queue.backend.SimpleStorage.num_data_storage_units", 1)
        OmegaConf.update(tried, "algorithm.rollout_correction", None)  # it compares with the actor's numbers
        ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
        try:
            tq.init(tried.transfer_queue)
            with vllm_server(tried) as server:
                # The class behind the Ray actor, in this process, which has the index already.
                worker = AgentLoopWorkerTQ.__ray_metadata__.modified_class(tried, server.client)
                prompt = {**row, "uid": "trial", "global_steps": 0}
                sampling = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "logprobs": True}
                about = {"step": 0, "sample_index": 0, "rollout_n": 0, "validate": False}
                asyncio.run(worker._run_prompt(prompt, sampling, about))
            keys = [f"trial_{attempt}_0" for attempt in range(EPISODES)]
            batch = tq.KVBatchMeta(keys=keys, partition_id="train", tags=[{}] * EPISODES)
            with seen_by_estimator() as seen:
                PPOTrainer._compute_advantage(SimpleNamespace(config=tried), batch, {})
            (data,) = seen
        finally:
            tq.close()
            ray.shutdown()
        episodes = sorted(read_rollouts(next(records.glob("*.jsonl"))), key=lambda each: each.attempt)
    masks, rewards = data.batch["response_mask"].bool().numpy(), data.batch["token_level_rewards"].numpy()
    return [SeenEpisode(*each) for each in zip(episodes, masks, rewards, strict=True)]


@contextmanager
def seen_by_estimator() -> Iterator[list[Any]]:
    """The batches that verl's trainer hands to its advantage estimator within the block."""
    from verl.trainer.ppo.v1 import trainer_base

    compute, seen = trainer_base.compute_advantage_for_multi_trajectories, []

    def watched(data: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(data)
        return compute(data, *args, **kwargs)

    with patch.object(trainer_base, "compute_advantage_for_multi_trajectories", watched):
        yield seen


def check_rewards(plays: Sequence[SeenEpisode], sessions: Sessions) -> None:
    """Raise SpecError where the trainer does not see the rewards of the episodes as they were paid."""
    for episode, mask, rewards in plays:
        expected = placed_rewards(mask, split(episode, sessions.engine.reward), episode.question.id)
        if not np.allclose(rewards, expected, atol=1e-6):
            raise SpecError(f"verl sees {rewards[rewards != 0]} where {expected[expected != 0]} was paid")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", default="nano", metavar="MODEL", help="plays the episodes; default: nano")
    parser.add_argument("overrides", nargs="*", help="as for verl.trainer.main_ppo")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    try:
        check(options.overrides, options.small, lambda line: print(line, flush=True))
    except Exception as problem:  # whatever it is, it would have stopped the run
        print(f"FAILED  {type(problem).__name__}: {' '.join(str(problem).split())}", flush=True)
        return 1
    print(f"passed in {time.perf_counter() - started:.0f} s", flush=True)
    return 0


def check(overrides: Sequence[str], model: str, tell: Callable[[str], None]) -> None:
    """All steps in turn, each told in a line when it has passed. Raises what the first mistake raises."""
    from verl.utils.config import omega_conf_to_dataclass

    config = configuration(overrides)
    trainer, rollout, algorithm = config.trainer, config.actor_rollout_ref.rollout, config.algorithm
    tell(
        f"ok  configuration: {trainer.nnodes} x {trainer.n_gpus_per_node} GPUs train and roll out, "
        f"{config.data.train_batch_size} questions x {rollout.n} episodes, {algorithm.adv_estimator}, "
        f"validation every {trainer.test_freq} steps, a checkpoint every {trainer.save_freq}"
    )
    loop = agent_loop(config)
    environment = environment_of(loop.get("recipe"), loop.get("settings", {}))
    sessions = environment.sessions
    check_algorithm(algorithm, sessions.engine.reward)
    (found,) = _search(sessions, "test")
    shown = sessions.described
    tell(
        f"ok  agent loop: {len(sessions.questions.questions):,} questions, reward {shown['reward']}, scorer "
        f"{environment.scorer or shown['scorer']}, judge {shown['judge'] or 'none'}; a search finds {found} "
        "passages"
    )
    model_config = omega_conf_to_dataclass(config.actor_rollout_ref.model)
    framing = Framing(model_config.tokenizer)
    tell(f"ok  tokenizer of {config.actor_rollout_ref.model.path}: {len(model_config.tokenizer):,} tokens")
    data = datasets(config, model_config.tokenizer)
    for name, rows in data.items():
        longest = longest_prompt([rows[place] for place in range(min(len(rows), READ))], sessions, framing)
        if longest > config.data.max_prompt_length:
            raise SpecError(
                f"a prompt of the {name} data has {longest} tokens, but data.max_prompt_length is "
                f"{config.data.max_prompt_length}"
            )
        sources = Counter(rows.dataframe["data_source"])
        told = ", ".join(f"{source} {count:,}" for source, count in sorted(sources.items()))
        tell(f"ok  {name} data: {told}; longest of the first prompts {longest} tokens")
    plays = trial(config, loop, data["training"][0], _folder(model))
    check_rewards(plays, sessions)
    for play in plays:
        tell(f"ok  {line_of(play, sessions.engine.reward)}")


def line_of(play: SeenEpisode, reward: RewardFunction) -> str:
    """An episode's gains and outcome, and how many tokens carry them."""
    episode, own = play.episode, split(play.episode, reward)
    gains = ["none" if gain is None else f"{gain:.4g}" for gain in own.gains]
    return (
        f"episode {episode.attempt + 1}: {len(episode.turns)} turns, {episode.end}, gains "
        f"[{', '.join(gains)}], outcome {own.outcome:g}: {np.count_nonzero(play.rewards)} of "
        f"{play.mask.sum()} tokens of the policy carry them in token_level_rewards"
    )


def _folder(model: str) -> str:
    """Where the weights of a model are: those of a packaged one, or what is given."""
    return str(Path(igpo_gym.__file__).parent / "models" / model) if model in PACKAGED else model


def _search(sessions: Sessions, query: str) -> list[int]:
    """How many passages a search finds, so that an index or a server that is not there is noticed."""
    retriever = sessions.engine.retriever
    return [0] if retriever is None else [len(found) for found in retriever.search([query], 3)]


if __name__ == "__main__":
    sys.exit(main())
