"""Private mappings of memfds of huge pages: copies on write, what a hole takes away, and what is reserved."""

from secondsight.scenario import Recorder, scenario


@scenario
def copies_of_huge_pages(s: Recorder) -> None:
    """What is written is a copy of both halves; a page that the file has not is the process's own at once, and never comes into the file."""
    fd = s.memfd_create_hugetlb(4)
    shared = s.mmap(fd)
    a = s.mmap_private(fd)
    s.write(shared, "f", pages=2)
    s.read(a, into="of_the_file")
    s.write(shared + 1, "g", pages=1)
    s.read(a + 1, into="as_the_file_changes")
    s.write(a, "p", pages=1)
    s.page_is_huge(a + 1, into="huge")
    s.read(a + 1, into="copied_too")
    s.read(shared, into="the_file_keeps_it")
    s.write(a + 2, "q", pages=1)
    s.read(shared + 2, into="still_a_hole")
    s.madvise_dontneed(a, pages=4)
    s.read(a, into="forgotten")
    s.read(a + 2, into="a_page_of_the_file_by_now")
    s.write(shared + 2, "h", pages=1)
    s.read(a + 2, into="seen")


@scenario
def a_hole_takes_copies_too(s: Recorder) -> None:
    """Other than of a memfd of small pages: nothing of a private mapping stays where a hole is made, or where the file ends."""
    fd = s.memfd_create_hugetlb(4)
    a = s.mmap_private(fd)
    s.write(a, "a", pages=4)
    s.fallocate_punch_hole(fd, page=0, pages=1)
    s.read(a, into="a_part_is_the_files")
    s.fallocate_punch_hole(fd, page=0, pages=2)
    s.read(a + 1, into="gone_with_the_hole")
    s.read(a + 2, into="kept")
    s.ftruncate(fd, 2)
    s.read(a + 2, into="gone_with_the_end")


@scenario
def a_child_of_huge_pages(s: Recorder) -> None:
    """After a fork who writes first has a copy, and the other, being alone with it by then, writes the page as it is. A pinned page is copied by the fork."""
    fd = s.memfd_create_hugetlb(4)
    a = s.mmap_private(fd)
    s.write(a, "a", pages=4)
    pin = s.pin(a + 2, pages=1)
    child = s.fork()
    s.write(a, "b", pages=1)
    s.write(a + 2, "c", pages=1)
    s.pin_read(pin, 0, into="pinned")
    with child:
        s.read(a, into="child_has_the_old_one")
        s.read(a + 1, into="and_its_other_half")
        s.write(a + 1, "d", pages=1)
        s.read(a + 2, into="child_has_a_copy")
    s.read(a + 1, into="parents_own")


@scenario
def what_private_mappings_reserve(s: Recorder) -> None:
    """As many as they have, whatever the file has already; what was not used is given back with the mapping."""
    s.hugetlb_pool(4)
    f = s.memfd_create_hugetlb(4)
    g = s.memfd_create_hugetlb(2)
    a = s.mmap_private(f)
    s.mmap_private(g, into="all_is_reserved")
    s.write(a, "a", pages=1)
    s.munmap(a + 2, pages=2)
    b = s.mmap(g)
    s.write(b, "b", pages=1)
    s.mmap_private(g, into="the_file_has_it_and_that_is_no_matter")
    s.munmap(a, pages=2)
    c = s.mmap_private(g)
    s.write(c, "c", pages=1)
    s.read(b, into="of_the_file")


@scenario
def a_child_has_nothing_reserved(s: Recorder) -> None:
    """What the parent has not touched yet is reserved for the parent: the child gets SIGBUS there."""
    s.hugetlb_pool(4)
    fd = s.memfd_create_hugetlb(4)
    a = s.mmap_private(fd)
    s.write(a, "a", pages=1)
    child = s.fork()
    with child:
        s.read(a, into="in_common")
        s.write(a + 2, "c", into="none_for_the_child")
        s.write(a, "d", pages=1, into="nor_for_a_copy")
    s.write(a + 2, "e", pages=1, into="reserved")
    s.read(a, into="kept")


@scenario
def the_owner_takes_its_page_back(s: Recorder) -> None:
    """There is no page for a copy: the parent, whose mapping it is, writes the page as it is, and the child loses it."""
    s.hugetlb_pool(4)
    fd = s.memfd_create_hugetlb(4)
    a = s.mmap_private(fd)
    s.write(a, "a", pages=4)
    child = s.fork()
    with child:
        s.read(a, into="in_common")
        s.read(a + 2, into="the_other_too")
    s.write(a, "b", pages=1)
    with child:
        s.read(a, into="lost")
        s.read(a + 2, into="kept")
    s.read(a + 1, into="parents_own")


@scenario
def a_store_beside_a_hole(s: Recorder) -> None:
    """The store is to a copy that the hole takes away, or it comes after the hole and stays."""
    fd = s.memfd_create_hugetlb(2)
    a = s.mmap_private(fd)
    s.write(a, "a", pages=1)

    @s.thread
    def punches() -> None:
        s.fallocate_punch_hole(fd, page=0, pages=2)

    @s.thread
    def stores() -> None:
        s.write(a + 1, "b", pages=1)

    with s.after():
        s.read(a, into="first")
        s.read(a + 1, into="second")


@scenario
def a_store_beside_a_fork(s: Recorder) -> None:
    """The child has what was stored before, and nothing of what came later."""
    fd = s.memfd_create_hugetlb(2)
    a = s.mmap_private(fd)
    s.write(a, "a", pages=1)

    children = []

    @s.thread
    def forks() -> None:
        children.append(s.fork())

    @s.thread
    def stores() -> None:
        s.write(a, "b", pages=1)

    (child,) = children

    @child.thread
    def reads() -> None:
        s.read(a, into="child")

    with s.after():
        s.read(a, into="parent")
