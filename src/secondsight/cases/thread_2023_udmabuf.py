"""The 2023 thread: the VMM punches holes into the memfd behind a udmabuf and writes again; what does the importer read?

Rows are designs, `devices/udmabuf_*.py`; only `pinned` exists in a release. Columns are properties, asked of every
interleaving of the VMM (which writes, punches and writes again), a second CPU of its guest (which reads the page, and so may
fill the hole) and an importer that maps when it has to and obeys move_notify. `cases/udmabuf_story.py` has the threads and the
rules; here is who meets whom.

A deadlock is the last column's business and is not looked for in the others: there a design that gets stuck is asked about
as far as it goes.

Why the cells that surprise are as they are:

* invalidate+hmm, *told without writer* and *reads new data* hold although nobody hears of the refill: when the importer asks
  in the meantime, hmm_range_fault() fills the hole itself, and the guest then writes to that very page.
* invalidate+hmm, *no unwritten zero* is broken for the same reason. A CPU that reads the hole sees zeros as well.
* not present, *no unwritten zero* is broken: a page is in the VMM's page table, all zeros, before the store that faulted is
  made; and a guest CPU that only reads puts one there as well. Nothing tells such a page from a refill, so keep-old is
  broken in the same way.
* new-mapping notifier, *no unwritten zero* is broken: it is called when the entry is set, and the store that faulted is
  made after that. *Never older* is broken because the entry is set before the call: another CPU's store goes to the new page
  while the buffer still has the old one. With one guest CPU that column holds.
* keep-old, *never older* is broken: one page of the buffer is the memfd's and shows new data while another is kept.
* prepare ioctl, *never older* is broken: what the VMM writes to pages without a hole shows before the call, what it wrote
  before that to the refilled page does not.
* hmm under resv, *goes on* is broken: the importer holds `resv` and faults, which waits for the end of the punch; the punch
  waits in the notifier callback for `resv`.

* invalidate+hmm, hmm under resv, not present, keep-old and prepare ioctl, *memory is short* are broken: the exporter allocates the importer's table
  with `resv` held (get_sg_table() of 6.12); the allocation reclaims the VMM's page, whose invalidation waits in the callback for `resv`. lockdep knows it
  (dma_resv_lockdep()). The other two are not told of invalidations.

No design frees what an importer uses: *no freed frame* holds everywhere, and only wrong forms of the designs break it
(tests/devices/test_udmabuf_designs.py).

Left out, each to the advantage of the proposals (may hide a bug): several importers; importers that write; a VMM that unmaps
the memfd; refills by write(2) or by another process's mapping, which the RFC's notifier, on the VMM's mm, would not see. Left
out, to nobody's advantage: pages of different buffers, several memfds in one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from secondsight.cases.table import Answer, CaseTable, Finding, Heading
from secondsight.cases.udmabuf_on_kernel import on_kernel, runs_on_kernel
from secondsight.cases.udmabuf_story import (
    Action,
    importer_compares,
    importer_reads,
    importer_reads_until_quiet,
    never_older,
    no_unwritten_zero,
    other_vcpu,
    reads_new_data,
    story,
    told_without_writer,
    vmm,
)
from secondsight.contract.buffer import no_freed_frame
from secondsight.devices.udmabuf_hmm import ImporterFaultsFirst, UdmabufHmm, UdmabufHmmUnderResv, UdmabufNotPresent
from secondsight.devices.udmabuf_importer import Importer
from secondsight.devices.udmabuf_keep_old import UdmabufKeepOld
from secondsight.devices.udmabuf_prepare import UdmabufPrepare
from secondsight.devices.udmabuf_update_mapping import ShmemFileUpdates, UdmabufUpdateMapping
from secondsight.devices.udmabuf_watched import WatchedUdmabuf
from secondsight.lang import Machine
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.dma_buf import DmaBuf
from secondsight.linux.fault import cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.page_alloc_slowpath import direct_reclaim
from secondsight.linux.shmem import F_SEAL_SHRINK, ShmemFile
from secondsight.linux.udmabuf import udmabuf_create, udmabufs
from secondsight.linux.vmscan_direct import perform_reclaim
from secondsight.search import Verdict

__all__ = [
    "COLUMNS",
    "MAY_END",
    "PREPARE",
    "ROWS",
    "TABLE",
    "Column",
    "StoryEvent",
    "Row",
    "Stage",
    "program_of",
    "punch",
    "reuse",
    "stage",
    "write",
]

ANONYMOUS = 2
"""Pages of anonymous memory that the VMM has behind the memfd: other uses of a freed frame."""


@dataclass(frozen=True, slots=True)
class StoryEvent:
    """One event of a story."""

    action: Action
    page: int = 0
    letter: str = "\0"


def write(page: int, letter: str) -> StoryEvent:
    """The guest writes."""
    return StoryEvent(Action.WRITE, page, letter)


def punch(page: int) -> StoryEvent:
    """The VMM punches a hole."""
    return StoryEvent(Action.PUNCH, page)


def reuse(page: int, letter: str) -> StoryEvent:
    """The VMM writes to anonymous memory."""
    return StoryEvent(Action.REUSE, page, letter)


MAY_END = StoryEvent(Action.MAY_END)
"""The VMM goes on, or does not: what breaks in the first part alone comes back as a trace that ends there."""
PREPARE = StoryEvent(Action.PREPARE)
"""The VMM calls UDMABUF_PREPARE, in the row that has it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A design: its exporter (None: linux/udmabuf.py) and the importer that goes with it."""

    entry: Heading
    exporter: type[WatchedUdmabuf] | None
    importer: type[Importer] = Importer


@dataclass(frozen=True, slots=True)
class Column:
    """A property: the rule, the story, and what the importer does. `memfd_pages` are written before the story begins.

    `rule` None: the property is that nobody is stuck. `vcpu`: whether the guest has a second CPU (it reads the last page). `short`: how many
    allocations find no memory.
    """

    entry: Heading
    rule: Callable[..., None] | None
    events: tuple[StoryEvent, ...]
    importer: Callable[[Importer, int], None]
    times: int
    memfd_pages: int = 1
    vcpu: bool = True
    short: int = 0

    @property
    def asks_for_quiet(self) -> bool:
        """Whether its importer or its rule looks at whether all is quiet."""
        return self.importer is importer_reads_until_quiet or self.rule is reads_new_data


ROWS: tuple[Row, ...] = (
    Row(Heading("pinned", "Linux 6.12: the pages are pinned at create, and the memfd is never looked at again"), None),
    Row(
        Heading(
            "invalidate+hmm",
            "an invalidation calls move_notify; who needs the buffer again asks, by hmm_range_fault (before resv)",
        ),
        UdmabufHmm,
        ImporterFaultsFirst,
    ),
    Row(
        Heading("hmm under resv", "the same with hmm_range_fault in map_dma_buf, so with resv held, as dma-buf is today"),
        UdmabufHmmUnderResv,
    ),
    Row(
        Heading("not present", "the same as invalidate+hmm without faulting anything in: in a hole the importer gets an error"),
        UdmabufNotPresent,
        ImporterFaultsFirst,
    ),
    Row(
        Heading(
            "new-mapping notifier",
            "the RFC: a notifier tells of new pages in the VMM's page table; the buffer takes them and calls move_notify",
        ),
        UdmabufUpdateMapping,
    ),
    Row(
        Heading("keep-old", "an invalidation calls move_notify; who asks during the hole gets the old page, which stayed pinned"),
        UdmabufKeepOld,
    ),
    Row(
        Heading(
            "prepare ioctl",
            "an invalidation is noted; UDMABUF_PREPARE, after the VMM wrote, looks up again and calls move_notify",
        ),
        UdmabufPrepare,
    ),
)

FIRST_HOLE = (write(0, "b"), punch(0), reuse(1, "x"), write(0, "c"), PREPARE)
SECOND_HOLE = (punch(0), reuse(2, "y"), write(0, "d"), PREPARE)
TWO_HOLES = (*FIRST_HOLE, MAY_END, *SECOND_HOLE)
"""Between hole and refill the freed frame is put to another use. Else the refill would get the same frame again, and a mapping
that should have gone would be right by accident."""

COLUMNS: tuple[Column, ...] = (
    Column(
        Heading("no freed frame", "the importer never uses a frame that was freed or that is somebody else's by now"),
        no_freed_frame,
        TWO_HOLES,
        importer_reads,
        2,
    ),
    Column(
        Heading(
            "reads new data", "after the refill, and the call that the design asks of the VMM, the importer reads the new data"
        ),
        reads_new_data,
        TWO_HOLES,
        importer_reads_until_quiet,
        2,
    ),
    Column(
        Heading("no unwritten zero", "the importer never reads zeros that the guest did not write"),
        no_unwritten_zero,
        TWO_HOLES,
        importer_reads,
        2,
    ),
    Column(
        Heading("never older", "the importer never reads data older than what it has read before, in this page or another"),
        never_older,
        (punch(1), reuse(2, "x"), write(1, "b"), write(0, "c"), PREPARE),
        importer_compares,
        4,
        memfd_pages=2,
    ),
    Column(
        Heading("told without writer", "without a call by the VMM, in the end the importer's mapping is right or was taken away"),
        told_without_writer,
        tuple(event for event in TWO_HOLES if event is not PREPARE),
        importer_reads_until_quiet,
        2,
    ),
    Column(
        Heading("goes on", "nobody waits for ever, or goes round for ever"),
        None,
        TWO_HOLES,
        importer_reads,
        2,
    ),
    Column(
        Heading("memory is short", "the same with one hole, while who allocates may have to reclaim a page of the VMM's first"),
        None,
        FIRST_HOLE,
        importer_reads,
        2,
        short=1,
    ),
)


MOST_PAGES = max(column.memfd_pages for column in COLUMNS)
"""Every machine has room for so many pages of the memfd: all columns of a row have one code then."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A machine in which a memfd is mapped by a VMM, written full of `a`, and imported through a udmabuf."""

    machine: Machine
    mm: Mm
    memfd: ShmemFile
    buffer: DmaBuf
    importer: Importer


