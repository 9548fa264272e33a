"""Names and limits that help texts say: those of the model's files, which are loaded only when a command runs. A test compares them."""

from __future__ import annotations

__all__ = ["AGREE_KINDS", "BUILDABLE", "DEEPEST", "MOST_PREEMPTIONS", "RELEASES", "THING_KINDS"]

RELEASES = ("6.1", "6.12", "7.2")
"""Of which Debian's kernels and the kernel's sources can be had: `kernels.GETTABLE`, `kernels.sources.RELEASES`."""

BUILDABLE = ("6.12",)
"""Of which a kernel of our own can be built: `kernels.BUILDABLE`."""

AGREE_KINDS = ("sequential", "free", "forced", "migrating", "driven", "rare")
"""The kinds of scenario that are drawn: `agree.generate.KINDS`."""

THING_KINDS = ("adversaries", "rules", "bounds", "tables", "functions", "records", "kernels", "operations", "scenarios", "terms", "errors")
"""What can be listed: `report.catalog.KINDS`."""

DEEPEST, MOST_PREEMPTIONS = 1_000_000_000, 1_000_000
"""How far a search depth first, or by preemptions, can be asked to go: those of `search.strategy`."""
