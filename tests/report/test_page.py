"""The page that steps through a trace: it is one file, all of the trace is in it, and nothing of a user's can run there."""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
from pathlib import Path
from typing import Any, Literal

import pytest
from page_world import Reader, page_of, shown, states
from report_world import deadlock, driver, livelock, lock_order, queue, three_threads

from secondsight.devices import mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.protecting import IgnoresProtection
from secondsight.lang import U8, Array, Machine, Record, atomic, require, shared, shared_array
from secondsight.lang.program import Program, Thread, build
from secondsight.linux import mmu_notifier as mn
from secondsight.report.page import html_page, page_data
from secondsight.report.sequence import sequence_diagram


class ClearsByAnother(mirror.MirrorWithoutTest):
    def invalidate(self, rng: mn.Range, seq: int) -> bool:
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.clear(rng)
        return True

    @atomic
    def clear(self, rng: mn.Range) -> None:
        self.page_table.unmap(rng)


HOSTILE = "</script><script>alert(1)</script><!-- <b>&amp;\u2028"


@pytest.fixture(scope="module")
def trace() -> dict[str, object]:
    return shown(driver(mirror.MirrorWithoutTest, "munmap"))


def test_the_page_has_the_whole_trace_as_data(trace: dict[str, object]) -> None:
    data = page_data("Title", [trace])
    assert Reader(html_page(data)).data == data


def test_a_step_is_shown_at_the_line_where_it_begins(trace: dict[str, Any]) -> None:
    """Also one that is a whole `with atomic:` block."""
    placed = [(step["stack"][-1]["line"], step["line"]) for step in trace["steps"] if step["stack"] and step["line"]]
    assert len(placed) > 10 and all(shown == begun for shown, begun in placed)


def test_a_call_is_placed_where_it_is_called_also_behind_a_return() -> None:
    """`clear` is called in the step that began in the notifier's function before it."""
    trace = shown(driver(ClearsByAnother, "munmap"))
    (line,) = [one for one in trace["lines"] if one["text"].startswith("clear(")]
    file, _, number = line["where"].rpartition(":")
    assert file == Path(__file__).name
    assert "self.clear(" in Path(__file__).read_text().splitlines()[int(number) - 1]


def test_the_page_needs_nothing_else(trace: dict[str, object]) -> None:
    page = Reader(page_of(trace))
    assert [attrs for tag, attrs in page.elements if "src" in attrs] == []
    assert [attrs["href"] for tag, attrs in page.elements if "href" in attrs] == ["data:,"]
    (policy,) = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None and policy.startswith("default-src 'none';")


@pytest.mark.parametrize("tag", ["script", "style"])
def test_only_the_pages_own_script_and_style_are_allowed(tag: str, trace: dict[str, object]) -> None:
    page = page_of(trace)
    own = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert len(own) == 1
    digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
    assert f"{tag}-src 'sha256-{digest}'" in page


def test_nothing_from_a_users_file_can_end_its_element(trace: dict[str, object]) -> None:
    hostile = trace | {"title": HOSTILE, "text": HOSTILE, "message": HOSTILE}
    page = html_page(page_data(HOSTILE, [hostile]))
    reader = Reader(page)
    assert reader.data["traces"][0]["message"] == HOSTILE
    assert [tag for tag, _ in reader.elements].count("script") == 2
    assert HOSTILE not in page


def test_every_control_has_a_name_and_the_step_is_announced(trace: dict[str, object]) -> None:
    page = Reader(page_of(trace))
    controls = [attrs for tag, attrs in page.elements if tag in ("button", "input") and attrs.get("type") != "checkbox"]
    assert len(controls) == 5 and all(attrs.get("aria-label") for attrs in controls)
    assert [attrs["id"] for _, attrs in page.elements if attrs.get("aria-live") == "polite"] == ["now"]
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert {attrs["aria-labelledby"] for _, attrs in page.elements if "aria-labelledby" in attrs} <= ids