def stage(row: Row, memfd_pages: int, events: Sequence[StoryEvent] = (), counts: bool = True, short: int = 0) -> Stage:
    """Set the machine up for a design: the memfd at address 0, anonymous memory behind it, the importer attached.

    `counts`: whether it is counted who has not ended. `short`: how many allocations find no memory once the threads run.
    """
    room = max(memfd_pages, MOST_PAGES)
    told = [write(page, "a") for page in range(memfd_pages)] + list(events)
    updates = row.exporter is not None and issubclass(row.exporter, UdmabufUpdateMapping)
    pools: dict[type[Any], int] = {row.importer: 1}
    if row.exporter is not None:
        pools[row.exporter] = 1
    if updates:
        pools[ShmemFileUpdates] = 1
    machine = Machine(
        bounds=bounds(
            frames=2 + 2 * room + ANONYMOUS,
            pages=room + ANONYMOUS,
            files=0 if updates else 1,
            file_pages=room,
            dmabuf_pages=room,
            udmabufs=1 if row.exporter is None else 0,
            attachments=1,
            direct_reclaim=int(short > 0),
            anon_vmas=int(short > 0),
            swap_slots=2 * int(short > 0),
        ),
        pools=pools,
        data={
            "story.action": [event.action for event in told],
            "story.page": [event.page for event in told],
            "story.data": [ord(event.letter) for event in told],
            "story.counts": [int(counts)],
        },
    )
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        memfd = shmem_file_updates(machine, memfd_pages) if updates else memfd_create(memfd_pages, F_SEAL_SHRINK)
        do_mmap(mm, 0, memfd_pages, memfd, 0, True)
        do_mmap(mm, memfd_pages, ANONYMOUS, None, 0, True)
        for page in range(memfd_pages):
            cpu_write(mm, page, ord("a"))
        buffer = exporter_of(machine, row, memfd, memfd_pages, mm)
        importer = machine.pool(row.importer).alloc()
        importer.open(buffer)
        if isinstance(importer, ImporterFaultsFirst):
            assert isinstance(buffer, UdmabufHmm)
            importer.exporter = buffer
        story.memfd = memfd
        if short > 0:
            direct_reclaim[0].short = short
    return Stage(machine, mm, memfd, buffer, importer)


