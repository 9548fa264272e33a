"""mm/shmem.c: the size of a memfd, and pages that are there before anybody asks (fallocate). How it goes is in `shmem`."""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone, out_of_records, tracepoint
from secondsight.linux.errno import EPERM
from secondsight.linux.filemap import filemap_get_entry, folio_put_unlocked
from secondsight.linux.memory_zap import unmap_mapping_range
from secondsight.linux.mm_types import AddressSpace, Pgoff, completed_faults, shmem_swap
from secondsight.linux.shmem import (
    F_SEAL_GROW,
    F_SEAL_SHRINK,
    LAST_PAGE,
    ShmemFile,
    find_entry,
    is_swapped,
    shmem_get_folio,
    shmem_undo_range,
)
from secondsight.linux.swapops import migrations

__all__ = ["end_of_pages", "has_past_the_end", "i_size_write", "shmem_fallocate", "shmem_fallocate_folio", "shmem_setattr"]


@tracepoint
def has_past_the_end(file: AddressSpace) -> None:
    """Pages past the end of a file cannot be had: from now on, for it was cut; or until now, for it is about to grow."""


@milestone
def shmem_setattr(file: ShmemFile, size: Pgoff) -> Errno:
    """shmem_setattr() of ATTR_SIZE (mm/shmem.c, Linux 6.12), under the inode lock that ftruncate() takes for it: the file has `size` pages. 0, or -EPERM where a seal
    forbids it (F_SEAL_SHRINK, F_SEAL_GROW). Of its own size it loses what fallocate() has put behind its end."""
    file.i_rwsem.write_lock()
    with atomic:
        old = file.nr_pages
        sealed = (size < old and file.seals & F_SEAL_SHRINK != 0) or (size > old and file.seals & F_SEAL_GROW != 0)
        if not sealed:
            i_size_write(file, size)
        end = end_of_pages(file)
    if sealed:
        file.i_rwsem.write_unlock()
        return -EPERM
    if size < old:
        unmap_mapping_range(file, size, LAST_PAGE, True)
    if size <= old:
        shmem_undo_range(file, size, end)
    if size < old:
        unmap_mapping_range(file, size, LAST_PAGE, True)
    file.i_rwsem.write_unlock()
    return 0


@atomic
def i_size_write(file: ShmemFile, size: Pgoff) -> None:
    """i_size_write() (include/linux/fs.h, Linux 6.12)."""
    if size > len(file.pages):
        out_of_records("file_pages")
    if size > file.nr_pages:
        has_past_the_end(file)
    cut = size < file.nr_pages
    file.nr_pages = size
    if cut:
        has_past_the_end(file)


@atomic
def end_of_pages(file: ShmemFile) -> Pgoff:
    """The end of the last page that is in the file. The kernel's truncation looks for more until it finds none; none comes, for the size is less by then."""
    end: Pgoff = 0
    for pgoff in range(len(file.pages)):
        if file.pages[pgoff] is not None or is_swapped(file, pgoff):
            end = pgoff + 1
    return end


@milestone
def shmem_fallocate(file: ShmemFile, first: Pgoff, length: Pgoff, keep_size: bool) -> Errno:
    """shmem_fallocate(0 or FALLOC_FL_KEEP_SIZE) (mm/shmem.c, Linux 6.12): the file has `length` pages from `first` on, and ends behind them if it ended before, unless
    `keep_size`. 0, or -EPERM where F_SEAL_GROW forbids it, whether it would grow or not."""
    file.i_rwsem.write_lock()
    sealed = file.seals & F_SEAL_GROW != 0 and first + length > file.nr_pages
    if sealed:
        file.i_rwsem.write_unlock()
        return -EPERM
    for pgoff in range(first, first + length):
        if len(migrations) + len(shmem_swap) > 0:
            with atomic:
                held = filemap_get_entry(find_entry(file, pgoff))
                if held is None:
                    shmem_fallocate_folio(file, pgoff)
            if held is not None:
                with atomic:
                    folio_put_unlocked(held)
                    shmem_fallocate_folio(file, pgoff)
        else:
            shmem_fallocate_folio(file, pgoff)
    with atomic:
        if not keep_size and first + length > file.nr_pages:
            i_size_write(file, first + length)
    file.i_rwsem.write_unlock()
    return 0


@atomic
def shmem_fallocate_folio(file: ShmemFile, pgoff: Pgoff) -> None:
    """shmem_get_folio(SGP_FALLOC) (mm/shmem.c, Linux 6.12): the file has the page, which is dirty. A new one is not up to date; one that was not is zeroed."""
    if pgoff >= len(file.pages):
        out_of_records("file_pages")
    is_new = file.pages[pgoff] is None and not is_swapped(file, pgoff)
    folio = shmem_get_folio(file, pgoff)
    file.fallocated[pgoff] = is_new
    if len(completed_faults) + len(shmem_swap) > 0:
        folio.dirty = True
