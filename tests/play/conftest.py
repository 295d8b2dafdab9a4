from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.play.serving import Moody, episodes, serving


@pytest.fixture
def scorer() -> Moody:
    return Moody()


@pytest.fixture
def url(scorer: Moody) -> Iterator[str]:
    with serving(episodes(scorer)) as url:
        yield url
