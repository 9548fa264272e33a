"""Pages that move to another node, beside accesses and whatever takes them away."""

from secondsight.scenario import Recorder, scenario


@scenario
def moves_beside_a_store(s: Recorder) -> None:
    """The store waits, or came before: it is never lost."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def mover() -> None:
        s.move_pages(a, into="moved")

    @s.thread
    def writer() -> None:
        s.write(a, "b")

    with s.after():
        s.read(a, into="last")


@scenario
def moves_beside_dontneed(s: Recorder) -> None:
    """What is forgotten while it moves is forgotten; nothing is left of it."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def mover() -> None:
        s.move_pages(a, into="moved")

    @s.thread
    def other() -> None:
        s.madvise_dontneed(a)
        s.read(a, into="seen")


@scenario
def what_cannot_be_moved(s: Recorder) -> None:
    """One after the other: nothing there yet, the zero page, a page that is mapped twice, nothing mapped."""
    a = s.mmap(pages=2)
    s.move_pages(a, into="empty")
    s.read(a)
    s.move_pages(a, into="zero")
    s.write(a, "a")
    s.move_pages(a, into="moved")
    memfd = s.memfd_create(pages=1)
    b = s.mmap(memfd)
    s.move_pages(b, into="not_yet")
    s.write(b, "b")
    s.move_pages(b, into="of_a_file")
    c = s.mmap(memfd)
    s.read(c)
    s.move_pages(b, into="twice")
    s.munmap(b)
    s.move_pages(b, into="gone")
    s.move_pages(c, into="once")
    s.read(a, into="first")
    s.read(c, into="second")
