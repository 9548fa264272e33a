"""The threads' design questions as decision tables."""

from secondsight.cases.table import (
    Answer,
    CaseTable,
    Cell,
    Finding,
    FreeRun,
    Heading,
    Kernels,
    Question,
    forced,
    program_of_cell,
    search_cell,
    settle,
)

TABLES: dict[str, CaseTable] = {}
"""Every table by its name."""


def _register() -> None:
    from importlib import import_module

    for module in ("thread_2011_ib", "thread_2019_hmm", "thread_2021_exclusive", "thread_2023_hugetlb_pins", "thread_2023_udmabuf", "revoke_2026", "hmm_retry_2026", "two_pass_2026", "registration_cache"):
        table: CaseTable = import_module(f"secondsight.cases.{module}").TABLE
        TABLES[table.name] = table


_register()

__all__ = ["TABLES", "Answer", "CaseTable", "Cell", "Heading", "Finding", "FreeRun", "Kernels", "Question", "forced", "program_of_cell", "search_cell", "settle"]
