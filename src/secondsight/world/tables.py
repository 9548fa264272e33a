"""What the interpreter of scenarios keeps beside the machinery's own state, and the tables that a scenario is to it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from secondsight.devices.device import Device
from secondsight.lang import Array, Bounds, End, Record, Ref, atomic, bound, const, pool, shared, shared_array
from secondsight.linux.dax import DevDax
from secondsight.linux.ext4_inode import Ext4Inode
from secondsight.linux.fs_dax import FsDaxFile
from secondsight.linux.gup_pages import PageArray
from secondsight.linux.mm_types import AddressSpace, Count
from secondsight.linux.shmem import ShmemFile
from secondsight.linux.udmabuf import Udmabuf
from secondsight.scenario.ops import MAX_PAGES

__all__ = [
    "BY_REFERENCE", "CLOSES", "DIFFERS", "DONTUNMAP", "EMPTY_IS_BAD", "FIXED", "HUGETLB", "IS_UNKNOWN", "NORESERVE", "NOT_RUN", "OPENS", "PRIVATE", "READS_ONLY", "READ_ONLY", "SEALS_LATE",
    "SEALS_WRITES", "SKIPPED", "SUCCESS", "UNDOES", "WHOLE", "WIPES", "WRITES",
    "DeviceNumber", "Handle",
    "Pinned", "RowNumber", "TABLES",
    "dax_of", "device_number", "disk_file_of", "devices", "handles", "memfd_of", "other_processes", "pins", "process", "process_number", "process_of", "results",
    "successes",
    "udmabuf_of",
]  # fmt: skip

NOT_RUN: Final = -127
"""The operation was never reached: the process had ended."""
SKIPPED: Final = -126
"""A handle that the operation needs never came into being."""
DIFFERS: Final = -125
"""Of `device_compare`: the device's access ended otherwise than the CPU's."""

FIXED: Final = 1
"""MAP_FIXED."""
SEALS_LATE: Final = 2
"""The differences `future-write-seal-is-asked-late` and `merged-mapping-ignores-the-seal` of `linux.releases`."""
READ_ONLY: Final = 4
"""PROT_READ without PROT_WRITE."""
PRIVATE: Final = 16
"""MAP_PRIVATE, of a file."""
NORESERVE: Final = 32
"""MAP_NORESERVE, of a file of huge pages."""
DONTUNMAP: Final = 128
"""MREMAP_DONTUNMAP."""
HUGETLB: Final = 64
"""MFD_HUGETLB."""
EMPTY_IS_BAD: Final = 8
"""The differences `empty-page-is-a-bad-address` and `protected-page-is-not-found`."""
IS_UNKNOWN: Final = 32
"""The differences `userfaultfd-moves-pages`, `userfaultfd-poisons-pages` and `userfaultfd-protects-what-is-to-come`, of those operations."""
BY_REFERENCE: Final = 32
"""The difference `direct-io-by-reference`."""
UNDOES: Final = 1
"""MADV_DOFORK, MADV_KEEPONFORK: of what undoes another."""
WIPES: Final = 2
"""MADV_WIPEONFORK, MADV_KEEPONFORK."""
WRITES: Final = 1
"""MADV_POPULATE_WRITE."""

READS_ONLY: Final = "maps for reading"
SEALS_WRITES: Final = "seals against writing"
"""Of `at_least`, no bounds: where a scenario does both, a mapping has VM_MAYWRITE or not, and has a place for it (`vma_flags`)."""

OPENS: Final = 1
CLOSES: Final = 2

WHOLE: Final = 1
SUCCESS: Final = 2

RowNumber = Annotated[int, End("ops")]
"""The number of a row, or the one behind the last."""
DeviceNumber = Annotated[int, Bounds(0, 15)]


class OperationResult(Record):
    """One operation's result: 0 or a page's contents, a negative errno or signal, `NOT_RUN` or `SKIPPED`."""

    value: Annotated[int, Bounds(-128, 127)] = NOT_RUN


class Pinned(PageArray):
    """Pages that were pinned, and whether for writing."""

    write: bool


class Handle(Record):
    """What a handle stands for; `made`: it came into being. A mapping needs no more: its address is in the tables."""

    made: bool
    closed: bool
    file: Ref[AddressSpace]
    pinned: Ref[Pinned]


class DeviceOf(Record):
    """One of several devices of a scenario."""

    device: Ref[Device]


bound("kills", most=1)


class ProcessState(Record):
    """A process of the scenario: `exiting` once it has called exit, or is `killed` (asked where somebody kills), `running` threads of it, `others` that are
    not its own."""

    exiting: bool
    killed: Array[bool, Literal["kills"]]
    running: Count
    others: Count


results = shared_array(OperationResult, "results")
"""Of all operations where somebody asks for them; else the bound is 0: they would tell states apart for nobody."""
successes = shared_array(bool, "successes")
"""Which operations succeeded; the bound is 0 where the results of all are kept."""
handles = shared_array(Handle, "handles")
pins = pool(Pinned, bound("pins", usual=4))
"""What `pin` has made; the bound is 0 where no scenario pins."""
devices = shared_array(DeviceOf, "devices")
"""The devices, where there are several; the bound is 0 where there is one or none: then each thread has it."""
process = shared(ProcessState)
"""The first process."""
other_processes = shared_array(ProcessState, "other_processes")
"""The others; the bound is 0 where there is one."""

# One row an operation.

kind = const("op.kind", Annotated[int, Bounds(0, 255)])
"""What it does: a number of `declare.ACTS`."""
address = const("op.address")
pages = const("op.pages", Annotated[int, Bounds(0, 2 * MAX_PAGES - 1)])
"""How many pages; of what is about halves of pages, a half."""
value = const("op.value")
page = const("op.page")
"""Of what moves a mapping: the address that it moves to; of what has two addresses, the second."""
needs = const("op.needs")
"""The handle that must have come into being, or -1; the ranges of a list must have too, and what `needs_at` names: the mapping
that `at` is in, the device that an operation of the scenario opens, a userfaultfd."""
needs_at = const("op.needs_at")
makes = const("op.makes")
"""The handle that comes into being, or -1; of `device_open`, the device's."""
flags = const("op.flags")
"""`FIXED`, `SEALS_LATE` where the release asks for seals late, `READ_ONLY`, `PRIVATE`, `NORESERVE`: any of them, or 0."""
low = const("op.low")
"""Of what changes mappings that are there: where the mapping that its address is in begins, and in `high` where it ends."""
high = const("op.high")
device_number = const("op.device")
"""Which of several devices it is about."""
process_number = const("op.process")
"""The process that does it, from 0: that of `mms`."""
keeps = const("op.keeps")
"""What is kept of its result: all (`WHOLE`), whether it succeeded (`SUCCESS`), or nothing (0)."""
turns = const("op.turns")
"""Whether it opens the device (`OPENS`) or closes it (`CLOSES`), or 0."""
range_first = const("op.range_first")
ranges = const("op.ranges")
"""How many ranges it has, from `range_first` on in the tables below."""

