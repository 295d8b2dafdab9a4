"""From a transcript to a fixed number of candidates: the names that an agent can search for or answer with.

Everything here is a function of the question's text and the turns played, never of the gold answer, which no
function of this module is given.

>>> [name for name in names_in("The Tin Drum is a novel of 1959 by Günter Grass. It was filmed in Gdańsk.")]
['Tin Drum', 'Günter Grass', 'Gdańsk']
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import dropwhile

import numpy as np
import numpy.typing as npt

from igpo_gym.data.metrics import normalize
from igpo_gym.episode import ToolCalls, Turn
from igpo_gym.text import neutralize
from igpo_gym.tools import queries as queries_of

CANDIDATE_FEATURES = (
    "filled",  # 1 where the slot holds a name; all features of an empty slot are 0
    "in_question",  # the question names it
    "is_title",  # a passage found has it as its title
    "passages",  # how many of the passages found name it, a fifth each, at most 1
    "in_latest",  # the latest search found it
    "rank",  # 1 / the rank of the best passage of the latest search that names it
    "about_latest",  # it stands in the passage about what was searched last
    "links",  # the fewest links that lead from the question to it, a quarter each, at most 1
    "overlap_early",  # share of the first half of the question's words that stand beside it in one sentence
    "overlap_late",  # the same for the second half, where English puts the first of several hops
    "searched",  # a search for it has worked
    "answer_prob",  # the scorer's length-normalized probability of it as the answer; 0 without a scorer
    "answer_share",  # answer_prob by the sum over all candidates
)
"""What is told of each candidate, each in [0, 1]. The title of a passage is linked with each name in it. A
search that found its backend down counts as none."""

TURN_FEATURES = (
    "turn",  # turns played / turns allowed
    "last_turn",  # whether one turn is left
    "question_words",  # content words of the question, a thirtieth each, at most 1
    "question_names",  # names in the question, a quarter each, at most 1
    "new_passages",  # the share of the latest search's passages that no earlier one found
)
"""What is told of the episode as a whole, each in [0, 1]."""

Features = npt.NDArray[np.float32]

_WORD = re.compile(r"\w+(?:['’.-]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_JOINTS = frozenset({"of", "the", "de", "du", "la", "von", "van", "der"})
"""Small words that may stand within a name, between two capitalized words."""
_OPENERS = frozenset(
    {"also", "although", "many", "may", "name", "one", "see", "since", "tell", "though", "whether", "whose"}
)
"""Words that open sentences and are no names, beside the usual stop words."""
_STEM = 5
"""Words count as the same that agree in so many first letters: "founder" and "founded"."""


@lru_cache(maxsize=1)
def _function_words() -> frozenset[str]:
    """Words that are no name though a sentence begins with them, and that say nothing of what is asked."""
    from bm25s.stopwords import STOPWORDS_EN_PLUS

    return frozenset(STOPWORDS_EN_PLUS) | _OPENERS


def names_in(text: str) -> tuple[str, ...]:
    """The capitalized names in a text, without leading articles, in order and without repeats."""
    runs: list[list[re.Match[str]]] = [[]]
    for word in _WORD.finditer(text):
        run = runs[-1]
        adjoins = bool(run) and text[run[-1].end() : word.start()] == " "
        if run and not adjoins:
            run = []
            runs.append(run)
        if word[0][0].isupper() or (run and word[0] in _JOINTS):
            run.append(word)
        elif run:
            runs.append([])
    names: dict[str, str] = {}
    for run in runs:
        words = list(dropwhile(lambda word: word[0].lower() in _function_words(), run))
        while words and words[-1][0] in _JOINTS:
            del words[-1]
        if words:
            name = text[words[0].start() : words[-1].end()]
            names.setdefault(_key(name), name)
    return tuple(names.values())


def _key(text: str) -> str:
    """What names and queries are compared by: a query is neutralized where it is written."""
    return normalize(neutralize(text))


def _stems(text: str) -> tuple[str, ...]:
    """The beginnings of a text's content words, in order and without repeats."""
    words = (word[0].lower() for word in _WORD.finditer(text))
    return tuple(dict.fromkeys(word[:_STEM] for word in words if word not in _function_words()))


@dataclass(frozen=True, slots=True)
class _Sentence:
    names: tuple[str, ...]
    stems: frozenset[str]


@lru_cache(maxsize=65_536)
def _sentences(text: str) -> tuple[_Sentence, ...]:
    return tuple(
        _Sentence(names_in(sentence), frozenset(_stems(sentence))) for sentence in _SENTENCE_END.split(text)
    )


UNLINKED = 4
"""The links of a name to which none lead from the question: the most that are told apart."""


