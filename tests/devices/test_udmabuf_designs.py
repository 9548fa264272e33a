"""The udmabuf designs by hand, and their wrong forms: each is caught by some property of the 2023 table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from secondsight.cases.thread_2023_udmabuf import COLUMNS, ROWS, Row, program_of, stage
from secondsight.cases.udmabuf_story import importer_reads, no_unwritten_zero
from secondsight.devices.udmabuf_hmm import ImporterFaultsFirst, UdmabufHmm
from secondsight.devices.udmabuf_importer import Importer
from secondsight.devices.udmabuf_keep_old import UdmabufKeepOld
from secondsight.devices.udmabuf_prepare import UdmabufPrepare
from secondsight.devices.udmabuf_update_mapping import UdmabufUpdateMapping
from secondsight.lang import Errno, atomic
from secondsight.lang.errors import RuleBroken
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import EBUSY, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_buf import DmaBufAttachment, dma_buf_attach, dma_buf_detach, dma_buf_move_notify
from secondsight.linux.fault import cpu_write
from secondsight.linux.gup import unpin_folio
from secondsight.linux.mm_types import Mm, Pgoff
from secondsight.linux.page_alloc import frames
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole
from secondsight.linux.udmabuf import get_sg_table
from secondsight.search import Verdict, breadth_first

DESIGN = {row.entry.name: row for row in ROWS}
ASKED = {column.entry.name: column for column in COLUMNS}

# Wrong forms. Each leaves out or misplaces one thing.


class HmmAllocatesFirst(UdmabufHmm):
    """Right where memory is short: the table is made with the pages, before `resv` is taken."""

    def fault_in(self) -> Errno:
        """The table, then the pages."""
        get_sg_table()
        return UdmabufHmm.fault_in(self)

    def allocate(self) -> None:
        """It is there."""


class HmmTellsNobody(UdmabufHmm):
    """An invalidation without move_notify."""

    def changed(self) -> None:
        """Nothing."""


class HmmWithoutRetry(UdmabufHmm):
    """map_dma_buf() without mmu_interval_read_retry()."""

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """Whatever was found."""
        with atomic:
            for i in range(self.nr_pages):
                attach.sgt[i] = self.found[i]
                self.found[i] = None
            self.seq = 0
        return 0


class HmmBeginsLate(UdmabufHmm):
    """mmu_interval_read_begin() after the pages were collected."""

    def fault_in(self) -> Errno:
        """The same in the wrong order."""
        with atomic:
            pages = self.nr_pages
            start = self.watch.notifier.start
        for i in range(pages):
            pfn = hmm.hmm_range_fault(self.watch.notifier, start + i, True)
            if pfn < 0:
                return pfn
            self.found[i] = frames[pfn]
        seq = mn.mmu_interval_read_begin(self.watch.notifier)
        self.seq = seq
        return 0


class ImporterStays(ImporterFaultsFirst):
    """An importer that does not obey move_notify."""

    def move_notify(self) -> None:
        """Goes on with its mapping."""


class UpdateTellsNobody(UdmabufUpdateMapping):
    """Replaces its page without move_notify, and keeps the old one: importers stay with it."""

    def update_mapping(self, pgoff: Pgoff) -> None:
        """Leaks the old page."""
        self.resv.lock()
        self.look_up(pgoff)
        self.resv.unlock()


class UpdateTellsLate(UdmabufUpdateMapping):
    """Gives its old page back before move_notify."""

    def update_mapping(self, pgoff: Pgoff) -> None:
        """The same in the wrong order."""
        self.resv.lock()
        old = self.look_up(pgoff)
        if old is not None:
            unpin_folio(old)
            dma_buf_move_notify(self)
        self.resv.unlock()


class KeepOldWithoutPin(UdmabufKeepOld):
    """Keeps old pages without a pin of its own."""

    def pin_all(self, memfd: ShmemFile, size: Pgoff) -> None:
        """Remembers them only."""
        self.memfd = memfd
        self.nr_pages = size
        for pgoff in range(size):
            self.folios[pgoff] = memfd.pages[pgoff]

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """The memfd's page if it has one, else the one remembered."""
        with atomic:
            for i in range(self.nr_pages):
                memfd = self.memfd
                assert memfd is not None
                folio = memfd.pages[i]
                if folio is not None:
                    self.folios[i] = folio
                attach.sgt[i] = self.folios[i]
        return 0


