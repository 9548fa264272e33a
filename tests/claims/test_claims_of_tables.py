"""A trace that `settle` prints comes back as possible too: some broken cells, each with something in its trace that was not read once."""

from __future__ import annotations

import os

import pytest

from secondsight.cases import TABLES, program_of_cell, search_cell
from secondsight.claims import Subject, Tried, ask_of, read_claim
from secondsight.claims.patterns import GIVEN, same, told_word
from secondsight.lang.program import Program
from secondsight.report.trace import mail
from secondsight.search import Limits, Verdict
from secondsight.search.request import Request

EVERYTHING = os.environ.get("SECONDSIGHT_CLAIMS") == "all"
NO_STEP = {"livelock", "lock-order"}

SOME = [
    ("2026-two-passes", "number last", "no structure"),  # a statement with <=, statements that are wrapped
    ("2026-revoke", "unmap or 1 s", "reads ahead"),  # a step that chooses
    ("2026-revoke", "unmap", "jobs in flight"),  # lines so deep that they could be another thread's
]
"""The others that were not read once: `registration-cache, event:munmap` (a call that gives back two values), `2026-revoke, open, then count:hasty unmap`
(a result alone in its line), `2026-hmm-retry, fresh, 1 s in all:userfaultfd` (a statement with //), `2021-05-exclusive, retries locked:munmap`."""
ALL = [(table.name, row, column) for table in TABLES.values() for (row, column), verdict in table.expected.items() if verdict is Verdict.BROKEN]


def asked(name: str, row: str, column: str) -> tuple[Tried, str]:
    """What is said of a cell's printed trace, and the rule that it breaks."""
    table = TABLES[name]
    request = Request() if EVERYTHING else Request(executor="reference")
    cell = search_cell(table, row, column, request)
    assert cell.result is not None and cell.result.violation is not None

    def program(watched: bool, bounds: dict[str, int]) -> Program | None:
        return program_of_cell(table, row, column, bounds) if watched else None

    text = mail(f"{row}, {column}", program_of_cell(table, row, column, cell.bounds), cell.result)
    subject = Subject(f"{row}:{column}", f"{row}, {column}", program)
    return ask_of(read_claim(text, "claim.txt"), subject, Request(limits=Limits(states=150_000))), cell.result.violation.rule


@pytest.mark.parametrize("told", ["(0, 1)", "(5, true, -EBUSY)", "[P1, P2]", "-EBUSY", "P1", "true"])
def test_a_call_may_give_back_several_values(told: str) -> None:
    """Else the line is taken for where the call begins, and does not come where it stands."""
    assert GIVEN.match(told_word(told)) and same(told, told)


@pytest.mark.parametrize(("name", "row", "column"), ALL if EVERYTHING else SOME, ids=lambda name: name.replace(" ", "-"))
def test_a_cells_printed_trace_is_possible_and_breaks_the_same(name: str, row: str, column: str) -> None:
    """All of them: `make claims`, minutes."""
    tried, rule = asked(name, row, column)
    assert (tried.verdict, tried.unknown) == ("possible", ()), tried
    assert tried.possible is not None
    assert tried.possible.breaks == rule or rule in NO_STEP
