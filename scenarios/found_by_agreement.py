"""What drawn scenarios found wrong in the model (`secondsight agree`), as small as they were made; the kernel was right."""

from secondsight.scenario import Recorder, scenario


@scenario
def dontneed_over_a_gap(s: Recorder) -> None:
    """MADV_DONTNEED goes on behind what is not mapped, and says -ENOMEM at the end."""
    a = s.mmap(pages=3)
    s.write(a, "a")
    s.munmap(a + 1)
    s.madvise_dontneed(a, into="forgot")
    s.read(a, into="before")
    s.read(a + 2, into="behind")


@scenario
def dontneed_into_a_udmabuf(s: Recorder) -> None:
    """MADV_DONTNEED stops at a mapping that it cannot do; what lies before is forgotten already."""
    fd = s.memfd_create(pages=1, seals="shrink")
    a = s.mmap(pages=3)
    s.write(a, "a")
    s.mmap(s.udmabuf_create(fd), at=a + 1)
    s.madvise_dontneed(a, into="forgot")
    s.read(a, into="before")
    s.read(a + 2, into="behind")


@scenario
def udmabuf_mapped_over(s: Recorder) -> None:
    """MAP_FIXED of a udmabuf: what was there goes. Also when the udmabuf is too short, and nothing comes."""
    fd = s.memfd_create(pages=2, seals="shrink")
    a = s.mmap(fd)
    s.write(a, "a")
    buf = s.udmabuf_create(fd, page=1, pages=1)
    s.mmap(pages=1, at=a + 1)
    s.read(a + 1, into="anonymous")
    s.mmap(buf, at=a + 1, into="mapped")
    s.read(a + 1, into="udmabuf")
    s.mmap(buf, pages=2, at=a, into="too_short")
    s.read(a, into="first")
    s.read(a + 1, into="second")


@scenario
def sealed_file_mapped_over(s: Recorder) -> None:
    """MAP_FIXED of a write-sealed memfd is refused, and what was there stays."""
    sealed = s.memfd_create(pages=1, seals="write")
    future = s.memfd_create(pages=1, seals="future_write")
    a = s.mmap(pages=1)
    s.write(a, "a")
    s.mmap(sealed, at=a, into="of_sealed")
    s.read(a, into="after_sealed")
    s.mmap(future, at=a, into="of_future")
    s.read(a, into="after_future")


@scenario
def sealed_file_beside_itself(s: Recorder) -> None:
    """MAP_FIXED of a file that takes no new writers, continuing a mapping from before: refused (not so on Linux 6.1)."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd)
    s.mmap(pages=1, at=a)
    s.add_seals(fd, "future_write")
    s.mmap(fd, page=0, pages=1, at=a, into="mapped")
    s.write(a + 0, "a", into="wrote")
    s.read(a + 1, into="beside")


@scenario
def over_a_mapping_that_never_was(s: Recorder) -> None:
    """What names a mapping or a udmabuf that did not come into being is skipped."""
    fd = s.memfd_create(pages=1)
    buf = s.udmabuf_create(fd, into="created")
    a = s.mmap(buf, into="mapped")
    s.mmap(pages=1, at=a, into="over")
    s.udmabuf_create_list([(fd, 0, 1), (buf, 0, 1)], into="in_list")


@scenario
def moved_out_of_a_punched_hole(s: Recorder) -> None:
    """A page is moved that has left its file and its mapping, while munmap still holds a reference: it counts as one more, -EAGAIN."""
    fd = s.memfd_create(pages=1)
    m = s.mmap(fd)
    s.write(m, "a")

    @s.thread
    def moves() -> None:
        s.move_pages(m, into="moved")

    @s.thread
    def unmaps() -> None:
        s.munmap(m)

    @s.thread
    def punches() -> None:
        s.fallocate_punch_hole(fd, page=0, into="punched")


@scenario
def moves_what_nobody_has_touched(s: Recorder) -> None:
    """Memory that nobody has touched counts no more once it may not be written, and becomes no vma with memory beside it that does: two vmas are not
    moved by one call."""
    a = s.mmap(pages=2)
    s.mprotect_none(a + 1, pages=1)
    s.madvise_populate_write(a, pages=1)
    s.mprotect(a, pages=2, write=False)
    s.mremap(a, pages=2, into="moved")


@scenario
def collapses_what_nobody_has_touched(s: Recorder) -> None:
    """So it is no vma that has room for a huge page."""
    a = s.mmap(pages=4)
    s.mprotect_none(a + 3, pages=1)
    s.madvise_populate_write(a, pages=1)
    s.mprotect(a + 2, pages=2, write=False)
    s.madvise_collapse(a + 3, pages=1, into="collapsed")


@scenario
def came_to_the_node_meanwhile(s: Recorder) -> None:
    """A page is to move to the other node, and comes there by itself: the block that it lies in goes offline. It has moved, though another mapping has it."""
    fd = s.memfd_create(pages=1)
    m = s.mmap(fd)
    s.write(m, "a")
    other = s.mmap(fd)

    @s.thread
    def takes_offline() -> None:
        s.read(other)
        s.offline_pages()

    @s.thread
    def moves() -> None:
        s.move_pages(other, into="moved")


@scenario
def populated_and_moved(s: Recorder) -> None:
    """MADV_POPULATE_WRITE has made the page, and finds nothing mapped: its mapping has moved, with the page."""
    fd = s.memfd_create(pages=1)
    m = s.mmap(fd)

    @s.thread
    def populates() -> None:
        s.madvise_populate_write(m, into="populated")

    @s.thread
    def moves() -> None:
        there = s.mremap(m, into="remapped")
        s.move_pages(there, into="moved")


@scenario
def asked_for_while_it_moves(s: Recorder) -> None:
    """Who waits for a file's page, which is locked as it is moved, holds it: it does not move then."""
    fd = s.memfd_create(pages=1)
    m = s.mmap(fd)
    s.write(m, "a")

    @s.thread
    def moves() -> None:
        s.move_pages(m, into="moved")

    @s.thread
    def asks() -> None:
        s.fallocate(fd, page=0, pages=1, into="fallocated")
