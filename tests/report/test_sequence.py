"""The sequence diagram: it is well formed, has every line of the story in its lane, and nothing of a user's can act in it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
from page_world import shown
from report_world import driver, livelock, queue, three_threads

from secondsight.devices import mirror
from secondsight.report.sequence import sequence_diagram

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script> & <b>\x00\u2028"


@pytest.fixture(scope="module", params=[lambda: driver(mirror.MirrorWithoutTest, "munmap"), three_threads, queue, livelock], ids=["driver", "three", "queue", "livelock"])
def trace(request: pytest.FixtureRequest) -> dict[str, Any]:
    return shown(request.param(), HOSTILE)


def test_every_line_stands_in_the_lane_of_its_thread(trace: dict[str, Any]) -> None:
    picture = ElementTree.fromstring(sequence_diagram(trace))
    heads = {e.text: float(e.attrib["x"]) for e in picture.iter(f"{SVG}text") if e.attrib.get("class", "").startswith("name t")}
    assert list(heads) == [trace["threads"][n] for n in sorted({line["thread"] for line in trace["lines"]})]
    edges = [*sorted(heads.values()), float(picture.attrib["width"])]
    texts = [(e.text, float(e.attrib["x"]), float(e.attrib["y"])) for e in picture.iter(f"{SVG}text")]
    below = 0.0
    for line in trace["lines"]:
        left = heads[trace["threads"][line["thread"]]]
        right = next(edge for edge in edges if edge > left)
        begins = [(x, y) for text, x, y in texts if text and line["text"].startswith(text) and y > below and left <= x < right]
        assert begins, line["text"]
        below = begins[0][1]


def test_it_is_a_picture_of_nothing_but_text_and_lines(trace: dict[str, Any]) -> None:
    picture = sequence_diagram(trace)
    tags = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(picture).iter()}
    assert tags <= {"svg", "title", "desc", "style", "text", "rect", "line", "path"}
    assert "<script" not in picture and "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    described = ElementTree.fromstring(picture).findtext(f"{SVG}desc")
    assert described is not None and all(line["text"].split()[0] in described for line in trace["lines"])


def test_what_breaks_is_marked() -> None:
    picture = ElementTree.fromstring(sequence_diagram(shown(driver(mirror.MirrorWithoutTest, "munmap"))))
    assert next(e.text for e in picture.iter(f"{SVG}text") if e.attrib.get("class") == "broken") == "^ as-if-cpu"
