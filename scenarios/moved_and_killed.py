"""Mappings that move, pages that a userfaultfd moves or maps, and a process whose memory is taken while it is being killed."""

from secondsight.scenario import Recorder, scenario


@scenario
def moved_beside_a_store(s: Recorder) -> None:
    """A store finds the page at its old address, or nothing; the page is the same at the new one."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def moves() -> None:
        b = s.mremap(a)
        s.read(b, into="moved")

    @s.thread
    def stores() -> None:
        s.write(a, "b", into="stored")


@scenario
def moved_beside_a_punch(s: Recorder) -> None:
    """A hole is punched at both addresses."""
    fd = s.memfd_create(pages=1)
    a, b = s.mmap(fd), s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def moves() -> None:
        s.mremap(a, at=b)

    @s.thread
    def punches() -> None:
        s.fallocate_punch_hole(fd, page=0)

    with s.after():
        s.read(b, into="moved")


@scenario
def parts_that_are_one_again(s: Recorder) -> None:
    """Pages that come back to where they were are one mapping with what is beside them: both can be moved in one call."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=2)
    away = s.mremap(a + 1)
    s.mremap(a, pages=2, into="apart")
    s.mremap(away, at=a + 1)
    together = s.mremap(a, pages=2, into="together")
    s.read(together + 1, into="found")


@scenario
def told_of_a_move(s: Recorder) -> None:
    """A userfaultfd tells of what was at the new place, of the move, and of the old place, when all has been done."""
    u = s.userfaultfd(events=True)
    a, b = s.mmap(pages=1), s.mmap(pages=1)
    s.uffd_register(u, a)
    s.uffd_register(u, b)
    s.uffd_copy(u, a, "a")

    @s.thread
    def moves() -> None:
        s.mremap(a, at=b)
        s.read(b, into="moved")

    @s.thread
    def hears() -> None:
        s.uffd_read(u, into="first")
        s.uffd_copy(u, a, "b", into="filled")
        s.uffd_read(u, into="second")
        s.uffd_read(u, into="third")


@scenario
def moved_in_by_a_handler(s: Recorder) -> None:
    """Who waits for a missing page finds the one that was moved there; where nothing can be moved (before Linux 6.8) zeros."""
    u = s.userfaultfd()
    ready, missing = s.mmap(pages=1), s.mmap(pages=1)
    s.write(ready, "a")
    s.uffd_register(u, missing)

    @s.thread
    def reads() -> None:
        s.read(missing, into="found")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="why")
        s.uffd_move(u, missing, ready, into="moved")
        s.uffd_zeropage(u, missing, into="zeros")
        s.read(ready, into="left")


@scenario
def looked_at_before_it_is_mapped(s: Recorder) -> None:
    """A handler sees what a memfd's page holds, by another mapping, before anybody can use it."""
    u = s.userfaultfd()
    fd = s.memfd_create(pages=1)
    own, others = s.mmap(fd), s.mmap(fd)
    s.write(own, "a")
    s.uffd_register_minor(u, others)

    @s.thread
    def reads() -> None:
        s.read(others, into="found")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="why")
        s.write(own, "b")
        s.uffd_continue(u, others)


@scenario
def killed_and_reaped(s: Recorder) -> None:
    """The memory of a process that is killed is taken from it before it has ended, or it has ended."""
    fd = s.memfd_create(pages=1)
    other = s.process()
    with other:
        private = s.mmap(pages=1)
        s.write(private, "a")
        shared = s.mmap(fd)

    @other.thread
    def victim() -> None:
        s.write(shared, "b")
        s.read(private, into="found")

    @s.thread
    def killer() -> None:
        s.process_mrelease(other, into="too_early")
        s.kill(other)
        s.process_mrelease(other, into="reaped")

    with s.after():
        s.read(s.mmap(fd), into="last")


@scenario
def shrunk_and_grown(s: Recorder) -> None:
    """What was behind the new end has gone, and the place is new memory when the mapping grows again. It does not grow over another."""
    start = s.mmap(pages=3)
    s.write(start, "a")
    s.mremap_in_place(start, new_pages=1, into="shrunk")
    s.read(start + 1, into="gone")
    s.mremap_in_place(start, pages=1, new_pages=2, into="grown")
    s.read(start + 1, into="new")
    s.mmap(s.memfd_create(pages=1), at=start + 2)
    s.mremap_in_place(start, pages=2, new_pages=3, into="not_over_another")


@scenario
def moved_to_another_length(s: Recorder) -> None:
    """A mapping that moves becomes shorter, then longer; what cannot grow where it is moves if it may, and is another mapping then. What moves no further is none."""
    start = s.mmap(pages=3)
    for page, value in enumerate("abc"):
        s.write(start + page, value, pages=1)
    short = s.mremap_resized(start, new_pages=2)
    s.read(start + 2, into="cut_off")
    s.mremap_resized(short, pages=1, new_pages=3, at=start)
    s.read(start, into="first")
    s.read(start + 1, into="new")
    s.read(short + 1, into="stays")
    moved = s.mremap_maymove(start, pages=1, new_pages=2)
    s.read(moved, into="moved")
    s.read(start, into="left")
    s.munmap(moved + 1)
    s.read(s.mremap_maymove(moved, pages=1, new_pages=2), into="grown_in_place")
    s.read(moved + 1, into="grown")
