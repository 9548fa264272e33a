"""How a udmabuf can hold the pages of its buffer: by a reference or a pin, from when until when, and for whom it counts them.

The designs that the 2023-06 thread speaks of. Only two are in a release: `UdmabufReferences` is what udmabuf did until 6.10,
`UdmabufPinsFolios` what it does since 6.11 (`linux/udmabuf.py`, beside which a test holds it).

    hold(pgoff)        take what the buffer's page is now, and keep it
    let_go(pgoff)      give it back
    create, release    for those that hold their pages all the time
    vmap, fault        the buffer as a driver sees it, and a process that maps it (mmap(2))
    map, unmap         for those that hold them while an importer has the buffer mapped; it may map it for one frame of a picture

Left out, in all of them: the seals, which are another question (`linux/udmabuf.py`); begin and end of CPU access.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Errno, Ref, atomic
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment
from secondsight.linux.errno import EAGAIN
from secondsight.linux.gup import (
    FOLL_LONGTERM,
    FOLL_PIN,
    FOLL_WRITE,
    check_and_migrate_movable_folios,
    memfd_pin_folio,
    pin_user_pages_fast,
    unpin_folio,
    unpin_user_page_range_dirty_lock,
)
from secondsight.linux.memory import VM_FAULT_SIGBUS, insert_pfn
from secondsight.linux.mm_types import Flags, Folio, Gather, Mm, Pgoff, Va
from secondsight.linux.page_alloc import frames, get_page, put_page
from secondsight.linux.shmem import ShmemFile, shmem_get_folio
from secondsight.linux.util import account_locked_vm

__all__ = [
    "UdmabufAsVfio",
    "UdmabufHeld",
    "UdmabufPinsAddress",
    "UdmabufPinsFolios",
    "UdmabufPinsWhileMapped",
    "UdmabufReferences",
    "UdmabufReferencesWhileMapped",
    "UdmabufShortPinsWhileMapped",
]


class UdmabufHeld(DmaBuf):
    """What the designs have in common: `nr_pages` pages of `memfd` from `first` on, which the VMM `mm` has at `va`."""

    memfd: Ref[ShmemFile]
    mm: Ref[Mm]
    va: Va
    first: Pgoff
    folios: Array[Ref[Folio], Literal["dmabuf_pages"]]

    def create(self, memfd: Ref[ShmemFile], mm: Mm, va: Va, first: Pgoff, size: Pgoff) -> Errno:
        """UDMABUF_CREATE: 0, or why there is no buffer; then nothing is held."""
        self.memfd = memfd
        self.mm = mm
        self.va = va
        self.first = first
        self.nr_pages = size
        ret: Errno = 0
        if self.holds_always():
            ret = self.hold_all()
        return ret

    def holds_always(self) -> bool:
        """Whether the pages are held from create to release; else while an importer has the buffer mapped."""
        return True

    def hold(self, pgoff: Pgoff) -> Errno:
        """Hold page `pgoff` of the buffer: it is in `folios` then. 0 or an error."""
        return 0

    def let_go(self, folio: Folio) -> None:
        """Give a page back."""
        unpin_folio(folio)

    def account(self, inc: bool) -> Errno:
        """Count the buffer's pages as locked, or no more: 0, or -ENOMEM."""
        return 0

    def hold_all(self) -> Errno:
        """Count and hold every page; after an error none."""
        ret = self.account(True)
        if ret != 0:
            return ret
        for pgoff in range(self.nr_pages):
            ret = self.hold(pgoff)
            if ret != 0:
                self.let_all_go()
                return ret
        return 0

    def let_all_go(self) -> None:
        """Give back every page that is held."""
        for pgoff in range(self.nr_pages):
            with atomic:
                folio = self.folios[pgoff]
                self.folios[pgoff] = None
            if folio is not None:
                self.let_go(folio)
        self.account(False)

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """The pages that are held."""
        ret: Errno = 0
        if not self.holds_always():
            ret = self.hold_all()
        if ret == 0:
            with atomic:
                for i in range(self.nr_pages):
                    attach.sgt[i] = self.folios[i]
        return ret

    def unmap_dma_buf(self, attach: DmaBufAttachment) -> None:
        """The importer's device uses them no more."""
        if not self.holds_always():
            self.let_all_go()

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """udmabuf_vm_fault() (drivers/dma-buf/udmabuf.c): mmap(2) of the buffer shows a process the pages that are held."""
        with atomic:
            page = self.vmap_page(pgoff)
            ret: Flags = VM_FAULT_SIGBUS
            if page is not None:
                ret = insert_pfn(mm, va, page)
        return ret

    @atomic
    def vmap_page(self, pgoff: Pgoff) -> Ref[Folio]:
        """vmap_udmabuf() (drivers/dma-buf/udmabuf.c): page `pgoff` of what a driver sees by dma_buf_vmap(); None: it is not held."""
        return self.folios[pgoff]

    def close(self) -> None:
        """The last user of the buffer's file has gone (close(2), and no importer is attached)."""
        if self.holds_always():
            self.let_all_go()


