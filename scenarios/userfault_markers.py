"""What user space says by a userfaultfd of pages that are not in the page table: of a file's, of those that are yet to come, of those that are lost."""

from secondsight.scenario import Recorder, scenario


@scenario
def protected_until_it_comes(s: Recorder) -> None:
    """A memfd's page and a hole are write-protected, whether they are mapped or not; another mapping of the file is not."""
    file = s.memfd_create(pages=2)
    a, other = s.mmap(file), s.mmap(file)
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, missing=False, wp=True)
    s.write(other, "a", pages=1)
    s.uffd_writeprotect(u, a)
    s.read(a, into="file_page")
    s.write(a, "b", pages=1, into="written")
    s.read(a + 1, into="hole")
    s.write(a + 1, "b", into="hole_written")
    s.write(other + 1, "c", into="elsewhere")
    s.madvise_dontneed(a)
    s.pagemap_wp(a + 1, into="dropped")
    s.read(a + 1, into="comes_again")
    s.write(a + 1, "d", into="protected_still")
    s.uffd_writeprotect(u, a + 1, protect=False)
    s.write(a + 1, "d", into="free")
    s.madvise_dontneed(a + 1)
    s.pagemap_wp(a + 1, into="nothing_left")
    s.read(a + 1, into="in_the_end")


@scenario
def protected_over_a_hole(s: Recorder) -> None:
    """Punching a hole leaves the protection; what fills it does not have it unless it says so; unmapping takes it away."""
    file = s.memfd_create(pages=2)
    a = s.mmap(file)
    s.write(a, "a")
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, wp=True)
    s.uffd_writeprotect(u, a)
    s.fallocate_punch_hole(file, page=0, pages=2)
    s.pagemap_wp(a, into="punched")
    s.read(a, into="missing")
    s.uffd_poison(u, a, into="is_no_place_for_poison")
    s.uffd_copy(u, a, "c", into="filled")
    s.pagemap_wp(a, into="filled_free")
    s.write(a, "d", pages=1, into="written")
    s.uffd_copy_wp(u, a + 1, "e", into="filled_protected")
    s.write(a + 1, "f", into="refused")
    s.pagemap_wp(a + 1, into="bit")
    s.munmap(a)
    again = s.mmap(file, at=a)
    s.pagemap_wp(again + 1, into="another_mapping")
    s.write(again + 1, "g", into="written_there")


@scenario
def protected_private_file(s: Recorder) -> None:
    """The same of a private mapping: of the file's page, and of the process's own."""
    file = s.memfd_create(pages=2)
    shared = s.mmap(file)
    s.write(shared, "a")
    a = s.mmap_private(file)
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, missing=False, wp=True)
    s.write(a, "b", pages=1)
    s.read(a + 1)
    s.uffd_writeprotect(u, a)
    s.write(a, "c", pages=1, into="own")
    s.write(a + 1, "c", into="of_the_file")
    s.madvise_pageout(a)
    s.pagemap_wp(a, into="own_swapped")
    s.write(a, "c", pages=1, into="own_again")
    s.madvise_dontneed(a)
    s.pagemap_wp(a, into="own_dropped")
    s.write(a, "c", pages=1, into="protected_still")
    s.read(a, into="reads_the_file")
    s.uffd_unregister(u, a)
    s.write(a, "d", into="free")
    s.read(shared, into="file")


@scenario
def protected_and_swapped_out(s: Recorder) -> None:
    """A memfd's page that is swapped out, or moved, is write-protected when it comes again; what mremap() moves is not, where nobody is told."""
    a = s.mmap(s.memfd_create(pages=1))
    s.write(a, "a")
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, missing=False, wp=True)
    s.uffd_writeprotect(u, a)
    s.madvise_pageout(a)
    s.pagemap_wp(a, into="away")
    s.write(a, "b", into="refused")
    s.read(a, into="read")
    s.mprotect(a, write=False)
    s.mprotect(a, write=True)
    s.write(a, "b", into="refused_still")
    s.madvise_dontneed(a)
    moved = s.mremap(a)
    s.pagemap_wp(moved, into="moved")
    s.write(moved, "c", into="written")
    s.read(moved, into="in_the_end")


@scenario
def protected_before_it_is_there(s: Recorder) -> None:
    """Of private memory: the first write is told, the page is there by then; what is missing is told first."""
    a, b = s.mmap(pages=2), s.mmap(pages=1)
    u = s.userfaultfd_wp_unpopulated(sigbus=True)
    s.uffd_register(u, a, missing=False, wp=True)
    s.uffd_register(u, b, wp=True)
    s.uffd_writeprotect(u, a)
    s.uffd_writeprotect(u, b)
    s.write(a, "a", pages=1, into="first_write")
    s.read(a, into="zeros")
    s.uffd_writeprotect(u, a, pages=1, protect=False)
    s.write(a, "b", pages=1, into="free")
    s.read(b, into="missing")
    s.uffd_zeropage(u, b, into="no_zeros")
    s.uffd_copy_wp(u, b, "c", into="filled")
    s.write(b, "d", into="protected")
    with s.fork():
        s.pagemap_wp(a + 1, into="childs")
        s.write(a + 1, "e", into="child_writes")
    s.uffd_unregister(u, a)
    s.pagemap_wp(a + 1, into="unregistered")
    s.write(a + 1, "f", into="written")
    s.uffd_copy_wp(u, a, "g", into="not_registered")


@scenario
def lost_pages(s: Recorder) -> None:
    """Poison of private memory: it moves, a child has it too; it goes when the page is forgotten or filled, and stays when nobody is registered any more."""
    a, source = s.mmap(pages=2), s.mmap(pages=1)
    s.write(source, "s")
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a)
    s.uffd_poison(u, a, into="poisoned")
    s.uffd_poison(u, a + 1)
    s.uffd_poison(u, a + 1, into="again")
    s.read(a, into="read")
    s.pagemap_wp(a, into="not_protected")
    s.uffd_move(u, a, source, into="nothing_moves_over_it")
    s.uffd_move(u, a, a + 1, into="nor_it")
    with s.fork():
        s.read(a, into="childs")
    s.uffd_copy(u, a + 1, "c", into="healed")
    s.read(a + 1, into="filled")
    s.uffd_copy_wp(u, a, "c", into="not_registered_for_that")
    s.uffd_unregister(u, a)
    s.read(a, into="stays")
    moved = s.mremap(a)
    s.read(moved, into="moved")
    s.read(moved + 1, into="moved_too")
    s.madvise_dontneed(moved)
    s.read(moved, into="forgotten")


@scenario
def lost_and_pinned(s: Recorder) -> None:
    """A pin of a page that is lost, or for writing of one that is write-protected, fails; of what was filled it does not."""
    a = s.mmap(s.memfd_create(pages=2))
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, wp=True)
    s.uffd_poison(u, a)
    s.pin(a, pages=1, write=False, into="lost")
    s.uffd_copy_wp(u, a + 1, "c")
    s.pin(a + 1, into="for_writing")
    s.pin(a + 1, write=False, into="for_reading")
    with s.fork():
        s.pagemap_wp(a + 1, into="child")
        s.read(a, into="childs_hole")
    s.write(a + 1, "d", into="protected")
