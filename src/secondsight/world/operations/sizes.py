"""Files that are cut, and files that grow. Apart from the other operations of memfds, so that programs without them have nothing of it."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.errno import EBADF
from secondsight.linux.hugetlb import hugetlb_files, hugetlbfs_fallocate, hugetlbfs_setattr
from secondsight.linux.mm_types import Mm, Result, resizes
from secondsight.linux.shmem_size import shmem_fallocate, shmem_setattr
from secondsight.scenario.ops import Arg, ArgType, Often
from secondsight.world.declare import operation
from secondsight.world.tables import RowNumber, handles, memfd_of, needs, page, pages, value

__all__: list[str] = []

MEMFD = Arg(ArgType.MEMFD)


@operation(
    fd=MEMFD,
    pages=Arg(ArgType.SIZE),
    takes_away=True,
    takes=lambda args: {"frames": args["pages"]},
    at_least=lambda args: {"resizes": 1, "file_pages": args["pages"]},
    often=Often(8, 9, 6),
)
def ftruncate(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A memfd has `pages` pages (0 to 15) from now on. What was behind goes, with the copies that private mappings have made of it, and a touch there is SIGBUS; what it gets is holes.
    Fails with -EPERM (smaller: sealed with shrink; larger: sealed with grow), -EINVAL (within a huge page), -EBADF (closed)."""
    with atomic:
        closed = handles[needs[i]].closed
        file = memfd_of(handles[needs[i]])
    if closed:
        return -EBADF
    assert file is not None
    if len(resizes) > 0:  # else nobody asks, and programs have nothing of it
        if len(hugetlb_files) > 0:
            if file.is_hugetlb():
                return hugetlbfs_setattr(file, pages[i])  # type: ignore[arg-type]
        return shmem_setattr(file, pages[i])
    return 0


@operation(
    fd=MEMFD,
    page=Arg(ArgType.PAGE, keyword=True),
    pages=Arg(ArgType.COUNT, 1, keyword=True),
    keep_size=Arg(ArgType.FLAG, False, keyword=True),
    grows=True,
    takes=lambda args: {"frames": args["pages"]},
    at_least=lambda args: {"resizes": 1, "file_pages": args["page"] + args["pages"], "fallocated_pages": args["page"] + args["pages"]},
    often=Often(5, 5, 3),
)
def fallocate(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Put zero pages into a memfd where it has holes, `pages` of them from `page` on (up to 15 in all). It is as large as that then, if it was smaller, but with `keep_size`.
    Fails with -EPERM (past the end, sealed with grow), -ENOSPC (the pool has no huge page left), -EBADF (closed)."""
    with atomic:
        closed = handles[needs[i]].closed
        file = memfd_of(handles[needs[i]])
    if closed:
        return -EBADF
    assert file is not None
    if len(resizes) > 0:
        if len(hugetlb_files) > 0:
            if file.is_hugetlb():
                return hugetlbfs_fallocate(file, page[i], pages[i], value[i] != 0)  # type: ignore[arg-type]
        return shmem_fallocate(file, page[i], pages[i], value[i] != 0)
    return 0
