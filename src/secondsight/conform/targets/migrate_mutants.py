"""Mutants of mm/migrate.c that cannot be told from it, with the reason: of those that were tried, which are a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "of folios of drivers, which have no list of reclaim's": "putback_movable_pages: drop 6",
        "whether an entry was used lately: the model has no such bit": "remove_migration_pte: negate 6",
        "accounting between zones, of which there is one": "__folio_migrate_mapping: drop 30; __folio_migrate_mapping: swap 17",
        "flags that nobody here looks at": "folio_migrate_flags: drop 2; folio_migrate_flags: swap 4",
        "neither taken nor given back: the anon_vma outlives everything here": "migrate_folio_unmap: drop 18",
        "each touches nothing of the other's": "migrate_folio_move: swap 1; migrate_pages_batch: swap 5",
        "it gives up at the first attempt of a stage: those that follow within it fail as that did": "migrate_folio_move: turn round 1",
        "statistics": "migrate_pages_batch: drop 24, 72; migrate_pages_batch: swap 29, 53",
    }
)
