"""A VMM that gives memory of its guest back to the host, and what keeps it from doing so behind a device's back.

    ram_block_discard_disable()                  a device has the memory pinned: nobody may discard
    ram_block_uncoordinated_discard_disable()    the same, but it hears of discards that are coordinated, and unmaps first
    ram_block_discard_require(), ram_block_coordinated_discard_require()    who lives by discarding: refused while it is disabled

virtio-balloon asks no permission: it looks when a page comes, and does nothing while discarding is disabled. virtio-mem requires
coordinated discards, and tells who has asked to be told (its RamDiscardManager) before it discards and after it has populated. A page of a
shared memfd is discarded by a punched hole, one of private memory by MADV_DONTNEED.

Read: system/physmem.c and hw/virtio/virtio-balloon.c of QEMU (softmmu/physmem.c in 6.0), drivers/virtio/virtio_balloon.c, which gives the VMM
the page frame numbers of pages that the guest has allocated for it. Left out: the mutex around the counts, for each of these
is one step; postcopy and background snapshots, which inhibit the balloon too.
"""

from __future__ import annotations

from secondsight.lang import Errno, Record, Ref, atomic
from secondsight.linux.errno import EBUSY
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.mm_types import Count, Mm, Va
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole

__all__ = ["Vmm"]


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
