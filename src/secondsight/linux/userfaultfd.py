"""fs/userfaultfd.c: a process's faults, and changes of its memory, told to user space, which answers them.

Memory is registered with a userfaultfd (`userfaultfd_ioctl`). Who touches a page of it that is not there, or writes one that it has
write-protected, waits:

    handle_userfault()
        in the queue: a read of the file descriptor finds it from now on
        userfaultfd_must_wait(): is the page still not there?
        the mmap lock is given up; sleep until woken
        the access is made again

User space reads the message and answers by UFFDIO_COPY, UFFDIO_ZEROPAGE or UFFDIO_WRITEPROTECT (`mm_userfaultfd`), which make the
entry right and wake those who wait for it; or by UFFDIO_MOVE, which gives a page that it has at another address. Of a memfd it may also hear of pages that
are there and not mapped (minor faults): it looks at them by another mapping, and has them mapped by UFFDIO_CONTINUE.

Where it has asked for events, it is told of three changes, and who makes them waits until the message has been read, not until anybody
has acted on it:

    MADV_DONTNEED       REMOVE, before the pages go, without the mmap lock
    munmap, MAP_FIXED   UNMAP, when they have gone and the mmap lock has been given up
    mremap              REMAP, when they have moved; before it UNMAP of what was at the new place, behind it UNMAP of the old one

From the time at which the change begins until then (`mmap_changing`) nothing can be filled: -EAGAIN.

Where it has asked for that, fork() is told too, and a child's memory is registered with a userfaultfd of the child's: its file
descriptor comes with the message, and fork() returns, and the child begins, when that has been read.

So who keeps something by address and lives by these messages hears late: of munmap when the memory has gone, and perhaps another
mapping has come. The system call has not returned, that is all.

A write-protected page of a file may go from the page table, and come again: a marker stays (`swapops`). User space may leave one where nothing is, too, by
write protection (UFFD_FEATURE_WP_UNPOPULATED), or to say that a page is lost (UFFDIO_POISON).

Left out: minor faults, write protection and poison of huge pages;
which of two children a message of two forks at a time is about; asynchronous write protection; more than one userfaultfd of a process; who else may use it than the process; UFFDIO_API by itself; who waits in a system call
and is killed goes on with it. The order among those woken.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, milestone, out_of_records, wait_until
from secondsight.linux.mm import vma_dontcopy
from secondsight.linux.mm_flags import (
    FAULT_FLAG_ALLOW_RETRY,
    UFFD_MISSING,
    UFFD_WP,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_UFFD_FLAGS,
    VM_UFFD_MINOR,
    VM_UFFD_MISSING,
    VM_UFFD_WP,
)
from secondsight.linux.mm_types import Count, Flags, Mm, Pte, UffdEvent, UserfaultfdCtx, Va, VaEnd, Vma
from secondsight.linux.pgtable import pte_none_mostly, pte_page
from secondsight.linux.swapops import make_pte_marker, pte_markers
from secondsight.linux.vma_lock import release_fault_lock

__all__ = [
    "dup_userfaultfd",
    "dup_userfaultfd_complete",
    "dup_userfaultfd_fail",
    "find_message",
    "handle_userfault",
    "mremap_userfaultfd_complete",
    "mremap_userfaultfd_prep",
    "pte_install_uffd_wp_if_needed",
    "read_message",
    "userfaultfd_armed",
    "userfaultfd_event_wait_completion",
    "userfaultfd_minor",
    "userfaultfd_missing",
    "userfaultfd_pte_wp",
    "userfaultfd_remove",
    "userfaultfd_unmap_complete",
    "userfaultfd_unmap_prep",
    "userfaultfd_wp",
    "userfaultfd_wp_use_markers",
    "wake_userfault",
]


# Which memory.


@atomic
def userfaultfd_missing(vma: Vma) -> bool:
    """userfaultfd_missing() (include/linux/userfaultfd_k.h, Linux 6.12)."""
    return vma.flags[0] & VM_UFFD_MISSING != 0


@atomic
def userfaultfd_minor(vma: Vma) -> bool:
    """userfaultfd_minor() (include/linux/userfaultfd_k.h, Linux 6.12)."""
    return vma.flags[0] & VM_UFFD_MINOR != 0


@atomic
def userfaultfd_wp(vma: Vma) -> bool:
    """userfaultfd_wp() (include/linux/userfaultfd_k.h, Linux 6.12)."""
    return vma.flags[0] & VM_UFFD_WP != 0


@atomic
def userfaultfd_armed(vma: Vma) -> bool:
    """userfaultfd_armed() (include/linux/userfaultfd_k.h, Linux 6.12): it is registered."""
    return vma.flags[0] & VM_UFFD_FLAGS != 0


@atomic
def userfaultfd_pte_wp(vma: Vma, pte: Pte) -> bool:
    """userfaultfd_pte_wp() (include/linux/userfaultfd_k.h, Linux 6.12): a write to the page is to be told."""
    return userfaultfd_wp(vma) and pte.uffd_wp[0]


@atomic
def userfaultfd_wp_use_markers(vma: Vma) -> bool:
    """userfaultfd_wp_use_markers(), userfaultfd_wp_unpopulated() (include/linux/userfaultfd_k.h, fs/userfaultfd.c, Linux 6.12): whether pages that are not there are write-protected
    too: a file's, or where user space has asked for that."""
    mm = vma.vm_mm
    assert mm is not None
    return userfaultfd_wp(vma) and (vma.vm_file is not None or mm.userfaultfd[0].unpopulated)


