"""Agents: policies, rollouts, and what is made of them."""

from __future__ import annotations

from igpo_gym.agents.policies.scripted import SCRIPTED, ScriptedAgent
from igpo_gym.data.interface import QuestionSet
from igpo_gym.errors import SpecError
from igpo_gym.lm.policy import Policy, Sampling
from igpo_gym.protocols import TextProtocol


def resolve_policy(
    spec: str | Policy,
    questions: QuestionSet,
    protocol: TextProtocol,
    sampling: Sampling = Sampling(),  # noqa: B008  (it is frozen)
) -> Policy:
    """A policy from its spec; objects pass.

    A spec is the name of a scripted agent (see ``scripted.SCRIPTED``), the URL of a server (see
    :meth:`remote.RemotePolicy.from_spec`), or a language model (see ``loading.MODEL_FORMS``). Raises
    SpecError, with what can be given, for a spec that names no policy, and SamplingError for a server that
    cannot be reached.
    """
    if not isinstance(spec, str):
        if not hasattr(spec, "act"):
            raise SpecError(f"a policy is a name or an object that can act, not {spec!r:.60}")
        return spec
    if spec in SCRIPTED:
        return ScriptedAgent(spec, questions, protocol, sampling.seed)
    if spec.startswith(("http://", "https://")):
        from igpo_gym.agents.policies.remote import RemotePolicy

        return RemotePolicy.from_spec(spec, protocol, sampling)
    from igpo_gym.agents.policies.language_model import LanguageModelPolicy

    try:
        return LanguageModelPolicy.load(spec, protocol, sampling)
    except SpecError as problem:
        raise SpecError(
            f"{problem}. Or give the URL of a server, or a scripted agent: {', '.join(sorted(SCRIPTED))}"
        ) from problem
