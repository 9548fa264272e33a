"""Mutants of the 2023 table's designs: exporters that are in no release, and the importer that goes with them.

A mutant is a class derived from the design that has the changed method: whoever names the design by its class takes it for one. It is noticed when the
language refuses it, when a cell that holds does not hold any more, or when the importer gets at no page (idle).
"""

from __future__ import annotations

import ast
import inspect
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from secondsight.cases.table import search_cell
from secondsight.cases.thread_2023_udmabuf import COLUMNS, ROWS, TABLE, Column, Row, program_of
from secondsight.contract.buffer import no_freed_frame
from secondsight.contract.check import import_file
from secondsight.contract.driver_mutants import DriverMutant, Trial, driver_mutants, fate_in
from secondsight.contract.harmless import by_reason
from secondsight.contract.runs import Seen, watch
from secondsight.devices.udmabuf_hmm import ImporterFaultsFirst, UdmabufHmm, UdmabufHmmUnderResv
from secondsight.devices.udmabuf_importer import Importer
from secondsight.devices.udmabuf_keep_old import UdmabufKeepOld
from secondsight.devices.udmabuf_prepare import UdmabufPrepare
from secondsight.devices.udmabuf_update_mapping import UdmabufUpdateMapping
from secondsight.devices.udmabuf_watched import PinnedUdmabuf
from secondsight.lang import LangError
from secondsight.search import Limits, Request, Verdict

__all__ = ["DESIGNS", "HARMLESS_IN_DESIGNS", "UdmabufDesign", "designs_page", "holding", "mutants_of", "try_design"]


@dataclass(frozen=True, slots=True)
class UdmabufDesign:
    """A class whose methods are changed, and the rows that it is judged in: a row's exporter or importer is the class, or derives from it."""

    kind: type
    rows: tuple[str, ...]

    def places(self, method: str) -> list[Row]:
        """The rows in which a method of the class is the one that is called: none of those that have another in its place."""
        judges = [row for row in ROWS if row.entry.name in self.rows]
        return [row for row in judges if inspect.getattr_static(self.base(row), method) is vars(self.kind)[method]]

    def base(self, row: Row) -> type:
        """What a mutant derives from in a row."""
        base = row.importer if issubclass(self.kind, Importer) else row.exporter
        assert base is not None and issubclass(base, self.kind)
        return base

    def changed(self, row: Row, mutant: DriverMutant, folder: Path) -> Row:
        """A row with a mutant in the design's place. Raises `LangError` for one outside the language."""
        path = folder / f"{row.entry.name.replace(' ', '_')}.py"
        path.write_text(_derived(self.kind, self.base(row), mutant), encoding="utf-8")
        changed = vars(import_file(path))[_NAME]
        return replace(row, importer=changed) if issubclass(self.kind, Importer) else replace(row, exporter=changed)


def holding(row: Row) -> list[Column]:
    """The columns in which a row holds."""
    return [column for column in COLUMNS if TABLE.expected[row.entry.name, column.entry.name] is Verdict.HOLDS]


_NAME = "Mutant"


def _derived(kind: type, base: type, mutant: DriverMutant) -> str:
    """A file with a class derived from `base` that has the mutant's method of `kind`, and all names that the method's own file has."""
    tree = ast.parse(mutant.text)
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    own = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    imports.append(f"from {kind.__module__} import {', '.join(own)}")
    if base.__name__ not in own:
        imports.append(f"from {base.__module__} import {base.__name__}")
    of = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    method = next(node for node in of.body if isinstance(node, ast.FunctionDef) and node.name == _method(mutant))
    body = "\n".join(f"    {line}" for line in ast.unparse(method).splitlines())
    return "\n".join(imports) + f"\n\n\nclass {_NAME}({base.__name__}):\n{body}\n"


def _method(mutant: DriverMutant) -> str:
    return mutant.method.partition(".")[2]


def mutants_of(design: UdmabufDesign) -> list[DriverMutant]:
    """The mutants of a design's class, but for those of methods that all its rows have others for: nothing would be changed there."""
    return [one for one in driver_mutants(design.kind) if design.places(_method(one))]


