"""Belief scorers: how likely a language model finds the gold answer, given a transcript."""

from __future__ import annotations

from functools import partial

import igpo_gym.specs as specs
from igpo_gym.lm.names import NAMED, check_name, files_of
from igpo_gym.scorers.interface import AnswerScorer

__all__ = ["resolve_reference", "resolve_scorer"]


def local_scorer(
    model: str, *, device: str = "auto", cache_bytes: int | None = None, row_tokens: int | None = None
) -> AnswerScorer:
    """A language model on this machine as a scorer: what specs such as ``./model#device=cpu`` call.

    The options are those of :class:`igpo_gym.scorers.local.TransformersScorer`, and None is their default.
    """
    check_name(model)
    from igpo_gym.lm.reader import CACHE_BYTES, ROW_TOKENS
    from igpo_gym.scorers.local import TransformersScorer

    return TransformersScorer.load(
        model,
        device,
        cache_bytes=CACHE_BYTES if cache_bytes is None else cache_bytes,
        row_tokens=ROW_TOKENS if row_tokens is None else row_tokens,
    )


for _name in NAMED:
    specs.register("scorer", _name, partial(local_scorer, _name), files=partial(files_of, _name))
specs.register("scorer", "none", lambda: None)
specs.register("scorer", specs.PATH, local_scorer, form="a folder with safetensors or a .gguf file")
specs.register("scorer", specs.OTHER, local_scorer, form="a model's name on the Hugging Face hub")
for _name in ("http", "https"):
    specs.register("scorer", _name, "igpo_gym.scorers.remote:RemoteScorer", form="http://HOST:PORT/v1")
specs.register(
    "scorer", "beliefs", "igpo_gym.scorers.belief_client:BeliefServerScorer", form="beliefs:http://HOST:PORT"
)


def resolve_scorer(spec: str | AnswerScorer | None) -> AnswerScorer | None:
    """A scorer from its spec; objects pass, "none" and None are no scorer.

    A spec is a language model (see ``names.MODEL_FORMS``), with the options of :func:`local_scorer`, or the
    URL of a server, with those of :class:`remote.RemoteScorer`, or "beliefs:" and that of a belief server,
    with those of :class:`belief_client.BeliefServerScorer`. Equal specs give the same scorer within a
    process, so that environments share one model and its cache. Raises SpecError, with what can be given, for
    a spec that names no scorer, and ScoringError for a server that cannot be reached.
    """
    if spec is None or spec == "none":
        return None
    scorer: AnswerScorer = specs.resolve("scorer", spec)
    return scorer


def resolve_reference(
    spec: str | AnswerScorer | None, scorer: str | AnswerScorer | None
) -> AnswerScorer | None:
    """A frozen model, given as for :func:`resolve_scorer`.

    Without a spec it is the scorer, if that is one of the models that a word names, which nobody trains in
    place; any other scorer may be a policy in training, so then there is none.
    """
    if spec is None and isinstance(scorer, str):
        spec = scorer if specs.Spec.parse(scorer).place in NAMED else None
    return resolve_scorer(spec)
