"""Stand-ins for web search engines, written from their public documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.search.web.site import Asked, Reply

Found = list[tuple[str, str, str]]
"""URL, title and text of each result."""

KEY = "a-key-of-mine"

PAGES: Found = [
    ("https://en.wikipedia.org/wiki/Danzig", "Gdańsk - Wikipedia", "Gdańsk is a port in Pomerania."),
    ("https://www.britannica.com/place/Gdansk", "Gdańsk | Britannica", "Gdańsk, a city in Poland."),
    ("https://www.gdansk.pl/en", "Official site", "The city of freedom."),
]


def serper(found: Found = PAGES) -> Callable[[Asked], Reply]:
    """As https://serper.dev documents ``POST /search``."""

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("X-API-KEY") != KEY:
            return Reply({"message": "Unauthorized.", "statusCode": 403}, 403)
        if not asked.body.get("q"):
            return Reply({"message": "Missing query parameter", "statusCode": 400}, 400)
        organic = [
            {"title": title, "link": url, "snippet": text, "date": "Jan 5, 2020", "position": place}
            for place, (url, title, text) in enumerate(found[: asked.body.get("num", 10)], 1)
        ]
        parameters = {"q": asked.body["q"], "type": "search", "engine": "google"}
        graph = {"title": "Gdańsk", "type": "City in Poland", "attributes": {"Elevation": "12 m"}}
        return Reply(
            {
                "searchParameters": parameters,
                "knowledgeGraph": graph,
                "organic": organic,
                "peopleAlsoAsk": [{"question": "Why?", "snippet": "So.", "title": "T", "link": "http://q/"}],
                "credits": 1,
            }
        )

    return answer


def tavily(found: Found = PAGES) -> Callable[[Asked], Reply]:
    """As https://docs.tavily.com documents ``POST /search``."""

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("Authorization") != f"Bearer {KEY}":
            return Reply({"detail": {"error": "Unauthorized: missing or invalid API key."}}, 401)
        if len(asked.body["query"]) > 400:
            return Reply({"detail": {"error": "Query is too long. Max query length is 400 characters."}}, 400)
        if not 0 <= asked.body.get("max_results", 5) <= 20:
            return Reply({"detail": {"error": "max_results must be between 0 and 20"}}, 400)
        results = [
            {"url": url, "title": title, "content": text, "score": 0.9 - place / 10, "raw_content": None}
            for place, (url, title, text) in enumerate(found[: asked.body.get("max_results", 5)])
        ]
        return Reply(
            {
                "query": asked.body["query"],
                "follow_up_questions": None,
                "answer": None,
                "images": [],
                "results": results,
                "response_time": 1.1,
                "request_id": "1",
            }
        )

    return answer


def searxng(found: Found = PAGES, formats: tuple[str, ...] = ("html", "json")) -> Callable[[Asked], Reply]:
    """As https://docs.searxng.org documents ``GET /search``."""

    def answer(asked: Asked) -> Reply:
        if asked.path != "/search" or asked.method != "GET":
            return Reply("<html>not found</html>", 404)
        if asked.query.get("format", "html") not in formats:
            return Reply("<h1>Forbidden</h1>", 403)
        results: list[Any] = [
            {
                "url": url,
                "title": title,
                "content": text,
                "engine": "brave",
                "template": "default.html",
                "parsed_url": ["https", "", "", "", "", ""],
                "engines": ["brave", "qwant"],
                "positions": [1, 2],
                "publishedDate": None,
                "score": 4.0 / (place + 1),
                "category": "general",
            }
            for place, (url, title, text) in enumerate(found)
        ]
        return Reply(
            {
                "query": asked.query["q"],
                "number_of_results": 0,
                "results": results,
                "answers": [],
                "corrections": [],
                "infoboxes": [],
                "suggestions": [],
                "unresponsive_engines": [["google", "Suspended: CAPTCHA"]],
            }
        )

    return answer
