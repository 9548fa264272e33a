"""A display that shows a buffer: an importer that is not dynamic, and reads the buffer's first page for each frame.

    show()      attach, and map for as long as it is shown; or, with `each_frame`, only attach
    frame()     one frame: read by the mapping; with `each_frame` map, read, unmap
    hide()      unmap, detach

What virtio-gpu's front end (a window of the VMM's, or a scanout of the host's GPU) does with a guest's framebuffer. Most importers map
once: an exporter with `cache_sgt_mapping` makes them.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic
from secondsight.linux.dma_buf import (
    DmaBuf,
    DmaBufAttachment,
    dma_buf_attach,
    dma_buf_detach,
    dma_buf_map_attachment,
    dma_buf_unmap_attachment,
    importer_read,
)
from secondsight.linux.mm_types import Driver, Result

__all__ = ["Display"]


class Display(Driver):
    """The display's driver and its device."""

    buffer: Ref[DmaBuf]
    attach: Ref[DmaBufAttachment]
    each_frame: bool

    def show(self, buffer: DmaBuf) -> Errno:
        """Begin to show a buffer: 0, or the exporter's error."""
        attach = dma_buf_attach(buffer, self)
        with atomic:
            self.buffer = buffer
            self.attach = attach
        ret: Errno = 0
        if not self.each_frame:
            ret = self.map()
        return ret

    def hide(self) -> None:
        """Show nothing any more."""
        with atomic:
            buffer = self.buffer
            attach = self.attach
            mapped = attach is not None and attach.mapped
        assert buffer is not None and attach is not None
        if mapped:
            self.unmap()
        dma_buf_detach(buffer, attach)
        with atomic:
            self.buffer = None
            self.attach = None

    def frame(self) -> Result:
        """One frame: the contents of the first page, or an error."""
        ret: Errno = 0
        if self.each_frame:
            ret = self.map()
        if ret != 0:
            return ret
        value = self.read()
        if self.each_frame:
            self.unmap()
        return value

    @atomic
    def read(self) -> Result:
        """The device reads by its mapping."""
        attach = self.attach
        assert attach is not None
        return importer_read(attach, 0)

    def map(self) -> Errno:
        """dma_buf_map_attachment() under the reservation lock."""
        with atomic:
            buffer = self.buffer
            attach = self.attach
        assert buffer is not None and attach is not None
        buffer.resv.lock()
        ret = dma_buf_map_attachment(buffer, attach)
        buffer.resv.unlock()
        return ret

    def unmap(self) -> None:
        """dma_buf_unmap_attachment() under the reservation lock."""
        with atomic:
            buffer = self.buffer
            attach = self.attach
        assert buffer is not None and attach is not None
        buffer.resv.lock()
        dma_buf_unmap_attachment(buffer, attach)
        buffer.resv.unlock()
