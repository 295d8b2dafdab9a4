"""An episode in the tokens of a model that is trained on it, and who wrote each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igpo_gym.agents.exports.selection import Chosen
from igpo_gym.episode import EndReason, Segment

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from igpo_gym.lm.framing import Framing

IGNORED = -100
"""The label of a token that no loss is put on, in torch and in every trainer."""


@dataclass(frozen=True, slots=True)
class Texts:
    """A turn as the two texts that a trainer tokenizes itself."""

    prompt: str
    completion: str
    same: bool
    """Whether the texts, tokenized together, have the ids of the transcript."""
    apart: bool
    """Whether a token ends where the prompt ends. Where none does, a trainer that tokenizes the texts takes
    the end of the prompt for a part of the completion."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokenizes episodes for a model: ids that it sampled as they are, all else segment by segment.

    The token that ends a message is the agent's: it is the decision to stop. It is among the ids that were
    sampled; where a message has none and its role's message ends there, the framing's stands for it.
    """

    tokenizer: PreTrainedTokenizerBase
    framing: Framing

    @classmethod
    def of(cls, model: str | Path) -> Tokens:
        """Of a model, named as everywhere. Raises SpecError where it has no tokenizer that fits."""
        from igpo_gym.lm.framing import Framing
        from igpo_gym.lm.loading import load_tokenizer

        tokenizer = load_tokenizer(model)
        return cls(tokenizer, Framing(tokenizer))

    def row(self, chosen: Chosen) -> dict[str, Any]:
        """The columns ``input_ids``, ``labels`` (-100 on what the agent did not write, and on turns that are
        left out) and, with advantages, ``weights`` (each turn's advantage on its tokens, 0 elsewhere)."""
        ids, turns = self.written(chosen)
        kept = [0, *(turn for turn, keep in enumerate(chosen.kept, 1) if keep)]
        trained = [turn if turn in kept else 0 for turn in turns]
        row: dict[str, Any] = {
            "input_ids": ids,
            "labels": [each if turn else IGNORED for each, turn in zip(ids, trained, strict=True)],
        }
        if chosen.advantages is not None:
            advantages = (0.0, *chosen.advantages)
            row["weights"] = [advantages[turn] for turn in trained]
        return row

    def written(self, chosen: Chosen) -> tuple[list[int], list[int]]:
        """The transcript's ids, and for each the number of the turn whose agent wrote it; 0: nobody."""
        segments = chosen.episode.segments
        ids: list[int] = []
        turns: list[int] = []
        unended = 0
        pieces = self.framing.pieces(segments)
        for segment, number, (seam, own) in zip(segments, chosen.episode.said_in, pieces, strict=True):
            ended = [unended] * len(self.framing.closing(seam))
            unended = number if self.framing.sampled(segment) is None else 0
            ids += (*seam, *own)
            turns += [*ended, *[0] * (len(seam) - len(ended)), *[number] * len(own)]
        if unended and chosen.episode.end is EndReason.ANSWERED:
            end = self.end(segments)
            ids += end
            turns += [unended] * len(end)
        return ids, turns

    def end(self, segments: Sequence[Segment]) -> tuple[int, ...]:
        """What ends the agent's message with which the segments end; empty where nothing does."""
        *_, (seam, _) = self.framing.pieces([*segments, Segment("environment", "user", "")])
        alone = tuple(self.framing.end_ids) if len(self.framing.end_ids) == 1 else ()
        return self.framing.closing(seam) or alone

    def texts(self, past: Sequence[Segment], said: Segment, ends: bool) -> Texts:
        """An agent's message and what stands before it, as texts. ``ends``: its role's message ends there."""
        before = self.framing.ids(past)
        *_, (_, own) = self.framing.pieces([*past, said])
        if ends and self.framing.sampled(said) is None:
            own = (*own, *self.end([*past, said]))
        # A trainer's tokenizer puts its own token in front of a text.
        put = self.tokenizer("", add_special_tokens=True)["input_ids"][:1]
        told = before[1:] if put and list(before[:1]) == put else before
        prompt, completion = self.framing.text(told), self.framing.text(own)
        ids = self.tokenizer(prompt + completion)["input_ids"]
        alone = self.tokenizer(prompt)["input_ids"]
        same = ids[: len(before) + len(own)] == [*before, *own]
        return Texts(prompt, completion, same, ids[: len(alone)] == alone)
