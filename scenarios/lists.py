"""All of memory at once: what a cgroup's memory is wanted back for, and what compaction moves. Which pages go nobody can say, and what is held stays."""

from secondsight.scenario import Recorder, scenario


@scenario
def memory_is_wanted_back(s: Recorder) -> None:
    """Any of two pages may go to swap: what is in swap cannot be moved (-ENOENT), and holds what it held. A page that is pinned stays."""
    a = s.mmap(pages=3)
    s.write(a, "A", pages=3)
    pin = s.pin(a + 2)
    s.memory_reclaim()
    s.move_pages(a, into="first")
    s.move_pages(a + 1, into="second")
    s.move_pages(a + 2, into="pinned")
    s.read(a, into="a")
    s.read(a + 1, into="b")
    s.unpin(pin)


@scenario
def a_memfd_and_memory_that_may_be_forgotten(s: Recorder) -> None:
    """A memfd's page goes too, mapped twice or not; what may be forgotten is zero then, or what it was."""
    memfd = s.memfd_create(pages=1)
    shared = s.mmap(memfd)
    again = s.mmap(memfd)
    s.write(shared, "B")
    s.read(again)
    own = s.mmap(pages=1)
    s.write(own, "C")
    s.madvise_free(own, pages=1)
    s.memory_reclaim()
    s.move_pages(shared, into="moved")
    s.read(own, into="forgotten")
    s.read(again, into="kept")


@scenario
def wanted_back_beside_who_moves(s: Recorder) -> None:
    """A page that waits for its turn is off its list: who moves it is refused (-EBUSY), whatever becomes of it."""
    a = s.mmap(pages=2)
    s.write(a, "A", pages=2)

    @s.thread
    def wants() -> None:
        s.memory_reclaim()

    @s.thread
    def moves() -> None:
        s.move_pages(a + 1, into="second")
        s.move_pages(a, into="first")
        s.read(a, into="a")


@scenario
def compacted_beside_who_writes(s: Recorder) -> None:
    """Pages move under a writer, who waits for them, and under another who moves them (-EBUSY, -EAGAIN)."""
    a = s.mmap(pages=2)
    s.write(a, "A")

    @s.thread
    def compacts() -> None:
        s.compact_memory()

    @s.thread
    def writes() -> None:
        s.write(a + 1, "W")
        s.move_pages(a, into="moved")
        s.write(a, "V", pages=1)

    with s.after():
        s.read(a, into="a")
        s.read(a + 1, into="b")
