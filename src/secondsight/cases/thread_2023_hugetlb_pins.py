"""2023-06, udmabuf, hugetlb and pins: how may a udmabuf hold its pages, and what does that keep the host and the VMM from doing?

A guest's framebuffer is shown by the host: udmabuf makes a dma-buf of pages of the guest's memory, a display imports it. udmabuf kept a
reference to each page from create to release. The thread asks what that breaks (memory offline, CMA, VFIO beside it, the balloon), and
what would not: long-term pins of a user address range, references while the buffer is mapped alone, a pin around each frame.

Rows are the designs of `devices/udmabuf_held.py`, and whether the display maps once or for each frame. Columns are properties. All of the guest's
memory lies in one block that has to stay movable, of ZONE_MOVABLE or of CMA; a CPU of the guest draws meanwhile, frames are shown at any
time.

Why the cells that surprise are as they are:

* while mapped, *offline shown*: a framebuffer that is shown is mapped for hours. What is gained is *offline idle*.
* each frame, *CMA shown* and *VFIO* are broken, *offline shown* holds: memory offline goes on until it succeeds; who wants CMA or a long-term
  pin is told that it failed, while a frame takes milliseconds.
* *DONTNEED* holds in all rows whose memory is a memfd: there MADV_DONTNEED takes the entries away and the page stays the file's. QEMU punches a
  hole there. Only the row that takes addresses has private memory there.
* each frame, *hole* holds: the next frame finds the page that the guest has by then.
* as VFIO, *hole* and *DONTNEED* hold because nothing is discarded: the guest gives its page away in vain.
* each frame, *memlock* holds as direct I/O does: nothing is held for as long as user space likes.

*Sub-pages* is asked of a memfd of huge pages, of which the buffer is the second half of one. A pin around each frame has no views beside the frame.

Left out, to the designs' advantage (may hide a bug): postcopy. Left out: migration of huge pages, so that all else is asked with small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from secondsight.cases.pin_cost import Picture, PinCost
from secondsight.cases.pins_on_kernel import on_kernel, runs_on_kernel
from secondsight.cases.pins_story import (
    all_is_given_back,
    all_views_show,
    allocates_cma,
    guest_discards,
    guest_reboots,
    guest_writes,
    is_made_beside_vfio,
    more_than_may_be_locked,
    pairs_with_vfio,
    pins_story,
    shows_frames,
    takes_offline,
)
from secondsight.cases.table import Answer, CaseTable, Finding, Heading
from secondsight.devices import udmabuf_held as designs
from secondsight.devices.display import Display
from secondsight.devices.udmabuf_held import UdmabufHeld
from secondsight.devices.vfio_type1 import VfioType1
from secondsight.devices.vmm import Vmm
from secondsight.lang import Machine
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fault import cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.hugetlb import hugetlb_file_setup
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import get_page, mem_init
from secondsight.linux.shmem import F_SEAL_SHRINK, ShmemFile
from secondsight.linux.util import locked_vm
from secondsight.search import Verdict

__all__ = ["COLUMNS", "ROWS", "TABLE", "PinsColumn", "PinsRow", "PinsStage", "program_of", "stage"]

OTHER = 2
"""The page behind the guest's memory: another use for a page that was discarded."""


@dataclass(frozen=True, slots=True)
class PinsRow:
    """A design: its exporter; whether the display maps for each frame; whether the memory may be private, and discards are disabled."""

    entry: Heading
    exporter: type[UdmabufHeld]
    each_frame: bool = False
    address: bool = False
    no_discard: bool = False


@dataclass(frozen=True, slots=True)
class PinsStage:
    """A machine in which a VMM has its guest's two pages of memory, with two buffers and displays, of which the first may be made and shown."""

    machine: Machine
    mm: Mm
    memfd: ShmemFile | None
    vmm: Vmm
    buffers: Sequence[UdmabufHeld]
    displays: Sequence[Display]
    vfio: VfioType1


@dataclass(frozen=True, slots=True)
class PinsColumn:
    """A property: the threads that ask for it, beside the guest and a display that shows `frames`. `created`, `shown`: the first buffer is before they
    begin. `draws`: the page that a CPU of the guest draws to meanwhile. `cma`: the block is CMA's. `udmabufs`: of Linux's own. `huge`: the guest's memory is a memfd of huge pages, of which the buffer is the second half of one. `private`: the VMM takes the guest's memory for private, as it is where the design can have it."""

    entry: Heading
    asks: Callable[[PinsStage], Thread]
    created: bool = True
    shown: bool = True
    frames: int = 2
    cma: bool = False
    private: bool = False
    draws: int | None = 0
    udmabufs: int = 0
    huge: bool = False


