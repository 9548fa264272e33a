"""The process's own memory: mapping and unmapping, loads and stores."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux import madvise
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, vm_munmap
from secondsight.scenario.ops import Arg, ArgType, Default, HandleType, Often
from secondsight.world.declare import also, operation
from secondsight.world.tables import (
    FIXED,
    PRIVATE,
    READ_ONLY,
    READS_ONLY,
    RowNumber,
    address,
    flags,
    handles,
    high,
    low,
    makes,
    pages,
    value,
)

__all__ = ["ADDRESS", "SPAN"]

ADDRESS = Arg(ArgType.ADDRESS)
SPAN = Arg(ArgType.COUNT, Default.SPAN, keyword=True)


@operation(
    fd=Arg(ArgType.FD, None, optional=True),
    page=Arg(ArgType.PAGE, 0, keyword=True),
    pages=Arg(ArgType.COUNT, Default.REST, keyword=True),
    at=Arg(ArgType.PLACE, None, keyword=True, optional=True),
    makes=HandleType.MAPPING,
    remaps=True,
    takes_away=True,
    takes=lambda args: {"vmas": 1, "frames": args["pages"] if args["fd"] is None else 0},
    asks={"do_mmap": "mmap", "do_mmap_fixed": "mmap_fixed"},
    often=Often(18, 6, 10),
)
def mmap(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Map `pages` pages, readable and writable: shared, of `fd` from its page `page` on (by
    default to its end), or without `fd` private anonymous memory.

    The address is new, one that no earlier mapping had, unless `at` gives an address to map over
    (MAP_FIXED): what is mapped there goes. A mapping may reach past the end of its memfd; a
    touch there is SIGBUS. Fails with -EBADF (closed), -EINVAL (past the end of a udmabuf),
    -EPERM (a write-sealed memfd).
    """
    ret: Result = 0
    write = flags[i] & READ_ONLY == 0
    if flags[i] & FIXED != 0:
        ret = do_mmap_fixed(mm, address[i], pages[i], None, 0, write, low=low[i], high=high[i])
    else:
        ret = do_mmap(mm, address[i], pages[i], None, 0, write)
    if ret < 0:
        return ret
    with atomic:
        handles[makes[i]].made = True
    return 0


also(
    "mmap", "mmap_read_only",
    """`mmap` with PROT_READ alone: a store to it is SIGSEGV. A write-sealed memfd can be mapped so. Fails as `mmap` does, and with
    -EPERM while a write seal waits for the memfd's pages.""",
    READ_ONLY, at_least=lambda args: {READS_ONLY: 1}, often=Often(4, 2, 2),
)  # fmt: skip

also(
    "mmap", "mmap_private",
    """`mmap` with MAP_PRIVATE: what the process writes is a copy of its own, which nobody else sees; until then it has the file's
    pages. Of a write-sealed memfd too. Of a memfd of huge pages a hole takes copies away too, and the mapping reserves as many of the pool as it has, whatever the
    file has: -ENOMEM where that has not as many. Fails with -EBADF (closed), -EINVAL (a udmabuf).""",
    PRIVATE, takes=lambda args: {"vmas": 1, "frames": args["pages"]}, at_least=lambda args: {"vma_flags": 1, "cow": 1}, often=Often(5, 2, 3),
)  # fmt: skip


@operation(addr=ADDRESS, pages=SPAN, remaps=True, takes_away=True, asks={"vm_munmap": "munmap"}, often=Often(10, 9, 12))
def munmap(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Unmap. Unmapping what is not mapped succeeds."""
    return vm_munmap(mm, address[i], pages[i])


@operation(addr=ADDRESS, value=Arg(ArgType.VALUE), pages=SPAN, faults=True, asks={"cpu_write": "write"}, often=Often(16, 16, 14))
def write(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Store `value` (one printable character, not 0) to each page in turn, one byte a page: a
    store is a single step that nothing can come into the middle of. The first store that faults
    ends it: SIGSEGV (not mapped), SIGBUS (past the end of the file)."""
    for k in range(pages[i]):
        ret = cpu_write(mm, address[i] + k, value[i])
        if ret != 0:
            return ret
    return 0


@operation(addr=ADDRESS, loads=True, faults=True, asks={"cpu_read": "read"}, often=Often(14, 16, 8))
def read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Load one page's value: the last one stored, or `0` for a page of zeros. Fails as `write` does.

    A real kernel's page is also looked at behind its first byte, where nobody writes: anything
    but zeros there is reported as `torn`.
    """
    return cpu_read(mm, address[i])


@operation(addr=ADDRESS, pages=SPAN, takes_away=True, often=Often(9, 9, 12))
def madvise_dontneed(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_DONTNEED: anonymous pages read as zeros afterwards; a memfd's pages keep their
    contents. Fails with -ENOMEM (not mapped), -EINVAL (a udmabuf's mapping)."""
    return madvise.madvise_dontneed(mm, address[i], pages[i])
