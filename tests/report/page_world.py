"""Traces as pages, and what a reader of HTML finds in one."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.report.page import html_page, page_data
from secondsight.report.scene import Onlooker, scene
from secondsight.report.trace import tell_result
from secondsight.search import Request, breadth_first


def shown(program: Program, title: str = "Title", name: str = "first") -> dict[str, Any]:
    """The shortest trace of what a program breaks, as a page shows it."""
    onlooker = Onlooker(program)
    result = breadth_first(Reference(program), Request(livelock=True))
    return scene(tell_result(title, program, result, look=onlooker.look), onlooker, name)


def states(trace: dict[str, Any]) -> list[dict[str, str]]:
    """Every state of a trace, by the names of its cells."""
    now = list(trace["initial"])
    seen = [dict(zip(trace["cells"], now, strict=True))]
    for changes in trace["changes"]:
        for cell, value in changes:
            now[cell] = value
        seen.append(dict(zip(trace["cells"], now, strict=True)))
    return seen


class Reader(HTMLParser):
    """A page's elements: each tag with its attributes, and the text of those that have an id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br", "img"):
            self._open.append((tag, dict(attrs).get("id")))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][1]:
            self.texts[self._open[-1][1]] = self.texts.get(self._open[-1][1], "") + data

    @property
    def data(self) -> Any:
        """The object that the page shows."""
        return json.loads(self.texts["data"])


def page_of(*traces: dict[str, Any], results: dict[str, Any] | None = None) -> str:
    return html_page(page_data("Title", traces, results))
