"""A dynamic importer of a buffer: maps when it needs the buffer, reads by its mapping, obeys `move_notify`.

What a GPU driver does with a buffer that somebody else exports, cut down to one device that only reads: the access is one
step and takes no lock; mapping happens under the buffer's reservation lock; `move_notify` drops the mapping at once.

Left out: fences (the device's use of a mapping ends in the step in which the mapping goes), writing. Use by a fence that is
still running may hide a bug in an exporter that frees without waiting for it.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic
from secondsight.linux.dma_buf import (
    DmaBuf,
    DmaBufAttachment,
    dma_buf_dynamic_attach,
    dma_buf_map_attachment,
    dma_buf_unmap_attachment,
    importer_read,
)
from secondsight.linux.errno import EBUSY, EINVAL
from secondsight.linux.mm_types import Driver, Pgoff, Result

__all__ = ["Importer"]


class Importer(Driver):
    """The importer's driver and its device, attached to one buffer."""

    buffer: Ref[DmaBuf]
    attach: Ref[DmaBufAttachment]

    def open(self, buffer: DmaBuf) -> None:
        """Attach to `buffer` (dma_buf_dynamic_attach). Part of setting up."""
        self.buffer = buffer
        self.attach = dma_buf_dynamic_attach(buffer, self, True)

    def read(self, pgoff: Pgoff) -> Result:
        """The device reads page `pgoff` of the buffer, mapping it first if it has to: the contents, or the exporter's error."""
        while True:
            value = self.access(pgoff)
            if value != -EINVAL:
                return value
            ret = self.map()
            if ret != 0 and ret != -EBUSY:
                return ret

    @atomic
    def access(self, pgoff: Pgoff) -> Result:
        """The device's access: the contents, or -EINVAL without a mapping."""
        attach = self.attach
        assert attach is not None
        return importer_read(attach, pgoff)

    def map(self) -> Errno:
        """Ask for the buffer: dma_buf_map_attachment() under the reservation lock. -EBUSY: ask again."""
        with atomic:
            buffer = self.buffer
            attach = self.attach
        assert buffer is not None
        assert attach is not None
        with atomic:
            buffer.resv.lock()
            mapped = attach.mapped
        ret: Errno = 0
        if not mapped:
            ret = dma_buf_map_attachment(buffer, attach)
        buffer.resv.unlock()
        return ret

    def move_notify(self) -> None:
        """The buffer moves: stop using the mapping, now. `resv` is held by the exporter."""
        with atomic:
            buffer = self.buffer
            attach = self.attach
            mapped = attach is not None and attach.mapped
        if mapped:
            assert buffer is not None
            assert attach is not None
            dma_buf_unmap_attachment(buffer, attach)
