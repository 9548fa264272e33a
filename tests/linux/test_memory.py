"""Faults, zaps and what becomes of frames, by hand."""

from __future__ import annotations

import pytest
from linux_world import A, B, free_frames, world

from secondsight.lang import ModelError, RuleBroken
from secondsight.linux import EEXIST, EINVAL, ENOMEM, SIGBUS, SIGSEGV
from secondsight.linux.dma_buf import dma_buf_mmap
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mmap import do_mmap, get_unmapped_area, vm_munmap
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames, get_page, put_page
from secondsight.linux.sched_mm import mmget_not_zero
from secondsight.linux.shmem import F_SEAL_SHRINK
from secondsight.linux.udmabuf import udmabuf_create, udmabufs


def test_the_frame_freed_last_is_allocated_next() -> None:
    with world(frames=4):
        first, second = alloc_page(), alloc_page()
        put_page(first)
        put_page(second)
        assert alloc_page() is second
        assert alloc_page() is first


def test_a_freed_frame_keeps_its_contents_and_a_new_one_is_zeroed() -> None:
    with world(frames=4):
        frame = alloc_page()
        frame.contents = A
        put_page(frame)
        assert frame.contents == A
        assert alloc_page().contents == 0


def test_running_out_of_frames_names_the_bound() -> None:
    with world(frames=2), pytest.raises(ModelError, match="frames="):
        alloc_page()
        alloc_page()


def test_reading_anonymous_memory_maps_the_zero_page_and_writing_replaces_it() -> None:
    with world() as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        assert cpu_read(mm, 0) == 0
        assert mm.ptes[0].frame is frames[ZERO_PFN]
        assert not mm.ptes[0].writable
        assert cpu_write(mm, 0, A) == 0
        assert mm.ptes[0].frame is not frames[ZERO_PFN]
        assert cpu_read(mm, 0) == A
        assert cpu_read(mm, 1) == 0


def test_nothing_mapped_is_a_segmentation_fault() -> None:
    with world() as (_, mm):
        assert cpu_read(mm, 0) == -SIGSEGV
        do_mmap(mm, 0, 1, None, 0, False)
        assert cpu_read(mm, 0) == 0
        assert cpu_write(mm, 0, A) == -SIGSEGV


def test_munmap_frees_and_a_new_mapping_starts_at_zero() -> None:
    with world() as (_, mm):
        before = free_frames()
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, B)
        assert free_frames() == before - 2
        assert vm_munmap(mm, 0, 2) == 0
        assert free_frames() == before
        assert cpu_read(mm, 0) == -SIGSEGV
        do_mmap(mm, 0, 1, None, 0, True)
        assert cpu_write(mm, 0, B) == 0
        assert cpu_read(mm, 0) == B


def test_munmap_of_nothing_succeeds() -> None:
    with world() as (_, mm):
        assert vm_munmap(mm, 0, 2) == 0


def test_mmap_refuses_what_is_taken_and_what_is_beyond() -> None:
    with world() as (_, mm):
        assert do_mmap(mm, 1, 1, None, 0, True) == 1
        assert do_mmap(mm, 0, 2, None, 0, True) == -EEXIST
        assert do_mmap(mm, 1, 2, None, 0, True) == -ENOMEM
        assert get_unmapped_area(mm, 1) == 0
        assert get_unmapped_area(mm, 2) == -ENOMEM


def test_dontneed_forgets_private_memory_and_not_a_files() -> None:
    with world(pages=3, files=1, file_pages=1, frames=5) as (_, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, None, 0, True)
        do_mmap(mm, 1, 1, file, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, B)
        assert madvise_dontneed(mm, 0, 2) == 0
        assert mm.ptes[0].frame is None
        assert mm.ptes[1].frame is None
        assert cpu_read(mm, 0) == 0
        assert cpu_read(mm, 1) == B
        assert madvise_dontneed(mm, 1, 2) == -ENOMEM


def test_dontneed_refuses_a_pfn_mapping() -> None:
    with world(pages=2, files=1, file_pages=1, udmabufs=1, dmabuf_pages=1) as (_, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        buf = udmabufs[udmabuf_create(file, 0, 1)]
        assert dma_buf_mmap(buf, mm, 0, 1, 0, True) == 0
        assert cpu_read(mm, 0) == 0
        assert madvise_dontneed(mm, 0, 1) == -EINVAL


def test_a_files_page_is_shared_and_lives_in_the_file() -> None:
    with world(pages=2, files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, file, 0, True)
        do_mmap(mm, 1, 1, file, 0, True)
        cpu_write(mm, 0, A)
        assert cpu_read(mm, 1) == A
        frame = mm.ptes[0].frame
        assert frame is not None
        assert frame.refcount == 3
        vm_munmap(mm, 0, 2)
        assert frame.refcount == 1
        assert file.pages[0] is frame


def test_beyond_the_end_of_a_file_is_a_bus_error() -> None:
    with world(pages=2, files=1, file_pages=2) as (_, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 2, file, 0, True)
        assert cpu_read(mm, 1) == -SIGBUS


def test_exit_leaves_nothing_behind() -> None:
    with world(pages=2, files=1, file_pages=1) as (_, mm):
        before = free_frames()
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, None, 0, True)
        do_mmap(mm, 1, 1, file, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, B)
        exit_mm(mm)
        assert free_frames() == before - 1  # the file keeps its page
        assert all(vma is None for vma in mm.mm_mt) and file.i_mmap is None
        assert all(pte.frame is None for pte in mm.ptes)
        assert not mmget_not_zero(mm)


def test_the_oom_reaper_takes_private_memory_only_and_it_does_not_come_back() -> None:
    with world(pages=2, files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, None, 0, True)
        do_mmap(mm, 1, 1, file, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, B)
        assert oom_reap_task_mm(mm)
        assert mm.ptes[0].frame is None
        assert cpu_read(mm, 0) == -SIGBUS
        assert cpu_read(mm, 1) == B


def test_a_reference_to_a_free_frame_breaks_a_rule() -> None:
    with world():
        frame = alloc_page()
        put_page(frame)
        with pytest.raises(RuleBroken, match="use-after-free"):
            get_page(frame)
        with pytest.raises(RuleBroken, match="use-after-free"):
            put_page(frame)
