"""drivers/dax/device.c, super.c and bus.c: a device's memory as a file that can be mapped, and its removal.

    mmap, fault    within dax_read_lock() (SRCU) and only while the device is alive; entries take no reference
    removal        kill_dax()                alive = false; wait for the faults that saw it alive     disable
                   unmap_mapping_range()     every mapping's entries go, in notifier brackets          invalidate
                   memunmap_pages()          kill, drain, remove (`memremap`)                          drain

`unregister_dev_dax` is that order. Each of its steps can be called on its own, to see what another order does. User space has the one order:
it writes to the driver's `unbind` (`dev_dax_unbind`).

A device may have an `align` of a huge page (the bound `dax_align`): each fault enters one for all of it then (`huge_memory_devmap`).

Left out: pins of such memory; that the device is bound again, and its memory is then what it was.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Errno, Ref, atomic, bound, milestone, pool, wait_until
from secondsight.linux.errno import EINVAL, ENODEV, ENXIO
from secondsight.linux.huge_memory_devmap import insert_pfn_pmd
from secondsight.linux.huge_memory_pmd import hpage_start
from secondsight.linux.memory import VM_FAULT_NOPAGE, VM_FAULT_SIGBUS, insert_pfn
from secondsight.linux.memory_zap import unmap_mapping_range
from secondsight.linux.memremap import DevPagemap, memremap_pages, memunmap_pages
from secondsight.linux.mm_flags import MAP_PRIVATE, VM_DEVMAP
from secondsight.linux.mm_types import HPAGE_PMD_NR, AddressSpace, Count, Flags, Folio, Mm, Pgoff, Result, Va
from secondsight.linux.mmap import do_mmap

__all__ = [
    "DevDax",
    "dax_devices",
    "dax_mmap",
    "dev_dax_invalidate",
    "dev_dax_probe",
    "dev_dax_unbind",
    "kill_dax",
    "kill_dev_dax",
    "synchronize_dax",
    "unregister_dev_dax",
]


bound("dax_align", most=1)


class DevDax(AddressSpace):
    """struct dev_dax and its struct dax_device. `srcu` counts the readers of dax_srcu (one for all devices in the kernel). `align[0]`: how many pages an entry
    maps, HPAGE_PMD_NR or 1."""

    alive: bool
    srcu: Count
    pgmap: Ref[DevPagemap]
    align: Array[Pgoff, Literal["dax_align"]]

    def vm_flags(self) -> Flags:
        """Entries are pte_devmap."""
        return VM_DEVMAP

    def has_page(self, pgoff: Pgoff) -> bool:
        """While the device is alive."""
        return self.alive

    @atomic
    def mmap(self, length: Pgoff, pgoff: Pgoff, map_flags: Flags) -> Errno:
        """dax_mmap(), check_vma() (drivers/dax/device.c, Linux 6.12): -ENXIO once it is not alive."""
        return 0 if self.alive else -ENXIO

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """dev_dax_fault(), __dev_dax_pte_fault() (drivers/dax/device.c, Linux 6.12): map page `pgoff`, if still
        alive.

        Two steps: the look at `alive`, which kill_dax() waits out, and the insertion.
        """
        alive = dax_read_lock_alive(self)
        if not alive:
            return VM_FAULT_SIGBUS
        if len(self.align) > 0:
            if self.align[0] == HPAGE_PMD_NR:
                return dax_insert_pmd_unlock(self, mm, va, pgoff)
        return dax_insert_unlock(self, mm, va, pgoff)


dax_devices = pool(DevDax, bound("dax_devices", usual=1))


@atomic
def dax_read_lock_alive(dev_dax: DevDax) -> bool:
    """dax_read_lock() and dax_alive() (drivers/dax/super.c, Linux 6.12); if it is not alive, unlocked again."""
    if not dev_dax.alive:
        return False
    dev_dax.srcu += 1
    return True


@atomic
def dax_insert_unlock(dev_dax: DevDax, mm: Mm, va: Va, pgoff: Pgoff) -> Flags:
    """vmf_insert_mixed() and dax_read_unlock()."""
    dev_dax.srcu -= 1
    pgmap = dev_dax.pgmap
    if pgmap is None:
        return VM_FAULT_SIGBUS
    frame = dax_pgoff_to_phys(pgmap, pgoff)
    if frame is None:
        return VM_FAULT_SIGBUS
    insert_pfn(mm, va, frame)
    return VM_FAULT_NOPAGE


@atomic
def dax_insert_pmd_unlock(dev_dax: DevDax, mm: Mm, va: Va, pgoff: Pgoff) -> Flags:
    """__dev_dax_pmd_fault() (drivers/dax/device.c, Linux 6.12), and dax_read_unlock(): one entry, if vma and device have all of what it maps; else SIGBUS."""
    dev_dax.srcu -= 1
    vma = mm.mm_mt[va]
    pgmap = dev_dax.pgmap
    start = hpage_start(va)
    if vma is None or pgmap is None or start < vma.vm_start or start + HPAGE_PMD_NR > vma.vm_end:
        return VM_FAULT_SIGBUS
    first = dax_pgoff_to_phys(pgmap, pgoff - va % HPAGE_PMD_NR)
    second = dax_pgoff_to_phys(pgmap, pgoff - va % HPAGE_PMD_NR + 1)
    if first is None or second is None:
        return VM_FAULT_SIGBUS
    insert_pfn_pmd(mm, start, first, second)
    return VM_FAULT_NOPAGE


@atomic
def dax_pgoff_to_phys(pgmap: DevPagemap, pgoff: Pgoff) -> Ref[Folio]:
    """dax_pgoff_to_phys() (drivers/dax/device.c, Linux 6.12): the page at that place of the device's memory; None: it has no such place."""
    return pgmap.pages[pgoff] if pgoff < pgmap.nr_pages else None


