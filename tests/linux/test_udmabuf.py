"""udmabuf as the kernel's own selftest asks it (tools/testing/selftests/drivers/dma-buf/udmabuf.c), and dma-buf."""

from __future__ import annotations

import pytest
from linux_world import A, B, free_frames, world

from secondsight.lang import U8, RuleBroken
from secondsight.linux import EBADFD, EINVAL, SIGBUS
from secondsight.linux.dma_buf import (
    DmaBuf,
    DmaBufAttachment,
    attachments,
    dma_buf_attach,
    dma_buf_detach,
    dma_buf_dynamic_attach,
    dma_buf_map_attachment,
    dma_buf_mmap,
    dma_buf_move_notify,
    dma_buf_pin,
    dma_buf_unmap_attachment,
    dma_buf_vmap,
    dma_buf_vmap_load,
    dma_buf_vunmap,
    importer_read,
    importer_write,
)
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Driver
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.page_alloc import alloc_page, put_page
from secondsight.linux.shmem import (
    F_SEAL_FUTURE_WRITE,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    shmem_fallocate_punch_hole,
)
from secondsight.linux.udmabuf import (
    create_items,
    release_udmabuf,
    udmabuf_create,
    udmabuf_create_list,
    udmabuf_limits_write,
    udmabufs,
)

SIZES = {"files": 2, "file_pages": 3, "udmabufs": 1, "dmabuf_pages": 4, "create_items": 2, "pages": 6, "frames": 9}


@pytest.mark.parametrize(
    ("seals", "offset", "size", "answer"),
    [
        (F_SEAL_SHRINK, 0, 3, 0),
        (F_SEAL_SHRINK, 0, 0, -EINVAL),
        (0, 0, 3, -EINVAL),
        (F_SEAL_SHRINK | F_SEAL_WRITE, 0, 3, -EINVAL),
        (F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE, 0, 3, -EINVAL),
        (F_SEAL_SHRINK, 1, 3, -EINVAL),
    ],
)
def test_create_checks_seals_and_size(seals: int, offset: int, size: int, answer: int) -> None:
    with world(**SIZES):
        before = free_frames()
        file = memfd_create(3, seals)
        assert udmabuf_create(file, offset, size) == answer
        if answer != 0:
            assert free_frames() == before
            assert not udmabufs.is_used(udmabufs[0])


def test_create_wants_a_memfd() -> None:
    with world(**SIZES):
        assert udmabuf_create(None, 0, 1) == -EBADFD


def test_the_2023_threads_first_sequence() -> None:
    """`a` everywhere, a udmabuf, a hole in one page, `b` everywhere: the buffer keeps `a` in the hole (KERNELS.md: 6.12 does)."""
    with world(**SIZES) as (_, mm):
        file = memfd_create(3, F_SEAL_SHRINK)
        do_mmap(mm, 0, 3, file, 0, True)
        for va in range(3):
            cpu_write(mm, va, A)
        buf = udmabufs[udmabuf_create(file, 0, 3)]
        assert dma_buf_mmap(buf, mm, 3, 3, 0, True) == 3
        assert [cpu_read(mm, va) for va in (3, 4, 5)] == [A, A, A]
        shmem_fallocate_punch_hole(file, 1, 1)
        assert [cpu_read(mm, va) for va in (0, 1, 2)] == [A, 0, A]
        assert cpu_read(mm, 4) == A
        for va in range(3):
            cpu_write(mm, va, B)
        assert [cpu_read(mm, va) for va in (3, 4, 5)] == [B, A, B]
        cpu_write(mm, 4, B + 1)
        assert cpu_read(mm, 1) == B


def test_pages_that_were_never_written_are_made_at_creation() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(3, F_SEAL_SHRINK)
        udmabuf_create(file, 0, 3)
        assert all(folio is not None and folio.pins == 1 for folio in list(file.pages))
        do_mmap(mm, 0, 3, file, 0, True)
        cpu_write(mm, 0, A)
        assert udmabufs[0].folios[0] is file.pages[0]


def test_a_list_concatenates_and_one_bad_item_spoils_it() -> None:
    with world(**SIZES):
        before = free_frames()
        first, second = memfd_create(3, F_SEAL_SHRINK), memfd_create(2, F_SEAL_SHRINK)
        one, two = create_items.alloc(), create_items.alloc()
        one.memfd, one.offset, one.size = first, 2, 1
        two.memfd, two.offset, two.size = second, 0, 2
        assert udmabuf_create_list(2) == 0
        assert [udmabufs[0].folios[i] for i in range(3)] == [first.pages[2], second.pages[0], second.pages[1]]
        release_udmabuf(udmabufs[0])
        two.offset = 1
        assert udmabuf_create_list(2) == -EINVAL
        assert all(frame.pins == 0 for frame in (first.pages[2], second.pages[0]) if frame is not None)
        assert free_frames() == before - 3  # the files keep their pages


