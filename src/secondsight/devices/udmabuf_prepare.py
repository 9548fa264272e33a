"""udmabuf with UDMABUF_PREPARE: the VMM says when it has written. An ioctl that the 2023 thread proposes; in no release.

An invalidation is only noted; the pages stay pinned and in use. After the VMM has written it calls the ioctl: if something
was noted since the last call, the pages are looked up again and the importers are told (move_notify).

Most favourable readings of what is left open: where the memfd still has a hole the buffer keeps its old page (looking up
fills none, so nobody reads zeros) and remembers that something was noted; importers are told only when a page has changed; the
VMM calls only when no other of its threads punches or writes. The last is not the design's to decide, and matters: an
invalidation is noted before the page leaves the memfd, and a call in between finds the old page and forgets the note.
"""

from __future__ import annotations

from secondsight.devices.udmabuf_watched import PinnedUdmabuf
from secondsight.lang import atomic
from secondsight.linux.dma_buf import dma_buf_move_notify
from secondsight.linux.gup import unpin_folio

__all__ = ["UdmabufPrepare"]


class UdmabufPrepare(PinnedUdmabuf):
    """`noted`: the VMM's mapping was invalidated since the last UDMABUF_PREPARE."""

    noted: bool

    def changed(self) -> None:
        """Note it."""
        self.noted = True

    def prepare(self) -> None:
        """UDMABUF_PREPARE: look the pages up again, and tell the importers."""
        self.resv.lock()
        with atomic:
            noted = self.noted
            pages = self.nr_pages
        if noted:
            self.noted = self.has_hole()
            for pgoff in range(pages):
                old = self.look_up(pgoff)
                if old is not None:
                    dma_buf_move_notify(self)
                    unpin_folio(old)
        self.resv.unlock()
