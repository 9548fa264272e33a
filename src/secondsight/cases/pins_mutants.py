"""Mutants of the 2023 table's ways to hold a udmabuf's pages, and of the display that shows one (`design_mutants`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from secondsight.cases import thread_2023_hugetlb_pins as pins
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, holding
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
from secondsight.lang.program import Program

__all__ = ["HARMLESS_IN_HOLDERS", "HOLDERS"]


def _held(kind: type, *rows: str) -> MutatedDesign:
    """An exporter of the table about pins, and the rows that it is judged in."""
    return _in_cells(kind, {row: holding(pins.TABLE, row) for row in rows})


def _in_cells(kind: type, asked: Mapping[str, Sequence[str]]) -> MutatedDesign:
    """An exporter, or their display, and the cells that it is judged in: of each row its columns, in their order."""
    rows = {row.entry.name: row for row in pins.ROWS}
    columns = {column.entry.name: column for column in pins.COLUMNS}
    cells = []
    for row, names in asked.items():
        assert set(names) <= set(holding(pins.TABLE, row))
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
            {"as VFIO": ("given back", "memlock", "sub-pages"), "address": ("sub-pages",), "pin mapped": ("given back", "sub-pages")},
        ),
        _in_cells(Display, {"pin mapped": ("given back", "reboot", "sub-pages"), "each frame": ("given back", "memlock")}),
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
    "UdmabufHeld": {},
    "Display": {},
}
"""By class and mutant: why it may survive."""
