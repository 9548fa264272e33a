"""mm/hugetlb.c: the lock of each vma that maps a huge page's file.

Who fills an entry reads it, and who looks for a device (hmm_range_fault()); who takes entries away has it for writing, around the bracket: MADV_DONTNEED
waits for it and for `i_mmap_rwsem`, then calls subscribers. So a look waits while subscribers are called. Who punches a hole passes over a vma whose lock he
does not get (`hugetlb.hugetlb_vmdelete_list`).

A private mapping has such a lock where it has reserved its pages: an owner's (`hugetlb_resv`). That of a child has none.

Left out: munmap and exit, which take both locks within their bracket (may hide a deadlock).
"""

from __future__ import annotations

from secondsight.lang import atomic, bound, shared_array
from secondsight.linux.hugetlb_resv import HPAGE_RESV_OWNER, is_vma_resv_set
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_types import Vma

__all__ = ["has_vma_lock", "hugetlb_vma_lock_read", "hugetlb_vma_look", "hugetlb_vma_locks", "hugetlb_vma_trylock_write", "hugetlb_vma_unlock_read", "hugetlb_vma_unlock_write", "hugetlb_zap_begin", "hugetlb_zap_end", "is_hugetlb_vma"]

hugetlb_vma_locks = shared_array(bool, bound("hugetlb_vma_lock", most=1))
"""Of size 1 where vmas have that lock."""


@atomic
def is_hugetlb_vma(vma: Vma) -> bool:
    """is_vm_hugetlb_page() (include/linux/hugetlb_inline.h, Linux 6.12)."""
    file = vma.vm_file
    return file is not None and file.is_hugetlb()


@atomic
def has_vma_lock(vma: Vma) -> bool:
    """__vma_shareable_lock(), __vma_private_lock() (mm/hugetlb.c, Linux 6.12)."""
    if len(vma.hugetlb_resv) > 0:
        return not is_cow_mapping(vma) or is_vma_resv_set(vma, HPAGE_RESV_OWNER)
    return True


@atomic
def hugetlb_vma_lock_read(vma: Vma) -> None:
    """hugetlb_vma_lock_read() (mm/hugetlb.c, Linux 6.12)."""
    if has_vma_lock(vma):
        vma.hugetlb_lock[0].read_lock()


@atomic
def hugetlb_vma_unlock_read(vma: Vma) -> None:
    """hugetlb_vma_unlock_read() (mm/hugetlb.c, Linux 6.12)."""
    if has_vma_lock(vma):
        vma.hugetlb_lock[0].read_unlock()


@atomic
def hugetlb_vma_trylock_write(vma: Vma) -> bool:
    """hugetlb_vma_trylock_write() (mm/hugetlb.c, Linux 6.12)."""
    locked = True
    if has_vma_lock(vma):
        locked = vma.hugetlb_lock[0].write_trylock()
    return locked


@atomic
def hugetlb_vma_unlock_write(vma: Vma) -> None:
    """hugetlb_vma_unlock_write() (mm/hugetlb.c, Linux 6.12)."""
    if has_vma_lock(vma):
        vma.hugetlb_lock[0].write_unlock()


@atomic
def hugetlb_vma_look(vma: Vma) -> None:
    """hugetlb_vma_lock_read(), hugetlb_vma_unlock_read() (mm/hugetlb.c, Linux 6.12), around what is one step: walk_hugetlb_range() (mm/pagewalk.c)."""
    if len(hugetlb_vma_locks) > 0:
        if is_hugetlb_vma(vma):
            hugetlb_vma_lock_read(vma)
            hugetlb_vma_unlock_read(vma)


def hugetlb_zap_begin(vma: Vma) -> None:
    """hugetlb_zap_begin() (include/linux/hugetlb.h, Linux 6.12): before entries of the vma are taken away."""
    with atomic:
        if has_vma_lock(vma):
            vma.hugetlb_lock[0].write_lock()
    with atomic:
        file = vma.vm_file
        assert file is not None
    file.i_mmap_rwsem.write_lock()


def hugetlb_zap_end(vma: Vma) -> None:
    """hugetlb_zap_end() (include/linux/hugetlb.h, Linux 6.12)."""
    with atomic:
        file = vma.vm_file
        assert file is not None
        file.i_mmap_rwsem.write_unlock()
    hugetlb_vma_unlock_write(vma)
