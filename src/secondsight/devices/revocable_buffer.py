"""An exporter that takes its memory away from importers, and may give it back: the sequences that competed in 2025 and 2026.

What is exported can vanish at any time that user space chooses (a device's BAR: a reset, a change of its power state, the closing of
its file descriptor). So the exporter *revokes* the buffer: from then on mapping is refused, importers are told, and once `revoke` has
returned nobody may use the memory, for it is somebody else's. `restore` makes the buffer usable again, with new memory. `close`
is the end: revoked, whether it was before or not.

Linux 7.2 says what has to be waited for (dma_buf_invalidate_mappings(), drivers/dma-buf/dma-buf.c): the fences of usage
BOOKKEEP, then until importers have unmapped. The pattern is drivers/vfio/pci/vfio_pci_dmabuf.c (vfio_pci_dma_buf_move() and
vfio_pci_dma_buf_cleanup()), in the forms that it has had since Linux 6.19 and that were proposed for it. In `CountingBuffer`, `kref` counts
the mappings, and one for the exporter, which drops it to wait for the others (`comp`).

`revoke`, `restore` and `close` are called by one thread at a time (there: under vdev->memory_lock, held for writing).
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Errno, Ref, atomic, choose
from secondsight.linux.completion import Completion, complete, reinit_completion, wait_for_completion
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment, dma_buf_invalidate_mappings
from secondsight.linux.dma_resv import DmaResvUsage, dma_resv_lock, dma_resv_unlock, dma_resv_wait_timeout
from secondsight.linux.errno import ENODEV
from secondsight.linux.kref import Kref, kref_get, kref_init, kref_put
from secondsight.linux.mm_types import Folio, Pgoff
from secondsight.linux.page_alloc import alloc_page, put_page

__all__ = [
    "CountingBuffer",
    "FencesOnly",
    "GivesUpWaiting",
    "ImplicitFencesOnly",
    "OpensBeforeItCounts",
    "RearmsAtRevoke",
    "RevocableBuffer",
    "SkipsThePut",
    "TellsOnly",
    "UnmapOnly",
    "UnmapThenFences",
    "UnmapUnderResv",
]


class RevocableBuffer(DmaBuf):
    """What all forms share: the memory (`storage`), and whether it is `revoked`."""

    storage: Array[Ref[Folio], Literal["dmabuf_pages"]]
    revoked: bool

    def open(self, nr_pages: Pgoff) -> None:
        """Make the buffer (vfio_pci_core_feature_dma_buf()). Part of setting up."""
        self.nr_pages = nr_pages
        self.f_count = 1
        self.take_memory()

    @atomic
    def take_memory(self) -> None:
        """The memory is there."""
        for i in range(self.nr_pages):
            self.storage[i] = alloc_page()

    @atomic
    def lose_memory(self) -> None:
        """The memory is somebody else's from now on."""
        for i in range(self.nr_pages):
            frame = self.storage[i]
            self.storage[i] = None
            if frame is not None:
                put_page(frame)

    def has_storage(self, frame: Folio) -> bool:
        """Whether the frame is the buffer's now."""
        return any(page is frame for page in self.storage)

    def is_dynamic(self) -> bool:
        """Nothing is mapped at attach."""
        return True

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """vfio_pci_dma_buf_map(): refused while it is revoked."""
        with atomic:
            if self.revoked:
                return -ENODEV
            for i in range(self.nr_pages):
                attach.sgt[i] = self.storage[i]
        return 0

    def tell(self) -> None:
        """Refuse mappings, and tell the importers. `resv` is held."""
        self.revoked = True
        dma_buf_invalidate_mappings(self)

    def wait_for_fences(self) -> None:
        """Wait for the work in flight."""
        dma_resv_wait_timeout(self.resv, DmaResvUsage.BOOKKEEP)

    def revoke(self) -> None:
        """Stop all use of the memory, and then lose it."""

    def restore(self) -> None:
        """The memory is there again: tell importers, who may have work to do; allow mappings."""
        self.take_memory()
        dma_resv_lock(self.resv)
        dma_buf_invalidate_mappings(self)
        self.wait_for_fences()
        dma_resv_unlock(self.resv)
        self.rearm()
        dma_resv_lock(self.resv)
        self.revoked = False
        dma_resv_unlock(self.resv)

    def rearm(self) -> None:
        """Make ready for the next `revoke`."""

    def close(self) -> None:
        """The end of the exporter's device: revoke, whatever there was before."""
        self.revoke()


class TellsOnly(RevocableBuffer):
    """Tell importers, and no more (vfio of Linux 6.19, commit 5d74781ebc86)."""

    def revoke(self) -> None:
        """Without any wait."""
        dma_resv_lock(self.resv)
        self.tell()
        dma_resv_unlock(self.resv)
        self.lose_memory()


class FencesOnly(RevocableBuffer):
    """Tell importers and wait for the fences, under the lock: what a dynamic exporter does that moves its buffer."""

    def revoke(self) -> None:
        """Without a wait for unmapping."""
        dma_resv_lock(self.resv)
        self.tell()
        self.wait_for_fences()
        dma_resv_unlock(self.resv)
        self.lose_memory()


