"""mprotect: permissions go at once where pages are, and where they may never be given they are not."""

from __future__ import annotations

from linux_world import A, B, Mirror, free_frames, load, mirror_of, search, world

from secondsight.lang import atomic, require
from secondsight.linux import EBUSY, EFAULT, EPERM, SIGSEGV
from secondsight.linux.errno import EACCES, ENOMEM
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import FOLL_PIN, pin_user_pages_fast
from secondsight.linux.memfd import memfd_add_seals, memfd_create
from secondsight.linux.mm_flags import MAP_SEALS_LATE
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.shmem import F_SEAL_FUTURE_WRITE, F_SEAL_WRITE


def test_what_may_not_be_written_is_not_and_may_be_read() -> None:
    with world(pages=4) as (_, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        cpu_write(mm, 1, A)
        cpu_read(mm, 2)
        assert do_mprotect_pkey(mm, 0, 3, False, 0, 3) == 0
        assert [cpu_write(mm, va, B) for va in range(3)] == [-SIGSEGV] * 3
        assert [cpu_read(mm, va) for va in range(3)] == [0, A, 0]
        assert do_mprotect_pkey(mm, 0, 3, True, 0, 3) == 0
        assert mm.ptes[1].writable and not mm.ptes[2].writable  # the process's own page at once; never the zero page
        assert mm.ptes[2].frame is frames[ZERO_PFN]
        assert [cpu_write(mm, va, B) for va in range(3)] == [0] * 3
        assert [cpu_read(mm, va) for va in range(3)] == [B] * 3


def test_entries_of_a_file_become_writable_at_once() -> None:
    with world(files=1, file_pages=2) as (_, mm):
        do_mmap(mm, 0, 2, memfd_create(2, 0), 0, True)
        cpu_read(mm, 0)
        do_mprotect_pkey(mm, 0, 2, False, 0, 2)
        assert not mm.ptes[0].writable
        do_mprotect_pkey(mm, 0, 2, True, 0, 2)
        assert mm.ptes[0].writable


def test_it_is_done_up_to_the_first_page_that_is_not_mapped() -> None:
    with world(pages=4) as (_, mm):
        do_mmap(mm, 0, 4, None, 0, True)
        vm_munmap(mm, 1, 1)
        assert do_mprotect_pkey(mm, 0, 4, False, 0, 4) == -ENOMEM
        assert do_mprotect_pkey(mm, 1, 2, False, 0, 4) == -ENOMEM
        assert [cpu_write(mm, va, A) for va in (0, 2, 3)] == [-SIGSEGV, 0, 0]


def test_what_was_mapped_from_a_sealed_file_is_never_written() -> None:
    """VM_MAYWRITE: of a mapping for reading that was there before the seal it is there, and so the file may not be sealed for good."""
    for seal in (F_SEAL_WRITE, F_SEAL_FUTURE_WRITE):
        with world(files=1, file_pages=2, vma_flags=1) as (_, mm):
            file = memfd_create(2, 0)
            do_mmap(mm, 0, 1, file, 0, False)
            assert memfd_add_seals(file, F_SEAL_WRITE) == -EBUSY
            vm_munmap(mm, 0, 1)
            assert memfd_add_seals(file, seal) == 0
            assert do_mmap(mm, 0, 2, file, 0, True) == -EPERM
            assert do_mmap(mm, 0, 2, file, 0, False) == 0
            assert do_mprotect_pkey(mm, 0, 1, True, 0, 2) == -EACCES
            assert cpu_write(mm, 0, A) == -SIGSEGV
            assert memfd_add_seals(file, F_SEAL_WRITE) == 0
            assert file.i_mmap_writable == 0
            assert do_mmap_fixed(mm, 0, 2, file, 0, False, MAP_SEALS_LATE) == 0  # older releases too


def test_a_sealed_mapping_does_not_merge_with_one_that_is_not() -> None:
    with world(files=1, file_pages=2, vma_flags=1) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, False)
        memfd_add_seals(file, F_SEAL_FUTURE_WRITE)
        do_mmap_fixed(mm, 1, 1, file, 1, False, 0, 0, 2)
        assert mm.mm_mt[0] is not mm.mm_mt[1]
        assert do_mprotect_pkey(mm, 0, 2, True, 0, 2) == -EACCES
        assert [cpu_write(mm, va, A) for va in (0, 1)] == [0, -SIGSEGV]
        vm_munmap(mm, 0, 2)
        do_mmap(mm, 0, 1, None, 0, True)
        assert do_mprotect_pkey(mm, 0, 1, True, 0, 2) == 0  # a vma that is used again has no flags of before