def test_mmap_is_shared_and_within_the_buffer() -> None:
    with world(**SIZES) as (_, mm):
        buf = udmabufs[udmabuf_create(memfd_create(3, F_SEAL_SHRINK), 0, 2)]
        assert dma_buf_mmap(buf, mm, 0, 2, 0, False) == -EINVAL
        assert dma_buf_mmap(buf, mm, 0, 2, 1, True) == -EINVAL
        assert dma_buf_mmap(buf, mm, 0, 1, 1, True) == 0
        assert cpu_read(mm, 0) == 0
        vma = mm.mm_mt[0]
        assert vma is not None
        vma.vm_pgoff = 2
        vm_munmap(mm, 0, 1)


def test_a_mapping_takes_no_reference_and_release_unpins() -> None:
    with world(**SIZES) as (_, mm):
        before = free_frames()
        file = memfd_create(1, F_SEAL_SHRINK)
        buf = udmabufs[udmabuf_create(file, 0, 1)]
        dma_buf_mmap(buf, mm, 0, 1, 0, True)
        cpu_write(mm, 0, A)
        frame = buf.folios[0]
        assert frame is not None
        assert frame.refcount == 2
        vm_munmap(mm, 0, 1)
        assert frame.refcount == 2
        shmem_fallocate_punch_hole(file, 0, 1)
        release_udmabuf(buf)
        assert free_frames() == before


class Importer(Driver):
    """Counts its move_notify calls."""

    moves: U8

    def move_notify(self) -> None:
        self.moves += 1


class Moving(DmaBuf):
    """A dynamic exporter of one page."""

    page: DmaBufAttachment
    pins: U8

    def is_dynamic(self) -> bool:
        return True

    def pin(self, attach: DmaBufAttachment) -> int:
        self.pins += 1
        return 0

    def unpin(self, attach: DmaBufAttachment) -> None:
        self.pins -= 1

    def map_dma_buf(self, attach: DmaBufAttachment) -> int:
        attach.sgt[0] = self.page.sgt[0]
        return 0


