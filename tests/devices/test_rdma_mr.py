"""A memory region that is pinned when it is registered: all of it or nothing, counted apart from locked memory, and given back when it is deregistered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secondsight.devices.rdma_mr import RdmaMr, RdmaMrForRemoteRead
from secondsight.lang import Machine
from secondsight.linux import EFAULT, ENOENT, ENOMEM, bounds
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, do_mmap_fixed
from secondsight.linux.page_alloc import frames, mem_init
from secondsight.linux.util import account_locked_vm, locked_vm


@contextmanager
def opened(driver: type[RdmaMr] = RdmaMr, write: bool = True) -> Iterator[tuple[Mm, RdmaMr]]:
    """A process with two pages at 0, nothing at 2, and its device."""
    with Machine(bounds=bounds(frames=6, pages=3, memlock=1, pin_pages=2), pools={driver: 1}) as machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        do_mmap(mm, 0, 2, None, 0, write)
        device = machine.pool(driver).alloc()
        device.notifier.mm = mm
        assert device.open(mm, 0, 3) == 0
        yield mm, device


def pins() -> int:
    return sum(frame.pins for frame in frames)


def test_a_region_is_pinned_whole_or_not_at_all() -> None:
    with opened() as (mm, device):
        assert device.reg_mr(mm, 1, 2) == -EFAULT  # the second page of it is not mapped
        assert pins() == 0 and locked_vm(mm).pinned == 0
        assert device.reg_mr(mm, 0, 2) == 0
        assert pins() == 2 and locked_vm(mm).pinned == 2
        device.close()
        assert pins() == 0 and locked_vm(mm).pinned == 0
        assert device.fault(0, False) == -ENOENT and pins() == 0


def test_what_fails_leaves_other_regions_alone() -> None:
    with opened() as (mm, device):
        assert device.reg_mr(mm, 0, 1) == 0
        assert device.reg_mr(mm, 1, 2) == -EFAULT
        assert pins() == 1 and locked_vm(mm).pinned == 1


def test_the_limit_is_asked_of_pinned_and_of_locked_memory_apart() -> None:
    with opened() as (mm, device):
        locked_vm(mm).limit = 1
        assert account_locked_vm(mm, 1, True) == 0
        assert device.reg_mr(mm, 0, 2) == -ENOMEM
        assert pins() == 0 and locked_vm(mm).pinned == 0
        assert device.reg_mr(mm, 0, 1) == 0
        assert device.reg_mr(mm, 1, 1) == -ENOMEM and pins() == 1
        assert locked_vm(mm).pages == 1 and locked_vm(mm).pinned == 1


def test_the_device_goes_on_with_the_page_that_was_there() -> None:
    with opened() as (mm, device):
        cpu_write(mm, 0, ord("a"))
        assert device.read(0) == ord("a")
        do_mmap_fixed(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, ord("b"))
        assert device.read(0) == ord("a") and cpu_read(mm, 0) == ord("b")


def test_memory_that_may_not_be_written_is_registered_for_reading_alone() -> None:
    with opened(write=False) as (mm, device):
        assert device.reg_mr(mm, 0, 2) == -EFAULT and pins() == 0
    with opened(RdmaMrForRemoteRead, write=False) as (mm, device):
        assert device.reg_mr(mm, 0, 2) == 0 and pins() == 2
        assert device.read(0) == 0 and device.write(0, ord("a")) == -EFAULT
