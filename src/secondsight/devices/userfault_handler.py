"""A handler of userfaults: a thread of the process that fills pages when they are touched, as post-copy migration and snapshots do it.

    FillsPages              reads messages; fills what is asked for; what cannot be filled while a change is in progress (-EAGAIN) is kept, and
                            tried again when the change's own message has been read
    FillsAtOnce             tries again at once, until it succeeds: the change goes on when its message is read, by this very thread
    FillsOnce               does not try again: who waits for the page waits for ever

Of any other error, such as a page that is there already or a mapping that is gone, who waits is woken: it tries again, and finds out.

Devices take part as the process does, or do not: pin_user_pages() waits for the handler; hmm_range_fault() cannot wait, and fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.lang import Bits, Char, Errno, atomic, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN
from secondsight.linux.fork import mms
from secondsight.linux.mm_flags import UFFD_MINOR, UFFD_MISSING, UFFD_WP, VM_UFFD_MISSING
from secondsight.linux.mm_types import Count, Mm, PageBits, Pgoff, UffdEvent, Va, VaEnd
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.linux.userfaultfd import find_message, read_message
from secondsight.linux.userfaultfd_ioctl import (
    new_userfaultfd,
    userfaultfd_continue,
    userfaultfd_copy,
    userfaultfd_copy_wp,
    userfaultfd_register,
    userfaultfd_release,
    userfaultfd_unregister,
    userfaultfd_wake,
    userfaultfd_writeprotect,
)

__all__ = ["FillsAtOnce", "FillsOnce", "FillsPages", "monitor", "serve"]

LETTER = ord("p")


def serve(mm: Mm, letter: Char, owner: Mm) -> None:
    """Answer all messages of a process's userfaultfd, until it ends: what is missing is filled with a page that holds `letter`, what is
    protected may be written again; a child's userfaultfd is handed over to the thread that answers that. `owner`: the process whose
    thread this is. `later` are pages that could not be filled."""
    later: PageBits = Bits()
    wait_until(mm.userfaultfd[0].handed)
    while True:
        with atomic:
            ctx = mm.userfaultfd[0]
            wait_until(owner.userfaultfd[0].dying or ctx.dying or ctx.released or find_message(ctx) != 0 or (ctx.mmap_changing == 0 and later != Bits()))
            alive = not owner.userfaultfd[0].dying and not ctx.dying and not ctx.released and mmget_not_zero(mm)
            if not alive:
                break
            at: Va = 0
            why: Count = UFFD_MISSING
            asked = False
            if find_message(ctx) != 0:
                i = find_message(ctx) - 1
                at = ctx.waits[i].start
                why = ctx.waits[i].why
                asked = ctx.waits[i].event == UffdEvent.PAGEFAULT
                if ctx.waits[i].event == UffdEvent.FORK:
                    hand_over()
                read_message(ctx, i)
            else:
                for va in later:
                    at = va
                asked = True
                later -= {at}
        if asked:
            ret = answer(mm, at, letter, why)
            if ret == -EAGAIN:
                later |= {at}
        mmput(mm)


def monitor(mm: Mm, letter: Char, owner: Mm, wp: bool) -> None:
    """`serve` as the kernel's own tests do it (uffd_poll_thread() in tools/testing/selftests/mm/uffd-common.c, Linux 6.12): what MADV_DONTNEED takes away is not filled again, but
    registered no more. `wp`: what is filled is write-protected. Nothing that could not be filled is tried again: who changes memory touches it when that is over."""
    wait_until(mm.userfaultfd[0].handed)
    while True:
        with atomic:
            ctx = mm.userfaultfd[0]
            wait_until(owner.userfaultfd[0].dying or ctx.dying or ctx.released or find_message(ctx) != 0)
            alive = not owner.userfaultfd[0].dying and not ctx.dying and not ctx.released and mmget_not_zero(mm)
            if not alive:
                break
            i = find_message(ctx) - 1
            at: Va = ctx.waits[i].start
            end: VaEnd = ctx.waits[i].end
            why: Count = ctx.waits[i].why
            event = ctx.waits[i].event
            if event == UffdEvent.FORK:
                hand_over()
            read_message(ctx, i)
        if event == UffdEvent.REMOVE:
            userfaultfd_unregister(mm, at, end - at, 0, len(mm.ptes))
        elif event == UffdEvent.PAGEFAULT and wp and why == UFFD_MISSING:
            userfaultfd_copy_wp(mm, at, letter)
        elif event == UffdEvent.PAGEFAULT:
            answer(mm, at, letter, why)
        mmput(mm)


@atomic
def hand_over() -> None:
    """resolve_userfault_fork() (fs/userfaultfd.c, Linux 6.12): the file descriptor of a child's userfaultfd."""
    for one in mms:
        if one.userfaultfd[0].opened:
            one.userfaultfd[0].handed = True


def answer(mm: Mm, va: Va, letter: Char, why: Count) -> Errno:
    """Answer a fault: 0; -EAGAIN, it is to be tried again; or another error, and who waits tries again."""
    ret: Errno = 0
    if why == UFFD_WP:
        ret = userfaultfd_writeprotect(mm, va, 1, False)
    elif why == UFFD_MINOR:
        ret = userfaultfd_continue(mm, va)
    else:
        ret = userfaultfd_copy(mm, va, letter)
    if ret not in (0, -EAGAIN):
        userfaultfd_wake(mm, va, 1)
    return ret


class FillsPages(Device):
    """Right. All memory that is mapped when it is opened is its own to fill."""

    promise: ClassVar[Promise] = "process"
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "userfaultfd": 1, "userfaults": 3, "vma_flags": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        new_userfaultfd(mm, False, True)
        return userfaultfd_register(mm, start, length, VM_UFFD_MISSING, start, start + length)

    def work(self) -> None:
        mm = self.notifier.mm
        assert mm is not None
        serve(mm, LETTER, mm)

    def close(self) -> None:
        mm = self.notifier.mm
        assert mm is not None
        alive = mmget_not_zero(mm)
        if alive:
            userfaultfd_release(mm)
            mmput(mm)


class FillsAtOnce(FillsPages):
    """Wrong: keeps trying."""

    def work(self) -> None:
        mm = self.notifier.mm
        assert mm is not None
        while True:
            va, is_fault = await_message(mm)
            ret: Errno = -EAGAIN
            while is_fault and ret == -EAGAIN:
                ret = answer(mm, va, LETTER, UFFD_MISSING)


class FillsOnce(FillsPages):
    """Wrong: gives up."""

    def work(self) -> None:
        mm = self.notifier.mm
        assert mm is not None
        while True:
            va, is_fault = await_message(mm)
            if is_fault:
                answer(mm, va, LETTER, UFFD_MISSING)


@atomic
def await_message(mm: Mm) -> tuple[Va, bool]:
    """Wait for a message and read it: the page that it is about, and whether it is a fault."""
    ctx = mm.userfaultfd[0]
    wait_until(find_message(ctx) != 0)
    i = find_message(ctx) - 1
    at: Va = ctx.waits[i].start
    is_fault = ctx.waits[i].event == UffdEvent.PAGEFAULT
    read_message(ctx, i)
    return at, is_fault
