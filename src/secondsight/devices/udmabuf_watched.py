"""What the proposals that follow the VMM's mapping have in common: an interval notifier on it, and pinned pages or none.

No release has any of this: udmabuf of Linux 6.12 (`linux/udmabuf.py`) never hears of changes. The 2023 thread proposes to
watch the VMM's mapping of the memfd with an mmu_interval_notifier. Its `invalidate` takes the buffer's reservation lock
(`resv`): dma_buf_move_notify() has to be called with it held (locking convention in drivers/dma-buf/dma-buf.c), and so it
also covers what `invalidate` and mapping share. `changed` is what each design makes of the news.

Lockdep of Linux 6.12 objects to `resv` in a notifier callback (dma_resv_lockdep() in drivers/dma-buf/dma-resv.c): memory is
allocated with `resv` held (`get_sg_table`, dma_resv_reserve_fences()), and reclaim calls notifiers. The table's column *memory is short* asks every
design with a Watch about that; in the other columns there is always memory.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Errno, Ref, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment
from secondsight.linux.errno import EINVAL
from secondsight.linux.gup import memfd_pin_folio, try_grab_folio
from secondsight.linux.mm_types import Driver, Folio, Mm, Pgoff, Va
from secondsight.linux.shmem import ShmemFile
from secondsight.linux.udmabuf import get_sg_table

__all__ = ["PinnedUdmabuf", "Watch", "WatchedUdmabuf"]


class Watch(Driver):
    """The exporter's mmu_interval_notifier: the pages at which the VMM maps the buffer's part of the memfd."""

    buffer: Ref[WatchedUdmabuf]

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        """Store the sequence number and tell the buffer, under the reservation lock."""
        buffer = self.buffer
        assert buffer is not None
        if rng.blockable:
            buffer.resv.lock()
        else:
            locked = buffer.resv.trylock()
            if not locked:
                return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        buffer.changed()
        buffer.resv.unlock()
        return True


class WatchedUdmabuf(DmaBuf):
    """A udmabuf proposal: a dynamic exporter of the first pages of one memfd, which the VMM maps from `watch.notifier.start`."""

    watch: Watch

    def is_dynamic(self) -> bool:
        """The buffer moves."""
        return True

    def pin(self, attach: DmaBufAttachment) -> Errno:
        """Refused: an importer without `move_notify` cannot have this buffer."""
        return -EINVAL

    def open(self, memfd: ShmemFile, size: Pgoff, mm: Mm, va: Va) -> None:
        """Make a buffer of the first `size` pages of `memfd`, mapped at `va` of `mm`. Part of setting up."""
        self.nr_pages = size
        self.watch.buffer = self
        mn.mmu_interval_notifier_insert(self.watch.notifier, mm, va, size)

    def changed(self) -> None:
        """The VMM's mapping is being invalidated. `resv` is held."""


class PinnedUdmabuf(WatchedUdmabuf):
    """A proposal that pins the pages it gives to importers, and replaces them when it learns that the memfd has others."""

    memfd: Ref[ShmemFile]
    folios: Array[Ref[Folio], Literal["dmabuf_pages"]]

    def open(self, memfd: ShmemFile, size: Pgoff, mm: Mm, va: Va) -> None:
        """As `WatchedUdmabuf.open`, and pin the pages."""
        WatchedUdmabuf.open(self, memfd, size, mm, va)
        self.pin_all(memfd, size)

    def pin_all(self, memfd: ShmemFile, size: Pgoff) -> None:
        """The first `size` pages of `memfd`, pinned; holes are filled."""
        self.memfd = memfd
        self.nr_pages = size
        for pgoff in range(size):
            self.folios[pgoff] = memfd_pin_folio(memfd, pgoff)

    @atomic
    def look_up(self, pgoff: Pgoff) -> Ref[Folio]:
        """Page `pgoff` as the memfd has it now, pinned and put into the buffer; None if that changes nothing.

        Looks into the page cache and fills no hole: in a hole the buffer keeps what it has. Otherwise the page that was
        in the buffer until now is returned: to be unpinned when no importer uses it.
        """
        memfd = self.memfd
        assert memfd is not None
        folio = memfd.pages[pgoff]
        old = self.folios[pgoff]
        if folio is None or folio is old:
            return None
        try_grab_folio(folio)
        self.folios[pgoff] = folio
        return old

    @atomic
    def has_hole(self) -> bool:
        """Whether the memfd has a hole where the buffer has a page."""
        memfd = self.memfd
        assert memfd is not None
        return any(memfd.pages[pgoff] is None for pgoff in range(self.nr_pages))

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """The pages that the buffer has now."""
        get_sg_table()
        with atomic:
            for i in range(self.nr_pages):
                attach.sgt[i] = self.folios[i]
        return 0
