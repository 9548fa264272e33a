"""mm/mmu_gather.c: page tables, as those see them who walk without a lock (`gup_fast`).

A walk reads the entry of the middle level and is on a page table then. Nobody keeps that where it is, so the walk may stand on one that

    is out of the tree          collapse_huge_page() has taken it out, its entries as they were; perhaps it is put back
    is kept behind a huge page  pgtable_trans_huge_deposit(), its entries empty: a split has it in use again
    belongs to nobody           free_pgtables(): it is freed when no walk can stand on it any more (tlb_remove_table())
    is freed                    zap_deposited_table(): at once, for who deposits one has waited for walks

Interrupts are off while a walk goes on, and that is what is waited for: tlb_remove_table_sync_one() interrupts every CPU.

Walks are kept where the bound `gup_walks` is not 0. Which page table is which shows only in them: a page table has no record of its own. Left out: that a flush of
TLBs waits for walks too, where it interrupts the other CPUs (x86 without a hypervisor's help), as is left to architectures: allows more than such a
kernel does. `tlb` has what is kept of TLBs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from secondsight.lang import Array, Record, Ref, atomic, bound, milestone, pool, wait_until
from secondsight.linux.mm_types import HPAGE_PMD_NR, Mm, Pte, Va

__all__ = ["DetachedTable", "GupWalk", "TablePlace", "detached_tables", "gup_walks", "table_moves", "tlb_remove_table_sync_one"]


class DetachedTable(Record):
    """A page table that collapse_huge_page() has taken out (`_pmd`), on its stack."""

    ptes: Array[Pte, Literal[2]]


detached_tables = pool(DetachedTable, bound("detached_tables", most=7))


class TablePlace(IntEnum):
    """Where a page table is."""

    NOWHERE = 0
    """There is none: the walk has read no entry of the middle level, or that of a huge page."""
    IN_TREE = 1
    DETACHED = 2
    DEPOSITED = 3
    """Behind the huge page at `GupWalk.at`."""
    UNLINKED = 4
    """Freed when no walk stands on it."""
    FREED = 5


class GupWalk(Record):
    """A walk of gup_fast() (mm/gup.c, Linux 6.12), interrupts being off: where the page table is on which it stands; the first page of what that maps, where it
    is in the tree, or deposited; or the record that has its entries. `awaited`: tlb_remove_table_sync_one() waits for its end."""

    mm: Ref[Mm]
    place: TablePlace
    at: Va
    table: Ref[DetachedTable]
    awaited: bool


gup_walks = pool(GupWalk, bound("gup_walks", most=7))


@atomic
def table_moves(mm: Mm, at: Va, was: TablePlace, to: TablePlace, to_at: Va, table: Ref[DetachedTable] = None) -> None:
    """A page table at another place: walks that stand on it find what is there. `at`, `to_at`: an address that it maps."""
    for walk in gup_walks:
        if gup_walks.is_used(walk):
            if walk.place == was and walk.mm is mm and walk.at // HPAGE_PMD_NR == at // HPAGE_PMD_NR:
                walk.place = to
                walk.at = to_at // HPAGE_PMD_NR * HPAGE_PMD_NR
                walk.table = table


@milestone(quiet=True)
def tlb_remove_table_sync_one() -> None:
    """tlb_remove_table_sync_one() (mm/mmu_gather.c, Linux 6.12): wait for the walks that go on now."""
    with atomic:
        for walk in gup_walks:
            if gup_walks.is_used(walk):
                walk.awaited = True
    wait_until(not any(gup_walks.is_used(walk) and walk.awaited for walk in gup_walks))
