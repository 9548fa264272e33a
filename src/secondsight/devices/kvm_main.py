"""What KVM's drivers have in common: how a page of the process is found (virt/kvm/kvm_main.c)."""

from __future__ import annotations

from secondsight.lang import atomic
from secondsight.linux.errno import EAGAIN, EFAULT
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault
from secondsight.linux.mm_types import Mm, Pfn, Va
from secondsight.linux.page_alloc import page_to_pfn
from secondsight.linux.pgtable import pte_present

__all__ = ["hva_to_pfn"]


def hva_to_pfn(mm: Mm, va: Va, write: bool) -> Pfn:
    """hva_to_pfn() (virt/kvm/kvm_main.c, Linux 6.12): the page, or -EFAULT; -EAGAIN when it was faulted in, and is to be looked for again. No reference to it
    is kept."""
    mm.mmap_lock.read_lock()
    pfn = page_if_there(mm, va, write)
    if pfn == -EAGAIN:
        ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if write else 0)
        if ret & VM_FAULT_ERROR != 0:
            pfn = -EFAULT
    mm.mmap_lock.read_unlock()
    return pfn


@atomic
def page_if_there(mm: Mm, va: Va, write: bool) -> Pfn:
    """The page if it is there, -EAGAIN if it has to be faulted in, -EFAULT if it cannot be."""
    vma = mm.mm_mt[va]
    frame = pte_present(mm.ptes[va])
    if vma is None or (write and not vma.write):
        return -EFAULT
    if frame is None or (write and not mm.ptes[va].writable):
        return -EAGAIN
    return page_to_pfn(frame)
