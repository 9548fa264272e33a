"""Small drivers: each wrong one misplaces one thing, and the right one beside it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.devices.mirror import Mirror
from secondsight.lang import Array, Bounds, Errno, Mutex, Ref, SpinLock, atomic
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN, EBUSY, EFAULT, EINVAL, ENOENT, EPERM
from secondsight.linux.fork import mmget_not_zero, mmput
from secondsight.linux.gup import try_grab_folio, unpin_folio
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault, vma_flags
from secondsight.linux.memremap import get_dev_pagemap
from secondsight.linux.mm_types import Count, Event, Frame, Mm, PageBits, Pfn, Pgoff, Range, Va, VaEnd
from secondsight.linux.page_alloc import frames, get_page, is_zero_page, page_to_pfn, put_page

# Closing.


class ClosesKeepingItsTable(Mirror):
    """Unsubscribes, and lets the device go on with what is in the table."""

    def close(self) -> None:
        mn.mmu_interval_notifier_remove(self)


class StopsTheDeviceLast(Mirror):
    """Unsubscribes first and stops the device then."""

    def close(self) -> None:
        mn.mmu_interval_notifier_remove(self)
        self.page_table.disable()


class ClosesAndStays(Mirror):
    """Stops the device and does not unsubscribe."""

    def close(self) -> None:
        self.page_table.disable()


class ClosesByItsLock(Mirror):
    """Right: says so under its lock, empties the table there, and maps nothing any more; then it unsubscribes."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    closed: bool

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if self.closed:
                    return -ENOENT
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                return 0

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.page_table.unmap(Range(0, len(self.page_table.entries), Event.UNMAP, True))
        mn.mmu_interval_notifier_remove(self)


# Opening.


class PrefaultsBeforeItSubscribes(Mirror):
    """Maps the first page before anybody would tell it of a change."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        self.notifier.mm = mm
        self.notifier.invalidate_seq = 1
        pfn = hmm.hmm_range_fault(self.notifier, start, False)
        if pfn >= 0:
            self.page_table.map(start, pfn, False)
        return Mirror.open(self, mm, start, length)


class OpensWithoutBeingAUser(Mirror):
    """Subscribes to an mm whose last user may have gone."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return mn.mmu_interval_notifier_insert(self, mm, start, length)


class PrefaultsAfterwards(Mirror):
    """Right: subscribes, then maps the first page as for a fault."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = Mirror.open(self, mm, start, length)
        if ret == 0:
            self.fault(start, False)
        return ret


class RefusesAndStays(Mirror):
    """Finds out that the process has gone when it has subscribed, and leaves it at that."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = Mirror.open(self, mm, start, length)
        if ret != 0:
            return ret
        if mm.users == 0:
            return -EINVAL
        return 0


