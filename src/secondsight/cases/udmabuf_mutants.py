"""Mutants of the 2023 table's designs: exporters that are in no release, and the importer that goes with them (`design_mutants`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from secondsight.cases.design_mutants import DesignCell, MutatedDesign, holding
from secondsight.cases.thread_2023_udmabuf import COLUMNS, ROWS, TABLE, Column, Row, program_of
from secondsight.contract.buffer import no_freed_frame
from secondsight.devices.udmabuf_hmm import ImporterFaultsFirst, UdmabufHmm, UdmabufHmmUnderResv
from secondsight.devices.udmabuf_importer import Importer
from secondsight.devices.udmabuf_keep_old import UdmabufKeepOld
from secondsight.devices.udmabuf_prepare import UdmabufPrepare
from secondsight.devices.udmabuf_update_mapping import UdmabufUpdateMapping
from secondsight.devices.udmabuf_watched import PinnedUdmabuf, Watch, WatchedUdmabuf
from secondsight.lang.program import Program

__all__ = ["HARMLESS_IN_UDMABUFS", "UDMABUFS"]


def _design(kind: type, *rows: str) -> MutatedDesign:
    """A class, and the rows that it is judged in: a row's exporter or importer is the class, or derives from it."""
    return MutatedDesign(kind, tuple(cell for row in ROWS if row.entry.name in rows for cell in _cells(kind, row)))


def _cells(kind: type, row: Row) -> Iterator[DesignCell]:
    base = row.importer if issubclass(kind, Importer) else row.exporter
    assert base is not None and issubclass(base, kind)
    columns = [column for column in COLUMNS if column.entry.name in holding(TABLE, row.entry.name)]
    read = next(column for column in columns if column.rule is no_freed_frame)
    for column in columns:
        looks = no_freed_frame if column is read else None
        yield DesignCell(TABLE, row.entry.name, column.entry.name, base, _program(row, column, kind), looks)


def _program(row: Row, column: Column, kind: type) -> Callable[[type], Program]:
    def made(changed: type) -> Program:
        return program_of(replace(row, importer=changed) if issubclass(kind, Importer) else replace(row, exporter=changed), column)

    return made


def _watch(*rows: str) -> MutatedDesign:
    """The subscription of an exporter that has one."""
    return MutatedDesign(Watch, _design(WatchedUdmabuf, *rows).cells, "watch")


UDMABUFS: dict[str, MutatedDesign] = {
    design.kind.__name__: design
    for design in (
        _design(UdmabufHmm, "invalidate+hmm"),
        _design(ImporterFaultsFirst, "invalidate+hmm"),
        _design(UdmabufHmmUnderResv, "hmm under resv"),
        _design(UdmabufKeepOld, "keep-old"),
        _design(PinnedUdmabuf, "new-mapping notifier", "prepare ioctl"),
        _design(UdmabufPrepare, "prepare ioctl"),
        _design(UdmabufUpdateMapping, "new-mapping notifier"),
        _design(WatchedUdmabuf, "invalidate+hmm", "new-mapping notifier", "prepare ioctl"),
        _watch("hmm under resv", "invalidate+hmm", "prepare ioctl"),
        _design(Importer, "new-mapping notifier", "hmm under resv"),
    )
}
"""By the name of the class."""

_RESV = "the reservation lock is held: that it is one step besides only saves states"
_STAYS_PINNED = "a page that stays pinned for ever: no column counts what a design gives back"
_ALLOCATES = "what it allocates is not modelled, and who allocates nothing waits for nobody"

_WRITTEN_ANEW = "it is written anew before it is read"
_ONE_STEP = "one step, in which nobody looks"
_WRITTEN_WHEN_MADE = "what is read there is written when the buffer, or the importer, is made"

