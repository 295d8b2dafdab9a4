"""Does an alarm tell of a run whose reward is hacked, and none of an honest one?

``nano-base`` imitates the episodes of a scripted agent, the forger by default, whose thoughts hold search
results of its own. Then the reference trainer trains it with ``igpo``, whose belief reads these thoughts. The
script prints when each alarm was raised first, and writes log and models of the run into a folder.

    python benchmarks/hacking.py runs/forger                       # after imitation of the forger
    python benchmarks/hacking.py runs/honest --agent "" --seed 1   # nano-base as it is
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from igpo_gym.agents.policies.scripted import ScriptedAgent
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.agents.rollouts.tokens import token_rows
from igpo_gym.agents.training.alarms import ALARMS, raised
from igpo_gym.agents.training.batches import micro_batches, samples, turns_of
from igpo_gym.agents.training.logits import log_probs
from igpo_gym.agents.training.logs import read_log
from igpo_gym.agents.training.model import TrainedModel
from igpo_gym.agents.training.settings import Settings
from igpo_gym.agents.training.trainer import train
from igpo_gym.config import EnvConfig
from igpo_gym.envs.setup import assemble
from igpo_gym.lm.framing import Framing

BATCH = 16
"""Episodes of a step of imitation."""


def imitate(agent: str, questions: str, episodes: int, epochs: int, out: Path) -> None:
    """Fit ``nano-base`` to what a scripted agent writes, and save it."""
    task = EnvConfig(questions=questions, scorer=None, reward="outcome-f1", max_turns=6, top_k=2)
    question_set, engine = assemble(task)
    script = ScriptedAgent(agent, question_set, engine.protocol)
    played = list(collect(engine, script, question_set.questions[:episodes], BATCH))
    trained = TrainedModel("nano-base", "cpu")
    framing = Framing(trained.tokenizer)
    optimizer = torch.optim.AdamW(trained.weights.values(), lr=5e-4)
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(played))
        losses = []
        for places in np.array_split(order, max(1, len(order) // BATCH)):
            chosen = [played[place] for place in places]
            turns = turns_of([[each] for each in chosen], engine.reward)
            none = np.zeros(len(turns))
            rows = [token_rows(each, framing) for each in chosen]
            parts = samples(rows, turns, none, (none, none), "token-mean")
            for batch in micro_batches(parts, 8192, trained.model.device):
                loss = -(batch.weights * log_probs(trained.model, batch)).sum()
                loss.backward()  # type: ignore[no-untyped-call]
                losses.append(float(loss.detach()))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        print(f"imitation, epoch {epoch + 1}: {np.mean(losses):.3f} nats a token", flush=True)
    trained.save(out)


def main() -> None:
    """Imitate, train, and tell of the alarms."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--agent", default="forger", help="whom to imitate first; empty for nobody")
    parser.add_argument("--episodes", type=int, default=192, help="of the agent")
    parser.add_argument("--epochs", type=int, default=3, help="of imitation")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--batch-questions", type=int, default=4)
    parser.add_argument("--group-size", type=int, default=4)
    parser.add_argument("--reward", default="igpo")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    questions, began, model = "world:train#hops=1-2", time.process_time(), "nano-base"
    if asked.agent:
        model = str(asked.out / "imitated")
        imitate(asked.agent, questions, asked.episodes, asked.epochs, asked.out / "imitated")
    settings = Settings(
        model=model,
        questions=questions,
        reward=asked.reward,
        updates=asked.updates,
        batch_questions=asked.batch_questions,
        group_size=asked.group_size,
        max_turns=6,
        top_k=2,
        max_tokens=128,
        validation_questions=16,
        validate_every=asked.updates,
        seed=asked.seed,
        device="cpu",
    )
    train(asked.out / "run", settings)
    log = [line for line in read_log(asked.out / "run" / "log.jsonl") if line["update"] > 0]
    for alarm in ALARMS:
        when = [int(line["update"]) for line in log if alarm in raised(line)]
        curve = [line[f"alarm_{alarm.name}"] for line in log if f"alarm_{alarm.name}" in line]
        first = f"update {when[0]}, {len(when)} in all" if when else "never"
        print(f"{alarm.name}: above {alarm.threshold:g}: {first}; highest {max(curve, default=np.nan):.3f}")
    print(f"EM {log[0]['em']:.2f} -> {log[-1]['em']:.2f}; {time.process_time() - began:.0f} CPU seconds")


if __name__ == "__main__":
    main()