class KeepOldTellsNobody(UdmabufKeepOld):
    """An invalidation without move_notify: pinned at create, for ever."""

    def changed(self) -> None:
        """Nothing."""


class PrepareTellsNobody(UdmabufPrepare):
    """UDMABUF_PREPARE without move_notify."""

    def prepare(self) -> None:
        """Looks up again; keeps the old pages too."""
        self.resv.lock()
        with atomic:
            for pgoff in range(self.nr_pages):
                self.look_up(pgoff)
        self.resv.unlock()


class PrepareTellsLate(UdmabufPrepare):
    """UDMABUF_PREPARE gives the old pages back before move_notify."""

    def prepare(self) -> None:
        """The same in the wrong order."""
        self.resv.lock()
        for pgoff in range(1):
            old = self.look_up(pgoff)
            if old is not None:
                unpin_folio(old)
                dma_buf_move_notify(self)
        self.resv.unlock()


class PrepareNotesNothing(UdmabufPrepare):
    """The invalidation is not noted."""

    def changed(self) -> None:
        """Nothing."""


def wrong(name: str, exporter: type | None = None, importer: type | None = None) -> Row:
    """A row of the table with a wrong form in it."""
    row = DESIGN[name]
    return replace(row, exporter=exporter or row.exporter, importer=importer or row.importer)


