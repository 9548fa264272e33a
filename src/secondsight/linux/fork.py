"""kernel/fork.c: address spaces and vmas come into being.

fork itself is in `fork_dup`, who uses an address space and how it ends in `sched_mm`.
"""

from __future__ import annotations

from secondsight.lang import Record, Ref, atomic, bound, out_of_records, pool, shared, shared_array, tracepoint
from secondsight.linux.mm_types import NOT_PREPARED, Mm, Vma, anon_vmas

__all__ = ["mm_alloc", "mm_touch", "mms", "proc_caches_init", "vm_area_alloc", "vm_area_dup", "vm_area_free", "vmas"]


class VmAreaCache(Record):
    """vm_area_cachep: the free vmas, the last freed first."""

    free: Ref[Vma]


mms = pool(Mm, bound("mms", least=1, usual=2))
vmas = shared_array(Vma, bound("vmas", least=2, most=62, usual=56))
vm_area_cache = shared(VmAreaCache)


@tracepoint
def mm_touch(mm: Mm) -> None:
    """Somebody walks the page tables of an mm, or changes them, who must be a user of it."""


@atomic
def mm_alloc() -> Mm:
    """mm_alloc() (kernel/fork.c, Linux 6.12): an empty address space with one user."""
    mm = mms.alloc()
    mm.users = 1
    return mm


def proc_caches_init() -> None:
    """proc_caches_init() (kernel/fork.c, Linux 6.12): all vmas are free. Part of setting a machine up; call it once, first."""
    for i in range(len(vmas) - 1):
        vmas[i].next = vmas[i + 1]
    if len(vmas) > 0:
        vm_area_cache.free = vmas[0]


@atomic
def vm_area_alloc(mm: Mm) -> Vma:
    """vm_area_alloc() (kernel/fork.c, Linux 6.12): a vma that maps nothing yet, the one freed last."""
    vma = vm_area_cache.free
    if vma is None:
        out_of_records("vmas")
    assert vma is not None
    vm_area_cache.free = vma.next
    vma.next = None
    vma.vm_mm = mm
    return vma


@atomic
def vm_area_dup(orig: Vma) -> Vma:
    """vm_area_dup() (kernel/fork.c, Linux 6.12): a vma that maps the same; it is in no tree."""
    assert orig.vm_mm is not None
    new = vm_area_alloc(orig.vm_mm)
    new.vm_start = orig.vm_start
    new.vm_end = orig.vm_end
    new.vm_pgoff = orig.vm_pgoff
    new.vm_file = orig.vm_file
    new.write = orig.write
    if len(anon_vmas) > 0:
        new.anon_vma = orig.anon_vma
    if len(new.flags) > 0:
        new.flags[0] = orig.flags[0]
    if len(new.anon_prepared) > 0:
        new.anon_prepared[0] = orig.anon_prepared[0]
    if len(new.anon_id) > 0:
        new.anon_id[0] = orig.anon_id[0]
    if len(new.more_flags) > 0:
        new.more_flags[0] = orig.more_flags[0]
    if len(new.hugetlb_resv) > 0:
        new.hugetlb_resv[0] = orig.hugetlb_resv[0]
        for i in range(len(new.resv_map)):
            new.resv_map[i] = orig.resv_map[i]
    return new


@atomic
def vm_area_free(vma: Vma) -> None:
    """vm_area_free() (kernel/fork.c, Linux 6.12). Left out: the grace period of SLAB_TYPESAFE_BY_RCU, for walks without a lock."""
    vma.vm_mm = None
    vma.vm_start = 0
    vma.vm_end = 0
    vma.vm_pgoff = 0
    vma.vm_file = None
    vma.write = False
    if len(vma.flags) > 0:
        vma.flags[0] = 0
    if len(vma.anon_prepared) > 0:
        vma.anon_prepared[0] = NOT_PREPARED
    if len(vma.anon_id) > 0:
        vma.anon_id[0] = 0
    if len(vma.more_flags) > 0:
        vma.more_flags[0] = 0
    if len(vma.hugetlb_resv) > 0:
        vma.hugetlb_resv[0] = 0
        for i in range(len(vma.resv_map)):
            vma.resv_map[i] = False
    if len(vma.vm_lock) > 0:
        vma.vm_lock[0].writer = 0
    vma.shared = None
    if len(anon_vmas) > 0:
        vma.anon_vma = None
        vma.anon_next[0] = None
    vma.next = vm_area_cache.free
    vm_area_cache.free = vma