def test_what_is_forbidden_is_there_and_is_not_found() -> None:
    """PROT_NONE: the entry keeps its page, and neither a CPU, a device nor a pin comes to it."""
    with world({Mirror: 1}, pages=3, vma_flags=1, prot_none=1) as (machine, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_read(mm, 1)
        page, before = mm.ptes[0].frame, free_frames()
        mirror = mirror_of(machine, mm)
        assert mirror.map_page(0, False) == 0 and load(mirror, 0) == A
        assert do_mprotect_pkey(mm, 0, 3, False, 0, 3, True) == 0
        assert load(mirror, 0) == -1
        assert [cpu_read(mm, va) for va in range(3)] == [-SIGSEGV] * 3
        assert mirror.map_page(0, False) == -EFAULT
        assert pin_user_pages_fast(mm, 0, FOLL_PIN) == -EFAULT
        assert mm.ptes[0].frame is page and free_frames() == before
        assert do_mprotect_pkey(mm, 0, 2, False, 0, 3) == 0
        assert (cpu_read(mm, 0), cpu_write(mm, 0, B), cpu_read(mm, 1), cpu_read(mm, 2)) == (A, -SIGSEGV, 0, -SIGSEGV)
        assert mm.mm_mt[1] is not mm.mm_mt[2]
        assert do_mprotect_pkey(mm, 0, 3, True, 0, 3) == 0
        assert mm.mm_mt[0] is mm.mm_mt[2] and cpu_write(mm, 2, B) == 0
        do_mprotect_pkey(mm, 0, 3, False, 0, 3, True)
        vm_munmap(mm, 0, 3)
        assert free_frames() == before + 1
        do_mmap(mm, 0, 3, None, 0, True)
        assert cpu_read(mm, 0) == 0


def test_subscribers_are_called_once_for_each_vma_that_changes() -> None:
    with world({Mirror: 1}, pages=4) as (machine, mm):
        do_mmap(mm, 0, 4, None, 0, True)
        mirror = mirror_of(machine, mm)

        def calls_of(start: int, length: int, write: bool) -> int:
            before = mirror.calls
            do_mprotect_pkey(mm, start, length, write, 0, 4)
            return int(mirror.calls - before)

        assert calls_of(1, 1, False) == 1
        assert calls_of(0, 3, False) == 2  # the vmas of pages 0 and 2, which then are one with page 1's
        assert mm.mm_mt[0] is mm.mm_mt[2] and mm.mm_mt[2] is not mm.mm_mt[3]
        assert calls_of(0, 3, False) == 0
        assert calls_of(0, 4, True) == 1
        assert mm.mm_mt[0] is mm.mm_mt[3]


def test_a_write_beside_it_comes_before_or_is_refused() -> None:
    """The CPU's own store, in every interleaving: an entry is never left writable in a vma that may not be written."""

    with world() as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)

        def protects(mm: Mm) -> None:
            do_mprotect_pkey(mm, 0, 1, False, 0, 2)
            with atomic:
                vma = mm.mm_mt[0]
                require(vma is not None and not vma.write and not mm.ptes[0].writable, "read-only", "it can still be written")

        def writes(mm: Mm) -> None:
            ret = cpu_write(mm, 0, B)
            require(ret == 0 or ret == -SIGSEGV, "write", "another error")

        found = search(machine, (protects, (mm,)), (writes, (mm,)))
        assert found.violation is None
        assert found.states > 10