def test_the_state_after_each_step_is_the_machines() -> None:
    seen = states(shown(driver(mirror.MirrorWithoutTest, "munmap")))
    last = seen[-1]
    assert last["mms[0].ptes[1]"] == "-"
    assert "P2" in last["MirrorWithoutTest[0].page_table.entries[1]"]
    assert {state["MirrorWithoutTest[0].lock"] for state in seen} == {"free", "held by cpu", "held by device"}
    assert seen[0]["mms[0].subscriptions.invalidate_seq"] == "2" and last["mms[0].subscriptions.invalidate_seq"] == "3"
    assert last["P2.refcount"] == "1"


def test_page_tables_of_cpu_and_device_lie_beside_each_other() -> None:
    (pages,) = [table for table in shown(driver(mirror.MirrorWithoutTest, "munmap"))["tables"] if table["title"] == "pages"]
    assert pages["columns"] == ["mms[0].mm_mt", "mms[0].ptes", "MirrorWithoutTest[0].page_table.entries"]
    assert not pages["ours"]


def test_what_stays_as_in_a_new_machine_is_idle() -> None:
    trace = shown(three_threads())
    board = next(table for table in trace["tables"] if table["title"] == "board")
    idle = {row["name"]: row["idle"] for row in board["rows"]}
    assert idle == {"first.value": [True], "second.value": [True], "sum": [False]}


def test_a_queue_for_a_lock_is_told() -> None:
    held = {state["board.rw"] for state in states(shown(queue()))}
    assert any("waited for by writes" in state for state in held), held


def test_a_step_has_its_source_and_its_locals() -> None:
    trace = shown(driver(mirror.MirrorWithoutTest, "munmap"))
    for step in trace["steps"]:
        for frame in step["stack"]:
            source = trace["sources"][frame["source"]]
            assert 0 <= frame["line"] - source["first"] < len(source["lines"])
    own = [s for s in trace["sources"] if s["own"]]
    assert [s["file"] for s in own] == ["devices/mirror.py"] and own[0]["first"] == 1
    named = {name for step in trace["steps"] for frame in step["stack"] for name, _ in frame["locals"]}
    assert {"seq", "va"} <= named and not any(name.startswith("_") for name in named)


@pytest.mark.parametrize("program", [deadlock, livelock, lock_order], ids=lambda made: made.__name__)
def test_every_kind_of_end_has_a_page(program: object) -> None:
    made: Program = program()  # type: ignore[operator]
    trace = shown(made)
    assert trace["rule"] in ("deadlock", "livelock", "lock-order")
    assert len(trace["changes"]) == len(trace["steps"])
    assert all(0 <= line["step"] <= len(trace["steps"]) for line in trace["lines"])
    assert Reader(page_of(trace)).data["traces"] == [trace | {"picture": sequence_diagram(trace)}]


class Entry(Record):
    n: U8
    bits: Array[bool, 2]


class Holder(Record):
    entries: Array[Entry, Literal["places"]]


rows = shared_array(Entry, "rows")
holder = shared(Holder)


def fills() -> None:
    rows[0].bits[1] = True
    holder.entries[1].bits[0] = True
    require(rows[0].n == 1, "never", "no entry has one")


def test_a_record_with_an_array_is_a_row_and_a_cell_like_one_without() -> None:
    trace = shown(build(Machine({"rows": 2, "places": 2}), [Thread("fills", fills)]))
    titles = {table["title"]: table["columns"] for table in trace["tables"]}
    assert titles["rows"] == ["n", "bits"] and any("entries" in column for column in titles["places"])
    last = states(trace)[-1]
    assert last["rows[0].bits"] == "[false, true]" and "bits[0]" in last["holder.entries[1]"]


def test_every_call_of_a_drivers_is_placed_at_a_line_that_has_it(trace: dict[str, Any]) -> None:
    """Also the second of a step's: `set_page_dirty` behind the mapping."""
    for shown_trace, file in ((trace, inspect.getfile(mirror)), (shown(driver(IgnoresProtection, "mprotect")), inspect.getfile(MirrorInParts))):
        lines = Path(file).read_text().splitlines()
        placed = [line for line in shown_trace["lines"] if line["where"].startswith(f"{Path(file).name}:") and "(" in line["text"]]
        assert len(placed) >= 3
        for line in placed:
            called = line["text"].partition("(")[0].rpartition(".")[2].removesuffix("()")
            assert called in lines[int(line["where"].rpartition(":")[2]) - 1] or called in ("lock", "unlock"), line
