"""Memfds that are cut and that grow: what is behind the end, what comes back, seals, and who is in the middle of using it."""

from secondsight.scenario import File, Recorder, scenario


@scenario
def cut_and_grown(s: Recorder) -> None:
    """What is behind the end is SIGBUS, and a hole when the file has grown again; what is before it stays."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.write(a, "a", pages=2)
    s.ftruncate(fd, 1, into="cut")
    s.read(a, into="before_the_end")
    s.read(a + 1, into="behind")
    s.write(a + 1, "b", into="written")
    s.ftruncate(fd, 3, into="grown")
    s.read(a + 1, into="again")
    longer = s.mmap(fd, pages=3)
    s.write(longer + 2, "c")
    s.read(longer + 2, into="new")
    s.ftruncate(fd, 0)
    s.read(a, into="nothing")


@scenario
def copies_are_cut_off_too(s: Recorder) -> None:
    """A private mapping's copies go with the end of the file (even_cows), where a hole leaves them."""
    fd = s.memfd_create(pages=2)
    own = s.mmap_private(fd)
    s.write(own, "p", pages=2)
    s.fallocate_punch_hole(fd, page=0, pages=2)
    s.read(own + 1, into="beside_a_hole")
    s.ftruncate(fd, 1)
    s.read(own, into="kept")
    s.read(own + 1, into="cut_off")
    s.ftruncate(fd, 2)
    s.read(own + 1, into="the_file_has")


@scenario
def sizes_and_seals(s: Recorder) -> None:
    """Seals against shrinking and growing forbid just that, and fallocate past the end counts as growing even if the size is kept; seals against writing forbid neither."""
    fd = s.memfd_create(pages=2, seals="write")
    s.ftruncate(fd, 1, into="cut")
    s.ftruncate(fd, 3, into="grown")
    s.fallocate(fd, page=0, pages=2, into="filled")
    s.add_seals(fd, "shrink")
    s.ftruncate(fd, 2, into="sealed_cut")
    s.ftruncate(fd, 3, into="sealed_same")
    s.ftruncate(fd, 4, into="sealed_grown")
    s.add_seals(fd, "grow")
    s.ftruncate(fd, 5, into="no_more")
    s.fallocate(fd, page=3, pages=2, into="past_the_end")
    s.fallocate(fd, page=3, pages=2, keep_size=True, into="size_kept")
    s.fallocate(fd, page=2, pages=2, into="inside")
    s.close(fd)
    s.ftruncate(fd, 1, into="closed")
    s.fallocate(fd, page=0, into="closed_too")


@scenario
def longer_than_the_file(s: Recorder) -> None:
    """A mapping may reach past the end, from the beginning or when it becomes larger; what is there comes with the file."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd, pages=3)
    s.mremap_in_place(a, pages=3, new_pages=1)
    s.mremap_in_place(a, pages=1, new_pages=3, into="larger")
    s.read(a + 2, into="behind")
    s.ftruncate(fd, 2)
    moved = s.mremap(a, pages=3)
    s.write(moved + 1, "b", into="moved")
    s.read(moved + 2, into="still_behind")


@scenario
def copy_behind_the_end(s: Recorder) -> None:
    """Pages behind the end are no memory until the file grows, and go when it is cut to the size that it has."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd, pages=3)
    s.write(a, "a", pages=1)
    s.fallocate(fd, page=0, pages=2, keep_size=True)
    s.read(a, into="inside")
    s.read(a + 1, into="behind")
    s.ftruncate(fd, 1, into="same")
    s.fallocate(fd, page=1, pages=2)
    s.write(a + 2, "c")
    s.read(a + 1, into="filled")
    s.read(a + 2, into="grown")


@scenario
def cut_beside_a_pin(s: Recorder) -> None:
    """A pinned page leaves the file and lives on; nothing behind the end can be pinned, or be made a udmabuf; a udmabuf's file cannot be cut."""
    fd = s.memfd_create(pages=2, seals="")
    a = s.mmap(fd)
    s.write(a, "a", pages=2)
    pin = s.pin(a + 1)
    s.ftruncate(fd, 1)
    pin.read(into="pinned")
    s.pin(a + 1, into="pin_behind")
    s.udmabuf_create(fd, page=0, pages=1, into="could_be_cut")
    s.add_seals(fd, "shrink")
    s.udmabuf_create(fd, page=0, pages=2, into="too_long")
    b = s.udmabuf_create(fd, page=0, pages=1)
    s.ftruncate(fd, 0, into="refused")
    s.ftruncate(fd, 2, into="grows")
    s.read(s.mmap(b), into="buffer")
    s.read(a + 1, into="new")


