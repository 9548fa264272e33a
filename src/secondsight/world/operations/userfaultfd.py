"""Userfaultfd: faults and changes of a process's memory, told to its user space, which answers them."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.devices.userfault_handler import monitor, serve
from secondsight.lang import Ref, atomic, wait_until
from secondsight.linux.errno import EAGAIN, EBADF, EINVAL
from secondsight.linux.mm_flags import UFFD_MINOR, UFFD_WP, VM_UFFD_MINOR, VM_UFFD_MISSING, VM_UFFD_WP
from secondsight.linux.mm_types import Mm, Result, UffdEvent, UserfaultfdCtx
from secondsight.linux.task_mmu import pagemap_read
from secondsight.linux.userfaultfd import find_message, read_message
from secondsight.linux.userfaultfd_ioctl import (
    IOCTL_CONTINUE,
    IOCTL_WRITEPROTECT,
    new_userfaultfd,
    register_ioctls,
    userfaultfd_continue,
    userfaultfd_continue_wp,
    userfaultfd_copy,
    userfaultfd_copy_wp,
    userfaultfd_move,
    userfaultfd_poison,
    userfaultfd_register,
    userfaultfd_release,
    userfaultfd_unregister,
    userfaultfd_wake,
    userfaultfd_writeprotect,
    userfaultfd_zeropage,
)
from secondsight.scenario.ops import Arg, ArgType, HandleType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import (
    IS_UNKNOWN,
    NOT_RUN,
    RowNumber,
    address,
    flags,
    handles,
    high,
    low,
    makes,
    needs_at,
    page,
    pages,
    value,
)

__all__ = ["monitor", "serve"]

UFFD = Arg(ArgType.USERFAULTFD)
YES, NO = Arg(ArgType.FLAG, True, keyword=True), Arg(ArgType.FLAG, False, keyword=True)
WP = Arg(ArgType.FLAG, False, keyword=True, anonymous=True)
FAULT, PROTECTED, MINOR = ord("f"), ord("w"), ord("n")
NO_IOCTL, CONTINUES, ALL_IOCTLS, FREE = ord("-"), ord("c"), ord("a"), ord("-")
REMOVE, UNMAP, FORK, REMAP = ord("r"), ord("u"), ord("k"), ord("m")


def of_userfaultfd(args: object) -> dict[str, int]:
    """What all of these need."""
    return {"userfaultfd": 1, "userfaults": 3, "vma_flags": 1}


@operation(sigbus=NO, events=NO, forks=NO, makes=HandleType.USERFAULTFD, needs=Needs.USERFAULTFD, in_setup=True, at_least=of_userfaultfd, named=False)
def userfaultfd(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """userfaultfd(2), and UFFDIO_API: one for a process, in the setup. With `sigbus` (UFFD_FEATURE_SIGBUS) who touches what is missing or
    protected gets a signal, else it waits. With `events` (UFFD_FEATURE_EVENT_REMOVE, _UNMAP and _REMAP) who unmaps registered memory, forgets
    it by MADV_DONTNEED, or moves it, waits until somebody has read that message. With `forks` (UFFD_FEATURE_EVENT_FORK) so does who forks: the child's memory is
    registered with a userfaultfd of its own, which comes with the message (`uffd_serve` answers that too)."""
    if len(mm.userfaultfd) > 0:
        with atomic:
            new_userfaultfd(mm, value[i] != 0, page[i] != 0, pages[i] != 0)
            handles[makes[i]].made = True
    return 0


@operation(
    sigbus=NO, events=NO, forks=NO, makes=HandleType.USERFAULTFD, needs=Needs.USERFAULTFD, in_setup=True,
    at_least=lambda args: of_userfaultfd(args) | {"pte_markers": 1}, named=False,
)  # fmt: skip
def userfaultfd_wp_unpopulated(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`userfaultfd` with UFFD_FEATURE_WP_UNPOPULATED (Linux 6.4 on; -EINVAL before): of private memory `uffd_writeprotect` protects pages that are not there, too."""
    if len(mm.userfaultfd) > 0:
        with atomic:
            if flags[i] & IS_UNKNOWN != 0:
                return -EINVAL
            new_userfaultfd(mm, value[i] != 0, page[i] != 0, pages[i] != 0, True)
            handles[makes[i]].made = True
    return 0


