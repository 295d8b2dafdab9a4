"""Belief scorers: how likely a language model finds the gold answer, given a transcript."""

from __future__ import annotations

from functools import lru_cache

from igpo_gym.errors import SpecError
from igpo_gym.scorers.interface import AnswerScorer


def resolve_scorer(spec: str | AnswerScorer | None) -> AnswerScorer | None:
    """A scorer from its spec: a language model (see ``loading.MODEL_FORMS``); objects and None pass.

    Equal specs give the same scorer within a process, so that environments share one model and its cache.
    Raises SpecError, with what can be given, for a spec that names no scorer.
    """
    return _load(spec) if isinstance(spec, str) else spec


@lru_cache(maxsize=4)
def _load(spec: str) -> AnswerScorer:
    from igpo_gym.scorers.loading import MODEL_FORMS
    from igpo_gym.scorers.local import TransformersScorer

    if spec.startswith(("http://", "https://")):
        raise SpecError(f"remote scorers such as {spec!r} are not there yet; give {MODEL_FORMS}")
    return TransformersScorer.load(spec)
