"""An ordinary file of a file system on a disk: mapped, synced, with holes, and its pages that are in memory dropped. On the model only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.ext4_inode import ext4_create, ext4_inodes, filemap_read, generic_fadvise_dontneed
from secondsight.linux.mm_types import Mm, Pgoff, Result
from secondsight.linux.mmap import do_mmap, do_mmap_fixed
from secondsight.linux.msync import msync as msync_
from secondsight.scenario.ops import Arg, ArgType, HandleType, Op
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
    model_only=True,
    named=False,
    takes=lambda args: {"frames": args["pages"], "ext4_inodes": 1},
    at_least=lambda args: of_writeback(args) | {"file_pages": args["pages"]},
)
def disk_file(handle: Handle, op: Op, mm: Any, device: Any) -> int:
    """A new file of `pages` zero pages on a file system with a disk (ext4), to be mapped (in the setup). What is written to its pages is in memory until it is
    written back. On the model only."""
    handle.made = True
    handle.file = ext4_create(op.args["pages"])  # type: ignore[arg-type]
    return 0


@arm("mmap", HandleType.DISK_FILE)
def mmap_disk_file(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mmap() of such a file."""
    if len(ext4_inodes) > 0:
        ret: Result = 0
        with atomic:
            file = disk_file_of(handles[needs[i]])
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


@operation(file=FILE, model_only=True)
def fsync(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """fsync(): all dirty pages of the file are written to its blocks. On the model only."""
    if len(ext4_inodes) > 0:
        with atomic:
            file = disk_file_of(handles[needs[i]])
            length: Pgoff = 0
            if file is not None:
                length = file.nr_pages
        assert file is not None
        return file.fsync(0, length)
    return 0


@operation(addr=ADDRESS, pages=SPAN, model_only=True, at_least=of_writeback)
def msync(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """msync(MS_SYNC): what has been written to these pages of shared mappings is written to their files' blocks. Fails with -ENOMEM (not mapped). On the model only."""
    if len(ext4_inodes) > 0:
        return msync_(mm, address[i], pages[i])
    return 0


@operation(file=FILE, page=PAGE, pages=PAGES, takes_away=True, model_only=True)
def fadvise_dontneed(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """posix_fadvise(POSIX_FADV_DONTNEED): pages of the file are written back, and those that nobody maps or holds are dropped from memory: the next touch reads their blocks. On the model only."""
    if len(ext4_inodes) > 0:
        with atomic:
            file = disk_file_of(handles[needs[i]])
        assert file is not None
        generic_fadvise_dontneed(file, page[i], pages[i])
    return 0


@operation(file=FILE, page=PAGE, pages=PAGES, takes_away=True, model_only=True)
def disk_file_punch_hole(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """fallocate(FALLOC_FL_PUNCH_HOLE) of such a file: what is touched there next is zero. Nobody waits for pins. On the model only."""
    if len(ext4_inodes) > 0:
        with atomic:
            file = disk_file_of(handles[needs[i]])
        assert file is not None
        return file.fallocate_punch_hole(page[i], pages[i])
    return 0


@operation(file=FILE, page=PAGE, loads=True, model_only=True)
def pread(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """pread() of one page of the file: its value, in memory or from its block. On the model only."""
    if len(ext4_inodes) > 0:
        with atomic:
            file = disk_file_of(handles[needs[i]])
        assert file is not None
        return filemap_read(file, page[i])
    return 0