def shmem_file_updates(machine: Machine, nr_pages: int) -> ShmemFile:
    """memfd_create() of a file whose faults call the RFC's notifier."""
    memfd = machine.pool(ShmemFileUpdates).alloc()
    memfd.nr_pages = nr_pages
    memfd.seals = F_SEAL_SHRINK
    return memfd


def exporter_of(machine: Machine, row: Row, memfd: ShmemFile, nr_pages: int, mm: Mm) -> DmaBuf:
    """The row's buffer of all pages of the memfd."""
    if row.exporter is None:
        return udmabufs[udmabuf_create(memfd, 0, nr_pages)]
    buffer = machine.pool(row.exporter).alloc()
    buffer.open(memfd, nr_pages, mm, 0)
    if isinstance(memfd, ShmemFileUpdates) and isinstance(buffer, UdmabufUpdateMapping):
        memfd.subscriber = buffer
    return buffer


def program_of(row: Row, column: Column) -> Program:
    """A design and a property as a checked program."""
    on = stage(row, column.memfd_pages, column.events, column.asks_for_quiet, column.short)
    stuck_matters = column.rule is None
    prepares = on.buffer if isinstance(on.buffer, UdmabufPrepare) else None
    threads = [
        Thread("vmm", vmm, (on.mm, on.memfd, column.memfd_pages, prepares), daemon=not stuck_matters),
        Thread("importer", column.importer, (on.importer, column.times), daemon=not stuck_matters),
    ]
    if column.vcpu:
        threads.append(Thread("vcpu", other_vcpu, (on.mm, column.memfd_pages - 1), daemon=not stuck_matters))
    if column.short > 0:
        threads.append(Thread("direct reclaim", perform_reclaim, daemon=True))
    with on.machine:
        story.running = 2 if column.vcpu else 1
    return build(on.machine, threads, [] if column.rule is None else [column.rule], room=ROOM if column.short == 0 else Room(exact=True))


