"""munmap, and mapping again at the same address, against an access."""

from secondsight.scenario import Recorder, scenario


@scenario
def munmap_vs_read(s: Recorder) -> None:
    """The page's value, or no page."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def unmapper() -> None:
        s.munmap(a)

    @s.thread
    def reader() -> None:
        s.read(a, into="seen")

    with s.after():
        s.read(a, into="last")


@scenario
def munmap_vs_write(s: Recorder) -> None:
    """A store that comes too late faults; the memfd keeps what came in time."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    other = s.mmap(fd)

    @s.thread
    def unmapper() -> None:
        s.munmap(a)

    @s.thread
    def writer() -> None:
        s.write(a, "a")

    with s.after():
        s.read(other, into="last")


@scenario
def munmap_part(s: Recorder) -> None:
    """Unmapping the middle page of three leaves the others; unmapping it again is no error."""
    a = s.mmap(pages=3)
    s.write(a, "a")
    s.munmap(a + 1)
    s.munmap(a + 1, into="again")
    s.read(a, into="before")
    s.read(a + 1, into="middle")
    s.read(a + 2, into="behind")


@scenario
def remap_vs_read(s: Recorder) -> None:
    """munmap, mmap again at the same address, write: old, nothing, zero or new."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def mapper() -> None:
        s.munmap(a)
        again = s.mmap(pages=1, at=a)
        s.write(again, "b")

    @s.thread
    def reader() -> None:
        s.read(a, into="seen")

    with s.after():
        s.read(a, into="last")


@scenario
def map_over_vs_read(s: Recorder) -> None:
    """MAP_FIXED over a mapping: there is no moment without one."""
    old = s.memfd_create(pages=1)
    new = s.memfd_create(pages=1)
    a = s.mmap(old)
    s.write(a, "a")
    b = s.mmap(new)
    s.write(b, "b")

    @s.thread
    def mapper() -> None:
        s.mmap(new, at=a)

    @s.thread
    def reader() -> None:
        s.read(a, into="first")
        s.read(a, into="second")
