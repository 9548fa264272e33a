"""Mutants of mm/rmap.c that cannot be told from it, with the reason: of those that were tried, which are a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "of an anon_vma that goes while its lock is waited for: the only one here stays": "folio_lock_anon_vma_read: swap 15",
        "of huge pages": "try_to_unmap_one: drop 12",
    }
)
