"""The Tinker cookbook's rollouts and training data, without its service: three scripted attempts.

    python examples/tinker_search.py

A policy of yours comes in through ``tinker_cookbook.rl.train``: see docs/adapters-llm.md.
"""

import asyncio

from tinker_cookbook.completers import TokenCompleter, TokensWithLogprobs
from tinker_cookbook.rl.rollouts import do_group_rollout
from tinker_cookbook.tokenizer_utils import register_tokenizer

from igpo_gym.adapters.tinker import SearchQADatasetBuilder, assemble_training_data, framing, group_advantages
from igpo_gym.lm.loading import load_model

MODEL = "igpo-gym/nano"  # the packaged model's tokenizer, under a name for the cookbook
register_tokenizer(MODEL, lambda: load_model("nano")[1])


class Scripted(TokenCompleter):
    """Searches for one of the question's last words, another one in each attempt, then answers."""

    def __init__(self):
        self.begun = 0

    async def __call__(self, model_input, stop, *, max_tokens=None):
        """The next message of a transcript."""
        text = framing(MODEL).text(model_input.to_ints())
        message = "<answer>Danzig</answer>"
        if "Doc 1(" not in text:
            self.begun += 1
            words = text.partition("Question:")[2].partition("?")[0].split()
            message = f"<search>{words[-self.begun]}</search>"
        ids = list(framing(MODEL).text_ids(message))
        return TokensWithLogprobs(tokens=ids, maybe_logprobs=[-1.0] * len(ids))


async def main():
    """Play a group and show the advantages that a loss would see."""
    builder = SearchQADatasetBuilder(model_name=MODEL, questions="world", attempts=3, batch_size=1)
    training, _ = await builder()
    group = await do_group_rollout(training.get_batch(0)[0], Scripted())
    advantages = group_advantages([group], "igpo-separate")
    for trajectory, own in zip(group.trajectories_G, advantages[0], strict=True):
        rewards = [transition.reward for transition in trajectory.transitions]
        print("rewards", [round(value, 3) for value in rewards], "advantages", own.round(3).tolist())
    data, _ = assemble_training_data([group], advantages)
    print(f"{len(data)} datums, with an advantage for each token")


if __name__ == "__main__":
    asyncio.run(main())
