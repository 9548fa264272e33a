"""mm/hmm.c as it was in Linux 5.3: `hmm_range_register` and `range.valid`, the interface that the 2019 thread
speaks of.

One `Hmm` for each mm listens to everything. A driver registers itself as a mirror, and each range it works on:

* start of an invalidation: `notifiers` + 1; every registered range that it touches becomes not valid; then each
  mirror's `sync_cpu_device_pagetables` is called;
* end: `notifiers` - 1; at 0 *every* registered range becomes valid again, whatever happened to it meanwhile;
* the driver: register the range (valid if nothing is being invalidated); hmm_range_fault(); take its lock; if the
  range is valid, use what was found, else start over.

`valid` is a state, not a count of changes: an invalidation that starts and ends between hmm_range_fault() and the
test leaves no trace. The interval notifiers' sequence number (Linux 5.5, `mmu_notifier`) replaced it for that
reason. This file keeps it as it was.

While a range is registered it is a user of the mm, so a process cannot go before.

In 5.3 hmm_range_fault() takes a reference to the `dev_pagemap` of device memory while it looks, and says -EBUSY,
to itself, when that was killed: it then looks again for as long as the range is valid. `pagemap=False` is the
thread's proposal, and 6.12: no reference. Of an entry that maps several pages it looks up each (`hmm_vma_handle_pmd`).

The state of 5.3: -EBUSY for a range that is not valid, the mmap lock kept (before, -EAGAIN and the lock dropped).
What 5.3's munmap, faults and exit do is taken from the files beside this one, i.e. from 6.12; for what is modelled
they do not differ.

Left out: hmm_range_dma_map, several pages at a time, mirrors_sem's writer (registering a mirror while it is
called).
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import (
    Array,
    Errno,
    Record,
    Ref,
    RwLock,
    atomic,
    bound,
    milestone,
    out_of_records,
    pool,
    require,
    wait_until,
)
from secondsight.linux.errno import EAGAIN, EBUSY, EFAULT, ENOENT, EPERM
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault, vma_flags
from secondsight.linux.memremap import DevPagemap, get_dev_pagemap, put_dev_pagemap
from secondsight.linux.mm_flags import VM_DEVMAP, VM_PFNMAP
from secondsight.linux.mm_types import Count, Driver, Mm, MmuNotifier, Pfn, Range, Va, VaEnd
from secondsight.linux.mmu_notifier import (
    is_unregistered,
    mmu_notifier_callback,
    mmu_notifier_register,
    notifier_registered,
)
from secondsight.linux.page_alloc import page_to_pfn
from secondsight.linux.pgtable import pte_present
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = [
    "Hmm",
    "HmmRange",
    "hmm_mirror_register",
    "hmm_mirror_unregister",
    "hmm_range_fault",
    "hmm_range_register",
    "hmm_range_unregister",
    "hmm_range_valid",
    "hmm_range_wait_until_valid",
    "hmm_vma_handle_pmd",
    "hmm_ranges",
    "hmms",
]


class HmmRange(Record):
    """struct hmm_range: what a driver works on. `hmm` is None when it is not registered."""

    hmm: Ref[Hmm]
    start: Va
    end: VaEnd
    valid: bool


bound("mirrors", usual=2)


class Hmm(MmuNotifier):
    """struct hmm: one for each mirrored mm. `notifiers` counts running invalidations; its spinlock is one step here."""

    mm: Ref[Mm]
    notifiers: Count
    mirrors_sem: RwLock
    mirrors: Array[Ref[Driver], Literal["mirrors"]]

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        """hmm_invalidate_range_start() (mm/hmm.c, Linux 5.3): mark ranges not valid, then call the mirrors."""
        hmm_ranges_invalidate(self, rng)
        if rng.blockable:
            self.mirrors_sem.read_lock()
        else:
            with atomic:
                locked = self.mirrors_sem.read_trylock()
                if not locked:
                    notifiers_decrement(self)
            if not locked:
                return -EAGAIN
        ret = 0
        for i in range(len(self.mirrors)):
            with atomic:
                mirror = self.mirrors[i]
                if mirror is not None:
                    mmu_notifier_callback(mirror, rng.start, rng.end, rng.event)
            if mirror is not None and ret == 0:
                rc = mirror.sync_cpu_device_pagetables(rng)
                if rc != 0:
                    require(not rng.blockable and rc == -EAGAIN, "notifier-failed", "sync_cpu_device_pagetables() fails")
                    ret = -EAGAIN
        self.mirrors_sem.read_unlock()
        if ret != 0:
            notifiers_decrement(self)
        return ret

    def is_told_of_failure(self) -> bool:
        """Linux 5.3 had no call of `invalidate_range_end` after a failed start."""
        return False

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        """hmm_invalidate_range_end() (mm/hmm.c, Linux 5.3)."""
        notifiers_decrement(self)

    def release(self, mm: Mm) -> None:
        """hmm_release() (mm/hmm.c, Linux 5.3): tell the mirrors that the mm goes."""
        self.mirrors_sem.read_lock()
        for i in range(len(self.mirrors)):
            with atomic:
                mirror = self.mirrors[i]
            if mirror is not None:
                mirror.release(mm)
        self.mirrors_sem.read_unlock()


hmms = pool(Hmm, bound("hmms", usual=2))
hmm_ranges = pool(HmmRange, bound("hmm_ranges", usual=2))


@atomic
def hmm_ranges_invalidate(hmm: Hmm, rng: Range) -> None:
    """The part of hmm_invalidate_range_start() under ranges_lock. Its test of the end is off by one: neighbours suffer too."""
    hmm.notifiers += 1
    for i in range(len(hmm_ranges)):
        item = hmm_ranges[i]
        if hmm_ranges.is_used(item) and item.hmm is hmm and not (rng.end < item.start or rng.start >= item.end):
            item.valid = False


@atomic
def notifiers_decrement(hmm: Hmm) -> None:
    """notifiers_decrement() (mm/hmm.c, Linux 5.3): the last invalidation to end makes every range valid."""
    hmm.notifiers -= 1
    if hmm.notifiers == 0:
        for i in range(len(hmm_ranges)):
            if hmm_ranges.is_used(hmm_ranges[i]) and hmm_ranges[i].hmm is hmm:
                hmm_ranges[i].valid = True


@atomic
def mm_get_hmm(mm: Mm) -> Ref[Hmm]:
    """The mm's `struct hmm`, if it has one."""
    for i in range(len(hmms)):
        if hmms[i].mm is mm:
            return hmms[i]
    return None


