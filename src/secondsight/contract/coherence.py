"""The rule that everything hangs on: a device access is as if it were a CPU access to the same address."""

from __future__ import annotations

from secondsight.contract.failures import is_out_of_memory
from secondsight.devices.device import accesses_compared
from secondsight.lang import Ref, atomic, require, rule
from secondsight.linux.device import device_access, invalidation_waits
from secondsight.linux.fork import mms
from secondsight.linux.migrate_device import device_folio_moved_to
from secondsight.linux.mm import vma_is_accessible, vma_needs_dirty_tracking
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import Driver, Folio, Mm, Pte, PteKind, Result, Va, numa_hints, shmem_swap, writes_back
from secondsight.linux.mmu_notifier import owners
from secondsight.linux.page_alloc import folio_page, page_folio
from secondsight.linux.pgtable import pte_none, pte_none_mostly, pte_page, pte_present
from secondsight.linux.swapops import (
    is_migration_entry,
    is_poisoned_swp_entry,
    is_swap_entry,
    migrations,
    pte_markers,
    swap_slots,
)

__all__ = ["as_if_cpu", "isolation", "same_at_rest"]


@rule("as-if-cpu", on=device_access)
def as_if_cpu(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """A device uses the frame, with the permission, that the CPU's page table has for the address.

    Until an invalidation that covers the address has called the driver and the call has returned, the old frame is allowed:
    the invalidation is not over, and it waits for this driver. A page that is in the swap cache, or about to be moved, is the one that
    a CPU's fault would find; so is a memfd's that reclaim has unmapped and left in its file, where reclaim takes those (a pinned one); if another takes its place, what a device writes there meanwhile is lost (`lost-write`). Broken by the use of a frame (or a permission) that the CPU
    would not have. Source: Documentation/mm/hmm.rst and the 2019 thread ("exactly as if it were a CPU access").
    """
    mm = device.notifier.mm
    if mm is not None and not invalidation_waits(device, va):
        require(is_there(device, mm, va, frame), "as-if-cpu", "stale access: the device used a frame that the CPU no longer has there")
        require(not write or is_writable(mm, va), "as-if-cpu", "stale permission: the device wrote where the CPU may not")


@atomic
def is_there(device: Driver, mm: Mm, va: Va, frame: Folio) -> bool:
    """Whether a CPU's access to `va` ends at that frame, as things are: also one that faults first and finds it in the swap cache,
    or waits until it is not being moved any more; and whether it is the device's that has the page for itself, or in its own memory."""
    pte = mm.ptes[va]
    if len(frame.pgmap) > 0:
        if pte.kind == PteKind.DEVICE_PRIVATE:
            return pte.frame is frame and is_owned(device, frame)
        old = pte.frame
        if is_migration_entry(pte) and old is not None:
            now = device_folio_moved_to(old)
            return frame is (old if now is None else now) and (frame.pgmap[0] is None or is_owned(device, frame))
    if len(owners) > 0:
        alone = device.has_alone(va)
        if pte.kind == PteKind.DEVICE_EXCLUSIVE and alone:
            return pte.frame is frame
    if len(swap_slots) > 0:
        if is_swap_entry(pte):
            cached = swap_slots[pte.swap].cache
            return cached is not None and folio_page(cached, pte.swap - cached.swap) is frame
    if len(migrations) > 0:
        if is_migration_entry(pte):
            folio = page_folio(frame)
            return pte.frame is frame and not any(one.src is folio and one.moved for one in migrations)
    if len(shmem_swap) + len(writes_back) > 0:
        vma = mm.mm_mt[va]
        if vma is not None and is_to_come(pte) and page_folio(frame).pins > 0:
            file = vma.vm_file
            return file is not None and file.has_folio(linear_page_index(vma, va), frame)
    return found_by_cpu(mm, va) is frame


@atomic
def is_to_come(pte: Pte) -> bool:
    """Whether nothing is there that keeps the file's page from coming: nothing, or a marker that it is write-protected."""
    if len(pte_markers) > 0:
        if is_poisoned_swp_entry(pte):
            return False
    return pte_none_mostly(pte)


@atomic
def found_by_cpu(mm: Mm, va: Va) -> Ref[Folio]:
    """What the entry at `va` has for a CPU, which may fault first and find it still. NUMA balancing takes an entry's permissions away to hear who comes, and nothing of what the mapping allows;
    who moves the page then tells subscribers once more. With PROT_NONE there is nothing."""
    if len(numa_hints) > 0:
        vma = mm.mm_mt[va]
        if vma is not None and vma_is_accessible(vma):
            return pte_page(mm.ptes[va])
    return pte_present(mm.ptes[va])


@atomic
def is_owned(device: Driver, frame: Folio) -> bool:
    """Whether a page is in the device's own memory."""
    pgmap = frame.pgmap[0]
    if pgmap is None:
        return False
    owner = pgmap.owner
    return owner is not None and owner.driver is device


@atomic
def is_writable(mm: Mm, va: Va) -> bool:
    """Whether a CPU may write there. A page in swap is mapped as its vma says, if no other entry stands for it too; while munmap has
    taken the vma and not the entry yet, it is as if the access came before munmap. Of a file that wants to hear of the first write there must be an entry that may."""
    pte = mm.ptes[va]
    if len(swap_slots) > 0:
        if is_swap_entry(pte):
            vma = mm.mm_mt[va]
            return (vma is None or vma.write) and swap_slots[pte.swap].count == 1
    if len(shmem_swap) + len(writes_back) > 0:
        mapping = mm.mm_mt[va]
        if mapping is not None and pte_none(pte):
            return mapping.write and (len(writes_back) == 0 or not vma_needs_dirty_tracking(mapping))
    return pte.writable


@rule("as-if-cpu", on=accesses_compared)
def same_at_rest(device: Driver, va: Va, cpu: Result, found: Result) -> None:
    """With nothing else going on, the device's access ends as the CPU's does: the same value, or both fail.

    Broken by a device that reads another value, that fails where the CPU would not, or that does not fail where it would.
    """
    require(
        cpu == found or (cpu < 0 and found < 0) or is_out_of_memory(found),
        "as-if-cpu",
        "with nothing else going on, the device's access and the CPU's end differently",
    )


@rule("isolation", on=device_access)
def isolation(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """A device never uses a frame that by now belongs to another process or another address.

    Weaker than as-if-cpu: broken only when the frame is somebody else's, so that data leaks or is overwritten.
    """
    mm = device.notifier.mm
    if mm is not None and not invalidation_waits(device, va):
        for other in mms:
            elsewhere = found_by_cpu(mm, va) is not frame and any(pte_present(pte) is frame for pte in other.ptes)
            require(not elsewhere, "isolation", "the device used a frame that is mapped at another address by now")
