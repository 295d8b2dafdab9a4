#!/usr/bin/env bash
# IGPO with verl: rollouts and beliefs by vLLM, training by FSDP, all placed by Ray. README.md says what it
# needs. On one node run this file; on several, `ray start` each of them first, with VERL_USE_EXTERNAL_MODULES
# set as below, and run this on the head.
#
#   ./run.sh --check          what is wrong, in minutes, on a CPU
#   ./run.sh [verl overrides ...]
#
# The same command again goes on from the last checkpoint.
set -euo pipefail
cd "$(dirname "$0")"

: "${LOOP:=igpo.yaml}"                  # what is played and paid: igpo.yaml, dr_venus.yaml, grpo.yaml, or yours
: "${MODEL:=Qwen/Qwen2.5-7B-Instruct}"  # the policy
: "${DATA:=data}"                       # where the questions are, as parquet
: "${VALIDATION:=500}"                 # questions of LOOP's sets that are validated on instead of trained on
: "${NAME:=$(basename "$LOOP" .yaml)}"  # of the run: checkpoints/$NAME, and in the logs
: "${GPUS:=8}" "${NODES:=1}"            # that roll out and train; a scorer or judge of your own needs others
: "${PROMPT:=2048}" "${RESPONSE:=16384}"  # tokens of a row: what opens an episode, and all else
: "${LOGGER:=tensorboard}"              # or wandb, swanlab, mlflow: what verl knows

export VERL_USE_EXTERNAL_MODULES=igpo_gym.adapters.verl
export TENSORBOARD_DIR="${TENSORBOARD_DIR:-$PWD/logs/$NAME}"

# Questions to train on and to validate on; DATA/tests may hold other sets to validate on.
questions=$(sed -n 's/^    questions: *//p' "$LOOP" | tr -d '"')
[ -e "$DATA/manifest.json" ] || igpo-gym data prepare "$questions" --format verl --validation-size "$VALIDATION" --out "$DATA"
validation=$(printf '%s,' "$DATA/validation.parquet" $(compgen -G "$DATA/tests/*/train.parquet" || true))

if [ "${1:-}" = --check ]; then
    shift
    start=(python -m igpo_gym.adapters.verl.check)
else
    start=(python -m verl.trainer.main_ppo)
fi

# Batch, group, estimator, learning rate, KL, clip and temperature are those that LOOP's recipe published.
published=$(python -m igpo_gym.adapters.verl "$LOOP")
"${start[@]}" $published \
    data.train_files="$DATA/train.parquet" \
    data.val_files="[${validation%,}]" \
    data.max_prompt_length="$PROMPT" \
    data.max_response_length="$RESPONSE" \
    actor_rollout_ref.model.path="$MODEL" \
    actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=$((PROMPT + RESPONSE + 2048)) \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \
    actor_rollout_ref.rollout.max_model_len=$((PROMPT + RESPONSE + 4096)) \
    actor_rollout_ref.rollout.agent.default_agent_loop=searchqa \
    actor_rollout_ref.rollout.agent.agent_loop_config_path="$(realpath "$LOOP")" \
    trainer.use_v1=True \
    trainer.n_gpus_per_node="$GPUS" \
    trainer.nnodes="$NODES" \
    trainer.total_epochs=1 \
    trainer.save_freq=20 \
    trainer.max_actor_ckpt_to_keep=3 \
    trainer.test_freq=20 \
    trainer.val_before_train=True \
    trainer.resume_mode=auto \
    trainer.default_local_dir="checkpoints/$NAME" \
    trainer.validation_data_dir="validation/$NAME" \
    trainer.project_name=igpo \
    trainer.experiment_name="$NAME" \
    trainer.logger="[console,$LOGGER]" \
    "$@"
