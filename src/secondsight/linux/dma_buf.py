"""drivers/dma-buf/dma-buf.c: a buffer that one driver exports and others import.

An *importer* attaches to the buffer, maps the attachment (the exporter says which frames it is: the sg table), and uses these
frames until it unmaps. All of mapping, unmapping, pinning and moving happens under the buffer's reservation lock
(`resv`).

* A *dynamic* importer has `move_notify`: the exporter, holding `resv`, tells it that the buffer moves; it stops using its
  mapping and maps again when it needs the buffer.
* An importer that is not dynamic has its mapping made at attach and kept to the end; a dynamic exporter must pin for it.
* An exporter is dynamic when it has `pin` and `unpin`. One that is not never moves the buffer.

Drivers that export derive from `DmaBuf`; the importer's record is its driver's (`Driver.move_notify`).

* `resv` has the fences of the work that uses the buffer (`dma_resv.py`), where a machine has any (bound `resv_fences`). When
  importers have been told, work on the old place may still run until its fence is signalled.
* Linux 7.2 calls the notification dma_buf_invalidate_mappings(), and says what an exporter has to wait for after it.

* A CPU's access is between dma_buf_begin_cpu_access() and dma_buf_end_cpu_access(): work in flight is waited for, as far as its fences
  are of implicit synchronisation (WRITE, and READ for a CPU that writes; KERNEL always).
* A driver's own CPU accesses go by dma_buf_vmap(), under `resv`: the exporter maps all of the buffer once, however many ask (`vmapping_counter`), until the last has
  given it back. Of a buffer that moves the importer has to pin it first.

Lock order: the mmap lock, then `resv`. Left out: peer-to-peer, direction of mappings; caches that are not coherent.
CONFIG_DMABUF_MOVE_NOTIFY is on.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Char, Errno, Record, Ref, atomic, bound, milestone, pool, require, tracepoint
from secondsight.linux.dma_resv import DmaResv, DmaResvUsage, dma_resv_usage_rw, dma_resv_wait_timeout
from secondsight.linux.errno import EINVAL
from secondsight.linux.mm_flags import MAP_PRIVATE, VM_PFNMAP
from secondsight.linux.mm_types import AddressSpace, Count, Driver, Flags, Folio, Mm, Pgoff, Result, Va
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import frame_touch

__all__ = [
    "DmaBuf",
    "DmaBufAttachment",
    "attachments",
    "dma_buf_attach",
    "dma_buf_attach_revocable",
    "dma_buf_begin_cpu_access",
    "dma_buf_detach",
    "dma_buf_dynamic_attach",
    "dma_buf_end_cpu_access",
    "dma_buf_fget",
    "dma_buf_fput",
    "dma_buf_invalidate_mappings",
    "dma_buf_map_attachment",
    "dma_buf_mmap",
    "dma_buf_move_notify",
    "dma_buf_pin",
    "dma_buf_unmap_attachment",
    "dma_buf_unpin",
    "dma_buf_vmap",
    "dma_buf_vmap_load",
    "dma_buf_vunmap",
    "importer_access",
    "importer_read",
    "importer_write",
]


bound("dmabuf_pages", usual=8)
bound("dma_buf_vmaps", most=1)


class DmaBufAttachment(Record):
    """struct dma_buf_attachment with its sg table. `mapped`: `sgt` is what the exporter last gave, and not yet unmapped."""

    dmabuf: Ref[DmaBuf]
    importer: Ref[Driver]
    dynamic: bool
    mapped: bool
    sgt: Array[Ref[Folio], Literal["dmabuf_pages"]]


class DmaBuf(AddressSpace):
    """struct dma_buf and its dma_buf_ops, for an exporter to derive from. Mapped into a process it is a PFN mapping.

    `attachments` begins with the newest. `f_count` is that of its file, less its mappings, which are counted by looking: a file descriptor, a call under way.
    When nothing refers to the file any more, the buffer is released. Left out: attachments do not count.
    """

    resv: DmaResv
    attachments: Array[Ref[DmaBufAttachment], Literal["attachments"]]
    nr_pages: Pgoff
    f_count: Count
    vmapping_counter: Array[Count, Literal["dma_buf_vmaps"]]

    def vm_flags(self) -> Flags:
        """VM_PFNMAP: entries without references, that cannot be mirrored."""
        return VM_PFNMAP

    def mmap(self, length: Pgoff, pgoff: Pgoff, map_flags: Flags) -> Errno:
        """dma_buf_mmap_internal() (drivers/dma-buf/dma-buf.c, Linux 6.12): -EINVAL beyond the end of the buffer."""
        if pgoff + length > self.nr_pages:
            return -EINVAL
        return 0

    def unlinked(self) -> None:
        """A mapping has gone; see `dma_buf_fput`."""
        dma_buf_released(self)

    def release(self) -> None:
        """dma_buf_ops.release: nothing refers to the buffer any more."""

    def is_dynamic(self) -> bool:
        """dma_buf_is_dynamic(): whether the exporter has `pin` and `unpin`."""
        return False

    def cache_sgt_mapping(self) -> bool:
        """dma_buf_ops.cache_sgt_mapping: an attachment is mapped once and stays so to the end."""
        return False

    def pin(self, attach: DmaBufAttachment) -> Errno:
        """dma_buf_ops.pin: the buffer may not move until `unpin`. 0 or an error. `resv` is held."""
        return 0

    def unpin(self, attach: DmaBufAttachment) -> None:
        """dma_buf_ops.unpin. `resv` is held."""

    def has_storage(self, frame: Folio) -> bool:
        """For rules: whether a frame is the buffer's memory now, or was and is kept for work that still uses it."""
        return True

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """dma_buf_ops.map_dma_buf: fill `attach.sgt`. 0 or an error. `resv` is held."""
        return -EINVAL

    def unmap_dma_buf(self, attach: DmaBufAttachment) -> None:
        """dma_buf_ops.unmap_dma_buf: `attach.sgt` is no longer used. `resv` is held."""

    def vmap(self) -> Errno:
        """dma_buf_ops.vmap: map all of it for the kernel's CPU accesses: 0 or an error; -EINVAL of an exporter that has no such callback. `resv` is held."""
        return -EINVAL

    def vunmap(self) -> None:
        """dma_buf_ops.vunmap: nobody uses the mapping any more. `resv` is held."""

    def vmap_page(self, pgoff: Pgoff) -> Ref[Folio]:
        """The page that the mapping has at `pgoff`."""
        return None

    def begin_cpu_access(self, write: bool) -> Errno:
        """dma_buf_ops.begin_cpu_access: a CPU is about to use the buffer. 0 or an error. `resv` is not held."""
        return 0

    def end_cpu_access(self, write: bool) -> Errno:
        """dma_buf_ops.end_cpu_access: the CPU is done. 0 or an error. `resv` is not held."""
        return 0


