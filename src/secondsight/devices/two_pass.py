"""A device with a TLB, whose driver drops what is invalidated in two passes: all devices begin to flush before anybody waits for one.

`invalidate_start` and `invalidate_finish` of mmu_interval_notifier_ops (include/linux/mmu_notifier.h, Linux 7.2; posted in 2025 and 2026, "Allow two-pass
struct mmu_interval_notifiers"). The first clears the device's table and begins the flush; it may give back a structure, and is called again with that
when all others have begun. The device uses what is in its TLB until it has flushed, and fills it from its table.

All forms are one driver, whose `PassChoices` say what it does: so all have one code. Right as it is: each call takes a structure of its own, and where
there is none it waits within, if it may. drivers/gpu/drm/xe/xe_userptr.c (Linux 7.2) has one structure for each of its ranges, and a flag beside it
(`one`, `marks`), and refuses what may not block (`refuses`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import DEVICE_FAULT, Device, DeviceEntry, DevicePageTable
from secondsight.lang import U8, Array, Bits, Char, Errno, Mutex, Record, Ref, atomic, container_of, wait_until
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_read, device_write
from secondsight.linux.errno import EAGAIN, EBADF, EBUSY, EINVAL
from secondsight.linux.mm_types import Driver, Event, Finish, Mm, PageBits, Pgoff, Range, Result, Seq, Va
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["PassChoices", "Refuser", "TwoPassGpu"]


class PassChoices(Record):
    """What a form does. All false: right, with a structure for each call.

    one_pass: it waits in the first pass. one: there is one structure for all calls; marks: and a flag that says that it is in use; who finds it set waits
    within. refuses: what may not block is refused.

    Wrong: leaves: who finds no structure leaves the wait to whoever has it. unmarks_first: the structure is given back before the wait. keeps_lock: the
    lock is held from one pass to the other. number_last, table_last: the sequence number is stored, or the table cleared, in the second pass alone.
    fails_late: what may not block is refused when the structure was taken.
    """

    one_pass: bool
    one: bool
    marks: bool
    refuses: bool
    leaves: bool
    unmarks_first: bool
    keeps_lock: bool
    number_last: bool
    table_last: bool
    fails_late: bool


class Pass(Record):
    """What a driver keeps beside a structure: whether it is in use, what it is for, and the number."""

    in_use: bool
    pages: PageBits
    seq: Seq


class Second(mn.IntervalNotifier):
    """A driver's second subscription."""

    def invalidate_start(self, rng: Range, cur_seq: Seq) -> Errno:
        return container_of(self, TwoPassGpu, "second").start(self, rng, cur_seq)

    def invalidate_finish(self, finish: Finish) -> None:
        container_of(self, TwoPassGpu, "second").finish(self, finish)

    def driver(self) -> Ref[Driver]:
        return container_of(self, TwoPassGpu, "second")


