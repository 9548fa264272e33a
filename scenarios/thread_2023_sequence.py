"""The second sequence of the 2023-07 thread: a, read, b, hole, read, c, and a last read. Once as it is
written there, one step after the other, and once with the guest and the host as threads."""

from secondsight.scenario import Recorder, scenario


@scenario
def thread_2023_sequence(s: Recorder) -> None:
    """The sequence in the thread's own order; page 1 gets the hole, page 0 is for comparison."""
    memfd = s.memfd_create(pages=2, seals="shrink")
    addr1 = s.mmap(memfd)
    s.write(addr1, "a")
    buf = s.udmabuf_create(memfd)
    addr2 = s.mmap(buf)
    s.read(addr2 + 1, into="after_a")
    s.write(addr1, "b")
    s.fallocate_punch_hole(memfd, page=1)
    s.read(addr2 + 1, into="in_hole")
    s.write(addr1, "c")
    s.read(addr2 + 1, into="after_c")
    s.read(addr2 + 0, into="after_c_elsewhere")
    s.read(addr1 + 1, into="cpu_after_c")


@scenario
def thread_2023_sequence_race(s: Recorder) -> None:
    """The guest goes through b, hole, c while the host reads three times."""
    memfd = s.memfd_create(pages=1, seals="shrink")
    addr1 = s.mmap(memfd)
    s.write(addr1, "a")
    buf = s.udmabuf_create(memfd)
    addr2 = s.mmap(buf)

    @s.thread
    def guest() -> None:
        s.write(addr1, "b")
        s.fallocate_punch_hole(memfd, page=0)
        s.write(addr1, "c")

    @s.thread
    def host() -> None:
        s.read(addr2, into="first")
        s.read(addr2, into="second")
        s.read(addr2, into="third")

    with s.after():
        s.read(addr1, into="cpu_last")
        s.read(addr2, into="host_last")
