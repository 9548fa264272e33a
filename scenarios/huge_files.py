"""Memfds of huge pages (MFD_HUGETLB): whole pages come and go, and a buffer may begin within one."""

from secondsight.scenario import Recorder, scenario


@scenario
def parts_are_refused(s: Recorder) -> None:
    """Neither munmap nor mprotect takes a part of a huge page; MADV_DONTNEED takes whole ones, and nothing of one that is in its range in part."""
    fd = s.memfd_create_hugetlb(4)
    a = s.mmap(fd)
    s.write(a, "a", pages=4)
    s.page_is_huge(a + 1, into="huge")
    s.munmap(a + 1, pages=1, into="unmapped_part")
    s.munmap(a, pages=1, into="unmapped_first_part")
    s.mprotect(a + 1, pages=2, write=False, into="protected_part")
    s.mprotect(a, pages=2, write=False, into="protected_whole")
    s.write(a + 1, "b", into="written")
    s.madvise_dontneed(a + 1, pages=2, into="forgotten_from_within")
    s.madvise_dontneed(a, pages=3, into="forgotten_to_within")
    s.page_is_huge(a, into="forgotten")
    s.page_is_huge(a + 2, into="kept")
    s.read(a, into="in_the_file")
    s.mmap(fd, page=1, pages=2, into="mapped_from_within")
    s.mmap(pages=1, at=a + 1, into="mapped_over_a_part")
    s.memfd_create_hugetlb(3, into="not_whole")
    s.munmap(a + 2, pages=2, into="unmapped_whole")
    s.read(a + 2, into="gone")


@scenario
def holes_in_huge_pages(s: Recorder) -> None:
    """A hole that has a huge page whole takes it out of the file; of the others the part is zeroed, and stays."""
    fd = s.memfd_create_hugetlb(4)
    a = s.mmap(fd)
    s.write(a, "a", pages=4)
    s.fallocate_punch_hole(fd, page=1, pages=1)
    s.page_is_huge(a, into="in_place")
    s.read(a, into="first")
    s.read(a + 1, into="zeroed")
    s.write(a + 1, "b", pages=1)
    s.fallocate_punch_hole(fd, page=1, pages=3)
    s.read(a + 1, into="zeroed_again")
    s.page_is_huge(a + 2, into="taken_out")
    s.read(a + 3, into="a_new_one")


@scenario
def buffer_within_a_huge_page(s: Recorder) -> None:
    """A udmabuf may begin and end within a huge page: its pages are the file's at that offset, and stay when a hole is punched."""
    fd = s.memfd_create_hugetlb(4, "shrink")
    a = s.mmap(fd)
    s.write(a, "a", pages=1)
    s.write(a + 1, "b", pages=1)
    s.write(a + 2, "c", pages=1)
    buffer = s.udmabuf_create(fd, page=1, pages=2)
    m = s.mmap(buffer)
    s.read(m, into="first")
    s.read(m + 1, into="second")
    s.write(m, "B", pages=1)
    s.read(a + 1, into="seen_in_the_file")
    s.fallocate_punch_hole(fd, page=0, pages=4)
    s.write(a + 1, "n", pages=1)
    s.read(m, into="of_the_buffer")
    s.read(a + 1, into="of_the_file")


@scenario
def punch_beside_a_store(s: Recorder) -> None:
    """The store goes to the page that is taken out, or to a new one."""
    fd = s.memfd_create_hugetlb(2)
    a = s.mmap(fd)
    s.write(a, "a")

    @s.thread
    def punches() -> None:
        s.fallocate_punch_hole(fd, page=0, pages=2)

    @s.thread
    def stores() -> None:
        s.write(a + 1, "b", pages=1)
        s.read(a, into="seen")

    with s.after():
        s.read(a, into="first")
        s.read(a + 1, into="second")


@scenario
def what_the_pool_has(s: Recorder) -> None:
    """mmap() reserves what nobody has reserved for the file yet: -ENOMEM where the pool has not as much. A place that was punched has nothing reserved,
    and who touches it gets SIGBUS when another file has taken what it had."""
    s.hugetlb_pool(4)
    f = s.memfd_create_hugetlb(4)
    g = s.memfd_create_hugetlb(4)
    a = s.mmap(f, pages=2)
    again = s.mmap(f, pages=4)
    s.mmap(g, pages=2, into="all_is_reserved")
    s.write(a, "a")
    s.munmap(again)
    s.mmap(g, pages=2, into="unmapping_gives_nothing_back")
    s.fallocate_punch_hole(f, page=2, pages=2)
    s.mmap(g, pages=2, into="nor_a_hole_where_nothing_was")
    s.fallocate_punch_hole(f, page=0, pages=2)
    b = s.mmap(g, pages=2)
    s.read(a, into="taken")
    s.read(b, into="of_the_other_file")
    s.fallocate_punch_hole(g, page=0, pages=2)
    s.read(a + 1, into="first_come")
    s.write(b, "b", into="first_served")
