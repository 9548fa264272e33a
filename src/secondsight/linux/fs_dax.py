"""fs/dax.c and fs/ext4/inode.c: a file whose pages are a device's memory themselves (fs-dax), and who waits before its blocks go.

    fault       under `invalidate_lock`, for reading: the block that the file has there, with no reference of the entry's; in a hole
                who reads has the zero page, and who writes a new block, when every mapping's entry of the zero page has gone
    hole        `i_rwsem`, `invalidate_lock` for writing: no fault comes between
                ext4_break_layouts()        every mapping's entries go, in notifier brackets; if somebody holds a page still, its last
                                            reference is waited for, without `invalidate_lock`, and all begins again
                ext4_punch_hole()           entries go once more; a page that somebody holds now is a bug (the kernel warns); the blocks are free

A page has one reference when nobody uses it but the file. A pin is one more, and the file waits for it: so nobody may pin such memory for long
(FOLL_LONGTERM is refused), and a mirror has to let go when it is told. A block that is free is a frame that is free: it is another file's soon.

The file system hears of the first write to each page: an entry that came by a read may not be written before.

Left out: PMD entries, private mappings; truncation, which does the same as a hole; that who faults waits while another's fault replaces the zero page (here
it may come between: more is possible, not less), but where holes are written back first; what of a file is dirty, and is written back, but by a hole in Linux 6.1
(`dax_tags`); that a hole waits for an entry that another hole is writing back; the file system's journal; the device's removal (device-dax has it: `dax`); a signal that ends the wait.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Errno, Mutex, Ref, RwLock, atomic, bound, milestone, pool, require, wait_until
from secondsight.linux.memory import insert_pfn_mkwrite
from secondsight.linux.memory_zap import unmap_mapping_range
from secondsight.linux.mm_flags import FAULT_FLAG_WRITE, VM_FAULT_SIGBUS, VM_FSDAX
from secondsight.linux.mm_interval_tree import vma_interval_tree_iter_first, vma_interval_tree_iter_next
from secondsight.linux.mm_types import AddressSpace, Flags, Folio, Mm, Pgoff, Va, Vma
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames, is_zero_page, put_page
from secondsight.linux.rmap_mkclean import pfn_mkclean_range

__all__ = ["FsDaxFile", "dax_iomap_fault", "dax_layout_busy_page", "ext4_break_layouts", "ext4_fallocate_punch_hole", "ext4_punch_hole", "fs_dax_create", "fs_dax_files", "is_fs_dax_page"]

bound("dax_tags", usual=0)
"""As `file_pages` where what a file has dirty matters: see `releases` (hole-is-written-back-first)."""


class FsDaxFile(AddressSpace):
    """struct inode with its address_space, on a file system that is mounted with dax=always. `blocks` are its blocks, as many as it has pages; None: a hole; the zero
    page: one that somebody has read (DAX_ZERO_PAGE). `dirty` and `entry_locks` (only where a hole is written back first): PAGECACHE_TAG_DIRTY and the lock bit of the
    entries in its xarray."""

    i_rwsem: RwLock
    invalidate_lock: RwLock
    nr_pages: Pgoff
    blocks: Array[Ref[Folio], Literal["file_pages"]]
    dirty: Array[bool, Literal["dax_tags"]]
    entry_locks: Array[Mutex, Literal["dax_tags"]]

    def vm_flags(self) -> Flags:
        """Entries are pte_devmap, and the file is a file system's."""
        return VM_FSDAX

    def has_page(self, pgoff: Pgoff) -> bool:
        """Up to its end."""
        return pgoff < self.nr_pages

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """ext4_dax_huge_fault() (fs/ext4/file.c, Linux 6.12): map the file's page, under `invalidate_lock`."""
        write = flags & FAULT_FLAG_WRITE != 0
        self.invalidate_lock.read_lock()
        if len(self.entry_locks) > 0:
            if pgoff < self.nr_pages:
                self.entry_locks[pgoff].lock()
        if write:
            if dax_replaces_zero_page(self, pgoff):
                unmap_mapping_range(self, pgoff, pgoff)
        return dax_iomap_fault(self, mm, va, pgoff, write)

    def fallocate_punch_hole(self, first: Pgoff, length: Pgoff) -> Errno:
        """ext4_fallocate(FALLOC_FL_PUNCH_HOLE) (fs/ext4/extents.c, Linux 6.12), as madvise_remove() calls it."""
        ext4_fallocate_punch_hole(self, first, length)
        return 0


