"""Belief scorers: how likely a language model finds the gold answer, given a transcript."""

from __future__ import annotations

from functools import lru_cache

from igpo_gym.scorers.interface import AnswerScorer


def resolve_scorer(spec: str | AnswerScorer | None) -> AnswerScorer | None:
    """A scorer from its spec; objects and None pass.

    A spec is a language model (see ``loading.MODEL_FORMS``) or the URL of a server (see
    :meth:`remote.RemoteScorer.from_spec`). Equal specs give the same scorer within a process, so that
    environments share one model and its cache. Raises SpecError, with what can be given, for a spec that
    names no scorer, and ScoringError for a server that cannot be reached.
    """
    return _load(spec) if isinstance(spec, str) else spec


@lru_cache(maxsize=4)
def _load(spec: str) -> AnswerScorer:
    if spec.startswith(("http://", "https://")):
        from igpo_gym.scorers.remote import RemoteScorer

        return RemoteScorer.from_spec(spec)
    from igpo_gym.scorers.local import TransformersScorer

    return TransformersScorer.load(spec)