@dataclass(slots=True)
class _Known:
    """What the transcript tells of one name."""

    name: str
    in_question: bool = False
    is_title: bool = False
    about: bool = False
    """Whether it stands in a passage about the question's names or about what was searched."""
    passages: set[str] = field(default_factory=set)
    links: int = UNLINKED
    """The fewest that lead from a name of the question to it."""
    search: int = 0
    """The latest search that found it, from 1; 0 for none."""
    rank: int = 0
    """The rank, from 1, of the first passage of that search that names it."""
    order: int = 0
    about_search: int = 0
    """The latest search that found it in the passage about what it searched for."""
    overlap: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Candidates:
    """The names that an agent may act on, and what is known of them."""

    names: tuple[str, ...]
    features: Features
    """[slots, CANDIDATE_FEATURES]; the probabilities are 0 until :meth:`with_probabilities`."""
    turn_features: Features
    """[TURN_FEATURES]"""
    searched: tuple[bool, ...]
    """For each name, whether a search for it has worked."""
    question_searched: bool
    """Whether one for the question itself has."""

    def with_probabilities(self, probabilities: Sequence[float]) -> Candidates:
        """The same with the scorer's probability of each name as the answer, in [0, 1]."""
        features = self.features.copy()
        count, column = len(self.names), CANDIDATE_FEATURES.index("answer_prob")
        features[:count, column] = probabilities
        features[:count, column + 1] = features[:count, column] / max(features[:count, column].sum(), 1e-12)
        return Candidates(self.names, features, self.turn_features, self.searched, self.question_searched)


def candidates(question: str, turns: Sequence[Turn], slots: int, max_turns: int) -> Candidates:
    """The candidates after ``turns``, in at most ``slots`` slots.

    First come the names in the question, then those in passages about a name in the question or about
    something that was searched, then all others; within these, what was found last comes first, in order of
    rank and place. So a slot means much the same in every episode.
    """
    # A message that is no action finds nothing, and a search whose backend was down may be tried again.
    searches = [turn for turn in turns if isinstance(turn.action, ToolCalls) and not turn.failed]
    known, searched = _survey(question, searches)
    order = sorted(
        known.items(),
        key=lambda item: (not item[1].in_question, not item[1].about, -item[1].search, item[1].order),
    )[:slots]
    now = len(searches)
    features = np.zeros((slots, len(CANDIDATE_FEATURES)), np.float32)
    for row, (key, one) in enumerate(order):
        latest = one.search == now > 0
        features[row] = (
            1.0,
            one.in_question,
            one.is_title,
            min(len(one.passages) / 5, 1.0),
            latest,
            1 / one.rank if latest else 0.0,
            one.about_search == now > 0,
            min(one.links / UNLINKED, 1.0),
            *one.overlap,
            key in searched,
            0.0,
            0.0,
        )
    return Candidates(
        names=tuple(one.name for _, one in order),
        features=features,
        turn_features=_turn_features(question, len(turns), searches, max_turns),
        searched=tuple(key in searched for key, _ in order),
        question_searched=_key(question) in searched,
    )


def _survey(question: str, searches: Sequence[Turn]) -> tuple[dict[str, _Known], set[str]]:
    """What is known of each name, by its key, and the keys of the queries so far."""
    asked = names_in(question)
    known = {_key(name): _Known(name, in_question=True) for name in asked}
    for order, one in enumerate(known.values()):
        one.order = order
    early, late = _halves(question, asked)
    searched: set[str] = set()
    linked: dict[str, set[str]] = {key: set() for key in known}
    for number, turn in enumerate(searches, 1):
        queries = {_key(query) for query in queries_of(turn.action)}
        searched |= queries
        order = 0
        for rank, passage in enumerate(turn.passages, 1):
            title = _key(passage.title)
            mentions = [(passage.title.strip(), frozenset[str]())] if title else []
            mentions += [(name, s.stems) for s in _sentences(passage.text) for name in s.names]
            hub = title or f"#{passage.id}"  # no key has this sign
            for name, stems in mentions:
                key = _key(name)
                one = known.setdefault(key, _Known(name))
                linked.setdefault(hub, set()).add(key)
                linked.setdefault(key, set()).add(hub)
                one.passages.add(passage.id)
                one.is_title |= key == title
                one.about |= title in queries or (title in known and known[title].in_question)
                one.overlap = (
                    max(one.overlap[0], len(early & stems) / max(len(early), 1)),
                    max(one.overlap[1], len(late & stems) / max(len(late), 1)),
                )
                if title in queries:
                    one.about_search = number
                if one.search < number:
                    order += 1
                    one.search, one.rank, one.order = number, rank, order
    for key, links in _distances([_key(name) for name in asked], linked).items():
        if key in known:
            known[key].links = links
    return known, searched


def _distances(starts: Sequence[str], linked: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """The fewest links from any of the starts to each that they lead to."""
    distances = dict.fromkeys(starts, 0)
    reached = list(starts)
    for key in reached:  # which grows
        for other in linked[key]:
            if other not in distances:
                distances[other] = distances[key] + 1
                reached.append(other)
    return distances


def _halves(question: str, asked: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """The stems of the words that say what the question asks, its names left out: first and second half."""
    named = {stem for name in asked for stem in _stems(name)}
    stems = [stem for stem in _stems(question) if stem not in named]
    middle = (len(stems) + 1) // 2
    return frozenset(stems[:middle]), frozenset(stems[middle:])


def _turn_features(question: str, played: int, searches: Sequence[Turn], max_turns: int) -> Features:
    latest = [passage.id for passage in searches[-1].passages] if searches else []
    before = {passage.id for turn in searches[:-1] for passage in turn.passages}
    return np.array(
        (
            played / max_turns,
            max_turns - played == 1,
            min(len(_stems(question)) / 30, 1.0),
            min(len(names_in(question)) / 4, 1.0),
            sum(passage not in before for passage in latest) / max(len(latest), 1),
        ),
        np.float32,
    )
