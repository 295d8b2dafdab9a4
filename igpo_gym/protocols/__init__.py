"""The text protocols: how the agent is prompted, how it acts, and how the environment replies.

A protocol is data: two instructions, two tags, and how queries are written between them. Thoughts
(``<think>``) and answers (``<answer>``) are the same in all of them.

>>> TAGS.parse("<think>who wrote it?</think><search>author of The Tin Drum</search>")
Search(queries=('author of The Tin Drum',))
>>> TAGS.parse("<answer>Günter Grass</answer>")
Answer(text='Günter Grass')
>>> TAGS.parse("It was Grass.").reason
'no action: the message has no <search> or <answer> block'
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from igpo_gym import specs
from igpo_gym.episode import Action, Answer, Invalid, Passage, Question, Role, Search, Segment
from igpo_gym.text import neutralize, well_formed

MAX_QUERIES = 16
"""How many queries one search may carry: more is a runaway agent, and would stall the batch it is in."""


@dataclass(frozen=True, slots=True)
class AnswerProbe:
    """What is put around a gold answer to ask a language model how likely it is (METHOD: section 1).

    Prefix, answer and suffix are tokenized apart, so that the answer's tokens are the same after any
    transcript.
    """

    prefix: str
    suffix: str


ANSWER_PROBE = AnswerProbe(
    prefix="<think>\nNow there's enough information to answer\n</think>\n<answer>\n", suffix="\n</answer>"
)


@dataclass(frozen=True, slots=True)
class TextProtocol:
    """A grammar for multi-turn search in text. ``parse`` and ``write`` are inverses of each other."""

    name: str
    system: str
    """The system message, or empty for none."""
    user: str
    """The first user message, with ``{question}`` in it."""
    search_tag: str
    result_tag: str
    reply_role: Role
    """Whose message the environment's reply belongs to: the agent's own (inline) or the user's."""
    read_queries: Callable[[str], tuple[str, ...]]
    """Content of a search block to queries; raises ValueError in words that teach the agent."""
    write_queries: Callable[[tuple[str, ...]], tuple[str, ...]]
    """Queries to the contents of one or more search blocks."""
    probe: AnswerProbe = ANSWER_PROBE

    @property
    def stops(self) -> tuple[str, str]:
        """The tags that close an action: after one of them the agent has nothing more to say."""
        return f"</{self.search_tag}>", "</answer>"

    def cut(self, text: str) -> str:
        """The text up to the end of its first tag that closes an action; all of it where there is none."""
        ends = [text.index(stop) + len(stop) for stop in self.stops if stop in text]
        return text[: min(ends)] if ends else text

    def prompt(self, question: Question) -> tuple[Segment, ...]:
        """The segments that open an episode. They hold nothing of the gold answer."""
        user = Segment("environment", "user", self.user.replace("{question}", neutralize(question.text)))
        return (Segment("environment", "system", self.system), user) if self.system else (user,)

    def parse(self, message: str) -> Action:
        """The action in an agent's message. Total: any string gives an action, none raises.

        A message is an optional thought, optional text without blocks, and either search blocks or one
        answer. ``</think>`` without its opening is allowed, since some chat templates open the thought.
        """
        try:
            return self._action(self._blocks(self._without_thought(message)))
        except ValueError as problem:
            return Invalid(str(problem))

    def _without_thought(self, message: str) -> str:
        thought, closing, rest = message.partition("</think>")
        before, opening, _ = thought.partition("<think>")
        if opening and any(f"<{tag}>" in before for tag in (self.search_tag, "answer")):
            raise ValueError("the thought comes before the action")
        if opening and not closing:
            raise ValueError("<think> is never closed with </think>")
        return rest if closing else thought

    def _blocks(self, text: str) -> list[tuple[str, str]]:
        """The action blocks of a message, as pairs of tag and content. ValueError says what is wrong."""
        blocks: list[tuple[str, str]] = []
        open_tag, start, end = "", 0, 0
        for tag in _tags(self.search_tag, self.result_tag).finditer(text):
            closes, name = bool(tag[1]), tag[2]
            if name == self.result_tag:
                raise ValueError(f"only the environment writes {name}; stop after your action")
            if name == "think":
                raise ValueError("only one thought a message, and nothing else stands in it")
            if open_tag and not (closes and name == open_tag):
                break
            if closes and not open_tag:
                raise ValueError(f"</{name}> without <{name}>")
            if closes:
                blocks.append((name, text[start : tag.start()].strip()))
                open_tag, end = "", tag.end()
            elif blocks and text[end : tag.start()].strip():
                raise ValueError("text after the action; stop after your action")
            else:
                open_tag, start = name, tag.end()
        if open_tag:
            raise ValueError(f"<{open_tag}> is not closed with </{open_tag}> before any other tag")
        if not blocks:
            raise ValueError(f"no action: the message has no <{self.search_tag}> or <answer> block")
        if text[end:].strip():
            raise ValueError("text after the action; stop after your action")
        return blocks

    def _action(self, blocks: Sequence[tuple[str, str]]) -> Action:
        names = {name for name, _ in blocks}
        if "answer" in names:
            if len(blocks) > 1:
                raise ValueError("one action a message: search or answer, and only one answer")
            text = well_formed(blocks[0][1])
            if not text:
                raise ValueError("<answer> is empty")
            return Answer(text)
        queries = tuple(
            query
            for _, content in blocks
            for text in self.read_queries(content)
            if (query := well_formed(text))
        )
        if not queries:
            raise ValueError("the search has no query")
        if len(queries) > MAX_QUERIES:
            raise ValueError(f"a search takes at most {MAX_QUERIES} queries, not {len(queries)}")
        return Search(queries)

    def write(self, action: Search | Answer, thought: str = "") -> str:
        """The message that does ``action``, as an agent of this protocol writes it.

        Queries and answers are neutralized, so that they cannot close their own block.
        """
        head = f"<think>{thought}</think>" if thought else ""
        if isinstance(action, Answer):
            return f"{head}<answer>{neutralize(action.text)}</answer>"
        contents = self.write_queries(tuple(neutralize(query) for query in action.queries))
        return head + "".join(f"<{self.search_tag}>{text}</{self.search_tag}>" for text in contents)

    def reply(self, body: str) -> Segment:
        """The environment's reply as a segment. It ends with a newline, where tokenizers do not merge."""
        block = f"<{self.result_tag}>\n{body}\n</{self.result_tag}>\n"
        inline = self.reply_role == "assistant"
        return Segment("environment", self.reply_role, f"\n{block}" if inline else block)

    def passages(self, passages: Sequence[Passage]) -> str:
        """The body of a reply that shows passages (the form of Search-R1)."""
        if not passages:
            return "No passage was found."
        documents = (f"Doc {rank}(Title: {p.title}) {p.text}" for rank, p in enumerate(passages, 1))
        return neutralize("\n".join(documents))

    def unavailable(self) -> str:
        """The body of a reply to a search that the backend could not serve."""
        return "Search is unavailable at the moment. Try again, or answer with what you know."

    def invalid(self, reason: str) -> str:
        """The body of a reply to an invalid message."""
        search, answer = self.write(Search(("query",))), self.write(Answer("answer"))
        return f"Invalid message: {reason}. Write {search} to search or {answer} to answer."