def try_design(design: UdmabufDesign, mutant: DriverMutant, states: int = 5_000_000) -> Trial:
    """A mutant before the cells of its rows that hold, in their order, until one notices it."""
    unfinished = ""
    with tempfile.TemporaryDirectory(prefix="secondsight-") as folder:
        try:
            for row in design.places(_method(mutant)):
                fate, by = _fate(design.changed(row, mutant, Path(folder)), states)
                if fate not in ("survives", "not finished"):
                    return Trial(mutant, fate, by)
                unfinished = unfinished or by
        except LangError as error:
            return Trial(mutant, "refused", str(error))
    return Trial(mutant, "not finished" if unfinished else "survives", unfinished)


def _fate(row: Row, states: int) -> tuple[str, str]:
    unfinished = ""
    for column in holding(row):
        table = replace(TABLE, program=lambda _, name: program_of(row, next(c for c in COLUMNS if c.entry.name == name)))
        result = search_cell(table, row.entry.name, column.entry.name, Request(limits=Limits(states=states))).result
        assert result is not None
        fate, by = fate_in(column.entry.name, result)
        if fate == "not finished":
            unfinished = unfinished or by
        elif fate != "survives":
            return fate, by
    if unfinished:
        return "not finished", unfinished
    return ("survives", "") if _reads(row) else ("idle", "the importer gets at no page")


def _reads(row: Row) -> bool:
    """Whether the importer gets at a page, in some interleavings."""
    column = next(one for one in holding(row) if one.rule is no_freed_frame)

    def looked(number: int, seen: Seen) -> bool:
        return seen.looked(no_freed_frame)

    (seen,) = watch([[program_of(row, column)]], frozenset({no_freed_frame.__code__.co_filename}), looked, lambda seen: True)
    return looked(0, seen)


DESIGNS: dict[str, UdmabufDesign] = {
    design.kind.__name__: design
    for design in (
        UdmabufDesign(UdmabufHmm, ("invalidate+hmm",)),
        UdmabufDesign(ImporterFaultsFirst, ("invalidate+hmm",)),
        UdmabufDesign(UdmabufHmmUnderResv, ("hmm under resv",)),
        UdmabufDesign(UdmabufKeepOld, ("keep-old",)),
        UdmabufDesign(PinnedUdmabuf, ("new-mapping notifier", "prepare ioctl")),
        UdmabufDesign(UdmabufPrepare, ("prepare ioctl",)),
        UdmabufDesign(UdmabufUpdateMapping, ("new-mapping notifier",)),
        UdmabufDesign(Importer, ("new-mapping notifier", "hmm under resv")),
    )
}
"""By the name of the class."""

_RESV = "the reservation lock is held: that it is one step besides only saves states"
_STAYS_PINNED = "a page that stays pinned for ever: no column counts what a design gives back"
_ALLOCATES = "what it allocates is not modelled, and who allocates nothing waits for nobody"

_WRITTEN_ANEW = "it is written anew before it is read"
_ONE_STEP = "one step, in which nobody looks"
_WRITTEN_WHEN_MADE = "what is read there is written when the buffer, or the importer, is made"

HARMLESS_IN_DESIGNS: dict[str, dict[str, str]] = {
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


def designs_page() -> str:
    """The end of docs/adequacy.md."""
    counts = "".join(f"| `{name}` | {len(mutants_of(one))} | {len(mutants_of(one)) - len(HARMLESS_IN_DESIGNS[name])} |\n" for name, one in DESIGNS.items())
    living = "".join(f"| `{name}`: {'; '.join(mutants)} | {reason} |\n" for name, table in HARMLESS_IN_DESIGNS.items() for reason, mutants in by_reason(table).items())
    return HEAD + counts + "\n| may live | reason |\n| --- | --- |\n" + living


HEAD = """
## Mutants of designs

The 2023 table's exporters, which no release has, and its importer, in the same way. A mutant is noticed when a cell of the design's rows that holds does not hold any more, or the
importer gets at no page.

| design | mutants | noticed |
| --- | --- | --- |
"""