HARMLESS_IN_UDMABUFS: dict[str, dict[str, str]] = {
    "UdmabufHmm": {
        "fault_in: without the lock 1": _WRITTEN_WHEN_MADE,
        "fault_in: first out of the lock 1": _WRITTEN_WHEN_MADE,
        "fault_in: last out of the lock 1": _WRITTEN_WHEN_MADE,
        "fault_in: swap 1": _WRITTEN_WHEN_MADE,
        "allocate: drop 1": _ALLOCATES,
        "map_dma_buf: drop 1": _ALLOCATES,
        "map_dma_buf: without the lock 1": _RESV,
        "map_dma_buf: first out of the lock 1": _RESV,
        "map_dma_buf: last out of the lock 1": _RESV,
        "map_dma_buf: drop 3": _WRITTEN_ANEW,
        "map_dma_buf: drop 4": _WRITTEN_ANEW,
    },
    "ImporterFaultsFirst": {},
    "UdmabufHmmUnderResv": {
        "map_dma_buf: drop 1": _ALLOCATES,
        "map_dma_buf: swap 1": "the number is read before the pages are looked for, and that is what matters",
        "map_dma_buf: without the lock 1": _WRITTEN_WHEN_MADE,
        "map_dma_buf: first out of the lock 1": _WRITTEN_WHEN_MADE,
        "map_dma_buf: last out of the lock 1": _WRITTEN_WHEN_MADE,
        "map_dma_buf: swap 2": _WRITTEN_WHEN_MADE,
    },
    "UdmabufKeepOld": {
        "changed: drop 1": "who is not told goes on with what it has, which stays pinned; how old that is only columns ask that are broken as they are",
        "map_dma_buf: drop 1": _ALLOCATES,
        "map_dma_buf: without the lock 1": _RESV,
        "map_dma_buf: drop 4": _STAYS_PINNED,
    },
    "PinnedUdmabuf": {
        "open: swap 1": "the buffer is being made: nobody looks at it yet",
        "pin_all: swap 1": "the buffer is being made: nobody looks at it yet",
        "look_up: swap 1": _ONE_STEP,
        "look_up: swap 2": _ONE_STEP,
        "map_dma_buf: drop 1": _ALLOCATES,
        "map_dma_buf: without the lock 1": _RESV,
    },
    "UdmabufPrepare": {
        "prepare: without the lock 1": _RESV,
        "prepare: first out of the lock 1": _RESV,
        "prepare: last out of the lock 1": _RESV,
        "prepare: swap 1": _RESV,
        "prepare: drop 5": "what was noted once is looked at again at each call",
        "prepare: drop 8": _STAYS_PINNED,
    },
    "UdmabufUpdateMapping": {
        "update_mapping: swap 1": "the old page stays pinned until importers have been told",
        "update_mapping: drop 5": _STAYS_PINNED,
    },
    "WatchedUdmabuf": dict.fromkeys(("open: swap 1", "open: swap 2"), "the buffer is being made: nobody looks at it yet"),
    "Watch": {
        "invalidate: swap 1": _RESV,
        "invalidate: negate 2": "only the OOM reaper asks with a range that may not block, and it takes nothing that is mapped shared, as the memfd is",
    },
    "Importer": {
        "open: swap 1": "it is being made: nobody tells it of anything yet",
        "map: without the lock 1": _WRITTEN_WHEN_MADE,
        "map: first out of the lock 1": _WRITTEN_WHEN_MADE,
        "map: last out of the lock 1": _WRITTEN_WHEN_MADE,
        "map: swap 1": _WRITTEN_WHEN_MADE,
        "map: without the lock 2": _RESV,
        "map: first out of the lock 2": _RESV,
        "map: last out of the lock 2": _RESV,
        "map: swap 2": _ONE_STEP,
        "move_notify: without the lock 1": _RESV,
        "move_notify: first out of the lock 1": _RESV,
        "move_notify: last out of the lock 1": _RESV,
        "move_notify: swap 1": _RESV,
    },
}
"""By class and mutant: why it may survive."""
