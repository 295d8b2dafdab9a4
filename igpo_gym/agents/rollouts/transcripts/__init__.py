"""Transcripts of other agents: from what other programs logged to episodes, a layout a file.

A layout is a function from a record to a :class:`Transcript`, which says who wrote what. Those that are
registered are recognized by the content of a record, in the order below; one of yours comes before them.
"""

from __future__ import annotations

import igpo_gym.specs as specs
from igpo_gym.agents.rollouts.transcripts.interface import About, Transcript, TranscriptLayout
from igpo_gym.agents.rollouts.transcripts.reading import KIND, OWN, layouts, read_transcripts

__all__ = ["KIND", "About", "Transcript", "TranscriptLayout", "layouts", "read_transcripts"]

for _name, _module in OWN.items():
    specs.register(KIND, _name, f"{__name__}.{_module}:LAYOUT")
