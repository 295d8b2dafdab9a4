#!/usr/bin/env bash
# IGPO with verl: rollouts by vLLM, training by FSDP, all placed by Ray. On one node run this file; on several,
# `ray start` each of them first, with VERL_USE_EXTERNAL_MODULES set as below, and run this on the head.
#
#   MODEL=Qwen/Qwen2.5-7B-Instruct GPUS=8 NODES=1 ./run.sh [verl overrides ...]
#
# Before: edit `settings` in agent_loop.yaml, and start the scorer that it names, for example
#   vllm serve Qwen/Qwen2.5-7B-Instruct --port 8001
set -euo pipefail
cd "$(dirname "$0")"

export VERL_USE_EXTERNAL_MODULES=igpo_gym.adapters.verl
questions=$(sed -n 's/^    questions: //p' agent_loop.yaml)
[ -e data/manifest.json ] || igpo-gym data prepare "$questions" --to verl --validation 500 --out data

# 32 questions a step, 16 rollouts of each, and the learning rate and KL weight that IGPO published.
python -m verl.trainer.main_ppo \
    algorithm.adv_estimator=igpo-separate \
    algorithm.gamma=1.0 \
    data.train_files=data/train.parquet \
    data.val_files=data/validation.parquet \
    data.train_batch_size=32 \
    data.max_prompt_length=1024 \
    data.max_response_length=8192 \
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen2.5-7B-Instruct}" \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.actor.use_kl_loss=True \
    actor_rollout_ref.actor.kl_loss_coef=0.001 \
    actor_rollout_ref.actor.ppo_mini_batch_size=32 \
    actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=16384 \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=16 \
    actor_rollout_ref.rollout.temperature=1.0 \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \
    actor_rollout_ref.rollout.agent.default_agent_loop=searchqa \
    actor_rollout_ref.rollout.agent.agent_loop_config_path="$PWD/agent_loop.yaml" \
    trainer.use_v1=True \
    trainer.n_gpus_per_node="${GPUS:-8}" \
    trainer.nnodes="${NODES:-1}" \
    trainer.total_epochs=1 \
    trainer.project_name=igpo \
    trainer.experiment_name=searchqa \
    trainer.logger='["console"]' \
    "$@"