ROWS: tuple[PinsRow, ...] = (
    PinsRow(Heading("reference", "a reference to each page from create to release (until Linux 6.10)"), designs.UdmabufReferences),
    PinsRow(
        Heading("address", "pin_user_pages(FOLL_WRITE | FOLL_LONGTERM) of a range of addresses, from create to release, counted"),
        designs.UdmabufPinsAddress,
        address=True,
    ),
    PinsRow(Heading("folios", "memfd_pin_folios() at create (Linux 6.11 on)"), designs.UdmabufPinsFolios),
    PinsRow(
        Heading("ref mapped", "a reference from map to unmap of the attachment; the display maps while it shows the buffer"),
        designs.UdmabufReferencesWhileMapped,
    ),
    PinsRow(Heading("pin mapped", "the same with memfd_pin_folios() instead of a reference"), designs.UdmabufPinsWhileMapped),
    PinsRow(
        Heading("each frame", "a pin that is not for long around each frame; the display maps for each frame"),
        designs.UdmabufShortPinsWhileMapped,
        each_frame=True,
    ),
    PinsRow(
        Heading("as VFIO", "memfd_pin_folios() at create, counted in locked_vm; the VMM disables discards, as for VFIO"),
        designs.UdmabufAsVfio,
        no_discard=True,
    ),
)


def _offline(on: PinsStage) -> Thread:
    return Thread("host", takes_offline)


def _cma(on: PinsStage) -> Thread:
    return Thread("driver", allocates_cma)


def _vfio(on: PinsStage) -> Thread:
    return Thread("vfio", pairs_with_vfio, (on.vfio, on.mm, 0))


def _after_vfio(on: PinsStage) -> Thread:
    assert on.vfio.map_dma(on.mm, 0) == 0
    return Thread("vmm", is_made_beside_vfio, (on.displays[0], on.buffers[0], on.memfd, on.mm, on.vfio, 0))


def _discard(on: PinsStage) -> Thread:
    return Thread("vmm", guest_discards, (on.vmm, on.mm, on.displays[0], 0, OTHER))


def _reboot(on: PinsStage) -> Thread:
    return Thread("vmm", guest_reboots, (on.vmm, on.mm, on.displays[0], on.buffers[0], on.memfd, 0))


def _memlock(on: PinsStage) -> Thread:
    pins_story.showing += 1
    locked_vm(on.mm).limit = 1
    return Thread("vmm", more_than_may_be_locked, (on.displays[1], on.buffers[1], on.memfd, on.mm))


def _views(on: PinsStage) -> Thread:
    assert do_mmap(on.mm, OTHER, 1, on.buffers[0], 0, True) == OTHER
    return Thread("views", all_views_show, (on.mm, on.displays[0], on.buffers[0], 1, OTHER))


def _given_back(on: PinsStage) -> Thread:
    held = on.mm.ptes[1].frame
    assert held is not None
    get_page(held)
    return Thread("vmm", all_is_given_back, (on.displays[0], on.buffers[0], on.memfd, on.mm, held))


COLUMNS: tuple[PinsColumn, ...] = (
    PinsColumn(
        Heading("offline idle", "the buffer is there and not shown: its memory can be taken offline"), _offline, shown=False, frames=0
    ),
    PinsColumn(Heading("offline shown", "the buffer is shown, between two frames at the latest: its memory can be taken offline"), _offline),
    PinsColumn(Heading("CMA shown", "the buffer is shown, at any moment: the CMA block that it lies in can be allocated"), _cma, cma=True),
    PinsColumn(Heading("VFIO", "the buffer is shown, at any moment: VFIO can pin the same page"), _vfio),
    PinsColumn(
        Heading("VFIO before", "VFIO has the page pinned: the buffer can be made and shown"), _after_vfio, created=False, shown=False, frames=0, draws=1
    ),
    PinsColumn(
        Heading("DONTNEED", "MADV_DONTNEED by the balloon, then the guest draws: the display shows it"), _discard, private=True, draws=None
    ),
    PinsColumn(
        Heading("hole", "a hole punched by the balloon or virtio-mem, then the guest draws: the display shows it"), _discard, draws=None
    ),
    PinsColumn(
        Heading("reboot", "reboot, S3 or S4: resources are given up, memory is discarded and taken offline, resources are taken again"),
        _reboot,
        frames=0,
        draws=1,
    ),
    PinsColumn(
        Heading("sub-pages", "of a hugetlb memfd: the guest, the device, mmap(2) and vmap of the buffer show the same bytes; with the views of Linux 7.2"),
        _views,
        frames=0,
        huge=True,
    ),
    PinsColumn(
        Heading("memlock", "a process keeps no more pages than RLIMIT_MEMLOCK allows, for as long as it likes"), _memlock, frames=1
    ),
    PinsColumn(
        Heading("given back", "whatever fails: when the buffer is closed, nothing is pinned, referenced or counted any more"),
        _given_back,
        created=False,
        shown=False,
        frames=0,
    ),
)


