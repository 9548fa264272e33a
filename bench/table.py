"""The table of figures: medians, ratios, printed as Markdown and read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.checkers import Checker, Figures
from bench.sizes import Size

__all__ = ["HEADS", "Measured", "disagreements", "parse", "rendered", "table"]

HEADS = (
    "size", "checker", "reduction", "threads", "states", "transitions", "build s", "seconds", "cpu s", "states/s", "bytes/state", "x Spin", "x Rumur",
)  # fmt: skip
"""The columns. `cpu s`: all threads' processor time. The ratios, of seconds: how many times sooner than Spin's and Rumur's full
search with one thread the verdict is there."""

SHORT = 5.0
"""Seconds from which a run says something about speed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One checker at one size: its runs, in the order they were made.

    No run: it took longer than `limit` seconds, or more memory than it may (`full`), or `failed` says why.
    """

    checker: Checker
    size: Size
    build: float
    runs: tuple[Figures, ...]
    limit: float
    failed: str | None = None
    full: bool = False

    @property
    def seconds(self) -> float:
        """The median run."""
        return median(r.seconds for r in self.runs)

    @property
    def cpu(self) -> float | None:
        """The median processor time: steadier than the clock where others use the machine, too."""
        times = [r.cpu for r in self.runs if r.cpu is not None]
        return median(times) if times else None

    @property
    def rate(self) -> float:
        """States a second."""
        return self.runs[0].states / self.seconds

    @property
    def bytes(self) -> float:
        """Bytes a state, all in."""
        return median(r.bytes for r in self.runs) / self.runs[0].states


def find(rows: Iterable[Measured], size: str, label: str, reduction: str, threads: int) -> Measured | None:
    """The row with runs in it, if there is one."""
    for row in rows:
        checker = row.checker
        if row.runs and (row.size.name, checker.label, checker.reduction, checker.threads) == (size, label, reduction, threads):
            return row
    return None


def disagreements(rows: Sequence[Measured]) -> list[str]:
    """What is wrong with the numbers of states and transitions, one line each.

    Without reductions they are known to the last digit. With reductions nobody has more, and runs of one setting agree.
    A checker that is not exact may have missed states, never found more. What is not states is known of nobody.
    """
    wrong: list[str] = []
    for row in rows:
        for run in row.runs if row.checker.counts == "states" else ():
            found, right = (run.states, run.transitions), (row.size.states, row.size.transitions)
            full = row.checker.reduction == "none" and row.checker.exact
            off = found[0] != right[0] or abs(found[1] - right[1]) > run.rounding
            if off if full else found[0] > right[0] or found[1] > right[1] + run.rounding:
                wrong.append(
                    f"{row.checker.label} ({row.checker.reduction}, {row.checker.threads}) at size {row.size.name}: "
                    f"{found[0]:,} states and {found[1]:,} transitions, not {right[0]:,} and {right[1]:,}"
                )
        if row.checker.exact and row.checker.threads == 1 and len({r.states for r in row.runs}) > 1:
            wrong.append(f"{row.checker.label} ({row.checker.reduction}) at size {row.size.name}: another count in each run")
    return wrong


def rendered(rows: Sequence[Measured]) -> list[dict[str, str]]:
    """The table's cells, by column."""
    made = []
    for row in rows:
        checker = row.checker
        cells = dict.fromkeys(HEADS, "")
        cells |= {
            "size": row.size.name,
            "checker": checker.label,
            "reduction": checker.reduction,
            "threads": str(checker.threads),
        }
        if not row.runs:
            cells["seconds"] = "failed" if row.failed else "> memory" if row.full else f"> {row.limit:.0f}"
        else:
            run = row.runs[0]
            missed = "" if checker.exact or checker.reduction != "none" or run.states == row.size.states else " (misses some)"
            if checker.counts == "states":
                cells |= {
                    "states": f"{run.states:,}{missed}", "transitions": f"{run.transitions:,}" if not run.rounding else f"{run.transitions:.8g}",
                    "states/s": f"{row.rate:,.0f}", "bytes/state": f"{row.bytes:.0f}" if run.states >= 1_000_000 else "",
                }  # fmt: skip
            else:
                cells["states"] = f"{run.states:,} {checker.counts}"
            cells |= {
                "build s": f"{row.build:.2f}", "seconds": f"{row.seconds:.3g}", "cpu s": "" if row.cpu is None else f"{row.cpu:.3g}",
                "x Spin": _ratio(find(rows, row.size.name, "Spin depth first", "none", 1), row),
                "x Rumur": _ratio(find(rows, row.size.name, "Rumur", "none", 1), row),
            }  # fmt: skip
        made.append(cells)
    return made


def _ratio(other: Measured | None, row: Measured) -> str:
    return "" if other is None else f"{other.seconds / row.seconds:.3g}"


def table(heads: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """A Markdown table, its columns aligned; numbers to the right."""
    width = {h: max(3, len(h), *(len(r[h]) for r in rows)) if rows else len(h) for h in heads}
    right = {h: all(not r[h] or r[h][0] in "0123456789>" for r in rows) for h in heads}

    def line(cells: Mapping[str, str]) -> str:
        return "| " + " | ".join(cells[h].rjust(width[h]) if right[h] else cells[h].ljust(width[h]) for h in heads) + " |"

    rule = "| " + " | ".join("-" * (width[h] - 1) + ":" if right[h] else "-" * width[h] for h in heads) + " |"
    return "\n".join([line({h: h for h in heads}), rule, *(line(r) for r in rows)])


def parse(text: str) -> list[dict[str, str]]:
    """The rows of the first such table in a text, by column. Raises `ValueError` if there is none."""
    lines = iter(text.splitlines())
    for line in lines:
        if [c.strip() for c in line.strip().strip("|").split("|")] == list(HEADS):
            break
    else:
        raise ValueError("no table of figures in the text")
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(dict(zip(HEADS, (c.strip() for c in line.strip().strip("|").split("|")), strict=True)))
    return found
