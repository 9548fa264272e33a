"""udmabuf that keeps the old pages of a hole until it sees the refill. A proposal of the 2023 thread, in no release.

The argument for it: the importer has not read what is in the old pages, and zeros make no sense on a screen. An invalidation
tells the importers (move_notify); one that asks again while there is a hole gets the old page, which stayed pinned.

The thread leaves open how the refill is seen. Nothing tells the driver of it; that is what the other two proposals (the
notifier for new mappings, the PREPARE ioctl) are for. What remains to this design, and the most favourable reading: it looks
into the memfd whenever an importer asks, takes the new page if there is one, and fills no hole itself.

One importer at a time: a page is replaced when one asks, without a second move_notify for others that still use the old one.
"""

from __future__ import annotations

from secondsight.devices.udmabuf_watched import PinnedUdmabuf
from secondsight.lang import Errno, atomic
from secondsight.linux.dma_buf import DmaBufAttachment, dma_buf_move_notify
from secondsight.linux.gup import unpin_folio
from secondsight.linux.udmabuf import get_sg_table

__all__ = ["UdmabufKeepOld"]


class UdmabufKeepOld(PinnedUdmabuf):
    """Old pages are served while there is a hole; the memfd is looked at whenever an importer asks."""

    def changed(self) -> None:
        """Importers stop using their mappings, and may ask again at once."""
        dma_buf_move_notify(self)

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """Each page: the memfd's if it has one, else the one kept."""
        get_sg_table()
        with atomic:
            for i in range(self.nr_pages):
                old = self.look_up(i)
                if old is not None:
                    unpin_folio(old)
                attach.sgt[i] = self.folios[i]
        return 0
