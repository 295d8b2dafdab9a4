"""Agents: who writes the messages."""

from __future__ import annotations

from functools import partial

import igpo_gym.specs as specs
from igpo_gym.agents.policies.bounds import ClosedBook, OracleReader
from igpo_gym.agents.policies.scripted import SCRIPTED, ScriptedAgent
from igpo_gym.data.interface import QuestionSet
from igpo_gym.errors import SpecError
from igpo_gym.lm.names import NAMED, check_name, files_of
from igpo_gym.lm.policy import Policy, Sampling
from igpo_gym.protocols import TextProtocol

__all__ = ["ScriptedAgent", "resolve_policy"]


def scripted_policy(
    script: str, questions: QuestionSet, protocol: TextProtocol, sampling: Sampling
) -> Policy:
    """The scripted agent of that name."""
    return ScriptedAgent(script, questions, protocol, sampling.seed)


def local_policy(model: str, protocol: TextProtocol, sampling: Sampling, device: str = "auto") -> Policy:
    """A language model on this machine as the agent: what specs such as ``./model#device=cpu`` call."""
    try:
        check_name(model)
        from igpo_gym.agents.policies.language_model import LanguageModelPolicy

        return LanguageModelPolicy.load(model, protocol, sampling, device)
    except SpecError as problem:
        agents = ", ".join(sorted(SCRIPTED))
        raise SpecError(f"{problem}. Or give the URL of a server, or a scripted agent: {agents}") from problem


for _name in SCRIPTED:
    specs.register("policy", _name, partial(scripted_policy, _name))
for _name in NAMED:
    specs.register("policy", _name, partial(local_policy, _name), files=partial(files_of, _name))
specs.register("policy", specs.PATH, local_policy, form="a folder with safetensors or a .gguf file")
specs.register("policy", specs.OTHER, local_policy, form="a model's name on the Hugging Face hub")
for _name in ("http", "https"):
    specs.register(
        "policy", _name, "igpo_gym.agents.policies.remote:RemotePolicy", form="http://HOST:PORT/v1"
    )


specs.register("policy", "closed-book", ClosedBook, form="closed-book:AGENT", parts=True)
specs.register("policy", "oracle", OracleReader, form="oracle:AGENT", parts=True)


def resolve_policy(
    spec: str | Policy,
    questions: QuestionSet,
    protocol: TextProtocol,
    sampling: Sampling = Sampling(),  # noqa: B008  (it is frozen)
) -> Policy:
    """A policy from its spec; objects pass.

    A spec is the name of a scripted agent (see ``scripted.SCRIPTED``), the URL of a server, with the options
    of :class:`remote.RemotePolicy`, a language model (see ``names.MODEL_FORMS``), or what others have
    registered. Raises SpecError, with what can be given, for a spec that names no policy, and SamplingError
    for a server that cannot be reached.
    """
    policy: Policy = specs.resolve("policy", spec, questions=questions, protocol=protocol, sampling=sampling)
    return policy
