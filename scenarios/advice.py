"""What a process says of its memory by madvise(2): what a child gets of it, that it is to be there, that a file's part of it goes."""

from secondsight.scenario import Recorder, scenario


@scenario
def not_for_a_child(s: Recorder) -> None:
    """MADV_DONTFORK and MADV_WIPEONFORK: of three pages a child has the first alone, no second, and a third that nobody has written."""
    pages = s.mmap(pages=3)
    s.write(pages, "a")
    s.madvise_dontfork(pages + 1)
    s.madvise_wipeonfork(pages + 2)
    child = s.fork()
    with child:
        s.read(pages, into="first")
        s.read(pages + 1, into="second")
        s.read(pages + 2, into="third")
    s.read(pages + 2, into="the_parents_third")


@scenario
def given_to_a_child_again(s: Recorder) -> None:
    """MADV_DOFORK and MADV_KEEPONFORK undo that."""
    pages = s.mmap(pages=2)
    s.write(pages, "a")
    s.madvise_dontfork(pages)
    s.madvise_wipeonfork(pages)
    s.madvise_dofork(pages)
    s.madvise_keeponfork(pages + 1)
    child = s.fork()
    with child:
        s.read(pages, into="wiped")
        s.read(pages + 1, into="kept")


@scenario
def wiped_pages_are_anonymous(s: Recorder) -> None:
    """MADV_WIPEONFORK is refused of a file's pages, those before them that are anonymous are wiped all the same."""
    pages = s.mmap(pages=2)
    s.mmap(s.memfd_create(pages=1), at=pages + 1)
    s.madvise_wipeonfork(pages, into="wiped")


@scenario
def removed_by_address(s: Recorder) -> None:
    """MADV_REMOVE: the hole is in the file, at the page that the address maps, whoever maps it."""
    file = s.memfd_create(pages=2)
    there = s.mmap(file)
    shifted = s.mmap(file, page=1)
    s.write(there, "a", pages=1)
    s.write(there + 1, "b", pages=1)
    s.madvise_remove(shifted, into="removed")
    s.read(there, into="first")
    s.read(there + 1, into="second")


@scenario
def not_removed(s: Recorder) -> None:
    """Private memory has no file to punch a hole into; a private mapping of one may not; nor may anybody when it is sealed."""
    file = s.memfd_create(pages=1)
    s.madvise_remove(s.mmap(pages=1), into="anonymous")
    s.madvise_remove(s.mmap_private(file), into="private")
    s.add_seals(file, "future_write")
    s.madvise_remove(s.mmap_read_only(file), into="sealed_for_good")


@scenario
def removed_beside_a_store(s: Recorder) -> None:
    """A store beside MADV_REMOVE is to the page that goes, or to the new one."""
    page = s.mmap(s.memfd_create(pages=1))
    s.write(page, "a")

    @s.thread
    def remover() -> None:
        s.madvise_remove(page, into="removed")

    @s.thread
    def writer() -> None:
        s.write(page, "b")
        s.read(page, into="value")


@scenario
def populated(s: Recorder) -> None:
    """MADV_POPULATE_READ and _WRITE: what the pages hold stays; they end where a page cannot be had."""
    file = s.memfd_create(pages=1)
    shared = s.mmap(file, pages=2)
    s.madvise_populate_write(shared, pages=1, into="there")
    s.madvise_populate_read(shared, into="past_the_end")
    s.madvise_populate_write(s.mmap_read_only(file), into="read_only")
    s.munmap(shared)
    s.madvise_populate_read(shared, into="not_mapped")
