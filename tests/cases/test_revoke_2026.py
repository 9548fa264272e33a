"""The 2026 table: its verdicts as reasoned, its traces replayed, its claims as checked, its importers able to break their own rule."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache

import pytest

from secondsight.cases import search_cell
from secondsight.cases.revoke_2026 import COLUMNS, ROWS, TABLE, program_of
from secondsight.devices.fenced_importer import FencedImporter, UsesTheOldMapping
from secondsight.devices.revocable_buffer import FencesOnly, RearmsAtRevoke
from secondsight.lang import Errno
from secondsight.lang.errors import RuleBroken
from secondsight.lang.reference import Reference
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment
from secondsight.linux.errno import ENODEV
from secondsight.search import Result, Verdict, breadth_first

EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"
RULES = {
    "jobs in flight": {"no-freed-frame"},
    "reads ahead": {"no-freed-frame"},
    "new work": {"no-freed-frame"},
    "hasty unmap": {"no-freed-frame"},
    "goes on": {"deadlock"},
    "closed after": {"refcount", "deadlock"},
    "new memory": {"no-freed-frame", "refcount"},
    "map beside": {"refcount", "deadlock"},
}
"""The rules that may break in a column."""


@cache
def settled(row: str, column: str) -> Result:
    """A cell's result, searched once."""
    result = search_cell(TABLE, row, column).result
    assert result is not None
    return result


@pytest.mark.parametrize("row", [r.entry.name for r in (ROWS if EVERYTHING else ROWS[::2])])  # the others: make tables
def test_every_cell_is_as_reasoned_and_every_broken_one_replays(row: str) -> None:
    for column in (c.entry.name for c in COLUMNS):
        result = settled(row, column)
        assert result.verdict is TABLE.expected[row, column], (column, result.violation, result.reason, result.error)
        violation = result.violation
        if violation is None:
            assert result.states > 200, column  # somebody had somebody to interleave with
            continue
        assert violation.rule in RULES[column], column
        made = TABLE.program(row, column)
        assert made is not None
        steps = violation.trace.replay(made)
        last = steps[-1].error
        if violation.rule == "deadlock":
            assert last is None
            state = violation.trace.states[-1]
            assert all(s.state is None for i in range(len(made.threads)) for s in Reference(made).thread_successors(state, i))
        else:
            assert isinstance(last, RuleBroken)
            assert last.rule == violation.rule


@pytest.mark.parametrize("column", [c.entry.name for c in COLUMNS])
def test_every_column_holds_somewhere_and_is_broken_somewhere(column: str) -> None:
    assert {TABLE.expected[r.entry.name, column] for r in ROWS} == {Verdict.HOLDS, Verdict.BROKEN}


def test_no_two_sequences_are_the_same_but_the_two_fixes() -> None:
    """Else a row says nothing. The fences of implicit synchronisation are none here, so to wait for them is to wait for nothing."""
    verdicts: dict[tuple[Verdict, ...], list[str]] = {}
    for row in ROWS:
        verdicts.setdefault(tuple(TABLE.expected[row.entry.name, c.entry.name] for c in COLUMNS), []).append(row.entry.name)
    same = [names for names in verdicts.values() if len(names) > 1]
    assert same == [["tell only", "READ fences"], ["skip the put", "re-arm at revoke"]]


def test_an_importer_that_uses_its_old_mapping_does_not_get_the_new_memory_from_who_waited_for_fences_alone() -> None:
    column = next(c for c in COLUMNS if c.entry.name == "new memory")
    made = program_of(FencesOnly, replace(column, importer=UsesTheOldMapping))
    violation = breadth_first(Reference(made)).violation
    assert violation is not None and violation.rule == "no-freed-frame"


class GivesUpForGood(FencedImporter):
    """Wrong: an importer that was refused once asks no more."""

    refused: bool

    def map_locked(self, buffer: DmaBuf, attach: DmaBufAttachment) -> Errno:
        """-ENODEV from then on."""
        if self.refused:
            return -ENODEV
        ret = FencedImporter.map_locked(self, buffer, attach)
        self.refused = ret != 0
        return ret


def test_an_importer_that_gives_up_does_not_get_the_new_memory() -> None:
    """No row breaks this rule: the importer does."""
    column = next(c for c in COLUMNS if c.entry.name == "new memory")
    made = program_of(RearmsAtRevoke, replace(column, importer=GivesUpForGood))
    violation = breadth_first(Reference(made)).violation
    assert violation is not None and violation.rule == "restored"


def test_the_claims() -> None:
    said = [finding.verdict(TABLE.expected) for finding in TABLE.findings]
    assert None not in said
    stands = [finding.stands == sentence for finding, sentence in zip(TABLE.findings, said, strict=True)]
    assert stands == [False, False, False, True, False, False, False, False, True]
