"""What the kernel's own tests of userfaultfd assert (tools/testing/selftests/mm/uffd-unit-tests.c, Linux 6.12), as far as the model has
the operations; docs/mm-tests.md has them all. One page for theirs of many."""

from secondsight.scenario import Recorder, scenario


@scenario
def uffd_zeropage_tests(s: Recorder) -> None:
    """zeropage: a page of zeros comes where nothing was, and not twice; of private memory and of a memfd."""
    a, file = s.mmap(pages=1), s.mmap(s.memfd_create(pages=1))
    u = s.userfaultfd()
    for name, place in (("private", a), ("memfd", file)):
        s.uffd_register(u, place)
        s.uffd_zeropage(u, place, into=f"{name}_first")
        s.uffd_zeropage(u, place, into=f"{name}_again")
        s.read(place, into=f"{name}_read")


@scenario
def uffd_move_tests(s: Recorder) -> None:
    """move: who touches what is missing finds the page that was elsewhere. A kernel before 6.8 has nothing to move it with: there it is filled."""
    source, a = s.mmap(pages=1), s.mmap(pages=1)
    s.write(source, "a")
    u = s.userfaultfd()
    s.uffd_register(u, a)

    @s.thread
    def touches() -> None:
        s.read(a, into="touched")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="message")
        s.uffd_move(u, a, source, into="moved")
        s.uffd_copy(u, a, "c", into="filled")


@scenario
def uffd_minor_tests(s: Recorder) -> None:
    """minor: who touches what the memfd has, and nobody has mapped here, waits; it finds what the handler has made of it through
    another mapping."""
    file = s.memfd_create(pages=1)
    alias, a = s.mmap(file), s.mmap(file)
    s.write(alias, "a")
    u = s.userfaultfd()
    s.uffd_register_minor(u, a)

    @s.thread
    def touches() -> None:
        s.read(a, into="touched")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="message")
        s.write(alias, "b")
        s.uffd_continue(u, a, into="continued")


@scenario
def uffd_sigbus_tests(s: Recorder) -> None:
    """sigbus: a signal for who touches what is missing; the page is there when it has been filled."""
    a = s.mmap(pages=1)
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a)
    s.read(a, into="missing")
    s.write(a, "w", into="missing_still")
    s.uffd_copy(u, a, "c", into="filled")
    s.read(a, into="read")


@scenario
def uffd_sigbus_wp_tests(s: Recorder) -> None:
    """sigbus-wp: a signal for who writes what is protected; it is read, and written when it is protected no more."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, wp=True)
    s.uffd_writeprotect(u, a)
    s.write(a, "w", into="protected")
    s.read(a, into="read")
    s.uffd_writeprotect(u, a, protect=False)
    s.write(a, "w", into="free")
