"""The page in a real browser: stepping, keys, links, and no complaint on its console."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import CHROMIUM, Browser
from page_world import page_of, shown, states
from report_world import driver, three_threads

from secondsight.devices import mirror
from secondsight.report.sequence import sequence_diagram

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")

HOSTILE = "<img src=x onerror=\"document.title='broken'\"></script>"


@pytest.fixture(scope="module")
def traces() -> list[dict[str, Any]]:
    first = shown(driver(mirror.MirrorWithoutTest, "munmap"), "Mirror")
    second = shown(three_threads(), HOSTILE, "the second, & last")
    return [first, second]


@pytest.fixture(scope="module")
def url(traces: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("page") / "page.html"
    rows = [{"cells": ["Mirror", "broken"], "trace": "first"}, {"cells": [HOSTILE, "not finished"], "trace": None}]
    file.write_text(page_of(*traces, results={"columns": ["driver", "verdict"], "verdict": 1, "rows": rows, "notes": ["a note"]}))
    return file.as_uri()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """The browser, which has nothing to complain of when the test has ended."""
    started.complaints.clear()
    started.open("about:blank")
    yield started
    assert started.complaints == []


def test_keys_and_buttons_step_and_the_address_follows(browser: Browser, url: str, traces: list[dict[str, Any]]) -> None:
    last = len(traces[0]["steps"])
    browser.open(url)
    assert browser.text("#now").startswith(f"Step 0 of {last}")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    browser.press("ArrowLeft")
    assert browser.text("#now").startswith(f"Step 1 of {last}, ")
    assert browser.value("location.hash") == "#trace=first&step=1"
    browser.press("End")
    assert browser.text("#now").startswith(f"Step {last} of {last}")
    browser.press("ArrowRight")
    browser.press("Home")
    assert browser.value("document.querySelector('#slider').value") == "0"
    browser.click("#on")
    browser.click("#last")
    browser.click("#back")
    assert browser.value("document.querySelector('#slider').value") == str(last - 1)
    browser.value("slider.value = 3, slider.dispatchEvent(new Event('input'))")
    assert browser.value("location.hash") == "#trace=first&step=3"
    browser.value("slider.focus()")
    browser.press("ArrowRight")
    assert browser.value("location.hash") == "#trace=first&step=4"


def test_a_link_leads_to_a_step_and_shows_its_state(browser: Browser, url: str, traces: list[dict[str, Any]]) -> None:
    trace = traces[0]
    number = next(n for n, changes in enumerate(trace["changes"], 1) if any("lock" in trace["cells"][c] for c, _ in changes))
    browser.open(f"{url}#step={number}")
    assert browser.text("#now").startswith(f"Step {number} of ")
    assert browser.value("[...document.querySelectorAll('#state td.changed')].length") > 0
    before, after = states(trace)[number - 1 : number + 1]
    changed = [f"{name}: {before[name]} \u2192 {after[name]}" for c, _ in trace["changes"][number - 1] if c not in trace["ours"] and (name := trace["cells"][c])]
    assert browser.value("[...document.querySelectorAll('#changes li')].map(e => e.textContent)") == changed
    browser.value("location.hash = '#step=999'")
    assert browser.becomes("slider.value", str(len(trace["steps"])))
    browser.open(f"{url}#step=nonsense")
    assert browser.becomes("slider.value", "0")


def test_a_line_of_the_story_leads_to_its_step(browser: Browser, url: str, traces: list[dict[str, Any]]) -> None:
    browser.open(url)
    line = next(line for line in traces[0]["lines"] if line["step"] > 3)
    browser.value(f"document.querySelectorAll('#story button')[{traces[0]['lines'].index(line)}].click()")
    assert browser.text("#now").startswith(f"Step {line['step']} of ")
    assert line["text"] in browser.value("[...document.querySelectorAll('#story .entry.now')].map(e => e.textContent).join()")


def test_the_source_shows_the_line_where_the_step_begins(browser: Browser, url: str, traces: list[dict[str, Any]]) -> None:
    trace = traces[0]
    number = next(n for n, step in enumerate(trace["steps"], 1) if step["stack"])
    frame = trace["steps"][number - 1]["stack"][-1]
    source = trace["sources"][frame["source"]]
    browser.open(f"{url}#step={number}")
    assert browser.text("#source .now") == source["lines"][frame["line"] - source["first"]]


def test_another_trace_is_a_link_away_and_a_users_text_stays_text(browser: Browser, url: str, traces: list[dict[str, Any]]) -> None:
    browser.open(url)
    assert browser.value("[...document.querySelectorAll('#traces a')].length") == 2
    browser.value("document.querySelectorAll('#traces a')[1].click()")
    assert browser.becomes("document.querySelector('#title').textContent", f"{HOSTILE}: {traces[1]['message']}")
    assert browser.value("document.title") == "Title" and browser.value("[...document.images].map(e => e.id)") == ["picture"]
    assert browser.text("#results tbody tr:nth-child(2) td") == HOSTILE
    assert browser.value("[...document.querySelectorAll('#story .heads span')].map(e => e.textContent)") == traces[1]["threads"]


def test_no_name_of_the_story_is_broken_but_behind_its_marks(browser: Browser, url: str) -> None:
    browser.open(f"{url}#trace=first")
    broken = """[...document.querySelectorAll('#story button span')].flatMap(span => [...span.childNodes]).filter(n => n.nodeType === 3).flatMap(
        node => [...node.textContent.matchAll(/\\S+/g)].filter(word => {
            const range = document.createRange();
            range.setStart(node, word.index);
            range.setEnd(node, word.index + word[0].length);
            return range.getClientRects().length > 1;
        }).map(word => word[0]))"""
    assert browser.value(broken) == []
    assert browser.value("document.querySelectorAll('#story button wbr').length") > 5


def test_the_picture_is_there_and_can_be_saved(browser: Browser, url: str, traces: list[dict[str, Any]]) -> None:
    browser.open(f"{url}#step=2")
    browser.value("document.getElementById('picture-box').open = true")
    assert browser.becomes("document.getElementById('picture').naturalWidth > 200", True)
    saved = browser.value("decodeURIComponent(document.getElementById('save-picture').href.replace(/^[^,]*,/, ''))")
    assert saved == sequence_diagram(traces[0])


@pytest.mark.parametrize("width", [1200, 320])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_wider_than_the_window(browser: Browser, url: str, width: int, dark: bool) -> None:
    browser.resize(width, 800, dark)
    browser.open(f"{url}#step=9")
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value("new Set([...document.querySelectorAll('#bar button')].map(one => one.getBoundingClientRect().top)).size") == 1
    style = "getComputedStyle(document.body)"
    paper, ink = (sum(map(int, re.findall(r"\d+", browser.value(f"{style}.{what}")))) for what in ("backgroundColor", "color"))
    assert (paper < ink) is dark
    browser.resize(1200, 900)


def test_it_can_be_printed(browser: Browser, url: str) -> None:
    browser.open(f"{url}#step=9")
    assert browser.printed().startswith(b"%PDF")
