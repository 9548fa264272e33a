"""Hole punching against accesses through shared mappings, and against making a udmabuf."""

from secondsight.scenario import File, Recorder, scenario


@scenario
def punch_vs_read(s: Recorder) -> None:
    """The value or zero, and zero for good once it was zero."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.write(a, "a")

    @s.thread
    def puncher() -> None:
        s.fallocate_punch_hole(fd, page=1)

    @s.thread
    def reader() -> None:
        s.read(a + 1, into="first")
        s.read(a + 1, into="second")

    with s.after():
        s.read(a + 0, into="beside")


@scenario
def punch_vs_write(s: Recorder) -> None:
    """The store is kept or punched away; what was there before is gone either way."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    s.write(a, "a")

    @s.thread
    def puncher() -> None:
        s.fallocate_punch_hole(fd, page=0)

    @s.thread
    def writer() -> None:
        s.write(a, "b")

    with s.after():
        s.read(a, into="last")


@scenario
def punch_vs_udmabuf_create(s: Recorder) -> None:
    """A udmabuf made before the hole keeps the old page; one made after it shares the new one."""
    fd = s.memfd_create(pages=1, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    made: list[File] = []

    @s.thread
    def puncher() -> None:
        s.fallocate_punch_hole(fd, page=0)

    @s.thread
    def maker() -> None:
        made.append(s.udmabuf_create(fd))

    with s.after():
        d = s.mmap(made[0])
        s.read(d, into="seen")
        s.write(a, "b")
        s.read(d, into="refilled")
