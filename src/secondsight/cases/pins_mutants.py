"""Mutants of the 2023 table's ways to hold a udmabuf's pages, and of the display that shows one (`design_mutants`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from secondsight.cases import thread_2023_hugetlb_pins as pins
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, holding
from secondsight.cases.pins_story import all_is_given_back, is_shown_once
from secondsight.cases.table import Heading
from secondsight.contract.harmless import by_name
from secondsight.devices.display import Display
from secondsight.devices.udmabuf_held import (
    UdmabufAsVfio,
    UdmabufHeld,
    UdmabufPinsAddress,
    UdmabufPinsFolios,
    UdmabufReferences,
    UdmabufShortPinsWhileMapped,
)
from secondsight.lang import Ref, require
from secondsight.lang.program import Program, Thread
from secondsight.linux.mm_types import Folio, Mm
from secondsight.linux.page_alloc import get_page
from secondsight.linux.shmem import ShmemFile

__all__ = ["HARMLESS_IN_HOLDERS", "HOLDERS"]


def is_made_again(display: Display, buffer: UdmabufHeld, memfd: Ref[ShmemFile], mm: Mm, held: Ref[Folio]) -> None:
    """A buffer of one page is made, shown and closed. It is made again of others, of which somebody else holds the first: nothing is given back twice."""
    is_shown_once(display, buffer, memfd, mm, 1, 1)
    all_is_given_back(display, buffer, memfd, mm, held)


def _made_again(on: pins.PinsStage) -> Thread:
    held = on.mm.ptes[0].frame
    assert held is not None
    get_page(held)
    return Thread("vmm", is_made_again, (on.displays[0], on.buffers[0], on.memfd, on.mm, held))


def is_shown_and_closed(display: Display, buffer: UdmabufHeld, memfd: Ref[ShmemFile], mm: Mm) -> None:
    """Nothing fails: a buffer is made, shown and closed."""
    all_is_given_back(display, buffer, memfd, mm, None)
    require(buffer.attachments[0] is None, "balance", "the buffer is closed, and a display is still attached to it")


def _given_back(on: pins.PinsStage) -> Thread:
    return Thread("vmm", is_shown_and_closed, (on.displays[0], on.buffers[0], on.memfd, on.mm))


BESIDE_ITS_COLUMNS = (
    pins.PinsColumn(Heading("shown and closed", "nothing fails: when the buffer is closed, all is given back, and nobody is attached"), _given_back, created=False, shown=False, frames=0),
    pins.PinsColumn(Heading("made again", "a buffer is made and closed, and then cannot be made: nothing is given back twice"), _made_again, created=False, shown=False, frames=0),
)
"""What the table does not ask, and mutants have to be asked: in its column *given back* a buffer cannot be pinned, and no column makes one twice."""


def _held(kind: type, *rows: str) -> MutatedDesign:
    """An exporter of the table about pins, and the rows that it is judged in."""
    return _in_cells(kind, {row: holding(pins.TABLE, row) for row in rows})


def _in_cells(kind: type, asked: Mapping[str, Sequence[str]]) -> MutatedDesign:
    """An exporter, or their display, and the cells that it is judged in: of each row its columns, in their order."""
    rows = {row.entry.name: row for row in pins.ROWS}
    columns = {column.entry.name: column for column in (*pins.COLUMNS, *BESIDE_ITS_COLUMNS)}
    cells = []
    for row, names in asked.items():
        base = Display if kind is Display else rows[row].exporter
        cells += [DesignCell(pins.TABLE, row, name, base, _pinning(rows[row], columns[name], kind)) for name in names]
    return MutatedDesign(kind, tuple(cells))


def _pinning(row: pins.PinsRow, column: pins.PinsColumn, kind: type) -> Callable[[type], Program]:
    def made(changed: type) -> Program:
        return pins.program_of(row, column, changed) if kind is Display else pins.program_of(replace(row, exporter=changed), column)

    return made


HOLDERS: dict[str, MutatedDesign] = {
    design.kind.__name__: design
    for design in (
        _held(UdmabufReferences, "reference", "ref mapped"),
        _held(UdmabufPinsAddress, "address"),
        _held(UdmabufPinsFolios, "as VFIO", "pin mapped"),
        _held(UdmabufAsVfio, "as VFIO"),
        _held(UdmabufShortPinsWhileMapped, "each frame"),
        _in_cells(
            UdmabufHeld,
            {"as VFIO": ("given back", "memlock", "sub-pages", "made again"), "address": ("sub-pages",), "pin mapped": ("shown and closed", "given back", "sub-pages", "made again")},
        ),
        _in_cells(Display, {"pin mapped": ("shown and closed", "reboot", "given back", "sub-pages"), "each frame": ("shown and closed", "reboot", "offline shown", "given back")}),
    )
}
"""By the name of the class."""

HARMLESS_IN_HOLDERS: dict[str, dict[str, str]] = {
    "UdmabufReferences": by_name(
        {
            "in no cell that holds does anybody take the page away while the buffer looks it up, or look at the buffer": (
                "hold: without the lock 1; hold: first out of the lock 1; hold: last out of the lock 1; hold: swap 2"
            ),
        }
    ),
    "UdmabufPinsAddress": {},
    "UdmabufPinsFolios": {},
    "UdmabufAsVfio": {},
    "UdmabufShortPinsWhileMapped": by_name(
        {
            "what is read there is written when the buffer is made, to pin is one step, and one thread alone maps": (
                "hold: without the lock 1; hold: first out of the lock 1; hold: last out of the lock 1"
            ),
        }
    ),
    "UdmabufHeld": by_name(
        {
            "the buffer is being made: nobody looks at it yet": "create: swap 1, 2, 3, 4",
            "who gives pages back has the buffer alone: it could not be made, is unmapped under the reservation lock, or is closed": (
                "let_all_go: without the lock 1; let_all_go: first out of the lock 1; let_all_go: last out of the lock 1"
            ),
            "the reservation lock is held: that it is one step besides only saves states": "map_dma_buf: without the lock 1",
            "in no cell are pages given back while a process faults one of them in": "fault: without the lock 1; fault: first out of the lock 1",
        }
    ),
    "Display": by_name(
        {
            "in no cell do two threads use one display": (
                "show: without the lock 1; show: first out of the lock 1; show: last out of the lock 1; show: swap 1; "
                "hide: without the lock 1, 2; hide: first out of the lock 1, 2; hide: last out of the lock 1, 2; hide: swap 1, 3; "
                "map: without the lock 1; map: first out of the lock 1; map: last out of the lock 1; map: swap 3; "
                "unmap: without the lock 1; unmap: first out of the lock 1; unmap: last out of the lock 1; unmap: swap 3"
            ),
            "what is hidden is not used before it is shown again, which writes both anew": "hide: drop 6, 7",
        }
    ),
}
"""By class and mutant: why it may survive."""