@cache
def _tags(search_tag: str, result_tag: str) -> re.Pattern[str]:
    return re.compile(rf"<(/?)({search_tag}|answer|{result_tag}|think)>")


def _one_query(content: str) -> tuple[str, ...]:
    if not content:
        raise ValueError("<search> is empty")
    return (content,)


def _json_queries(content: str) -> tuple[str, ...]:
    form = '{"name": "search", "arguments": {"query": ["first query", "second query"]}}'
    try:
        call = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"<tool_call> does not hold valid JSON; write {form}") from None
    if not isinstance(call, dict) or call.get("name") != "search":
        raise ValueError(f'the only tool is "search"; write {form}')
    arguments = call.get("arguments")
    query = arguments.get("query") if isinstance(arguments, dict) else None
    queries = [query] if isinstance(query, str) else query
    if not isinstance(queries, list) or not queries:
        raise ValueError(f'"query" must be a text or a list of texts; write {form}')
    if not all(isinstance(text, str) and text.strip() for text in queries):
        raise ValueError(f"every query must be a text that is not empty; write {form}")
    return tuple(text.strip() for text in queries)


def _json_call(queries: tuple[str, ...]) -> tuple[str, ...]:
    query = queries[0] if len(queries) == 1 else list(queries)
    call = {"name": "search", "arguments": {"query": query}}
    return (json.dumps(call, ensure_ascii=False),)


TAGS = TextProtocol(
    name="tags",
    system="",
    user=(
        "Answer the question. Think between <think> and </think>, then search with "
        "<search>query</search>; the results come between <information> and </information>. "
        "When you know enough, write <answer>answer</answer> and nothing else.\n\n"
        "Question: {question}\n"
    ),
    search_tag="search",
    result_tag="information",
    reply_role="assistant",
    read_queries=_one_query,
    write_queries=lambda queries: queries,
)
"""The Search-R1 form: everything after the prompt is one assistant message."""

TOOL_CALL = TextProtocol(
    name="tool_call",
    system=(
        "You answer questions by searching. Think between <think> and </think> before you act.\n\n"
        "# Tools\n\n<tools>\n"
        '{"type": "function", "function": {"name": "search", "description": "Search for passages.", '
        '"parameters": {"type": "object", "properties": {"query": {"description": '
        '"One query, or a list of queries.", "anyOf": [{"type": "string"}, '
        '{"type": "array", "items": {"type": "string"}}]}}, "required": ["query"]}}}\n</tools>\n\n'
        "To search, write the call as JSON:\n"
        '<tool_call>\n{"name": "search", "arguments": {"query": ["first query", "second query"]}}\n'
        "</tool_call>\n"
        "The results come between <tool_response> and </tool_response>. When you know enough, write "
        "<answer>answer</answer>, short and without explanation."
    ),
    user="{question}",
    search_tag="tool_call",
    result_tag="tool_response",
    reply_role="user",
    read_queries=_json_queries,
    write_queries=_json_call,
)
"""The IGPO, DeepResearcher and Qwen form: calls as JSON, each reply a user message."""

PROTOCOLS = {protocol.name: protocol for protocol in (TAGS, TOOL_CALL)}


for _protocol in PROTOCOLS.values():
    specs.register("protocol", _protocol.name, _protocol)


def resolve_protocol(spec: str | TextProtocol) -> TextProtocol:
    """A protocol by its spec, or the protocol itself. Raises SpecError for anything else."""
    protocol: TextProtocol = specs.resolve("protocol", spec)
    return protocol
