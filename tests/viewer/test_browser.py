"""The page in a real browser: what a person does with it, and what it must never do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from igpo_gym.envs.engine import Engine
from igpo_gym.episode import Branch, Passage, Segment, ToolResult
from igpo_gym.viewer.page import write_page
from igpo_gym.viewer.runs import read_runs
from tests.conftest import play
from tests.viewer.browser import IN_A_BROWSER, browser, url
from tests.viewer.pages import AGAIN, EVIL, RIGHT, SEARCH, WRONG, group, write
from tests.viewer.test_runs import priced

pytestmark = IN_A_BROWSER


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    with browser() as opened:
        yield opened


@pytest.fixture
def tab(chrome: Any) -> Iterator[Any]:
    """A tab that has asked for no address but its own file, and has complained of nothing, when it closes."""
    context = chrome.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("popup", lambda other: complaints.append(f"opened {other.url}"))
    page.on("dialog", lambda dialog: complaints.append(f"said {dialog.message}"))
    yield page
    context.close()
    assert complaints == []
    assert all(address.startswith(("file://", "data:")) for address in asked), asked
    assert len({address.partition("#")[0] for address in asked if address.startswith("file://")}) <= 1


@pytest.fixture
def page(tmp_path: Path, engine: Engine) -> Path:
    """A page of five episodes, under two rewards."""
    episodes = group(engine)
    recording = write(tmp_path / "hand.jsonl", episodes)
    f1 = {
        (each.question.id, each.attempt): [{"f1": terms["f1"]} for terms in each.rewards] for each in episodes
    }
    out = tmp_path / "page.html"
    write_page(out, read_runs([recording, priced(tmp_path / "p.jsonl", "outcome-f1", f1)]))
    return out


def questions(tab: Any) -> list[str]:
    """The second line of each row of the list."""
    return [text.split(" ·")[0] for text in tab.locator("tbody .sub").all_inner_texts()]


def shows(tab: Any, place: str, text: str) -> None:
    """Wait until a place shows a text: what a key does is drawn a moment later."""
    tab.locator(place, has_text=text).first.wait_for()


def heading(tab: Any) -> str:
    return str(tab.locator("h1").inner_text())


def test_the_list_filters_and_searches(tab: Any, page: Path) -> None:
    tab.goto(url(page))
    assert tab.get_by_role("status").inner_text() == "5 of 5 episodes"
    tab.locator("#search").fill("wrote the tin")
    assert tab.get_by_role("status").inner_text() == "1 of 5 episodes"
    assert tab.locator("tbody .title").inner_text() == "Who wrote The Tin Drum?"
    tab.locator("#search").fill("")
    tab.locator("summary", has_text="Numbers").click()
    tab.locator("#min-f1").fill("0.5")
    tab.locator("#min-turns").fill("3")
    assert questions(tab) == ["attempt 1"]
    assert "min-f1=0.5" in tab.url
    tab.reload()
    assert questions(tab) == ["attempt 1"]
    assert tab.locator("#min-turns").input_value() == "3"


def test_the_list_filters_by_choice(tab: Any, tmp_path: Path, engine: Engine) -> None:
    lost = play(engine, 1, SEARCH, SEARCH, SEARCH)
    recording = write(tmp_path / "a.jsonl", [play(engine, 1, RIGHT), lost])
    write_page(tmp_path / "page.html", read_runs([recording]))
    tab.goto(url(tmp_path / "page.html"))
    tab.locator("#choose-end").select_option("turns exhausted")
    assert tab.get_by_role("status").inner_text() == "1 of 2 episodes"
    assert "no answer" in tab.locator("tbody .sub").inner_text()


def test_what_is_not_told_can_be_chosen(tab: Any, tmp_path: Path, engine: Engine) -> None:
    files = [
        write(tmp_path / f"{agent}.jsonl", [play(engine, 1, RIGHT)], agent=agent) for agent in ("a", "b", "")
    ]
    joined = tmp_path / "joined.jsonl"
    joined.write_text("".join(file.read_text() for file in files))
    write_page(tmp_path / "page.html", read_runs([joined]))
    tab.goto(url(tmp_path / "page.html"))
    tab.locator("#choose-agent").select_option(label="(not told)")
    assert tab.get_by_role("status").inner_text() == "1 of 3 episodes"
    tab.locator("#choose-agent").select_option(label="all")
    assert tab.get_by_role("status").inner_text() == "3 of 3 episodes"


def test_the_list_sorts(tab: Any, page: Path) -> None:
    tab.goto(url(page))
    tab.get_by_role("button", name="Turns").click()
    turns = [int(text) for text in tab.locator("tbody tr td:nth-child(6)").all_inner_texts()]
    assert turns == [3, 3, 2, 2, 2]
    assert tab.locator("th[aria-sort=descending]").inner_text().startswith("Turns")
    tab.get_by_role("button", name="Turns").click()
    assert tab.locator("tbody tr td:nth-child(6)").first.inner_text() == "2"
    tab.locator("#choose-reward").select_option("outcome-f1")
    tab.get_by_role("button", name="Reward").click()
    rewards = tab.locator("tbody tr td:nth-child(4)").all_inner_texts()
    assert rewards == ["+1.000"] * 3 + ["0.000"] * 2
    assert tab.locator("thead th").count() == tab.locator("thead button.sort").count()
    tab.get_by_role("button", name="Belief").click()
    told = tab.locator("tbody svg").evaluate_all(
        "all => all.map(each => Number(each.ariaLabel.split(' ').pop()))"
    )
    assert told == sorted(told, reverse=True)


def test_keys_lead_through_list_and_episodes(tab: Any, page: Path) -> None:
    tab.goto(url(page))
    tab.locator("tbody tr").first.wait_for()
    tab.keyboard.press("j")
    shows(tab, "tr.selected .sub", "attempt 1 ·")
    tab.keyboard.press("j")
    shows(tab, "tr.selected .sub", "attempt 2 ·")
    tab.keyboard.press("k")
    shows(tab, "tr.selected .sub", "attempt 1 ·")
    tab.keyboard.press("Enter")
    shows(tab, ".path", "attempt 1")
    tab.locator("h1:focus").wait_for()
    for key, jump in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1"), ("ArrowLeft", "Q")):
        tab.keyboard.press(key)
        shows(tab, ".jump[aria-current=step]", jump)
    tab.keyboard.press("j")
    shows(tab, ".path", "attempt 2")
    tab.keyboard.press("a")
    tab.locator("table.sides").wait_for()
    assert tab.locator("table.sides thead a").count() == 4
    tab.keyboard.press("u")
    shows(tab, "[role=status]", "2 of 2 questions")
    tab.keyboard.press("?")
    tab.locator("dialog").wait_for()
    tab.keyboard.press("Escape")
    tab.locator("dialog").wait_for(state="hidden")
    tab.keyboard.press("/")
    tab.keyboard.type("jk?")  # letters of a search are no keys
    assert tab.locator("#search").input_value() == "jk?"


def test_a_link_leads_to_an_episode_and_turn(tab: Any, page: Path) -> None:
    tab.goto(url(page, f"#/episode/{quote('1.q-birth.1', safe='')}/3"))
    assert tab.locator(".turn.current h2").inner_text().endswith("answer: Danzig")
    assert tab.locator("#turn-3").evaluate("each => each.getBoundingClientRect().top") < 800
    tab.get_by_role("button", name=re.compile("^Turn 2:")).click()
    assert tab.url.endswith("1.q-birth.1/2")
    tab.goto(url(page, "#/episode/none"))
    assert heading(tab) == "There is no such episode here"
    tab.goto(url(page, "#/episode/%E0%A4%A"))
    assert heading(tab) == "There is no such episode here"


def test_an_address_of_another_page_is_told(tab: Any, tmp_path: Path, engine: Engine) -> None:
    files = [
        write(tmp_path / f"{name}.jsonl", [play(engine, 1, SEARCH, each)])
        for name, each in (("a", WRONG), ("b", RIGHT))
    ]
    lines = priced(tmp_path / "p.jsonl", "x", {("q-birth", 0): [{"x": 0.0}, {"x": 1.0}]})
    out = tmp_path / "page.html"
    write_page(out, read_runs([*files, lines]))
    tab.goto(url(out, "#/rewards/1.q-birth.1"))  # it has one reward
    assert heading(tab) == "There is no episode under two rewards here"
    tab.goto(url(out, "#/rewards/2.q-birth.1"))
    assert heading(tab) == "Where was the author of The Tin Drum born?"
    tab.goto(url(out, "#/runs?measure=constructor"))
    assert tab.locator("#measure").input_value() == "f1"


def test_a_view_that_fails_does_not_end_the_page(tab: Any, page: Path) -> None:
    tab.goto(url(page, "#/episode/1.q-birth.1"))
    tab.evaluate("document.getElementById('e1').textContent = '{}'")
    tab.goto(url(page, "#/episode/1.q-birth.2"))
    assert heading(tab).startswith("There is no view that can be drawn (")
    tab.goto(url(page, "#/episode/1.q-birth.1"))
    assert "attempt 1" in tab.locator(".path").inner_text()
    tab.goto(url(page, "#/episode/1.q-birth.2"))
    assert heading(tab).startswith("There is no view that can be drawn (")
    tab.goto(url(page, "#/"))
    assert tab.get_by_role("status").inner_text() == "5 of 5 episodes"


def test_an_episode_shows_what_it_was_paid(tab: Any, page: Path) -> None:
    tab.goto(url(page, "#/episode/1.q-birth.1"))
    turn = tab.locator("#turn-1")
    assert turn.locator("mark.gold").count()
    assert "★ The Tin Drum" in turn.locator(".gold-title").all_inner_texts()
    assert turn.locator(".block .tag").all_inner_texts() == ["thought", "search"]
    captions = turn.locator("table.pay caption").all_inner_texts()
    assert captions == ["igpo", "outcome-f1"]
    rows = turn.locator("table.pay").first.locator("th").all_inner_texts()
    assert rows == ["gain", "f1", "format-penalty", "reward", "advantage"]
    assert tab.locator("#turn-3 mark.answer").first.inner_text() == "Danzig"
    assert "✓ right" in tab.locator(".verdict").inner_text()


def test_a_turn_that_the_scorer_could_not_read_has_no_gain(tab: Any, tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, AGAIN, RIGHT)
    episode.extra["unread"] = [2]
    write_page(tmp_path / "page.html", read_runs([write(tmp_path / "a.jsonl", [episode])]))
    tab.goto(url(tmp_path / "page.html", "#/episode/1.q-birth.1"))
    gains = [tab.locator(f"#turn-{turn} .belief-now dd").last.inner_text() for turn in (1, 2)]
    assert gains[0] != "–" == gains[1]
    assert "the scorer could not read this one" in tab.locator("#turn-2 aside").inner_text()
    assert tab.get_by_role("button", name=re.compile("^Turn 2: .*, not read by the scorer$")).count() == 1


def test_tokens_are_shaded(tab: Any, tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 0, SEARCH, WRONG)
    said = Segment(
        "agent", "assistant", WRONG, (1, 2), (-0.01, -7.0), tokens=("<answer>Col", "ogne</answer>")
    )
    episode.turns[1] = replace(episode.turns[1], segments=(said,))
    write_page(
        tmp_path / "page.html", read_runs([write(tmp_path / "a.jsonl", [episode])]), token_names=str.split
    )
    tab.goto(url(tmp_path / "page.html", "#/episode/1.q-author.1"))
    tab.locator("h1:focus").wait_for()  # from now on keys are heard
    tab.keyboard.press("t")
    tokens = tab.locator("#turn-2 .token")
    tokens.first.wait_for()
    assert tokens.all_inner_texts() == ["<answer>Col", "ogne</answer>"]
    shades = [each.evaluate("each => getComputedStyle(each).backgroundColor") for each in tokens.all()]
    assert shades[0] != shades[1]
    assert tokens.last.get_attribute("title") == "−7.000 nats, probability 0.001"
    tab.locator("#turn-2 .tokens summary").click()
    listed = tab.locator("#turn-2 .tokens tbody tr").last.inner_text().split("\t")
    assert listed == ['"ogne</answer>"', "−7.000", "0.001"]
    table = tab.locator("table.answer-tokens").first
    assert table.locator("thead th").all_inner_texts() == ["after", "Günter", "Grass", "belief"]
    # (1 + mentions) / (10 + mentions) of each token, after the prompt
    assert table.locator("tbody tr").first.locator("td").all_inner_texts() == ["0.100", "0.100", "0.100"]


def test_one_episode_under_two_rewards(tab: Any, page: Path) -> None:
    tab.goto(url(page, "#/rewards"))
    assert "5 episodes: mean difference" in tab.get_by_role("status").inner_text()
    tab.locator("tbody .title").first.click()
    assert tab.locator("thead th[scope=colgroup]").all_inner_texts() == ["igpo", "outcome-f1"]
    tab.locator("#second").select_option("igpo")
    assert tab.locator("thead th[scope=colgroup]").all_inner_texts() == ["igpo", "igpo"]
    differences = tab.locator("tbody tr td:last-child .number").all_inner_texts()
    assert differences
    assert set(differences) == {"0.00"}


def test_two_runs_sorted_by_difference(tab: Any, tmp_path: Path, engine: Engine) -> None:
    before = [
        play(engine, 1, SEARCH, WRONG),
        play(engine, 0, SEARCH, "<answer>Grass</answer>"),
        play(engine, 2, WRONG),
    ]
    after = [play(engine, 1, SEARCH, RIGHT), play(engine, 0, "<answer>Günter Grass</answer>")]
    files = [write(tmp_path / "before.jsonl", before), write(tmp_path / "after.jsonl", after)]
    write_page(tmp_path / "page.html", read_runs(files))
    tab.goto(url(tmp_path / "page.html", "#/runs"))
    told = tab.get_by_role("status").inner_text()
    assert told == "2 common questions: mean difference +0.500; higher in the second 1, lower 0, equal 1"
    assert tab.locator("main tbody tr:not(.spacer) td:last-child").all_inner_texts() == ["+1.000", "0.000"]
    tab.keyboard.press("j")
    tab.locator("tr.selected").wait_for()
    tab.keyboard.press("Enter")
    tab.locator("table.sides").wait_for()
    assert tab.locator("table.sides thead th").all_inner_texts() == ["attempt 1\nbefore", "attempt 1\nafter"]


def test_a_thousand_episodes(tab: Any, tmp_path: Path, engine: Engine) -> None:
    """They open at once, since only the rows in sight are drawn, and scroll to the last."""
    (episode,) = [play(engine, 1, SEARCH, AGAIN, RIGHT)]
    many = [
        replace(episode, question=replace(episode.question, id=f"q{n}", text=f"Question {n}?"))
        for n in range(1000)
    ]
    write_page(tmp_path / "page.html", read_runs([write(tmp_path / "a.jsonl", many)]))
    tab.goto(url(tmp_path / "page.html"))
    assert tab.get_by_role("status").inner_text() == "1,000 of 1,000 episodes"
    rows = tab.locator("main tbody tr:not(.spacer)")
    assert rows.count() < 60
    tab.locator(".scroller").evaluate("each => { each.scrollTop = each.scrollHeight }")
    tab.get_by_text("Question 999?").wait_for()
    assert rows.count() < 60
    assert tab.locator(".scroller table").get_attribute("aria-rowcount") == "1001"
    tab.locator("#search").fill("question 999?")
    assert tab.get_by_role("status").inner_text() == "1 of 1,000 episodes"


def test_markup_does_not_act(tab: Any, tmp_path: Path, engine: Engine) -> None:
    messages = (f"<think>{EVIL}</think><search>{EVIL}</search>", f"<answer>{EVIL}</answer>")
    episode = play(engine, 1, *messages)
    question = replace(episode.question, id=f"q{EVIL}", text=f"Who? {EVIL}", answers=(EVIL,), source=EVIL)
    found = ToolResult(EVIL, ((Passage("1", EVIL, EVIL),),))
    turn = replace(episode.turns[0], results=(found,), observation=EVIL)
    evil = replace(
        episode, question=question, turns=[turn, episode.turns[1]], measured=[{EVIL: {EVIL: EVIL}}] * 3
    )
    recording = write(
        tmp_path / "a.jsonl", [evil, replace(evil, attempt=1)], agent=EVIL, questions=EVIL, extra=EVIL
    )
    lines = priced(tmp_path / "p.jsonl", f"x{EVIL}", {(question.id, 0): [{EVIL: 1.0}, {EVIL: 2.0}]})
    write_page(tmp_path / "page.html", read_runs([recording, lines]))
    tab.goto(url(tmp_path / "page.html"))
    key = tab.locator("tbody .title").first.get_attribute("href").partition("#/episode/")[2]
    asked = tab.locator("tbody .title").first
    assert "<img src=x onerror='window.acted = 2'>" in asked.inner_text()
    for address in (
        "#/",
        "#/questions",
        f"#/episode/{key}",
        f"#/episode/{key}?tokens=1",
        "#/rewards",
        f"#/rewards/{key}",
    ):
        tab.goto(url(tmp_path / "page.html", address))
        tab.locator("main *").first.wait_for()
        tab.locator("main details").evaluate_all("all => all.forEach((each) => { each.open = true })")
        assert tab.locator("main img, main iframe, main script, main a[href^='javascript' i]").count() == 0
        assert tab.evaluate("() => window.acted") is None
    tab.goto(url(tmp_path / "page.html", "#/questions"))
    tab.locator("tbody .title").first.click()
    tab.locator("table.sides").wait_for()
    assert tab.evaluate("() => window.acted") is None


def test_long_replies_are_folded_and_cuts_told(tab: Any, tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, RIGHT)
    episode.turns[0] = replace(episode.turns[0], observation="A port. " * 500 + "The end.", cut=1234)
    write_page(tmp_path / "page.html", read_runs([write(tmp_path / "a.jsonl", [episode])]))
    tab.goto(url(tmp_path / "page.html", "#/episode/1.q-birth.1"))
    reply = tab.locator("#turn-1 .reply")
    assert "The end." not in reply.inner_text()
    assert "1,234 characters more were cut" in reply.inner_text()
    fold = reply.get_by_role("button", name="Show all 4,008 characters")
    assert fold.get_attribute("aria-expanded") == "false"
    fold.click()
    assert "The end." in reply.inner_text()


def test_protected_questions_show_as_such(tab: Any, tmp_path: Path, engine: Engine) -> None:
    episode = play(engine, 1, SEARCH, RIGHT)
    episode.question = replace(episode.question, protected=True)
    write_page(tmp_path / "page.html", read_runs([write(tmp_path / "a.jsonl", [episode])]))
    tab.goto(url(tmp_path / "page.html", "#/episode/1.q-birth.1"))
    assert "protected set" in tab.get_by_role("note").inner_text()
    assert heading(tab).startswith("hidden:")


def test_it_is_dark_where_the_system_is_and_where_it_is_asked(tab: Any, page: Path) -> None:
    color = "() => getComputedStyle(document.body).backgroundColor"
    tab.emulate_media(color_scheme="light")
    tab.goto(url(page))
    light = tab.evaluate(color)
    tab.emulate_media(color_scheme="dark")
    dark = tab.evaluate(color)
    assert light == "rgb(255, 255, 255)" != dark
    tab.get_by_role("button", name="Colors: auto").click()
    tab.get_by_role("button", name="Colors: dark").click()
    tab.wait_for_function(f"wanted => ({color})() === wanted", arg=light)
    tab.emulate_media(color_scheme="light")
    tab.get_by_role("button", name="Colors: light").click()
    tab.wait_for_function("() => !document.documentElement.dataset.theme")
    assert tab.evaluate(color) == light


def test_a_screen_reader_is_told_what_there_is(tab: Any, page: Path) -> None:
    """Everything that acts is a button, link or field with a name; pictures have words."""
    for address in (
        "#/",
        "#/questions",
        "#/episode/1.q-birth.1/1?tokens=1",
        "#/attempts/q-birth",
        "#/rewards",
    ):
        tab.goto(url(page, address))
        tab.locator("main *").first.wait_for()
        assert tab.locator("h1").count() == 1
        assert tab.locator("svg:not([aria-label]):not([aria-hidden])").count() == 0
        named = tab.locator("button, a, input, select").evaluate_all(
            "all => all.map(each => each.innerText || each.ariaLabel || each.labels?.length || 0)"
        )
        assert all(named)
    tab.goto(url(page))
    assert tab.get_by_role("table").count() == 1
    assert tab.get_by_role("columnheader").count() == 7
    assert tab.locator("[role=img]").first.get_attribute("aria-label").startswith("beliefs 0.")


def test_attempts_that_branched_are_a_tree(tab: Any, tmp_path: Path, engine: Engine) -> None:
    episodes = group(engine)
    branch = episodes[0].branched(1, 4)
    assert branch.branch == Branch(0, 1)
    engine.settle(engine.play([branch], [WRONG]))
    out = tmp_path / "page.html"
    write_page(out, read_runs([write(tmp_path / "tree.jsonl", [*episodes, branch])]))
    tab.goto(f"{url(out)}#/attempts/q-birth")
    heads = tab.locator(".sides thead th").all_inner_texts()
    assert [head.split("\n")[0] for head in heads] == [f"attempt {number}" for number in (1, 5, 2, 3, 4)]
    assert "left attempt 1 after turn 1" in heads[1]
    assert tab.locator(".sides .shared").all_inner_texts() == ["┊ turn 1 of attempt 1"]
    drawn = tab.locator("svg.tree")
    assert "attempt 5 left attempt 1 after turn 1" in drawn.get_attribute("aria-label")
    turns = drawn.locator("a:has(circle)").evaluate_all("all => all.map(each => each.ariaLabel)")
    of_branch = [each for each in turns if "of attempt 5" in each]
    assert [each.split(":")[0] for each in of_branch] == ["turn 2 of attempt 5"]  # the first is attempt 1's
    # The branch's line begins at the shared turn of the attempt that it left, and goes down to its own row.
    where = drawn.locator("g").evaluate_all(
        "all => all.map(each => [...each.querySelectorAll('circle')]"
        ".map(one => [one.cx, one.cy].map(at => at.baseVal.value)))"
    )
    line = drawn.locator("path").nth(1).get_attribute("d")
    (left, top), (_, own) = where[0][1], where[1][0]
    assert line.startswith(f"M{left:.0f} {top:.0f}V{own:.0f}H")
    assert own > top
    drawn.locator("a:not(:has(circle))", has_text="attempt 5").click()
    tab.wait_for_url("**/*#/episode/1.q-birth.5*")


def test_attempts_without_branches_have_no_tree(tab: Any, tmp_path: Path, engine: Engine) -> None:
    out = tmp_path / "page.html"
    write_page(out, read_runs([write(tmp_path / "flat.jsonl", group(engine))]))
    tab.goto(f"{url(out)}#/attempts/q-birth")
    tab.locator(".sides").wait_for()
    assert tab.locator("svg.tree").count() == 0