def stage(row: PinsRow, column: PinsColumn, display: type[Display] = Display) -> PinsStage:
    """Set the machine up: the guest's memory at address 0, another page behind it. `display`: the importer, or one that is derived from it."""
    sizes = {"pages": 4, "hugetlb_files": 1, "hugetlb_pages": 1, "huge": 1, "pmds": 2} if column.huge else {"pages": 3, "files": 1, "pageblocks": 1, "pageblock_frames": 3}
    machine = Machine(
        bounds=bounds(
            frames=9, file_pages=2, dmabuf_pages=2, attachments=2, migrations=2, anon_vmas=1, memlock=1, udmabufs=column.udmabufs,
            cma=int(column.cma), **sizes,
        ),
        pools={row.exporter: 2, display: 2, VfioType1: 1, Vmm: 1},
    )  # fmt: skip
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        private = row.address and column.private
        memfd: ShmemFile | None = None
        if column.huge:
            memfd = hugetlb_file_setup(2, F_SEAL_SHRINK)
        elif not private:
            memfd = memfd_create(2, F_SEAL_SHRINK)
        do_mmap(mm, 0, 2, memfd, 0, True)
        if not column.huge:
            do_mmap(mm, OTHER, 1, None, 0, True)
        for va in range(2):
            cpu_write(mm, va, ord("a") + va)
        vmm = machine.pool(Vmm).alloc()
        vmm.mm = mm
        vmm.memfd = None if column.private else memfd
        buffers = [machine.pool(row.exporter).alloc() for _ in range(2)]
        displays = [machine.pool(display).alloc() for _ in range(2)]
        for one in displays:
            one.each_frame = row.each_frame
        vfio = machine.pool(VfioType1).alloc()
        vfio.notifier.mm = mm
        if column.created:
            first = int(column.huge)
            assert buffers[0].create(memfd, mm, first, first, 1) == 0
            if row.no_discard:
                assert vmm.discard_disable(True) == 0
        if column.shown:
            assert displays[0].show(buffers[0]) == 0
    return PinsStage(machine, mm, memfd, vmm, buffers, displays, vfio)


def program_of(row: PinsRow, column: PinsColumn, display: type[Display] = Display) -> Program:
    """A design and a property as a checked program."""
    on = stage(row, column, display)
    with on.machine:
        threads: list[Thread] = [column.asks(on)]
        if column.frames:
            pins_story.showing += 1
            threads.append(Thread("display", shows_frames, (on.displays[0], column.frames)))
        if column.draws is not None:
            threads.append(Thread("vcpu", guest_writes, (on.mm, column.draws, ord("d"))))
    return build(on.machine, threads, [], room=Room(exact=True))


def program(row: str, column: str) -> Program | None:
    """A cell's program, by the names of its row and column; None where nothing is to be asked."""
    design = next(r for r in ROWS if r.entry.name == row)
    asked = next(c for c in COLUMNS if c.entry.name == column)
    return None if design.each_frame and asked.huge else program_of(design, asked)


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

EXPECTED: dict[str, tuple[Any, ...]] = {
    "reference": (BROKEN, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS),
    "address": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, HOLDS, HOLDS, HOLDS),
    "folios": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS),
    "ref mapped": (HOLDS, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS),
    "pin mapped": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS),
    "each frame": (HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, HOLDS, HOLDS, HOLDS, None, HOLDS, HOLDS),
    "as VFIO": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS),
}
"""Reasoned, in the order of `COLUMNS`; the head of this file says why."""

