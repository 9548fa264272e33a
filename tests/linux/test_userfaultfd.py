"""Userfaultfd: faults and changes that user space is told of, one example a fact, then under search."""

from __future__ import annotations

from linux_world import A, B, world

from secondsight.linux import EAGAIN, EEXIST, EFAULT, EINVAL, ENOENT, SIGBUS
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import VM_UFFD_MISSING, VM_UFFD_WP, Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.userfaultfd_ioctl import (
    new_userfaultfd,
    userfaultfd_copy,
    userfaultfd_register,
    userfaultfd_release,
    userfaultfd_unregister,
    userfaultfd_writeprotect,
    userfaultfd_zeropage,
)

SIZES = {"pages": 4, "frames": 8, "vmas": 6, "files": 1, "file_pages": 2, "vma_flags": 1, "userfaultfd": 1, "userfaults": 3}


def register(mm: Mm, start: int, length: int, modes: int) -> int:
    return int(userfaultfd_register(mm, start, length, modes, 0, 4))


def test_missing_pages_are_filled_by_user_space() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        new_userfaultfd(mm, True, False)
        assert cpu_write(mm, 0, A) == 0
        assert register(mm, 3, 1, VM_UFFD_MISSING) == -EINVAL
        assert register(mm, 0, 2, VM_UFFD_MISSING) == 0 and mm.mm_mt[1] is not mm.mm_mt[2]
        assert cpu_read(mm, 0) == A and cpu_read(mm, 1) == -SIGBUS and cpu_write(mm, 1, A) == -SIGBUS
        assert [userfaultfd_copy(mm, va, B) for va in range(4)] == [-EEXIST, 0, -ENOENT, -ENOENT]
        assert cpu_read(mm, 1) == B and cpu_write(mm, 1, A) == 0
        assert userfaultfd_unregister(mm, 0, 2, 0, 4) == 0 and mm.mm_mt[1] is mm.mm_mt[2]
        assert userfaultfd_zeropage(mm, 2) == -ENOENT and cpu_read(mm, 2) == 0


def test_of_a_memfd_only_holes_are_missing() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 3, file, 0, True)
        assert cpu_write(mm, 0, A) == 0
        new_userfaultfd(mm, True, False)
        register(mm, 0, 3, VM_UFFD_MISSING)
        do_mmap(mm, 3, 1, file, 0, True)
        assert cpu_read(mm, 0) == A and cpu_read(mm, 1) == -SIGBUS and cpu_read(mm, 3) == A
        assert [userfaultfd_copy(mm, va, B) for va in range(3)] == [-EEXIST, 0, -EFAULT]
        assert file.pages[1] is not None and cpu_read(mm, 1) == B


def test_write_protected_pages() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        new_userfaultfd(mm, True, False)
        assert userfaultfd_writeprotect(mm, 0, 2, True) == -ENOENT
        register(mm, 0, 2, VM_UFFD_WP)
        assert userfaultfd_writeprotect(mm, 0, 2, True) == 0
        assert cpu_read(mm, 0) == A and cpu_write(mm, 0, B) == -SIGBUS
        assert cpu_write(mm, 1, B) == 0  # it was not there: not protected
        do_mprotect_pkey(mm, 0, 1, False, 0, 2)
        do_mprotect_pkey(mm, 0, 1, True, 0, 2)
        assert cpu_write(mm, 0, B) == -SIGBUS
        assert userfaultfd_writeprotect(mm, 0, 2, False) == 0 and mm.ptes[0].writable and cpu_write(mm, 0, B) == 0
        userfaultfd_writeprotect(mm, 0, 1, True)
        userfaultfd_release(mm)
        assert mm.ptes[0].writable and userfaultfd_copy(mm, 0, A) == -ENOENT and EAGAIN
