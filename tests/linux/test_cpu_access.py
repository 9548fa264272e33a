"""A CPU's access to a buffer that a device works on: dma_buf_begin_cpu_access() waits for what is in flight, if its fence says what it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secondsight.devices.fenced_importer import FencedImporter
from secondsight.devices.moving_buffer import MovingBuffer, export_buffer
from secondsight.devices.small.importing import AddsNoFence, SyncsImplicitly
from secondsight.lang import Errno, Machine
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import EINVAL, bounds
from secondsight.linux.dma_buf import DmaBuf, dma_buf_begin_cpu_access, dma_buf_end_cpu_access
from secondsight.linux.memfd import memfd_create
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.shmem import F_SEAL_SHRINK
from secondsight.linux.udmabuf import udmabuf_create, udmabufs
from secondsight.search import Request, Verdict, breadth_first


def reads_its_work(device: FencedImporter, buffer: MovingBuffer) -> None:
    """Right: has the device write, and reads what it has written."""
    device.submit(98)
    ret = dma_buf_begin_cpu_access(buffer, False)
    assert ret == 0
    frame = buffer.storage[0]
    assert frame is not None
    assert frame.contents == 98, "the CPU reads before the device has written"
    dma_buf_end_cpu_access(buffer, False)


def reads_at_once(device: FencedImporter, buffer: MovingBuffer) -> None:
    """Wrong: reads whatever is under way."""
    device.submit(98)
    frame = buffer.storage[0]
    assert frame is not None
    assert frame.contents == 98, "the CPU reads before the device has written"


def writes_beside_a_reader(device: FencedImporter, buffer: MovingBuffer) -> None:
    """Has the device read, and writes when that is done: a CPU that writes waits for readers too."""
    device.submit(0)
    ret = dma_buf_begin_cpu_access(buffer, True)
    assert ret == 0
    assert device.job.fence is None, "the device still reads what the CPU writes"
    dma_buf_end_cpu_access(buffer, True)


def reads_beside_a_reader(device: FencedImporter, buffer: MovingBuffer) -> None:
    """A CPU that reads does not wait for readers."""
    device.submit(0)
    ret = dma_buf_begin_cpu_access(buffer, False)
    assert ret == 0
    assert device.job.fence is None, "the device still reads"


def engine(device: FencedImporter) -> None:
    """The device."""
    device.engine()


@pytest.mark.parametrize(
    ("cpu", "driver", "holds"),
    [
        (reads_its_work, SyncsImplicitly, True),
        (reads_at_once, SyncsImplicitly, False),
        (reads_its_work, AddsNoFence, False),
        (reads_its_work, FencedImporter, False),  # its fence is of usage BOOKKEEP: no CPU waits for it
        (writes_beside_a_reader, SyncsImplicitly, True),
        (reads_beside_a_reader, SyncsImplicitly, False),
    ],
)
def test_a_cpu_waits_for_the_work_whose_fence_says_what_it_does(cpu: Callable[..., None], driver: type[FencedImporter], holds: bool) -> None:
    sizes = bounds(frames=4, moving_buffers=1, attachments=1, dmabuf_pages=1, resv_fences=2, dma_fences=3)
    machine = Machine(bounds=sizes, pools={driver: 1})
    with machine:
        mem_init()
        buffer = export_buffer(1)
        device = machine.pool(driver).alloc()
        assert device.attach_to(buffer) == 0
    threads = [Thread("cpu", cpu, (device, buffer)), Thread("engine", engine, (device,), daemon=True)]
    found = breadth_first(Reference(build(machine, threads)), Request(livelock=True))
    assert found.verdict is (Verdict.HOLDS if holds else Verdict.BROKEN), found.violation or found.reason
    if not holds:
        assert found.violation is not None and found.violation.rule == "assertion"


class Refuses(DmaBuf):
    """An exporter that has no time for CPUs."""

    def begin_cpu_access(self, write: bool) -> Errno:
        return -EINVAL


def test_an_exporter_is_asked_first_and_its_error_is_the_answer() -> None:
    machine = Machine(bounds=bounds(), pools={Refuses: 1, DmaBuf: 1})
    with machine:
        assert dma_buf_begin_cpu_access(machine.pool(Refuses).alloc(), True) == -EINVAL
        usual = machine.pool(DmaBuf).alloc()
        assert [dma_buf_begin_cpu_access(usual, True), dma_buf_end_cpu_access(usual, True)] == [0, 0]


def test_a_udmabuf_has_its_table_from_the_first_access_on() -> None:
    with Machine(bounds=bounds(frames=4, files=1, file_pages=1, udmabufs=1, dmabuf_pages=1, udmabuf_sg=1)):
        mem_init()
        buffer = udmabufs[udmabuf_create(memfd_create(1, F_SEAL_SHRINK), 0, 1)]
        assert dma_buf_end_cpu_access(buffer, False) == -EINVAL
        assert dma_buf_begin_cpu_access(buffer, False) == 0
        assert [dma_buf_end_cpu_access(buffer, True), dma_buf_end_cpu_access(buffer, False)] == [0, 0]
