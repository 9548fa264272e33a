"""mm/shmem.c: files that are memory. A memfd is one; its pages are the page cache and nothing else.

A page is in the file or it is not (a hole). A fault, reading or writing, fills a hole with a zeroed page. Punching
a hole:

    inode lock; seals looked at; the punch is published (`falloc`), so that faults on the range wait for its end
    unmap_mapping_range(range): every mapping of it loses its entries, in notifier brackets
    each page: folio lock; if a fault has mapped it again meanwhile, unmapped again; out of the file; reference
    dropped the punch is withdrawn; waiters go on; inode unlock

Nothing looks at pins: a pinned page leaves the file like any other and lives on as long as its pin, a page of its
own.

A fault first looks, without a lock, whether a punch is going on, and only then looks for the page: so it can map a
page after `unmap_mapping_range` has passed. Truncation finds it mapped then. Looking the page up, locking it,
mapping it and unlocking it are one step: the folio lock is held throughout, and everybody who would look waits for
it.

Where a scenario changes sizes (`resizes`; `shmem_size`):

    ftruncate     inode lock; seals looked at; the size is what it is to be. To make it smaller:
                  unmap_mapping_range(all behind the end), and copies that private mappings have made of those pages go too;
                  each page behind: as above; unmap_mapping_range() once more, for copies that were made meanwhile
    fallocate     inode lock; seals looked at; pages that are not there are added, one by one; then the size, if it grows

A fault looks at the size first, and for the page later: one that is there it maps, whatever the size has become, and truncation finds it mapped. Where
none is there it looks at the size once more. A page that fallocate() has added is not up to date: who asks for it next, by a fault or
by fallocate(), zeroes it (`fallocated`); until then no fault maps it as one that is at hand.

Where a scenario reclaims too (`shmem_swap`), a page may be in swap (`ShmemFile.swapped`):

    reclaim       (`vmscan`) every mapping loses its entry; then a page that is dirty gets a slot and leaves the file for the swap cache, where it is written
                  (`writepage`). One that is not dirty was never written: it leaves the file, which has a hole there again
    who asks      the page comes back, out of the swap cache or read anew, gives its slot back and is dirty (`shmem_swapin_folio`)
    truncation    the slot is free

Left out: huge pages, partial pages, read(2) and write(2), quotas; a fault that has looked at the size and
then maps what is at hand (map_pages: one step; the fault's own page has two); a signal that ends fallocate(); memory that the cgroup or swap has no room for, and
SHM_LOCK. None of these raises a false alarm.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from secondsight.lang import (
    Array,
    Bounds,
    Char,
    Errno,
    Ref,
    RwLock,
    atomic,
    bound,
    hold_point,
    milestone,
    pool,
    shared_array,
    wait_until,
)
from secondsight.linux.errno import EEXIST, EFAULT, EINVAL, ENOMEM, EPERM
from secondsight.linux.filemap import filemap_get_entry, folio_put_unlocked
from secondsight.linux.fork import mms
from secondsight.linux.highmem import clear_highpage
from secondsight.linux.memory import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_WRITE,
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    fault_dirty_shared_page,
    finish_fault,
    insert_page,
)
from secondsight.linux.memory_zap import unmap_mapping_folio, unmap_mapping_range
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_flags import MAP_SEALS_LATE, UFFD_MINOR, UFFD_MISSING
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import (
    AddressSpace,
    Count,
    Flags,
    Folio,
    Mm,
    Pgoff,
    Va,
    VaEnd,
    Vma,
    completed_faults,
    resizes,
    shmem_swap,
)
from secondsight.linux.page_alloc import alloc_page, put_page
from secondsight.linux.pgtable import folio_mapped, pte_clear, pte_none, pte_none_mostly
from secondsight.linux.rmap import folio_add_file_rmap, folio_remove_file_rmap
from secondsight.linux.swap_state import (
    add_to_swap,
    delete_from_swap_cache,
    free_swap_and_cache,
    read_swap_cache,
    swap_duplicate,
    swap_free,
)
from secondsight.linux.swapops import migrations, pte_markers, swap_slots
from secondsight.linux.userfaultfd import handle_userfault, userfaultfd_minor, userfaultfd_missing
from secondsight.linux.vma_lock import release_fault_lock

__all__ = [
    "F_SEAL_FUTURE_WRITE",
    "F_SEAL_GROW",
    "F_SEAL_SEAL",
    "F_SEAL_SHRINK",
    "F_SEAL_WRITE",
    "Seals",
    "ShmemFile",
    "shmem_fallocate_punch_hole",
    "shmem_files",
    "shmem_get_folio",
]

F_SEAL_SEAL: Final = 1
F_SEAL_SHRINK: Final = 2
F_SEAL_GROW: Final = 4
F_SEAL_WRITE: Final = 8
F_SEAL_FUTURE_WRITE: Final = 16

Seals = Annotated[int, Bounds(0, 31)]

LAST_PAGE: Final = 15
"""No file has a page behind it."""


bound("file_pages", usual=8)
bound("fallocated_pages", most=15, usual=8)
bound("swapped_pages", most=15)


no_memory_past_the_end = shared_array(bool, bound("no_memory_past_the_end", most=1))
"""Of size 1 where a release says so: see `releases` (userfaultfd-past-the-end-is-no-memory)."""


class ShmemFile(AddressSpace):
    """struct shmem_inode_info with its page cache. `falloc_start` to before `falloc_next` is being punched (i_private).

    `i_mmap_writable` counts mappings being made; those that are there are counted by looking. `deny_writable` is
    mapping_deny_writable(): sealed against writing, or about to be. `fallocated`: pages that are there and not up to date (folio_test_uptodate(), negated).
    `swapped`: of a page in swap the number of its slot plus 1; `pages` has none then. In the kernel both are one entry of the page cache.
    """

    i_rwsem: RwLock
    seals: Seals
    i_mmap_writable: Count
    deny_writable: bool
    nr_pages: Pgoff
    pages: Array[Ref[Folio], Literal["file_pages"]]
    falloc_start: Pgoff
    falloc_next: Pgoff
    fallocated: Array[bool, Literal["fallocated_pages"]]
    swapped: Array[Count, Literal["swapped_pages"]]

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """shmem_fault(), shmem_falloc_wait() (mm/shmem.c, Linux 6.12): map page `pgoff`, after any punch of it has
        ended.

        To wait, the mmap lock is given up if the fault allows it. The kernel wakes at the end of that very punch,
        here at a moment when none covers the page.
        """
        hold_point("shmem_fault:enter")
        if self.falloc_start <= pgoff < self.falloc_next:
            if flags & FAULT_FLAG_ALLOW_RETRY != 0:
                release_fault_lock(mm, va, flags)
                wait_until(not self.falloc_start <= pgoff < self.falloc_next)
                return VM_FAULT_RETRY
            wait_until(not self.falloc_start <= pgoff < self.falloc_next)
            return VM_FAULT_NOPAGE
        if len(mm.userfaultfd) > 0:
            asks, why = self.is_told_of(mm, va, pgoff)
            if asks:
                return handle_userfault(mm, va, flags, why)
        if len(resizes) > 0:
            past_the_end = pgoff >= self.nr_pages
            if past_the_end:
                return VM_FAULT_SIGBUS
        if len(migrations) + len(shmem_swap) > 0:
            return shmem_wait_and_map(self, mm, va, pgoff, flags)
        return shmem_map_folio(self, mm, va, pgoff, flags)

    @atomic
    def is_told_of(self, mm: Mm, va: Va, pgoff: Pgoff) -> tuple[bool, Count]:
        """The part of shmem_get_folio_gfp() (mm/shmem.c, Linux 6.12) that asks userfaultfd_missing() and userfaultfd_minor(): the file has no such page, and
        user space is to fill it; or it has it, and user space is to say when it may be mapped."""
        vma = mm.mm_mt[va]
        if vma is None or pgoff >= self.nr_pages:
            return False, UFFD_MISSING
        if self.pages[pgoff] is None and not is_swapped(self, pgoff):
            return userfaultfd_missing(vma), UFFD_MISSING
        return userfaultfd_minor(vma), UFFD_MINOR

    @atomic
    def mcontinue(self, vma: Vma, va: Va, pgoff: Pgoff, wp: bool) -> Errno:
        """mfill_atomic_pte_continue(), mfill_atomic_install_pte() (mm/userfaultfd.c, Linux 6.12), under the folio lock: the page that the file
        has, shared or of a private mapping, where it may not be written."""
        mm = vma.vm_mm
        assert mm is not None
        if pgoff >= self.nr_pages:
            return -EFAULT if len(no_memory_past_the_end) > 0 else -EINVAL
        if len(self.swapped) > 0:
            if is_swapped(self, pgoff):
                shmem_swapin_folio(self, pgoff)
        folio = self.pages[pgoff]
        if folio is None:
            return -EFAULT
        wait_until(not folio.locked)
        if not pte_none_mostly(mm.ptes[va]):
            return -EEXIST
        install_pte(vma, va, folio, wp)
        if len(shmem_swap) > 0:  # pte_mkdirty()
            folio.dirty = True
        return 0

    @atomic
    def mfill(self, vma: Vma, va: Va, pgoff: Pgoff, value: Char, wp: bool) -> Errno:
        """shmem_mfill_atomic_pte(), mfill_atomic_install_pte() (mm/shmem.c, mm/userfaultfd.c, Linux 6.12)."""
        mm = vma.vm_mm
        assert mm is not None
        if pgoff >= self.nr_pages:
            return -ENOMEM if len(no_memory_past_the_end) > 0 else -EFAULT
        if self.pages[pgoff] is not None or is_swapped(self, pgoff) or not pte_none_mostly(mm.ptes[va]):
            return -EEXIST
        folio = shmem_get_folio(self, pgoff)
        folio.contents = value
        install_pte(vma, va, folio, wp)
        if len(shmem_swap) > 0:  # pte_mkdirty()
            folio.dirty = True
        return 0

    def map_pages(self, vma: Vma, start: Va, end: VaEnd) -> None:
        """filemap_map_pages(), next_uptodate_folio() (mm/filemap.c, Linux 6.12): pages that are in the file and not locked.

        It waits for nobody: not for a punch either.
        """
        mm = vma.vm_mm
        assert mm is not None
        for va in range(start, end):
            pgoff = linear_page_index(vma, va)
            if pgoff < self.nr_pages:
                folio = self.pages[pgoff]
                if folio is not None and pte_none(mm.ptes[va]):
                    if not folio.locked and not is_fallocated(self, pgoff):
                        insert_page(mm, va, folio)

    def migrate_folio(self, pgoff: Pgoff, folio: Folio) -> None:
        """The part of __folio_migrate_mapping() (mm/migrate.c, Linux 6.12) under the lock of the file's xarray."""
        self.pages[pgoff] = folio

    def writepage(self, folio: Folio) -> None:
        """shmem_writepage(), shmem_delete_from_page_cache() (mm/shmem.c, Linux 6.12; shmem_writeout() in 7.2): a slot, which the file's entry stands for from now on.

        Left out: a page that fallocate() has added and nobody has asked for: nothing maps it, and what nothing maps is not reclaimed here.
        """
        pgoff = folio.index
        add_to_swap(folio)
        swap_duplicate(folio.swap)
        self.swapped[pgoff] = folio.swap + 1
        self.pages[pgoff] = None
        folio_remove_file_rmap(folio)
        put_page(folio)

    def remove_folio(self, pgoff: Pgoff) -> None:
        """A hole is there."""
        self.pages[pgoff] = None

    def has_folio(self, pgoff: Pgoff, folio: Folio) -> bool:
        """It is in the page cache."""
        return self.pages[pgoff] is folio

    def has_page(self, pgoff: Pgoff) -> bool:
        """A hole is filled; past the end of the file there is none."""
        return pgoff < self.nr_pages

    def map_writable(self, map_flags: Flags) -> Errno:
        """memfd_check_seals_mmap() (mm/memfd.c), mapping_map_writable() (include/linux/fs.h, Linux 6.12): 0 or -EPERM."""
        if self.deny_writable or self.seals & F_SEAL_WRITE != 0:
            return -EPERM
        if self.seals & F_SEAL_FUTURE_WRITE != 0 and map_flags & MAP_SEALS_LATE == 0:
            return -EPERM
        self.i_mmap_writable += 1
        return 0

    def map_readable(self) -> Errno:
        """check_write_seal() (mm/memfd.c), mapping_map_writable() (include/linux/fs.h, Linux 6.12) of a mapping for reading: 1 of
        a file that is sealed against writing; else 0, or -EPERM while a write seal waits for the file's pages."""
        if self.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0:
            return 1
        if self.deny_writable:
            return -EPERM
        self.i_mmap_writable += 1
        return 0

    def unmap_writable(self) -> None:
        """mapping_unmap_writable() (include/linux/fs.h, Linux 6.12)."""
        self.i_mmap_writable -= 1

    def mmap(self, length: Pgoff, pgoff: Pgoff, map_flags: Flags) -> Errno:
        """shmem_mmap(), seal_check_write() (mm/shmem.c, Linux 6.1), of what may be written, with `MAP_SEALS_LATE` alone: 0 or -EPERM."""
        if map_flags & MAP_SEALS_LATE != 0 and self.seals & F_SEAL_FUTURE_WRITE != 0:
            return -EPERM
        return 0

    def fallocate_punch_hole(self, first: Pgoff, length: Pgoff) -> Errno:
        """shmem_fallocate() (mm/shmem.c, Linux 6.12)."""
        return shmem_fallocate_punch_hole(self, first, length)


