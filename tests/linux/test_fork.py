"""Pages that are copied on write: of private mappings of files, and after a fork. Whatever is done, each process reads its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linux_world import A, B, C, Mirror, free_frames, mirror_of, search, world

from secondsight.lang import atomic, require
from secondsight.linux import EINVAL, SIGSEGV
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, pin_user_pages_fast, try_grab_folio, unpin_folio, unpin_user_page
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_add_seals, memfd_create
from secondsight.linux.mm_flags import MAP_PRIVATE
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import ZERO_PFN, frames, get_page, put_page
from secondsight.linux.shmem import F_SEAL_SHRINK, F_SEAL_WRITE, shmem_fallocate_punch_hole, shmem_files
from secondsight.linux.udmabuf import udmabuf_create, udmabufs

SIZES = {"pages": 4, "frames": 12, "mms": 2, "vmas": 8, "files": 1, "file_pages": 2, "vma_flags": 1, "prot_none": 1, "cow": 1}


def private(mm: Mm, va: int, length: int, file: object, pgoff: int) -> int:
    return int(do_mmap(mm, va, length, file, pgoff, True, MAP_PRIVATE))  # type: ignore[arg-type]


def test_a_private_mapping_reads_the_file_until_it_writes() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        assert private(mm, 2, 2, file, 0) == 2
        cpu_write(mm, 0, A)
        assert cpu_read(mm, 2) == A and not mm.ptes[2].writable and mm.ptes[2].frame is mm.ptes[0].frame
        cpu_write(mm, 0, B)
        assert cpu_read(mm, 2) == B
        cpu_write(mm, 2, C)  # do_wp_page(): the file's page is mapped
        cpu_write(mm, 3, C)  # do_cow_fault(): nothing is
        assert [cpu_read(mm, va) for va in range(4)] == [B, 0, C, C]
        shmem_fallocate_punch_hole(file, 0, 2)
        assert [cpu_read(mm, va) for va in range(4)] == [0, 0, C, C]
        madvise_dontneed(mm, 2, 2)
        assert [cpu_read(mm, va) for va in (2, 3)] == [0, 0]


def test_a_private_mapping_needs_no_permission_of_the_file() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(1, 0)
        assert private(mm, 0, 1, file, 0) == 0
        assert memfd_add_seals(file, F_SEAL_WRITE) == 0  # it is no writable mapping of the file
        assert private(mm, 1, 1, file, 0) == 1
        assert cpu_write(mm, 1, A) == 0 and cpu_read(mm, 0) == 0
        assert file.i_mmap_writable == 0
        assert mm.mm_mt[0] is not mm.mm_mt[1]
        do_mprotect_pkey(mm, 1, 1, False, 1, 2)
        do_mprotect_pkey(mm, 1, 1, True, 1, 2)
        assert mm.ptes[1].writable  # its own page, at once
        assert do_mmap_fixed(mm, 1, 1, file, 0, False, MAP_PRIVATE, 0, 2) == 1
        assert do_mprotect_pkey(mm, 1, 1, True, 1, 2) == 0 and not mm.ptes[1].writable


def test_a_buffer_is_not_mapped_privately() -> None:
    with world(**SIZES, udmabufs=1, dmabuf_pages=2) as (_, mm):
        buf = udmabufs[udmabuf_create(memfd_create(2, F_SEAL_SHRINK), 0, 2)]
        do_mmap(mm, 0, 1, None, 0, True)
        assert private(mm, 1, 1, buf, 0) == -EINVAL
        assert do_mmap_fixed(mm, 0, 1, buf, 0, True, MAP_PRIVATE) == -EINVAL
        assert cpu_read(mm, 0) == -SIGSEGV


def test_parent_and_child_share_until_one_writes() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_read(mm, 1)
        child = mm_alloc()
        dup_mmap(child, mm)
        shared = mm.ptes[0].frame
        assert shared is not None and child.ptes[0].frame is shared and shared.refcount == 2
        assert not mm.ptes[0].writable and not child.ptes[0].writable
        assert child.ptes[1].frame is frames[ZERO_PFN]
        cpu_write(mm, 0, B)
        assert mm.ptes[0].frame is not shared and shared.refcount == 1
        assert (cpu_read(mm, 0), cpu_read(child, 0)) == (B, A)
        before = free_frames()
        cpu_write(child, 0, C)  # nobody else has it now: wp_can_reuse_anon_folio()
        assert child.ptes[0].frame is shared and free_frames() == before
        exit_mm(child)
        assert cpu_read(mm, 0) == B


def test_permission_comes_back_only_for_a_page_of_ones_own() -> None:
    """can_change_pte_writable(): what a child shares stays read-only, though its vma may be written."""
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        do_mprotect_pkey(mm, 0, 1, False, 0, 1)
        child = mm_alloc()
        dup_mmap(child, mm)
        do_mprotect_pkey(mm, 0, 1, True, 0, 1)
        assert not mm.ptes[0].writable
        assert cpu_write(mm, 0, B) == 0 and mm.ptes[0].writable
        assert cpu_read(child, 0) == A and cpu_write(child, 0, B) == -SIGSEGV


@pytest.mark.parametrize("pinned", [True, False])
def test_a_pinned_page_stays_the_parents_and_one_that_is_only_held_does_not(pinned: bool) -> None:
    """The fork of the 2011 thread: who holds a reference alone (get_user_pages()) goes on writing into a page that the parent leaves
    to the child. A pin (pin_user_pages()) keeps it the parent's."""
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        page = mm.ptes[0].frame
        assert page is not None
        (try_grab_folio if pinned else get_page)(page)
        child = mm_alloc()
        dup_mmap(child, mm)
        cpu_write(mm, 0, B)
        page.contents = C  # by DMA
        assert (mm.ptes[0].frame is page) == pinned
        assert (cpu_read(mm, 0), cpu_read(child, 0)) == ((C, A) if pinned else (B, C))
        (unpin_folio if pinned else put_page)(page)


