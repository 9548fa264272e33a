"""fs/ext4/inode.c, and what it takes of mm/filemap.c and mm/truncate.c: an ordinary file, whose pages are memory as long as there is room, and whose blocks are on a disk.

    fault           of a page that is not in memory: under `invalidate_lock`, for reading, it is read from its block. For a read it is mapped so that a first write faults
    first write     ext4_page_mkwrite(): under `invalidate_lock`, for reading, and the folio lock: the page has buffers, is dirty, and its entry may write
    writeback       the folio lock; folio_clear_dirty_for_io(): every entry is read-only again, in notifier brackets, and the page is clean; under writeback, unlocked; the disk has
                    it: the block holds what the page holds
    fsync           all that is dirty, and that it is on the disk is waited for
    drop            reclaim (`vmscan`), or posix_fadvise(DONTNEED) where nothing maps it: a page that is clean and that nobody holds. It is read again from its block
    hole            `i_rwsem`, `invalidate_lock` for writing: no page comes meanwhile; every mapping loses its entries; each page: the folio lock, not under writeback, unmapped
                    again, out of the file; the blocks are free. Nobody waits for pins: a pinned page is nobody's from then on

An entry that may write is of a dirty page, always. So a device that keeps its table in step with the process's needs to say nothing of what it has written: it was dirty when the driver
asked, and before it is clean the driver is called. **Who has pinned a page is not called**: writeback cleans it under its hands, and what is written after that is lost with the page unless it
is marked dirty, after the last write, and under the folio lock.

Who marks a page dirty without that lock, or one that has lost its buffers since, is warned of: the file system was not asked. Writeback finds a dirty page without buffers then, says so, and does not
write it. Buffers go with reclaim, where somebody holds the page by a reference alone; a pin (FOLL_PIN) keeps them. That is why there are pins.

Left out: the journal and data=journal, delayed allocation that fails (-ENOSPC), errors of the disk, write(2), direct I/O on the file itself, other sizes than at the beginning, parts of pages, folios of several pages, the time
that a read takes (the mmap lock may be given up meanwhile), readahead, disks that want pages left alone while they are written (folio_wait_stable()); that the one who asks for advice does not wait for the disk; the
reference that buffers hold. None of these raises a false alarm.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Char, Errno, Ref, RwLock, atomic, bound, milestone, pool, require, shared_array, wait_until
from secondsight.linux.filemap import filemap_get_entry, folio_put_unlocked
from secondsight.linux.memory import finish_fault, insert_page
from secondsight.linux.memory_zap import unmap_mapping_folio, unmap_mapping_range
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_flags import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_WRITE,
    VM_FAULT_COMPLETED,
    VM_FAULT_NOPAGE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
)
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import AddressSpace, Flags, Folio, Mm, Pgoff, Result, Va, VaEnd, Vma
from secondsight.linux.page_alloc import alloc_page, get_page, put_page
from secondsight.linux.page_writeback import folio_clear_dirty_for_io
from secondsight.linux.pgtable import folio_mapped, pte_none, pte_present
from secondsight.linux.rmap import folio_add_file_rmap, folio_remove_file_rmap
from secondsight.linux.vma_lock import release_fault_lock
from secondsight.linux.vmscan import folio_dropped

__all__ = ["Ext4Inode", "ext4_create", "ext4_inodes", "ext4_sync_file", "ext4_writepages", "filemap_read", "generic_fadvise_dontneed"]

hole_is_written_back = shared_array(bool, bound("hole_is_written_back", most=1))
"""Of size 1: where a hole is to be punched, what is dirty goes to the disk first: see `releases` (hole-is-written-back-first)."""


class Ext4Inode(AddressSpace):
    """struct inode with its page cache, and what is on the disk: of each page what its block holds (`blocks`; 0 is a hole too). `buffers`: folio_buffers() of a page that is in memory."""

    i_rwsem: RwLock
    invalidate_lock: RwLock
    nr_pages: Pgoff
    pages: Array[Ref[Folio], Literal["file_pages"]]
    buffers: Array[bool, Literal["file_pages"]]
    blocks: Array[Char, Literal["file_pages"]]

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """filemap_fault(), do_read_fault(), do_cow_fault(), do_shared_fault() (mm/filemap.c, mm/memory.c, Linux 6.12): who has to wait for the folio lock gives the mmap lock up first, where the
        fault allows it. Looking the page up, locking and mapping it are one step, as of a memfd's (`shmem`)."""
        if pgoff >= self.nr_pages:
            return VM_FAULT_SIGBUS
        with atomic:
            missing = self.pages[pgoff] is None
        if missing:
            self.invalidate_lock.read_lock()
            filemap_create_folio(self, pgoff)
        with atomic:
            held = filemap_get_entry(self.pages[pgoff])
            retries = held is not None and flags & FAULT_FLAG_ALLOW_RETRY != 0
            if retries:
                release_fault_lock(mm, va, flags)
            vma = mm.mm_mt[va]
            writes = flags & FAULT_FLAG_WRITE != 0 and vma is not None and not is_cow_mapping(vma)
        if held is not None:
            folio_put_unlocked(held)
        if retries:
            return VM_FAULT_RETRY
        if writes:
            return self.page_mkwrite(mm, va, pgoff, flags)
        return map_folio(self, mm, va, pgoff, flags)

    def page_mkwrite(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """ext4_page_mkwrite() (fs/ext4/inode.c, Linux 6.12), and the rest of do_shared_fault() or wp_page_shared() (mm/memory.c)."""
        self.invalidate_lock.read_lock()
        held = filemap_get_entry(self.pages[pgoff])
        if held is not None:
            folio_put_unlocked(held)
        return block_page_mkwrite(self, mm, va, pgoff, flags)

    def map_pages(self, vma: Vma, start: Va, end: VaEnd) -> None:
        """filemap_map_pages(), next_uptodate_folio() (mm/filemap.c, Linux 6.12): pages that are in memory and not locked, as a read maps them."""
        mm = vma.vm_mm
        assert mm is not None
        for va in range(start, end):
            pgoff = linear_page_index(vma, va)
            if pgoff < self.nr_pages:
                folio = self.pages[pgoff]
                if folio is not None and pte_none(mm.ptes[va]):
                    if not folio.locked:
                        insert_page(mm, va, folio)

    def can_writeback(self) -> bool:
        """It has `page_mkwrite` too (vm_ops_needs_writenotify())."""
        return True

    def dirty_folio(self, folio: Folio) -> None:
        """ext4_dirty_folio(), block_dirty_folio() (fs/ext4/inode.c, fs/buffer.c, Linux 6.12): the kernel warns of who does not hold the folio lock, unless the page is dirty already,
        and of a page without buffers."""
        require(folio.locked or folio.dirty, "dirty-unlocked", "a file's page is marked dirty without the folio lock (WARN_ON_ONCE() in ext4_dirty_folio())")
        require(self.buffers[folio.index], "no-buffers", "a file's page is marked dirty that has no buffers: writeback will not write it (WARN_ON_ONCE() in ext4_dirty_folio())")
        folio.dirty = True

    def release_folio(self, folio: Folio) -> None:
        """ext4_release_folio(), jbd2_journal_try_to_free_buffers() (fs/ext4/inode.c, fs/jbd2/transaction.c, Linux 6.12)."""
        self.buffers[folio.index] = False

    def saved(self, pgoff: Pgoff) -> Char:
        """What is on the disk."""
        return self.blocks[pgoff]

    def fsync(self, first: Pgoff, length: Pgoff) -> Errno:
        """ext4_sync_file() (fs/ext4/fsync.c, Linux 6.12)."""
        ext4_sync_file(self, first, first + length)
        return 0

    def migrate_folio(self, pgoff: Pgoff, folio: Folio) -> None:
        """buffer_migrate_folio() (mm/migrate.c, Linux 6.12): its buffers go with it."""
        self.pages[pgoff] = folio

    def remove_folio(self, pgoff: Pgoff) -> None:
        """Its block is left."""
        self.pages[pgoff] = None
        self.buffers[pgoff] = False

    def has_folio(self, pgoff: Pgoff, folio: Folio) -> bool:
        """It is in the page cache."""
        return self.pages[pgoff] is folio

    def has_page(self, pgoff: Pgoff) -> bool:
        """Up to its end."""
        return pgoff < self.nr_pages

    def fallocate_punch_hole(self, first: Pgoff, length: Pgoff) -> Errno:
        """ext4_fallocate(FALLOC_FL_PUNCH_HOLE) (fs/ext4/extents.c, Linux 6.12), ext4_punch_hole(), truncate_pagecache_range() (fs/ext4/inode.c, mm/truncate.c): behind the end of the file
        there is nothing to unmap, and nobody is told. Linux 6.1 writes back what is dirty there (`hole_is_written_back`), between two times that it has the inode's lock: the first is for
        inline data (ext4_convert_inline_data())."""
        if len(hole_is_written_back) > 0:
            self.i_rwsem.write_lock()
            self.i_rwsem.write_unlock()
            if mapping_tagged(self):
                ext4_sync_file(self, first, first + length)
        self.i_rwsem.write_lock()
        self.invalidate_lock.write_lock()
        end = min(first + length, self.nr_pages)
        if first < end:
            unmap_mapping_range(self, first, end - 1)
        for pgoff in range(first, end):
            truncate_page(self, pgoff)
        with atomic:
            for freed in range(first, end):
                self.blocks[freed] = 0
            self.invalidate_lock.write_unlock()
            self.i_rwsem.write_unlock()
        return 0


ext4_inodes = pool(Ext4Inode, bound("ext4_inodes", most=2, usual=1))


@atomic
def ext4_create(nr_pages: Pgoff) -> Ext4Inode:
    """A file of `nr_pages` pages, none of which has a block, nor is in memory."""
    inode = ext4_inodes.alloc()
    inode.nr_pages = nr_pages
    return inode


@atomic
def mapping_tagged(inode: Ext4Inode) -> bool:
    """mapping_tagged(PAGECACHE_TAG_DIRTY) (include/linux/fs.h, Linux 6.1): whether any page of the file is dirty."""
    for i in range(inode.nr_pages):
        folio = inode.pages[i]
        if folio is not None:
            if folio.dirty:
                return True
    return False


# Into memory.


@milestone(quiet=True)
@atomic
def filemap_create_folio(inode: Ext4Inode, pgoff: Pgoff) -> None:
    """__filemap_get_folio(FGP_CREAT), filemap_read_folio(), __filemap_add_folio() (mm/filemap.c, Linux 6.12), of a page that is not in memory by now: what its block holds; and
    filemap_invalidate_unlock_shared(), for which the kernel waits until it has the folio locked: who finds it gone looks again."""
    if pgoff < inode.nr_pages and inode.pages[pgoff] is None:
        folio = alloc_page()
        folio.contents = inode.blocks[pgoff]
        folio_add_file_rmap(folio, inode, pgoff)
        inode.pages[pgoff] = folio
    inode.invalidate_lock.read_unlock()


@atomic
def map_folio(inode: Ext4Inode, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
    """The rest of do_read_fault() and do_cow_fault() (mm/memory.c, Linux 6.12), under the folio lock. A page that has gone meanwhile: the access is tried again."""
    folio = inode.pages[pgoff]
    if folio is None:
        return VM_FAULT_NOPAGE
    wait_until(not folio.locked)
    return finish_fault(mm, va, folio, flags & FAULT_FLAG_WRITE != 0)


@milestone(quiet=True)
@atomic
def block_page_mkwrite(inode: Ext4Inode, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
    """block_page_mkwrite() (fs/buffer.c), finish_fault() or finish_mkwrite_fault(), fault_dirty_shared_page() (mm/memory.c, Linux 6.12), under the folio lock: a page that is in the file still
    has buffers, is dirty, and may be written by its entry, if that is what it was. The mmap lock is given up where the fault allows it (balance_dirty_pages_ratelimited() may wait)."""
    inode.invalidate_lock.read_unlock()
    folio = inode.pages[pgoff]
    if folio is None:
        return VM_FAULT_NOPAGE
    wait_until(not folio.locked)
    pte = mm.ptes[va]
    if not pte_none(pte) and (pte_present(pte) is not folio or pte.writable):
        return VM_FAULT_NOPAGE
    inode.buffers[pgoff] = True
    folio.dirty = True
    if pte_none(pte):
        insert_page(mm, va, folio)
    pte.writable = True
    pte.dirty = True
    if flags & FAULT_FLAG_ALLOW_RETRY == 0:
        return 0
    release_fault_lock(mm, va, flags)
    return VM_FAULT_COMPLETED


def filemap_read(inode: Ext4Inode, pgoff: Pgoff) -> Result:
    """filemap_read() (mm/filemap.c, Linux 6.12) of one page, by pread(): what it holds; past the end of the file nothing, here 0. The folio lock is not taken of one that is in memory."""
    if pgoff >= inode.nr_pages:
        return 0
    while True:
        with atomic:
            folio = inode.pages[pgoff]
            if folio is not None:
                return folio.contents
        inode.invalidate_lock.read_lock()
        filemap_create_folio(inode, pgoff)


# To the disk.


@milestone
def ext4_sync_file(inode: Ext4Inode, first: Pgoff, end: Pgoff) -> None:
    """ext4_sync_file(), file_write_and_wait_range() (fs/ext4/fsync.c, mm/filemap.c, Linux 6.12): what is dirty is written, and what others are writing is waited for."""
    ext4_writepages(inode, first, end)
    for pgoff in range(first, min(end, inode.nr_pages)):
        with atomic:
            folio = inode.pages[pgoff]
            if folio is not None:
                wait_until(not folio.writeback)


@milestone
def ext4_writepages(inode: Ext4Inode, first: Pgoff, end: Pgoff) -> None:
    """ext4_writepages(), mpage_prepare_extent_to_map() (fs/ext4/inode.c, Linux 6.12), of pages `first` to before `end`, one after another."""
    for pgoff in range(first, min(end, inode.nr_pages)):
        with atomic:
            folio = inode.pages[pgoff]
            tagged = folio is not None and folio.dirty
            if tagged and folio is not None:
                get_page(folio)
        if tagged and folio is not None:
            write_folio(inode, folio, pgoff)


def write_folio(inode: Ext4Inode, folio: Folio, pgoff: Pgoff) -> None:
    """The loop of mpage_prepare_extent_to_map(), mpage_submit_folio() (fs/ext4/inode.c, Linux 6.12), of one folio to which there is a reference. One that has left the file or is clean by now is
    passed over. Of a page without buffers the kernel says that, forgets that it is dirty, and does not write it."""
    with atomic:
        wait_until(not folio.locked)
        writes = inode.pages[pgoff] is folio and folio.dirty
        if writes:
            folio.locked = True
        else:
            put_page(folio)
    if not writes:
        return
    with atomic:
        wait_until(not folio.writeback)
        require(inode.buffers[pgoff], "no-buffers", "a file's page is dirty and has no buffers: it is not written (ext4_warning_inode() in mpage_prepare_extent_to_map())")
    folio_clear_dirty_for_io(folio)
    with atomic:
        folio.writeback = True
        folio.locked = False
        put_page(folio)
    ext4_finish_bio(inode, folio, pgoff)


@milestone(quiet=True)
@atomic
def ext4_finish_bio(inode: Ext4Inode, folio: Folio, pgoff: Pgoff) -> None:
    """ext4_bio_write_folio(), ext4_finish_bio() (fs/ext4/page-io.c, Linux 6.12): the disk has read the page, at some moment since it is under writeback; it is no more."""
    inode.blocks[pgoff] = folio.contents
    folio.writeback = False


# Out of memory.


@milestone
def generic_fadvise_dontneed(inode: Ext4Inode, first: Pgoff, length: Pgoff) -> None:
    """generic_fadvise(POSIX_FADV_DONTNEED) (mm/fadvise.c, Linux 6.12): what is dirty is written, and then what is clean and nobody uses is dropped."""
    ext4_writepages(inode, first, first + length)
    for pgoff in range(first, min(first + length, inode.nr_pages)):
        mapping_evict_folio(inode, pgoff)


@milestone(quiet=True)
@atomic
def mapping_evict_folio(inode: Ext4Inode, pgoff: Pgoff) -> None:
    """mapping_try_invalidate(), mapping_evict_folio() (mm/truncate.c, Linux 6.12), of one page: not one that is locked, dirty, being written, mapped, or held."""
    folio = inode.pages[pgoff]
    if folio is None:
        return
    if folio.locked or folio.dirty or folio.writeback or folio.refcount > 1:
        return
    folio_dropped(folio, inode.blocks[pgoff])
    remove_from_file(inode, folio, pgoff)


def truncate_page(inode: Ext4Inode, pgoff: Pgoff) -> None:
    """truncate_inode_pages_range(), truncate_inode_folio() (mm/truncate.c, Linux 6.12), of one page, if it is there: what maps it by now is unmapped, and it leaves the file, dirty or not. `invalidate_lock` is
    held for writing."""
    held = filemap_get_entry(inode.pages[pgoff])
    if held is not None:
        folio_put_unlocked(held)
    with atomic:
        folio = inode.pages[pgoff]
        mapped = False
        if folio is not None:
            wait_until(not folio.locked and not folio.writeback)
            folio.locked = True
            mapped = folio_mapped(folio)
    if folio is None:
        return
    if mapped:
        unmap_mapping_folio(inode, pgoff)
    with atomic:
        folio.dirty = False
        folio.locked = False
        remove_from_file(inode, folio, pgoff)


@atomic
def remove_from_file(inode: Ext4Inode, folio: Folio, pgoff: Pgoff) -> None:
    """__filemap_remove_folio() (mm/filemap.c, Linux 6.12), and the file's reference is dropped."""
    inode.remove_folio(pgoff)
    folio_remove_file_rmap(folio)
    put_page(folio)