class RefusesWhileSomethingGoesOn(Mirror):
    """Does not open while the process changes its mappings."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        if mm.mmap_lock.owner != 0:
            return -EBUSY
        return Mirror.open(self, mm, start, length)


# Failing.


class CollisionIsAnError(Mirror):
    """Fails the access when something was invalidated meanwhile."""

    def fault(self, va: Va, write: bool) -> Errno:
        seq = mn.mmu_interval_read_begin(self.notifier)
        pfn = hmm.hmm_range_fault(self.notifier, va, write)
        if pfn < 0:
            return -EFAULT
        with self.lock:
            if mn.mmu_interval_read_retry(self.notifier, seq):
                return -EFAULT
            self.page_table.map(va, pfn, write)
            return 0


class UnmappedIsAnError(Mirror):
    """Fails the access to a page that was being unmapped meanwhile: also where another is mapped in the same moment."""

    first: Va
    end: VaEnd

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn < 0 and pfn != -EBUSY:
                return pfn
            with self.lock:
                again = mn.mmu_interval_read_retry(self.notifier, seq)
                if pfn == -EBUSY or again:
                    if self.first <= va < self.end:
                        return -EFAULT
                    continue
                self.page_table.map(va, pfn, write)
                return 0

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(rng)
        if rng.event == Event.UNMAP:
            self.first = rng.start
            self.end = rng.end
        self.lock.unlock()
        return True


class RemembersFailures(Mirror):
    """Keeps in mind where nothing was mapped, until it is told of a change: but nobody is told of a new mapping."""

    gone: PageBits

    def fault(self, va: Va, write: bool) -> Errno:
        if self.gone & (1 << va) != 0:
            return -EFAULT
        ret = Mirror.fault(self, va, write)
        if ret == -EFAULT:
            self.gone |= 1 << va
        return ret

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        self.gone = 0
        return Mirror.invalidate(self, rng, seq)


class GivesUp(Mirror):
    """Fails the access when it has lost four times."""

    def fault(self, va: Va, write: bool) -> Errno:
        for _ in range(4):
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                return 0
        return -EBUSY


class AsksAgainForEver(Mirror):
    """Takes the error of an address where nothing is mapped for a collision."""

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn < 0:
                continue
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                return 0


# Permissions.


class AlwaysAsksToWrite(Mirror):
    """Asks for a page that can be written also where it is to be read."""

    def fault(self, va: Va, write: bool) -> Errno:
        return Mirror.fault(self, va, True)


class WritesAllTheSame(Mirror):
    """Told that it may not write, it asks for the page to read, and maps that writable."""

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EPERM:
                pfn = hmm.hmm_range_fault(self.notifier, va, False)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                return 0


class AsksToWriteFirst(Mirror):
    """Right: asks for a page that can be written, and where it may not for one to read, which it maps for reading."""

    def fault(self, va: Va, write: bool) -> Errno:
        ret = Mirror.fault(self, va, True)
        if ret == -EPERM and not write:
            return Mirror.fault(self, va, False)
        return ret


# Parts of a range.


class IgnoresParts(Mirror):
    """Drops nothing where it is not all of its pages that change."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        if rng.end - rng.start == len(self.page_table.entries):
            self.page_table.unmap(rng)
        self.lock.unlock()
        return True


class CountsFromTheFirstPage(Mirror):
    """Drops as many pages as change, but always from the first one on."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(Range(0, rng.end - rng.start, rng.event, rng.blockable))
        self.lock.unlock()
        return True


class TakesAPartForNothing(Mirror):
    """Drops nothing where a part of its pages is unmapped, as if the rest were still there."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        if rng.event != Event.UNMAP or rng.end - rng.start == len(self.page_table.entries):
            self.page_table.unmap(rng)
        self.lock.unlock()
        return True


class DropsEverything(Mirror):
    """Right, if slow: drops all of its pages whatever changes."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(Range(0, len(self.page_table.entries), rng.event, rng.blockable))
        self.lock.unlock()
        return True


# References, pins, users.


class KeepsReferences(Mirror):
    """Takes a reference to each page that it maps and never gives it back."""

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                if pfn != 0:
                    get_page(frames[pfn])
                return 0


class GivesReferencesBack(Mirror):
    """Right, but for device memory, whose pages go whoever has references: one for each entry, dropped with it."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    closed: bool

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                if self.closed:
                    return -ENOENT
                with atomic:
                    self.drop(va)
                    self.page_table.map(va, pfn, write)
                    if pfn != 0:
                        get_page(frames[pfn])
                return 0

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        with atomic:
            for va in range(rng.start, rng.end):
                self.drop(va)
            self.page_table.unmap(rng)
        self.lock.unlock()
        return True

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            with atomic:
                self.closed = True
                for va in range(len(self.page_table.entries)):
                    self.drop(va)
                self.page_table.unmap(Range(0, len(self.page_table.entries), Event.UNMAP, True))
        mn.mmu_interval_notifier_remove(self)

    @atomic
    def drop(self, va: Va) -> None:
        """The reference of an entry."""
        frame = self.page_table.entries[va].frame
        if frame is not None:
            if not is_zero_page(frame):
                put_page(frame)


