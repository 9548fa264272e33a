"""mm/memfd.c: memfd_create, and seals."""

from __future__ import annotations

from secondsight.lang import Errno, atomic
from secondsight.linux.errno import EBUSY, EPERM
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Pgoff, VmaState
from secondsight.linux.shmem import F_SEAL_SEAL, F_SEAL_WRITE, Seals, ShmemFile, folio_mapcount, shmem_files

__all__ = ["memfd_add_seals", "memfd_create"]


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
        held = False
        if ret == 0 and seals & F_SEAL_WRITE != 0 and file.seals & F_SEAL_WRITE == 0:
            file.deny_writable = True
            held = memfd_has_extra_refs(file)
        if ret == 0 and not held:
            file.seals |= seals
    if held:
        ret = memfd_wait_for_pins(file, seals)
    file.i_rwsem.write_unlock()
    return ret


@atomic
def memfd_wait_for_pins(file: ShmemFile, seals: Seals) -> Errno:
    """memfd_wait_for_pins() (mm/memfd.c, Linux 6.12): look once more, some time later; and the seals, or -EBUSY.

    The kernel looks up to five times in 155 ms and takes the first look that finds nobody, or the last. Here it is one
    look at any time later, which is every one of them.
    """
    if memfd_has_extra_refs(file):
        file.deny_writable = False
        return -EBUSY
    file.seals |= seals
    return 0


@atomic
def memfd_seals_problem(file: ShmemFile, seals: Seals) -> Errno:
    """The checks of memfd_add_seals(), the last of them mapping_deny_writable() (include/linux/fs.h, Linux 6.12)."""
    if file.seals & F_SEAL_SEAL != 0:
        return -EPERM
    if seals & F_SEAL_WRITE != 0 and file.seals & F_SEAL_WRITE == 0 and mapped_writable(file):
        return -EBUSY
    return 0


@atomic
def memfd_has_extra_refs(file: ShmemFile) -> bool:
    """memfd_folio_has_extra_refs() (mm/memfd.c, Linux 6.12) for any page of the file: somebody beside it and the page tables."""
    for i in range(file.nr_pages):
        folio = file.pages[i]
        if folio is not None:
            if folio.refcount - folio_mapcount(folio) != 1:
                return True
    return False


@atomic
def mapped_writable(file: ShmemFile) -> bool:
    """mapping_writably_mapped() (include/linux/fs.h, Linux 6.12)."""
    if file.i_mmap_writable > 0:
        return True
    for i in range(len(mms)):
        mm = mms[i]
        for va in range(len(mm.vmas)):
            vma = mm.vmas[va]
            if vma.state != VmaState.NONE and vma.file is file and vma.write:
                return True
    return False