def hmm_mirror_register(mirror: Driver, mm: Mm) -> Errno:
    """hmm_mirror_register(), hmm_get_or_create() (mm/hmm.c, Linux 5.3): call `mirror` for everything in `mm` from now on."""
    with atomic:
        mirror.notifier.mm = mm
        hmm = mm_get_hmm(mm)
        fresh = hmm is None
        if fresh:
            hmm = hmms.alloc()
            hmm.mm = mm
    assert hmm is not None
    if fresh:
        mmu_notifier_register(hmm, mm)
    hmm_mirror_add(hmm, mirror)
    return 0


@atomic
def hmm_mirror_add(hmm: Hmm, mirror: Driver) -> None:
    """list_add() on `mirrors`, under mirrors_sem for writing."""
    hmm.mirrors_sem.write_lock()
    placed = False
    for i in range(len(hmm.mirrors)):
        if hmm.mirrors[i] is None and not placed:
            hmm.mirrors[i] = mirror
            placed = True
    if not placed:
        out_of_records("mirrors")
    mirror.unregistered = False
    notifier_registered(mirror)
    hmm.mirrors_sem.write_unlock()


@atomic
def hmm_mirror_unregister(mirror: Driver) -> None:
    """hmm_mirror_unregister() (mm/hmm.c, Linux 5.3): off the list, under mirrors_sem for writing; no callback runs afterwards."""
    mm = mirror.notifier.mm
    assert mm is not None
    hmm = mm_get_hmm(mm)
    assert hmm is not None
    hmm.mirrors_sem.write_lock()
    for i in range(len(hmm.mirrors)):
        if hmm.mirrors[i] is mirror:
            hmm.mirrors[i] = None
    hmm.mirrors_sem.write_unlock()
    is_unregistered(mirror)


@atomic
def hmm_range_register(mirror: Driver, start: Va, end: VaEnd) -> Ref[HmmRange]:
    """hmm_range_register() (mm/hmm.c, Linux 5.3): track changes of `start` to before `end`. None for -EFAULT: the
    mm has gone.

    Valid at once unless something is being invalidated. Give it back with `hmm_range_unregister`.
    """
    mm = mirror.notifier.mm
    assert mm is not None
    hmm = mm_get_hmm(mm)
    assert hmm is not None
    if not mmget_not_zero(mm):
        return None
    item = hmm_ranges.alloc()
    item.hmm = hmm
    item.start = start
    item.end = end
    item.valid = hmm.notifiers == 0
    return item


