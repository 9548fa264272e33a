"""The 2023-06 table: its verdicts as reasoned, its traces replayed, its properties able to break, its costs, its questions to kernels."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

import secondsight
from secondsight.cases import TABLES, FreeRun, Question, search_cell
from secondsight.cases.pin_cost import PIN_SECONDS, Picture, PinCost
from secondsight.cases.pins_on_kernel import RUN
from secondsight.cases.thread_2023_hugetlb_pins import COLUMNS, ROWS, TABLE, PinsColumn, PinsRow, program_of, stage
from secondsight.devices import udmabuf_held as designs
from secondsight.lang import Ref
from secondsight.lang.errors import RuleBroken
from secondsight.lang.reference import Reference
from secondsight.linux import udmabuf
from secondsight.linux.errno import EBUSY
from secondsight.linux.memory_hotplug import offline_pages
from secondsight.linux.mm_types import Folio, Mm, Pgoff, Va
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.shmem import ShmemFile
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Result, Verdict, breadth_first
from secondsight.search.request import Request
from secondsight.world.model import only_outcome

EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"
RULE = {
    "offline idle": "movable", "offline shown": "movable", "CMA shown": "movable", "VFIO": "pairing", "DONTNEED": "same-page",
    "hole": "same-page", "memlock": "memlock",
}  # fmt: skip
"""The rule that is broken in a column."""
SAMPLE = [
    ("reference", "offline idle"), ("folios", "offline shown"), ("each frame", "CMA shown"), ("address", "DONTNEED"),
    ("folios", "hole"), ("as VFIO", "hole"), ("reference", "reboot"), ("folios", "memlock"), ("pin mapped", "given back"),
    ("folios", "sub-pages"),
]  # fmt: skip
CELLS = list(TABLE.expected) if EVERYTHING else SAMPLE


def row(name: str) -> PinsRow:
    """A row by its name."""
    return next(r for r in ROWS if r.entry.name == name)


def column(name: str) -> PinsColumn:
    """A column by its name."""
    return next(c for c in COLUMNS if c.entry.name == name)


@cache
def settled(row: str, column: str) -> Result:
    """A cell's result, searched once."""
    result = search_cell(TABLE, row, column, Request(executor="reference")).result
    assert result is not None
    return result


@pytest.mark.parametrize(("design", "asked"), CELLS)
def test_a_cell_is_as_reasoned_and_its_trace_replays(design: str, asked: str) -> None:
    result = settled(design, asked)
    assert result.verdict is TABLE.expected[design, asked], (result.violation, result.reason, result.error)
    violation = result.violation
    if violation is None:
        assert result.states > 20
        return
    assert violation.rule == RULE[asked]
    made = TABLE.program(design, asked)
    assert made is not None
    steps = violation.trace.replay(made)
    assert len(steps) == len(violation.trace) and isinstance(steps[-1].error, RuleBroken)


@pytest.mark.parametrize("asked", list(RULE))
def test_a_column_holds_somewhere_and_is_broken_somewhere(asked: str) -> None:
    assert {TABLE.expected[r.entry.name, asked] for r in ROWS} == {Verdict.HOLDS, Verdict.BROKEN}


class KeepsOnePage(designs.UdmabufReferences):
    """Wrong: gives one page less back than it holds."""

    def let_go(self, folio: Folio) -> None:
        """Not the first."""
        if folio is not self.folios[0] and self.nr_pages == 1:
            designs.UdmabufReferences.let_go(self, folio)


class StaysCounted(designs.UdmabufAsVfio):
    """Wrong: what failed or was closed stays counted."""

    def account(self, inc: bool) -> int:
        """Only ever more."""
        if not inc:
            return 0
        return designs.UdmabufAsVfio.account(self, inc)


class MapsTheHead(designs.UdmabufPinsFolios):
    """Wrong: a view that forgets the offset into the folio."""

    def vmap_page(self, pgoff: Pgoff) -> Ref[Folio]:
        """The folio's first page."""
        page = self.folios[pgoff]
        return None if page is None else page_folio(page)


class MakesNoBufferAgain(designs.UdmabufReferences):
    """Wrong: what is given up is not forgotten."""

    def close(self) -> None:
        """Nothing is given back."""


class MakesOneBuffer(designs.UdmabufReferences):
    """Wrong: one that was made once is not made again."""

    made: bool

    def create(self, memfd: Ref[ShmemFile], mm: Mm, va: Va, first: Pgoff, size: Pgoff) -> int:
        """-EBUSY the second time."""
        if self.made:
            return -EBUSY
        self.made = True
        return designs.UdmabufReferences.create(self, memfd, mm, va, first, size)


WRONG = [
    (KeepsOnePage, "given back", "balance"),
    (StaysCounted, "given back", "balance"),
    (MapsTheHead, "sub-pages", "sub-page"),
    (MakesNoBufferAgain, "reboot", "movable"),
    (MakesOneBuffer, "reboot", "reboot"),
]


