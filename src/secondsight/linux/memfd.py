"""mm/memfd.c: memfd_create, and seals."""

from __future__ import annotations

from secondsight.lang import Errno, atomic
from secondsight.linux.errno import EBUSY, EPERM
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Pgoff, VmaState
from secondsight.linux.shmem import F_SEAL_SEAL, F_SEAL_WRITE, Seals, ShmemFile, shmem_files

__all__ = ["memfd_add_seals", "memfd_create"]


@atomic
def memfd_create(nr_pages: Pgoff, seals: Seals) -> ShmemFile:
    """memfd_create(MFD_ALLOW_SEALING), ftruncate and F_ADD_SEALS (mm/memfd.c, Linux 6.12) in one: a file of holes."""
    file = shmem_files.alloc()
    file.nr_pages = nr_pages
    file.seals = seals
    return file


@atomic
def memfd_add_seals(file: ShmemFile, seals: Seals) -> Errno:
    """memfd_add_seals() (mm/memfd.c, Linux 6.12): 0, -EPERM when sealed, -EBUSY for F_SEAL_WRITE on a file mapped
    for writing.

    Under the inode lock. Left out: the wait for pins, and -EBUSY when they stay: F_SEAL_WRITE succeeds on a pinned
    file (may hide a bug).
    """
    file.i_rwsem.write_lock()
    ret = 0
    if file.seals & F_SEAL_SEAL != 0:
        ret = -EPERM
    elif seals & F_SEAL_WRITE != 0 and file.seals & F_SEAL_WRITE == 0 and mapped_writable(file):
        ret = -EBUSY
    else:
        file.seals |= seals
    file.i_rwsem.write_unlock()
    return ret


@atomic
def mapped_writable(file: ShmemFile) -> bool:
    """mapping_writably_mapped() (include/linux/fs.h, Linux 6.12)."""
    for i in range(len(mms)):
        mm = mms[i]
        for va in range(len(mm.vmas)):
            vma = mm.vmas[va]
            if vma.state != VmaState.NONE and vma.file is file and vma.write:
                return True
    return False
