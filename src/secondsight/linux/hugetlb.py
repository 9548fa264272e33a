"""mm/hugetlb.c and fs/hugetlbfs/inode.c: files of huge pages. A memfd made with MFD_HUGETLB is one.

Each page of the file is a folio of two pages here, and is mapped by one entry as a whole: what splits a huge page of private memory is refused
(munmap, mprotect of a part: -EINVAL). The file and its mappings begin and end with whole folios.

    a fault: the page's fault mutex; find the folio, or fill the hole with a zeroed one; the entry
    punching a hole: inode lock; seals; i_mmap_rwsem for writing
        of a folio that is only in part in the hole the part is zeroed in place: nobody is told, for the page stays
        hugetlb_vmdelete_list(): every mapping of the others loses its entries, in notifier brackets
    i_mmap_rwsem given back
        remove_inode_hugepages(): each folio: the fault mutex; the folio lock; if a fault has mapped it again meanwhile, unmapped again;
        out of the file; references dropped

So a subscriber is called with `i_mmap_rwsem` held for writing. Nobody waits for a punch as in mm/shmem.c: a fault waits for the mutex of its own page.
The page cache holds a reference for each page of a folio.

The pool of huge pages, and what is reserved of it, is in `hugetlb_pool`.

Each vma of such a file has a lock of its own (`hugetlb_vma_lock`).

Changing the size (`resizes`) takes away what is behind the end in the same way, and gives back what is reserved there. A mapping that may write and reaches
past the end makes the file larger. A fault asks for the size only where it finds no page: one that fallocate() has put behind the end is memory.

Private mappings are in `hugetlb_private`. What a hole or a new size takes away goes from them too, copies as well.

Left out: shared page tables; both locks while munmap takes entries away (may hide a deadlock); migration. hmm_range_fault() looks at
what is asked of the first of several pages alone (hmm_vma_walk_hugetlb_entry()), here at all: where each is asked for alike nothing tells.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Errno, Mutex, Ref, atomic, bound, milestone, pool, wait_until
from secondsight.linux.errno import EINVAL, ENOMEM, ENOSPC, EPERM
from secondsight.linux.highmem import clear_highpage
from secondsight.linux.hugetlb_pool import available_huge_pages, hstates, hugetlb_acct_memory
from secondsight.linux.hugetlb_private import hugetlb_no_page_private, hugetlb_wp, page_for_copy, unmap_ref_private
from secondsight.linux.hugetlb_vma_lock import (
    hugetlb_vma_lock_read,
    hugetlb_vma_trylock_write,
    hugetlb_vma_unlock_read,
    hugetlb_vma_unlock_write,
)
from secondsight.linux.memory import VM_FAULT_SIGBUS
from secondsight.linux.memory_zap import zap_range
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_flags import FAULT_FLAG_UNSHARE, FAULT_FLAG_WRITE, MAP_NORESERVE, MAP_PRIVATE
from secondsight.linux.mm_interval_tree import vma_interval_tree_iter_first, vma_interval_tree_iter_next
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Count,
    Flags,
    Folio,
    Mm,
    Pgoff,
    PmdKind,
    Va,
    VaEnd,
    Vma,
    huge_pages,
    hugetlb_private,
)
from secondsight.linux.page_alloc import alloc_huge_folio, get_page, put_page
from secondsight.linux.pgtable import folio_mapped, pte_none
from secondsight.linux.shmem import (
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    LAST_PAGE,
    Seals,
    ShmemFile,
)
from secondsight.linux.shmem_size import end_of_pages, i_size_write

__all__ = ["HugetlbFile", "hugetlb_files", "hugetlb_file_setup", "hugetlbfs_fallocate", "hugetlbfs_punch_hole", "hugetlbfs_setattr", "memfd_alloc_folio"]

bound("hugetlb_pages", most=7)
bound("hugetlb_regions", most=7)


class HugetlbFile(ShmemFile):
    """struct hugetlbfs_inode_info with its page cache, and what a memfd has beside. `pages` has both pages of each folio.

    `resv_map` is struct resv_map, where the pool is limited: for which of its pages one is reserved, or was. `fault_mutex`: hugetlb_fault_mutex_table, one for each page of the file, where the kernel's are shared by pages of one hash (may hide a deadlock).
    """

    fault_mutex: Array[Mutex, Literal["hugetlb_pages"]]
    resv_map: Array[bool, Literal["hugetlb_regions"]]

    def is_hugetlb(self) -> bool:
        return True

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """hugetlb_fault() (mm/hugetlb.c, Linux 6.12)."""
        self.fault_mutex[pgoff // HPAGE_PMD_NR].lock()
        with atomic:
            vma = mm.mm_mt[va]
            assert vma is not None
        hugetlb_vma_lock_read(vma)
        ret: Flags = 0
        if len(hugetlb_private) > 0:
            private = is_cow_mapping(vma)
            if private:
                ret = hugetlb_fault_private(self, vma, va, pgoff, flags)
            else:
                ret = hugetlb_no_page(self, mm, va, pgoff)
        else:
            ret = hugetlb_no_page(self, mm, va, pgoff)
        hugetlb_vma_unlock_read(vma)
        self.fault_mutex[pgoff // HPAGE_PMD_NR].unlock()
        return ret

    def map_pages(self, vma: Vma, start: Va, end: VaEnd) -> None:
        """Nothing is mapped around a fault."""

    def mmap(self, length: Pgoff, pgoff: Pgoff, map_flags: Flags) -> Errno:
        """hugetlbfs_file_mmap() (fs/hugetlbfs/inode.c, Linux 6.12): 0, -EPERM as of any memfd, -EINVAL where it begins within a folio, or -ENOMEM where
        the pool has not as many pages that nobody has reserved."""
        ret = ShmemFile.mmap(self, length, pgoff, map_flags)
        if ret == 0 and pgoff % HPAGE_PMD_NR != 0:
            return -EINVAL
        if len(hstates) > 0:
            if ret == 0 and not hugetlb_reserve_pages(self, pgoff // HPAGE_PMD_NR, (pgoff + length) // HPAGE_PMD_NR, map_flags):
                return -ENOMEM
        return ret

    def mapped_to_write(self, end: Pgoff) -> None:
        """The end of hugetlbfs_file_mmap() (fs/hugetlbfs/inode.c, Linux 6.12), which waits for the inode lock."""
        wait_until(self.i_rwsem.owner == 0 and self.i_rwsem.readers == 0)
        if end > self.nr_pages:
            i_size_write(self, end)

    def has_page(self, pgoff: Pgoff) -> bool:
        """What is there is memory also past the end of the file."""
        return pgoff // HPAGE_PMD_NR < self.nr_pages // HPAGE_PMD_NR or self.pages[pgoff] is not None

    def fallocate_punch_hole(self, first: Pgoff, length: Pgoff) -> Errno:
        """hugetlbfs_fallocate() (fs/hugetlbfs/inode.c, Linux 6.12)."""
        return hugetlbfs_punch_hole(self, first, length)


hugetlb_files = pool(HugetlbFile, bound("hugetlb_files", most=4))


@atomic
def hugetlb_file_setup(nr_pages: Pgoff, seals: Seals) -> HugetlbFile:
    """hugetlb_file_setup() (fs/hugetlbfs/inode.c), memfd_create(MFD_HUGETLB), ftruncate and F_ADD_SEALS (mm/memfd.c, Linux 6.12) in one: a file of
    holes."""
    file = hugetlb_files.alloc()
    file.nr_pages = nr_pages
    file.seals = seals
    file.deny_writable = seals & F_SEAL_WRITE != 0
    return file


@atomic
def hugetlb_reserve_pages(file: HugetlbFile, first: Count, last: Count, map_flags: Flags) -> bool:
    """hugetlb_reserve_pages() (mm/hugetlb.c, Linux 6.12): of a shared mapping the pages of the file for which none was reserved are reserved, of a private one as
    many as it has, all or none; none with MAP_NORESERVE."""
    if map_flags & MAP_NORESERVE != 0:
        return True
    if len(hugetlb_private) > 0:
        if map_flags & MAP_PRIVATE != 0:
            return hugetlb_acct_memory(last - first)
    count: Count = 0
    for i in range(first, last):
        if not file.resv_map[i]:
            count += 1
    reserved = hugetlb_acct_memory(count)
    if reserved:
        for i in range(first, last):
            file.resv_map[i] = True
    return reserved


@atomic
def dequeue_hugetlb_folio(file: HugetlbFile, index: Count) -> bool:
    """alloc_hugetlb_folio(), dequeue_hugetlb_folio_vma(), vma_has_reserves() (mm/hugetlb.c, Linux 6.12): a page of the pool for that place: the one
    that is reserved, or one that is nobody's. False: there is none (-ENOSPC)."""
    if len(hstates) > 0:
        if file.resv_map[index]:
            hstates[0].resv_huge_pages -= 1
        elif available_huge_pages() == 0:
            return False
        file.resv_map[index] = True
        hstates[0].free_huge_pages -= 1
    return True


