"""MADV_DONTNEED against accesses, and on the kinds of memory that do not lose their contents by it."""

from secondsight.scenario import Recorder, scenario


@scenario
def dontneed_vs_read(s: Recorder) -> None:
    """Anonymous memory: the value or zero, and zero for good once it was zero."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def discarder() -> None:
        s.madvise_dontneed(a)

    @s.thread
    def reader() -> None:
        s.read(a, into="first")
        s.read(a, into="second")


@scenario
def dontneed_vs_write(s: Recorder) -> None:
    """The store is kept or discarded; what was there before is gone either way."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def discarder() -> None:
        s.madvise_dontneed(a)

    @s.thread
    def writer() -> None:
        s.write(a, "b")

    with s.after():
        s.read(a, into="last")


@scenario
def dontneed_keeps_memfd(s: Recorder) -> None:
    """A shared mapping of a memfd only drops its page tables."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    s.write(a, "a")

    @s.thread
    def discarder() -> None:
        s.madvise_dontneed(a)

    @s.thread
    def reader() -> None:
        s.read(a, into="seen")


@scenario
def dontneed_refused(s: Recorder) -> None:
    """A udmabuf's mapping (VM_PFNMAP) refuses; an unmapped range is ENOMEM."""
    fd = s.memfd_create(pages=1, seals="shrink")
    d = s.mmap(s.udmabuf_create(fd))
    s.madvise_dontneed(d, into="of_udmabuf")
    a = s.mmap(pages=1)
    s.munmap(a)
    s.madvise_dontneed(a, into="of_nothing")
