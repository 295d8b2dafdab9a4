"""The answer probe: what is put around a gold answer to ask a language model how likely it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from igpo_gym.errors import SpecError


@dataclass(frozen=True, slots=True)
class AnswerProbe:
    """What stands around a gold answer when a scorer is asked about it (docs/METHOD.md, section 1).

    Prefix, answer and suffix are tokenized as one text, apart from the transcript, so that the answer's
    tokens are those that a model writes there, and the same after any transcript. A prefix best ends with a
    newline, which tokenizers do not join with what follows; with what stands before it many do (``.\\n``).

    >>> probe = AnswerProbe("The answer is ", ".")
    >>> probe.around("Danzig")
    'The answer is Danzig.'
    """

    prefix: str
    suffix: str

    def around(self, answer: str) -> str:
        """The text that the probe makes of an answer."""
        return f"{self.prefix}{answer}{self.suffix}"


OPEN_PROBE = AnswerProbe(
    prefix="\nNow there's enough information to answer\n</think>\n<answer>\n", suffix="\n</answer>"
)
"""The probe of IGPO, for transcripts that end in an open thought."""

ANSWER_PROBE = AnswerProbe(prefix=f"<think>{OPEN_PROBE.prefix}", suffix=OPEN_PROBE.suffix)
"""The same with its thought opened."""


def resolve_probe(probe: AnswerProbe | Mapping[str, str]) -> AnswerProbe:
    """A probe, which may be given by the names of its fields, as JSON holds it. SpecError for anything else.

    >>> resolve_probe({"prefix": "The answer is ", "suffix": "."}).around("Danzig")
    'The answer is Danzig.'
    """
    if isinstance(probe, Mapping) and probe.keys() == {"prefix", "suffix"}:
        probe = AnswerProbe(**probe)
    if not isinstance(probe, AnswerProbe):
        raise SpecError(f"a probe is an AnswerProbe, or its prefix and suffix by name, not {probe!r:.60}")
    return probe