def hugetlb_fault_private(file: HugetlbFile, vma: Vma, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
    """The rest of hugetlb_fault(), and of hugetlb_wp() (mm/hugetlb.c, Linux 6.12), of a private mapping, under the fault mutex and the vma's lock: 0, or VM_FAULT_SIGBUS. Both
    are given up while an owner takes its page away from others."""
    unshare = flags & FAULT_FLAG_UNSHARE != 0
    old: Ref[Folio] = None
    new: Ref[Folio] = None
    with atomic:
        ret = hugetlb_no_page_private(file, vma, va, pgoff)
        if ret == 0 and flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE) != 0:
            ret, old, new = page_for_copy(vma, va, None, unshare)
    while ret == 0 and old is not None and new is None:
        hugetlb_vma_unlock_read(vma)
        file.fault_mutex[pgoff // HPAGE_PMD_NR].unlock()
        unmap_ref_private(file, vma, old, va)
        file.fault_mutex[pgoff // HPAGE_PMD_NR].lock()
        hugetlb_vma_lock_read(vma)
        ret, old, new = page_for_copy(vma, va, old, unshare)
    if old is not None and new is not None:
        hugetlb_wp(vma, va, old, new, unshare)
    return ret


@milestone(quiet=True)
@atomic
def hugetlb_no_page(file: HugetlbFile, mm: Mm, va: Va, pgoff: Pgoff) -> Flags:
    """hugetlb_no_page() (mm/hugetlb.c, Linux 6.12), of a shared mapping, under the fault mutex: 0, or VM_FAULT_SIGBUS past the end of the file, or
    where the pool has no page."""
    start = va - va % HPAGE_PMD_NR
    if not pte_none(mm.ptes[start]):
        return 0
    folio = file.pages[pgoff]
    if folio is None:
        if pgoff // HPAGE_PMD_NR >= file.nr_pages // HPAGE_PMD_NR or not dequeue_hugetlb_folio(file, pgoff // HPAGE_PMD_NR):
            return VM_FAULT_SIGBUS
        add_folio(file, pgoff)
    first = file.pages[pgoff - pgoff % HPAGE_PMD_NR]
    vma = mm.mm_mt[va]
    assert first is not None and vma is not None
    wait_until(not first.locked)
    get_page(first)
    mm.pmds[start // HPAGE_PMD_NR].kind = PmdKind.HUGE
    for i in range(HPAGE_PMD_NR):
        mm.ptes[start + i].frame = file.pages[pgoff - pgoff % HPAGE_PMD_NR + i]
        mm.ptes[start + i].writable = vma.write
    return 0


@atomic
def add_folio(file: HugetlbFile, pgoff: Pgoff) -> None:
    """alloc_hugetlb_folio(), hugetlb_add_to_page_cache() (mm/hugetlb.c), __filemap_add_folio() (mm/filemap.c, Linux 6.12): a zeroed folio is in the
    file, with a reference for each page."""
    folio = alloc_huge_folio()
    if len(hstates) > 0:
        folio.hugetlb[0] = True
    first = pgoff - pgoff % HPAGE_PMD_NR
    file.pages[first] = folio
    if len(huge_pages) > 0:
        file.pages[first + 1] = folio.tail[0]
    get_page(folio)


@atomic
def memfd_alloc_folio(file: HugetlbFile, pgoff: Pgoff) -> Folio:
    """memfd_alloc_folio() (mm/memfd.c, Linux 6.12): the file's page, unlocked; a hole is filled. The reference is the file's own."""
    if file.pages[pgoff] is None:
        wait_until(file.fault_mutex[pgoff // HPAGE_PMD_NR].owner == 0)
        add_folio(file, pgoff)
    page = file.pages[pgoff]
    assert page is not None
    return page


# Changing the size.


@milestone
def hugetlbfs_setattr(file: HugetlbFile, size: Pgoff) -> Errno:
    """hugetlbfs_setattr(ATTR_SIZE), under do_truncate()'s inode lock (fs/hugetlbfs/inode.c, fs/open.c, Linux 6.12): the file has `size` pages. 0, -EINVAL where it would end
    within a folio, or -EPERM where a seal forbids it."""
    file.i_rwsem.write_lock()
    with atomic:
        ret: Errno = 0
        if size % HPAGE_PMD_NR != 0:
            ret = -EINVAL
        elif (size < file.nr_pages and file.seals & F_SEAL_SHRINK != 0) or (size > file.nr_pages and file.seals & F_SEAL_GROW != 0):
            ret = -EPERM
    if ret == 0:
        hugetlb_vmtruncate(file, size)
    file.i_rwsem.write_unlock()
    return ret


def hugetlb_vmtruncate(file: HugetlbFile, size: Pgoff) -> None:
    """hugetlb_vmtruncate() (fs/hugetlbfs/inode.c, Linux 6.12): the size, and what is behind it goes."""
    i_size_write(file, size)
    file.i_mmap_rwsem.write_lock()
    hugetlb_vmdelete_list(file, size, LAST_PAGE)
    file.i_mmap_rwsem.write_unlock()
    end = end_of_pages(file)
    remove_inode_hugepages(file, size, end)
    if len(hstates) > 0:
        hugetlb_unreserve_pages(file, size // HPAGE_PMD_NR)


@atomic
def hugetlb_unreserve_pages(file: HugetlbFile, start: Count) -> None:
    """hugetlb_unreserve_pages() (mm/hugetlb.c, Linux 6.12) from a page on: those of which the pages are gone (`delete_from_page_cache`)."""
    for i in range(start, len(file.resv_map)):
        if file.resv_map[i]:
            file.resv_map[i] = False
            hstates[0].resv_huge_pages -= 1


@milestone
def hugetlbfs_fallocate(file: HugetlbFile, first: Pgoff, length: Pgoff, keep_size: bool) -> Errno:
    """hugetlbfs_fallocate() (fs/hugetlbfs/inode.c, Linux 6.12): the file has the folios in which the pages lie, zeroed, and ends behind the pages if it ended before, unless
    `keep_size`: that may be within a folio. 0, -EPERM where F_SEAL_GROW forbids it, -ENOSPC where the pool has no page."""
    file.i_rwsem.write_lock()
    sealed = file.seals & F_SEAL_GROW != 0 and first + length > file.nr_pages
    if sealed:
        file.i_rwsem.write_unlock()
        return -EPERM
    ret: Errno = 0
    for i in range(first // HPAGE_PMD_NR, (first + length + HPAGE_PMD_NR - 1) // HPAGE_PMD_NR):
        if ret == 0:
            file.fault_mutex[i].lock()
            ret = hugetlbfs_fallocate_folio(file, i)
            file.fault_mutex[i].unlock()
    with atomic:
        if ret == 0 and not keep_size and first + length > file.nr_pages:
            i_size_write(file, first + length)
    file.i_rwsem.write_unlock()
    return ret


@atomic
def hugetlbfs_fallocate_folio(file: HugetlbFile, index: Count) -> Errno:
    """One folio of hugetlbfs_fallocate() (fs/hugetlbfs/inode.c, Linux 6.12), under its fault mutex."""
    if file.pages[index * HPAGE_PMD_NR] is None:
        if not dequeue_hugetlb_folio(file, index):
            return -ENOSPC
        add_folio(file, index * HPAGE_PMD_NR)
    return 0


# Punching holes.


@milestone
def hugetlbfs_punch_hole(file: HugetlbFile, first: Pgoff, length: Pgoff) -> Errno:
    """hugetlbfs_punch_hole() (fs/hugetlbfs/inode.c, Linux 6.12): remove the folios that lie in the range whole, and zero parts of others. 0, or -EPERM
    for a file sealed against writing."""
    end = first + length
    hole_start = (first + HPAGE_PMD_NR - 1) // HPAGE_PMD_NR * HPAGE_PMD_NR
    hole_end = end // HPAGE_PMD_NR * HPAGE_PMD_NR
    file.i_rwsem.write_lock()
    sealed = file.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0
    if sealed:
        file.i_rwsem.write_unlock()
        return -EPERM
    file.i_mmap_rwsem.write_lock()
    if first < hole_start:
        hugetlbfs_zero_partial_page(file, first, min(end, hole_start))
    if hole_end > hole_start:
        hugetlb_vmdelete_list(file, hole_start, hole_end - 1)
    if end > hole_end and end > hole_start:
        hugetlbfs_zero_partial_page(file, hole_end, end)
    file.i_mmap_rwsem.write_unlock()
    if hole_end > hole_start:
        remove_inode_hugepages(file, hole_start, hole_end)
    file.i_rwsem.write_unlock()
    return 0


@atomic
def hugetlbfs_zero_partial_page(file: HugetlbFile, start: Pgoff, end: Pgoff) -> None:
    """hugetlbfs_zero_partial_page() (fs/hugetlbfs/inode.c, Linux 6.12), under the folio lock."""
    for pgoff in range(start, end):
        page = file.pages[pgoff]
        first = file.pages[pgoff - pgoff % HPAGE_PMD_NR]
        if page is not None and first is not None:
            wait_until(not first.locked)
            clear_highpage(page)


@milestone
def hugetlb_vmdelete_list(file: HugetlbFile, first: Pgoff, last: Pgoff) -> None:
    """hugetlb_vmdelete_list(), unmap_hugepage_range() (fs/hugetlbfs/inode.c, mm/hugetlb.c, Linux 6.12): one bracket for each vma that maps any of the
    pages, but for one whose lock somebody has. The caller holds `i_mmap_rwsem` for writing."""
    vma: Ref[Vma] = None
    while True:
        with atomic:
            vma = vma_interval_tree_iter_first(file, first, last) if vma is None else vma_interval_tree_iter_next(vma, first, last)
            if vma is None:
                break
            locked = hugetlb_vma_trylock_write(vma)
        if locked:
            unmap_hugepage_range(vma, first, last)


def unmap_hugepage_range(vma: Vma, first: Pgoff, last: Pgoff) -> None:
    """unmap_hugepage_range() (mm/hugetlb.c, Linux 6.12), of pages of the file, in one vma, whose lock is given back."""
    with atomic:
        mm = vma.vm_mm
        assert mm is not None
        start = vma.vm_start + first - vma.vm_pgoff if vma.vm_pgoff < first else vma.vm_start
        end = min(vma.vm_end, vma.vm_start + last + 1 - vma.vm_pgoff)
    zap_range(mm, start, end, False)
    hugetlb_vma_unlock_write(vma)


def remove_inode_hugepages(file: HugetlbFile, start: Pgoff, end: Pgoff) -> None:
    """remove_inode_hugepages(), remove_inode_single_folio() (fs/hugetlbfs/inode.c, Linux 6.12): out of the file, one folio after another."""
    for i in range(start // HPAGE_PMD_NR, end // HPAGE_PMD_NR):
        folio = file.pages[i * HPAGE_PMD_NR]
        if folio is not None:
            file.fault_mutex[i].lock()
            with atomic:
                wait_until(not folio.locked)
                folio.locked = True
                mapped = folio_mapped(folio)
            if mapped:
                hugetlb_unmap_file_folio(file, i)
            delete_from_page_cache(file, i, folio)
            file.fault_mutex[i].unlock()


def hugetlb_unmap_file_folio(file: HugetlbFile, index: Count) -> None:
    """hugetlb_unmap_file_folio() (fs/hugetlbfs/inode.c, Linux 6.12): every vma that maps it. Where somebody has a vma's lock, `i_mmap_rwsem` is given back to
    wait for that, and all begins again."""
    done = False
    while not done:
        file.i_mmap_rwsem.write_lock()
        busy = unmap_where_mapped(file, index)
        file.i_mmap_rwsem.write_unlock()
        if busy is None:
            done = True
        else:
            wait_until(busy.hugetlb_lock[0].owner == 0 and busy.hugetlb_lock[0].readers == 0)


def unmap_where_mapped(file: HugetlbFile, index: Count) -> Ref[Vma]:
    """The walk of hugetlb_unmap_file_folio(): a vma whose lock somebody has; None: nobody maps the folio any more."""
    first: Pgoff = index * HPAGE_PMD_NR
    vma: Ref[Vma] = None
    while True:
        with atomic:
            vma = vma_interval_tree_iter_first(file, first, first) if vma is None else vma_interval_tree_iter_next(vma, first, first)
            while vma is not None and not hugetlb_vma_maps_page(vma, first, file):
                vma = vma_interval_tree_iter_next(vma, first, first)
            if vma is None:
                break
            locked = hugetlb_vma_trylock_write(vma)
        if not locked:
            return vma
        unmap_hugepage_range(vma, first, first + 1)
    return None


@atomic
def hugetlb_vma_maps_page(vma: Vma, pgoff: Pgoff, file: HugetlbFile) -> bool:
    """hugetlb_vma_maps_page() (fs/hugetlbfs/inode.c, Linux 6.12)."""
    mm = vma.vm_mm
    assert mm is not None
    return mm.ptes[vma.vm_start + pgoff - vma.vm_pgoff].frame is file.pages[pgoff]


@milestone(quiet=True)
@atomic
def delete_from_page_cache(file: HugetlbFile, index: Count, folio: Folio) -> None:
    """hugetlb_delete_from_page_cache() (fs/hugetlbfs/inode.c), filemap_free_folio() (mm/filemap.c), hugetlb_unreserve_pages() (mm/hugetlb.c,
    Linux 6.12), unlock: nothing is reserved for the place any more."""
    folio.locked = False
    if len(hstates) > 0:
        file.resv_map[index] = False
    for i in range(HPAGE_PMD_NR):
        file.pages[index * HPAGE_PMD_NR + i] = None
        put_page(folio)
