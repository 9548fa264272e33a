"""What the kernel's own tests of userfaultfd assert (tools/testing/selftests/mm/uffd-unit-tests.c, Linux 6.12), as far as the model has
the operations; docs/mm-tests.md has them all. One page for theirs of many."""

from itertools import product

from secondsight.scenario import File, Mapping, Recorder, scenario


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


@scenario
def uffd_register_ioctls_tests(s: Recorder) -> None:
    """register-ioctls: what may be done to memory that is registered for each of the three modes, and for those together."""
    a, file = s.mmap(pages=1), s.mmap(s.memfd_create(pages=1))
    u = s.userfaultfd()
    for name, place in (("private", a), ("memfd", file)):
        for missing, wp, minor in product((False, True), repeat=3):
            modes = "".join(letter for letter, asked in (("m", missing), ("w", wp), ("n", minor)) if asked)
            s.uffd_register_ioctls(u, place, missing=missing, wp=wp, minor=minor, into=f"{name}_{modes or 'none'}")
            s.uffd_unregister(u, place)


def _memory(s: Recorder, kind: str) -> Mapping:
    if kind == "private":
        return s.mmap(pages=1)
    file = s.memfd_create(pages=1)
    return s.mmap(file) if kind == "memfd" else s.mmap_private(file)


def _protected(s: Recorder, kind: str, forks: bool = False) -> tuple[Mapping, File]:
    a = _memory(s, kind)
    u = s.userfaultfd(forks=forks)
    s.uffd_register(u, a, missing=False, wp=True)
    s.write(a, "a")
    s.uffd_writeprotect(u, a)
    return a, u


def _wp_fork(s: Recorder, kind: str) -> None:
    a, u = _protected(s, kind)
    s.pagemap_wp(a, into="protected")
    with s.fork():
        s.pagemap_wp(a, into="child")
    if kind == "memfd":
        s.madvise_dontneed(a)
    else:
        s.madvise_pageout(a)
    s.pagemap_wp(a, into="zapped")
    with s.fork():
        s.pagemap_wp(a, into="child_of_zapped")
    s.uffd_writeprotect(u, a, protect=False)
    s.pagemap_wp(a, into="free")
    s.write(a, "b")
    s.pagemap_wp(a, into="written")


@scenario
def uffd_wp_fork_tests(s: Recorder) -> None:
    """wp-fork: a page stays write-protected when it is swapped out; a child that nobody hears of has nothing of it."""
    _wp_fork(s, "private")


@scenario
def uffd_wp_fork_memfd_tests(s: Recorder) -> None:
    """The same of a memfd's page, that is mapped no more and comes again."""
    _wp_fork(s, "memfd")


@scenario
def uffd_wp_fork_private_memfd_tests(s: Recorder) -> None:
    """The same of a private mapping's."""
    _wp_fork(s, "memfd_private")


def _wp_fork_with_event(s: Recorder, kind: str) -> None:
    a, u = _protected(s, kind, forks=True)
    s.uffd_serve(u, "p")
    children = []

    @s.thread
    def parent() -> None:
        children.append(s.fork())
        if kind == "memfd":
            s.madvise_dontneed(a)
        else:
            s.madvise_pageout(a)
        s.pagemap_wp(a, into="zapped")
        children.append(s.fork())
        s.uffd_writeprotect(u, a, protect=False)
        s.pagemap_wp(a, into="free")
        s.write(a, "b")
        s.pagemap_wp(a, into="written")

    with s.after():
        for name, child in zip(("child", "child_of_zapped"), children, strict=True):
            with child:
                s.pagemap_wp(a, into=name)


@scenario
def uffd_wp_fork_with_event_tests(s: Recorder) -> None:
    """wp-fork-with-event: a child that user space is told of has what is write-protected."""
    _wp_fork_with_event(s, "private")


@scenario
def uffd_wp_fork_with_event_memfd_tests(s: Recorder) -> None:
    """The same of a memfd's page."""
    _wp_fork_with_event(s, "memfd")


@scenario
def uffd_wp_fork_with_event_private_memfd_tests(s: Recorder) -> None:
    """The same of a private mapping's."""
    _wp_fork_with_event(s, "memfd_private")


def _wp_fork_pin(s: Recorder, kind: str) -> None:
    a, _ = _protected(s, kind)
    pin = s.pin(a, longterm=True, write=False)
    with s.fork():
        s.pagemap_wp(a, into="child_of_pinned")
    pin.unpin()
    with s.fork():
        s.pin(a, longterm=True, write=False)
        s.pagemap_wp(a, into="child_that_pins")
    s.pagemap_wp(a, into="protected")


@scenario
def uffd_wp_fork_pin_tests(s: Recorder) -> None:
    """wp-fork-pin: the same, where fork copies the page for it is pinned, and where a child's pin copies it."""
    _wp_fork_pin(s, "private")


@scenario
def uffd_wp_fork_pin_memfd_tests(s: Recorder) -> None:
    """The same of a memfd's page, which is the child's too."""
    _wp_fork_pin(s, "memfd")


