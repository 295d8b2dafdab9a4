"""The tool ``gold-evidence``: a search that finds the gold passages of the question, whatever it is asked.

It is for the upper bound of an evaluation, the oracle reader (``oracle:AGENT``), and says so in the settings
of whatever is recorded with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from igpo_gym.data.evidence import require_evidence
from igpo_gym.data.interface import QuestionSet
from igpo_gym.episode import Episode, Passage, ToolCall, ToolResult
from igpo_gym.errors import SpecError
from igpo_gym.search.interface import Retriever, documents_of
from igpo_gym.text import without_credentials
from igpo_gym.tools.interface import ToolSpec
from igpo_gym.tools.searching import SEARCH, call_queries

GOLD_EVIDENCE = "gold-evidence"
"""The tool's name as a setting. The agent sees it as ``search``."""


@dataclass(frozen=True)
class GoldEvidence:
    """Finds the gold passages of each episode's own question, in the order of the hops, and nothing else.

    The passages are those that came with the questions; what is not among them is looked up by its id in a
    ``retriever`` that gives documents. Raises SpecError for a question without gold evidence, and for a
    passage that is found nowhere.

    >>> from igpo_gym.data.world import load_world
    >>> world = load_world("test", hops=2)
    >>> tool, call = GoldEvidence(world), ToolCall("search", {"query": "anything"})
    >>> (result,) = tool.run([(Episode(world.questions[0], ()), call)])
    >>> [[passage.id for passage in found] for found in result.passages] == [[*world.questions[0].evidence]]
    True
    """

    questions: QuestionSet
    retriever: Retriever | None = None
    _passages: dict[str, Passage] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_evidence(f"the tool {GOLD_EVIDENCE!r}", self.questions)
        gold = {id_: question for question in self.questions.questions for id_ in question.evidence}
        found = {passage.id: passage for passage in self.questions.passages if passage.id in gold}
        documents = documents_of(self.retriever)
        if documents is not None and (missing := [id_ for id_ in gold if id_ not in found]):
            found |= {passage.id: passage for pages in documents(missing) for passage in pages}
        for id_, question in gold.items():
            if id_ not in found:
                raise SpecError(
                    f"the evidence {id_!r} of question {question.id!r} is among neither the passages of "
                    f"{without_credentials(self.questions.name)!r} nor those of search=; give search= an "
                    "index that has it"
                )
        object.__setattr__(self, "_passages", {id_: found[id_] for id_ in gold})

    @property
    def spec(self) -> ToolSpec:
        """What the agent is told: that of a search."""
        return SEARCH

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        """The gold passages of each call's episode, for each of its queries."""
        return [
            ToolResult(passages=(self._gold(episode),) * len(call_queries(call))) for episode, call in calls
        ]

    def _gold(self, episode: Episode) -> tuple[Passage, ...]:
        return tuple(self._passages[id_] for id_ in episode.question.evidence)