@operation(uffd=UFFD, addr=ADDRESS, pages=SPAN, missing=YES, wp=WP, remaps=True, at_least=of_userfaultfd, often=Often(6, 1))
def uffd_register(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_REGISTER: pages that are `missing`, and those that are write-protected (`wp`; not of huge pages). Fails with -EINVAL (not
    mapped, a udmabuf's mapping; neither mode), -EPERM (mapped read-only from a write-sealed memfd), -EBADF (closed)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        modes = (VM_UFFD_MISSING if value[i] != 0 else 0) + (VM_UFFD_WP if page[i] != 0 else 0)
        if modes == 0:
            return -EINVAL
        return userfaultfd_register(mm, address[i], pages[i], modes, low[i], high[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, pages=SPAN, missing=NO, remaps=True, at_least=of_userfaultfd, often=Often(3, 1))
def uffd_register_minor(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_REGISTER of pages that a memfd has and that are not mapped (UFFDIO_REGISTER_MODE_MINOR), and of those that are `missing`. Fails as `uffd_register`
    does, and with -EINVAL (private memory)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        modes = VM_UFFD_MINOR + (VM_UFFD_MISSING if value[i] != 0 else 0)
        return userfaultfd_register(mm, address[i], pages[i], modes, low[i], high[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, missing=NO, wp=NO, minor=NO, remaps=True, loads=True, at_least=of_userfaultfd, often=Often())
def uffd_register_ioctls(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_REGISTER of one page, with any of the three modes, and which ioctls it says are allowed: `w` UFFDIO_WRITEPROTECT, `c` UFFDIO_CONTINUE, `a` both, `-` neither; beside UFFDIO_WAKE,
    UFFDIO_COPY and UFFDIO_ZEROPAGE. Fails as `uffd_register` and `uffd_register_minor` do."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        modes = (VM_UFFD_MISSING if value[i] != 0 else 0) + (VM_UFFD_WP if page[i] != 0 else 0) + (VM_UFFD_MINOR if pages[i] != 0 else 0)
        if modes == 0:
            return -EINVAL
        ret = register_ioctls(mm, address[i], 1, modes, low[i], high[i])
        if ret < 0:
            return ret
        return NO_IOCTL if ret == 0 else ALL_IOCTLS if ret == IOCTL_WRITEPROTECT + IOCTL_CONTINUE else PROTECTED if ret == IOCTL_WRITEPROTECT else CONTINUES
    return 0


@operation(uffd=UFFD, addr=ADDRESS, pages=SPAN, remaps=True, at_least=of_userfaultfd, often=Often(2, 1))
def uffd_unregister(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_UNREGISTER. Who waits for a page there tries again. Fails with -EINVAL (not mapped, a udmabuf's mapping), -EBADF (closed)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        return userfaultfd_unregister(mm, address[i], pages[i], low[i], high[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, value=Arg(ArgType.VALUE), at_least=of_userfaultfd, often=Often(9, 6))
def uffd_copy(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_COPY of one page that holds `value`; who waits for it goes on. Fails with -EEXIST (a page is there), -ENOENT (not registered),
    -EAGAIN (a change is in progress, whose message nobody has read yet), -EFAULT (past the end of the file), -EBADF (closed)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        return userfaultfd_copy(mm, address[i], value[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, value=Arg(ArgType.VALUE), at_least=of_userfaultfd, often=Often())
def uffd_copy_wp(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`uffd_copy` of a page that is write-protected from the beginning (UFFDIO_COPY_MODE_WP). Fails as that does, and with -EINVAL (not registered for write protection)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        return userfaultfd_copy_wp(mm, address[i], value[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, at_least=lambda args: of_userfaultfd(args) | {"pte_markers": 1}, often=Often())
def uffd_poison(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_POISON of one page (Linux 6.6 on; -EINVAL before): every access to it fails with SIGBUS from now on, until it is filled or forgotten. Fails with -EEXIST (a page is there, or it is poisoned or
    write-protected), -ENOENT (not registered), -EAGAIN (a change is in progress), -EFAULT (past the end of the file), -EBADF (closed)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        if flags[i] & IS_UNKNOWN != 0:
            return -EINVAL
        return userfaultfd_poison(mm, address[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, at_least=of_userfaultfd, often=Often(3, 2))
def uffd_zeropage(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_ZEROPAGE of one page. Fails as `uffd_copy` does."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        return userfaultfd_zeropage(mm, address[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, at_least=of_userfaultfd, often=Often(3, 2))
def uffd_continue(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_CONTINUE of one page: the page that the memfd has is mapped; who waits for it goes on. Fails with -EEXIST (mapped already), -EFAULT (the memfd has
    none), -EINVAL (past its end; not a memfd's), -ENOENT (not registered), -EAGAIN (a change is in progress), -EBADF (closed)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        return userfaultfd_continue(mm, address[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, at_least=of_userfaultfd, often=Often())
def uffd_continue_wp(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`uffd_continue` of a page that is write-protected from the beginning (UFFDIO_CONTINUE_MODE_WP; Linux 6.4 on, -EINVAL before). Fails as that does, and with -EINVAL (not registered for write
    protection)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        if flags[i] & IS_UNKNOWN != 0:
            return -EINVAL
        return userfaultfd_continue_wp(mm, address[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, source=ADDRESS, at_least=of_userfaultfd, often=Often(8, 6))
def uffd_move(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_MOVE (Linux 6.8 on): the page at `source` is taken from there, and put to `addr`; who waits for that goes on. Both are private memory. Fails with
    -ENOENT (not mapped; no page is there), -EEXIST (a page is at `addr`), -EBUSY (a child has the page too, or it is pinned), -EINVAL (`addr` is not registered;
    not private memory, or it may not be written; an older kernel), -EAGAIN (a change is in progress), -EBADF (closed)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        if flags[i] & IS_UNKNOWN != 0:
            return -EINVAL
        return userfaultfd_move(mm, address[i], page[i])
    return 0


@operation(uffd=UFFD, addr=ADDRESS, pages=SPAN, protect=YES, at_least=of_userfaultfd, often=Often(6, 4))
def uffd_writeprotect(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_WRITEPROTECT: the pages that are there are write-protected, or with `protect=False` no more, and who waits goes on. Fails with
    -ENOENT (not registered for that), -EAGAIN (a change is in progress), -EBADF (closed)."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        return userfaultfd_writeprotect(mm, address[i], pages[i], value[i] != 0)
    return 0


@operation(uffd=UFFD, addr=ADDRESS, pages=SPAN, at_least=of_userfaultfd, often=Often(1, 1))
def uffd_wake(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UFFDIO_WAKE: who waits for one of the pages tries again. -EBADF: closed."""
    if len(mm.userfaultfd) > 0:
        if handles[needs_at[i]].closed:
            return -EBADF
        return userfaultfd_wake(mm, address[i], pages[i])
    return 0


@operation(uffd=UFFD, loads=True, at_least=of_userfaultfd, often=Often())
def uffd_read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Wait for a message and read it: `f` a page is missing, `w` one is written that is protected, `n` one is not mapped that the memfd has, `r` REMOVE, `u` UNMAP, `m` REMAP, `k` FORK. Faults come first.
    Who waits for the reading of an event goes on. -EBADF: closed."""
    if len(mm.userfaultfd) > 0:
        with atomic:
            if handles[needs_at[i]].closed:
                return -EBADF
            ctx = mm.userfaultfd[0]
            wait_until(find_message(ctx) != 0 or ctx.dying)
            if ctx.dying:
                return NOT_RUN
            return next_message(ctx)
    return 0


@operation(uffd=UFFD, loads=True, at_least=of_userfaultfd, often=Often(1))
def uffd_read_now(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`uffd_read` that does not wait: -EAGAIN, there is no message."""
    if len(mm.userfaultfd) > 0:
        with atomic:
            if handles[needs_at[i]].closed:
                return -EBADF
            if find_message(mm.userfaultfd[0]) == 0:
                return -EAGAIN
            return next_message(mm.userfaultfd[0])
    return 0


@operation(uffd=UFFD, at_least=of_userfaultfd, often=Often(1))
def uffd_close(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """close() of a userfaultfd that nobody reads: nothing is registered any more, who waits goes on. -EBADF the second time. (While somebody
    waits in a read a real kernel keeps it until that returns: with a handler's thread it is not to be closed.)"""
    if len(mm.userfaultfd) > 0:
        with atomic:
            closed = handles[needs_at[i]].closed
            handles[needs_at[i]].closed = True
        if closed:
            return -EBADF
        userfaultfd_release(mm)
    return 0


@operation(addr=ADDRESS, loads=True, at_least=of_userfaultfd, often=Often())
def pagemap_wp(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Whether a page, or what is to come there, is write-protected by a userfaultfd, as /proc/PID/pagemap tells the process (bit 57): `w`, or `-`."""
    if len(mm.userfaultfd) > 0:
        protected = pagemap_read(mm, address[i])
        return PROTECTED if protected else FREE
    return 0


@operation(uffd=UFFD, value=Arg(ArgType.VALUE), in_setup=True, serves=True, at_least=of_userfaultfd, named=False)
def uffd_serve(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A thread of the process that answers all messages from the end of the setup on: what is missing is filled with a page that holds
    `value`, what is protected may be written again, what a memfd has is mapped, events are read. What cannot be filled while a change is in progress (-EAGAIN) is
    tried again; for anything else, who waits tries again."""
    return 0


@operation(uffd=UFFD, value=Arg(ArgType.VALUE), in_setup=True, serves=True, at_least=of_userfaultfd, named=False)
def uffd_monitor(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`uffd_serve` as the kernel's own tests do it: what MADV_DONTNEED takes away (the message REMOVE) is registered no more; nothing is tried again."""
    return 0


@operation(uffd=UFFD, value=Arg(ArgType.VALUE), in_setup=True, serves=True, at_least=of_userfaultfd, named=False)
def uffd_monitor_wp(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`uffd_monitor` that fills with pages which are write-protected (UFFDIO_COPY_MODE_WP), until somebody writes them."""
    return 0


@atomic
def next_message(ctx: UserfaultfdCtx) -> Result:
    """Read the first message: its letter."""
    i = find_message(ctx) - 1
    event = ctx.waits[i].event
    letter = PROTECTED if ctx.waits[i].why == UFFD_WP else MINOR if ctx.waits[i].why == UFFD_MINOR else FAULT
    if event != UffdEvent.PAGEFAULT:
        letter = REMOVE if event == UffdEvent.REMOVE else UNMAP if event == UffdEvent.UNMAP else REMAP if event == UffdEvent.REMAP else FORK
    read_message(ctx, i)
    return letter