@atomic
def pte_install_uffd_wp_if_needed(vma: Vma, pte: Pte, uffd_wp: bool) -> None:
    """pte_install_uffd_wp_if_needed() (include/linux/mm_inline.h, Linux 6.12): a file's page that was write-protected (`uffd_wp`) has gone from the entry, which is empty: it is
    when it comes again."""
    if uffd_wp and vma.vm_file is not None and userfaultfd_wp(vma):
        make_pte_marker(pte, True)


# The queue.


@atomic
def add_wait(ctx: UserfaultfdCtx, event: UffdEvent, start: Va, end: VaEnd, why: Count) -> Count:
    """__add_wait_queue() of a new struct userfaultfd_wait_queue (fs/userfaultfd.c, Linux 6.12): its number. It can be read from now on."""
    for i in range(len(ctx.waits)):
        if ctx.waits[i].event == UffdEvent.NONE:
            ctx.waits[i].event = event
            ctx.waits[i].start = start
            ctx.waits[i].end = end
            ctx.waits[i].why = why
            for k in range(len(ctx.queue)):
                if ctx.queue[k] == 0:
                    ctx.queue[k] = i + 1
                    break
            return i
    out_of_records("userfaults")
    return 0


@atomic
def remove_wait(ctx: UserfaultfdCtx, i: Count) -> None:
    """list_del(): it cannot be read any more."""
    gone = False
    for k in range(len(ctx.queue)):
        if ctx.queue[k] == i + 1:
            gone = True
        if gone:
            ctx.queue[k] = ctx.queue[k + 1] if k + 1 < len(ctx.queue) else 0


@atomic
def end_wait(ctx: UserfaultfdCtx, i: Count) -> None:
    """Who waited goes on: what was on its stack is gone."""
    remove_wait(ctx, i)
    ctx.waits[i].event = UffdEvent.NONE
    ctx.waits[i].start = 0
    ctx.waits[i].end = 0
    ctx.waits[i].why = UFFD_MISSING
    ctx.waits[i].waken = False


@atomic
def find_message(ctx: UserfaultfdCtx) -> Count:
    """find_userfault(), find_userfault_evt() (fs/userfaultfd.c, Linux 6.12): the number plus 1 of the first fault that is to be read, or of
    the first event where there is no fault; 0: nothing is."""
    for k in range(len(ctx.queue)):
        if ctx.queue[k] > 0:
            if ctx.waits[ctx.queue[k] - 1].event == UffdEvent.PAGEFAULT:
                return ctx.queue[k]
    return ctx.queue[0]