@pytest.mark.parametrize(("wrong", "asked", "rule"), WRONG)
def test_the_columns_that_all_designs_keep_can_break(wrong: type[designs.UdmabufHeld], asked: str, rule: str) -> None:
    """No design that anybody argues for breaks these."""
    found = breadth_first(Reference(program_of(replace(row("reference"), exporter=wrong), column(asked))))
    assert found.violation is not None and found.violation.rule == rule, found.error


def test_the_folios_row_is_what_udmabuf_does() -> None:
    """linux/udmabuf.py, which is compared with the C, beside the design: what is held where, and how."""
    on = stage(row("folios"), replace(column("offline idle"), created=False))
    with on.machine:
        assert isinstance(on.memfd, ShmemFile) or on.memfd is not None
        assert on.buffers[0].create(on.memfd, on.mm, 0, 0, 2) == 0
        ours = [(folio is page, folio is not None and folio.pins) for folio, page in zip(on.buffers[0].folios, on.memfd.pages, strict=True)]
        assert offline_pages() == 0
    on = stage(row("folios"), replace(column("offline idle"), created=False, udmabufs=1))
    with on.machine:
        assert on.memfd is not None
        made = udmabuf.udmabufs[udmabuf.udmabuf_create(on.memfd, 0, 2)]
        assert [(f is page, f is not None and f.pins) for f, page in zip(made.folios, on.memfd.pages, strict=True)] == ours == [(True, 1)] * 2
        assert offline_pages() == 0


def test_a_small_cell_is_the_same_in_native_code() -> None:
    at = ("folios", "memlock")
    native, mine = search_cell(TABLE, *at, Request(executor="native")).result, settled(*at)
    assert native is not None and native.violation is not None and mine.violation is not None
    assert (native.violation.rule, len(native.violation.trace)) == (mine.violation.rule, len(mine.violation.trace))


def test_the_costs_are_arithmetic() -> None:
    cost = TABLE.cost
    assert isinstance(cost, PinCost)
    cells = cost.cells()
    assert Picture(1920, 1080, 60).pages(4096) == 2025
    assert cells["each frame", "4 KiB"].pins == 121_500 and cells["each frame", "2 MiB"].pins == 240 and cells["folios", "4 KiB"].pins == 0
    assert cells["each frame", "4 KiB"].share == pytest.approx(121_500 * PIN_SECONDS)
    assert max(map(len, cost.lines())) <= 80 and len(cost.data()) == len(cells)
    assert {name for name, _ in cells} <= {r.entry.name for r in ROWS}


def test_every_cell_is_a_question_to_a_kernel_or_says_why_not() -> None:
    violation = settled("folios", "hole").violation
    assert violation is not None and TABLE.on_kernel is not None and TABLE.runs_on_kernel is not None
    asked = set()
    for (design, name), verdict in TABLE.expected.items():
        question = TABLE.on_kernel(design, name, violation) if verdict is Verdict.BROKEN else TABLE.runs_on_kernel(design, name)
        if isinstance(question, CannotForce):
            assert question.why
        else:
            assert isinstance(question, (Question, FreeRun)) and "udmabuf" in question.kernels.abilities
            asked.add((design, name))
    both = {(r, c) for r in ("reference", "folios") for c in ("VFIO before", "DONTNEED", "hole", "reboot", "given back")}
    assert asked == both | {("folios", "offline idle"), ("folios", "offline shown"), ("folios", "VFIO"), ("folios", "memlock"), ("reference", "memlock")}


def test_what_no_kernel_counts_shows_in_every_run() -> None:
    """Of `memlock` a kernel can be asked by mlock(2), which does count; of VFIO's pins it cannot, for there is no IOMMU in the guest."""
    question = TABLE.on_kernel("folios", "memlock", settled("folios", "hole").violation)  # type: ignore[arg-type,misc]
    assert isinstance(question, FreeRun) and question.shows is not None
    assert question.shows(dict(only_outcome(question.scenario)))
    assert not question.shows({"udmabuf": "-ENOMEM", "limit": "ok", "more": "-ENOMEM"})


def test_why_no_kernel_allocates_cma_is_true_of_those_that_are_built_here() -> None:
    why = TABLE.on_kernel("reference", "CMA shown", settled("folios", "hole").violation)  # type: ignore[arg-type,misc]
    assert isinstance(why, CannotForce) and "CONFIG_CMA_DEBUGFS" in why.why
    configs = list((Path(secondsight.__file__).parent / "kernels" / "config").glob("*.config"))
    assert configs and not any("CMA_DEBUGFS=y" in config.read_text() for config in configs)


def test_free_runs_ask_what_their_cells_do() -> None:
    """In every outcome that is possible the property holds (those without threads have one)."""
    for scenario, shows in RUN.values():
        if not scenario.threads:
            assert shows(dict(only_outcome(scenario)))
    for table in TABLES.values():
        for at, verdict in table.expected.items():
            if verdict is Verdict.HOLDS and table.runs_on_kernel is not None:
                assert isinstance(table.runs_on_kernel(*at), (FreeRun, CannotForce))


@pytest.mark.skipif(not EVERYTHING, reason="make tables runs it")
def test_every_claim_comes_out_one_way() -> None:
    cells = {at: settled(*at).verdict for at in TABLE.expected}
    assert cells == dict(TABLE.expected)