class StaysAUser(Mirror):
    """Becomes a user of the mm for each fault, and leaves it only when the device is closed."""

    users: Count

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            mm = self.notifier.mm
            alive = mmget_not_zero(mm)
            if alive:
                self.users += 1
        if not alive:
            return -EFAULT
        return Mirror.fault(self, va, write)

    def close(self) -> None:
        Mirror.close(self)
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            while self.users > 0:
                self.users -= 1
                mmput(mm)


class ForgetsThatItIsAUser(Mirror):
    """Becomes a user of the mm when it is opened, and never leaves it."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        return mn.mmu_interval_notifier_insert(self, mm, start, length)


class WalksWithoutBeingAUser(Mirror):
    """Calls hmm_range_fault() with the mmap lock, and without mmget_not_zero()."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            mm.mmap_lock.read_lock()
            flags = hmm.HMM_PFN_REQ_FAULT | (hmm.HMM_PFN_REQ_WRITE if write else 0)
            pfn = hmm.hmm_range_fault_locked(self.notifier, seq, va, flags)
            mm.mmap_lock.read_unlock()
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                return 0


class KeepsThePagemap(Mirror):
    """Takes a reference to the dev_pagemap of device memory and never gives it back: its teardown waits for ever."""

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                get_dev_pagemap(frames[pfn])
                return 0


# Locks.


class LooksIntoItsTable(Mirror):
    """Right: looks whether another engine was faster, under the lock under which every change is made."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> Errno:
        with self.lock:
            found = self.page_table.is_mapped(va, write)
        if found:
            return 0
        return Mirror.fault(self, va, write)


class ChangesOutsideTheLock(LooksIntoItsTable):
    """Clears its table when it has dropped the lock. Nobody can map anything there before the invalidation ends, so the device
    sees nothing of it; but who looks into the table does."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.lock.unlock()
        self.page_table.unmap(rng)
        return True


class FaultsUnderItsLock(Mirror):
    """Holds its lock while hmm_range_fault() may wait for who calls it."""

    def fault(self, va: Va, write: bool) -> Errno:
        if write:
            return Mirror.fault(self, va, True)
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            with atomic:
                mm = self.notifier.mm
                alive = mmget_not_zero(mm)
                assert mm is not None
            if not alive:
                return -EFAULT
            mm.mmap_lock.read_lock()
            self.lock.lock()
            pfn = hmm.hmm_range_fault_locked(self.notifier, seq, va, hmm.HMM_PFN_REQ_FAULT)
            if pfn >= 0:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    pfn = -EBUSY
                else:
                    self.page_table.map(va, pfn, False)
            self.lock.unlock()
            mm.mmap_lock.read_unlock()
            mmput(mm)
            if pfn >= 0:
                return 0
            if pfn != -EBUSY:
                return pfn