@scenario
def cut_beside_a_read(s: Recorder) -> None:
    """The value or SIGBUS, and SIGBUS for good once it was one."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.write(a, "a", pages=2)

    @s.thread
    def cuts() -> None:
        s.ftruncate(fd, 1)

    @s.thread
    def reads() -> None:
        s.read(a + 1, into="first")
        s.read(a + 1, into="second")

    with s.after():
        s.read(a, into="before_the_end")
        s.read(a + 1, into="behind")


@scenario
def cut_beside_a_copy(s: Recorder) -> None:
    """Who copies a page of the file for itself beside the cut has no copy afterwards: it is unmapped once more."""
    fd = s.memfd_create(pages=2)
    own = s.mmap_private(fd)

    @s.thread
    def cuts() -> None:
        s.ftruncate(fd, 1, into="cut")

    @s.thread
    def writes() -> None:
        s.write(own + 1, "p", into="written")

    with s.after():
        s.read(own + 1, into="behind")


@scenario
def cut_beside_a_pin_being_made(s: Recorder) -> None:
    """Whoever comes too late is refused; a page that was pinned before lives on."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.write(a, "a", pages=2)

    @s.thread
    def cuts() -> None:
        s.ftruncate(fd, 1)

    @s.thread
    def pins() -> None:
        s.pin(a + 1, into="pinned").read(into="found")

    with s.after():
        s.ftruncate(fd, 2)
        s.read(a + 1, into="grown")


@scenario
def grown_beside_a_write(s: Recorder) -> None:
    """Beside a file that grows: SIGBUS, or it is written."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd, pages=2)

    @s.thread
    def grows() -> None:
        s.fallocate(fd, page=1, pages=1)

    @s.thread
    def writes() -> None:
        s.write(a + 1, "b", into="written")

    with s.after():
        s.read(a + 1, into="read")


@scenario
def cut_beside_a_udmabuf(s: Recorder) -> None:
    """The file is sealed against shrinking before it is made a buffer: it is cut before, or not at all."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.write(a, "a", pages=2)
    made: list[File] = []

    @s.thread
    def cuts() -> None:
        s.ftruncate(fd, 1, into="cut")

    @s.thread
    def makes() -> None:
        s.add_seals(fd, "shrink")
        made.append(s.udmabuf_create(fd, into="buffer"))

    with s.after():
        s.read(a + 1, into="file")


@scenario
def huge_files_are_cut(s: Recorder) -> None:
    """Huge pages go whole; there is no cut within one."""
    fd = s.memfd_create_hugetlb(pages=4)
    a = s.mmap(fd, pages=4)
    s.write(a, "a", pages=4)
    s.ftruncate(fd, 3, into="within")
    s.ftruncate(fd, 2, into="cut")
    s.read(a + 1, into="before_the_end")
    s.read(a + 2, into="behind")
    s.ftruncate(fd, 4, into="grown")
    s.read(a + 3, into="hole")


@scenario
def huge_pages_behind_the_end(s: Recorder) -> None:
    """A page that is kept behind the end of a file of huge pages is memory, if it is mapped; mapping it to write makes the file larger, sealed or not."""
    fd = s.memfd_create_hugetlb(pages=4, seals="grow")
    a = s.mmap(fd, pages=4)
    s.ftruncate(fd, 2)
    s.fallocate(fd, page=2, pages=1, into="sealed")
    s.read(a + 2, into="behind")
    b = s.mmap(fd, page=2, pages=2)
    s.write(b + 1, "b", into="mapped")
    s.read(a + 3, into="grown")
    other = s.memfd_create_hugetlb(pages=2)
    s.fallocate(other, page=1, pages=2, keep_size=True, into="kept")
    s.ftruncate(other, 2)
