"""fs/userfaultfd.c, its system calls: what user space does with a userfaultfd. What the kernel does with it is in `userfaultfd`.

Memory is registered vma by vma, under the mmap lock for writing: a part of one is split off, or goes to a neighbour that is registered
alike. When it is not any more, or the userfaultfd is closed, what was write-protected by it may be written again, and who waits goes on.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Char, Errno, Ref, atomic, milestone, require
from secondsight.linux.errno import EAGAIN, EINVAL, EPERM
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.mm_flags import VM_SEALED, VM_UFFD_FLAGS, VM_UFFD_MINOR, VM_UFFD_WP
from secondsight.linux.mm_types import AddressSpace, Flags, Mm, Pgoff, Va, VaEnd, Vma, writes_back
from secondsight.linux.mm_userfaultfd import (
    MFILL_ATOMIC_CONTINUE,
    MFILL_ATOMIC_COPY,
    MFILL_ATOMIC_POISON,
    MFILL_ATOMIC_WP,
    MFILL_ATOMIC_ZEROPAGE,
    mfill_atomic,
    mwriteprotect_range,
    uffd_wp_range,
)
from secondsight.linux.mm_userfaultfd_move import move_pages
from secondsight.linux.swapops import pte_markers
from secondsight.linux.userfaultfd import is_registered, userfaultfd_minor, userfaultfd_missing, userfaultfd_wp, wake_userfault
from secondsight.linux.vma import vma_modify_flags, vmas_changed

__all__ = [
    "IOCTL_CONTINUE",
    "IOCTL_WRITEPROTECT",
    "new_userfaultfd",
    "register_ioctls",
    "userfaultfd_continue",
    "userfaultfd_continue_wp",
    "userfaultfd_copy",
    "userfaultfd_copy_wp",
    "userfaultfd_move",
    "userfaultfd_poison",
    "userfaultfd_register",
    "userfaultfd_release",
    "userfaultfd_unregister",
    "userfaultfd_wake",
    "userfaultfd_writeprotect",
    "userfaultfd_zeropage",
]

IOCTL_WRITEPROTECT: Final = 1
IOCTL_CONTINUE: Final = 2
"""Bits of what `register_ioctls` says: _UFFDIO_WRITEPROTECT, _UFFDIO_CONTINUE."""


@atomic
def new_userfaultfd(mm: Mm, sigbus: bool, events: bool, forks: bool = False, unpopulated: bool = False) -> None:
    """new_userfaultfd(), userfaultfd_api() (fs/userfaultfd.c, Linux 6.12): with those features. A process has one at most."""
    ctx = mm.userfaultfd[0]
    ctx.opened = True
    ctx.sigbus = sigbus
    ctx.events = events
    ctx.forks = forks
    ctx.handed = True
    if len(pte_markers) > 0:
        ctx.unpopulated = unpopulated


@milestone
def userfaultfd_register(mm: Mm, start: Va, length: Pgoff, modes: Flags, low: Va, high: VaEnd) -> Errno:
    """userfaultfd_register(), userfaultfd_register_range() (fs/userfaultfd.c, mm/userfaultfd.c, Linux 6.12): `modes` are VM_UFFD_.

    -EINVAL: nothing is mapped, or neither private memory nor a memfd, or private memory and VM_UFFD_MINOR is asked for; -EPERM: mapped read-only from a memfd that was write-sealed.
    `low`, `high`: see `vma_merge_new_range`.
    """
    mm.mmap_lock.write_lock()
    with atomic:
        ret = register_problem(mm, start, start + length, modes & VM_UFFD_MINOR != 0)
        if ret == 0 and modes & VM_UFFD_WP != 0:
            for va in range(start, start + length):
                require(not is_large_file(mm.mm_mt[va]), "left-out", "write protection of a file's huge pages by userfaultfd is not modelled")
        at: VaEnd = start
        while ret == 0 and at < start + length:
            first = find_vma_from(mm, at, start + length)
            at = start + length
            if first < at:
                vma = mm.mm_mt[first]
                assert vma is not None
                at = min(vma.vm_end, at)
                flags = vma.flags[0]
                if flags & modes != modes:
                    vma_modify_flags(vma, first, at, vma.write, flags & (255 - VM_UFFD_FLAGS) | modes, low, high)
        vmas_changed(mm, start, start + length)
        mm.mmap_lock.write_unlock()
    return ret


@atomic
def is_large_file(vma: Ref[Vma]) -> bool:
    """Whether a vma maps a file of huge pages."""
    if vma is None:
        return False
    file = vma.vm_file
    return file is not None and file.is_hugetlb()


def register_ioctls(mm: Mm, start: Va, length: Pgoff, modes: Flags, low: Va, high: VaEnd) -> Errno:
    """userfaultfd_register(), its answer (fs/userfaultfd.c, Linux 6.12): as that, or of the ioctls that it allows IOCTL_WRITEPROTECT and IOCTL_CONTINUE, of those that it allows besides
    the others. Left out: huge pages of a file, of which others are refused (UFFD_API_RANGE_IOCTLS_BASIC)."""
    ret = userfaultfd_register(mm, start, length, modes, low, high)
    if ret == 0:
        ret = (IOCTL_WRITEPROTECT if modes & VM_UFFD_WP != 0 else 0) + (IOCTL_CONTINUE if modes & VM_UFFD_MINOR != 0 else 0)
    return ret


@atomic
def vma_can_userfault(file: AddressSpace) -> bool:
    """vma_can_userfault() (include/linux/userfaultfd_k.h, Linux 6.12) of a file's mapping: a memfd's may be registered, and not a device's or that of a file on a disk."""
    if len(writes_back) > 0:
        if file.can_writeback():
            return False
    return file.vm_flags() == 0


