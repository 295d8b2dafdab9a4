"""A server that misbehaves at random: what it gives is right, or an error that the callers expect."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from igpo_gym.errors import AccessError, ScoringError, SearchError
from igpo_gym.scorers.remote import RemoteScorer
from tests.campaign.test_files import damaged
from tests.campaign.test_messages import Rounds
from tests.lm.tiny import CHATML, make_model, make_tokenizer
from tests.scorers.servers import Engine
from tests.scorers.test_remote import BROKEN_CONNECTIONS, PATHS, REQUESTS, WRONG_ANSWERS, routes, spoiled
from tests.search.servers import INDEX
from tests.search.test_http import DIALECTS, QUERIES, search
from tests.site import Raw, Refusal, Route, running, send

pytestmark = pytest.mark.campaign

JUNK = (None, True, -1, 10**400, float("nan"), float("inf"), "", "x" * 10_000, [], {}, [[]], "\ud800")


def changed(value: Any, draw: random.Random) -> Any:
    """A JSON value in which something at a random depth is junk, missing, or there twice."""
    if isinstance(value, dict) and value and draw.random() < 0.9:
        name = draw.choice(sorted(value))
        rest = {key: each for key, each in value.items() if key != name}
        return rest if draw.random() < 0.1 else rest | {name: changed(value[name], draw)}
    if isinstance(value, list) and value and draw.random() < 0.9:
        at = draw.randrange(len(value))
        inner = draw.choice(([], [value[at]] * 2, [changed(value[at], draw)], [changed(value[at], draw)]))
        return [*value[:at], *inner, *value[at + 1 :]]
    return draw.choice(JUNK)


def misbehaving(good: Route, draw: random.Random) -> Route:
    """A route of a good server that does one of all things that go wrong."""

    def route(body: Any) -> Any:
        match draw.choice(("connection", "status", "bytes", "json", "json")):
            case "connection":
                raise draw.choice([problem for problem, _ in BROKEN_CONNECTIONS.values()])
            case "status":
                status = draw.choice((204, 301, 400, 401, 403, 404, 408, 413, 418, 422, 429, 500, 502, 503))
                raise Refusal(status, changed({"detail": "no"}, draw), {"Retry-After": "0"})
            case "bytes":
                content = damaged(json.dumps(good(body)).encode(), draw)
                raise Raw(lambda handler: send(handler, 200, content))
            case _:
                return changed(good(body), draw)

    return route


def test_a_search_server_may_do_what_it_likes(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    # A server that failed is else left out for a while, and would be asked once in twenty times.
    monkeypatch.setattr("igpo_gym.search.replicas.FIRST_PAUSE", 0.0)
    for draw in rounds():
        name = draw.choice(sorted(DIALECTS))
        print(name)
        _, good = DIALECTS[name]
        with running({"/retrieve": good}) as site:
            client = search(f"{site.url}#retries=0,timeout=5")
            expected = client.search(QUERIES, 2)
            site.routes["/retrieve"] = misbehaving(good, draw)
            for _ in range(20):
                try:
                    found = client.search(QUERIES, 2)
                except (SearchError, AccessError) as problem:
                    assert "\n" not in str(problem)
                else:
                    assert [len(passages) <= 2 for passages in found] == [True] * len(QUERIES)
                    every = [passage for passages in found for passage in passages]
                    assert [p for p in every if not (isinstance(p.text, str) and p.id)] == []
            site.routes["/retrieve"] = good
            with suppress(SearchError):  # the rest of an answer before still stands in a connection
                client.search(QUERIES, 2)
            assert client.search(QUERIES, 2) == expected
            client.close()
    assert INDEX.search(QUERIES, 2)


def test_a_scoring_server_may_do_what_it_likes(rounds: Rounds, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.save_pretrained(tmp_path)
    engine = Engine(make_model(), tokenizer, str(tmp_path))
    for draw in rounds():
        kind = draw.choice(sorted(PATHS))
        good = routes(engine, kind)
        print(kind)
        with running(good) as site, RemoteScorer(site.url, retries=0, backoff=0.0, timeout=5.0) as scorer:
            expected = scorer.score(REQUESTS)
            for _ in range(20):
                site.routes[PATHS[kind]] = misbehaving(good[PATHS[kind]], draw)
                try:
                    found = scorer.score(REQUESTS)
                except (ScoringError, AccessError) as problem:
                    assert "\n" not in str(problem)
                else:
                    counts = [[len(tokens) for tokens in belief.token_log_probs] for belief in found]
                    right = [[len(tokens) for tokens in belief.token_log_probs] for belief in expected]
                    assert counts == right
                    assert all(0 <= belief.prob <= 1 for belief in found)
            spoilt = draw.choice(sorted(name for name, wrong in WRONG_ANSWERS.items() if wrong[0] == kind))
            print(spoilt)
            site.routes |= spoiled(engine, kind, WRONG_ANSWERS[spoilt][1])
            with pytest.raises(ScoringError):
                scorer.score(REQUESTS[:1])
            site.routes |= good
            for one, other in zip(scorer.score(REQUESTS), expected, strict=True):
                assert one.log_probs == pytest.approx(other.log_probs, abs=1e-4)