FINDINGS: tuple[Finding, ...] = (
    Finding(
        "udmabuf breaks memory hotunplug and CMA: it turns pages that have to remain movable unmovable, simply by a reference to them",
        {("reference", column): BROKEN for column in ("offline idle", "offline shown", "CMA shown")},
        "Stands: as long as the buffer is there, whether it is shown or not.",
        "Falls.",
    ),
    Finding(
        "pin_user_pages(FOLL_LONGTERM) migrates such pages first; something similar is needed for udmabuf",
        {(row, column): HOLDS for row in ("address", "folios") for column in ("offline idle", "offline shown", "CMA shown")},
        "Stands, and memfd_pin_folios() (Linux 6.11) is that: the pages are elsewhere before they are kept.",
        "Falls.",
    ),
    Finding(
        "udmabuf should have accepted a user space address range, and pinned that",
        {("folios", column): HOLDS for column in ("offline idle", "offline shown", "CMA shown", "VFIO", "memlock")},
        "Stands in nothing: with a memfd all is the same.",
        "Refined: what matters is the long-term pin, not how the memory is named: a memfd's pages can be pinned as well. What a range of addresses "
        "has alone is that it is counted, and that can be had for a memfd too (as VFIO). It has its own risk: private memory, and DONTNEED.",
        if_it_stands=Answer.REFINED,
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "pairing udmabuf with VFIO will most probably not work in all cases: VFIO fails to migrate the pages, for as long as udmabuf holds them",
        {("reference", "VFIO"): BROKEN, ("reference", "VFIO before"): HOLDS, ("folios", "VFIO"): HOLDS},
        "Refined: it fails if udmabuf comes first, always; if VFIO comes first its pin has moved the pages already, and both work. With long-term "
        "pins the order does not matter.",
        "Falls.",
        if_it_stands=Answer.REFINED,
    ),
    Finding(
        "there can be a disconnect between the pages of the guest and those of the device, by MADV_DONTNEED or a punched hole, for example after a "
        "reboot",
        {(row, "hole"): BROKEN for row in ("reference", "address", "folios")} | {("address", "DONTNEED"): BROKEN},
        "Stands, for every design that keeps its pages beyond the discard; but MADV_DONTNEED does it to private memory alone: of a memfd "
        "the page stays, and QEMU punches a hole.",
        "Falls.",
        if_it_stands=Answer.REFINED,
    ),
    Finding(
        "for vfio and vdpa most discards are disallowed, because of that",
        {("as VFIO", column): HOLDS for column in ("DONTNEED", "hole")},
        "Stands, and it is all that is missing: the same pins with discards disabled have every property of the table. The price is that the balloon "
        "gives nothing back.",
        "Falls.",
    ),
    Finding(
        "it would help to hold no reference at create, and to take them when the attachment is mapped",
        {("ref mapped", "offline idle"): HOLDS, ("ref mapped", "offline shown"): HOLDS, ("ref mapped", "CMA shown"): HOLDS},
        "Stands.",
        "Refined: it helps while nobody has the buffer mapped. A framebuffer is mapped for as long as it is shown, and then nothing is better than "
        "before; with memfd_pin_folios() at map it is (pin mapped).",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "the framebuffer can be pinned and unpinned around each access, as a workaround, though that may not be very efficient",
        {("each frame", column): HOLDS for column in ("offline shown", "CMA shown", "VFIO")},
        "Stands.",
        "Refined: memory offline waits for the end of a frame; CMA and VFIO do not, and fail. Discards do no harm. The pins are cheap enough (see the "
        "costs): about one hundredth of a CPU with pages of 4 KiB, nothing with huge ones.",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "for migration and S3/S4 the guest's resources are destroyed and made again; something similar would happen at memory hotunplug",
        {("reference", "reboot"): HOLDS, ("reference", "offline idle"): HOLDS},
        "Stands.",
        "Falls: when resources are given up and taken again all is well with every design. But the host's memory hotunplug is not told to the guest, so "
        "nobody gives anything up.",
    ),
    Finding(
        "hugetlb pages and offsets into them, instead of their sub-pages, are enough for the scatter list and for mmap",
        {(row, "sub-pages"): HOLDS for row in ("address", "folios", "pin mapped", "as VFIO")},
        "Stands: guest, device, mmap(2) and vmap have the same bytes, as long as every view adds the offset.",
        "Falls.",
    ),
    Finding(
        "memlock support is missing",
        {("reference", "memlock"): BROKEN, ("folios", "memlock"): BROKEN, ("address", "memlock"): HOLDS, ("as VFIO", "memlock"): HOLDS},
        "Stands, and memfd_pin_folios() has not brought it: somebody has to count.",
        "Falls.",
    ),
)

TABLE = CaseTable(
    name="2023-06-pins",
    title="2023-06: udmabuf, hugetlb and pins",
    question="How may a udmabuf hold its pages, so that the host and the VMM can still do what they have to?",
    rows=tuple(row.entry for row in ROWS),
    columns=tuple(column.entry for column in COLUMNS),
    program=program,
    findings=FINDINGS,
    on_kernel=on_kernel,
    runs_on_kernel=runs_on_kernel,
    cost=PinCost(Picture(1920, 1080, 60), {row.entry.name: row.each_frame for row in ROWS if row.entry.name in ("folios", "each frame")}),
    expected={
        (row, column.entry.name): verdict
        for row, verdicts in EXPECTED.items()
        for column, verdict in zip(COLUMNS, verdicts, strict=True)
        if verdict is not None
    },
)
