"""Play episodes in a vector environment of GEM, whose threads share forward passes of the scorer.

pip install -e '.[gem]'
python examples/gem_vector.py
"""

from __future__ import annotations

from typing import Any

import gem

import igpo_gym.adapters.gem  # noqa: F401  (registers the environments)
from igpo_gym.episode import Answer
from igpo_gym.protocols import TAGS
from igpo_gym.tools import search_call


def message(question: str, info: dict[str, Any]) -> str:
    """Search for the question, then for the first title found, then answer with the second."""
    titles = info.get("passage_titles") or ("",)
    acts = (search_call(question), search_call(titles[0]), Answer(titles[-1]))
    return TAGS.write(acts[info["turn"]])


def main() -> None:
    """Play eight episodes side by side."""
    envs = gem.make_vec(["qa:SearchQA-IGPO-v0"] * 8, async_mode=True, seed=0)
    prompts, infos = envs.reset(seed=0)
    questions = [prompt.rpartition("Question: ")[2].strip() for prompt in prompts]
    for turn in range(1, 4):
        messages = [message(question, info) for question, info in zip(questions, infos, strict=True)]
        _, rewards, terminated, _, infos = envs.step(messages)
        print(f"turn {turn}: rewards {rewards.round(3).tolist()}, ended {int(terminated.sum())} of 8")


if __name__ == "__main__":
    main()
