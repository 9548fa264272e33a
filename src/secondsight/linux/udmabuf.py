"""drivers/dma-buf/udmabuf.c: a dma-buf made of pages of memfds.

    create     seals are looked at; each page is found in the memfd, or made there, and pinned: until release
    mmap       a fault maps the pinned page; the memfd is never looked at again
    map        the sg table is the pinned pages
    begin      of a CPU's access: the buffer gets an sg table of its own device, once, and keeps it; to end one that never began is an error

So the buffer is the pages that the memfd had at creation. After a hole is punched the memfd has other pages there,
or none, and nobody is told: the exporter is not dynamic and never calls move_notify.

Seals: F_SEAL_SHRINK is wanted, F_SEAL_WRITE and F_SEAL_FUTURE_WRITE are refused, both -EINVAL. Holes may be
punched all the same.

Limits: how many items a list may have (`list_limit`) and how large a buffer may be (`size_limit_mb`) are parameters of the module, which user space may write
at any time. They are looked at before a memfd is: -EINVAL. Where a scenario writes none there are none (the bound `udmabuf_limits`).

vmap      all pages, for the kernel's own CPU accesses (`dma_buf_vmap`)

Left out: alignment (all is counted in pages); a machine whose bound `udmabuf_sg` is 0 has no access of CPUs that begins. The inode lock around the check and the
pinning is of later 6.12.y.
"""

from __future__ import annotations

from typing import Final, Literal

from secondsight.lang import Array, Errno, Record, Ref, atomic, bound, milestone, out_of_records, pool, shared_array
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment
from secondsight.linux.errno import EAGAIN, EBADFD, EINVAL
from secondsight.linux.gup import check_and_migrate_movable_folios, memfd_pin_folio, memfd_pin_valid, unpin_folio
from secondsight.linux.memory import VM_FAULT_NOPAGE, VM_FAULT_SIGBUS, insert_pfn
from secondsight.linux.mm_types import Count, Flags, Folio, Gather, Mm, Pgoff, Result, Va
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_alloc_slowpath import GFP_KERNEL, direct_reclaim, might_alloc
from secondsight.linux.shmem import F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK, F_SEAL_WRITE, ShmemFile

__all__ = [
    "Udmabuf",
    "UdmabufCreateItem",
    "check_memfd_seals",
    "create_items",
    "get_sg_table",
    "release_udmabuf",
    "udmabuf_create",
    "udmabuf_create_list",
    "udmabuf_limits",
    "udmabuf_limits_write",
    "udmabufs",
]


bound("udmabuf_sg", most=1, usual=1)


class UdmabufLimits(Record):
    """The parameters list_limit, and size_limit_mb in pages, once user space has written them."""

    written: bool
    list_limit: Count
    pglimit: Pgoff


udmabuf_limits = shared_array(UdmabufLimits, bound("udmabuf_limits", most=1, usual=1))
PAGES_OF_A_MIB: Final = 15
"""A buffer of one MiB is larger than any here."""


class Udmabuf(DmaBuf):
    """struct udmabuf: the pinned pages, in the buffer's order. `sg[0]`: whether `udmabuf.sg` is there."""

    folios: Array[Ref[Folio], Literal["dmabuf_pages"]]
    sg: Array[bool, Literal["udmabuf_sg"]]

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        """udmabuf_vm_fault() (drivers/dma-buf/udmabuf.c, Linux 6.12): map the pinned page."""
        return udmabuf_insert(self, mm, va, pgoff)

    def cache_sgt_mapping(self) -> bool:
        """An attachment is mapped once."""
        return True

    def release(self) -> None:
        """release_udmabuf()."""
        release_udmabuf(self)

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """map_udmabuf() (drivers/dma-buf/udmabuf.c, Linux 6.12): the pinned pages."""
        get_sg_table()
        with atomic:
            for i in range(self.nr_pages):
                attach.sgt[i] = self.folios[i]
        return 0

    def unmap_dma_buf(self, attach: DmaBufAttachment) -> None:
        """unmap_udmabuf(), put_sg_table() (drivers/dma-buf/udmabuf.c, Linux 6.12)."""

    def vmap(self) -> Errno:
        """vmap_udmabuf() (drivers/dma-buf/udmabuf.c, Linux 7.2; in 6.12 the same of folios of one page): each page where it is in the buffer. Left out: -ENOMEM, and
        -EINVAL where the kernel has no addresses left."""
        return 0

    def vmap_page(self, pgoff: Pgoff) -> Ref[Folio]:
        """What vm_map_ram() was given for page `pgoff`."""
        return self.folios[pgoff]

    def begin_cpu_access(self, write: bool) -> Errno:
        """begin_cpu_udmabuf() (drivers/dma-buf/udmabuf.c, Linux 6.12): the table is made if there is none. Left out: -ENOMEM."""
        return begin_cpu_udmabuf(self)

    def end_cpu_access(self, write: bool) -> Errno:
        """end_cpu_udmabuf() (drivers/dma-buf/udmabuf.c, Linux 6.12): -EINVAL if there is no table."""
        return end_cpu_udmabuf(self)


