"""Memfds: made, mapped, with holes, sealed, closed."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux import memfd
from secondsight.linux.errno import EBADF, EINVAL
from secondsight.linux.hugetlb import hugetlb_file_setup, hugetlb_files, hugetlbfs_punch_hole
from secondsight.linux.hugetlb_pool import hstates, set_max_huge_pages
from secondsight.linux.mm_flags import MAP_NORESERVE, MAP_PRIVATE, MAP_SEALS_LATE
from secondsight.linux.mm_types import HPAGE_PMD_NR, Flags, Mm, Result
from secondsight.linux.mmap import do_mmap, do_mmap_fixed
from secondsight.linux.shmem import shmem_fallocate_punch_hole
from secondsight.scenario.ops import Arg, ArgType, HandleType, Needs, Often
from secondsight.world.declare import also, arm, operation
from secondsight.world.tables import (
    FIXED,
    HUGETLB,
    NORESERVE,
    PRIVATE,
    READ_ONLY,
    SEALS_LATE,
    SEALS_WRITES,
    RowNumber,
    address,
    flags,
    handles,
    high,
    low,
    makes,
    memfd_of,
    needs,
    page,
    pages,
    value,
)

__all__ = ["MEMFD"]

MEMFD = Arg(ArgType.MEMFD)


@operation(
    pages=Arg(ArgType.COUNT),
    seals=Arg(ArgType.SEALS, ""),
    makes=HandleType.MEMFD,
    takes=lambda args: {"frames": args["pages"], "files": 1},
    at_least=lambda args: {"file_pages": args["pages"], SEALS_WRITES: "write" in args["seals"]},
    often=Often(6, 0, 0),
)
def memfd_create(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A new memfd of `pages` (1 to 16) zero pages. `seals` names the seals it gets, joined by `|`:
    seal, shrink, grow, write, future_write."""
    if len(hugetlb_files) > 0:
        if flags[i] & HUGETLB != 0:
            if pages[i] % HPAGE_PMD_NR != 0:
                return -EINVAL
            with atomic:
                handles[makes[i]].file = hugetlb_file_setup(pages[i], value[i])
                handles[makes[i]].made = True
            return 0
    with atomic:  # memfd_create, ftruncate, F_ADD_SEALS
        handles[makes[i]].file = memfd.memfd_create(pages[i], value[i])
        handles[makes[i]].made = True
    return 0


also(
    "memfd_create", "memfd_create_hugetlb",
    """A new memfd of huge pages (MFD_HUGETLB), each of two pages. It is mapped, unmapped and cut into parts at pages with even numbers alone: munmap and
    mprotect of a part fail with -EINVAL, MADV_DONTNEED leaves a page alone that is in the range in part. A hole in a part of a huge page makes that zero and
    leaves it in the file. Fails with -EINVAL for an odd number of pages.""",
    HUGETLB,
    takes=lambda args: {"frames": args["pages"], "hugetlb_files": 1},
    at_least=lambda args: {"file_pages": args["pages"], "hugetlb_pages": (args["pages"] + 1) // 2, "huge": 1, SEALS_WRITES: "write" in args["seals"]},
    needs=Needs.HUGETLB, often=Often(4, 0, 0),
)  # fmt: skip


@operation(pages=Arg(ArgType.COUNT), own=False, at_least=lambda args: {"hugetlb_pool": 1, "huge": 1}, needs=Needs.HUGETLB, often=Often())
def hugetlb_pool(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The pool from which memfds of huge pages get theirs has `pages` pages, of which two are a huge page (/proc/sys/vm/nr_hugepages); an odd number
    leaves a half out. Comes before all else. Without it there are always enough."""
    if len(hstates) > 0:
        set_max_huge_pages(pages[i] // HPAGE_PMD_NR)
    return 0


@atomic
def map_flags(i: RowNumber) -> Flags:
    """What a row asks of mmap()."""
    asked: Flags = MAP_PRIVATE if flags[i] & PRIVATE != 0 else 0
    if flags[i] & SEALS_LATE != 0:
        asked |= MAP_SEALS_LATE
    if flags[i] & NORESERVE != 0:
        asked |= MAP_NORESERVE
    return asked


@arm("mmap", HandleType.MEMFD)
def mmap_memfd(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mmap() of a memfd."""
    ret: Result = 0
    write = flags[i] & READ_ONLY == 0
    with atomic:
        closed = handles[needs[i]].closed
        file = memfd_of(handles[needs[i]])
    if closed:
        return -EBADF
    if flags[i] & FIXED != 0:
        ret = do_mmap_fixed(mm, address[i], pages[i], file, page[i], write, map_flags(i), low[i], high[i])
    else:
        ret = do_mmap(mm, address[i], pages[i], file, page[i], write, map_flags(i))
    if ret < 0:
        return ret
    with atomic:
        handles[makes[i]].made = True
    return 0


also(
    "mmap", "mmap_noreserve",
    """`mmap` with MAP_NORESERVE, of a memfd of huge pages: none of the pool is reserved for it, so it succeeds where none is left, and a touch may be SIGBUS. A page that
    another mapping has reserved it takes. Fails as `mmap` does, but for that.""",
    NORESERVE, needs=Needs.HUGETLB, often=Often(9, 3, 4),
)  # fmt: skip


@operation(
    fd=MEMFD,
    page=Arg(ArgType.PAGE, keyword=True),
    pages=Arg(ArgType.COUNT, 1, keyword=True, inside=True),
    takes_away=True,
    takes=lambda args: {"frames": args["pages"]},
    often=Often(9, 12, 8),
)
def fallocate_punch_hole(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Give `pages` pages of a memfd back. They read as zeros afterwards, through every mapping.
    Fails with -EPERM (write-sealed), -EBADF (closed)."""
    with atomic:
        closed = handles[needs[i]].closed
        file = memfd_of(handles[needs[i]])
    if closed:
        return -EBADF
    assert file is not None
    if len(hugetlb_files) > 0:
        if file.is_hugetlb():
            return hugetlbfs_punch_hole(file, page[i], pages[i])  # type: ignore[arg-type]
    return shmem_fallocate_punch_hole(file, page[i], pages[i])


@operation(fd=MEMFD, seals=Arg(ArgType.SEALS), at_least=lambda args: {SEALS_WRITES: "write" in args["seals"]}, often=Often(8, 4, 3))
def add_seals(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Add seals (names as in `memfd_create`). Fails with -EPERM (sealed against sealing), -EBUSY
    (a write seal, while the memfd is mapped writable or its pages are pinned), -EBADF (closed)."""
    with atomic:
        closed = handles[needs[i]].closed
        file = memfd_of(handles[needs[i]])
    if closed:
        return -EBADF
    assert file is not None
    return memfd.memfd_add_seals(file, value[i])


@operation(fd=Arg(ArgType.FD), often=Often(5, 2, 1))
def close(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Close a file descriptor. Its mappings stay. Fails with -EBADF (closed already)."""
    with atomic:
        closed = handles[needs[i]].closed
        handles[needs[i]].closed = True
    if closed:
        return -EBADF
    return 0