fs_dax_files = pool(FsDaxFile, "fs_dax_files")


@atomic
def fs_dax_create(nr_pages: Pgoff) -> FsDaxFile:
    """A file of `nr_pages` pages, with a block each."""
    file = fs_dax_files.alloc()
    file.nr_pages = nr_pages
    for i in range(nr_pages):
        file.blocks[i] = alloc_page()
    return file


@atomic
def is_fs_dax_page(page: Folio) -> bool:
    """pte_devmap() (arch/x86/include/asm/pgtable.h, Linux 6.12) of the entry that maps a page, told by the page: a file's block."""
    return not is_zero_page(page) and any(page in file.blocks for file in fs_dax_files)


@milestone(quiet=True)
@atomic
def dax_iomap_fault(file: FsDaxFile, mm: Mm, va: Va, pgoff: Pgoff, write: bool) -> Flags:
    """dax_iomap_pte_fault(), dax_fault_iter(), dax_load_hole() (fs/dax.c, Linux 6.12), and filemap_invalidate_unlock_shared(): the entry of the file's block, with no
    reference. A hole that is to be written gets a block; one that is read, the zero page."""
    file.invalidate_lock.read_unlock()
    if pgoff >= file.nr_pages:
        return VM_FAULT_SIGBUS
    if len(file.entry_locks) > 0:
        file.entry_locks[pgoff].unlock()
        if write:
            file.dirty[pgoff] = True
    page = file.blocks[pgoff]
    if page is None:
        page = alloc_page() if write else frames[ZERO_PFN]
        file.blocks[pgoff] = page
    return insert_pfn_mkwrite(mm, va, page, write)


@atomic
def dax_replaces_zero_page(file: FsDaxFile, pgoff: Pgoff) -> bool:
    """dax_insert_entry() (fs/dax.c, Linux 6.12) of a page that is to be written, up to unmap_mapping_pages(): whether the file has the zero page there. It has a block
    from now on."""
    if pgoff >= file.nr_pages:
        return False
    page = file.blocks[pgoff]
    if page is None or not is_zero_page(page):
        return False
    file.blocks[pgoff] = alloc_page()
    return True


@milestone
def dax_layout_busy_page(file: FsDaxFile) -> Ref[Folio]:
    """dax_layout_busy_page_range(), dax_busy_page() (fs/dax.c, Linux 7.2; as in 6.12 an entry holds no reference): take every entry of the file away, and give the first page that somebody
    holds still; None: nobody holds one. `invalidate_lock` is held for writing: no entry comes back."""
    unmap_mapping_range(file, 0, 15)
    return first_busy_page(file)


@atomic
def first_busy_page(file: FsDaxFile) -> Ref[Folio]:
    """The walk over the file's pages in dax_layout_busy_page_range() (fs/dax.c, Linux 7.2)."""
    for i in range(file.nr_pages):
        page = file.blocks[i]
        if page is not None and not is_zero_page(page) and page.refcount > 1:
            return page
    return None


