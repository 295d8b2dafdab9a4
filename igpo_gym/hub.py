"""The Hugging Face hub and its libraries: a model's name, whether the hub answers, less output."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)
"""What a model on the hub is called: owner/name, or a bare word."""

SECONDS = 5.0
"""How long the hub may take to answer, before it counts as not to be reached."""


@cache
def unreachable() -> str:
    """Why the hub cannot be asked, found out once; empty if it can.

    What it cannot give may still be in its cache; asked for more, its libraries would retry for long.
    """
    import requests
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE forbids asking the hub"
    try:
        requests.head(constants.ENDPOINT, timeout=SECONDS)
    except requests.RequestException:
        return f"{constants.ENDPOINT} cannot be reached"
    return ""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars and the advice of transformers out of this block.

    The bar of a download stays, for it may take minutes. Afterwards all is as the user has set it.

    >>> from transformers.utils import logging
    >>> with quiet():
    ...     logging.is_progress_bar_enabled(), logging.get_verbosity() >= logging.ERROR
    (False, True)
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled
    from transformers.utils import logging

    bars, downloads, level = (
        logging.is_progress_bar_enabled(),
        not are_progress_bars_disabled(),
        logging.get_verbosity(),
    )
    _show_bars(False, downloads)
    logging.set_verbosity(max(level, logging.ERROR))
    try:
        yield
    finally:
        _show_bars(bars, downloads)
        logging.set_verbosity(level)


def _show_bars(loading: bool, downloads: bool) -> None:
    """Switch the bars of loading and those of downloads; transformers' own switch would move both."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from transformers.utils import logging

    if loading != logging.is_progress_bar_enabled():
        (logging.enable_progress_bar if loading else logging.disable_progress_bar)()
    if downloads == are_progress_bars_disabled():
        (enable_progress_bars if downloads else disable_progress_bars)()
