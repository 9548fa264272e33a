"""A device whose read-modify-write is no atomic one to the CPU: it takes the page for itself first.

Its page table says of each entry whether the device may read, modify and write the page: it may while no CPU can reach it. The
driver asks for that by make_device_exclusive(), in nouveau's pattern (nouveau_atomic_range_fault() and
nouveau_svm_range_invalidate(), drivers/gpu/drm/nouveau/nouveau_svm.c, Linux 5.14 to 7.2), and hears that it is over by its
notifier. lib/test_hmm.c does the same without a sequence (`ExclusiveWithoutSequence`).

`Exclusive` is right: no interleaving breaks a rule, and it goes on in every one. `ExclusiveByOwner` breaks no rule either, but
a CPU, or another device, that takes the page back each time keeps it from its access. Two things make the difference:

* The marking has a subscription of its own, which passes over EXCLUSIVE.
* The page stays locked until the device has made its access.

Each other class leaves out or misplaces one thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import (
    DEVICE_FAULT,
    Device,
    DevicePageTable,
    Promise,
    access_begins,
    access_failed,
)
from secondsight.lang import Array, Char, Errno, Mutex, Ref, atomic, container_of, hold_point, tracepoint, wait_until
from secondsight.linux import hmm, rmap_exclusive
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_read, device_write
from secondsight.linux.errno import EBADF, EBUSY, EFAULT, EINVAL
from secondsight.linux.filemap import folio_unlock
from secondsight.linux.mm_types import Driver, Event, Folio, Mm, PageBits, Pfn, Pgoff, Range, Result, Va
from secondsight.linux.page_alloc import frames, put_page
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = [
    "AtomicDevice",
    "Exclusive",
    "Exclusive615",
    "ExclusiveByEvent",
    "ExclusiveByEventAndClear",
    "ExclusiveByOwner",
    "ExclusiveRestoredByClear",
    "ExclusiveRetriesLocked",
    "ExclusiveSharesOwner",
    "ExclusiveUnfiltered",
    "ExclusiveWithoutSequence",
    "ExclusiveWithoutTest",
    "atomic_begins",
    "atomic_ends",
]


@tracepoint
def atomic_begins(device: Driver, va: Va, frame: Folio) -> None:
    """The device begins to read, modify and write `frame`, which its table has for `va`."""


@tracepoint
def atomic_ends(device: Driver, va: Va, frame: Folio) -> None:
    """It has written."""


class AtomicDevice(Device):
    """The hardware: read, then write, two steps that nobody may come between.

    `alone`: the pages of which the table says that the device may do so. `in_flight`: those that it is doing so with; to clear an
    entry takes until that is over, as the device's TLB is flushed with it.
    """

    promise: ClassVar[Promise] = "exclusive"
    alone: PageBits
    in_flight: PageBits

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "owners": 1}

    def exclusive_fault(self, va: Va) -> Errno:
        """Make `va` the device's alone. 0: try again; an error: the access fails."""
        return -EFAULT

    def tried_again(self, va: Va) -> None:
        """The access that `exclusive_fault` was for has been tried again: it is being made, or faults once more."""

    def exchange(self, va: Va, value: Char) -> Result:
        """The device reads the page at `va` and writes `value` in its stead, as one: what was there, or the driver's error."""
        hold_point("accessing")
        with atomic:
            access_begins(self, va, True)
            old = self.read_alone(va)
        while old == DEVICE_FAULT:
            ret = self.exclusive_fault(va)
            if ret != 0:
                access_failed(self, va, True, ret)
                return ret
            hold_point("accessing")
            old = self.read_alone(va)
            self.tried_again(va)
        if old >= 0:
            self.write_alone(va, value)
        return old

    @atomic
    def read_alone(self, va: Va) -> Result:
        """The table walk and the first half: the contents, `DEVICE_FAULT`, or -EBADF."""
        wait_until(va not in self.in_flight)
        if self.page_table.disabled:
            return -EBADF
        frame = self.page_table.entries[va].frame
        if frame is None or va not in self.alone:
            return DEVICE_FAULT
        self.in_flight |= {va}
        atomic_begins(self, va, frame)
        return device_read(self, va, frame)

    @atomic
    def write_alone(self, va: Va, value: Char) -> None:
        """The second half."""
        frame = self.page_table.entries[va].frame
        assert frame is not None
        device_write(self, va, frame, value)
        atomic_ends(self, va, frame)
        self.in_flight -= {va}

    @atomic
    def map_alone(self, va: Va, pfn: Pfn) -> None:
        """Point `va` at frame `pfn`, the device's alone."""
        self.page_table.map(va, pfn, True)
        self.alone |= {va}

    @atomic
    def clear(self, rng: Range) -> None:
        """Clear every entry of `rng`, and wait for what the device is doing there."""
        wait_until(not self.in_flight & mn.page_bits(rng))
        self.page_table.unmap(rng)
        self.alone -= mn.page_bits(rng)

    @atomic
    def try_clear(self, rng: Range) -> bool:
        """The same without waiting: whether it was possible."""
        if self.in_flight & mn.page_bits(rng):
            return False
        self.page_table.unmap(rng)
        self.alone -= mn.page_bits(rng)
        return True

    def close(self) -> None:
        """As `Device.close`; the device ends what it is doing first."""
        self.page_table.disable()
        wait_until(not self.in_flight)
        mn.mmu_interval_notifier_remove(self.notifier)

    def has_alone(self, va: Va) -> bool:
        return va in self.alone


