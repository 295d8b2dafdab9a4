"""Belief scorers: how likely a language model finds the gold answer, given a transcript."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from igpo_gym.errors import SpecError
from igpo_gym.scorers.interface import AnswerScorer
from igpo_gym.storage import stamp


def resolve_scorer(spec: str | AnswerScorer | None) -> AnswerScorer | None:
    """A scorer from its spec; objects pass, "none" and None are no scorer.

    A spec is a language model (see ``loading.MODEL_FORMS``) or the URL of a server (see
    :meth:`remote.RemoteScorer.from_spec`). Equal specs give the same scorer within a process, so that
    environments share one model and its cache. Raises SpecError, with what can be given, for a spec that
    names no scorer, and ScoringError for a server that cannot be reached.
    """
    if spec is None or spec == "none":
        return None
    if isinstance(spec, str):
        return _load(spec, stamp(Path(spec)))
    if not hasattr(spec, "score"):
        raise SpecError(f"a scorer is a name, None, or an object that can score, not {spec!r:.60}")
    return spec


def resolve_reference(
    spec: str | AnswerScorer | None, scorer: str | AnswerScorer | None
) -> AnswerScorer | None:
    """A frozen model, given as for :func:`resolve_scorer`.

    Without a spec it is the scorer, if that is named as one of the packaged models, which nobody trains in
    place; any other scorer may be a policy in training, so then there is none.
    """
    if spec is None and isinstance(scorer, str):
        from igpo_gym.lm.loading import PACKAGED

        spec = scorer if scorer in PACKAGED else None
    return resolve_scorer(spec)


@lru_cache(maxsize=4)
def _load(spec: str, written: tuple[int, ...]) -> AnswerScorer:
    if spec.startswith(("http://", "https://")):
        from igpo_gym.scorers.remote import RemoteScorer

        return RemoteScorer.from_spec(spec)
    from igpo_gym.scorers.local import TransformersScorer

    return TransformersScorer.load(spec)