@atomic
def dev_dax_probe(nr_pages: Pgoff, align: Pgoff = 1) -> DevDax:
    """dev_dax_probe() (drivers/dax/device.c, Linux 6.12): a device with `nr_pages` of memory appears. `align`: how many pages an entry maps."""
    dev_dax = dax_devices.alloc()
    dev_dax.pgmap = memremap_pages(nr_pages)
    dev_dax.alive = True
    if len(dev_dax.align) > 0:
        dev_dax.align[0] = align
    return dev_dax


def dax_mmap(dev_dax: DevDax, mm: Mm, va: Va, length: Pgoff, pgoff: Pgoff, shared: bool, write: bool = True) -> Result:
    """mmap(2) of the device file, with dax_mmap(), check_vma() (drivers/dax/device.c, Linux 6.12).

    -ENXIO when it is not alive, -EINVAL for a private mapping, or one that is not aligned, else as `do_mmap`.
    """
    if len(dev_dax.align) > 0:
        with atomic:
            misaligned = dev_dax.alive and (va % dev_dax.align[0] != 0 or length % dev_dax.align[0] != 0)
        if misaligned:
            return -EINVAL
    return do_mmap(mm, va, length, dev_dax, pgoff, write, 0 if shared else MAP_PRIVATE)


def unregister_dev_dax(dev_dax: DevDax) -> None:
    """Removal of the device (drivers/dax/bus.c and device.c, Linux 6.12): disable, invalidate, drain."""
    kill_dev_dax(dev_dax)
    with atomic:
        pgmap = dev_dax.pgmap
    if pgmap is not None:
        memunmap_pages(pgmap)


def dev_dax_unbind(dev_dax: DevDax) -> Errno:
    """What user space asks for by the driver's file `unbind` in sysfs: unbind_store() (drivers/base/bus.c, Linux 6.12), and
    device_unbind_cleanup() (drivers/base/dd.c, Linux 6.12), which undoes in turn what dev_dax_probe() has done. -ENODEV: the device has no driver any more. Who asks
    while another's request is under way waits for its end (the device's lock), and has succeeded then."""
    with atomic:
        pgmap = dev_dax.pgmap
        bound_ = pgmap is not None and pgmap.nr_pages > 0
        first = bound_ and dev_dax.alive
        if first:
            dev_dax.alive = False  # the first half of kill_dax()
    if not bound_:
        return -ENODEV
    assert pgmap is not None
    if first:
        synchronize_dax(dev_dax)
        dev_dax_invalidate(dev_dax)
        memunmap_pages(pgmap)
    else:
        wait_until(pgmap.nr_pages == 0)
    return 0


@milestone
def kill_dev_dax(dev_dax: DevDax) -> None:
    """kill_dev_dax() (drivers/dax/bus.c, Linux 6.12): disable, invalidate."""
    kill_dax(dev_dax)
    synchronize_dax(dev_dax)
    dev_dax_invalidate(dev_dax)


def kill_dax(dev_dax: DevDax) -> None:
    """The first half of kill_dax() (drivers/dax/super.c, Linux 6.12): faults fail from now on ("disable")."""
    dev_dax.alive = False


def synchronize_dax(dev_dax: DevDax) -> None:
    """The second half of kill_dax(): synchronize_srcu(), i.e. faults that saw it alive are over."""
    wait_until(dev_dax.srcu == 0)


def dev_dax_invalidate(dev_dax: DevDax) -> None:
    """The unmap_mapping_range() of kill_dev_dax(): every mapping of the whole device loses its entries ("invalidate")."""
    unmap_mapping_range(dev_dax, 0, 15)