@pytest.mark.parametrize(
    ("row", "caught_by"),
    [
        (wrong("invalidate+hmm", HmmTellsNobody), "no freed frame"),
        (wrong("invalidate+hmm", HmmTellsNobody), "reads new data"),
        (wrong("invalidate+hmm", HmmTellsNobody), "never older"),
        (wrong("invalidate+hmm", HmmTellsNobody), "told without writer"),
        (wrong("invalidate+hmm", HmmWithoutRetry), "no freed frame"),
        (wrong("invalidate+hmm", HmmWithoutRetry), "reads new data"),
        (wrong("invalidate+hmm", HmmBeginsLate), "no freed frame"),
        (wrong("invalidate+hmm", None, ImporterStays), "no freed frame"),
        (wrong("new-mapping notifier", UpdateTellsNobody), "reads new data"),
        (wrong("new-mapping notifier", UpdateTellsNobody), "told without writer"),
        (wrong("new-mapping notifier", UpdateTellsLate), "no freed frame"),
        (wrong("keep-old", KeepOldWithoutPin), "no freed frame"),
        (wrong("keep-old", KeepOldTellsNobody), "told without writer"),
        (wrong("prepare ioctl", PrepareTellsNobody), "reads new data"),
        (wrong("prepare ioctl", PrepareTellsLate), "no freed frame"),
        (wrong("prepare ioctl", PrepareNotesNothing), "reads new data"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.exporter.__name__}-{value.importer.__name__}",
)
def test_wrong_forms_are_caught(row: Row, caught_by: str) -> None:
    made = program_of(row, ASKED[caught_by])
    result = breadth_first(Reference(made))
    assert result.verdict is Verdict.BROKEN, (result.reason, result.error)
    violation = result.violation
    assert violation is not None
    assert violation.rule == caught_by.replace(" ", "-")
    steps = violation.trace.replay(made)
    assert isinstance(steps[-1].error, RuleBroken)
    assert steps[-1].error.rule == violation.rule


@pytest.mark.wide
def test_where_memory_is_short_the_table_is_allocated_before_the_lock_that_the_callback_takes() -> None:
    """The same design with one line elsewhere: dma-buf has no such place, for its importers reserve room for fences under the same lock."""
    found = breadth_first(Reference(program_of(DESIGN["invalidate+hmm"], ASKED["memory is short"])))
    assert found.violation is not None
    assert found.violation.rule == "deadlock"
    mended = breadth_first(Reference(program_of(wrong("invalidate+hmm", HmmAllocatesFirst), ASKED["memory is short"])))
    assert mended.verdict is Verdict.HOLDS
    assert mended.states > found.states


def test_a_frame_that_is_somebody_elses_is_told_apart_from_a_free_one() -> None:
    """`no freed frame` also speaks when the frame has been allocated again: as the VMM's anonymous memory here."""
    on = stage(wrong("invalidate+hmm", HmmTellsNobody), 1)
    on.machine.rules = [rule for rule in (ASKED["no freed frame"].rule,) if rule is not None]
    with on.machine:
        assert on.importer.read(0) == ord("a")
        shmem_fallocate_punch_hole(on.memfd, 0, 1)
        with pytest.raises(RuleBroken, match="freed"):
            on.importer.read(0)
        cpu_write(on.mm, 1, ord("x"))
        with pytest.raises(RuleBroken, match="anonymous"):
            on.importer.read(0)


# By hand.


@pytest.mark.parametrize("name", [r.entry.name for r in ROWS if r.exporter is not None])
def test_an_importer_without_move_notify_is_refused(name: str) -> None:
    on = stage(DESIGN[name], 1)
    attach = on.importer.attach
    assert attach is not None
    with on.machine:
        dma_buf_detach(on.buffer, attach)
        assert dma_buf_attach(on.buffer, on.importer) is None


def test_map_without_fault_in_is_refused() -> None:
    on = stage(DESIGN["invalidate+hmm"], 1)
    with on.machine:
        assert Importer.map(on.importer) == -EBUSY
        assert on.importer.read(0) == ord("a")


def test_keep_old_gives_the_old_page_back_when_it_has_seen_the_refill() -> None:
    on = stage(DESIGN["keep-old"], 1)
    with on.machine:
        old = on.memfd.pages[0]
        assert old is not None
        shmem_fallocate_punch_hole(on.memfd, 0, 1)
        assert (old.refcount, old.pins) == (1, 1)
        cpu_write(on.mm, 0, ord("b"))
        assert on.importer.read(0) == ord("b")
        assert (old.refcount, old.pins) == (0, 0)


def test_prepare_without_an_invalidation_does_nothing() -> None:
    on = stage(DESIGN["prepare ioctl"], 1)
    assert isinstance(on.buffer, UdmabufPrepare)
    assert on.importer.attach is not None
    with on.machine:
        on.importer.read(0)
        on.buffer.prepare()
        assert on.importer.attach.mapped
        shmem_fallocate_punch_hole(on.memfd, 0, 1)
        on.buffer.prepare()  # too early: the hole is still there, and the old page is kept
        assert on.importer.attach.mapped
        assert on.importer.read(0) == ord("a")


def test_prepare_too_early_does_no_harm() -> None:
    on = stage(DESIGN["prepare ioctl"], 1)
    assert isinstance(on.buffer, UdmabufPrepare)
    with on.machine:
        shmem_fallocate_punch_hole(on.memfd, 0, 1)
        on.buffer.prepare()
        cpu_write(on.mm, 0, ord("b"))
        on.buffer.prepare()
        assert on.importer.read(0) == ord("b")


def prepares(buffer: UdmabufPrepare) -> None:
    """Another thread of the VMM, which has written something somewhere."""
    buffer.prepare()


def test_a_prepare_by_another_thread_during_the_punch_spends_the_note() -> None:
    """The invalidation comes before the page leaves the memfd: a call in between finds nothing new and forgets that there was one."""
    column = ASKED["reads new data"]
    made = program_of(DESIGN["prepare ioctl"], column)
    other = Thread("other", prepares, (made.threads[0].arguments[3],))
    result = breadth_first(Reference(build(made.machine, [*made.threads, other], rules=made.rules)))
    assert result.violation is not None
    assert result.violation.rule == "reads-new-data"


def writes_and_prepares(mm: Mm, memfd: ShmemFile, buffer: UdmabufPrepare, page: Pgoff) -> None:
    """One of two threads of a VMM, each with a page of its own."""
    shmem_fallocate_punch_hole(memfd, page, 1)
    cpu_write(mm, page, 98)
    buffer.prepare()


def test_two_writers_that_prepare_the_whole_buffer_show_each_others_zeros() -> None:
    """UDMABUF_PREPARE says that *I* have written; it looks at pages that another thread is still about to write to."""
    on = stage(DESIGN["prepare ioctl"], 2)
    threads = [Thread(f"vmm{page}", writes_and_prepares, (on.mm, on.memfd, on.buffer, page)) for page in range(2)]
    threads.append(Thread("importer", importer_reads, (on.importer, 1)))
    result = breadth_first(Reference(build(on.machine, threads, rules=[no_unwritten_zero])))
    assert result.verdict is Verdict.BROKEN
