"""Calls of tools as they stand in the text of a message, in the forms of many model families.

Which family an agent is of is not told, so all forms are tried: :data:`FORMS` has a row for each. What a call
quotes decides nothing, for the form that a text opens first is the one that is read.
"""

from __future__ import annotations

from igpo_gym.protocols.calls_in_text.forms import FORMS, begins_call, calls_in, ids_in
from igpo_gym.protocols.calls_in_text.readers import OBSERVATION
from igpo_gym.protocols.calls_in_text.values import ARGUMENTS, TAGS, call, parsed, written

__all__ = [
    "ARGUMENTS",
    "FORMS",
    "OBSERVATION",
    "TAGS",
    "begins_call",
    "call",
    "calls_in",
    "ids_in",
    "parsed",
    "written",
]