attachments = pool(DmaBufAttachment, bound("attachments", usual=2))


@tracepoint
def importer_access(attach: DmaBufAttachment, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """An importer is about to read or write page `pgoff` of the buffer, which is `frame` by its mapping."""


@atomic
def importer_read(attach: DmaBufAttachment, pgoff: Pgoff) -> Result:
    """The importer's device reads page `pgoff` by its mapping: the contents; -EINVAL if it has no mapping."""
    frame = attach.sgt[pgoff]
    if not attach.mapped or frame is None:
        return -EINVAL
    importer_access(attach, pgoff, frame, False)
    frame_touch(frame, False)
    return frame.contents


@atomic
def importer_write(attach: DmaBufAttachment, pgoff: Pgoff, value: Char) -> Errno:
    """The importer's device writes page `pgoff` by its mapping: 0; -EINVAL if it has no mapping."""
    frame = attach.sgt[pgoff]
    if not attach.mapped or frame is None:
        return -EINVAL
    importer_access(attach, pgoff, frame, True)
    frame_touch(frame, True)
    frame.contents = value
    return 0


def dma_buf_attach(dmabuf: DmaBuf, importer: Driver) -> Ref[DmaBufAttachment]:
    """dma_buf_attach() (drivers/dma-buf/dma-buf.c, Linux 6.12): attach an importer that is not dynamic."""
    return dma_buf_dynamic_attach(dmabuf, importer, False)


def dma_buf_dynamic_attach(dmabuf: DmaBuf, importer: Driver, dynamic: bool) -> Ref[DmaBufAttachment]:
    """dma_buf_dynamic_attach() (drivers/dma-buf/dma-buf.c, Linux 6.12): attach; `dynamic`: the importer has `move_notify`.

    If exactly one of exporter and importer is dynamic, the attachment is mapped here and for good (pinned first, by a dynamic
    exporter). None if that fails. `resv` is free between the two: the importer may be told of a move before this returns.
    """
    with atomic:
        attach = attachments.alloc()
        attach.importer = importer
        attach.dynamic = dynamic
        attach.dmabuf = dmabuf
    with atomic:
        dmabuf.resv.lock()
        attachments_add(dmabuf, attach)
    dmabuf.resv.unlock()
    if dynamic == dmabuf.is_dynamic():
        return attach
    dmabuf.resv.lock()
    ret: Errno = 0
    if dmabuf.is_dynamic():
        ret = dmabuf.pin(attach)
    if ret == 0:
        ret = __map_dma_buf(dmabuf, attach)
        if ret != 0 and dmabuf.is_dynamic():
            dmabuf.unpin(attach)
    with atomic:
        dmabuf.resv.unlock()
        attach.mapped = ret == 0
    if ret == 0:
        return attach
    dma_buf_detach(dmabuf, attach)
    return None


@atomic
def attachments_add(dmabuf: DmaBuf, attach: DmaBufAttachment) -> None:
    """list_add() to dma_buf.attachments: as the first."""
    for i in range(len(dmabuf.attachments) - 1, 0, -1):
        dmabuf.attachments[i] = dmabuf.attachments[i - 1]
    dmabuf.attachments[0] = attach


@atomic
def attachments_del(dmabuf: DmaBuf, attach: DmaBufAttachment) -> None:
    """list_del() from dma_buf.attachments, and the end of the attachment."""
    at = 0
    for i in range(len(dmabuf.attachments)):
        one = dmabuf.attachments[i]
        dmabuf.attachments[i] = None
        if one is not attach:
            dmabuf.attachments[at] = one
            at += 1
    attachments.free(attach)


@atomic
def is_cached(attach: DmaBufAttachment) -> bool:
    """Whether `dma_buf_attachment.sgt` is set: the mapping is kept until the attachment ends."""
    dmabuf = attach.dmabuf
    return dmabuf is not None and attach.mapped and (dmabuf.cache_sgt_mapping() or attach.dynamic != dmabuf.is_dynamic())


def dma_buf_detach(dmabuf: DmaBuf, attach: DmaBufAttachment) -> None:
    """dma_buf_detach() (drivers/dma-buf/dma-buf.c, Linux 6.12): unmap what is cached, unpin, forget the attachment."""
    with atomic:
        dmabuf.resv.lock()
        cached = is_cached(attach)
        if not cached:
            attachments_del(dmabuf, attach)
    if cached:
        dmabuf.unmap_dma_buf(attach)
        if dmabuf.is_dynamic():
            dmabuf.unpin(attach)
        attachments_del(dmabuf, attach)
    dmabuf.resv.unlock()


@milestone
def dma_buf_map_attachment(dmabuf: DmaBuf, attach: DmaBufAttachment) -> Errno:
    """dma_buf_map_attachment() (drivers/dma-buf/dma-buf.c, Linux 6.12): learn the frames (`attach.sgt`); `resv` is
    held.

    0 or the exporter's error. A cached mapping is returned as it is. Otherwise the exporter is asked, whether there is
    a mapping or not: the kernel then makes a second sg table; here the first one is forgotten.
    """
    with atomic:
        require(dmabuf.resv.held_by_me(), "lock-not-held", "maps an attachment without the reservation lock")
        cached = is_cached(attach)
    if cached:
        return 0
    ret = __map_dma_buf(dmabuf, attach)
    if ret == 0:
        attach.mapped = True
    return ret


def __map_dma_buf(dmabuf: DmaBuf, attach: DmaBufAttachment) -> Errno:
    """__map_dma_buf() (drivers/dma-buf/dma-buf.c, Linux 6.12): an importer that is not dynamic does not look at fences, so moves are waited for.

    Left out: a signal that ends the wait.
    """
    ret = dmabuf.map_dma_buf(attach)
    if len(dmabuf.resv.fences) > 0:
        if ret == 0 and not attach.dynamic:
            dma_resv_wait_timeout(dmabuf.resv, DmaResvUsage.KERNEL)
    return ret


@milestone
def dma_buf_unmap_attachment(dmabuf: DmaBuf, attach: DmaBufAttachment) -> None:
    """dma_buf_unmap_attachment() (drivers/dma-buf/dma-buf.c, Linux 6.12): give the frames back; `resv` is held.

    Does nothing for a cached mapping: one made at attach, or by an exporter with `cache_sgt_mapping`.
    """
    with atomic:
        require(dmabuf.resv.held_by_me(), "lock-not-held", "unmaps an attachment without the reservation lock")
        cached = is_cached(attach)
    if not cached:
        dmabuf.unmap_dma_buf(attach)
        with atomic:
            attach.mapped = False
            for i in range(len(attach.sgt)):
                attach.sgt[i] = None


def dma_buf_pin(dmabuf: DmaBuf, attach: DmaBufAttachment) -> Errno:
    """dma_buf_pin() (drivers/dma-buf/dma-buf.c, Linux 6.12): a dynamic importer asks that the buffer does not move.

    WARN_ON() for one that is not dynamic is the broken rule `not-dynamic`.
    """
    with atomic:
        require(dmabuf.resv.held_by_me(), "lock-not-held", "pins a buffer without the reservation lock")
        require(attach.dynamic, "not-dynamic", "pins a buffer for an importer that has no move_notify")
    return dmabuf.pin(attach)


def dma_buf_unpin(dmabuf: DmaBuf, attach: DmaBufAttachment) -> None:
    """dma_buf_unpin() (drivers/dma-buf/dma-buf.c, Linux 6.12)."""
    with atomic:
        require(dmabuf.resv.held_by_me(), "lock-not-held", "unpins a buffer without the reservation lock")
        require(attach.dynamic, "not-dynamic", "unpins a buffer for an importer that has no move_notify")
    dmabuf.unpin(attach)


@milestone
def dma_buf_vmap(dmabuf: DmaBuf) -> Errno:
    """dma_buf_vmap() (drivers/dma-buf/dma-buf.c, Linux 6.12): a driver's own mapping of all of the buffer, for its CPU accesses; `resv` is held. 0, or the exporter's error.
    Who has it already is not asked again."""
    require(dmabuf.resv.held_by_me(), "lock-not-held", "maps a buffer for the kernel without the reservation lock")
    if dmabuf.vmapping_counter[0] == 0:
        ret: Errno = dmabuf.vmap()
        if ret != 0:
            return ret
    dmabuf.vmapping_counter[0] += 1
    return 0


@milestone
def dma_buf_vunmap(dmabuf: DmaBuf) -> None:
    """dma_buf_vunmap() (drivers/dma-buf/dma-buf.c, Linux 6.12): the last one ends the mapping; `resv` is held. BUG_ON() of one that was never made is a broken rule."""
    with atomic:
        require(dmabuf.resv.held_by_me(), "lock-not-held", "ends a buffer's mapping for the kernel without the reservation lock")
        require(dmabuf.vmapping_counter[0] > 0, "vmap", "ends a mapping of a buffer that nobody has made")
        dmabuf.vmapping_counter[0] -= 1
        last = dmabuf.vmapping_counter[0] == 0
    if last:
        dmabuf.vunmap()


@atomic
def dma_buf_vmap_load(dmabuf: DmaBuf, pgoff: Pgoff) -> Result:
    """A load of a driver's through such a mapping: the contents of page `pgoff`."""
    require(dmabuf.vmapping_counter[0] > 0, "vmap", "reads through a mapping of a buffer that nobody has made")
    frame: Ref[Folio] = dmabuf.vmap_page(pgoff)
    assert frame is not None
    frame_touch(frame, False)
    return frame.contents


@milestone
def dma_buf_move_notify(dmabuf: DmaBuf) -> None:
    """dma_buf_move_notify() (drivers/dma-buf/dma-buf.c, Linux 6.12): tell every dynamic importer; `resv` is held.

    The last to attach is told first. The list of attachments cannot change meanwhile.
    """
    with atomic:
        require(dmabuf.resv.held_by_me(), "lock-not-held", "notifies importers without the reservation lock")
        at = next_dynamic(dmabuf, 0)
        importer = importer_at(dmabuf, at)
    while importer is not None:
        importer.move_notify()
        with atomic:
            at = next_dynamic(dmabuf, at + 1)
            importer = importer_at(dmabuf, at)


def dma_buf_invalidate_mappings(dmabuf: DmaBuf) -> None:
    """dma_buf_invalidate_mappings() (drivers/dma-buf/dma-buf.c, Linux 7.2): the same under a new name, and with a contract.

    When it returns, importers may still use the memory in full until their fences are signalled (dma_resv_wait_timeout() of usage
    BOOKKEEP), and after that read it, for nothing, until they unmap, which they do in bounded time. Who wants nobody to use the
    memory waits for both. A new mapping may be asked for at once: the exporter gives one, or refuses.
    """
    dma_buf_move_notify(dmabuf)


@atomic
def dma_buf_attach_revocable(attach: DmaBufAttachment) -> bool:
    """dma_buf_attach_revocable() (drivers/dma-buf/dma-buf.c, Linux 7.2): whether the importer unmaps in bounded time when it is told.

    Here each dynamic importer does; in 7.2 one may be without the callback.
    """
    return attach.dynamic


@atomic
def next_dynamic(dmabuf: DmaBuf, at: Count) -> Count:
    """The place in the list of the next attachment of a dynamic importer, from `at` on; the end of the list if there is none."""
    while at < len(dmabuf.attachments):
        attach = dmabuf.attachments[at]
        if attach is not None and attach.dynamic:
            return at
        at += 1
    return at


@atomic
def importer_at(dmabuf: DmaBuf, at: Count) -> Ref[Driver]:
    """The importer of the attachment at a place in the list; None at its end."""
    if at >= len(dmabuf.attachments):
        return None
    attach = dmabuf.attachments[at]
    return None if attach is None else attach.importer


@milestone
def dma_buf_begin_cpu_access(dmabuf: DmaBuf, write: bool) -> Errno:
    """dma_buf_begin_cpu_access(), __dma_buf_begin_cpu_access() (drivers/dma-buf/dma-buf.c, Linux 6.12): a CPU may use the buffer until
    `dma_buf_end_cpu_access`. 0 or the exporter's error.

    The exporter is asked first; then fences are waited for: of writers, and of readers for a CPU that writes (DMA_TO_DEVICE,
    DMA_BIDIRECTIONAL). Nobody is kept from queueing new work meanwhile. Left out: a signal that ends the wait.
    """
    ret = dmabuf.begin_cpu_access(write)
    if len(dmabuf.resv.fences) > 0:
        if ret == 0:
            dma_resv_wait_timeout(dmabuf.resv, dma_resv_usage_rw(write))
    return ret


@milestone
def dma_buf_end_cpu_access(dmabuf: DmaBuf, write: bool) -> Errno:
    """dma_buf_end_cpu_access() (drivers/dma-buf/dma-buf.c, Linux 6.12): the CPU is done. 0 or the exporter's error."""
    return dmabuf.end_cpu_access(write)


def dma_buf_mmap(dmabuf: DmaBuf, mm: Mm, va: Va, length: Pgoff, pgoff: Pgoff, shared: bool, write: bool = True) -> Result:
    """mmap(2) of the buffer, with dma_buf_mmap_internal() (drivers/dma-buf/dma-buf.c, Linux 6.12).

    -EINVAL beyond the end of the buffer or for a private mapping (udmabuf's mmap_udmabuf() says so), else as
    `do_mmap`.
    """
    return do_mmap(mm, va, length, dmabuf, pgoff, write, 0 if shared else MAP_PRIVATE)


@atomic
def dma_buf_fget(dmabuf: DmaBuf) -> None:
    """fget() (fs/file.c, Linux 6.12) of a buffer's file: it stays while the caller uses it."""
    dmabuf.f_count += 1


@atomic
def dma_buf_fput(dmabuf: DmaBuf) -> None:
    """fput() (fs/file_table.c, Linux 6.12) of a buffer's file; the last reference releases the buffer."""
    require(dmabuf.f_count > 0, "use-after-free", "drops a file that nobody holds")
    dmabuf.f_count -= 1
    dma_buf_released(dmabuf)


@atomic
def dma_buf_released(dmabuf: DmaBuf) -> None:
    """dma_buf_release() (drivers/dma-buf/dma-buf.c, Linux 6.12), if nothing holds the file and nothing maps it."""
    if dmabuf.f_count == 0 and dmabuf.i_mmap is None:
        dmabuf.release()
