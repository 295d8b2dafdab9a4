"""Whether a run has what it needs, found out in a moment: before torch is imported or a model is loaded."""

from __future__ import annotations

from igpo_gym.agents.training.settings import Settings, sampler_options
from igpo_gym.errors import SamplingError
from igpo_gym.libraries import require
from igpo_gym.lm.served import served_model
from igpo_gym.transport import Server, ServerError

SECONDS = 10.0
"""How long the sampler's server may take to say which models it serves."""


def check_ready(settings: Settings) -> None:
    """Find the libraries and the server that the settings name.

    Raises MissingExtraError for a library, SamplingError for a server that does not answer, and SpecError for
    one that serves no model, or not the one that is named.

    >>> check_ready(Settings())
    """
    if settings.optimizer == "adamw-8bit":
        require("an optimizer with moments in 8 bits", "8bit", "bitsandbytes")
    if settings.lora:
        require("training LoRA adapters", "lora", "peft")
    if settings.sampler != "local":
        url, options = sampler_options(settings.sampler)
        server = Server(url, timeout=SECONDS, retries=0, backoff=0.0, concurrency=1)
        try:
            served_model(server, options.get("model"))
        except ServerError as problem:
            raise SamplingError(str(problem)) from None
        finally:
            server.close()
