"""Playing in a real browser: what a person does, and what must never happen."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest

from igpo_gym.episode import Episode, ToolCall, ToolResult
from igpo_gym.tools import ToolSpec
from tests.play.serving import GOLD, Follower, Moody, episodes, serving
from tests.viewer.browser import IN_A_BROWSER, browser

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as opened:
        yield opened


class Heard:
    """What a tab asked for, was answered, and complained of."""

    def __init__(self, page: Any) -> None:
        self.asked: list[str] = []
        self.answers: list[Any] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("response", lambda answer: self.answers.append(answer))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("popup", lambda other: self.complaints.append(f"opened {other.url}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"said {dialog.message}"))

    def texts(self) -> str:
        return "\n".join(answer.text() for answer in self.answers if answer.url.startswith("http"))


@pytest.fixture
def heard() -> list[Heard]:
    return []


@pytest.fixture
def tab(chrome: Any, url: str, heard: list[Heard]) -> Iterator[Any]:
    """A tab that has asked for nothing but its own server, and complained of nothing unexpected."""
    context = chrome.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    heard.append(Heard(page))
    yield page
    context.close()
    assert heard[0].complaints == []
    assert all(address.startswith((f"{url}/", "data:")) for address in heard[0].asked), heard[0].asked


def opened(tab: Any, url: str) -> None:
    tab.goto(f"{url}/")
    tab.locator("#prompt").wait_for()


def belief(tab: Any, place: str) -> str:
    return str(tab.locator(f"{place} .belief-now .bar .number").inner_text())


def width(tab: Any, place: str) -> float:
    """How much of a belief's bar is full."""
    return float(tab.locator(f"{place} .bar .axis > span").evaluate("each => parseFloat(each.style.width)"))


def search(tab: Any, query: str, turn: int) -> None:
    tab.locator("#search-query").fill(query)
    tab.get_by_role("button", name="Search", exact=True).click()
    tab.locator(f"#turn-{turn}").wait_for()


def test_search_open_answer_and_the_belief_moves(tab: Any, url: str, heard: list[Heard]) -> None:
    opened(tab, url)
    assert belief(tab, "#prompt") == "0.100"
    search(tab, "The Tin Drum", 1)
    assert belief(tab, "#turn-1") == "0.100"
    assert "The Tin Drum" in tab.locator("#turn-1 .reply").inner_text()
    assert tab.locator("#documents option").count() == 1
    tab.locator("#open-document").fill("The Tin Drum")
    tab.get_by_role("button", name="Open", exact=True).click()
    tab.locator("#turn-2").wait_for()
    assert "page 1 of 1" in tab.locator("#turn-2 .reply").inner_text()
    # Up to here neither the page nor any answer to it holds the gold answer.
    assert GOLD not in tab.content()
    assert GOLD not in heard[0].texts()
    assert "Neustadt" not in heard[0].texts()
    search(tab, "hidden place archive", 3)
    assert belief(tab, "#turn-3") == "0.182"  # 2 / 11
    assert width(tab, "#turn-3 .belief-now") > width(tab, "#turn-2 .belief-now")
    assert tab.locator("#turn-3 .ink .number").inner_text() == "+0.082"
    assert tab.locator("nav.curve .dot").count() == 4
    curve, dot = tab.locator("nav.curve").bounding_box(), tab.locator("nav.curve .dot").last.bounding_box()
    assert dot["y"] + 4.5 == pytest.approx(curve["y"] + 108 - 96 * 2 / 11, abs=1)  # the dot is on its curve
    assert tab.locator("h1").bounding_box()["y"] >= 0  # the question stays in sight
    assert tab.get_by_role("status").inner_text() == "Turn 3: belief 0.182, gain +0.082"
    assert "format-penalty" in tab.locator("#turn-3 .pay").inner_text()
    assert "Neustadt" not in heard[0].texts()
    tab.locator("#answer-text").fill(GOLD)
    tab.get_by_role("button", name="Answer", exact=True).click()
    tab.locator(".verdict").wait_for()
    assert "✓ right" in tab.locator(".verdict").inner_text()
    assert tab.locator(".gold-line").inner_text() == f"gold {GOLD} / Neustadt"
    assert tab.locator("#turn-3 mark.answer").count() > 0


def test_the_keyboard_suffices(tab: Any, url: str) -> None:
    opened(tab, url)
    first = tab.url
    tab.keyboard.type("hidden place archive")  # the field of the search has the focus
    tab.keyboard.press("Enter")
    tab.locator("#turn-1").wait_for()
    tab.keyboard.press("Escape")
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("nav.curve [aria-current]").inner_text() == "Q"
    tab.keyboard.press("o")
    tab.keyboard.type("Archive")
    tab.keyboard.press("Enter")
    tab.locator("#turn-2").wait_for()
    tab.keyboard.press("Escape")
    tab.keyboard.press("a")
    tab.keyboard.type(GOLD)
    tab.keyboard.press("Enter")
    tab.locator(".verdict").wait_for()
    tab.keyboard.press("n")
    tab.locator("#search-query").wait_for()
    assert tab.url != first
    assert tab.locator(".turn").count() == 0


