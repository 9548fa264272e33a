"""Udmabufs: made of memfds' pages, mapped, closed; and devices that are attached to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux import udmabuf
from secondsight.linux.dma_buf import (
    dma_buf_begin_cpu_access,
    dma_buf_end_cpu_access,
    dma_buf_fget,
    dma_buf_fput,
    dma_buf_mmap,
    dma_buf_vmap,
    dma_buf_vmap_load,
    dma_buf_vunmap,
)
from secondsight.linux.errno import EBADF, EINVAL
from secondsight.linux.mm_flags import MAP_PRIVATE
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.mmap import do_mmap_fixed
from secondsight.linux.shmem import ShmemFile
from secondsight.linux.udmabuf import Udmabuf, create_items, udmabufs
from secondsight.scenario.ops import Arg, ArgType, Default, HandleType, Needs, Often
from secondsight.world.declare import arm, on_kernels, operation
from secondsight.world.tables import (
    FIXED,
    PRIVATE,
    READ_ONLY,
    RowNumber,
    address,
    flags,
    handles,
    makes,
    memfd_of,
    needs,
    page,
    pages,
    range_first,
    range_handle,
    range_is_memfd,
    range_page,
    range_pages,
    ranges,
    udmabuf_of,
    value,
)

__all__: list[str] = []


def _one(args: Mapping[str, Any]) -> dict[str, int]:
    return {"udmabufs": 1}


@atomic
def open_memfd(i: RowNumber) -> Ref[ShmemFile]:
    """The memfd that an operation is about, if it is not closed."""
    handle = handles[needs[i]]
    return None if handle.closed else memfd_of(handle)


@operation(
    fd=Arg(ArgType.FD),
    page=Arg(ArgType.PAGE, 0, keyword=True),
    pages=Arg(ArgType.COUNT, Default.REST, keyword=True),
    makes=HandleType.UDMABUF,
    needs=Needs.UDMABUF,
    takes=_one,
    at_least=lambda args: {"dmabuf_pages": args["pages"]},
    often=Often(9, 6, 2),
)
def udmabuf_create(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A udmabuf of a memfd's pages, by default all of them. Fails with -EINVAL (no shrink seal, a
    write or future_write seal, past the end) and -EBADFD (closed, or not a memfd)."""
    ret = udmabuf.udmabuf_create(open_memfd(i), page[i], pages[i])
    return made_udmabuf(i, ret)


