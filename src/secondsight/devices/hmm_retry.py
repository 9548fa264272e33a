"""Drivers that fault in a range of pages, and helpers that begin again by themselves when the range was invalidated.

hmm_range_fault() (mm/hmm.c, Linux 6.12 and 7.2) returns -EBUSY when the range was invalidated since `notifier_seq` was read; its caller reads the
number anew and asks for the whole range again, for ever (drivers/hv/mshv_regions.c) or for a second (nouveau_svm.c, drm_gpusvm.c, both Linux
7.2). It cannot serve memory whose faults give the mmap lock up, as those of a userfaultfd do: -EFAULT.

The helpers were posted in 2026 (linux-mm, "mm/hmm: add hmm_range_fault_unlocked_timeout()" and what came before it), and none is in Linux 7.2. They let
a fault give the mmap lock up, so that they have to begin again, and most do it within:

    v1 to v4    a fault gave the lock up: 0, and a flag beside it, and the caller is to begin again
    v5          takes the lock again and goes on where it was, with the number of the beginning
    v7          reads the number anew and walks all of the range again, for as long as the caller says, faults included
    v8          the same, and the time begins anew when a fault gave the lock up; a limit of 0 is none

All of them are one driver here, whose `RetryChoices` say what it does: what is changed is a choice, and all have one code. A second is
two tries, or one fault that waits for a handler.
`signals.fatal` is fatal_signal_pending() of who asks; in a worker of the kernel's, where many drivers handle faults, no signal ever comes.

The pages of a walk are in `item.hmm_pfns`, which nobody clears between two walks: the kernel's callers allocate it once.
"""

from __future__ import annotations

from typing import Final

from secondsight.devices.device import Device, DevicePageTable
from secondsight.lang import U8, Errno, Mutex, Record, atomic, shared
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN, EBUSY, EFAULT, EINTR, EINVAL
from secondsight.linux.hmm import HMM_PFN_REQ_FAULT, HMM_PFN_REQ_WRITE, HMM_PFN_VALID, HmmRange
from secondsight.linux.memory import FAULT_FLAG_ALLOW_RETRY, FAULT_FLAG_WRITE, VM_FAULT_ERROR, VM_FAULT_UNLOCKED, handle_mm_fault
from secondsight.linux.mm_types import Mm, Pgoff, Range, Seq, Va, VaEnd
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["RangeMirror", "RetryChoices", "Signals", "signals"]

LIMIT: Final = 2
"""How many tries fit into the time that there is."""


class Signals(Record):
    """`fatal`: the process, and the thread that asks in its name, are being killed."""

    fatal: bool


signals = shared(Signals)


class RetryChoices(Record):
    """What a form does. All false: the drivers of Linux 7.2 without a limit, as mshv.

    unlocks: a fault may give the mmap lock up. zero_if_unlocked: then it is 0 that is returned. same_walk: then the walk goes on, under the number of the
    beginning. limited: it ends when the time is up. restarts: which begins anew when a fault gave the lock up. hears: a fatal signal ends it.

    Wrong: keeps_the_rest: a walk that begins again keeps what it found before. keeps_the_number: it does not read the number anew. reads_after: it reads
    the number once more when all was found.
    """

    unlocks: bool
    zero_if_unlocked: bool
    same_walk: bool
    limited: bool
    restarts: bool
    driver_counts: bool
    hears: bool
    keeps_the_rest: bool
    keeps_the_number: bool
    reads_after: bool