@atomic
def register_problem(mm: Mm, start: Va, end: VaEnd, minor: bool) -> Errno:
    """The checks of userfaultfd_register() (fs/userfaultfd.c, Linux 6.12)."""
    ret: Errno = -EINVAL
    for va in range(start, end):
        vma = mm.mm_mt[va]
        if vma is not None:
            file = vma.vm_file
            if file is not None:
                if not vma_can_userfault(file):
                    return -EINVAL
            elif minor:
                return -EINVAL
            if vma.flags[0] & VM_SEALED != 0:
                return -EPERM
            ret = 0
    return ret


@milestone
def userfaultfd_unregister(mm: Mm, start: Va, length: Pgoff, low: Va, high: VaEnd) -> Errno:
    """userfaultfd_unregister() (fs/userfaultfd.c, Linux 6.12): 0, registered or not; -EINVAL as `userfaultfd_register`."""
    mm.mmap_lock.write_lock()
    ret = unregister_problem(mm, start, start + length)
    if ret == 0:
        clear_range(mm, start, start + length, True, low, high)
    with atomic:
        vmas_changed(mm, start, start + length)
        mm.mmap_lock.write_unlock()
    return ret


@atomic
def unregister_problem(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """The checks of userfaultfd_unregister() (fs/userfaultfd.c, Linux 6.12)."""
    ret: Errno = -EINVAL
    for va in range(start, end):
        vma = mm.mm_mt[va]
        if vma is not None:
            file = vma.vm_file
            if file is not None:
                if not vma_can_userfault(file):
                    return -EINVAL
            ret = 0
    return ret


def clear_range(mm: Mm, start: Va, end: VaEnd, wakes: bool, low: Va, high: VaEnd) -> None:
    """The loops of userfaultfd_unregister() and userfaultfd_release_all(), userfaultfd_clear_vma() (fs/userfaultfd.c, mm/userfaultfd.c, Linux
    6.12). The mmap lock is held for writing."""
    at: VaEnd = start
    while at < end:
        with atomic:
            first: VaEnd = at
            while first < end and not is_registered(mm.mm_mt[first]):
                first += 1
            at = end
            protects = False
            if first < end:
                vma = mm.mm_mt[first]
                assert vma is not None
                at = min(vma.vm_end, end)
                protects = userfaultfd_wp(vma)
                if wakes and (userfaultfd_missing(vma) or userfaultfd_minor(vma)):
                    wake_userfault(mm.userfaultfd[0], first, at)
        if first < end:
            if protects:
                uffd_wp_range(mm, first, at, False)
            with atomic:
                vma = mm.mm_mt[first]
                assert vma is not None
                vma_modify_flags(vma, first, at, vma.write, vma.flags[0] & (255 - VM_UFFD_FLAGS), low, high)


def userfaultfd_wake(mm: Mm, start: Va, length: Pgoff) -> Errno:
    """userfaultfd_wake() (fs/userfaultfd.c, Linux 6.12): who waits for these pages tries again."""
    wake_userfault(mm.userfaultfd[0], start, start + length)
    return 0


def fill(mm: Mm, va: Va, value: Char, mode: Flags) -> Errno:
    """What userfaultfd_copy(), userfaultfd_zeropage(), userfaultfd_continue() and userfaultfd_poison() (fs/userfaultfd.c, Linux 6.12) share, of one page: fill it, and wake who waits for it. As
    `mfill_atomic`."""
    if mm.userfaultfd[0].mmap_changing > 0:
        return -EAGAIN
    ret = mfill_atomic(mm, va, value, mode)
    if ret == 0:
        wake_userfault(mm.userfaultfd[0], va, va + 1)
    return ret


@milestone
def userfaultfd_copy(mm: Mm, va: Va, value: Char) -> Errno:
    """userfaultfd_copy() (fs/userfaultfd.c, Linux 6.12), of one page: fill it with a character."""
    return fill(mm, va, value, MFILL_ATOMIC_COPY)


@milestone
def userfaultfd_copy_wp(mm: Mm, va: Va, value: Char) -> Errno:
    """userfaultfd_copy() with UFFDIO_COPY_MODE_WP (fs/userfaultfd.c, Linux 6.12): it is write-protected."""
    return fill(mm, va, value, MFILL_ATOMIC_COPY | MFILL_ATOMIC_WP)


@milestone
def userfaultfd_zeropage(mm: Mm, va: Va) -> Errno:
    """userfaultfd_zeropage() (fs/userfaultfd.c, Linux 6.12), of one page."""
    return fill(mm, va, 0, MFILL_ATOMIC_ZEROPAGE)


@milestone
def userfaultfd_continue(mm: Mm, va: Va) -> Errno:
    """userfaultfd_continue() (fs/userfaultfd.c, Linux 6.12), of one page: map what the file has."""
    return fill(mm, va, 0, MFILL_ATOMIC_CONTINUE)


@milestone
def userfaultfd_continue_wp(mm: Mm, va: Va) -> Errno:
    """userfaultfd_continue() with UFFDIO_CONTINUE_MODE_WP (fs/userfaultfd.c, Linux 6.12): it is write-protected."""
    return fill(mm, va, 0, MFILL_ATOMIC_CONTINUE | MFILL_ATOMIC_WP)


@milestone
def userfaultfd_poison(mm: Mm, va: Va) -> Errno:
    """userfaultfd_poison() (fs/userfaultfd.c, Linux 6.12), of one page: nobody can access it any more, and who waits for it hears so."""
    return fill(mm, va, 0, MFILL_ATOMIC_POISON)


@milestone
def userfaultfd_move(mm: Mm, dst: Va, src: Va) -> Errno:
    """userfaultfd_move() (fs/userfaultfd.c, Linux 6.12), of one page: it is taken from `src`, and who waits for `dst` goes on. As `move_pages`."""
    if mm.userfaultfd[0].mmap_changing > 0:
        return -EAGAIN
    ret = move_pages(mm, dst, src)
    if ret == 0:
        wake_userfault(mm.userfaultfd[0], dst, dst + 1)
    return ret


@milestone
def userfaultfd_writeprotect(mm: Mm, start: Va, length: Pgoff, protect: bool) -> Errno:
    """userfaultfd_writeprotect() (fs/userfaultfd.c, Linux 6.12): write-protect, or no more, and then wake who waits."""
    if mm.userfaultfd[0].mmap_changing > 0:
        return -EAGAIN
    ret = mwriteprotect_range(mm, start, start + length, protect)
    if ret == 0 and not protect:
        wake_userfault(mm.userfaultfd[0], start, start + length)
    return ret


@milestone
def userfaultfd_release(mm: Mm) -> None:
    """userfaultfd_release(), userfaultfd_release_all() (fs/userfaultfd.c, mm/userfaultfd.c, Linux 6.12): the file descriptor is closed. Nothing is
    registered any more, and nobody waits."""
    mm.userfaultfd[0].released = True
    mm.mmap_lock.write_lock()
    clear_range(mm, 0, len(mm.ptes), False, 0, len(mm.ptes))
    mm.mmap_lock.write_unlock()
    wake_userfault(mm.userfaultfd[0], 0, len(mm.ptes))