def get_sg_table() -> None:
    """get_sg_table() (drivers/dma-buf/udmabuf.c, Linux 6.12): kzalloc() and sg_alloc_table() of the table that an importer is given, with GFP_KERNEL; who maps holds the
    reservation lock. Left out: -ENOMEM."""
    if len(direct_reclaim) > 0:
        might_alloc(GFP_KERNEL)


class UdmabufCreateItem(Record):
    """struct udmabuf_create_item, in the caller's memory: `size` pages of `memfd` from `offset`. None: not a memfd."""

    memfd: Ref[ShmemFile]
    offset: Pgoff
    size: Pgoff


udmabufs = pool(Udmabuf, bound("udmabufs", usual=2))
create_items = pool(UdmabufCreateItem, bound("create_items", usual=4))


@atomic
def begin_cpu_udmabuf(ubuf: Udmabuf) -> Errno:
    """begin_cpu_udmabuf() (drivers/dma-buf/udmabuf.c, Linux 6.12), get_sg_table() and all: one step."""
    if len(ubuf.sg) == 0:
        out_of_records("udmabuf_sg")
    ubuf.sg[0] = True
    return 0


@atomic
def end_cpu_udmabuf(ubuf: Udmabuf) -> Errno:
    """end_cpu_udmabuf() (drivers/dma-buf/udmabuf.c, Linux 6.12)."""
    if len(ubuf.sg) > 0:
        return 0 if ubuf.sg[0] else -EINVAL
    return -EINVAL


@atomic
def udmabuf_limits_write(list_limit: Count, mebibytes: Count) -> None:
    """param_set_int() (kernel/params.c, Linux 6.12) of list_limit and size_limit_mb (drivers/dma-buf/udmabuf.c): what user space writes into the module's parameters,
    one after the other; here in one step. Negative numbers are left out."""
    limits = udmabuf_limits[0]
    limits.written = True
    limits.list_limit = list_limit
    limits.pglimit = min(PAGES_OF_A_MIB, mebibytes * PAGES_OF_A_MIB)


@atomic
def is_too_large(pages: Count) -> bool:
    """The look of udmabuf_create() (drivers/dma-buf/udmabuf.c, Linux 6.12) at size_limit_mb."""
    if len(udmabuf_limits) > 0:
        return udmabuf_limits[0].written and pages > udmabuf_limits[0].pglimit
    return False


@atomic
def are_too_many(items: Count) -> bool:
    """The look of udmabuf_ioctl_create_list() (drivers/dma-buf/udmabuf.c, Linux 6.12) at list_limit."""
    if len(udmabuf_limits) > 0:
        return udmabuf_limits[0].written and items > udmabuf_limits[0].list_limit
    return False


@atomic
def udmabuf_insert(ubuf: Udmabuf, mm: Mm, va: Va, pgoff: Pgoff) -> Flags:
    """vmf_insert_pfn() of the buffer's page."""
    if pgoff >= ubuf.nr_pages:
        return VM_FAULT_SIGBUS
    frame = ubuf.folios[pgoff]
    assert frame is not None
    insert_pfn(mm, va, frame)
    return VM_FAULT_NOPAGE


@atomic
def check_memfd_seals(memfd: ShmemFile) -> Errno:
    """check_memfd_seals() (drivers/dma-buf/udmabuf.c, Linux 6.12): 0 or -EINVAL."""
    if memfd.seals & F_SEAL_SHRINK == 0 or memfd.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0:
        return -EINVAL
    return 0