@atomic
def hmm_range_unregister(item: HmmRange) -> None:
    """hmm_range_unregister() (mm/hmm.c, Linux 5.3): stop tracking, and stop being a user of the mm (see `fork`)."""
    hmm = item.hmm
    assert hmm is not None
    mm = hmm.mm
    assert mm is not None
    hmm_ranges.free(item)
    mmput(mm)


def hmm_range_valid(item: HmmRange) -> bool:
    """hmm_range_valid() (include/linux/hmm.h, Linux 5.3): `range->valid`, to be tested under the driver's lock."""
    return item.valid


def hmm_range_wait_until_valid(item: HmmRange) -> None:
    """hmm_range_wait_until_valid() (include/linux/hmm.h, Linux 5.3). Left out: its timeout."""
    wait_until(item.valid)


@atomic
def hmm_range_mm(item: HmmRange) -> Mm:
    """`range->hmm->mm`."""
    hmm = item.hmm
    assert hmm is not None
    mm = hmm.mm
    assert mm is not None
    return mm


@milestone
def hmm_range_fault(item: HmmRange, va: Va, write: bool, pagemap: bool = True) -> Pfn:
    """hmm_range_fault() (mm/hmm.c, Linux 5.3) with the mmap lock taken and dropped around it: the frame at `va`.

    -EBUSY when the range is not valid, -EFAULT when a CPU access would fail, -EPERM for a write to what is
    read-only. Drivers that hold the mmap lock over their test of `valid` use `hmm_range_fault_locked`.
    """
    mm = hmm_range_mm(item)
    mm.mmap_lock.read_lock()
    pfn = hmm_range_fault_locked(item, mm, va, write, pagemap)
    mm.mmap_lock.read_unlock()
    return pfn


def hmm_range_fault_locked(item: HmmRange, mm: Mm, va: Va, write: bool, pagemap: bool = True) -> Pfn:
    """hmm_range_fault() (mm/hmm.c, Linux 5.3), for one page; the caller holds the mmap lock of `mm`."""
    if not item.valid:
        return -EBUSY
    while True:
        pfn = hmm_vma_walk(mm, va, write, pagemap)
        if pfn == -ENOENT:
            ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if write else 0)
            if ret & VM_FAULT_ERROR != 0:
                return -EFAULT
        elif pfn != -EBUSY:
            return pfn
        if not item.valid:
            return -EBUSY


@atomic
def hmm_vma_walk(mm: Mm, va: Va, write: bool, pagemap: bool) -> Pfn:
    """hmm_vma_handle_pte() and its callers (mm/hmm.c, Linux 5.3): one look at one entry. -ENOENT: fault it in
    first.

    The reference to the pagemap is taken and dropped within it.
    """
    require(mm.mmap_lock.held_by_me(), "lock-not-held", "hmm_range_fault without the mmap lock")
    vma = mm.mm_mt[va]
    if vma is None or vma_flags(vma) & VM_PFNMAP != 0:
        return -EFAULT
    if write and not vma.write:
        return -EPERM
    frame = pte_present(mm.ptes[va])
    if frame is None or (write and not mm.ptes[va].writable):
        return -ENOENT
    if pagemap and vma_flags(vma) & VM_DEVMAP != 0:
        pgmap = get_dev_pagemap(frame)
        if pgmap is None:
            return -EBUSY
        put_dev_pagemap(pgmap)
    return page_to_pfn(frame)


def hmm_vma_handle_pmd(mm: Mm, va: Va, end: VaEnd) -> Errno:
    """hmm_vma_handle_pmd() (mm/hmm.c, Linux 5.3), of one entry that maps `va` to before `end`, all device memory: 0, or -EBUSY where the pagemap of one of its pages is
    killed. Each page's pagemap is looked up, with that of the page before in hand, and the last is dropped."""
    pgmap: Ref[DevPagemap] = None
    for at in range(va, end):
        with atomic:
            frame = pte_present(mm.ptes[at])
        if frame is None:
            break
        pgmap = get_dev_pagemap(frame, pgmap)
        if pgmap is None:
            return -EBUSY
    if pgmap is not None:
        put_dev_pagemap(pgmap)
    return 0