class TwoPassGpu(Device):
    """The device and its driver. `split`: it has a subscription for each half of its range, under one lock."""

    lock: Mutex
    page_table: DevicePageTable
    tlb: Array[DeviceEntry, Literal["pages"]]
    flushing: PageBits
    notifier: mn.IntervalNotifier
    second: Second
    passes: Array[Pass, Literal["finishes"]]
    choices: PassChoices
    split: bool

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 2, "finishes": 2}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """One subscription, or two."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        half = length // 2 if self.split else length
        ret = mn.mmu_interval_notifier_insert(self.notifier, mm, start, half)
        if ret == 0 and self.split:
            ret = mn.mmu_interval_notifier_insert(self.second, mm, start + half, length - half)
        mmput(mm)
        return ret

    # The device.

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        """By the TLB; what it lacks it takes from the table."""
        if self.page_table.disabled:
            return -EBADF
        cached = self.tlb[va]
        if cached.frame is None or (write and not cached.writable):
            entry = self.page_table.entries[va]
            if entry.frame is None or (write and not entry.writable):
                return DEVICE_FAULT
            cached.frame = entry.frame
            cached.writable = entry.writable
        frame = cached.frame
        assert frame is not None
        if write:
            device_write(self, va, frame, value)
            return 0
        return device_read(self, va, frame)

    def work(self) -> None:
        """The device flushes what it is told to, a page at a time, the last one first."""
        while True:
            with atomic:
                wait_until(self.flushing != Bits())
                at: Va = 0
                for va in self.flushing:
                    at = va
                self.tlb[at].frame = None
                self.tlb[at].writable = False
                self.flushing -= {at}

    # The driver.

    @atomic
    def of_page(self, va: Va) -> mn.IntervalNotifier:
        """The subscription that covers a page."""
        if self.split and va >= self.second.start:
            return self.second
        return self.notifier

    def fault(self, va: Va, write: bool) -> Errno:
        """Collect, lock, test, install."""
        notifier = self.of_page(va)
        while True:
            seq = mn.mmu_interval_read_begin(notifier)
            pfn = hmm.hmm_range_fault(notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
            return 0

    def invalidate_start(self, rng: Range, seq: Seq) -> Errno:
        return self.start(self.notifier, rng, seq)

    def invalidate_finish(self, finish: Finish) -> None:
        self.finish(self.notifier, finish)

    def start(self, notifier: mn.IntervalNotifier, changed: Range, seq: Seq) -> Errno:
        """The first pass: clear the table, begin to flush. 0: all is done; n: structure n - 1 is for the second pass; -EAGAIN: it would have to sleep."""
        rng = Range(max(changed.start, notifier.start), min(changed.end, notifier.end), changed.event, changed.blockable)
        if not rng.blockable:
            if self.choices.refuses:
                return -EAGAIN
            locked = self.lock.trylock()
            if not locked:
                return -EAGAIN
        else:
            self.lock.lock()
        if not self.choices.number_last:
            mn.mmu_interval_set_seq(notifier, seq)
        taken = self.begin(rng, seq)
        ret: Errno = taken
        if taken == 0 and not self.choices.leaves:
            if rng.blockable:
                self.wait_for(mn.page_bits(rng))
            else:
                ret = -EAGAIN
        if taken != 0 and self.choices.fails_late and not rng.blockable:
            ret = -EAGAIN
        if not self.choices.keeps_lock or ret <= 0:
            self.lock.unlock()
        return ret

    @atomic
    def begin(self, rng: Range, seq: Seq) -> U8:
        """Clear, begin to flush, and take a structure: its number plus 1, or 0."""
        if not self.choices.table_last:
            self.page_table.unmap(rng)
        self.flushing |= mn.page_bits(rng)
        if self.choices.one_pass:
            return 0
        for i in range(len(self.passes)):
            if not self.passes[i].in_use:
                self.passes[i].in_use = self.choices.marks or not self.choices.one
                self.passes[i].pages = mn.page_bits(rng)
                self.passes[i].seq = seq
                return i + 1
            if self.choices.one:
                break
        return 0

    def wait_for(self, pages: PageBits) -> None:
        """Until the device has flushed them."""
        wait_until(not self.flushing & pages)

    def finish(self, notifier: mn.IntervalNotifier, finish: Finish) -> None:
        """The second pass: wait."""
        if not self.choices.keeps_lock:
            self.lock.lock()
        which = 0
        with atomic:
            for i in range(len(self.passes)):
                if mn.finishes[i] is finish:
                    which = i
            if self.choices.unmarks_first:
                self.passes[which].in_use = False
        if self.choices.unmarks_first:
            self.lock.unlock()
            self.wait_for(self.passes[which].pages)
            self.lock.lock()
        else:
            self.wait_for(self.passes[which].pages)
        with atomic:
            if self.choices.table_last:
                for va in self.passes[which].pages:
                    self.page_table.unmap(Range(va, va + 1, Event.CLEAR, True))
            if self.choices.number_last:
                mn.mmu_interval_set_seq(notifier, self.passes[which].seq)
            if not self.choices.unmarks_first:
                self.passes[which].in_use = False
        self.lock.unlock()


class Refuser(Device):
    """Another driver on the same pages, that can do nothing where it may not block: it is called last."""

    notifier: mn.IntervalNotifier

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        """Nothing is mirrored; but its lock is somebody's."""
        if not rng.blockable:
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        return True
