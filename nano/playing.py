"""The later lessons: transcripts of a pupil, who plays as the expert does and strays, lingers and lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

from igpo_gym.agents.policies.scripted import Knowledge, ScriptedAgent, noisy
from igpo_gym.agents.rollouts.collect import collect
from igpo_gym.data.evidence import found_evidence
from igpo_gym.data.interface import QuestionSet
from igpo_gym.data.world import World, WorldQuestions
from igpo_gym.data.world.generator import Chain
from igpo_gym.data.world.language import RELATIONS, capitalized
from igpo_gym.data.world.oracle import judge_searches, known_hops, retrieved
from igpo_gym.envs.engine import Engine
from igpo_gym.envs.rules import Rules
from igpo_gym.episode import Answer, Episode, Passage, Question
from igpo_gym.lm.policy import Policy
from igpo_gym.protocols import TAGS
from igpo_gym.rewards import PRESETS
from igpo_gym.search import BM25Index, Retriever
from igpo_gym.search.flawed import Flawed
from igpo_gym.tools import Tool, resolve_tools
from nano.presenting import Arranged, Arrangement, stated
from nano.rows import ACT, ANSWER, BELIEF, KEPT, NAMED, PRIOR, TEXT, Encoder, Part, Row

MAX_TURNS = 8
"""Of a transcript; the environment's default is 6."""

_LINGERS = 0.4
"""How often a pupil goes on to search once it has all the evidence."""

_CLAIM = "I think the answer is"


def glimpse_rows(world: World, encode: Encoder, rng: Random, rows: int) -> list[Row]:
    """Chains after all hops but the last, whose last document mostly mentions the answer in passing.

    What makes an intermediate hop inform: the answer is likely to be among the names of the right kind that
    stand beside "See also". In transcripts that is too rare to be discovered.
    """
    asked = replace(world, questions=4 * rows, hops=(2, max(3, world.hops[1])))
    know = Knowledge(QuestionSet("", ()), TAGS)
    out: list[Row] = []
    for question in asked.all_questions():
        if len(out) == rows:
            break
        plan = asked.plan(asked.number(question))
        if not isinstance(plan, Chain):
            continue
        *earlier, last = plan.facts[:-1]
        mentioned = asked.passage(last[0]).text.rpartition("See also")[2]
        if question.answers[0] not in mentioned and rng.random() < 0.6:
            continue
        answer = encode.answer(question.answers[0])
        row = encode.row()
        row.add(encode(TAGS.prompt(question)[-1].text), 0.0, Part.TEXT)
        for fact in (*earlier, last):
            others = rng.sample(range(world.documents), rng.choice((0, 0, 1, 2)))
            passages = [asked.passage(fact[0]), *map(asked.passage, others)]
            rng.shuffle(passages)
            row.add(encode(know.search(asked.lead(*fact), rng)), 0.0, Part.ACT)
            row.add(encode(TAGS.reply_text(TAGS.passages(passages))), TEXT, Part.TEXT)
            weight, part = (ANSWER, Part.GLIMPSE) if fact == last else (BELIEF, Part.BELIEF)
            row.branch(encode.prefix, answer, weight, part)
        out.append(row)
    return out


def pupil(know: Knowledge, episode: Episode, rng: Random, rate: float, lies: float) -> str:
    """The expert, distracted in a share ``rate`` of its turns, that often goes on when it knows enough.

    A share ``lies`` of its thoughts states a wrong answer: as a claim, or as what a search is to have found.
    """
    knows = all(known_hops(episode.question, retrieved(episode)))
    message = noisy(know, episode, rng, max(rate, _LINGERS) if knows else rate)
    _, close, action = message.partition("</think>")
    if not close or "<answer>" in message or rng.random() >= lies:
        return message
    return f"<think>{_lie(know, episode.question, rng)}{close}{action}"


def _lie(know: Knowledge, question: Question, rng: Random) -> str:
    assert isinstance(know.questions, WorldQuestions)
    world = know.questions.world
    plan = world.plan(world.number(question))
    if isinstance(plan, Chain):
        subject, right = plan.facts[-1][0], plan.entities[-1]
        wrong = world.facts.draw(rng, world.entity(right).kind, subject, {right})
    else:
        (wrong,) = (option for option in plan.options if option != plan.answer)
    name = world.entity(wrong).name
    if rng.random() < 0.4:
        return f"{_CLAIM} {name}"
    lead = know.leads(question)[-1]
    fact = f"The {lead.keyword} of {lead.name} is {name}."
    if isinstance(plan, Chain) and rng.random() < 0.5:
        form = rng.choice(RELATIONS[plan.relations[-1]].sentences)
        fact = capitalized(form.format(x=world.entity(subject).phrase, y=world.entity(wrong).phrase))
    return TAGS.reply_text(TAGS.passages([Passage("", lead.name, fact)]))