@milestone(quiet=True)
@atomic
def read_message(ctx: UserfaultfdCtx, i: Count) -> None:
    """userfaultfd_ctx_read() (fs/userfaultfd.c, Linux 6.12) of the message `i`: a fault goes on waiting; who waited for the reading of an
    event does not (userfaultfd_event_complete())."""
    remove_wait(ctx, i)
    if ctx.waits[i].event != UffdEvent.PAGEFAULT:
        ctx.waits[i].waken = True


@milestone(quiet=True)
@atomic
def wake_userfault(ctx: UserfaultfdCtx, start: Va, end: VaEnd) -> None:
    """wake_userfault(), userfaultfd_wake_function() (fs/userfaultfd.c, Linux 6.12): those who wait for a page of the range go on, whether
    their message was read or not. Of one that runs already the message stays until it takes it away itself."""
    for i in range(len(ctx.waits)):
        if ctx.waits[i].event == UffdEvent.PAGEFAULT and not ctx.waits[i].waken and start <= ctx.waits[i].start < end:
            ctx.waits[i].waken = True
            remove_wait(ctx, i)


# Faults.


@milestone(quiet=True)
def handle_userfault(mm: Mm, va: Va, flags: Flags, why: Count) -> Flags:
    """handle_userfault() (fs/userfaultfd.c, Linux 6.12): VM_FAULT_RETRY, the mmap lock was given up. VM_FAULT_SIGBUS where the fault may not do
    that, as hmm_range_fault() and the remote form of GUP may not, or where user space has asked for SIGBUS.

    `why`: UFFD_MISSING; UFFD_WP: the page is there and write-protected; UFFD_MINOR: the file has it, and it is not mapped.
    """
    with atomic:
        ctx = mm.userfaultfd[0]
        if ctx.sigbus or flags & FAULT_FLAG_ALLOW_RETRY == 0:
            return VM_FAULT_SIGBUS
        if ctx.released:
            release_fault_lock(mm, va, flags)
            return VM_FAULT_RETRY
        i = add_wait(ctx, UffdEvent.PAGEFAULT, va, va + 1, why)
    with atomic:
        must_wait = userfaultfd_must_wait(mm, va, why == UFFD_WP) and not ctx.released
        if not must_wait:
            ctx.waits[i].waken = True
        release_fault_lock(mm, va, flags)
    if must_wait:
        wait_until(ctx.waits[i].waken or ctx.dying)
    end_wait(ctx, i)
    return VM_FAULT_RETRY


@atomic
def userfaultfd_must_wait(mm: Mm, va: Va, wp: bool) -> bool:
    """userfaultfd_must_wait() (fs/userfaultfd.c, Linux 6.12): the entry is still not as it has to be; it is read without its lock."""
    pte = mm.ptes[va]
    return pte_none_mostly(pte) or (wp and pte_page(pte) is not None and not pte.writable)


# Forks.


def dup_userfaultfd(mm: Mm, oldmm: Mm) -> bool:
    """dup_userfaultfd() (fs/userfaultfd.c, Linux 6.12) for all vmas: the child's memory is registered as the parent's, with a userfaultfd of its own;
    whether user space is to be told. The mmap lock of the parent is held for writing."""
    with atomic:
        ctx = oldmm.userfaultfd[0]
        told = ctx.forks and not ctx.released and any(is_copied(vma) and is_registered(vma) for vma in oldmm.mm_mt)
        if told:
            mm.userfaultfd[0].opened = True
            mm.userfaultfd[0].sigbus = ctx.sigbus
            mm.userfaultfd[0].events = ctx.events
            mm.userfaultfd[0].forks = True
            if len(pte_markers) > 0:
                mm.userfaultfd[0].unpopulated = ctx.unpopulated
    if told:
        mmap_changes(ctx)
    return told


def dup_userfaultfd_complete(oldmm: Mm) -> None:
    """dup_userfaultfd_complete() (fs/userfaultfd.c, Linux 6.12): the child is whole, no lock is held."""
    userfaultfd_event_wait_completion(oldmm.userfaultfd[0], UffdEvent.FORK, 0, 0)


@atomic
def dup_userfaultfd_fail(mm: Mm, oldmm: Mm) -> None:
    """dup_userfaultfd_fail() (fs/userfaultfd.c, Linux 6.12): the child did not come to be, and nobody hears of it."""
    oldmm.userfaultfd[0].mmap_changing -= 1
    mm.userfaultfd[0].opened = False


