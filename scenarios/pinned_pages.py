"""Pages pinned by address: a pin keeps the page, and neither its address nor its place in a file."""

from secondsight.scenario import Recorder, scenario


@scenario
def pins_of_files(s: Recorder) -> None:
    """A page that is punched out of its file stays with its pin; one that is unmapped is found again in the file."""
    fd = s.memfd_create(pages=2)
    m = s.mmap(fd)
    s.write(m, "a")
    punched, mapped = s.pin(m, pages=1, longterm=True), s.pin(m + 1)
    s.fallocate_punch_hole(fd, page=0)
    s.munmap(m)
    again = s.mmap(fd)
    s.write(again, "b")
    punched.read(into="punched")
    punched.write(0, "p")
    s.read(again, into="not_seen_by_the_cpu")
    mapped.read(into="mapped_again")


@scenario
def pins_of_private_memory(s: Recorder) -> None:
    """Forgotten memory stays with its pin. What is pinned for reading, for long, is a page of the process's own."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    forgotten = s.pin(a, pages=1)
    s.madvise_dontneed(a, pages=1)
    s.write(a, "b", pages=1)
    forgotten.read(into="forgotten")
    forgotten.write(0, "d")
    s.read(a, into="not_seen_by_the_cpu")
    untouched = s.pin(a + 1, longterm=True, write=False)
    s.write(a + 1, "b")
    untouched.read(into="untouched")
    untouched.write(0, "x", into="for_reading_only")
    forgotten.unpin()
    forgotten.read(into="unpinned")
    forgotten.unpin(into="twice")
    s.munmap(a)
    s.pin(a, pages=2, into="of_nothing")


@scenario
def pin_vs_dontneed(s: Recorder) -> None:
    """A page is pinned for reading while the process writes it, forgets it and writes again."""
    a = s.mmap(pages=1)

    @s.thread
    def pins() -> None:
        pin = s.pin(a, longterm=True, write=False)
        pin.read(into="seen")

    @s.thread
    def cpu() -> None:
        s.write(a, "b")
        s.madvise_dontneed(a)
        s.write(a, "c")
