"""Several ways to one page: two mappings, two writers, a udmabuf; and what keeps a page alive."""

from secondsight.scenario import Recorder, scenario


@scenario
def memfd_mapped_twice(s: Recorder) -> None:
    """A store through one mapping is seen through the other, and stays seen."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    b = s.mmap(fd)

    @s.thread
    def writer() -> None:
        s.write(a, "x")
        s.write(a, "y")

    @s.thread
    def reader() -> None:
        s.read(b, into="first")
        s.read(b, into="second")


@scenario
def two_writers(s: Recorder) -> None:
    """One of two stores is the last; a writer sees its own or the other's."""
    a = s.mmap(pages=1)

    @s.thread
    def one() -> None:
        s.write(a, "x")
        s.read(a, into="one_saw")

    @s.thread
    def two() -> None:
        s.write(a, "y")
        s.read(a, into="two_saw")

    with s.after():
        s.read(a, into="last")


@scenario
def udmabuf_writes_back(s: Recorder) -> None:
    """A store through the udmabuf reaches the memfd, but not from a page that a hole has cut off."""
    fd = s.memfd_create(pages=2, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    d = s.mmap(s.udmabuf_create(fd))
    s.fallocate_punch_hole(fd, page=1)
    s.write(d, "d")
    s.read(a + 0, into="cpu_elsewhere")
    s.read(a + 1, into="cpu_in_hole")
    s.read(d + 1, into="udmabuf_in_hole")


@scenario
def udmabuf_allocates_holes(s: Recorder) -> None:
    """Making a udmabuf of pages that nobody touched allocates them, shared from then on."""
    fd = s.memfd_create(pages=1, seals="shrink")
    d = s.mmap(s.udmabuf_create(fd))
    a = s.mmap(fd)
    s.read(d, into="untouched")

    @s.thread
    def guest() -> None:
        s.write(a, "a")

    @s.thread
    def host() -> None:
        s.read(d, into="seen")

    with s.after():
        s.read(d, into="last")


@scenario
def udmabuf_outlives(s: Recorder) -> None:
    """The mapping of a udmabuf keeps its pages when memfd, udmabuf and the memfd's mapping are gone."""
    fd = s.memfd_create(pages=1, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    buf = s.udmabuf_create(fd)
    d = s.mmap(buf)
    s.close(fd)
    s.munmap(a)
    s.close(buf)
    s.read(d, into="seen")
    s.close(buf, into="closed_twice")


@scenario
def past_the_end(s: Recorder) -> None:
    """A mapping may reach past a memfd's end, a touch there is SIGBUS; a udmabuf refuses such a mapping."""
    fd = s.memfd_create(pages=1, seals="shrink")
    a = s.mmap(fd, pages=2)
    s.write(a + 0, "a")
    s.read(a + 1, into="read_behind")
    s.write(a, "b", into="write_both")
    s.read(a, into="first_page")
    buf = s.udmabuf_create(fd)
    s.mmap(buf, pages=2, into="udmabuf_longer")


@scenario
def write_seal(s: Recorder) -> None:
    """F_SEAL_WRITE waits for writable mappings to go, and then refuses everything that writes."""
    fd = s.memfd_create(pages=1, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    s.add_seals(fd, "write", into="while_mapped")
    s.munmap(a)
    s.add_seals(fd, "write|seal", into="unmapped")
    s.fallocate_punch_hole(fd, page=0, into="punch")
    s.mmap(fd, into="map_again")
    s.udmabuf_create(fd, into="udmabuf")
    s.add_seals(fd, "grow", into="seal_more")
