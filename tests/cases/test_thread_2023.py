"""The 2023 table: its verdicts as reasoned, its traces replayed, its properties able to break, its claims as checked."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from secondsight.cases import search_cell
from secondsight.cases.thread_2023_udmabuf import (
    COLUMNS,
    PREPARE,
    ROWS,
    TABLE,
    Column,
    Row,
    program_of,
    punch,
    reuse,
    stage,
    write,
)
from secondsight.lang.errors import RuleBroken
from secondsight.lang.reference import Reference
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.shmem import shmem_fallocate_punch_hole
from secondsight.search import Result, Verdict, breadth_first

RULE = {
    "no freed frame": "no-freed-frame",
    "reads new data": "reads-new-data",
    "no unwritten zero": "no-unwritten-zero",
    "never older": "never-older",
    "told without writer": "told-without-writer",
    "goes on": "deadlock",
    "memory is short": "deadlock",
}
"""The rule that may break in a column: nothing else is checked there."""


@cache
def settled(row: str, column: str) -> Result:
    """A cell's result, searched once."""
    result = search_cell(TABLE, row, column, coming=len(COLUMNS)).result
    assert result is not None
    return result


def row(name: str) -> Row:
    """A row by its name."""
    return next(r for r in ROWS if r.entry.name == name)


def column(name: str) -> Column:
    """A column by its name."""
    return next(c for c in COLUMNS if c.entry.name == name)


@pytest.mark.parametrize(("design", "asked"), list(TABLE.cells()))
def test_every_cell_is_as_reasoned(design: str, asked: str) -> None:
    result = settled(design, asked)
    assert result.verdict is TABLE.expected[design, asked], (result.violation, result.reason, result.error)
    if result.violation is not None:
        assert result.violation.rule == RULE[asked]
    else:
        assert result.states > 1000  # somebody had somebody to interleave with


@pytest.mark.parametrize(("design", "asked"), [c for c in TABLE.cells() if TABLE.expected[c] is Verdict.BROKEN])
def test_every_broken_cell_replays_in_plain_execution(design: str, asked: str) -> None:
    violation = settled(design, asked).violation
    assert violation is not None
    made = TABLE.program(design, asked)
    assert made is not None
    steps = violation.trace.replay(made)
    assert len(steps) == len(violation.trace)
    if violation.rule == "deadlock":
        last = violation.trace.states[-1]
        assert steps[-1].error is None
        assert all(s.state is None for i in range(len(made.threads)) for s in Reference(made).thread_successors(last, i))
    else:
        error = steps[-1].error
        assert isinstance(error, RuleBroken)
        assert error.rule == violation.rule


def test_the_whole_table_is_small() -> None:
    assert sum(settled(*cell).states for cell in TABLE.cells()) < 8_000_000


@pytest.mark.parametrize("asked", [c.entry.name for c in COLUMNS if c.entry.name != "no freed frame"])
def test_every_column_holds_somewhere_and_is_broken_somewhere(asked: str) -> None:
    """All but one: no design that anybody argues for frees what is in use. test_udmabuf_designs.py has wrong forms that do."""
    verdicts = {TABLE.expected[r.entry.name, asked] for r in ROWS}
    assert verdicts == {Verdict.HOLDS, Verdict.BROKEN}


def test_no_design_has_every_property() -> None:
    assert all(any(TABLE.expected[r.entry.name, c.entry.name] is Verdict.BROKEN for c in COLUMNS) for r in ROWS)


