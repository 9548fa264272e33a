"""A process that answers its own page faults (userfaultfd), and hears of changes of its memory."""

from secondsight.scenario import Recorder, scenario


@scenario
def filled_by_a_thread(s: Recorder) -> None:
    """Two threads touch a page that is not there: a third fills it, once, and both find it."""
    a = s.mmap(pages=2)
    u = s.userfaultfd()
    s.uffd_register(u, a)
    s.uffd_serve(u, "p")

    @s.thread
    def reads() -> None:
        s.read(a, into="read")

    @s.thread
    def writes() -> None:
        s.write(a, "w", pages=1)

    with s.after():
        s.read(a, into="after")
        s.read(a + 1, into="other_page")


@scenario
def told_of_dontneed(s: Recorder) -> None:
    """MADV_DONTNEED of registered memory is told before the pages go; filling has to wait until the message has been read."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    u = s.userfaultfd(events=True)
    s.uffd_register(u, a)

    @s.thread
    def forgets() -> None:
        s.madvise_dontneed(a, into="forgotten")

    @s.thread
    def handler() -> None:
        s.uffd_copy(u, a, "b", into="filled_early")
        s.uffd_read(u, into="message")
        s.uffd_copy(u, a, "c", into="filled")


@scenario
def told_of_munmap_late(s: Recorder) -> None:
    """When the message of munmap can be read the memory has gone; the call returns when it has been read."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    u = s.userfaultfd(events=True)
    s.uffd_register(u, a)

    @s.thread
    def unmaps() -> None:
        s.munmap(a)
        s.mmap(pages=1, at=a)
        s.write(a, "n")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="message")
        s.read(a, into="by_then")


@scenario
def write_protected(s: Recorder) -> None:
    """Who writes a protected page waits until it is protected no more, whatever becomes of the page meanwhile."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    u = s.userfaultfd()
    s.uffd_register(u, a, missing=False, wp=True)
    s.uffd_writeprotect(u, a)

    @s.thread
    def writes() -> None:
        s.write(a, "w", into="written")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="message")
        s.read(a, into="unwritten")
        s.uffd_writeprotect(u, a, protect=False)

    with s.after():
        s.read(a, into="after")


@scenario
def nobody_else_may_wait(s: Recorder) -> None:
    """A signal instead of waiting; what the process does to registered memory by itself; the end of it."""
    a = s.mmap(pages=2)
    b = s.mmap(pages=1)
    u = s.userfaultfd(sigbus=True)
    s.uffd_copy(u, a, "a", into="not_registered")
    s.uffd_register(u, a, wp=True)
    s.read(a, into="missing")
    s.uffd_copy(u, a, "a", into="filled")
    s.uffd_copy(u, a, "b", into="again")
    s.uffd_zeropage(u, a + 1)
    s.uffd_writeprotect(u, a)
    s.write(a, "w", into="protected")
    s.mprotect(a, write=False)
    s.mprotect(a, write=True)
    s.write(a, "w", pages=1, into="protected_still")
    s.uffd_writeprotect(u, b, into="not_for_that")
    s.uffd_unregister(u, a, pages=1)
    s.write(a, "w", pages=1, into="free")
    s.write(a + 1, "w", into="not_free")
    s.madvise_dontneed(a)
    s.read(a, into="zero")
    s.read(a + 1, into="missing_again")
    s.uffd_close(u)
    s.read(a + 1, into="closed")
    s.uffd_wake(u, a, into="closed_too")


@scenario
def others_wait_too(s: Recorder) -> None:
    """A pin, and a direct read into half a page: both want the pages there, and wait for the handler as a CPU does."""
    a = s.mmap(pages=2)
    u = s.userfaultfd(events=True)
    s.uffd_register(u, a)
    s.uffd_serve(u, "p")

    @s.thread
    def pins() -> None:
        pin = s.pin(a, pages=1)
        pin.read(into="pinned")

    @s.thread
    def disk() -> None:
        s.direct_read(a + 1, "d", into="read")

    with s.after():
        s.read(a, into="first_page")
        s.read(a + 1, into="second_page")
        s.read_half(a + 1, into="its_second_half")


@scenario
def ends_waiting(s: Recorder) -> None:
    """Who waits for a page, or for a message to be read, ends with the process."""
    a = s.mmap(pages=1)
    u = s.userfaultfd(events=True)
    s.uffd_register(u, a)

    @s.thread
    def touches() -> None:
        s.read(a, into="read")

    @s.thread
    def forgets() -> None:
        s.madvise_dontneed(a, into="forgot")

    @s.thread
    def ends() -> None:
        s.exit()


@scenario
def told_of_fork(s: Recorder) -> None:
    """A child's memory is registered with a userfaultfd of its own, which comes with the message of the fork: its faults are answered too, and what
    was write-protected for the parent is for the child."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    u = s.userfaultfd(events=True, forks=True)
    s.uffd_register(u, a, wp=True)
    s.uffd_writeprotect(u, a)
    s.uffd_serve(u, "p")

    children = []

    @s.thread
    def parent() -> None:
        children.append(s.fork())
        s.write(a, "w", pages=1, into="written")

    (child,) = children

    @child.thread
    def touches() -> None:
        s.read(a, into="of_the_parent")
        s.read(a + 1, into="filled")
        s.write(a, "c", pages=1, into="childs")

    with s.after():
        s.read(a, into="after")