class ImplicitFencesOnly(FencesOnly):
    """The same, with the fences of implicit synchronisation alone."""

    def wait_for_fences(self) -> None:
        """Of usage READ and below."""
        dma_resv_wait_timeout(self.resv, DmaResvUsage.READ)


class CountingBuffer(RevocableBuffer):
    """One that counts its mappings, and waits for both: the fences under the lock, then the unmapping without it (vfio, 1a8a5227f229).

    When it was revoked the count is 0, until `restore` makes it new.
    """

    kref: Kref
    comp: Completion

    def open(self, nr_pages: Pgoff) -> None:
        """Make the buffer, with the exporter's own reference."""
        RevocableBuffer.open(self, nr_pages)
        kref_init(self.kref)

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """vfio_pci_dma_buf_map(): a mapping more."""
        ret = RevocableBuffer.map_dma_buf(self, attach)
        if ret == 0:
            kref_get(self.kref)
        return ret

    def unmap_dma_buf(self, attach: DmaBufAttachment) -> None:
        """vfio_pci_dma_buf_unmap()."""
        self.put()

    @atomic
    def put(self) -> None:
        """kref_put() with vfio_pci_dma_buf_done()."""
        if kref_put(self.kref):
            complete(self.comp)

    def wait_for_unmap(self) -> None:
        """Wait until nobody has it mapped. `resv` must be free: to unmap takes it."""
        self.put()
        wait_for_completion(self.comp)

    def rearm(self) -> None:
        """A count of one, for the next time."""
        with atomic:
            kref_init(self.kref)
            reinit_completion(self.comp)

    def revoke(self) -> None:
        """Fences under the lock, unmapping without it."""
        dma_resv_lock(self.resv)
        self.tell()
        self.wait_for_fences()
        dma_resv_unlock(self.resv)
        self.wait_for_unmap()
        self.lose_memory()


class OpensBeforeItCounts(CountingBuffer):
    """`restore` allows mappings together with the notification, and makes the count new after that (as posted in version 5)."""

    def restore(self) -> None:
        """In the wrong order."""
        self.take_memory()
        dma_resv_lock(self.resv)
        self.revoked = False
        dma_buf_invalidate_mappings(self)
        self.wait_for_fences()
        dma_resv_unlock(self.resv)
        self.rearm()


class SkipsThePut(CountingBuffer):
    """`close` drops the exporter's reference only if the buffer is not revoked already (two of the fixes proposed in April 2026)."""

    def close(self) -> None:
        """Tell again and wait for the fences; wait for the unmapping only if that was not done before."""
        dma_resv_lock(self.resv)
        was_revoked = self.revoked
        self.tell()
        self.wait_for_fences()
        dma_resv_unlock(self.resv)
        if not was_revoked:
            self.wait_for_unmap()
            self.lose_memory()


class RearmsAtRevoke(CountingBuffer):
    """`revoke` makes the count new at its end, so that the buffer may be revoked at any time (the fix that was merged for Linux 7.1)."""

    def revoke(self) -> None:
        """Nothing if it is revoked already."""
        if not self.revoked:
            self.stop_all()
            with atomic:
                kref_init(self.kref)
                reinit_completion(self.comp)

    def stop_all(self) -> None:
        """Both waits."""
        CountingBuffer.revoke(self)

    def rearm(self) -> None:
        """That was done."""


class UnmapOnly(RearmsAtRevoke):
    """Tell importers and wait until they have unmapped."""

    def stop_all(self) -> None:
        """Without a wait for fences."""
        dma_resv_lock(self.resv)
        self.tell()
        dma_resv_unlock(self.resv)
        self.wait_for_unmap()
        self.lose_memory()


class UnmapThenFences(RearmsAtRevoke):
    """Both waits, the unmapping first."""

    def stop_all(self) -> None:
        """The fences are looked at when nobody can queue work on the old mapping any more."""
        dma_resv_lock(self.resv)
        self.tell()
        dma_resv_unlock(self.resv)
        self.wait_for_unmap()
        dma_resv_lock(self.resv)
        self.wait_for_fences()
        dma_resv_unlock(self.resv)
        self.lose_memory()


class UnmapUnderResv(RearmsAtRevoke):
    """Both waits with the lock held all the time."""

    def stop_all(self) -> None:
        """To unmap, an importer needs the lock."""
        dma_resv_lock(self.resv)
        self.tell()
        self.wait_for_fences()
        self.wait_for_unmap()
        dma_resv_unlock(self.resv)
        self.lose_memory()


class GivesUpWaiting(RearmsAtRevoke):
    """Both waits, of which the second ends after a second whatever there is (as posted in version 5, with a warning)."""

    def wait_for_unmap(self) -> None:
        """wait_for_completion_timeout()."""
        self.put()
        if choose(2) == 0:
            wait_for_completion(self.comp)
