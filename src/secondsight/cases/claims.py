"""What became of each claim that was made in the threads: a page of Markdown, out of the tables' findings and reviewed verdicts."""

from __future__ import annotations

from collections.abc import Iterable

from secondsight.cases.table import CaseTable, Finding

__all__ = ["claims_page"]

_HEAD = """# What became of each claim

Each table of `secondsight settle` is an argument on a mailing list. For each claim that was made in it: whether it was *confirmed*, *refuted* or
*refined* (right in part, or under conditions that it does not name), the cells that show it, and what they say. `secondsight settle TABLE
--trace ROW:COLUMN` shows a broken cell's trace. (`make docs` writes this page from the findings in `src/secondsight/cases/`; tests hold the
verdicts to what the searches find.)
"""


def claims_page(tables: Iterable[CaseTable]) -> str:
    """The page."""
    parts = [_HEAD]
    for table in tables:
        rows = "".join(_row(table, finding) for finding in table.findings)
        parts.append(f"\n## {table.title}\n\n{table.question} (`{table.name}`)\n\n| claim | | shown by | what they say |\n| --- | --- | --- | --- |\n{rows}")
    return "".join(parts)


def _row(table: CaseTable, finding: Finding) -> str:
    answer, said = finding.answer(table.expected), finding.verdict(table.expected)
    assert answer is not None and said is not None, f"{table.name}: a cell that the claim needs has no reviewed verdict"
    return f"| {_cell(finding.claim)} | {answer.value} | {_shown_by(table, finding)} | {_cell(said)} |\n"


def _shown_by(table: CaseTable, finding: Finding) -> str:
    """The cells, by their row: those that are as the claim needs them, or of a claim that does not stand those that are not."""
    against = [at for at, verdict in finding.needs.items() if table.expected[at] is not verdict]
    by_row: dict[str, list[str]] = {}
    for row, column in against or finding.needs:
        by_row.setdefault(row, []).append(f"{column} {table.expected[row, column].value}")
    return "; ".join(f"{row}: {', '.join(cells)}" for row, cells in by_row.items())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