@arm("udmabuf_create", HandleType.UDMABUF, HandleType.DAX, HandleType.FS_DAX, HandleType.DISK_FILE)
def udmabuf_create_of_another(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """UDMABUF_CREATE of a file that is no memfd."""
    ret = udmabuf.udmabuf_create(None, page[i], pages[i])
    return made_udmabuf(i, ret)


@operation(
    fd=Arg(ArgType.FD),
    offset=Arg(ArgType.HALVES, keyword=True),
    size=Arg(ArgType.HALVES, keyword=True),
    makes=HandleType.UDMABUF,
    needs=Needs.UDMABUF,
    pages_made=lambda args: (args["size"] + 1) // 2,  # of an odd size there is none: it is refused
    takes=_one,
    at_least=lambda args: {"dmabuf_pages": args["size"] // 2},
    often=Often(2, 0, 0),
)
def udmabuf_create_halves(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`udmabuf_create` with its offset and size counted in half pages. Fails with -EINVAL for an odd one or no page too,
    whatever the file is."""
    # udmabuf_create() (drivers/dma-buf/udmabuf.c, Linux 6.12) wants whole pages, and looks for that before it looks for the file.
    if page[i] % 2 == 1 or pages[i] % 2 == 1:
        return -EINVAL
    ret = udmabuf.udmabuf_create(open_memfd(i), page[i] // 2, pages[i] // 2)
    return made_udmabuf(i, ret)


@arm("udmabuf_create_halves", HandleType.UDMABUF, HandleType.DAX, HandleType.FS_DAX, HandleType.DISK_FILE)
def udmabuf_create_halves_of_another(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The same of a file that is no memfd."""
    if page[i] % 2 == 1 or pages[i] % 2 == 1:
        return -EINVAL
    ret = udmabuf.udmabuf_create(None, page[i] // 2, pages[i] // 2)
    return made_udmabuf(i, ret)


@operation(
    ranges=Arg(ArgType.RANGES),
    makes=HandleType.UDMABUF,
    needs=Needs.UDMABUF,
    pages_made=lambda args: sum(count for _, _, count in args["ranges"]),
    takes=_one,
    at_least=lambda args: {"dmabuf_pages": sum(r[2] for r in args["ranges"]), "create_items": len(args["ranges"])},
    often=Often(4, 0, 0),
)
def udmabuf_create_list(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A udmabuf of up to 8 ranges (fd, page, pages), in order. Fails as `udmabuf_create` does."""
    with atomic:
        for k in range(ranges[i]):
            entry = handles[range_handle[range_first[i] + k]]
            create_items[k].memfd = None
            if range_is_memfd[range_first[i] + k] != 0 and not entry.closed:
                create_items[k].memfd = memfd_of(entry)
            create_items[k].offset = range_page[range_first[i] + k]
            create_items[k].size = range_pages[range_first[i] + k]
    ret = udmabuf.udmabuf_create_list(ranges[i])
    return made_udmabuf(i, ret)


@operation(
    items=Arg(ArgType.LIMIT, keyword=True),
    mebibytes=Arg(ArgType.LIMIT, keyword=True),
    own=False,
    needs=Needs.LIMITS,
    at_least=lambda args: {"udmabuf_limits": 1},
    often=Often(1, 0, 0),
)
def udmabuf_limits(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Somebody writes the parameters of the module udmabuf: from now on a list may have `items` ranges, and a udmabuf `mebibytes` MiB: with none each is refused, one is
    more than any here has. More is -EINVAL, whatever the file is. A real kernel has its own limits back when the next scenario begins."""
    udmabuf.udmabuf_limits_write(value[i], page[i])
    return 0


@operation(
    udmabuf=Arg(ArgType.UDMABUF),
    page=Arg(ArgType.PAGE, 0, inside=True),
    needs=Needs.MODULE,
    at_least=lambda args: {"dma_buf_vmaps": 1},
    loads=True,
    often=Often(2, 1, 0),
)
def vmap_read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A driver maps all of a udmabuf for its own CPU accesses (dma_buf_vmap), loads the value of its page `page`, and unmaps it. Fails with -EBADF (closed)."""
    file = dma_buf_of_row(i)
    if file is None:
        return -EBADF
    file.resv.lock()
    ret: Result = dma_buf_vmap(file)
    file.resv.unlock()
    if ret == 0:
        ret = dma_buf_vmap_load(file, page[i])
        file.resv.lock()
        dma_buf_vunmap(file)
        file.resv.unlock()
    dma_buf_fput(file)
    return ret


@atomic
def made_udmabuf(i: RowNumber, ret: Result) -> Result:
    """The new file descriptor of a udmabuf: its handle comes into being."""
    if ret < 0:
        return ret
    handles[makes[i]].file = udmabufs[ret]
    handles[makes[i]].made = True
    return 0


@operation(
    udmabuf=Arg(ArgType.UDMABUF),
    write=Arg(ArgType.FLAG, False, keyword=True),
    needs=Needs.UDMABUF,
    at_least=lambda args: {"udmabuf_sg": 1},
    often=Often(2, 1, 0),
)
def begin_cpu_access(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """DMA_BUF_IOCTL_SYNC with DMA_BUF_SYNC_START, to read, or to read and write. Fails with -EBADF (closed)."""
    file = dma_buf_of_row(i)
    if file is None:
        return -EBADF
    ret = dma_buf_begin_cpu_access(file, value[i] != 0)
    dma_buf_fput(file)
    return ret


@operation(
    udmabuf=Arg(ArgType.UDMABUF),
    write=Arg(ArgType.FLAG, False, keyword=True),
    needs=Needs.UDMABUF,
    at_least=lambda args: {"udmabuf_sg": 1},
    often=Often(2, 1, 0),
)
def end_cpu_access(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """DMA_BUF_IOCTL_SYNC with DMA_BUF_SYNC_END. Fails with -EBADF (closed), -EINVAL (no access has begun, ever)."""
    file = dma_buf_of_row(i)
    if file is None:
        return -EBADF
    ret = dma_buf_end_cpu_access(file, value[i] != 0)
    dma_buf_fput(file)
    return ret


@atomic
def dma_buf_of_row(i: RowNumber) -> Ref[Udmabuf]:
    """The udmabuf that an operation is about, with a reference to its file; None if its descriptor is closed."""
    if handles[needs[i]].closed:
        return None
    file = udmabuf_of(handles[needs[i]])
    if file is not None:
        dma_buf_fget(file)
    return file


@arm("mmap", HandleType.UDMABUF)
def mmap_udmabuf(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mmap() of a udmabuf."""
    ret: Result = 0
    with atomic:
        closed = handles[needs[i]].closed
        file = udmabuf_of(handles[needs[i]])
        if file is not None and not closed:
            dma_buf_fget(file)
    if closed:
        return -EBADF
    assert file is not None
    if flags[i] & FIXED != 0:
        ret = do_mmap_fixed(mm, address[i], pages[i], file, page[i], flags[i] & READ_ONLY == 0, MAP_PRIVATE if flags[i] & PRIVATE != 0 else 0)
    else:
        ret = dma_buf_mmap(file, mm, address[i], pages[i], page[i], flags[i] & PRIVATE == 0, flags[i] & READ_ONLY == 0)
    dma_buf_fput(file)
    if ret < 0:
        return ret
    with atomic:
        handles[makes[i]].made = True
    return 0


@arm("close", HandleType.UDMABUF)
def close_udmabuf(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """close() of a udmabuf."""
    with atomic:
        closed = handles[needs[i]].closed
        if not closed:
            handles[needs[i]].closed = True
            file = udmabuf_of(handles[needs[i]])
            if file is not None:
                dma_buf_fput(file)
    if closed:
        return -EBADF
    return 0


IMPORTER = Arg(ArgType.IMPORTER)

on_kernels(
    "importer", "A device attached to a udmabuf (dma_buf_attach). -EBADF: closed. On a real kernel only.",
    udmabuf=Arg(ArgType.UDMABUF), makes=HandleType.IMPORTER, needs=Needs.MODULE,
)  # fmt: skip
on_kernels("importer_map", "dma_buf_map_attachment(). -EBUSY when it is mapped. On a real kernel only.", importer=IMPORTER, needs=Needs.MODULE)
on_kernels(
    "importer_unmap", "dma_buf_unmap_attachment(). -EINVAL when it is not mapped. On a real kernel only.",
    importer=IMPORTER, needs=Needs.MODULE,
)  # fmt: skip
on_kernels(
    "importer_read",
    "Load the value of the dma-buf's page `page` through the mapping. -EFAULT when it is not mapped. On a real kernel only.",
    importer=IMPORTER, page=Arg(ArgType.PAGE, 0, inside=True), needs=Needs.MODULE, loads=True,
)  # fmt: skip
on_kernels("importer_close", "dma_buf_detach(). -EBADF the second time. On a real kernel only.", importer=IMPORTER, needs=Needs.MODULE)