class ExclusiveByOwner(AtomicDevice):
    """The sequence is tested under the lock, with the page still locked; its own call alone is passed over."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> Errno:
        """As a mirror: a page that some device has alone goes back to the CPU."""
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
                self.take(va, pfn, write)
            return 0

    def exclusive_fault(self, va: Va) -> Errno:
        """nouveau_atomic_range_fault()."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = self.make_exclusive(va)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                retry = mn.mmu_interval_read_retry(self.notifier, seq)
                if not retry:
                    self.take_alone(va, pfn)
            rmap_exclusive.unlock_and_put(pfn)
            if not retry:
                return 0

    def make_exclusive(self, va: Va) -> Pfn:
        """make_device_exclusive_range(), by a user of the mm who holds the mmap lock."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        mm.mmap_lock.read_lock()
        pfn = self.ask(va)
        mm.mmap_lock.read_unlock()
        mmput(mm)
        return pfn

    def ask(self, va: Va) -> Pfn:
        """The release's own form."""
        mm = self.notifier.mm
        assert mm is not None
        owner = mn.owner_of(self)
        return rmap_exclusive.made_exclusive(mm, va, owner)

    @atomic
    def take_alone(self, va: Va, pfn: Pfn) -> None:
        """The device has the page, and will write to it."""
        self.map_alone(va, pfn)
        set_page_dirty(pfn)

    @atomic
    def take(self, va: Va, pfn: Pfn, write: bool) -> None:
        """The device shares the page with the CPU."""
        self.page_table.map(va, pfn, write)
        if write:
            set_page_dirty(pfn)

    def passes_over(self, rng: Range) -> bool:
        """Whether a call is no reason to drop anything: the driver's own marking."""
        return rng.event == Event.EXCLUSIVE and mn.is_owner(self, rng)

    def invalidate(self, rng: Range, seq: mn.Seq) -> bool:
        """Drop what others take away."""
        own = self.passes_over(rng)
        if own:
            return True
        return self.drop(rng, self.notifier, seq)

    def drop(self, rng: Range, notifier: mn.IntervalNotifier, seq: mn.Seq) -> bool:
        """Store the sequence number and clear, under the lock."""
        if rng.blockable:
            with self.lock:
                mn.mmu_interval_set_seq(notifier, seq)
                self.clear(rng)
            return True
        locked = self.lock.trylock()
        if not locked:
            return False
        cleared = self.try_clear(rng)
        if cleared:
            mn.mmu_interval_set_seq(notifier, seq)
        self.lock.unlock()
        return cleared


class Marking(mn.IntervalNotifier):
    """The subscription whose sequence tells whether a page was taken away since it was asked for. Nobody takes it away by EXCLUSIVE.

    Its callback clears the table too: the other one's may have been called before the page was mapped.
    """

    def invalidate(self, rng: Range, cur_seq: mn.Seq) -> bool:
        if rng.event == Event.EXCLUSIVE:
            return True
        return container_of(self, Exclusive, "marking").drop(rng, self, cur_seq)

    def driver(self) -> Ref[Driver]:
        return container_of(self, Exclusive, "marking")