def play_all(
    policy: Policy, questions: Sequence[Question], tools: Sequence[Tool], max_turns: int = MAX_TURNS
) -> list[Episode]:
    """One episode of the tags protocol for each question, in their order and without beliefs."""
    engine = Engine(TAGS, tuple(tools), PRESETS["outcome-f1"], rules=Rules(max_turns))
    played = {episode.question.id: episode for episode in collect(engine, policy, questions, len(questions))}
    return [played[question.id] for question in questions]


def transcript_rows(
    world: World,
    encode: Encoder,
    rng: Random,
    top_k: Sequence[int],
    brief: float,
    shuffle: float,
    lies: float,
) -> list[Row]:
    """A transcript of each question of a world.

    ``top_k`` are numbers of passages, ``brief`` and ``shuffle`` the shares of transcripts whose documents are
    shortened and out of their ranks, and ``lies`` that of thoughts which lie.
    """
    passages = tuple(world.passages())
    questions = WorldQuestions("", tuple(world.all_questions()), passages, "", world)
    index = BM25Index.build(passages)
    rows = []
    for question in questions.questions:
        arrange = Arrangement(
            stated(world, question), rng, brief=rng.random() < brief, shuffle=rng.random() < shuffle
        )
        retriever: Retriever = Flawed(index, world.flaws) if world.flaws else Arranged(index, arrange)
        names = "search + open" if world.shown else "search"
        tools = resolve_tools(names, retriever=retriever, top_k=rng.choice(top_k), questions=questions)
        script = partial(pupil, rate=rng.choice((0.0, 0.2, 0.4)), lies=lies)
        protocol = TAGS.with_tools(tool.spec for tool in tools)
        agent = ScriptedAgent(script, questions, protocol, seed=rng.randrange(10**6))
        (episode,) = play_all(agent, [question], tools)
        leads = [lead.name for lead in questions.leads(question)]
        rows.append(transcript_row(episode, encode, leads, thoughtless=rng.random() < 0.1))
    return rows


def transcript_row(episode: Episode, encode: Encoder, names: Sequence[str], thoughtless: bool = False) -> Row:
    """An episode as a row: the expert's useful messages are taught, the environment's text a little.

    ``names`` are those that queries should hold.

    After the prompt and after every turn the answer branches off. Where the agent has just wasted a turn the
    branch counts more: a belief must outlast what does not bear on it.
    """
    question, row = episode.question, encode.row()
    answer = encode.answer(question.answers[0])
    row.add(encode(episode.segments[0].text), TEXT, Part.TEXT)
    row.branch(encode.prefix, answer, PRIOR, Part.BELIEF)
    seen: frozenset[str] = frozenset()
    complete = False
    for turn, verdict in zip(episode.turns, judge_searches(episode), strict=True):
        if isinstance(turn.action, Answer):
            if complete:
                row.add(encode.prefix, ACT, Part.ACT)
                row.add(encode(question.answers[0]), ANSWER, Part.ANSWER)
                row.add([*encode.suffix, encode.eos], ACT, Part.ACT)
            break
        taught = verdict == "useful" and not thoughtless and not _lies(turn.message)
        message = turn.message.partition("</think>")[2] if thoughtless else turn.message
        said = encode(message)
        row.add(said, ACT if taught else 0.0, Part.ACT)
        if taught:
            _stress(row, [encode(name) for name in names], len(said))
            row.branch([], [encode.eos], ACT, Part.ACT)
        for reply in turn.segments[1:]:
            row.add(encode(reply.text), TEXT, Part.TEXT)
        seen |= found_evidence(question, turn.passages)
        complete = all(known_hops(question, seen))
        weight = (ANSWER if verdict == "useful" else KEPT) if complete else BELIEF
        part = Part.ANSWER if complete else Part.BELIEF
        row.branch(encode.prefix, answer, weight, part)
    return row


def _lies(message: str) -> bool:
    """Whether a pupil's message states an answer in its thought."""
    return _CLAIM in message or f"<{TAGS.result_tag}>" in message


def _stress(row: Row, names: Sequence[Sequence[int]], last: int) -> None:
    """Raise the weight of names among the row's last tokens."""
    for name in names:
        for start in range(len(row.ids) - last, len(row.ids) - len(name) + 1):
            if row.ids[start : start + len(name)] == name:
                row.weights[start : start + len(name)] = [NAMED] * len(name)
