"""Play an episode as SkyRL's generator does, and write the data set that SkyRL trains on.

pip install -e '.[skyrl]'
python examples/skyrl_gym_episode.py
"""

from __future__ import annotations

import skyrl_gym

from igpo_gym.adapters.skyrl import ENVIRONMENT, dataset
from igpo_gym.episode import Answer
from igpo_gym.protocols import CHAT
from igpo_gym.tools import search_call


def main() -> None:
    """Two searches and an answer."""
    config = {"questions": "world#documents=60,questions=20", "scorer": "nano"}
    row = dataset(**config)[0]
    env = skyrl_gym.make(row["env_class"], env_config=config, extras={"question_id": row["question_id"]})
    messages, _ = env.init(row["prompt"])
    print(f"{ENVIRONMENT}: {messages[-1]['content'].strip()}")
    question = messages[-1]["content"].rpartition("Question: ")[2].strip()
    for act in (search_call(question), search_call(question.split()[-1]), Answer("I give up")):
        step = env.step(CHAT.write(act))
        print(f"reward {step['reward']:+.3f}  done {step['done']}  {step['metadata']['action']}")
    print(env.get_metrics())


if __name__ == "__main__":
    main()
