"""A VMM that gives memory of its guest back to the host, and what keeps it from doing so behind a device's back.

    ram_block_discard_disable()                  a device has the memory pinned: nobody may discard
    ram_block_uncoordinated_discard_disable()    the same, but it hears of discards that are coordinated, and unmaps
    ram_block_discard_require(), ram_block_coordinated_discard_require()    who lives by discarding: refused while it is disabled

virtio-balloon asks no permission: it looks when a page comes, and does nothing while discarding is disabled. virtio-mem requires
coordinated discards, and tells who has asked to be told (its RamDiscardManager) when it has discarded and when it has populated. A page of a
shared memfd is discarded by a punched hole, one of private memory by MADV_DONTNEED.

Read: QEMU's ram_block_discard_disable() and those like it (softmmu/physmem.c, 6.0), virtio_balloon_inhibited() (hw/virtio/virtio-balloon.c),
virtio_mem_set_block_state() (hw/virtio/virtio-mem.c, 7.0). Left out: the mutex around the counts, for each of these is one step;
postcopy and background snapshots, which inhibit the balloon too.
"""

from __future__ import annotations

from secondsight.devices.vfio_type1 import VfioType1
from secondsight.lang import Errno, Record, Ref, atomic
from secondsight.linux.errno import EBUSY
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.mm_types import Count, Mm, Va
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole

__all__ = ["VirtioMem", "VirtioMemTellsNobody", "Vmm"]


class Vmm(Record):
    """The memory of a guest: `memfd`, which `mm` maps from address 0 on; None: private memory there. And who has disabled or required
    discards."""

    mm: Ref[Mm]
    memfd: Ref[ShmemFile]
    disablers: Count
    uncoordinated_disablers: Count
    requirers: Count
    coordinated_requirers: Count

    @atomic
    def discard_disable(self, state: bool) -> Errno:
        """ram_block_discard_disable(): 0, or -EBUSY where somebody requires discards."""
        if not state:
            self.disablers -= 1
        elif self.requirers > 0 or self.coordinated_requirers > 0:
            return -EBUSY
        else:
            self.disablers += 1
        return 0

    @atomic
    def uncoordinated_discard_disable(self, state: bool) -> Errno:
        """ram_block_uncoordinated_discard_disable(): 0, or -EBUSY where somebody requires discards that nobody is told of."""
        if not state:
            self.uncoordinated_disablers -= 1
        elif self.requirers > 0:
            return -EBUSY
        else:
            self.uncoordinated_disablers += 1
        return 0

    @atomic
    def discard_require(self, state: bool) -> Errno:
        """ram_block_discard_require(): 0, or -EBUSY where somebody has disabled them."""
        if not state:
            self.requirers -= 1
        elif self.disablers > 0 or self.uncoordinated_disablers > 0:
            return -EBUSY
        else:
            self.requirers += 1
        return 0

    @atomic
    def coordinated_discard_require(self, state: bool) -> Errno:
        """ram_block_coordinated_discard_require(), of who tells all that want to be told."""
        if not state:
            self.coordinated_requirers -= 1
        elif self.disablers > 0:
            return -EBUSY
        else:
            self.coordinated_requirers += 1
        return 0

    @atomic
    def discard_is_disabled(self) -> bool:
        """ram_block_discard_is_disabled()."""
        return self.disablers > 0 or self.uncoordinated_disablers > 0

    def discard_range(self, va: Va) -> None:
        """ram_block_discard_range() of the page at `va`."""
        with atomic:
            memfd = self.memfd
            mm = self.mm
        assert mm is not None
        if memfd is None:
            madvise_dontneed(mm, va, 1)
        else:
            shmem_fallocate_punch_hole(memfd, va, 1)

    def balloon_inflate(self, va: Va) -> None:
        """virtio_balloon_handle_output(): the guest gives the page at `va` away. Nothing, while discarding is disabled."""
        disabled = self.discard_is_disabled()
        if not disabled:
            self.discard_range(va)


class VirtioMem(Record):
    """virtio-mem's device in the VMM, with one listener: who has the memory of the guest mapped, and wants to be told."""

    vmm: Ref[Vmm]
    listener: Ref[VfioType1]

    def realize(self) -> Errno:
        """virtio_mem_device_realize(): 0, or -EBUSY where discards are disabled for all."""
        vmm = self.vmm
        assert vmm is not None
        return vmm.coordinated_discard_require(True)

    def unplug(self, va: Va) -> None:
        """virtio_mem_set_block_state(): the page at `va` is no memory of the guest's any more. When it is discarded the listener is told, and
        unmaps: in between the device has the old page, which the guest does not use any more."""
        with atomic:
            vmm = self.vmm
            listener = self.listener
        assert vmm is not None
        vmm.discard_range(va)
        if listener is not None:
            self.notify_unplug(listener, va)

    def plug(self, va: Va) -> Errno:
        """The same, the other way round: 0, or the listener's error, and then the page stays unplugged."""
        with atomic:
            vmm = self.vmm
            listener = self.listener
        assert vmm is not None
        ret: Errno = 0
        if listener is not None:
            ret = self.notify_plug(listener, va)
        if ret != 0:
            vmm.discard_range(va)
        return ret

    def notify_unplug(self, listener: VfioType1, va: Va) -> None:
        """vfio_ram_discard_notify_discard()."""
        mm = listener.notifier.mm
        assert mm is not None
        listener.unmap_dma(mm, va)

    def notify_plug(self, listener: VfioType1, va: Va) -> Errno:
        """vfio_ram_discard_notify_populate()."""
        mm = listener.notifier.mm
        assert mm is not None
        return listener.map_dma(mm, va)


class VirtioMemTellsNobody(VirtioMem):
    """Wrong: discards behind the back of who has the memory mapped."""

    def notify_unplug(self, listener: VfioType1, va: Va) -> None:
        """Nothing."""
