"""Tables of a user's own: the `CaseTable`s that a Python file defines."""

from __future__ import annotations

from pathlib import Path

from secondsight.cases.table import CaseTable
from secondsight.contract.check import import_file
from secondsight.lang.errors import LangError
from secondsight.lang.modules import why_no_file

__all__ = ["has_tables", "load_tables"]


def load_tables(path: Path) -> list[CaseTable]:
    """A file's tables, in its order. Raises `LangError` when it cannot be read or run, or defines none."""
    from secondsight.cases import TABLES

    if not path.is_file():
        raise LangError(f"{path}: {why_no_file(path)}; give a Python file with a CaseTable: secondsight new table NAME writes one")
    tables = {table.name: table for table in vars(import_file(path)).values() if isinstance(table, CaseTable)}
    if not tables:
        raise LangError(f"{path}: no table in it; define a secondsight.cases.CaseTable: secondsight new table NAME writes one")
    for name in tables:
        if name in TABLES and TABLES[name].program.__module__.startswith("secondsight."):
            raise LangError(f"{path}: a table that ships is called {name}; give this one another name")
    TABLES.update(tables)  # a cell is found by its table's name in the processes that search it
    return list(tables.values())


def has_tables(path: Path) -> bool:
    """Whether a user's file defines a table. Raises `LangError` where it cannot be run."""
    return path.is_file() and any(isinstance(value, CaseTable) for value in vars(import_file(path)).values())
