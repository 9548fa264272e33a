"""An ordinary file of a file system on a disk: mapped, synced, with holes, and its pages that are in memory dropped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.errno import EBADF
from secondsight.linux.ext4_inode import Ext4Inode, ext4_create, ext4_inodes, filemap_read, generic_fadvise_dontneed
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.mmap import do_mmap, do_mmap_fixed
from secondsight.linux.msync import msync as msync_
from secondsight.scenario.ops import Arg, ArgType, HandleType, Needs, Often, Op
from secondsight.world.declare import arm, before_the_threads, operation
from secondsight.world.operations.memfd import map_flags
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import (
    FIXED,
    READ_ONLY,
    Handle,
    RowNumber,
    address,
    disk_file_of,
    flags,
    handles,
    high,
    low,
    makes,
    needs,
    page,
    pages,
)

__all__: list[str] = []

FILE = Arg(ArgType.DISK_FILE)
PAGE, PAGES = Arg(ArgType.PAGE, keyword=True, inside=True), Arg(ArgType.COUNT, 1, keyword=True)


def of_writeback(args: Mapping[str, Any]) -> dict[str, int]:
    """What writeback needs: that folios know what maps them."""
    return {"writes_back": 1, "anon_vmas": 1}


@before_the_threads(
    pages=Arg(ArgType.COUNT),
    makes=HandleType.DISK_FILE,
    needs=Needs.DISK,
    named=False,
    takes=lambda args: {"frames": args["pages"], "ext4_inodes": 1},
    at_least=lambda args: of_writeback(args) | {"file_pages": args["pages"]},
)
def disk_file(handle: Handle, op: Op, mm: Any, device: Any) -> int:
    """A new file of `pages` zero pages on a file system with a disk (ext4), to be mapped (in the setup). What is written to its pages is in memory until it is
    written back."""
    handle.made = True
    handle.file = ext4_create(op.args["pages"])  # type: ignore[arg-type]
    return 0


@atomic
def open_file(i: RowNumber) -> Ref[Ext4Inode]:
    """The file that a row is about; None: it is closed."""
    if handles[needs[i]].closed:
        return None
    return disk_file_of(handles[needs[i]])


@arm("mmap", HandleType.DISK_FILE)
def mmap_disk_file(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mmap() of such a file."""
    if len(ext4_inodes) > 0:
        ret: Result = 0
        file = open_file(i)
        if file is None:
            return -EBADF
        write = flags[i] & READ_ONLY == 0
        if flags[i] & FIXED != 0:
            ret = do_mmap_fixed(mm, address[i], pages[i], file, page[i], write, map_flags(i), low[i], high[i])
        else:
            ret = do_mmap(mm, address[i], pages[i], file, page[i], write, map_flags(i))
        if ret < 0:
            return ret
        with atomic:
            handles[makes[i]].made = True
    return 0


@operation(file=FILE, needs=Needs.DISK, often=Often(10, 8, 8))
def fsync(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """fsync(): all dirty pages of the file are written to its blocks. Fails with -EBADF (closed)."""
    if len(ext4_inodes) > 0:
        file = open_file(i)
        if file is None:
            return -EBADF
        with atomic:
            length = file.nr_pages
        return file.fsync(0, length)
    return 0


@operation(addr=ADDRESS, pages=SPAN, needs=Needs.DISK, often=Often(10, 8, 8))
def msync(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """msync(MS_SYNC): what has been written to these pages of shared mappings is written to their files' blocks. Fails with -ENOMEM (not mapped)."""
    return msync_(mm, address[i], pages[i])


@operation(file=FILE, page=PAGE, pages=PAGES, takes_away=True, needs=Needs.DISK, often=Often(12, 8, 6))
def fadvise_dontneed(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """posix_fadvise(POSIX_FADV_DONTNEED): pages of the file are written back, and those that nobody maps or holds are dropped from memory: the next touch reads their blocks.
    Fails with -EBADF (closed)."""
    if len(ext4_inodes) > 0:
        file = open_file(i)
        if file is None:
            return -EBADF
        generic_fadvise_dontneed(file, page[i], pages[i])
    return 0


@operation(file=FILE, page=PAGE, pages=PAGES, takes_away=True, needs=Needs.DISK, often=Often(6, 6, 5))
def disk_file_punch_hole(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """fallocate(FALLOC_FL_PUNCH_HOLE) of such a file: what is touched there next is zero. Nobody waits for pins. Fails with -EBADF (closed)."""
    if len(ext4_inodes) > 0:
        file = open_file(i)
        if file is None:
            return -EBADF
        return file.fallocate_punch_hole(page[i], pages[i])
    return 0


@operation(file=FILE, page=PAGE, loads=True, needs=Needs.DISK, often=Often(8, 6, 3))
def pread(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """pread() of one page of the file: its value, in memory or from its block. Fails with -EBADF (closed)."""
    if len(ext4_inodes) > 0:
        file = open_file(i)
        if file is None:
            return -EBADF
        return filemap_read(file, page[i])
    return 0