TABLES = (
    "kind", "address", "pages", "value", "page", "needs", "needs_at", "makes", "flags", "low", "high", "device", "process", "turns", "range_first", "ranges",
)  # fmt: skip

turn_first = const("turn.first")
"""By device, and behind the last: where the rows that open or close it begin in the table below."""
turn_row = const("turn.row")
"""The rows that open or close a device, by their numbers: so nobody looks at the results of all rows."""

range_handle = const("range.handle")
range_is_memfd = const("range.is_memfd")
range_page = const("range.page")
range_pages = const("range.pages")

counts = const("program.counts")
"""Whether anybody waits for threads to end: then each thread says so."""
closes = const("program.closes")
"""Whether the driver is closed in the end, if it is not closed by then, and looked at when all is quiet."""
forks = const("program.forks")
"""Whether a process comes into being by fork."""
parents = const("program.parents")
"""By the number of a process: of which it is forked; itself, if it is not."""


@atomic
def process_of(i: RowNumber) -> ProcessState:
    """The process that does row `i`."""
    if len(other_processes) > 0:
        if process_number[i] > 0:
            return other_processes[process_number[i] - 1]
    return process


# A handle's file, where the operation knows by the handle's type what it is.


def memfd_of(handle: Handle) -> Ref[ShmemFile]:
    """The file of a memfd's handle."""
    return handle.file  # type: ignore[return-value]


def udmabuf_of(handle: Handle) -> Ref[Udmabuf]:
    """The file of a udmabuf's handle."""
    return handle.file  # type: ignore[return-value]


def fs_dax_of(handle: Handle) -> Ref[FsDaxFile]:
    """The file of a dax file's handle."""
    return handle.file  # type: ignore[return-value]


def disk_file_of(handle: Handle) -> Ref[Ext4Inode]:
    """The file of the handle of a file on a disk."""
    return handle.file  # type: ignore[return-value]


def dax_of(handle: Handle) -> Ref[DevDax]:
    """The file of a dax device's handle."""
    return handle.file  # type: ignore[return-value]