# Changes.


@milestone(quiet=True)
def userfaultfd_event_wait_completion(ctx: UserfaultfdCtx, event: UffdEvent, start: Va, end: VaEnd) -> None:
    """userfaultfd_event_wait_completion() (fs/userfaultfd.c, Linux 6.12): wait until the message has been read. `mmap_changing` was raised for
    it."""
    i = add_wait(ctx, event, start, end, UFFD_MISSING)
    wait_until(ctx.waits[i].waken or ctx.released or ctx.dying)
    with atomic:
        end_wait(ctx, i)
        ctx.mmap_changing -= 1


def mmap_changes(ctx: UserfaultfdCtx) -> None:
    """What userfaultfd_remove() and userfaultfd_unmap_prep() do with `mmap_changing` (fs/userfaultfd.c, Linux 6.12): nobody fills a page
    meanwhile."""
    with atomic:
        ctx.map_changing_lock.write_lock()
        ctx.mmap_changing += 1
        ctx.map_changing_lock.write_unlock()


def userfaultfd_remove(mm: Mm, start: Va, end: VaEnd) -> bool:
    """userfaultfd_remove() (fs/userfaultfd.c, Linux 6.12), of a part of one vma: true: nobody wants to know. False: somebody has been told; the
    mmap lock, which is held for reading, was given up for that."""
    with atomic:
        ctx = mm.userfaultfd[0]
        vma = mm.mm_mt[start]
        told = ctx.events and vma is not None and userfaultfd_armed(vma)
    if not told:
        return True
    with atomic:
        ctx.map_changing_lock.write_lock()
        ctx.mmap_changing += 1
        ctx.map_changing_lock.write_unlock()
        mm.mmap_lock.read_unlock()
    userfaultfd_event_wait_completion(ctx, UffdEvent.REMOVE, start, end)
    return False


def userfaultfd_unmap_prep(mm: Mm, start: Va, end: VaEnd) -> bool:
    """userfaultfd_unmap_prep() (fs/userfaultfd.c, Linux 6.12) of each vma in a range that is to be unmapped: whether user space is to be told, once, of
    the whole range. The mmap lock is held for writing."""
    with atomic:
        ctx = mm.userfaultfd[0]
        told = ctx.events and any(is_registered(mm.mm_mt[va]) for va in range(start, end))
    if told:
        mmap_changes(ctx)
    return told


@atomic
def is_copied(vma: Ref[Vma]) -> bool:
    """Whether there is a vma that a child gets (VM_DONTCOPY)."""
    return vma is not None and not vma_dontcopy(vma)


@atomic
def is_registered(vma: Ref[Vma]) -> bool:
    """Whether there is a vma, and it is registered."""
    return vma is not None and userfaultfd_armed(vma)


def mremap_userfaultfd_prep(mm: Mm, new_addr: Va) -> bool:
    """mremap_userfaultfd_prep() (fs/userfaultfd.c, Linux 6.12) of the vma that memory has moved into: whether user space is to be told. Where it does not want to be,
    the vma is registered no more. The mmap lock is held for writing."""
    with atomic:
        ctx = mm.userfaultfd[0]
        vma = mm.mm_mt[new_addr]
        assert vma is not None
        told = ctx.events and userfaultfd_armed(vma)
        if not told:
            vma.flags[0] = vma.flags[0] & (255 - VM_UFFD_FLAGS)
    if told:
        mmap_changes(ctx)
    return told


def mremap_userfaultfd_complete(mm: Mm, start: Va, end: VaEnd) -> None:
    """mremap_userfaultfd_complete() (fs/userfaultfd.c, Linux 6.12): the memory has moved, no lock is held."""
    userfaultfd_event_wait_completion(mm.userfaultfd[0], UffdEvent.REMAP, start, end)


def userfaultfd_unmap_complete(mm: Mm, start: Va, end: VaEnd) -> None:
    """userfaultfd_unmap_complete() (fs/userfaultfd.c, Linux 6.12): the memory has gone, no lock is held."""
    userfaultfd_event_wait_completion(mm.userfaultfd[0], UffdEvent.UNMAP, start, end)
