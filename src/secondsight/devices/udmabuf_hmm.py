"""udmabuf by hmm_range_fault: the buffer is whatever the CPU would find when the importer asks. A proposal, in no release.

The 2023 thread's reviewer: on an invalidation call move_notify, importers stop using the memory; when one needs it again it
asks for the buffer, which calls hmm_range_fault() and gets whatever is appropriate then. Nothing is pinned.

The proposal does not say under which locks. Today's dma-buf calls map_dma_buf() with `resv` held, and wants it held for
move_notify. Two readings:

* `UdmabufHmm`, the favourable one: the importer has the pages faulted in *before* it takes `resv` (`fault_in`, an operation
  that dma-buf does not have), and map_dma_buf() only asks mmu_interval_read_retry() under it. -EBUSY: the importer begins
  again. Drivers with userptr buffers do it in this order.
* `UdmabufHmmUnderResv`, to the letter: map_dma_buf() calls hmm_range_fault(). The fault waits for a hole punch that waits,
  in the callback, for `resv`.

In both, what an invalidation does comes from `Watch`: set the sequence number and move_notify, under `resv`.

`UdmabufNotPresent` is what the reviewer suggests to those who cannot have zeros: no page is faulted in, and in a hole the
importer is told that there is nothing. dma-buf has no such answer.
"""

from __future__ import annotations

from typing import Literal

from secondsight.devices.udmabuf_importer import Importer
from secondsight.devices.udmabuf_watched import WatchedUdmabuf
from secondsight.lang import Array, Errno, Ref, atomic
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_buf import DmaBufAttachment, dma_buf_move_notify
from secondsight.linux.errno import EBUSY
from secondsight.linux.mm_types import Folio, Pfn, Va
from secondsight.linux.page_alloc import frames
from secondsight.linux.udmabuf import get_sg_table

__all__ = ["ImporterFaultsFirst", "UdmabufHmm", "UdmabufHmmUnderResv", "UdmabufNotPresent"]


class UdmabufHmm(WatchedUdmabuf):
    """Pages are faulted in before `resv` is taken. `found` and `seq`: by the last `fault_in`, for the next map.

    Kept for the whole buffer and not for each attachment: one importer at a time.
    """

    seq: mn.Seq
    found: Array[Ref[Folio], Literal["dmabuf_pages"]]

    def changed(self) -> None:
        """Importers stop using their mappings."""
        dma_buf_move_notify(self)

    def fault_in(self) -> Errno:
        """The proposed operation: make the pages present, without `resv`. 0, -EBUSY (begin again), or -EFAULT."""
        seq = mn.mmu_interval_read_begin(self.watch.notifier)
        with atomic:
            pages = self.nr_pages
            start = self.watch.notifier.start
        for i in range(pages):
            pfn = self.collect(start + i)
            if pfn < 0:
                return pfn
            self.found[i] = frames[pfn]
        self.seq = seq
        return 0

    def collect(self, va: Va) -> Pfn:
        """The frame at `va` of the VMM, faulted in."""
        return hmm.hmm_range_fault(self.watch.notifier, va, True)

    def allocate(self) -> None:
        """The table of pages that the importer is given, made where udmabuf makes it: under `resv`."""
        get_sg_table()

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """The pages that were found, if nothing was invalidated since. `resv` is held, and is the driver's lock."""
        self.allocate()
        with atomic:
            retry = mn.mmu_interval_read_retry(self.watch.notifier, self.seq)
            for i in range(self.nr_pages):
                if not retry:
                    attach.sgt[i] = self.found[i]
                self.found[i] = None
            self.seq = 0
        return -EBUSY if retry else 0


class UdmabufNotPresent(UdmabufHmm):
    """Importers get -ENOENT while there is a hole, and have to ask again.

    Also where the memfd has a page that the VMM has not touched since it mapped the memfd: only its page table is looked at.
    """

    def collect(self, va: Va) -> Pfn:
        """The frame at `va` of the VMM, or -ENOENT."""
        return hmm.hmm_range_snapshot(self.watch.notifier, va)


class ImporterFaultsFirst(Importer):
    """An importer that knows of `UdmabufHmm.fault_in`."""

    exporter: Ref[UdmabufHmm]

    def map(self) -> Errno:
        """Have the pages faulted in, then map."""
        exporter = self.exporter
        assert exporter is not None
        ret = exporter.fault_in()
        if ret != 0:
            return ret
        return Importer.map(self)


class UdmabufHmmUnderResv(WatchedUdmabuf):
    """hmm_range_fault() in map_dma_buf(), so with `resv` held."""

    def changed(self) -> None:
        """Importers stop using their mappings."""
        dma_buf_move_notify(self)

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """The sequence protocol with `resv` as the driver's lock, held all the time. -EBUSY: ask again."""
        get_sg_table()
        seq = mn.mmu_interval_read_begin(self.watch.notifier)
        with atomic:
            pages = self.nr_pages
            start = self.watch.notifier.start
        for i in range(pages):
            pfn = hmm.hmm_range_fault(self.watch.notifier, start + i, True)
            if pfn < 0:
                return pfn
            attach.sgt[i] = frames[pfn]
        if mn.mmu_interval_read_retry(self.watch.notifier, seq):
            return -EBUSY
        return 0
