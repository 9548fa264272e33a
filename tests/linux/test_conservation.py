"""Any sequence of calls: every reference is accounted for, and memory reads as a plain model of it says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from linux_world import world

from secondsight.linux import SIGBUS, SIGSEGV
from secondsight.linux.dma_buf import dma_buf_mmap
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.page_alloc import ZERO_PFN, frames, zone
from secondsight.linux.shmem import F_SEAL_SHRINK, shmem_fallocate_punch_hole, shmem_files
from secondsight.linux.udmabuf import udmabuf_create, udmabufs

PAGES, FILE_PAGES = 5, 2
VAS, OFFSETS = st.integers(0, PAGES - 1), st.integers(0, FILE_PAGES - 1)

CALLS = st.one_of(
    st.tuples(st.just("map private"), VAS),
    st.tuples(st.just("map file"), VAS, OFFSETS),
    st.tuples(st.just("map buffer"), VAS, OFFSETS),
    st.tuples(st.just("munmap"), VAS),
    st.tuples(st.just("read"), VAS),
    st.tuples(st.just("write"), VAS, st.integers(1, 100)),
    st.tuples(st.just("dontneed"), VAS),
    st.tuples(st.just("punch"), OFFSETS),
    st.tuples(st.just("create buffer")),
)


def check_references(mm: Mm) -> None:
    """Each frame's count is what holds it: counted entries, the file, the buffer's pins; and free means none."""
    for pfn in range(len(frames)):
        if pfn == ZERO_PFN:
            continue
        frame = frames[pfn]
        held = sum(mm.ptes[va].frame is frame and not mm.ptes[va].special for va in range(PAGES))
        held += sum(page is frame for page in shmem_files[0].pages)
        pins = sum(folio is frame for folio in udmabufs[0].folios)
        assert frame.pins == pins
        assert frame.refcount == held + pins
        free = [zone.free[i] for i in range(zone.nr_free)]
        assert (frame in free) == (frame.refcount == 0)
        assert not frame.locked
    assert mm.subscriptions.active_invalidate_ranges == 0


class Plain:
    """Memory as a user thinks of it: cells that addresses lead to."""

    def __init__(self) -> None:
        self.file: dict[int, list[int]] = {}
        self.buffer: list[list[int]] | None = None
        self.at: dict[int, tuple[str, int]] = {}
        self.private: dict[int, list[int]] = {}

    def page(self, offset: int) -> list[int]:
        return self.file.setdefault(offset, [0])

    def cell(self, va: int) -> list[int]:
        kind, offset = self.at[va]
        if kind == "file":
            return self.page(offset)
        if kind == "buffer":
            assert self.buffer is not None
            return self.buffer[offset]
        return self.private.setdefault(va, [0])


@settings(max_examples=300, deadline=None)
@given(st.lists(CALLS, max_size=25))
def test_references_and_contents(calls: list[tuple[str, int, int]]) -> None:
    plain = Plain()
    with world(pages=PAGES, frames=14, files=1, file_pages=FILE_PAGES, udmabufs=1, dmabuf_pages=FILE_PAGES) as (_, mm):
        file = memfd_create(FILE_PAGES, F_SEAL_SHRINK)
        for name, *args in calls:
            va = args[0] if args else 0
            if name == "map private":
                if do_mmap(mm, va, 1, None, 0, True) == va:
                    plain.at[va] = ("private", 0)
            elif name == "map file":
                if do_mmap(mm, va, 1, file, args[1], True) == va:
                    plain.at[va] = ("file", args[1])
            elif name == "map buffer":
                if plain.buffer is not None and dma_buf_mmap(udmabufs[0], mm, va, 1, args[1], True) == va:
                    plain.at[va] = ("buffer", args[1])
            elif name == "munmap":
                assert vm_munmap(mm, va, 1) == 0
                plain.at.pop(va, None)
                plain.private.pop(va, None)
            elif name == "read":
                assert cpu_read(mm, va) == (plain.cell(va)[0] if va in plain.at else -SIGSEGV)
            elif name == "write":
                answer = cpu_write(mm, va, args[1])
                assert answer == (0 if va in plain.at else -SIGSEGV)
                if va in plain.at:
                    plain.cell(va)[0] = args[1]
            elif name == "dontneed":
                if madvise_dontneed(mm, va, 1) == 0:
                    plain.private.pop(va, None)
            elif name == "punch":
                assert shmem_fallocate_punch_hole(file, args[0], 1) == 0
                plain.file.pop(args[0], None)
            elif name == "create buffer" and plain.buffer is None:
                assert udmabuf_create(file, 0, FILE_PAGES) == 0
                plain.buffer = [plain.page(offset) for offset in range(FILE_PAGES)]
            check_references(mm)
        exit_mm(mm)
        check_references(mm)
        assert cpu_read(mm, 0) in (-SIGSEGV, -SIGBUS)
