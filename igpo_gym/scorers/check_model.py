"""Does a model, with its tokenizer and its chat template, fit a protocol? A scripted episode tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING, Any

from igpo_gym.episode import Passage, Question, Segment, ToolCall, ToolCalls
from igpo_gym.errors import ScoringError, SpecError
from igpo_gym.lm.framing import Framing
from igpo_gym.lm.templates import content_forms, rendered
from igpo_gym.lm.texts import control_tokens
from igpo_gym.protocols import PROTOCOLS, TextProtocol
from igpo_gym.protocols.grammar import THINK, THOUGHT
from igpo_gym.scorers.findings import Finding
from igpo_gym.scorers.interface import BeliefRequest
from igpo_gym.scorers.prompts import query_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from igpo_gym.scorers.local import TransformersScorer

ANSWERS = ("Danzig", "Gdańsk, 1927")
TURNS = 3
TOLERANCE = {"float32": 1e-3, "float64": 1e-3}
"""By how many nats a belief may differ from a plain pass, by the model's dtype; 0.1 for others."""

_ANY_LENGTH = 10**9
"""Above this a tokenizer's longest text is no limit: the library writes so where it knows none."""

_OPENED = {"none": "", "open": ", within a thought", "closed": ", behind a closed thought"}


def check_model(
    tokenizer: PreTrainedTokenizerBase,
    protocol: TextProtocol,
    model: PreTrainedModel | str = "",
    flaw: str = "",
) -> list[Finding]:
    """Everything that is found out about a model with ``protocol``; the last line says whether it fits.

    ``model`` is the model, or why there is none: what needs its weights is then not looked at. ``flaw`` is
    what was wrong with the files of its weights, if anything was.

    >>> from igpo_gym.lm.loading import load_model
    >>> from igpo_gym.protocols import TAGS
    >>> model, tokenizer = load_model("nano", device="cpu")
    >>> [line.what for line in check_model(tokenizer, TAGS, model) if line.good is False]
    []
    """
    found = [Finding("files of weights", flaw, False)] if flaw else []
    try:
        framing = Framing(tokenizer)
        found += _texts(tokenizer, framing, protocol)
        found += _weights(tokenizer, framing, protocol, model)
    except (SpecError, ScoringError) as problem:
        found.append(Finding("refused", str(problem), False))
    wrong = [line.what for line in found if line.good is False]
    verdict = f"no: {', '.join(wrong)}" if wrong else "yes"
    if not wrong and isinstance(model, str):
        verdict = "yes, as far as was checked"
    return [*found, Finding("can be trained with IGPO", verdict, not wrong)]


def episode(protocol: TextProtocol, aside: str = "") -> list[tuple[Segment, ...]]:
    """The transcript of a scripted episode, after each of its turns; ``aside`` is told by each passage."""
    segments = protocol.prompt(Question("1", "Where was the author of The Tin Drum born?", ANSWERS))
    states = [segments]
    tool = protocol.tools[0]
    for number in range(1, TURNS + 1):
        said = protocol.write(ToolCalls((ToolCall(tool.name, tool.example),)), f"I need hint {number}")
        body = protocol.passages([Passage(str(number), f"Hint {number}", f"He was born in Danzig. {aside}")])
        segments = (*segments, Segment("agent", "assistant", said), *protocol.reply(body))
        states.append(segments)
    return states


def _plays(framing: Framing, protocol: TextProtocol) -> bool:
    """Whether the template has the messages of a protocol."""
    try:
        return bool(framing.ids(episode(protocol)[-1]))
    except SpecError:
        return False


def _texts(tokenizer: PreTrainedTokenizerBase, framing: Framing, protocol: TextProtocol) -> Iterator[Finding]:
    """What the tokenizer and the template alone tell."""
    fit = [each.name for each in PROTOCOLS.values() if _plays(framing, each)]
    yield Finding("protocols whose messages it has", ", ".join(fit) or "none", protocol.name in fit)
    states = episode(protocol)
    ids = [framing.ids(segments) for segments in states]
    grows = all(later[: len(earlier)] == earlier for earlier, later in pairwise(ids))
    yield Finding("the transcript only grows", "yes" if grows else "no", grows)
    yield from _template(tokenizer, framing)

    thoughts = {_open_thoughts(framing, _request(protocol, segments)) for segments in states}
    counts = ", ".join(map(str, sorted(thoughts)))
    thinks = THOUGHT in protocol.probe.prefix
    yield Finding("open thoughts before the probe's sentence", counts, thoughts == {1} if thinks else None)

    control = control_tokens(tokenizer)
    ends = ", ".join(repr(framing.token_text(number)) for number in sorted(framing.end_ids))
    yield Finding("control tokens", f"{len(control)}: {_listed(list(control.values()))}")
    yield Finding("a message ends with", ends or "no token of its own", bool(ends))
    yield _spelling(framing, protocol, control)
    text = framing.text(ids[-1])
    again = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    kept = "no" if again == ids[-1] else f"yes ({len(ids[-1])} ids become {len(again)})"
    yield Finding("tokenizing the transcript again changes ids", f"{kept}; ids are kept, never made again")


