"""Two users of one page, each with a half of its own: the CPU with the first, direct I/O with the second."""

from secondsight.scenario import Recorder, scenario


@scenario
def each_its_half(s: Recorder) -> None:
    """Each half has its own value, and both go where the page goes: a copy on write, another node, the swap device and back."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    s.write_half(a, "b")
    s.move_pages(a)
    s.direct_read(a, "c")
    s.madvise_pageout(a)
    s.read(a, into="first")
    s.read_half(a, into="second")
    child = s.fork()
    s.write(a, "d")
    s.read_half(a, into="copied")
    s.madvise_dontneed(a)
    s.read_half(a, into="forgotten")
    s.munmap(a)
    s.direct_read(a, "e", into="of_nothing")
    with s.after(), child:
        s.read(a, into="childs_first")
        s.read_half(a, into="childs_second")


@scenario
def direct_read_beside_fork(s: Recorder) -> None:
    """A direct read into the second half while the process forks and stores to the first. Where direct I/O takes references only,
    what was read can be lost: it arrives in a page that by then is the child's."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def disk() -> None:
        s.direct_read(a, "d", into="read")

    @s.thread
    def cpu() -> None:
        s.fork()
        s.write(a, "b")

    with s.after():
        s.read(a, into="first")
        s.read_half(a, into="second")


@scenario
def pinned_half_beside_fork(s: Recorder) -> None:
    """The same with a pin: the parent keeps the page, the child gets a copy of what it was at the fork."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    pin = s.pin(a)
    child = s.fork()
    s.write(a, "b")
    pin.write_half(0, "d")
    pin.read_half(0, into="by_the_device")
    s.read_half(a, into="second")
    with s.after(), child:
        s.read(a, into="childs_first")
        s.read_half(a, into="childs_second")
