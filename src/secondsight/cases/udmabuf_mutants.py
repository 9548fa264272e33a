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
from secondsight.contract.driver_mutants import DriverMutant, Trial
from secondsight.contract.runs import Seen, watch
from secondsight.devices.udmabuf_hmm import ImporterFaultsFirst, UdmabufHmm, UdmabufHmmUnderResv
from secondsight.devices.udmabuf_importer import Importer
from secondsight.devices.udmabuf_keep_old import UdmabufKeepOld
from secondsight.devices.udmabuf_prepare import UdmabufPrepare
from secondsight.devices.udmabuf_update_mapping import UdmabufUpdateMapping
from secondsight.devices.udmabuf_watched import PinnedUdmabuf
from secondsight.lang import LangError
from secondsight.search import Limits, Request, Verdict

__all__ = ["DESIGNS", "HARMLESS_IN_DESIGNS", "Design", "try_design"]


@dataclass(frozen=True, slots=True)
class Design:
    """A class whose methods are changed, and the row that it is judged in: the row's exporter or importer is the class, or derives from it."""

    kind: type
    row: str

    @property
    def place(self) -> Row:
        """The row."""
        return next(row for row in ROWS if row.entry.name == self.row)

    def holding(self) -> list[Column]:
        """The columns in which the design holds."""
        return [column for column in COLUMNS if TABLE.expected[self.row, column.entry.name] is Verdict.HOLDS]

    def changed(self, mutant: DriverMutant, folder: Path) -> Row:
        """The row with a mutant in the design's place. Raises `LangError` for one outside the language."""
        row = self.place
        is_importer = issubclass(self.kind, Importer)
        base = row.importer if is_importer else row.exporter
        assert base is not None and issubclass(base, self.kind)
        path = folder / "mutant.py"
        path.write_text(_derived(self.kind, base, mutant), encoding="utf-8")
        changed = vars(import_file(path))[_NAME]
        return replace(row, importer=changed) if is_importer else replace(row, exporter=changed)


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
    name = mutant.method.partition(".")[2]
    method = next(node for node in of.body if isinstance(node, ast.FunctionDef) and node.name == name)
    body = "\n".join(f"    {line}" for line in ast.unparse(method).splitlines())
    return "\n".join(imports) + f"\n\n\nclass {_NAME}({base.__name__}):\n{body}\n"


def overridden(design: Design, mutant: DriverMutant) -> bool:
    """Whether the row has a method of its own in the mutated one's place: then nothing is changed there."""
    base = design.place.importer if issubclass(design.kind, Importer) else design.place.exporter
    name = mutant.method.partition(".")[2]
    return inspect.getattr_static(base, name) is not vars(design.kind)[name]


def try_design(design: Design, mutant: DriverMutant, states: int = 5_000_000) -> Trial:
    """A mutant before the cells of its row that hold, in their order, until one notices it."""
    with tempfile.TemporaryDirectory(prefix="secondsight-") as folder:
        try:
            row = design.changed(mutant, Path(folder))
            return Trial(mutant, *_fate(design, row, states))
        except LangError as error:
            return Trial(mutant, "refused", str(error))


def _fate(design: Design, row: Row, states: int) -> tuple[str, str]:
    unfinished = ""
    for column in design.holding():
        table = replace(TABLE, program=lambda _, name: program_of(row, next(c for c in COLUMNS if c.entry.name == name)))
        result = search_cell(table, design.row, column.entry.name, Request(limits=Limits(states=states))).result
        assert result is not None
        if result.verdict is Verdict.BROKEN:
            assert result.violation is not None
            return "broken", f"{column.entry.name}, {result.violation.rule}"
        if result.error is not None:
            return "refused", str(result.error)
        if result.verdict is Verdict.NOT_FINISHED:
            unfinished = unfinished or f"{column.entry.name}, {result.reason}"
    if unfinished:
        return "not finished", unfinished
    return ("survives", "") if _reads(design, row) else ("idle", "the importer gets at no page")


def _reads(design: Design, row: Row) -> bool:
    """Whether the importer gets at a page, in some interleavings."""
    column = next(one for one in design.holding() if one.rule is no_freed_frame)

    def looked(number: int, seen: Seen) -> bool:
        return seen.looked(no_freed_frame)

    (seen,) = watch([[program_of(row, column)]], frozenset({no_freed_frame.__code__.co_filename}), looked, lambda seen: True)
    return looked(0, seen)


DESIGNS: dict[str, Design] = {
    design.kind.__name__: design
    for design in (
        Design(UdmabufHmm, "invalidate+hmm"),
        Design(ImporterFaultsFirst, "invalidate+hmm"),
        Design(UdmabufHmmUnderResv, "hmm under resv"),
        Design(UdmabufKeepOld, "keep-old"),
        Design(PinnedUdmabuf, "prepare ioctl"),
        Design(UdmabufPrepare, "prepare ioctl"),
        Design(UdmabufUpdateMapping, "new-mapping notifier"),
        Design(Importer, "new-mapping notifier"),
    )
}
"""By the name of the class."""

HARMLESS_IN_DESIGNS: dict[str, dict[str, str]] = {}
"""By class and mutant: why it may survive."""