shmem_files = pool(ShmemFile, bound("files", usual=4))


def shmem_wait_and_map(file: ShmemFile, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
    """shmem_map_folio, where who waits for the page's lock keeps it from being moved, or reclaimed (`filemap_get_entry`)."""
    ret: Flags = 0
    with atomic:
        held = filemap_get_entry(find_entry(file, pgoff))
        if held is None:
            ret = shmem_map_folio(file, mm, va, pgoff, flags)
    if held is not None:
        with atomic:
            folio_put_unlocked(held)
            ret = shmem_map_folio(file, mm, va, pgoff, flags)
    return ret


@atomic
def find_entry(file: ShmemFile, pgoff: Pgoff) -> Ref[Folio]:
    """What filemap_get_entry() finds (mm/filemap.c, Linux 6.12): the page that the file has there, or that the swap cache has of it."""
    if pgoff >= len(file.pages):
        return None
    if is_swapped(file, pgoff):
        return swap_slots[file.swapped[pgoff] - 1].cache
    return file.pages[pgoff]


@atomic
def shmem_map_folio(file: ShmemFile, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
    """The rest of shmem_fault(), and of do_shared_fault() or who else has called it (mm/shmem.c, mm/memory.c, Linux 6.12), under the folio lock."""
    if pgoff >= file.nr_pages:
        late = False
        if len(resizes) > 0:
            late = is_found_all_the_same(file, pgoff)
        if not late:
            return VM_FAULT_SIGBUS
    ret = finish_fault(mm, va, shmem_get_folio(file, pgoff), flags & FAULT_FLAG_WRITE != 0)
    if len(shmem_swap) > 0:
        if len(completed_faults) == 0:  # fault_dirty_shared_page(), of which only that it is dirty shows
            shared = mm.mm_mt[va]
            mapped = mm.ptes[va].frame
            if ret == 0 and flags & FAULT_FLAG_WRITE != 0 and mapped is not None and shared is not None and not is_cow_mapping(shared):
                mapped.dirty = True
    if len(completed_faults) > 0:
        vma = mm.mm_mt[va]
        assert vma is not None
        if ret == 0 and flags & FAULT_FLAG_WRITE != 0:
            return fault_dirty_shared_page(vma, va, flags)
    return ret


@atomic
def install_pte(vma: Vma, va: Va, folio: Folio, wp: bool) -> None:
    """mfill_atomic_install_pte() (mm/userfaultfd.c, Linux 6.12) of a file's page, into an entry that is empty or a marker. `wp`: it is write-protected."""
    mm = vma.vm_mm
    assert mm is not None
    pte = mm.ptes[va]
    if len(pte_markers) > 0:
        pte_clear(pte)
    insert_page(mm, va, folio)
    if len(pte_markers) > 0:
        pte.writable = vma.write and not wp and not is_cow_mapping(vma)
        pte.uffd_wp[0] = wp


@atomic
def shmem_get_folio(file: ShmemFile, pgoff: Pgoff) -> Folio:
    """shmem_get_folio(SGP_CACHE) (mm/shmem.c, Linux 6.12): the file's page, unlocked; a hole is filled with a
    zeroed one, and one in swap comes back.

    The reference is the file's own: to keep the page, take one in the same step.
    """
    if len(file.swapped) > 0:
        if is_swapped(file, pgoff):
            shmem_swapin_folio(file, pgoff)
    folio = file.pages[pgoff]
    if folio is None:
        folio = alloc_page()
        folio_add_file_rmap(folio, file, pgoff)
        file.pages[pgoff] = folio
    wait_until(not folio.locked)
    if len(file.fallocated) > 0:
        bring_up_to_date(file, pgoff)
    return folio


@atomic
def is_swapped(file: ShmemFile, pgoff: Pgoff) -> bool:
    """xa_is_value() (include/linux/xarray.h, Linux 6.12) of the file's entry: the page is in swap."""
    if len(file.swapped) > 0:
        return file.swapped[pgoff] != 0
    return False


@milestone(quiet=True)
@atomic
def shmem_swapin_folio(file: ShmemFile, pgoff: Pgoff) -> None:
    """shmem_swapin_folio(), shmem_add_to_page_cache() (mm/shmem.c, Linux 6.12), of a page in swap: it is found in the swap cache, or read; when it is neither locked nor
    being written any more it takes the place of the file's entry, and the slot is free. It is dirty: nothing else has what it holds.

    One step, in which both are waited for. Left out: readahead.
    """
    entry = file.swapped[pgoff] - 1
    folio = swap_slots[entry].cache
    if folio is None:
        folio = read_swap_cache(entry)
        put_page(folio)
    wait_until(not folio.locked and not folio.writeback)
    file.swapped[pgoff] = 0
    delete_from_swap_cache(folio)
    swap_free(entry)
    folio.dirty = True
    folio_add_file_rmap(folio, file, pgoff)
    file.pages[pgoff] = folio


@atomic
def shmem_free_swap(file: ShmemFile, pgoff: Pgoff) -> None:
    """shmem_free_swap() (mm/shmem.c, Linux 6.12): a page in swap is the file's no more, and its slot is free."""
    entry = file.swapped[pgoff] - 1
    file.swapped[pgoff] = 0
    free_swap_and_cache(entry)


@atomic
def is_found_all_the_same(file: ShmemFile, pgoff: Pgoff) -> bool:
    """The part of shmem_get_folio_gfp() (mm/shmem.c, Linux 6.12) for a page that is behind the end by now, and was not when the fault began: whether it is still in the file, and up to date.
    Of one that is not it looks at the size once more."""
    if pgoff >= len(file.pages):
        return False
    if is_swapped(file, pgoff):
        return True
    folio = file.pages[pgoff]
    if folio is None:
        return False
    wait_until(not folio.locked)
    if len(file.fallocated) > 0:
        if file.fallocated[pgoff]:
            bring_up_to_date(file, pgoff)
            return False
    return True


@atomic
def is_fallocated(file: ShmemFile, pgoff: Pgoff) -> bool:
    """folio_test_uptodate() (include/linux/page-flags.h, Linux 6.12), negated, of a page that is in the file."""
    if len(file.fallocated) > 0:
        return file.fallocated[pgoff]
    return False


@atomic
def bring_up_to_date(file: ShmemFile, pgoff: Pgoff) -> None:
    """The part of shmem_get_folio_gfp() (mm/shmem.c, Linux 6.12) under `clear`: a page that fallocate() has added is zeroed when somebody asks for it."""
    folio = file.pages[pgoff]
    if file.fallocated[pgoff] and folio is not None:
        clear_highpage(folio)
        file.fallocated[pgoff] = False


# Holes.


@milestone
def shmem_fallocate_punch_hole(file: ShmemFile, first: Pgoff, length: Pgoff) -> Errno:
    """shmem_fallocate(FALLOC_FL_PUNCH_HOLE) (mm/shmem.c, Linux 6.12): remove `length` pages from the file.

    0, or -EPERM for a file sealed against writing.
    """
    file.i_rwsem.write_lock()
    with atomic:
        sealed = file.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0
        if not sealed:
            file.falloc_start = first
            file.falloc_next = first + length
    if sealed:
        file.i_rwsem.write_unlock()
        return -EPERM
    unmap_mapping_range(file, first, first + length - 1)
    shmem_undo_range(file, first, first + length)
    if len(mms[0].userfaultfd) > 0:
        shmem_undo_range(file, first, first + length)
    with atomic:
        file.falloc_start = 0
        file.falloc_next = 0
    file.i_rwsem.write_unlock()
    return 0


def shmem_undo_range(file: ShmemFile, first: Pgoff, end: Pgoff) -> None:
    """One of the two rounds of shmem_undo_range() (mm/shmem.c, Linux 6.12): the pages that are there leave the file.

    The second finds what was locked in the first, for which the first waits here, and what has come meanwhile. A fault waits until the
    hole has been punched, and who makes a udmabuf waits for `i_rwsem`, but UFFDIO_COPY waits for neither: where there is a userfaultfd there are two rounds. Left
    out: pages that a driver takes of a memfd by itself, and fills the hole with in between; before Linux 6.12 udmabufs too (may hide a bug: the second round
    takes them from the file).
    """
    for pgoff in range(first, min(end, len(file.pages))):  # MADV_REMOVE goes as far as the mapping, past the end of the file
        mapped = False
        if len(migrations) + len(shmem_swap) > 0:
            with atomic:
                held = filemap_get_entry(find_entry(file, pgoff))
                if held is None:
                    mapped = shmem_truncate_folio(file, pgoff)
            if held is not None:
                with atomic:
                    folio_put_unlocked(held)
                    mapped = shmem_truncate_folio(file, pgoff)
        else:
            mapped = shmem_truncate_folio(file, pgoff)
        if mapped:
            unmap_mapping_folio(file, pgoff)
            shmem_remove_folio(file, pgoff)


@milestone
@atomic
def shmem_truncate_folio(file: ShmemFile, pgoff: Pgoff) -> bool:
    """shmem_undo_range(), truncate_inode_folio() (mm/shmem.c, mm/truncate.c, Linux 6.12) for one page that may be
    there.

    Locks it. True: it is mapped; unmap it, then `shmem_remove_folio`. Else it is removed in the same step. Of one in swap the slot is freed.
    """
    if len(file.swapped) > 0:
        if is_swapped(file, pgoff):
            shmem_free_swap(file, pgoff)
    folio = file.pages[pgoff]
    if folio is None:
        return False
    wait_until(not folio.locked)
    if folio_mapped(folio):
        folio.locked = True
        return True
    file.pages[pgoff] = None
    if len(file.fallocated) > 0:
        file.fallocated[pgoff] = False
    folio_remove_file_rmap(folio)
    put_page(folio)
    return False


@milestone
@atomic
def shmem_remove_folio(file: ShmemFile, pgoff: Pgoff) -> None:
    """filemap_remove_folio() (mm/filemap.c, Linux 6.12), unlock and put."""
    folio = file.pages[pgoff]
    assert folio is not None
    file.pages[pgoff] = None
    if len(file.fallocated) > 0:
        file.fallocated[pgoff] = False
    folio_remove_file_rmap(folio)
    folio.locked = False
    put_page(folio)