# Held from create to release.


class UdmabufReferences(UdmabufHeld):
    """A reference to each page (shmem_read_mapping_page()), as udmabuf_create() of drivers/dma-buf/udmabuf.c had it until Linux 6.10."""

    def hold(self, pgoff: Pgoff) -> Errno:
        """Find the page, or fill the hole."""
        with atomic:
            memfd = self.memfd
            assert memfd is not None
            folio = shmem_get_folio(memfd, self.first + pgoff)
            get_page(folio)
            self.folios[pgoff] = folio
        return 0

    def let_go(self, folio: Folio) -> None:
        """put_page()."""
        put_page(folio)


class UdmabufPinsAddress(UdmabufHeld):
    """Takes a range of addresses instead of a memfd: pin_user_pages(FOLL_WRITE | FOLL_LONGTERM), and counts the pages, as the thread
    says it should have been. `memfd` is not looked at."""

    def account(self, inc: bool) -> Errno:
        """In the mm's `locked_vm`."""
        mm = self.mm
        assert mm is not None
        return account_locked_vm(mm, self.nr_pages, inc)

    def hold(self, pgoff: Pgoff) -> Errno:
        """Of whatever is mapped there."""
        mm = self.mm
        assert mm is not None
        pfn = pin_user_pages_fast(mm, self.va + pgoff, FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM)
        if pfn < 0:
            return pfn
        self.folios[pgoff] = frames[pfn]
        return 0

    def let_go(self, folio: Folio) -> None:
        """An importer may have written to it: unpin_user_pages_dirty_lock()."""
        unpin_user_page_range_dirty_lock(folio)


class UdmabufPinsFolios(UdmabufHeld):
    """memfd_pin_folios(): a pin for long, so pages are moved first to where they may stay (Linux 6.11 on). Nothing is counted."""

    def hold(self, pgoff: Pgoff) -> Errno:
        """Find the page, or fill the hole; again after it was moved."""
        memfd = self.memfd
        assert memfd is not None
        folio = memfd_pin_folio(memfd, self.first + pgoff)
        ret = check_and_migrate_movable_folio(folio)
        while ret == -EAGAIN:
            folio = memfd_pin_folio(memfd, self.first + pgoff)
            ret = check_and_migrate_movable_folio(folio)
        if ret == 0:
            self.folios[pgoff] = folio
        return ret


def check_and_migrate_movable_folio(folio: Folio) -> Errno:
    """check_and_migrate_movable_folios() of one."""
    with atomic:
        folios: Gather = [folio]
    return check_and_migrate_movable_folios(folios)


class UdmabufAsVfio(UdmabufPinsFolios):
    """The same, counted as VFIO counts; and its VMM discards nothing while there is such a buffer (`vmm`)."""

    def account(self, inc: bool) -> Errno:
        """In the mm's `locked_vm`."""
        mm = self.mm
        assert mm is not None
        return account_locked_vm(mm, self.nr_pages, inc)


# Held from map to unmap of the attachment.


class UdmabufReferencesWhileMapped(UdmabufReferences):
    """A reference from map_attachment to unmap_attachment, as the thread offers."""

    def holds_always(self) -> bool:
        """No."""
        return False


class UdmabufPinsWhileMapped(UdmabufPinsFolios):
    """memfd_pin_folios() at map_attachment."""

    def holds_always(self) -> bool:
        """No."""
        return False


class UdmabufShortPinsWhileMapped(UdmabufHeld):
    """A pin that is not for long, from map to unmap: for an importer that maps the buffer for one frame only."""

    def holds_always(self) -> bool:
        """No."""
        return False

    def hold(self, pgoff: Pgoff) -> Errno:
        """Wherever the page is."""
        with atomic:
            memfd = self.memfd
            assert memfd is not None
            self.folios[pgoff] = memfd_pin_folio(memfd, self.first + pgoff)
        return 0
