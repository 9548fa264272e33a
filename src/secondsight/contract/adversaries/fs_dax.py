"""Pages that are the blocks of a file on a device's memory (fs-dax): the file system takes them back, and waits for who holds one."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries
from secondsight.scenario import Address, DeviceHandle, Recorder

__all__ = ["FS_DAX"]

FS_DAX = Adversaries()
"""Those on such a file."""


HOLE = "a hole is punched in a file whose pages are a device's memory (fs-dax): the file system waits until nobody holds one, and gives the block to another file"


def _punches(s: Recorder) -> tuple[Address, DeviceHandle]:
    """Two pages of such a file that hold `A`, and a device; a hole is punched at the second, and it is written."""
    file = s.fs_dax(pages=2)
    pages = s.mmap(file)
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.fs_dax_punch_hole(file, page=1)
        s.write(pages + 1, "B")

    return pages, gpu


@FS_DAX.setting("fs-dax", HOLE, "writes")
def _writes(s: Recorder) -> None:
    pages, gpu = _punches(s)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


@FS_DAX.setting("fs-dax", HOLE, "closes")
def _closes(s: Recorder) -> None:
    pages, gpu = _punches(s)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.close()
