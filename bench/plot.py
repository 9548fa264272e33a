"""One plot: states against seconds, a line for each checker's setting."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bench.table import Measured

__all__ = ["draw"]


def draw(rows: Sequence[Measured], path: Path) -> str:
    """Draw the full sizes' verdicts over time into `path`; says in one line what became of it."""
    try:
        figures = import_module("matplotlib.figure")
    except ImportError:
        return "no plot: matplotlib is not installed (pip install 'secondsight[bench]')"
    figure = figures.Figure(figsize=(10, 6), layout="constrained")
    axes = figure.add_subplot()
    lines: dict[tuple[str, str, int], list[tuple[float, int]]] = {}
    for row in rows:
        if row.runs:
            checker = row.checker
            lines.setdefault((checker.label, checker.reduction, checker.threads), []).append((row.seconds, row.size.states))
    for (label, reduction, threads), points in lines.items():
        style = {"none": "-", "partial order": "--", "frames": ":"}.get(reduction, "-.")
        points.sort(key=lambda p: p[1])
        text = f"{label}, {reduction if reduction != 'none' else 'full'}, {threads}"
        axes.plot(*zip(*points, strict=True), linestyle=style, marker="o" if threads == 1 else "s", markersize=4, label=text)
    axes.set(
        xscale="log", yscale="log", xlabel="seconds to the verdict", ylabel="states of the configuration, without reductions"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=120)
    return f"plot: {path}"
