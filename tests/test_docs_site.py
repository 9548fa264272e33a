"""The site that `make docs-site` has built: nothing is loaded from elsewhere, no page is wider than a phone, a browser has no complaint."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent
SITE = HOUSE / ".venv" / "site"

sys.path.insert(0, str(HOUSE / "tests" / "report"))
from browser import CHROMIUM, Browser  # noqa: E402

pytestmark = pytest.mark.skipif(os.environ.get("SECONDSIGHT_SITE") != "1", reason="make docs-site builds it, and runs this")

SEEN = ["index.html", "how-it-works.html", "tutorial.html", "forced.html", "glossary.html", "limits.html", "threads/2023-07-udmabuf.html", "api/secondsight.testing.html"]


def pages() -> list[Path]:
    return sorted(SITE.rglob("*.html"))


def test_it_has_a_page_for_each_document_thread_and_word() -> None:
    from secondsight.cases import TABLES
    from secondsight.report.glossary import TERMS

    there = {path.relative_to(SITE).as_posix() for path in pages()}
    assert {f"{path.stem}.html" for path in (HOUSE / "docs").glob("*.md")} <= there
    assert {f"threads/{name}.html" for name in TABLES} <= there
    words = (SITE / "glossary.html").read_text()
    assert [term.name for term in TERMS if f'id="{term.anchor}"' not in words] == []


def test_nothing_is_loaded_from_elsewhere() -> None:
    loads = r'<(?:script|img|iframe|source)[^>]*\ssrc="(?:https?:)?//|<link[^>]*rel="(?:stylesheet|preload|preconnect|icon)"[^>]*href="(?:https?:)?//'
    assert [path.name for path in pages() if re.search(loads, path.read_text())] == []


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.parametrize("page", SEEN)
def test_a_browser_has_no_complaint_and_a_phone_is_wide_enough(page: str, browser: Browser) -> None:
    for width, dark in ((1200, False), (390, True)):
        browser.complaints.clear()
        browser.resize(width, 800, dark)
        browser.open((SITE / page).as_uri())
        assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.becomes("[...document.images].every(e => e.complete && e.naturalWidth > 0)", True)
        assert browser.complaints == []