class MayNotSleep(Mirror):
    """Takes its mutex whether it may sleep or not."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        with self.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.page_table.unmap(rng)
        return True


# Other promises.


class Pins(Device):
    """Right: pins what it maps, and keeps it whatever the process does, until it is closed."""

    promise: ClassVar[Promise] = "pinned"
    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    pinned: Array[Ref[Frame], Literal["pages"]]
    closed: bool
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return 0

    def fault(self, va: Va, write: bool) -> Errno:
        with self.lock:
            if self.closed:
                return -ENOENT
            with atomic:
                frame = self.pinned[va]
                mm = self.notifier.mm
                assert mm is not None
                alive = mmget_not_zero(mm)
            if not alive:
                return -EFAULT
            if frame is None:
                pfn = self.pin(mm, va)
            else:
                pfn = page_to_pfn(frame)
            mmput(mm)
            if pfn < 0:
                return pfn
            self.page_table.map(va, pfn, True)
            return 0

    def pin(self, mm: Mm, va: Va) -> Pfn:
        """pin_user_pages(FOLL_WRITE): the page at `va`, faulted in and pinned. Device memory is refused."""
        mm.mmap_lock.read_lock()
        pfn: Pfn = -EAGAIN
        while pfn == -EAGAIN:
            pfn = self.grab(mm, va)
            if pfn == -EAGAIN:
                ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE)
                if ret & VM_FAULT_ERROR != 0:
                    pfn = -EFAULT
        mm.mmap_lock.read_unlock()
        return pfn

    @atomic
    def grab(self, mm: Mm, va: Va) -> Pfn:
        """follow_page_pte(): the page, pinned under the page-table lock. -EAGAIN: fault it in."""
        vma = mm.mm_mt[va]
        frame = mm.ptes[va].frame
        if vma is None or vma_flags(vma) != 0:
            return -EFAULT
        if frame is None or not mm.ptes[va].writable:
            return -EAGAIN
        try_grab_folio(frame)
        self.pinned[va] = frame
        return page_to_pfn(frame)

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            with atomic:
                self.closed = True
                for va in range(len(self.pinned)):
                    frame = self.pinned[va]
                    if frame is not None:
                        unpin_folio(frame)
                        self.pinned[va] = None


class UnpinsBeforeItStops(Pins):
    """Gives its pages back while the device goes on with them."""

    def close(self) -> None:
        with self.lock:
            with atomic:
                self.closed = True
                for va in range(len(self.pinned)):
                    frame = self.pinned[va]
                    if frame is not None:
                        unpin_folio(frame)
                        self.pinned[va] = None
        self.page_table.disable()


class StaysPinned(Pins):
    """Stops, and keeps its pins."""

    def close(self) -> None:
        self.page_table.disable()


class Vcpu(Device):
    """Right: as KVM does it. Invalidations are counted under a spinlock; its accesses are those of the process's threads."""

    promise: ClassVar[Promise] = "process"
    mmu_lock: SpinLock
    in_progress: Count
    invalidate_seq: Annotated[int, Bounds(0, 15)]
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "mmu_notifiers": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_notifier_register(self, mm)
        mmput(mm)
        return ret

    def close(self) -> None:
        self.page_table.disable()
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mn.mmu_notifier_unregister(self, mm)

    def fault(self, va: Va, write: bool) -> Errno:
        """kvm_faultin_pfn() and what follows it: the page, then a look at the count under the lock."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        while True:
            seq = self.invalidate_seq
            mm.mmap_lock.read_lock()
            pfn = self.look(mm, va, write)
            if pfn == -EAGAIN:
                ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if write else 0)
                if ret & VM_FAULT_ERROR != 0:
                    pfn = -EFAULT
            mm.mmap_lock.read_unlock()
            if pfn == -EAGAIN:
                continue
            if pfn < 0:
                return pfn
            with self.mmu_lock:
                with atomic:
                    again = self.again(seq)
                    if not again:
                        self.page_table.map(va, pfn, write)
            if not again:
                return 0

    @atomic
    def look(self, mm: Mm, va: Va, write: bool) -> Pfn:
        """hva_to_pfn(): the page if it is there, -EAGAIN if it has to be faulted in."""
        vma = mm.mm_mt[va]
        frame = mm.ptes[va].frame
        if vma is None or (write and not vma.write):
            return -EFAULT
        if frame is None or (write and not mm.ptes[va].writable):
            return -EAGAIN
        return page_to_pfn(frame)

    @atomic
    def again(self, seq: Count) -> bool:
        """mmu_invalidate_retry()."""
        return self.in_progress > 0 or self.invalidate_seq != seq

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        with self.mmu_lock:
            with atomic:
                self.in_progress += 1
                self.page_table.unmap(rng)
        return 0

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        with self.mmu_lock:
            with atomic:
                self.in_progress -= 1
                self.invalidate_seq += 1

    def release(self, mm: Mm) -> None:
        """kvm_mmu_notifier_release(): everything is zapped."""
        with self.mmu_lock:
            self.page_table.unmap(Range(0, len(self.page_table.entries), Event.RELEASE, True))


class VcpuWithoutCount(Vcpu):
    """Looks only at the sequence number, which moves when an invalidation ends: not at those that are going on."""

    @atomic
    def again(self, seq: Count) -> bool:
        return self.invalidate_seq != seq