class RangeMirror(Device):
    """A fault is for all pages of the mapping: collect, take the lock, test, install or begin again."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    item: HmmRange
    choices: RetryChoices
    last: VaEnd
    spent: U8
    helper_spent: U8

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """The range is the whole of what is mirrored."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        self.item.start = start
        self.item.end = start + length
        ret = mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)
        mmput(mm)
        return ret

    def fault(self, va: Va, write: bool) -> Errno:
        """Fault the whole range in."""
        self.item.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE if write else HMM_PFN_REQ_FAULT
        mm = self.notifier.mm
        assert mm is not None
        alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        self.spent = 0
        while True:
            ret = self.collect(mm)
            if ret != 0:
                break
            with self.lock:
                again = mn.mmu_interval_read_retry(self.notifier, self.item.notifier_seq)
                if not again:
                    self.install(write)
            if not again:
                break
            if self.choices.driver_counts:
                self.spent = min(self.spent + 1, LIMIT)
        mmput(mm)
        return ret

    def install(self, write: bool) -> None:
        """Under the lock."""
        for va in range(self.item.start, self.item.end):
            pfn = self.item.hmm_pfns[va - self.item.start]
            if pfn & HMM_PFN_VALID != 0:
                self.page_table.map(va, pfn % 16, write)
                if write:
                    set_page_dirty(pfn % 16)

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        """Store the sequence number and clear, under the lock."""
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(rng)
        self.lock.unlock()
        return True

    def collect(self, mm: Mm) -> Errno:
        """The helper, or the driver's own loop: 0 and the pages, or an error that ends the access."""
        is_for = self.choices
        begun: U8 = self.spent if is_for.driver_counts else 0
        self.helper_spent = begun
        first = True
        while True:
            if is_for.hears and signals.fatal:
                return -EINTR
            if is_for.limited and self.helper_spent == LIMIT:
                return -EBUSY
            if first or not is_for.keeps_the_number:
                self.item.notifier_seq = mn.mmu_interval_read_begin(self.notifier)
            if first or not is_for.keeps_the_rest:
                self.last = self.item.start
            first = False
            ret = self.ask(mm)
            if ret != -EBUSY and ret != -EAGAIN:
                break
            if ret == -EAGAIN and is_for.zero_if_unlocked:
                return -EINTR if signals.fatal else 0
            if is_for.limited:
                self.counts(ret == -EAGAIN, begun)
        if ret == 0 and is_for.reads_after:
            self.item.notifier_seq = mn.mmu_interval_read_begin(self.notifier)
        return ret

    @atomic
    def counts(self, waited: bool, begun: U8) -> None:
        """A try was in vain; `waited`: a fault gave the mmap lock up, and its handler may have taken more than all of the time."""
        if self.choices.driver_counts:
            self.spent = LIMIT if waited else self.spent + 1
        if not waited:
            self.helper_spent += 1
        elif self.choices.restarts:
            self.helper_spent = begun
        else:
            self.helper_spent = LIMIT

    def ask(self, mm: Mm) -> Errno:
        """One try, under the mmap lock. -EAGAIN: a fault gave it up."""
        mm.mmap_lock.read_lock()
        if not self.choices.unlocks:
            ret = hmm.hmm_range_fault_pages(self.notifier, self.item)
        else:
            ret = self.range_fault_locked(mm)
            while ret == -EAGAIN and self.choices.same_walk and not signals.fatal:
                mm.mmap_lock.read_lock()
                ret = self.range_fault_locked(mm)
        if ret != -EAGAIN:
            mm.mmap_lock.read_unlock()
        return ret

    def range_fault_locked(self, mm: Mm) -> Errno:
        """hmm_range_fault_locked() of the patches, from `last` on: as hmm_range_fault(), but a fault may give the mmap lock up, and ends it (-EAGAIN)."""
        while not mn.mmu_interval_check_retry(self.notifier, self.item.notifier_seq):
            wanted = hmm.hmm_walk(self.notifier, mm, self.item, self.last)
            if wanted <= 0:
                return wanted
            self.last = (wanted - 1) // 32
            flags = FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_WRITE if wanted % 2 == 0 else FAULT_FLAG_ALLOW_RETRY
            for va in range(self.last, (wanted - 1) // 2 % 16):
                ret = handle_mm_fault(mm, va, flags)
                if ret & VM_FAULT_UNLOCKED != 0:
                    return -EAGAIN
                if ret & VM_FAULT_ERROR != 0:
                    return -EFAULT
        return -EBUSY
