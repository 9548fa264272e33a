"""Decision tables: 80 columns, legible without colour."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from rich.console import Console

from secondsight.report.tables import decision_table, plain
from secondsight.search import Result, Verdict


@dataclass(frozen=True)
class Name:
    name: str
    summary: str = "what it stands for, in a sentence that is long enough to need more than one line of the legend"


def result(verdict: Verdict, states: int = 41_310, seconds: float = 0.4) -> Result:
    return Result(verdict, states, 2 * states, 9, seconds)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 10])
def test_it_fits_and_says_everything(count: int) -> None:
    rows = [Name("as the thread writes it"), Name("callback_without_the_lock"), Name("x")]
    columns = [Name(f"munmap+mmap {i}") for i in range(count)]
    verdicts = list(Verdict)
    cells: dict[tuple[str, str], Result | None] = {
        (r.name, c.name): result(verdicts[(i + j) % 3]) for i, r in enumerate(rows) for j, c in enumerate(columns)
    }
    text = plain(decision_table("Title", "A question?", rows, columns, cells))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "\x1b" not in text
    body = text.split("rows:")[0]
    if True:
        assert body.count("holds") + body.count("broken") == 2 * count
    assert "41,310" in body or "41k" in body
    assert "0.4s" in body
    for entry in [*rows, *columns]:
        assert entry.name in text.split("rows:")[1]


def test_a_cell_that_makes_no_sense_and_one_that_was_not_searched() -> None:
    cells: dict[tuple[str, str], Result | None] = {("r", "a"): None}
    text = plain(decision_table("T", "Q", [Name("r", "row")], [Name("a", "one"), Name("b", "two")], cells))
    (row,) = [line for line in text.split("rows:")[0].splitlines() if line.startswith("r ")]
    assert row.split() == ["r", "-", "?"]


def test_large_numbers_are_shortened_where_there_is_no_room() -> None:
    columns = [Name(str(i)) for i in range(10)]
    cells: dict[tuple[str, str], Result | None] = {("r", c.name): result(Verdict.HOLDS, 5_733_426, 131.0) for c in columns}
    text = plain(decision_table("T", "Q", [Name("r")], columns, cells))
    assert "5.7M" in text and "131s" in text


def test_a_wide_terminal_gets_more_columns_beside_each_other() -> None:
    columns = [Name(f"munmap+mmap {i}") for i in range(8)]
    cells: dict[tuple[str, str], Result | None] = {("r", c.name): result(Verdict.HOLDS) for c in columns}
    for width, panels in ((80, 2), (132, 1)):
        console = Console(width=width, color_system=None)
        with console.capture() as capture:
            console.print(decision_table("T", "Q", [Name("r")], columns, cells, width=width))
        lines = capture.get().splitlines()
        assert sum(line.startswith("r ") for line in lines) == panels
        assert all(len(line.rstrip()) <= width for line in lines)
