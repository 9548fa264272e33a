"""mm/memfd.c: memfd_create, and seals."""

from __future__ import annotations

from typing import Annotated, Final

from secondsight.lang import Bounds, Errno, Ref, atomic
from secondsight.linux.errno import EBUSY, EPERM
from secondsight.linux.mm import vma_is_shared_maywrite
from secondsight.linux.mm_types import Folio, Pgoff, Vma
from secondsight.linux.page_alloc import folio_order, page_folio
from secondsight.linux.pgtable import folio_mapcount
from secondsight.linux.shmem import F_SEAL_SEAL, F_SEAL_WRITE, Seals, ShmemFile, shmem_files

__all__ = ["memfd_add_seals", "memfd_create"]

LAST_SCAN: Final = 4

FileBits = Annotated[int, Bounds(0, 32767)]
"""One bit for each page of a file."""


@atomic
def memfd_create(nr_pages: Pgoff, seals: Seals) -> ShmemFile:
    """memfd_create(MFD_ALLOW_SEALING), ftruncate and F_ADD_SEALS (mm/memfd.c, Linux 6.12) in one: a file of holes."""
    file = shmem_files.alloc()
    file.nr_pages = nr_pages
    file.seals = seals
    file.deny_writable = seals & F_SEAL_WRITE != 0
    return file


def memfd_add_seals(file: ShmemFile, seals: Seals) -> Errno:
    """memfd_add_seals() (mm/memfd.c, Linux 6.12): 0, -EPERM when sealed, -EBUSY for F_SEAL_WRITE on a file that is mapped
    for writing, or whose pages somebody keeps holding.

    While it waits for the holders nobody can map the file for writing.
    """
    file.i_rwsem.write_lock()
    with atomic:
        ret = memfd_seals_problem(file, seals)
        waits = ret == 0 and seals & F_SEAL_WRITE != 0 and file.seals & F_SEAL_WRITE == 0
        if waits:
            file.deny_writable = True
        elif ret == 0:
            file.seals |= seals
    if waits:
        ret = memfd_wait_for_pins(file, seals)
    file.i_rwsem.write_unlock()
    return ret


def memfd_wait_for_pins(file: ShmemFile, seals: Seals) -> Errno:
    """memfd_wait_for_pins() (mm/memfd.c, Linux 6.12): wait until each page was once without other holders; and the seals, or
    -EBUSY.

    The pages that somebody holds are noted; up to five looks, in 155 ms, forget those that nobody holds any more, and
    do not look at them again. Left out: a fatal signal, which makes the next look the last.
    """
    with atomic:
        pinned = memfd_tag_pins(file)
        if pinned == 0:
            file.seals |= seals
    for scan in range(LAST_SCAN + 1):
        if pinned == 0:
            break
        with atomic:
            pinned = memfd_scan_pins(file, pinned)
            if pinned == 0:
                file.seals |= seals
            elif scan == LAST_SCAN:
                file.deny_writable = False
    return 0 if pinned == 0 else -EBUSY


@atomic
def memfd_seals_problem(file: ShmemFile, seals: Seals) -> Errno:
    """The checks of memfd_add_seals(), the last of them mapping_deny_writable() (include/linux/fs.h, Linux 6.12)."""
    if file.seals & F_SEAL_SEAL != 0:
        return -EPERM
    if seals & F_SEAL_WRITE != 0 and file.seals & F_SEAL_WRITE == 0 and mapped_writable(file):
        return -EBUSY
    return 0


@atomic
def memfd_tag_pins(file: ShmemFile) -> FileBits:
    """memfd_tag_pins() (mm/memfd.c, Linux 6.12): the pages of the file that somebody holds, a bit each."""
    pinned: FileBits = 0
    for i in range(file.nr_pages):
        if memfd_folio_has_extra_refs(file.pages[i]):
            pinned |= 1 << i
    return pinned


@atomic
def memfd_scan_pins(file: ShmemFile, pinned: FileBits) -> FileBits:
    """One look of memfd_wait_for_pins() (mm/memfd.c, Linux 6.12) at the pages noted: those that somebody still holds."""
    for i in range(file.nr_pages):
        if pinned & (1 << i) != 0 and not memfd_folio_has_extra_refs(file.pages[i]):
            pinned -= 1 << i
    return pinned


@atomic
def memfd_folio_has_extra_refs(folio: Ref[Folio]) -> bool:
    """memfd_folio_has_extra_refs() (mm/memfd.c, Linux 6.12): a page that somebody beside the file and the page tables holds."""
    if folio is None:
        return False
    whole = page_folio(folio)
    return whole.refcount - folio_mapcount(whole) != 1 + folio_order(whole)


@atomic
def mapped_writable(file: ShmemFile) -> bool:
    """mapping_writably_mapped() (include/linux/fs.h, Linux 6.12): mapped shared, where that may come to write."""
    if file.i_mmap_writable > 0:
        return True
    vma: Ref[Vma] = file.i_mmap
    while vma is not None:
        if vma_is_shared_maywrite(vma):
            return True
        vma = vma.shared
    return False

