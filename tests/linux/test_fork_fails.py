"""A fork that fails: a page is a device's alone, and locked by its driver."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import A, B, Mirror, free_frames, mirror_of, search, world

from secondsight.lang import Machine, atomic, require
from secondsight.linux import ENOMEM
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc, vm_area_cache, vmas
from secondsight.linux.fork_dup import dup_mm
from secondsight.linux.mm_flags import VM_UFFD_MISSING
from secondsight.linux.mm_types import Mm, PteKind, UserfaultfdCtx
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import frames
from secondsight.linux.pgtable import pte_none
from secondsight.linux.rmap_exclusive import make_device_exclusive_range, unlock_and_put
from secondsight.linux.userfaultfd import is_registered
from secondsight.linux.userfaultfd_ioctl import new_userfaultfd, userfaultfd_register

SIZES = {"pages": 4, "frames": 8, "mms": 2, "vmas": 8, "files": 1, "file_pages": 2, "vma_flags": 1, "prot_none": 1, "cow": 1, "owners": 1, "subscribers": 1}


@contextmanager
def forking(**more: int) -> Iterator[tuple[Machine, Mm, Mm]]:
    """A process with two mappings, and a child that is to be."""
    with world({Mirror: 1}, **(SIZES | more)) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        do_mmap(mm, 3, 1, None, 0, True)
        for va in (0, 1, 3):
            cpu_write(mm, va, A)
        yield machine, mm, mm_alloc()


def marked(mm: Mm, va: int) -> int:
    """A page that is a device's alone, and locked."""
    with mm.mmap_lock.reading():
        pfn = make_device_exclusive_range(mm, va, None)
    assert pfn >= 0 and frames[pfn].locked
    return int(pfn)


def free_vmas() -> int:
    """How many vmas nobody has."""
    count, vma = 0, vm_area_cache.free
    while vma is not None:
        count, vma = count + 1, vma.next
    return count


@pytest.mark.parametrize("at", [0, 1, 3])
def test_nothing_is_left_of_the_child_and_the_parent_goes_on(at: int) -> None:
    """Of what was copied before the parent's entries may not be written until somebody writes; what comes behind was not looked at."""
    with forking() as (machine, mm, child):
        mirror = mirror_of(machine, mm)
        pfn, free, unused = marked(mm, at), free_frames(), free_vmas()
        calls = mirror.calls
        assert dup_mm(child, mm) == -ENOMEM
        assert child.users == 0 and all(pte_none(pte) for pte in child.ptes) and all(vma is None for vma in child.mm_mt)
        assert free_frames() == free and free_vmas() == unused
        assert mirror.calls == calls + (2 if at == 3 else 1)  # copy_page_range() of each vma that it came to
        assert [mm.ptes[va].writable for va in (0, 1, 3) if va != at] == [va > at for va in (0, 1, 3) if va != at]
        assert mm.ptes[at].kind == PteKind.DEVICE_EXCLUSIVE and frames[pfn].refcount == 2
        with mm.mmap_lock.writing():
            pass
        unlock_and_put(pfn)
        before = [mm.ptes[va].frame for va in (0, 1, 3)]
        assert [(cpu_write(mm, va, B), cpu_read(mm, va)) for va in (0, 1, 3)] == [(0, B)] * 3
        assert [mm.ptes[va].frame for va in (0, 1, 3)] == before  # no child has them


def test_what_is_a_devices_alone_and_not_locked_is_copied() -> None:
    with forking() as (_, mm, child):
        unlock_and_put(marked(mm, 1))
        assert dup_mm(child, mm) == 0
        assert mm.ptes[1].kind == child.ptes[1].kind == PteKind.PRESENT and cpu_read(child, 1) == A


def test_nobody_hears_of_a_child_that_did_not_come_to_be() -> None:
    """dup_userfaultfd_fail(): who forked waits for no message, and pages are filled again."""
    with forking(userfaultfd=1, userfaults=1) as (_, mm, child):
        new_userfaultfd(mm, False, True, True)
        ctx: UserfaultfdCtx = mm.userfaultfd[0]
        assert userfaultfd_register(mm, 0, 2, VM_UFFD_MISSING, 0, 4) == 0 and any(is_registered(vma) for vma in mm.mm_mt)
        marked(mm, 3)
        assert dup_mm(child, mm) == -ENOMEM
        assert ctx.mmap_changing == 0 and not child.userfaultfd[0].opened


def test_beside_a_device_that_takes_the_page_and_keeps_it_a_while() -> None:
    """In every interleaving the parent reads its own, and there is a child or none."""
    with forking() as (machine, mm, child):

        def forks(mm: Mm, child: Mm) -> None:
            error = dup_mm(child, mm)
            seen = cpu_read(mm, 0)
            require(seen == A, "parent", "it reads what it has not written")
            with atomic:
                there = child.mm_mt[0] is not None
                require((error == 0) == there, "whole", "there is a part of a child")
                require(error != 0 or child.ptes[0].frame is not None, "copied", "the page is not the child's")

        def takes(mm: Mm) -> None:
            mm.mmap_lock.read_lock()
            pfn = make_device_exclusive_range(mm, 0, None)
            mm.mmap_lock.read_unlock()
            if pfn >= 0:
                unlock_and_put(pfn)

        found = search(machine, (forks, (mm, child)), (takes, (mm,)))
        assert found.violation is None and found.error is None, found.violation
        assert len(vmas) == 8
