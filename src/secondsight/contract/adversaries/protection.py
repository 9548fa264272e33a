"""Pages that may not be written: from the beginning, or from a moment on."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, reads_twice, two_pages, writes_twice
from secondsight.scenario import Recorder

__all__ = ["PROTECTIONS"]

PROTECTIONS = Adversaries()
"""Those that change who may write."""


READ_ONLY = "the pages may be read and not written, by nobody; the process unmaps them, or makes them writable"


@PROTECTIONS.setting("read-only", READ_ONLY, "unmapped")
def _read_only_unmapped(s: Recorder) -> None:
    memfd = s.memfd_create(pages=2)
    pages = s.mmap(memfd)
    s.write(pages, "A")
    s.mmap_read_only(memfd, at=pages)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=2)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


@PROTECTIONS.setting("read-only", READ_ONLY, "made writable")
def _read_only_made_writable(s: Recorder) -> None:
    memfd = s.memfd_create(pages=2)
    pages = s.mmap(memfd)
    s.write(pages, "A")
    s.mmap_read_only(memfd, at=pages)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mmap(memfd, at=pages)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.write(pages + 1, "E")
        gpu.compare(pages + 1)


MPROTECT = "the process makes pages read-only that the device may write, and perhaps writable again; or such that nobody may read them"


@PROTECTIONS.setting("mprotect", MPROTECT, "read-only")
def _mprotect_read_only(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mprotect(pages, pages=2, write=False)

    writes_twice(s, pages, gpu)


@PROTECTIONS.setting("mprotect", MPROTECT, "and back, one page of two")
def _mprotect_and_back(s: Recorder) -> None:
    pages = s.mmap(s.memfd_create(pages=2))
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mprotect(pages + 1, write=False)
        s.mprotect(pages + 1, write=True)
        s.write(pages + 1, "B")

    writes_twice(s, pages, gpu)


@PROTECTIONS.setting("mprotect", MPROTECT, "to nothing")
def _mprotect_to_nothing(s: Recorder) -> None:
    """PROT_NONE: the pages stay, with what they hold, and nobody may read them."""
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mprotect_none(pages, pages=2)

    reads_twice(s, pages, gpu)


MLOCK = "the process locks the pages in memory (mlock); one is moved to another frame all the same, then written"


@PROTECTIONS.setting("mlock", MLOCK, "moved", "mirror")
def _mlock_moved(s: Recorder) -> None:
    pages = two_pages(s)
    s.mlock(pages, pages=2)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.move_pages(pages + 1)
        s.write(pages + 1, "B")

    writes_twice(s, pages, gpu)


WRITE_PROTECT = "user space write-protects pages of a mapping that stays writable (userfaultfd), and lifts that"


@PROTECTIONS.setting("write-protect", WRITE_PROTECT, "and lifted")
def _write_protect_and_lifted(s: Recorder) -> None:
    pages = two_pages(s)
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, pages, pages=2, missing=False, wp=True)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.uffd_writeprotect(u, pages, pages=2)
        s.uffd_writeprotect(u, pages, pages=2, protect=False)

    writes_twice(s, pages, gpu)


SOFT_DIRTY = "somebody wants to know which pages are written from now on (/proc/PID/clear_refs): none may be written until a store faults"


@PROTECTIONS.setting("soft-dirty", SOFT_DIRTY, "cleared")
def _soft_dirty_cleared(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.clear_refs()

    writes_twice(s, pages, gpu)


@PROTECTIONS.setting("soft-dirty", SOFT_DIRTY, "of a file, then written")
def _soft_dirty_of_a_file(s: Recorder) -> None:
    pages = s.mmap(s.memfd_create(pages=2))
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.clear_refs()
        s.write(pages + 1, "B")

    writes_twice(s, pages, gpu)