def test_what_others_share_is_pinned_only_as_a_page_of_ones_own() -> None:
    """gup_must_unshare(): else a write of the process would leave the device with the other's page."""
    with world(**SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        private(mm, 2, 2, file, 0)
        cpu_read(mm, 2)
        dup_mmap(mm_alloc(), mm)
        for va, flags, moves in ((0, FOLL_PIN, True), (0, FOLL_PIN, False), (1, FOLL_PIN, False), (2, FOLL_PIN, False), (2, FOLL_PIN | FOLL_LONGTERM, True)):
            before = mm.ptes[va].frame
            pinned = frames[pin_user_pages_fast(mm, va, flags)]
            assert pinned is mm.ptes[va].frame
            assert (before is not None and pinned is not before) == moves
            unpin_user_page(pinned)


def test_subscribers_of_the_parent_are_called_for_private_memory_alone() -> None:
    with world({Mirror: 1}, **SIZES) as (machine, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 1, None, 0, True)
        do_mmap(mm, 1, 1, file, 0, True)
        private(mm, 2, 1, file, 0)
        cpu_write(mm, 1, A)
        mirror = mirror_of(machine, mm)
        child = mm_alloc()
        dup_mmap(child, mm)
        assert mirror.calls == 2
        assert child.ptes[1].frame is None and cpu_read(child, 1) == A
        cpu_write(child, 1, B)
        assert cpu_read(mm, 1) == B
        first = file.i_mmap
        assert first is not None and first.shared is not None
        assert first is mm.mm_mt[1] and first.shared is child.mm_mt[1]  # the child's comes behind its parent's


CALLS = st.one_of(
    st.tuples(st.sampled_from(["anonymous", "shared", "private"]), st.integers(0, 1), st.integers(0, 3), st.integers(0, 1)),
    st.tuples(st.sampled_from(["munmap", "read", "dontneed", "read-only", "writable", "none"]), st.integers(0, 1), st.integers(0, 3)),
    st.tuples(st.just("write"), st.integers(0, 1), st.integers(0, 3), st.integers(1, 100)),
    st.tuples(st.just("punch"), st.integers(0, 1)),
    st.tuples(st.just("fork"), st.just(0)),
)


class Process:
    """What a process reads: for each page what is mapped there, whether it may write, and what it has written of private memory."""

    def __init__(self) -> None:
        self.at: dict[int, tuple[str, int]] = {}
        self.own: dict[int, int] = {}
        self.allows: dict[int, str] = {}

    def take(self, other: Process) -> None:
        self.at, self.own, self.allows = dict(other.at), dict(other.own), dict(other.allows)


@settings(max_examples=150, deadline=None)
@given(st.lists(CALLS, max_size=20))
def test_each_process_reads_its_own(calls: list[tuple[str, int, int, int]]) -> None:
    """A second telling: whatever is done, pages read as a user thinks, and every reference is accounted for."""
    processes, content = [Process(), Process()], {0: 0, 1: 0}
    with world(**(SIZES | {"frames": 16})) as (_, parent):
        file, spaces, forked = memfd_create(2, 0), [parent, mm_alloc()], False
        for what, number, *rest in calls:
            mm, process, va = spaces[number], processes[number], rest[0] if rest else 0
            if what in ("anonymous", "shared", "private"):
                if va not in process.at:
                    do_mmap(mm, va, 1, None if what == "anonymous" else file, rest[1], True, MAP_PRIVATE if what == "private" else 0)
                    process.at[va] = (what, rest[1])
            elif what == "munmap":
                vm_munmap(mm, va, 1)
                process.at.pop(va, None)
                process.own.pop(va, None)
                process.allows.pop(va, None)
            elif what == "dontneed":
                if madvise_dontneed(mm, va, 1) == 0:
                    process.own.pop(va, None)
            elif what in ("read-only", "writable", "none"):
                if do_mprotect_pkey(mm, va, 1, what == "writable", 0, 4, what == "none") == 0:
                    process.allows[va] = what
            elif what == "punch":
                shmem_fallocate_punch_hole(file, number, 1)
                content[number] = 0
            elif what == "fork":
                if not forked and not processes[1].at:
                    dup_mmap(spaces[1], parent)
                    processes[1].take(processes[0])
                    forked = True
            elif what == "write":
                kind, page = process.at.get(va, ("", 0))
                fails = not kind or process.allows.get(va) in ("read-only", "none")
                assert cpu_write(mm, va, rest[1]) == (-SIGSEGV if fails else 0)
                if not fails:
                    if kind == "shared":
                        content[page] = rest[1]
                    else:
                        process.own[va] = rest[1]
            else:
                kind, page = process.at.get(va, ("", 0))
                nothing = 0 if kind == "anonymous" else content[page]
                expected = -SIGSEGV if not kind or process.allows.get(va) == "none" else content[page] if kind == "shared" else process.own.get(va, nothing)
                assert cpu_read(mm, va) == expected
            check_references(spaces)


def check_references(spaces: list[Mm]) -> None:
    """Each page has the references that entries and the file hold; none that may be written privately is anybody else's."""
    for pfn in range(1, len(frames)):
        frame = frames[pfn]
        entries = [mm.ptes[va] for mm in spaces for va in range(4) if mm.ptes[va].frame is frame]
        cached = sum(page is frame for page in shmem_files[0].pages)
        assert frame.refcount == len(entries) + cached
        if not cached:
            assert len(entries) < 2 or not any(pte.writable for pte in entries)


def test_a_write_beside_a_fork_is_in_both_or_in_the_parent_alone() -> None:
    """In every interleaving; and the child never sees what is written after it came."""
    with world(**SIZES) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        child = mm_alloc()

        def forks(mm: Mm, child: Mm) -> None:
            dup_mmap(child, mm)
            cpu_write(mm, 0, C)
            read = cpu_read(child, 0)
            require(read in (A, B), "child", "it sees what came later")

        def writes(mm: Mm) -> None:
            cpu_write(mm, 0, B)
            with atomic:
                pte = mm.ptes[0]
                require(pte.frame is not None, "there", "the page is gone")

        found = search(machine, (forks, (mm, child)), (writes, (mm,)))
        assert found.violation is None, found.violation
        assert found.states > 50
