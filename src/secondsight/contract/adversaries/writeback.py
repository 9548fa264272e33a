"""Pages of a file on a disk: they are cleaned and written while a device uses them, and dropped when they are clean."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries
from secondsight.scenario import Address, DeviceHandle, File, Recorder

__all__ = ["WRITEBACK"]

WRITEBACK = Adversaries()
"""Those on such a file."""


WRITTEN = "the pages of a file on a disk are written back (fsync), so that they are clean, may not be written without a fault, and are dropped then"


def _a_file(s: Recorder) -> tuple[File, Address, DeviceHandle]:
    """Two pages of such a file that hold `A`, which is on the disk; and a device."""
    file = s.disk_file(pages=2)
    pages = s.mmap(file)
    s.write(pages, "A")
    s.msync(pages)
    return file, pages, s.device()


@WRITEBACK.setting("writeback", WRITTEN, "writes")
def _writes(s: Recorder) -> None:
    file, pages, gpu = _a_file(s)

    @s.thread
    def cpu() -> None:
        s.fsync(file)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


@WRITEBACK.setting("writeback", WRITTEN, "writes, then closes")
def _writes_then_closes(s: Recorder) -> None:
    """Then nobody uses the page any more, and it is dropped."""
    file, pages, gpu = _a_file(s)

    @s.thread
    def cpu() -> None:
        s.fsync(file)

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "D", into="written")
        gpu.close()

    with s.after():
        s.munmap(pages, pages=2)
        s.fadvise_dontneed(file, page=0, pages=2)


@WRITEBACK.setting("writeback", WRITTEN, "taken out meanwhile")
def _taken_out(s: Recorder) -> None:
    """Reclaim unmaps the page, and drops it if it is clean and nobody holds it."""
    _, pages, gpu = _a_file(s)

    @s.thread
    def cpu() -> None:
        s.msync(pages + 1, pages=1)
        s.madvise_pageout(pages + 1)

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


@WRITEBACK.setting("writeback", WRITTEN, "a hole")
def _a_hole(s: Recorder) -> None:
    """The page leaves the file, whoever has pinned it; the next is another."""
    file, pages, gpu = _a_file(s)

    @s.thread
    def cpu() -> None:
        s.disk_file_punch_hole(file, page=1)
        s.write(pages + 1, "B", pages=1)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)
