"""A file whose pages are a device's memory themselves (fs-dax), and holes in it, which wait for those who use a page."""

from __future__ import annotations

from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.errno import EBADF, EOPNOTSUPP
from secondsight.linux.fs_dax import ext4_fallocate_punch_hole, fs_dax_create, fs_dax_files
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import Arg, ArgType, HandleType, Needs, Often, Op
from secondsight.world.declare import arm, before_the_threads, operation
from secondsight.world.operations.dax import map_memory
from secondsight.world.tables import (
    PRIVATE,
    Handle,
    RowNumber,
    flags,
    fs_dax_of,
    handles,
    needs,
    page,
    pages,
)

__all__: list[str] = []


@before_the_threads(
    pages=Arg(ArgType.COUNT),
    makes=HandleType.FS_DAX,
    needs=Needs.FS_DAX,
    named=False,
    takes=lambda args: {"frames": args["pages"], "fs_dax_files": 1},
    at_least=lambda args: {"file_pages": args["pages"]},
)
def fs_dax(handle: Handle, op: Op, mm: Any, device: Any) -> int:
    """A file of `pages` pages on a file system that lies in a device's memory (fs-dax), to be mapped (in the setup): its pages are the memory."""
    handle.made = True
    handle.file = fs_dax_create(op.args["pages"])  # type: ignore[arg-type]
    return 0


@arm("mmap", HandleType.FS_DAX)
def mmap_fs_dax(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mmap() of such a file. Private mappings are left out: -EOPNOTSUPP."""
    if len(fs_dax_files) > 0:
        with atomic:
            closed = handles[needs[i]].closed
            file = fs_dax_of(handles[needs[i]])
        if closed:
            return -EBADF
        if flags[i] & PRIVATE != 0:
            return -EOPNOTSUPP
        return map_memory(i, mm, file)
    return 0


@operation(file=Arg(ArgType.FS_DAX), page=Arg(ArgType.PAGE, keyword=True, inside=True), pages=Arg(ArgType.COUNT, 1, keyword=True), own=False, needs=Needs.FS_DAX, often=Often(8, 8, 5))
def fs_dax_punch_hole(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """fallocate(FALLOC_FL_PUNCH_HOLE) of such a file: waits until nobody uses one of its pages (direct I/O, a pin); what is touched there next is zero.
    Nobody may hold such a page for long: `pin(longterm=True)` fails with -EOPNOTSUPP.
    Fails with -EBADF (closed)."""
    if len(fs_dax_files) > 0:
        with atomic:
            closed = handles[needs[i]].closed
            file = fs_dax_of(handles[needs[i]])
        if closed:
            return -EBADF
        assert file is not None
        ext4_fallocate_punch_hole(file, page[i], pages[i])
    return 0
