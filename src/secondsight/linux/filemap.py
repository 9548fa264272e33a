"""mm/filemap.c: the folio lock, and who waits for that of a file's page.

`Folio.locked` is PG_locked, of a folio of two pages in the first: the lock of a page is that of its folio. Whoever waits for it sleeps; nobody knows who has it, so waiting for one's own lock is a deadlock.
Left out: folio_lock_killable()'s signal; that a fault gives the mmap lock up only once (FAULT_FLAG_TRIED).
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, require, wait_until
from secondsight.linux.mm_flags import FAULT_FLAG_ALLOW_RETRY, VM_FAULT_RETRY
from secondsight.linux.mm_types import Flags, Folio, Mm, Va
from secondsight.linux.page_alloc import get_page, page_folio, put_page
from secondsight.linux.vma_lock import release_fault_lock

__all__ = ["filemap_get_entry", "folio_lock", "folio_lock_or_retry", "folio_put_unlocked", "folio_trylock", "folio_unlock"]


@atomic
def folio_trylock(folio: Folio) -> bool:
    """folio_trylock() (include/linux/pagemap.h, Linux 6.12)."""
    whole = page_folio(folio)
    if whole.locked:
        return False
    whole.locked = True
    return True


@atomic
def folio_lock(folio: Folio) -> None:
    """folio_lock() (include/linux/pagemap.h, Linux 6.12): wait for it, and take it."""
    whole = page_folio(folio)
    wait_until(not whole.locked)
    whole.locked = True


@atomic
def folio_unlock(folio: Folio) -> None:
    """folio_unlock() (mm/filemap.c, Linux 6.12). Of a folio that is not locked it is a bug (VM_BUG_ON_FOLIO)."""
    whole = page_folio(folio)
    require(whole.locked, "folio-lock", "unlocks a page that is not locked")
    whole.locked = False


@atomic
def filemap_get_entry(folio: Ref[Folio]) -> Ref[Folio]:
    """filemap_get_entry() (mm/filemap.c, Linux 6.12), of who then has to wait for the lock of what was found, `folio`: it, with a reference, for which a
    migration of it fails (-EAGAIN), and reclaim leaves it where it is. None: nothing was found, or nobody has it locked, and then finding it is of one step with what comes next."""
    if folio is None:
        return None
    if not folio.locked:
        return None
    get_page(folio)
    return folio


@atomic
def folio_put_unlocked(folio: Folio) -> None:
    """folio_lock() (include/linux/pagemap.h, Linux 6.12), waited for by the reference of `filemap_get_entry`, which goes: what a file has now is looked for anew."""
    wait_until(not folio.locked)
    put_page(folio)


def folio_lock_or_retry(folio: Folio, mm: Mm, va: Va, flags: Flags) -> Flags:
    """__folio_lock_or_retry() (mm/filemap.c, Linux 6.12), for a fault: 0, and it is locked.

    VM_FAULT_RETRY, if the fault allows it: the mmap lock was given up to wait, and nothing is locked.
    """
    locked = folio_trylock(folio)
    if locked:
        return 0
    if flags & FAULT_FLAG_ALLOW_RETRY != 0:
        release_fault_lock(mm, va, flags)
        wait_until(not page_folio(folio).locked)
        return VM_FAULT_RETRY
    folio_lock(folio)
    return 0
