"""udmabuf by the RFC's notifier for *new* mappings: told when a fault has put a page into the VMM's page table.

The patch that the 2023 thread is about; in no release. After a fault has set a page-table entry, subscribers are called
(`update_mapping`); udmabuf takes the new page in place of its old one and calls move_notify. Invalidations are not looked
at. Pages are pinned from one replacement to the next.

Most favourable readings of what is left open: the callback looks the page up in the memfd, under `resv`, and does not use the
frame it was called with (which may have left the file by then); a page is replaced only by a different one.

The notifier is called by the fault handler, with the mmap lock held for reading: after the entry is set, before the store
that faulted is tried again. That is where the RFC has it, and no reading moves it.
"""

from __future__ import annotations

from secondsight.devices.udmabuf_watched import PinnedUdmabuf
from secondsight.lang import Ref
from secondsight.linux.dma_buf import dma_buf_move_notify
from secondsight.linux.gup import unpin_folio
from secondsight.linux.mm_types import Flags, Mm, Pgoff, Va
from secondsight.linux.shmem import ShmemFile

__all__ = ["ShmemFileUpdates", "UdmabufUpdateMapping"]


class ShmemFileUpdates(ShmemFile):
    """A memfd whose faults call the RFC's notifier: its hook in the fault path of mm/memory.c. `subscriber`: the one udmabuf."""

    subscriber: Ref[UdmabufUpdateMapping]

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """shmem_fault(), then the notifier if this fault has set the entry."""
        ret = ShmemFile.fault(self, mm, va, pgoff, flags)
        if ret == 0:
            subscriber = self.subscriber
            if subscriber is not None:
                subscriber.update_mapping(pgoff)
        return ret


class UdmabufUpdateMapping(PinnedUdmabuf):
    """Replaces a page when the VMM has faulted a new one in. Its `watch` is not used: invalidations are not news to it."""

    def open(self, memfd: ShmemFile, size: Pgoff, mm: Mm, va: Va) -> None:
        """Pin the pages; subscribe to new mappings (the caller sets `ShmemFileUpdates.subscriber`)."""
        self.pin_all(memfd, size)

    def update_mapping(self, pgoff: Pgoff) -> None:
        """The VMM's page table has a new page at `pgoff` of the memfd."""
        self.resv.lock()
        old = self.look_up(pgoff)
        if old is not None:
            dma_buf_move_notify(self)
            unpin_folio(old)
        self.resv.unlock()