def test_markup_does_not_act(tab: Any, url: str) -> None:
    opened(tab, url)
    search(tab, "The Tin Drum", 1)
    evil = "<img src=x onerror='window.acted = 1'></textarea><script>window.acted = 2</script>"
    tab.locator("summary", has_text="A whole message").click()
    tab.locator("#message-text").fill(f"<think>{evil}</think><search>{evil}</search>")
    tab.get_by_role("button", name="Send").click()
    tab.locator("#turn-2").wait_for()
    tab.locator("#answer-text").fill(evil)
    tab.get_by_role("button", name="Answer", exact=True).click()
    tab.locator(".verdict").wait_for()
    for fold in tab.locator(".fold").all():
        fold.click()
    assert "onerror" in tab.locator(".verdict").inner_text()
    assert "window.acted = 1" in tab.locator("#turn-1 .reply").inner_text()
    assert tab.locator("main img, main iframe, main script, main a").count() == 0
    assert tab.evaluate("() => window.acted") is None


def test_a_reloaded_page_and_several_tabs(tab: Any, url: str) -> None:
    opened(tab, url)
    search(tab, "The Tin Drum", 1)
    address = tab.url
    other = tab.context.new_page()
    opened(other, url)
    assert other.url != address
    assert other.locator(".turn").count() == 0
    tab.reload()
    tab.locator("#turn-1").wait_for()
    assert tab.url == address
    other.goto(address)  # the same episode in a second tab, which plays on
    other.reload()
    other.locator("#turn-1").wait_for()
    search(other, "Archive", 2)


def test_what_fails_is_told_and_can_be_repeated(
    tab: Any, url: str, scorer: Moody, heard: list[Heard]
) -> None:
    opened(tab, url)
    scorer.fails = True
    tab.locator("#search-query").fill("The Tin Drum")
    tab.keyboard.press("Enter")
    problem = tab.get_by_role("alert")
    tab.get_by_text("does not answer").wait_for()
    assert problem.inner_text() == "the scorer at http://127.0.0.1:9/v1 does not answer"
    assert tab.locator(".turn").count() == 0
    assert tab.locator("#search-query").input_value() == "The Tin Drum"
    scorer.fails = False
    tab.keyboard.press("Enter")
    tab.locator("#turn-1").wait_for()
    assert problem.inner_text() == ""
    assert tab.locator("#search-query").input_value() == ""
    # Chromium itself notes every answer with an error's status.
    assert [re.sub(r".*status of (\d+).*", r"\1", each) for each in heard[0].complaints] == ["502"]
    heard[0].complaints.clear()


def test_an_agent_is_watched_a_message_at_a_time(chrome: Any) -> None:
    with serving(episodes(Moody(), policy=Follower()), "follower") as url:
        page = chrome.new_page()
        heard = Heard(page)
        opened(page, url)
        page.locator("#next:focus").wait_for()
        for turn in range(1, 5):
            page.keyboard.press("Enter")
            page.locator(f"#turn-{turn}").wait_for()
        assert "No answer: turns exhausted" in page.locator(".verdict").inner_text()
        assert page.locator("input").count() == 0
        assert heard.complaints == []
        page.close()


class Pad:
    """A tool whose arguments are called as what a form of a page has."""

    properties: ClassVar = {
        "text": {"type": "string"},
        **{name: {"type": "integer"} for name in ("length", "elements", "reset")},
    }
    spec = ToolSpec("pad", "Pad it.", {"type": "object", "properties": properties, "required": ["text"]})

    def run(self, calls: Sequence[tuple[Episode, ToolCall]]) -> list[ToolResult]:
        return [ToolResult(call.arguments["text"].ljust(call.arguments["length"], "+")) for _, call in calls]


def test_an_argument_of_a_tool_may_have_any_name(chrome: Any) -> None:
    with serving(episodes(Moody(), tools=[Pad()])) as url:
        page = chrome.new_page()
        heard = Heard(page)
        opened(page, url)
        page.locator("#pad-text").fill("hi")
        page.locator("#pad-length").fill("5")
        page.get_by_role("button", name="Pad", exact=True).click()
        page.locator("#turn-1").wait_for()
        assert "hi+++" in page.locator("#turn-1 .reply").inner_text()
        assert page.locator("#pad-length").input_value() == ""
        assert heard.complaints == []
        page.close()


def test_a_screen_reader_is_told_what_there_is(tab: Any, url: str) -> None:
    opened(tab, url)
    search(tab, "The Tin Drum", 1)
    assert tab.locator("h1").count() == 1
    named = tab.locator("button, a, input, textarea").evaluate_all(
        "all => all.map(each => each.textContent || each.ariaLabel || each.labels?.length || 0)"
    )
    assert all(named)
    assert tab.get_by_role("region", name="What to do").count() == 1
    assert tab.get_by_label("Search", exact=True).count() >= 1
