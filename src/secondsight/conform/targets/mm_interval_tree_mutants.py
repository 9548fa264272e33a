"""Mutants of mm/interval_tree.c, and of `linux.mm_interval_tree`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "two statements that do not depend on each other": "vma_interval_tree_insert_after: swap 2",
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name(
    {
        "what comes back into the tree has it written": "vma_interval_tree_remove: drop 1; anon_vma_interval_tree_remove: drop 1",
    }
)