def _wp_fork_pin_with_event(s: Recorder, kind: str) -> None:
    a, u = _protected(s, kind, forks=True)
    s.uffd_serve(u, "p")
    children = []

    @s.thread
    def parent() -> None:
        pin = s.pin(a, longterm=True, write=False)
        children.append(s.fork())
        pin.unpin()
        children.append(s.fork())

    with s.after():
        with children[0]:
            s.pagemap_wp(a, into="child_of_pinned")
        with children[1]:
            s.pin(a, longterm=True, write=False)
            s.pagemap_wp(a, into="child_that_pins")


@scenario
def uffd_wp_fork_pin_with_event_tests(s: Recorder) -> None:
    """wp-fork-pin-with-event: the copies are write-protected, too."""
    _wp_fork_pin_with_event(s, "private")


@scenario
def uffd_wp_fork_pin_with_event_memfd_tests(s: Recorder) -> None:
    """The same of a memfd's page."""
    _wp_fork_pin_with_event(s, "memfd")


@scenario
def uffd_wp_unpopulated_tests(s: Recorder) -> None:
    """wp-unpopulated: a page that is not there is write-protected, until that is lifted or the page is forgotten; a read finds zeros there."""
    a = s.mmap(pages=1)
    u = s.userfaultfd_wp_unpopulated()
    s.uffd_register(u, a, missing=False, wp=True)
    s.uffd_writeprotect(u, a)
    s.pagemap_wp(a, into="protected")
    s.uffd_writeprotect(u, a, protect=False)
    s.pagemap_wp(a, into="free")
    s.uffd_writeprotect(u, a)
    s.madvise_dontneed(a)
    s.pagemap_wp(a, into="forgotten")
    s.write(a, "w")
    s.pagemap_wp(a, into="written")
    s.madvise_dontneed(a)
    s.uffd_writeprotect(u, a)
    s.read(a, into="read")
    s.pagemap_wp(a, into="zero_page")
    s.madvise_dontneed(a)


@scenario
def uffd_minor_wp_tests(s: Recorder) -> None:
    """minor-wp: what the handler has mapped is write-protected. A kernel before 6.4 has nothing to map it so: there it is mapped."""
    file = s.memfd_create(pages=1)
    alias, a = s.mmap(file), s.mmap(file)
    s.write(alias, "a")
    u = s.userfaultfd()
    s.uffd_register_ioctls(u, a, wp=True, minor=True, into="ioctls")

    @s.thread
    def touches() -> None:
        s.read(a, into="touched")
        s.pagemap_wp(a, into="protected")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="message")
        s.write(alias, "b")
        s.uffd_continue_wp(u, a, into="continued")
        s.uffd_continue(u, a, into="again")


def _events(s: Recorder, wp: bool) -> None:
    a, source = s.mmap(pages=2), s.mmap(pages=2)
    u = s.userfaultfd(events=True, forks=True)
    s.uffd_register(u, a, wp=wp)
    if wp:
        s.uffd_monitor_wp(u, "p")
    else:
        s.uffd_monitor(u, "p")
    children = []

    @s.thread
    def parent() -> None:
        children.append(s.fork())

    (child,) = children

    @child.thread
    def faulting() -> None:
        s.read(a, into="first")
        s.write(a, "q", pages=1)
        moved = s.mremap(a, at=source)
        s.read(moved + 1, into="second")
        s.write(moved + 1, "r", pages=1)
        s.madvise_dontneed(moved)
        s.read(moved, into="first_released")
        s.read(moved + 1, into="second_released")


@scenario
def uffd_events_tests(s: Recorder) -> None:
    """events: a child's faults are answered, before its memory has moved and after; what it releases is registered no more, and zeros."""
    _events(s, False)


@scenario
def uffd_events_wp_tests(s: Recorder) -> None:
    """events-wp: the same, where what is filled is write-protected: each first write is told."""
    _events(s, True)


@scenario
def uffd_poison_tests(s: Recorder) -> None:
    """poison: who touches a page that the handler cannot fill gets a signal; another page is filled. A kernel before 6.6 has no poison: there zeros are read."""
    a = s.mmap(pages=2)
    u = s.userfaultfd()
    s.uffd_register_ioctls(u, a, missing=True, into="ioctls")
    s.uffd_register(u, a + 1)

    @s.thread
    def touches() -> None:
        s.read(a, into="poisoned")
        s.read(a + 1, into="filled")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="first")
        s.uffd_poison(u, a, into="poisons")
        s.uffd_zeropage(u, a, into="fills_nothing")
        s.uffd_read(u, into="second")
        s.uffd_copy(u, a + 1, "c", into="copies")


@scenario
def uffd_poison_memfd_tests(s: Recorder) -> None:
    """The same of a memfd, by itself: it is poisoned in one mapping, not in the file; filling a page heals it."""
    file = s.memfd_create(pages=2)
    a, other = s.mmap(file), s.mmap(file)
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a)
    s.uffd_poison(u, a, into="poisoned")
    s.uffd_poison(u, a, into="again")
    s.read(a, into="read")
    s.write(a, "w", into="written")
    s.uffd_zeropage(u, a, into="zeropage")
    s.read(other, into="elsewhere")
    s.uffd_poison(u, a + 1)
    s.uffd_copy(u, a + 1, "c", into="healed")
    s.read(a + 1, into="filled")
    s.fallocate_punch_hole(file, page=0)
    s.read(a, into="after_a_hole")
    s.madvise_dontneed(a, pages=1)
    s.uffd_copy(u, a, "d", into="filled_after_all")
    s.read(a, into="in_the_end")