@milestone
def ext4_break_layouts(file: FsDaxFile) -> None:
    """ext4_break_layouts(), ext4_wait_dax_page() (fs/ext4/inode.c, Linux 6.12): wait until nobody holds a page of the file, and no CPU can reach one.
    `invalidate_lock` is held for writing, and given up while it waits."""
    while True:
        page = dax_layout_busy_page(file)
        if page is None:
            return
        with atomic:
            waits = page.refcount != 1
            if waits:
                file.invalidate_lock.write_unlock()
        if waits:
            wait_until(page.refcount == 1)
            file.invalidate_lock.write_lock()


@milestone
def ext4_punch_hole(file: FsDaxFile, first: Pgoff, npages: Pgoff) -> None:
    """ext4_punch_hole(), truncate_pagecache_range(), dax_delete_mapping_entry() (fs/ext4/inode.c, mm/truncate.c, fs/dax.c, Linux 6.12): the blocks of pages
    `first` on are free, up to the end of the file. `invalidate_lock` is held for writing."""
    if first >= file.nr_pages:
        return
    there = min(npages, file.nr_pages - first)
    unmap_mapping_range(file, first, first + there - 1)
    free_blocks(file, first, there)


@atomic
def free_blocks(file: FsDaxFile, first: Pgoff, npages: Pgoff) -> None:
    """dax_disassociate_entry() (fs/dax.c), ext4_ext_remove_space() (fs/ext4/extents.c, Linux 6.12)."""
    for i in range(first, first + npages):
        page = file.blocks[i]
        if len(file.dirty) > 0:
            file.dirty[i] = False
        if page is not None and not is_zero_page(page):
            require(page.refcount == 1, "dax-page-is-free", "a block of a file is freed whose page somebody holds (WARN_ON_ONCE() in dax_disassociate_entry())")
            put_page(page)
        file.blocks[i] = None


def ext4_fallocate_punch_hole(file: FsDaxFile, first: Pgoff, npages: Pgoff) -> None:
    """ext4_fallocate(FALLOC_FL_PUNCH_HOLE) (fs/ext4/extents.c, Linux 6.12). Linux 6.1 writes back what is dirty there (`dax_tags`), between two times that it has the
    inode's lock: the first is for inline data."""
    if len(file.dirty) > 0:
        file.i_rwsem.write_lock()
        file.i_rwsem.write_unlock()
        dax_writeback_mapping_range(file, first, npages)
    file.i_rwsem.write_lock()
    file.invalidate_lock.write_lock()
    ext4_break_layouts(file)
    ext4_punch_hole(file, first, npages)
    with atomic:
        file.invalidate_lock.write_unlock()
        file.i_rwsem.write_unlock()


# What is written goes to the device for good: caches are flushed, and nobody may write it without a fault.


def dax_writeback_mapping_range(file: FsDaxFile, first: Pgoff, npages: Pgoff) -> None:
    """dax_writeback_mapping_range() (fs/dax.c, Linux 6.1), of pages `first` on, one after the other, up to the end of the file."""
    i = first
    while i < min(first + npages, file.nr_pages):
        with atomic:
            dirty = file.dirty[i]
        if dirty:
            dax_writeback_one(file, i)
        i += 1


@milestone
def dax_writeback_one(file: FsDaxFile, pgoff: Pgoff) -> None:
    """dax_writeback_one() (fs/dax.c, Linux 6.1): every shared mapping's entry is clean and read-only, in brackets, while the file's entry is locked: who faults there waits."""
    file.entry_locks[pgoff].lock()
    with atomic:
        page = file.blocks[pgoff] if file.dirty[pgoff] else None
    if page is not None:
        file.i_mmap_rwsem.read_lock()
        vma: Ref[Vma] = None
        while True:
            with atomic:
                vma = vma_interval_tree_iter_first(file, pgoff, pgoff) if vma is None else vma_interval_tree_iter_next(vma, pgoff, pgoff)
                if vma is None:
                    break
            pfn_mkclean_range(page, pgoff, vma)
        with atomic:
            file.i_mmap_rwsem.read_unlock()
            file.dirty[pgoff] = False
    file.entry_locks[pgoff].unlock()