def test_an_importer_of_a_udmabuf_keeps_the_pinned_pages() -> None:
    with world({Importer: 1}, attachments=1, **SIZES) as (machine, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        buf = udmabufs[udmabuf_create(file, 0, 1)]
        importer = machine.pool(Importer).alloc()
        attach = dma_buf_dynamic_attach(buf, importer, True)
        assert attach is not None
        assert attach.mapped
        assert importer_read(attach, 0) == A
        shmem_fallocate_punch_hole(file, 0, 1)
        cpu_write(mm, 0, B)
        with buf.resv:
            assert dma_buf_map_attachment(buf, attach) == 0
        assert importer_read(attach, 0) == A
        assert importer.moves == 0
        importer_write(attach, 0, B + 1)
        assert cpu_read(mm, 0) == B
        dma_buf_detach(buf, attach)
        assert not attachments.is_used(attach)


def test_a_dynamic_exporter_pins_for_an_importer_that_cannot_follow() -> None:
    with world({Importer: 1, Moving: 1}, attachments=1, dmabuf_pages=1) as (machine, _):
        buf, importer = machine.pool(Moving).alloc(), machine.pool(Importer).alloc()
        attach = dma_buf_attach(buf, importer)
        assert attach is not None
        assert (buf.pins, attach.mapped) == (1, True)
        dma_buf_detach(buf, attach)
        assert buf.pins == 0


def test_a_dynamic_importer_is_told_and_asks_again() -> None:
    with world({Importer: 1, Moving: 1}, attachments=1, dmabuf_pages=1) as (machine, _):
        buf, importer = machine.pool(Moving).alloc(), machine.pool(Importer).alloc()
        old = alloc_page()
        old.contents = A
        buf.page.sgt[0] = old
        attach = dma_buf_dynamic_attach(buf, importer, True)
        assert attach is not None
        assert not attach.mapped
        assert importer_read(attach, 0) == -EINVAL
        with buf.resv:
            assert dma_buf_map_attachment(buf, attach) == 0
        assert importer_read(attach, 0) == A
        new = alloc_page()
        new.contents = B
        with buf.resv:
            dma_buf_move_notify(buf)
            buf.page.sgt[0] = new
            dma_buf_unmap_attachment(buf, attach)
            put_page(old)
        assert importer.moves == 1
        with buf.resv:
            assert dma_buf_map_attachment(buf, attach) == 0
        assert importer_read(attach, 0) == B


def test_the_last_to_attach_is_told_of_a_move_first() -> None:
    with world({Importer: 3, Moving: 1}, attachments=3, dmabuf_pages=1) as (machine, _):
        buf = machine.pool(Moving).alloc()
        importers = [machine.pool(Importer).alloc() for _ in range(3)]
        attached = [dma_buf_dynamic_attach(buf, importer, True) for importer in importers]
        gone = attached[1]
        assert gone is not None
        dma_buf_detach(buf, gone)
        listed = [one.importer for one in buf.attachments if one is not None]
        assert len(listed) == 2
        assert (listed[0] is importers[2], listed[1] is importers[0]) == (True, True)
        with buf.resv:
            dma_buf_move_notify(buf)
        assert [importer.moves for importer in importers] == [1, 0, 1]


def test_a_mapping_that_is_not_cached_is_asked_for_again() -> None:
    with world({Importer: 1, Moving: 1}, attachments=1, dmabuf_pages=1) as (machine, _):
        buf, importer = machine.pool(Moving).alloc(), machine.pool(Importer).alloc()
        attach = dma_buf_dynamic_attach(buf, importer, True)
        assert attach is not None
        for contents in (A, B):
            frame = alloc_page()
            frame.contents = contents
            buf.page.sgt[0] = frame
            with buf.resv:
                assert dma_buf_map_attachment(buf, attach) == 0
            assert importer_read(attach, 0) == contents


def test_pinning_is_for_dynamic_importers() -> None:
    with world({Importer: 1, Moving: 1}, attachments=1, dmabuf_pages=1) as (machine, _):
        buf, importer = machine.pool(Moving).alloc(), machine.pool(Importer).alloc()
        attach = dma_buf_attach(buf, importer)
        assert attach is not None
        with buf.resv, pytest.raises(RuleBroken, match="not-dynamic"):
            dma_buf_pin(buf, attach)


def test_the_reservation_lock_is_wanted() -> None:
    with world({Importer: 1, Moving: 1}, attachments=1, dmabuf_pages=1) as (machine, _):
        buf, importer = machine.pool(Moving).alloc(), machine.pool(Importer).alloc()
        attach = dma_buf_dynamic_attach(buf, importer, True)
        assert attach is not None
        for call in (
            lambda: dma_buf_map_attachment(buf, attach),
            lambda: dma_buf_unmap_attachment(buf, attach),
            lambda: dma_buf_move_notify(buf),
        ):
            with pytest.raises(RuleBroken, match="lock-not-held"):
                call()


def test_beyond_the_buffer_is_a_bus_error() -> None:
    with world(**SIZES) as (_, mm):
        buf = udmabufs[udmabuf_create(memfd_create(3, F_SEAL_SHRINK), 0, 1)]
        do_mmap(mm, 0, 1, buf, 0, True)
        vma = mm.mm_mt[0]
        assert vma is not None
        vma.vm_pgoff = 1  # past the check that the mapping makes
        assert cpu_read(mm, 0) == -SIGBUS


def test_the_modules_limits_are_looked_at_first() -> None:
    with world(**SIZES, udmabuf_limits=1):
        memfd = memfd_create(3, F_SEAL_SHRINK)
        create_items[0].memfd = create_items[1].memfd = memfd
        create_items[0].size = create_items[1].size = 1
        made = udmabuf_create_list(2)
        assert made >= 0, "nothing has been written"
        release_udmabuf(udmabufs[made])
        udmabuf_limits_write(1, 1)
        assert udmabuf_create_list(2) == -EINVAL
        made = udmabuf_create_list(1)
        assert made >= 0
        release_udmabuf(udmabufs[made])
        udmabuf_limits_write(2, 0)
        assert udmabuf_create_list(2) == udmabuf_create(memfd, 0, 1) == udmabuf_create(None, 0, 1) == -EINVAL
        udmabuf_limits_write(0, 1)
        assert udmabuf_create(None, 0, 1) == -EBADFD and udmabuf_create(memfd, 0, 3) >= 0


def test_a_drivers_own_view_is_one_for_all_who_ask() -> None:
    with world(**SIZES, dma_buf_vmaps=1) as (_, mm):
        memfd = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, memfd, 0, True)
        cpu_write(mm, 0, A)
        buf = udmabufs[udmabuf_create(memfd, 0, 1)]
        with pytest.raises(RuleBroken, match="lock-not-held"):
            dma_buf_vmap(buf)
        buf.resv.lock()
        assert dma_buf_vmap(buf) == dma_buf_vmap(buf) == 0 and buf.vmapping_counter[0] == 2
        dma_buf_vunmap(buf)
        assert dma_buf_vmap_load(buf, 0) == A
        dma_buf_vunmap(buf)
        for use in (lambda: dma_buf_vunmap(buf), lambda: dma_buf_vmap_load(buf, 0)):
            with pytest.raises(RuleBroken, match="vmap"):
                use()
        assert buf.vmapping_counter[0] == 0


def test_an_exporter_without_a_view_says_so() -> None:
    with world({Moving: 1}, **SIZES, dma_buf_vmaps=1) as (machine, _):
        buf = machine.pool(Moving).alloc()
        buf.resv.lock()
        assert dma_buf_vmap(buf) == -EINVAL and buf.vmapping_counter[0] == 0