def test_pinned_reads_what_linux_6_12_reads() -> None:
    """Three pages of `a`, a hole in the middle one, `b` everywhere: a real 6.12 kernel's udmabuf reads b, a, b."""
    on = stage(row("pinned"), 3)
    with on.machine:
        assert [on.importer.read(page) for page in range(3)] == [ord("a")] * 3
        shmem_fallocate_punch_hole(on.memfd, 1, 1)
        assert cpu_read(on.mm, 1) == 0
        assert on.importer.read(1) == ord("a")
        for page in range(3):
            cpu_write(on.mm, page, ord("b"))
        assert [chr(on.importer.read(page)) for page in range(3)] == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("design", "seen"),
    [
        ("pinned", "abbb"),
        ("invalidate+hmm", "ab\0c"),
        ("hmm under resv", "ab\0c"),
        ("new-mapping notifier", "abbc"),
        ("keep-old", "abbb"),
        ("prepare ioctl", "abbb"),
    ],
)
def test_the_threads_second_sequence_without_a_race(design: str, seen: str) -> None:
    """`a`, read, `b`, read, hole, read, `c`, read; the VMM does not call UDMABUF_PREPARE."""
    on = stage(row(design), 1)
    with on.machine:
        got = [on.importer.read(0)]
        cpu_write(on.mm, 0, ord("b"))
        got.append(on.importer.read(0))
        shmem_fallocate_punch_hole(on.memfd, 0, 1)
        got.append(on.importer.read(0))
        cpu_write(on.mm, 0, ord("c"))
        got.append(on.importer.read(0))
    assert "".join(map(chr, got)) == seen


def test_not_present_reads_nothing_in_the_hole_and_the_refill_after_it() -> None:
    on = stage(row("not present"), 1)
    with on.machine:
        assert on.importer.read(0) == ord("a")
        shmem_fallocate_punch_hole(on.memfd, 0, 1)
        assert on.importer.read(0) < 0
        cpu_write(on.mm, 0, ord("b"))
        assert on.importer.read(0) == ord("b")


def test_with_one_guest_cpu_the_new_mapping_notifier_shows_nothing_older() -> None:
    """The cell is broken by a second CPU's store between the entry and the call."""
    alone = program_of(row("new-mapping notifier"), replace(column("never older"), vcpu=False))
    assert breadth_first(Reference(alone)).verdict is Verdict.HOLDS
    assert settled("new-mapping notifier", "never older").verdict is Verdict.BROKEN


@pytest.mark.parametrize(
    ("design", "asked"),
    [
        (r.entry.name, c.entry.name)
        for r in ROWS
        for c in COLUMNS
        if (r.entry.name, c.entry.name) != ("new-mapping notifier", "never older")
    ],
)
def test_everything_else_is_the_same_with_one_guest_cpu(design: str, asked: str) -> None:
    alone = program_of(row(design), replace(column(asked), vcpu=False))
    assert breadth_first(Reference(alone)).verdict is TABLE.expected[design, asked]


@pytest.mark.parametrize("asked", ["no freed frame", "goes on"])
def test_who_has_not_ended_is_counted_only_where_somebody_asks(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody does, to count tells states apart and changes no verdict."""
    alone = replace(column(asked), vcpu=False)
    found = breadth_first(Reference(program_of(row("pinned"), alone)))
    monkeypatch.setattr(Column, "asks_for_quiet", property(lambda _: True))
    counting = breadth_first(Reference(program_of(row("pinned"), alone)))
    assert (found.verdict, found.states < counting.states) == (counting.verdict, True)
    assert column("reads new data").asks_for_quiet


@pytest.mark.parametrize("design", [r.entry.name for r in ROWS])
def test_a_single_page_never_goes_back(design: str) -> None:
    """What `never older` finds is one page lagging behind another: where only one changes it holds in every design."""
    events = (write(0, "b"), punch(0), reuse(2, "x"), write(0, "c"), PREPARE, write(0, "d"))
    result = breadth_first(Reference(program_of(row(design), replace(column("never older"), events=events))))
    assert result.verdict is Verdict.HOLDS


def test_the_claims() -> None:
    cells = {cell: settled(*cell).verdict for cell in TABLE.cells()}
    said = [finding.verdict(cells) for finding in TABLE.findings]
    assert None not in said
    stands = [finding.stands == sentence for finding, sentence in zip(TABLE.findings, said, strict=True)]
    assert stands == [True, False, False, True, False, False]
