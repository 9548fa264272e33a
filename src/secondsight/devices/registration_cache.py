"""A library in user space that keeps registrations of memory by address: a cache, of which the device works by what it finds there.

Registering memory with a device takes long: its pages are pinned, and the device's table is filled. So libraries for RDMA keep what
they have registered, and look addresses up (UCX's rcache, libfabric's mr_cache). When the process maps other memory at an address, what is
kept of it is wrong, and the pin keeps it alive. How the library hears of that:

    KeepsEverything             it does not
    ForgetsByHook               a hook in the allocator, or in munmap() of the C library, which is called before
    UnsubscribesByEntry         a hook that is called for what the library has subscribed to; the subscription goes with what is kept
    UnsubscribesByAddress       the same, and a registration that is ended later ends the subscription of its address once more
    ForgetsByEventsTooLate      userfaultfd: a thread reads the message, then it forgets
    ForgetsByEvents             the same, under the cache's lock: nobody looks an address up between the reading and the forgetting

munmap returns when its message has been read. From then on the process may map, and look up, the same address. So a message that has
been read and not acted on yet is one that comes too late. The lock must be taken before the message is read.

MADV_DONTNEED's message (REMOVE) comes before the pages go: what is registered again between the message and the end of the call is
kept, and is wrong ever after, in every form here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import DEVICE_FAULT, Device, DevicePageTable, Promise
from secondsight.lang import Array, Char, Errno, Mutex, Ref, atomic, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import ENOENT
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, unpin_user_page_range_dirty_lock
from secondsight.linux.mm_flags import VM_UFFD_WP
from secondsight.linux.mm_types import Event, Folio, Mm, Pgoff, Range, Result, UffdEvent, Va, VaEnd
from secondsight.linux.page_alloc import frames
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.linux.userfaultfd import find_message, read_message
from secondsight.linux.userfaultfd_ioctl import new_userfaultfd, userfaultfd_register, userfaultfd_release

__all__ = ["ForgetsByEvents", "ForgetsByEventsTooLate", "ForgetsByHook", "KeepsEverything", "UnsubscribesByAddress", "UnsubscribesByEntry"]


class KeepsEverything(Device):
    """Wrong: what is registered stays registered. `kept` is what is pinned for each address."""

    promise: ClassVar[Promise] = "process"
    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    kept: Array[Ref[Folio], Literal["pages"]]
    closed: bool
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return 0

    def read(self, va: Va) -> Result:
        value: Result = DEVICE_FAULT
        while value == DEVICE_FAULT:
            ret = self.fault(va, False)
            if ret != 0:
                return ret
            value = self.access(va, False, 0)
        return value

    def write(self, va: Va, value: Char) -> Result:
        done: Result = DEVICE_FAULT
        while done == DEVICE_FAULT:
            ret = self.fault(va, True)
            if ret != 0:
                return ret
            done = self.access(va, True, value)
        return done

    def fault(self, va: Va, write: bool) -> Errno:
        """Look the address up, before each access; register it, if it is not in the cache."""
        with self.lock:
            if self.closed:
                return -ENOENT
            if self.kept[va] is not None:
                return 0
            return self.register(va)

    def register(self, va: Va) -> Errno:
        """The address is not in the cache: pin its page, and have the device know it."""
        mm = self.notifier.mm
        assert mm is not None
        alive = mmget_not_zero(mm)
        if not alive:
            return -ENOENT
        pfn = pin_user_pages_fast(mm, va, FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM)
        mmput(mm)
        if pfn < 0:
            return pfn
        with atomic:
            self.kept[va] = frames[pfn]
            self.page_table.map(va, pfn, True)
        return 0

    @atomic
    def forget_range(self, start: Va, end: VaEnd) -> None:
        """Under the lock: what the cache has of these addresses is no more."""
        for va in range(start, end):
            folio = self.kept[va]
            if folio is not None:
                self.page_table.unmap(Range(va, va + 1, Event.UNMAP, True))
                unpin_user_page_range_dirty_lock(folio)
                self.kept[va] = None

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            self.closed = True
            self.forget_range(0, len(self.kept))


class ForgetsByHook(KeepsEverything):
    """Right as far as it is called: what gives memory back without the hook (a system call of another library's) it does not hear of."""

    def forget(self, start: Va, end: VaEnd) -> None:
        with self.lock:
            self.forget_range(start, end)


class UnsubscribesByEntry(ForgetsByHook):
    """Right as far as that: hears of the addresses alone that it has subscribed to (`watched`). A registration that is forgotten is ended
    later, by a worker (`ended`); its subscription ended with the forgetting."""

    watched: Array[bool, Literal["pages"]]
    ended: Array[bool, Literal["pages"]]

    def register(self, va: Va) -> Errno:
        ret = KeepsEverything.register(self, va)
        if ret == 0:
            self.watched[va] = True
        return ret

    def forget(self, start: Va, end: VaEnd) -> None:
        with self.lock:
            self.forget_watched(start, end)

    @atomic
    def forget_watched(self, start: Va, end: VaEnd) -> None:
        """Under the lock: what is subscribed to is forgotten, and its subscription ends."""
        for va in range(start, end):
            if self.watched[va]:
                self.forget_range(va, va + 1)
                self.watched[va] = False
                self.ended[va] = True

    def work(self) -> None:
        while True:
            wait_until(any(self.ended[va] for va in range(len(self.ended))))
            with self.lock:
                self.end_registrations()

    @atomic
    def end_registrations(self) -> None:
        """Under the lock: what was forgotten is ended."""
        for va in range(len(self.ended)):
            if self.ended[va]:
                self.ended[va] = False
                self.unsubscribe(va)

    @atomic
    def unsubscribe(self, va: Va) -> None:
        """Nothing is left to do."""


class UnsubscribesByAddress(UnsubscribesByEntry):
    """Wrong: by then another registration may be of the same address, whose subscription it ends."""

    @atomic
    def unsubscribe(self, va: Va) -> None:
        self.watched[va] = False


class ForgetsByEvents(KeepsEverything):
    """Right of what is unmapped: registers memory with a userfaultfd before it pins it, and a thread reads what becomes of it.

    It is registered for write protection, of which no use is made: so nobody ever waits for a page.
    """

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "userfaultfd": 1, "userfaults": 3, "vma_flags": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        new_userfaultfd(mm, False, True)
        return 0

    def fault(self, va: Va, write: bool) -> Errno:
        with self.lock:
            if self.closed:
                return -ENOENT
            if self.kept[va] is not None:
                return 0
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
            if alive:
                userfaultfd_register(mm, va, 1, VM_UFFD_WP, 0, len(mm.ptes))
                mmput(mm)
            return self.register(va)

    def work(self) -> None:
        while True:
            self.await_message()
            with self.lock:
                start, end = self.next_message()
                self.forget_range(start, end)

    @atomic
    def await_message(self) -> None:
        """poll(): until there is a message."""
        mm = self.notifier.mm
        assert mm is not None
        wait_until(find_message(mm.userfaultfd[0]) != 0)

    @atomic
    def next_message(self) -> tuple[Va, VaEnd]:
        """read(): what the first message is about; nothing, if there is none by now."""
        mm = self.notifier.mm
        assert mm is not None
        ctx = mm.userfaultfd[0]
        if find_message(ctx) == 0:
            return 0, 0
        i = find_message(ctx) - 1
        start: Va = ctx.waits[i].start
        end: VaEnd = ctx.waits[i].end
        if ctx.waits[i].event == UffdEvent.PAGEFAULT:
            end = start
        read_message(ctx, i)
        return start, end

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            self.closed = True
            self.forget_range(0, len(self.kept))
        mm = self.notifier.mm
        assert mm is not None
        alive = mmget_not_zero(mm)
        if alive:
            userfaultfd_release(mm)
            mmput(mm)


class ForgetsByEventsTooLate(ForgetsByEvents):
    """Wrong: the message is read first."""

    def work(self) -> None:
        while True:
            self.await_message()
            start, end = self.next_message()
            with self.lock:
                self.forget_range(start, end)
