"""Is a server's answer about the tokens that it was asked about? Asked once, before it is trusted.

The probe is one text with several tokens, in turn, as its end. Whatever the model:

- the server's words for the tokens are the words that were meant, or it has another tokenizer;
- the log-probability of the last token depends on which token it is;
- that of the likeliest last token does not, for it follows the text alone. A server whose entries are shifted
  by one, so that the last is computed from what follows the last token, betrays itself here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from igpo_gym.lm.framing import Framing
from igpo_gym.lm.served import TEXT, letters
from igpo_gym.scorers.prompts import Prompt
from igpo_gym.scorers.wire import Scores

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENDS = (" seven", " the", "Paris", "(", ",", "Q", "42", " is")

NOISE = 0.3
"""By how much one server's log-probability of a token may vary between two batches, in nats."""


def probe(framing: Framing) -> tuple[Prompt, ...]:
    """The probe's prompts; all tokens but the first are asked about."""
    text = framing.text_ids(TEXT)
    ends = dict.fromkeys(framing.text_ids(end)[-1] for end in ENDS)
    return tuple(Prompt((*text, end), len(text)) for end in ends)


def flaw(
    prompts: Sequence[Prompt], scores: Sequence[Scores], tokenizer: PreTrainedTokenizerBase
) -> str | None:
    """What is wrong with a server that answers the probe with ``scores``, or None."""
    for prompt, score in zip(prompts, scores, strict=True):
        texts = [entry.text for entry in score if entry.text is not None]
        meant = str(tokenizer.decode(list(prompt.ids[1:])))
        if len(texts) == len(score) and letters("".join(texts)) != letters(meant):
            return f"its tokenizer is another one: it reads {''.join(texts)!r} where {meant!r} was sent"
    ends = [score[-1] for score in scores]
    if len({entry.log_prob for entry in ends}) == 1:
        return "it gives different tokens the same log-probability: what it scores are not the tokens sent"
    likeliest = [entry.likeliest for entry in ends if entry.likeliest is not None]
    if likeliest and max(likeliest) - min(likeliest) > NOISE:
        return (
            "its log-probabilities are shifted by one token, as those of llama-cpp-python's server are: what "
            "it calls likeliest at the last token depends on the last token"
        )
    return None