class Exclusive(ExclusiveByOwner):
    """Right, and goes on whatever others do: see above. `kept`: the pages that stay locked until the access is made."""

    marking: Marking
    kept: Array[Ref[Folio], Literal["pages"]]

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 2, "owners": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """Two subscriptions: one for the table, one for the sequence of a marking."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)
        if ret == 0:
            ret = mn.mmu_interval_notifier_insert(self.marking, mm, start, length)
            if ret != 0:
                mn.mmu_interval_notifier_remove(self.notifier)
        mmput(mm)
        return ret

    def close(self) -> None:
        AtomicDevice.close(self)
        mn.mmu_interval_notifier_remove(self.marking)

    def exclusive_fault(self, va: Va) -> Errno:
        """The sequence of the markings; and the page stays locked."""
        while True:
            seq = mn.mmu_interval_read_begin(self.marking)
            pfn = self.make_exclusive(va)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                retry = mn.mmu_interval_read_retry(self.marking, seq)
                if not retry:
                    self.take_alone(va, pfn)
                    self.kept[va] = frames[pfn]
            if not retry:
                return 0
            rmap_exclusive.unlock_and_put(pfn)

    def tried_again(self, va: Va) -> None:
        with atomic:
            frame = self.kept[va]
            self.kept[va] = None
        assert frame is not None
        folio_unlock(frame)
        put_page(frame)


class ExclusiveRestoredByClear(ExclusiveByOwner):
    """The same driver on the patches as they were first posted: a page goes back to the CPU with the event CLEAR."""

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "owners": 1, "restores_by_clear": 1}


class Exclusive615(ExclusiveRestoredByClear):
    """The same driver on the reworked form of Linux 6.15, read in 7.2."""

    def ask(self, va: Va) -> Pfn:
        """make_device_exclusive()."""
        mm = self.notifier.mm
        assert mm is not None
        owner = mn.owner_of(self)
        return rmap_exclusive.make_device_exclusive(mm, va, owner)


class ExclusiveUnfiltered(ExclusiveByOwner):
    """Takes its own marking for somebody else's: its sequence has always moved on."""

    def passes_over(self, rng: Range) -> bool:
        return False


class ExclusiveByEvent(ExclusiveByOwner):
    """Passes over every EXCLUSIVE, whoever asked, and so over the call that gives the page back to the CPU."""

    def passes_over(self, rng: Range) -> bool:
        return rng.event == Event.EXCLUSIVE


class ExclusiveByEventAndClear(ExclusiveByEvent):
    """The same where the page goes back with CLEAR: that call is heard, another device's marking is not."""

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "owners": 1, "restores_by_clear": 1}


class ExclusiveSharesOwner(ExclusiveByOwner):
    """All devices of this driver give one owner, as when it is the hardware's and two clients have it open."""

    def passes_over(self, rng: Range) -> bool:
        return rng.event == Event.EXCLUSIVE and rng.owner is not None


class ExclusiveWithoutTest(ExclusiveByOwner):
    """Relies on the folio lock: no CPU gets the page back meanwhile. But it may be unmapped."""

    def exclusive_fault(self, va: Va) -> Errno:
        """Without mmu_interval_read_retry()."""
        while True:
            pfn = self.make_exclusive(va)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                self.take_alone(va, pfn)
            rmap_exclusive.unlock_and_put(pfn)
            return 0


class ExclusiveWithoutSequence(ExclusiveWithoutTest):
    """dmirror_exclusive() and dmirror_interval_invalidate() (lib/test_hmm.c, Linux 6.12): no sequence, no owner, no filter."""

    def passes_over(self, rng: Range) -> bool:
        return False


class ExclusiveRetriesLocked(ExclusiveByOwner):
    """Begins again with the page still locked, as nouveau did until 2025 ("nouveau/svm: fix missing folio unlock + put")."""

    def exclusive_fault(self, va: Va) -> Errno:
        """What it retries it leaves locked, with a reference."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = self.make_exclusive(va)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.take_alone(va, pfn)
            rmap_exclusive.unlock_and_put(pfn)
            return 0