def _template(tokenizer: PreTrainedTokenizerBase, framing: Framing) -> Iterator[Finding]:
    """What the chat template does with a conversation, and what is made of it here."""
    if not tokenizer.chat_template:
        yield Finding("chat template", "none: segments follow each other")
        return
    opening = f"{framing.template.opening!r}{_OPENED[framing.template.thought]}"
    yield Finding("the template opens the agent's message", opening)
    messages: list[dict[str, Any]] = []
    rendered = []
    for number in range(1, TURNS + 1):
        messages += (
            {"role": "user", "content": f"question{number}"},
            {
                "role": "assistant",
                "content": f"{THINK}\nidea{number}\n{THOUGHT}\n\nanswer{number}",
            },
        )
        rendered.append(_rendered(tokenizer, messages))
    if None in rendered:
        yield Finding("the template with thoughts", "cannot show them")
        return
    texts = [text or "" for text in rendered]
    grows = all(later.startswith(earlier) for earlier, later in pairwise(texts))
    yield Finding("the template itself only adds", "yes" if grows else "no; here it is made to")
    kept = [f"idea{number}" in texts[-1] for number in range(1, TURNS + 1)]
    says = "yes" if all(kept) else "the latest alone" if kept[-1] else "no"
    yield Finding("the template keeps thoughts", says if all(kept) else f"{says}; here all are kept")
    if "strftime_now" in str(tokenizer.chat_template):
        yield Finding("the template tells the date", "yes: ids differ from day to day")


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]]) -> str | None:
    """A conversation as the template shows it; None where it cannot."""
    for form in content_forms(messages):
        try:
            text = rendered(tokenizer, form, add_generation_prompt=False)
        except Exception:  # a template is a program: it may raise anything
            continue
        if all(f"answer{number + 1}" in text for number in range(len(messages) // 2)):
            return text
    return None


def _spelling(framing: Framing, protocol: TextProtocol, control: Mapping[int, str]) -> Finding:
    """Whether retrieved text can spell what parts messages: it is tried."""
    marks = list(framing.marks)
    plain, tried = (
        framing.ids(episode(protocol, aside)[-1]) for aside in ("", " ".join([*control.values(), *marks]))
    )
    spelled = [text for number, text in control.items() if tried.count(number) > plain.count(number)]
    before, behind = framing.text(plain), framing.text(tried)
    spelled += [mark for mark in marks if behind.count(mark) > before.count(mark)]
    if spelled:
        found = f"yes: {_listed(spelled)}"
    elif marks:
        found = f"no: {_listed(marks)} would be written with a wider sign"
    else:
        found = "no: they are control tokens" if framing.template.opening else "no: there are none"
    return Finding("retrieved text can spell the turn marks", found, not spelled)


def _weights(
    tokenizer: PreTrainedTokenizerBase,
    framing: Framing,
    protocol: TextProtocol,
    model: PreTrainedModel | str,
) -> Iterator[Finding]:
    """What the model itself tells."""
    if isinstance(model, str):
        yield Finding("weights", f"not loaded: {model}" if model else "not loaded")
        most = tokenizer.model_max_length
        told = f"{most:,} tokens, as the tokenizer says" if most < _ANY_LENGTH else "not checked"
        yield Finding("longest transcript", told)
        yield Finding("the scorer agrees with a plain pass", "not checked")
        return
    from igpo_gym.lm.wrappers import not_finite
    from igpo_gym.scorers.local import TransformersScorer

    spoiled = not_finite(model)
    yield Finding("weights", f"not finite: {_listed(spoiled)}" if spoiled else "all finite", not spoiled)
    if spoiled:
        return
    scorer = TransformersScorer(model, tokenizer)
    requests = [_request(protocol, segments) for segments in episode(protocol)]
    longest = scorer.reader.longest
    yield Finding("longest transcript", f"{longest:,} tokens" if longest else "the model does not say")
    apart = _difference(scorer, requests)
    most = TOLERANCE.get(str(scorer.reader.layout.dtype).removeprefix("torch."), 0.1)
    yield Finding("the scorer agrees with a plain pass", f"within {apart:.1e} nats", apart <= most)


def _difference(scorer: TransformersScorer, requests: Sequence[BeliefRequest]) -> float:
    """By how many nats the scorer differs from the model's own pass over each prompt, at most."""
    from igpo_gym.lm.reader import plain_log_probs

    found = scorer.score(requests)
    plain = partial(plain_log_probs, scorer.reader.view)
    return max(
        abs(log_prob - fmean(plain(prompt.ids[: -prompt.scored], prompt.ids[-prompt.scored :])))
        for request, belief in zip(requests, found, strict=True)
        for log_prob, prompt in zip(belief.log_probs, query_of(scorer.framing, request).prompts, strict=True)
    )


def _request(protocol: TextProtocol, segments: tuple[Segment, ...]) -> BeliefRequest:
    return BeliefRequest(segments, ANSWERS, protocol.probe)


def _open_thoughts(framing: Framing, request: BeliefRequest) -> int:
    """How many thoughts are open where the probe's sentence begins."""
    before = framing.text(query_of(framing, request).context)
    if request.probe.prefix.startswith(THINK):
        before += THINK
    return before[before.rfind(THOUGHT) + 1 :].count(THINK)


def _listed(texts: Sequence[str]) -> str:
    most = 6
    shown = " ".join(texts[:most])
    return f"{shown} and {len(texts) - most} more" if len(texts) > most else shown
