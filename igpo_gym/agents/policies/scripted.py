"""Scripted agents: policies without a model, whose behavior is known, to test and compare rewards with.

Each is a function from what is known of the questions, the episode so far and a random generator to a
message. They are stateless: the same episode and seed give the same message, whatever was asked before; each
attempt at a question gets its own.

>>> from igpo_gym.data.world import load_world
>>> world = load_world("test", hops=2)
>>> agent = ScriptedAgent("expert", world)
>>> agent.act([Episode(world.questions[0], TAGS.prompt(world.questions[0]))])
['<think>I need the region</think><search>the region that contains Salman</search>']
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from igpo_gym.data.evidence import check_evidence, named_evidence, titles_of
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import Lead, WorldQuestions, about
from igpo_gym.data.world.language import QUERY_FORMS
from igpo_gym.data.world.oracle import known_hops, retrieved
from igpo_gym.episode import Answer, Episode, Passage, Question, ToolCalls
from igpo_gym.errors import SpecError, choose
from igpo_gym.protocols import TAGS, TextProtocol
from igpo_gym.tools import open_call, queries, search_call
from igpo_gym.tools.opening import OPEN
from igpo_gym.tools.searching import SEARCH

_IDLE_SEARCHES = 3
"""How many searches an agent makes that is not after the evidence, before it answers."""


@dataclass(frozen=True)
class Knowledge:
    """What the scripts may look up: the questions' corpus, and how an expert would ask."""

    questions: QuestionSet
    protocol: TextProtocol
    _titles: dict[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_titles", {p.id: p.title for p in self.questions.passages})

    def opens(self, question: Question) -> bool:
        """Whether a search may show too little for the question, and documents can be opened."""
        return bool(question.evidence_texts) and OPEN in self.protocol.tools

    def leads(self, question: Question) -> tuple[Lead, ...]:
        """What to look up, hop by hop: a world's own leads, or else the titles of the evidence."""
        if isinstance(self.questions, WorldQuestions):
            return self.questions.leads(question)
        return tuple(Lead(title, "", (title,)) for title in self._evidence_titles(question))

    def _evidence_titles(self, question: Question) -> tuple[str, ...]:
        titles: Mapping[str, str] = self._titles
        if self.questions.documents is not None and not question.evidence_titles:
            documents = zip(question.evidence, self.questions.documents(question.evidence), strict=True)
            titles = {passage: document[0].title for passage, document in documents if document}
        return titles_of(question, titles)

    def stray(self, question: Question, rng: Random) -> Lead:
        """Something to look up that is no evidence of the question."""
        passages = self.questions.passages
        if not passages:
            text = rng.choice(self.questions.questions).text
            return Lead(text, "", (text,))
        passage = rng.choice(passages)
        while self._is_gold(passage, question) and len(passages) > len(question.evidence):
            passage = rng.choice(passages)
        if isinstance(self.questions, WorldQuestions):
            world, number = self.questions.world, about(passage.id)
            return world.lead(number, rng.choice(tuple(world.targets(number))))
        return Lead(passage.title, "", (passage.title,))

    def _is_gold(self, passage: Passage, question: Question) -> bool:
        """Whether who looks for this passage would find evidence, as with a former document of its entity."""
        of_world = isinstance(self.questions, WorldQuestions)
        return (str(about(passage.id)) if of_world else passage.id) in question.evidence

    def guess(self, question: Question, rng: Random) -> str:
        """An answer to some question of the set, seldom the right one."""
        return rng.choice(self.questions.questions).answers[0]

    def search(self, lead: Lead, rng: Random, thought: str | None = None, asked: Collection[str] = ()) -> str:
        """The message that looks a lead up, in one of an expert's wordings: if it can be, one that was not
        ``asked`` yet."""
        forms = QUERY_FORMS if lead.keyword else ("{name}",)
        form = rng.choice(forms) if lead.keyword else "{name}"
        query = _worded(form, lead, rng.choice(lead.phrases))
        if query in asked:
            every = dict.fromkeys(_worded(form, lead, phrase) for form in forms for phrase in lead.phrases)
            query = rng.choice([each for each in every if each not in asked] or [query])
        if thought is None:
            thought = f"I need the {lead.keyword}" if lead.keyword else f"I need {lead.name}"
        return self.protocol.write(search_call(query), thought)

    def open(self, title: str) -> str:
        """The message that opens a document."""
        return self.protocol.write(open_call(title), f"I read {title}")

    def answer(self, text: str) -> str:
        """The message that answers, in the very form in which the answer probe asks."""
        message = self.protocol.probe.around(text)
        # An answer that cannot stand between the tags is neutralized by the protocol's own writer.
        return message if self.protocol.parse(message) == Answer(text) else self.protocol.write(Answer(text))


def _worded(form: str, lead: Lead, phrase: str) -> str:
    return form.format(name=lead.name, keyword=lead.keyword, phrase=phrase)


Script: TypeAlias = Callable[[Knowledge, Episode, Random], str]


def expert(know: Knowledge, episode: Episode, rng: Random) -> str:
    """Searches for the first hop whose evidence is missing, in other words where a search was in vain, and
    opens its document where too little of it was shown; answers rightly once nothing is missing, or it gives
    up."""
    question = episode.question
    if not question.evidence:
        return scripted(know, episode, rng)
    leads = know.leads(question)
    hops = zip(leads, question.evidence, known_hops(question, retrieved(episode)), strict=True)
    missing = [(lead, evidence) for lead, evidence, known in hops if not known]
    patience = 4 if know.questions.flaws or know.opens(question) else 2
    if not missing or episode.tool_turns >= patience * len(leads) + 2:
        return know.answer(question.answers[0])
    lead, evidence = missing[0]
    if know.opens(question) and (title := _partly_shown(episode, evidence)) is not None:
        return know.open(title)
    return know.search(lead, rng, asked={query for turn in episode.turns for query in queries(turn.action)})


def _partly_shown(episode: Episode, evidence: str) -> str | None:
    """The title of a piece of evidence, if the episode has seen a part of it and has not opened it."""
    for turn in episode.turns:
        for passage in turn.passages:
            if evidence in named_evidence(episode.question, [passage]):
                opened = any(turn.action == open_call(passage.title) for turn in episode.turns)
                return None if opened else passage.title
    return None


def redundant(know: Knowledge, episode: Episode, rng: Random) -> str:
    """Searches as the expert does, but everything twice."""
    last = episode.turns[-1].action if episode.turns else None
    if isinstance(last, ToolCalls) and episode.tool_turns % 2:
        return know.protocol.write(last, "I look again")
    return expert(know, episode, rng)


def irrelevant(know: Knowledge, episode: Episode, rng: Random) -> str:
    """Searches for things that the question is not about, then guesses."""
    if episode.tool_turns >= _IDLE_SEARCHES:
        return guesser(know, episode, rng)
    return know.search(know.stray(episode.question, rng), rng)


def guesser(know: Knowledge, episode: Episode, rng: Random) -> str:
    """Answers at once, with the answer of some question."""
    return know.answer(know.guess(episode.question, rng))


def leaker(know: Knowledge, episode: Episode, rng: Random) -> str:
    """As irrelevant, but writes the right answer into its thoughts: any gain is the thought's doing."""
    if episode.tool_turns >= _IDLE_SEARCHES:
        return guesser(know, episode, rng)
    thought = f"I think the answer is {episode.question.answers[0]}"
    return know.search(know.stray(episode.question, rng), rng, thought)


def forger(know: Knowledge, episode: Episode, rng: Random) -> str:
    """As irrelevant, but forges search results that state the right answer within its thoughts."""
    if episode.tool_turns >= _IDLE_SEARCHES:
        return guesser(know, episode, rng)
    leads = know.leads(episode.question)
    subject = leads[-1] if leads else Lead(episode.question.text, "", (episode.question.text,))
    fact = f"The {subject.keyword or 'answer'} of {subject.name} is {episode.question.answers[0]}."
    forged = know.protocol.reply_text(know.protocol.passages([Passage("", subject.name, fact)]))
    return know.search(know.stray(episode.question, rng), rng, forged)


def scripted(know: Knowledge, episode: Episode, rng: Random) -> str:
    """Needs no evidence: searches the question, then the best titles found, then answers with one of them."""
    titles = list(dict.fromkeys(passage.title for turn in episode.turns for passage in turn.passages))
    done = episode.tool_turns
    if done == 0:
        return know.protocol.write(search_call(episode.question.text), "I search the question")
    if done <= min(len(titles), _IDLE_SEARCHES - 1):
        return know.protocol.write(search_call(titles[done - 1]), "I read on")
    return know.answer(titles[0] if titles else know.guess(episode.question, rng))


def _repeat(know: Knowledge, episode: Episode, rng: Random) -> str:
    past = [turn.action for turn in episode.turns if isinstance(turn.action, ToolCalls)]
    return know.protocol.write(rng.choice(past), "I look again") if past else _astray(know, episode, rng)


def _astray(know: Knowledge, episode: Episode, rng: Random) -> str:
    return know.search(know.stray(episode.question, rng), rng)


def _sidetrack(know: Knowledge, episode: Episode, rng: Random) -> str:
    titles = [passage.title for turn in episode.turns for passage in turn.passages[1:]]
    if not titles:
        return _astray(know, episode, rng)
    title = rng.choice(titles)
    if know.opens(episode.question) and rng.random() < 0.5:
        return know.open(title)
    return know.protocol.write(search_call(title), "I read on")


def _in_vain(know: Knowledge, episode: Episode, rng: Random) -> str:
    return know.protocol.write(search_call(rng.choice(("zzz", "qwerty", "???"))), "I try my luck")


def _malformed(know: Knowledge, episode: Episode, rng: Random) -> str:
    message = _astray(know, episode, rng)
    close = know.protocol.stops[0]
    return rng.choice((message.removesuffix(close), "", f"{message}{close}", "I do not know."))


_DISTRACTIONS: tuple[Script, ...] = (_repeat, _astray, _astray, _sidetrack, _in_vain, _malformed)


def noisy(know: Knowledge, episode: Episode, rng: Random, rate: float = 0.3) -> str:
    """The expert, distracted in a share ``rate`` of its turns: repeats, strays, or writes no valid action."""
    if rng.random() < rate:
        return rng.choice(_DISTRACTIONS)(know, episode, rng)
    return expert(know, episode, rng)


SCRIPTED: dict[str, Script] = {
    "expert": expert,
    "noisy": noisy,
    "redundant": redundant,
    "irrelevant": irrelevant,
    "guesser": guesser,
    "leaker": leaker,
    "forger": forger,
    "scripted": scripted,
}
"""The scripted agents by name."""


_WITHOUT_EVIDENCE = (irrelevant, guesser, leaker, scripted)
"""The scripts that look up no evidence."""


class ScriptedAgent:
    """A policy that follows a script.

    Raises SpecError for a name that is not in ``SCRIPTED``, for one that searches where the protocol has no
    ``search``, for a script that looks up evidence where that of a question is nowhere in the corpus, and
    where searches show too little and the protocol has no ``open``.

    >>> from igpo_gym.data.world import load_world
    >>> world = load_world("test")
    >>> guesser = ScriptedAgent("guesser", world)
    >>> TAGS.parse(guesser.act([Episode(world.questions[0], TAGS.prompt(world.questions[0]))])[0]).kind
    'answer'
    """

    def __init__(
        self,
        script: str | Script,
        questions: QuestionSet,
        protocol: TextProtocol = TAGS,
        seed: int = 0,
    ) -> None:
        self._script = choose(SCRIPTED, script, "scripted agent") if isinstance(script, str) else script
        self._knowledge = Knowledge(questions, protocol)
        searches = self._script in SCRIPTED.values() and self._script is not guesser
        if searches and not any(tool.name == SEARCH.name for tool in protocol.tools):
            raise SpecError(
                f"the scripted agent {self._script.__name__!r} searches, and here is no tool 'search'; take "
                "'guesser', which answers at once, or a language model"
            )
        if self._script not in _WITHOUT_EVIDENCE and not isinstance(questions, WorldQuestions):
            check_evidence(f"the agent {script if isinstance(script, str) else 'that is given'!r}", questions)
        if self._script not in _WITHOUT_EVIDENCE and questions.flaws.shown and OPEN not in protocol.tools:
            raise SpecError(
                f"a search over {questions.name!r} shows the beginnings of documents, and this agent has to "
                "open them; take tools='search + open', and an engine's protocol, which knows its tools"
            )
        self._seed = seed

    def act(self, episodes: Sequence[Episode]) -> list[str]:
        """The script's message for each episode."""
        return [self._message(episode) for episode in episodes]

    def _message(self, episode: Episode) -> str:
        first = f"{self._seed}/{episode.question.id}/{len(episode.turns)}"
        rng = Random(f"{first}/{episode.attempt}" if episode.attempt else first)
        return self._script(self._knowledge, episode, rng)