_IMPORTERS = tuple(dict.fromkeys(column.importer for column in COLUMNS))
ROOM = Room(3, (vmm, other_vcpu, *_IMPORTERS), tuple(column.rule for column in COLUMNS if column.rule is not None))
"""All columns of a row have one code, but for that in which memory is short."""


def program(row: str, column: str) -> Program:
    """A cell's program, by the names of its row and column."""
    design = next(r for r in ROWS if r.entry.name == row)
    return program_of(design, next(c for c in COLUMNS if c.entry.name == column))


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

EXPECTED = {
    "pinned": (HOLDS, BROKEN, HOLDS, BROKEN, BROKEN, HOLDS, HOLDS),
    "invalidate+hmm": (HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, HOLDS, BROKEN),
    "hmm under resv": (HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, BROKEN, BROKEN),
    "not present": (HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, HOLDS, BROKEN),
    "new-mapping notifier": (HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, HOLDS, HOLDS),
    "keep-old": (HOLDS, BROKEN, BROKEN, BROKEN, BROKEN, HOLDS, BROKEN),
    "prepare ioctl": (HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, BROKEN),
}
"""Reasoned, in the order of `COLUMNS`; the head of this file says why."""

FINDINGS = (
    Finding(
        "with hmm_range_fault, used correctly, there is no corruption whatever is done to the mapped memfd",
        {
            ("invalidate+hmm", column): HOLDS
            for column in ("no freed frame", "reads new data", "never older", "told without writer", "goes on")
        },
        "stands, if the pages are faulted in before resv is taken: no freed frame, no stale data, no deadlock; "
        "in the hole the importer reads zeros, as a CPU does",
        "falls: see the broken cells of invalidate+hmm",
        if_it_stands=Answer.REFINED,
    ),
    Finding(
        "importers ask, map_dma_buf calls hmm_range_fault; an invalidation triggers move_notify",
        {("hmm under resv", "goes on"): HOLDS},
        "stands with today's locking of dma-buf",
        "falls with today's locking of dma-buf: map_dma_buf and move_notify both need resv, and it deadlocks with a hole punch; "
        "the pages must be faulted in before resv is taken, and dma-buf has no operation for that",
    ),
    Finding(
        "on an invalidation trigger dma-buf move: importers stop using the memory, and ask again when they need it",
        {(row, "memory is short"): HOLDS for row in ("invalidate+hmm", "not present")},
        "stands",
        "stands for what importers see, but not in the callback itself: move_notify wants the reservation lock, under which dma-buf allocates, and "
        "an allocation that reclaims a page of the VMM's waits in the callback for that lock. A worker has to tell them, or nothing may be allocated under the "
        "lock that the callback takes",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "during the hole the importer can be given old pages or zero pages, nothing else",
        {
            ("pinned", "never older"): BROKEN,
            ("invalidate+hmm", "no unwritten zero"): BROKEN,
            ("hmm under resv", "no unwritten zero"): BROKEN,
            ("not present", "no unwritten zero"): BROKEN,
            ("new-mapping notifier", "no unwritten zero"): BROKEN,
            ("keep-old", "no unwritten zero"): BROKEN,
            ("prepare ioctl", "never older"): BROKEN,
        },
        "stands: every design shows unwritten zeros, or data older than what was read before; even `not present`, which shows "
        "neither in the hole, shows the zeros of a page that was faulted in and not yet written",
        "falls: some design does neither",
    ),
    Finding(
        "udmabuf cannot know when the refill is written, so importers cannot be told",
        {
            ("keep-old", "told without writer"): BROKEN,
            ("new-mapping notifier", "no unwritten zero"): BROKEN,
            ("invalidate+hmm", "told without writer"): BROKEN,
        },
        "stands",
        "stands in its first half only: even the new-mapping notifier comes before the write. But nobody needs to be told: "
        "with invalidate+hmm the importer has the very page that the refill is written to",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "UDMABUF_PREPARE, with the invalidation handled, would solve it",
        {("prepare ioctl", column.entry.name): HOLDS for column in COLUMNS},
        "stands",
        "falls in part: no zeros, and new data after the call. But an importer that reads before the call sees new data in one "
        "page and old data in another, and a VMM that does not call leaves it with old pages for ever",
        if_it_falls=Answer.REFINED,
    ),
)

TABLE = CaseTable(
    name="2023-07-udmabuf",
    title="2023-07, udmabuf and mapping updates",
    question="a hole is punched into the memfd behind a udmabuf, and filled again by a write: what may the importer read?",
    rows=tuple(row.entry for row in ROWS),
    columns=tuple(column.entry for column in COLUMNS),
    program=program,
    findings=FINDINGS,
    expected={
        (row, column.entry.name): verdict
        for row, verdicts in EXPECTED.items()
        for column, verdict in zip(COLUMNS, verdicts, strict=True)
    },
    on_kernel=on_kernel,
    runs_on_kernel=runs_on_kernel,
)
