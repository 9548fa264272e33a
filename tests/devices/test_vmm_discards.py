"""A VMM that discards memory which a device has pinned: told, or refused, guest and device see the same page; else they do not."""

from __future__ import annotations

import pytest

from secondsight.contract import ADVERSARIES
from secondsight.contract.check import driver_program
from secondsight.contract.lifetime import no_use_after_free
from secondsight.contract.pinned import access_to_a_pinned_frame
from secondsight.devices.vfio_type1 import VfioType1, VfioUnpinsFirst
from secondsight.devices.vmm import VirtioMem, VirtioMemTellsNobody, Vmm
from secondsight.lang import Machine, require
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import EBUSY, ENOMEM, bounds
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Mm, Va
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import frames, mem_init
from secondsight.linux.util import locked_vm
from secondsight.search import Result, breadth_first


def dma(device: VfioType1, va: Va) -> None:
    """The device reads by its IOMMU's table, at any time."""
    for _ in range(2):
        device.access(va, False, 0)


def same_page(device: VfioType1, mm: Mm, va: Va) -> None:
    """With nothing else going on for that page: what the device reads is what the guest has."""
    found = device.access(va, False, 0)
    has = cpu_read(mm, va)
    require(found == has, "same-page", "guest and device have different pages")


def balloon(vmm: Vmm, mm: Mm, device: VfioType1, va: Va) -> None:
    """The guest gives the page to the balloon, takes it back and writes it; in between another use for it is found."""
    vmm.balloon_inflate(va)
    cpu_write(mm, 1, ord("x"))
    cpu_write(mm, va, ord("c"))
    same_page(device, mm, va)


def virtio_mem(mem: VirtioMem, mm: Mm, device: VfioType1, va: Va) -> None:
    """The page is unplugged and plugged again, and the guest writes it."""
    mem.unplug(va)
    cpu_write(mm, 1, ord("x"))
    ret = mem.plug(va)
    require(ret == 0, "plug", "the page cannot be plugged again")
    cpu_write(mm, va, ord("c"))
    same_page(device, mm, va)


def found(private: bool, disabled: bool = False, mem: type[VirtioMem] | None = None, driver: type[VfioType1] = VfioType1) -> Result:
    """A guest's page, pinned by VFIO, is discarded."""
    machine = Machine(
        bounds=bounds(frames=6, pages=2, files=1, file_pages=1, memlock=1),
        pools={driver: 1, Vmm: 1, **({} if mem is None else {mem: 1})},
    )
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        memfd = None if private else memfd_create(1, 0)
        do_mmap(mm, 0, 1, memfd, 0, True)
        do_mmap(mm, 1, 1, None, 0, True)
        cpu_write(mm, 0, ord("a"))
        vmm = machine.pool(Vmm).alloc()
        vmm.mm, vmm.memfd = mm, memfd
        device = machine.pool(driver).alloc()
        device.notifier.mm = mm
        assert device.map_dma(mm, 0) == 0
        if disabled:
            assert vmm.discard_disable(True) == 0
        if mem is None:
            threads = [Thread("vmm", balloon, (vmm, mm, device, 0))]
        else:
            one = machine.pool(mem).alloc()
            one.vmm, one.listener = vmm, device
            assert vmm.uncoordinated_discard_disable(True) == 0 and one.realize() == 0
            threads = [Thread("vmm", virtio_mem, (one, mm, device, 0))]
        threads.append(Thread("device", dma, (device, 0)))
    result = breadth_first(Reference(build(machine, threads, [access_to_a_pinned_frame, no_use_after_free])))
    assert result.error is None, result.error
    return result


@pytest.mark.parametrize("private", [True, False])
def test_a_balloon_behind_a_pin_leaves_guest_and_device_with_different_pages(private: bool) -> None:
    """MADV_DONTNEED of private memory, a punched hole of a memfd: the pin keeps a page, not its place."""
    broken = found(private)
    assert broken.violation is not None and broken.violation.rule == "same-page"
    assert found(private, disabled=True).violation is None, "while discards are disabled the balloon does nothing"


@pytest.mark.parametrize("private", [True, False])
def test_virtio_mem_tells_who_has_the_memory_mapped(private: bool) -> None:
    assert found(private, mem=VirtioMem).violation is None
    silent = found(private, mem=VirtioMemTellsNobody)
    assert silent.violation is not None and silent.violation.rule == "same-page"


def test_unmapping_comes_before_unpinning() -> None:
    early = found(False, mem=VirtioMem, driver=VfioUnpinsFirst)
    assert early.violation is not None and early.violation.rule == "pinned"


def test_beyond_the_limit_nothing_stays_pinned() -> None:
    with Machine(bounds=bounds(frames=5, pages=2, memlock=1), pools={VfioType1: 1}) as machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        do_mmap(mm, 0, 2, None, 0, True)
        locked_vm(mm).limit = 1
        device = machine.pool(VfioType1).alloc()
        device.notifier.mm = mm
        assert device.map_dma(mm, 0) == 0 and device.map_dma(mm, 1) == -ENOMEM
        assert sum(frame.pins for frame in frames) == 1 and locked_vm(mm).pages == 1
        device.unmap_dma(mm, 0)
        device.unmap_dma(mm, 0)
        assert sum(frame.pins for frame in frames) == 0 and locked_vm(mm).pages == 0 and device.map_dma(mm, 1) == 0


def test_who_discards_and_who_forbids_it_exclude_each_other() -> None:
    """QEMU's four counts: who lives by discards is refused beside who cannot have them, and the other way round; coordinated ones go
    beside who only forbids those that nobody is told of."""
    with Machine(bounds=bounds(frames=4), pools={Vmm: 1}) as machine:
        vmm = machine.pool(Vmm).alloc()
        assert vmm.discard_disable(True) == 0 and vmm.discard_disable(True) == 0 and vmm.discard_is_disabled()
        assert vmm.discard_require(True) == -EBUSY and vmm.coordinated_discard_require(True) == -EBUSY
        assert vmm.discard_disable(False) == 0 and vmm.discard_disable(False) == 0 and not vmm.discard_is_disabled()
        assert vmm.uncoordinated_discard_disable(True) == 0
        assert vmm.discard_require(True) == -EBUSY and vmm.coordinated_discard_require(True) == 0
        assert vmm.discard_disable(True) == -EBUSY and vmm.discard_is_disabled()
        assert vmm.uncoordinated_discard_disable(False) == 0 and vmm.coordinated_discard_require(False) == 0
        assert vmm.discard_require(True) == 0 and vmm.uncoordinated_discard_disable(True) == -EBUSY and vmm.discard_disable(True) == -EBUSY
        assert vmm.discard_require(False) == 0 and not vmm.discard_is_disabled()


def test_a_child_of_a_process_with_a_driver_that_counts_has_a_count_of_its_own() -> None:
    for scenario in ADVERSARIES["fork"].scenarios:
        assert driver_program(VfioType1, scenario).machine.bound("memlock") == 2
