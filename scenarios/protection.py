"""Who may write a page, and whose page it is: mprotect, private mappings, fork."""

from secondsight.scenario import Process, Recorder, scenario


@scenario
def made_read_only_vs_write(s: Recorder) -> None:
    """A store comes in time, or not at all."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def protects() -> None:
        s.mprotect(a, write=False)

    @s.thread
    def writes() -> None:
        s.write(a, "b", into="stored")

    with s.after():
        s.mprotect(a, write=True)
        s.read(a, into="last")


@scenario
def sealed_for_ever(s: Recorder) -> None:
    """Of a sealed memfd what is mapped for reading stays so; a private mapping is nobody else's affair."""
    fd = s.memfd_create(pages=1)
    before = s.mmap_read_only(fd)
    s.add_seals(fd, "write", into="too_early")
    s.add_seals(fd, "future_write")
    after = s.mmap_read_only(fd)
    own = s.mmap_private(fd)
    s.mprotect(after, write=True, into="after")
    s.mprotect(before, write=True, into="before")
    s.write(before, "a")
    s.read(own, into="shared")
    s.write(own, "b")
    s.read(after, into="kept")
    s.fallocate_punch_hole(fd, page=0, into="punched")
    s.read(own, into="own")


@scenario
def copied_beside_a_punch(s: Recorder) -> None:
    """The first store to a private page copies what the file has then; a punch takes the file's page, and no copy."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    s.write(a, "a")
    own = s.mmap_private(fd)
    s.read(own)

    @s.thread
    def writes() -> None:
        s.write(own, "b")

    @s.thread
    def punches() -> None:
        s.fallocate_punch_hole(fd, page=0)

    with s.after():
        s.read(own, into="own")
        s.read(a, into="file")


@scenario
def forked_beside_a_store(s: Recorder) -> None:
    """What is stored before the fork both have; afterwards each has its own."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    children: list[Process] = []

    @s.thread
    def forks() -> None:
        children.append(s.fork())
        s.write(a, "b")

    @s.thread
    def stores() -> None:
        s.write(a, "c")

    (child,) = children

    @child.thread
    def its() -> None:
        s.read(a, into="found")
        s.write(a, "d")

    with s.after():
        s.read(a, into="parent")
        with child:
            s.read(a, into="child")


@scenario
def forked_or_gone(s: Recorder) -> None:
    """A child that came before its parent's end outlives it."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    children: list[Process] = []

    @s.thread
    def forks() -> None:
        children.append(s.fork())

    @s.thread
    def ends() -> None:
        s.exit()

    (child,) = children

    @child.thread
    def its() -> None:
        s.read(a, into="found")

    with s.after(), child:
        s.read(a, into="later")


@scenario
def grandchild(s: Recorder) -> None:
    """A shared mapping is shared by all; of a private one and of anonymous memory each has what it was given, and its own since."""
    fd = s.memfd_create(pages=1)
    shared, own, a = s.mmap(fd), s.mmap_private(fd), s.mmap(pages=1)
    s.write(shared, "s")
    s.write(a, "a")
    s.read(own)
    child = s.fork()
    s.write(a, "b")
    with child:
        s.write(shared, "t")
        s.write(own, "p")
        s.read(a, into="childs_a")
        grandchild = s.fork()
        s.write(a, "c")
        s.exit()
    with grandchild:
        s.read(own, into="grandchilds_own")
        s.read(a, into="grandchilds_a")
        s.munmap(own)
        s.read(own, into="gone")
    s.read(own, into="own")
    s.read(a, into="parents_a")


@scenario
def soft_dirty_is_cleared(s: Recorder) -> None:
    """Nothing may be written until a store faults: the page is where it was, what others share is copied as ever, and what is pinned stays."""
    shared = s.mmap(s.memfd_create(pages=1))
    alone, pinned = s.mmap(pages=1), s.mmap(pages=1)
    for memory in (shared, alone, pinned):
        s.write(memory, "a")
    pins = s.pin(pinned)
    s.clear_refs()
    for memory in (shared, alone, pinned):
        s.write(memory, "b")
    s.read(shared, into="shared")
    s.read(alone, into="alone")
    s.read(pinned, into="pinned")
    pins.read(into="by_pin")
    s.mprotect(alone, write=False)
    s.clear_refs()
    s.write(alone, "c", into="read_only")


@scenario
def soft_dirty_is_cleared_beside_writes(s: Recorder) -> None:
    """Each store happens, before or after."""
    page = s.mmap(pages=1)
    s.write(page, "a")

    @s.thread
    def cpu() -> None:
        s.write(page, "b")
        s.read(page, into="own")

    @s.thread
    def other() -> None:
        s.clear_refs()

    with s.after():
        s.read(page, into="left")