@milestone
def udmabuf_create(memfd: Ref[ShmemFile], offset: Pgoff, size: Pgoff) -> Result:
    """UDMABUF_CREATE, udmabuf_create() (drivers/dma-buf/udmabuf.c, Linux 6.12): a buffer of `size` pages of a
    memfd.

    Its place in `udmabufs`, with the reference of a new file descriptor, or: -EINVAL for no pages, more than the limit, wrong seals, or pages beyond the end of the file; -EBADFD
    for no memfd.
    """
    with atomic:
        if size == 0 or is_too_large(size):
            return -EINVAL
        ubuf = udmabufs.alloc()
        ubuf.f_count = 1
    ret = udmabuf_pin_folios(ubuf, memfd, offset, size)
    if ret != 0:
        release_udmabuf(ubuf)
        return ret
    return udmabufs.index(ubuf)


def udmabuf_create_list(count: Count) -> Result:
    """UDMABUF_CREATE_LIST, udmabuf_create() (drivers/dma-buf/udmabuf.c, Linux 6.12): a buffer of the first
    `create_items`.

    As `udmabuf_create`; one item's error is the whole call's, and what was pinned is unpinned. -EINVAL for more items than the limit.
    """
    with atomic:
        if are_too_many(count):
            return -EINVAL
        total = 0
        for i in range(count):
            total += create_items[i].size
        if total == 0 or is_too_large(total):
            return -EINVAL
        ubuf = udmabufs.alloc()
        ubuf.f_count = 1
    for i in range(count):
        with atomic:
            memfd = create_items[i].memfd
            offset = create_items[i].offset
            size = create_items[i].size
        ret = udmabuf_pin_folios(ubuf, memfd, offset, size)
        if ret != 0:
            release_udmabuf(ubuf)
            return ret
    return udmabufs.index(ubuf)


def udmabuf_pin_folios(ubuf: Udmabuf, memfd: Ref[ShmemFile], offset: Pgoff, size: Pgoff) -> Result:
    """udmabuf_pin_folios() and the checks before it (drivers/dma-buf/udmabuf.c, Linux 6.12), under the inode lock."""
    if memfd is None:
        return -EBADFD
    with atomic:
        memfd.i_rwsem.read_lock()
        ret = check_memfd_seals(memfd)
        if ret == 0:
            ret = memfd_pin_valid(memfd, offset, size)
        first = ubuf.nr_pages
    if ret == 0:
        for pgoff in range(offset, offset + size):
            udmabuf_add_folio(ubuf, memfd, pgoff)
        if len(pageblocks) > 0:
            ret = udmabuf_check_folios(ubuf, first)
            while ret == -EAGAIN:
                for pgoff in range(offset, offset + size):
                    udmabuf_add_folio(ubuf, memfd, pgoff)
                ret = udmabuf_check_folios(ubuf, first)
    memfd.i_rwsem.read_unlock()
    return ret


def udmabuf_check_folios(ubuf: Udmabuf, first: Pgoff) -> Errno:
    """The end of memfd_pin_folios() (mm/gup.c, Linux 6.12): whether the pages from `first` on may stay pinned. If not, they are the
    buffer's no more. -EAGAIN: pin them again."""
    with atomic:
        folios: Gather = []
        for i in range(first, ubuf.nr_pages):
            folio = ubuf.folios[i]
            assert folio is not None
            folios.append(folio)
    ret = check_and_migrate_movable_folios(folios)
    if ret != 0:
        with atomic:
            for i in range(first, ubuf.nr_pages):
                ubuf.folios[i] = None
            ubuf.nr_pages = first
    return ret


@atomic
def udmabuf_add_folio(ubuf: Udmabuf, memfd: ShmemFile, pgoff: Pgoff) -> None:
    """One page of udmabuf_pin_folios(): pinned, and put at the end of the buffer."""
    if ubuf.nr_pages == len(ubuf.folios):
        out_of_records("dmabuf_pages")
    ubuf.folios[ubuf.nr_pages] = memfd_pin_folio(memfd, pgoff)
    ubuf.nr_pages += 1


@atomic
def release_udmabuf(ubuf: Udmabuf) -> None:
    """release_udmabuf(), unpin_all_folios() (drivers/dma-buf/udmabuf.c, Linux 6.12): the last user is gone; unpin.

    Called by `dma_buf_fput` and by the last munmap. Whoever is attached keeps the frames without a reference: the caller
    sees to it that nobody is.
    """
    for i in range(ubuf.nr_pages):
        frame = ubuf.folios[i]
        if frame is not None:
            unpin_folio(frame)
    udmabufs.free(ubuf)
