"""Pages that are written to swap and read again."""

from secondsight.scenario import Recorder, scenario


@scenario
def out_and_in(s: Recorder) -> None:
    """One after the other: a page comes back as it was, clean or written; what is unmapped is gone, in swap too."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=2)
    s.madvise_pageout(a)
    s.read(a, into="first")
    s.write(a + 1, "b")
    s.madvise_pageout(a)
    s.madvise_pageout(a)
    s.read(a, into="second")
    s.read(a + 1, into="third")
    s.munmap(a + 1)
    s.madvise_pageout(a, pages=2, into="part")


@scenario
def out_beside_a_store(s: Recorder) -> None:
    """The store comes before the page goes, or brings it back: it is never lost."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def reclaimer() -> None:
        s.madvise_pageout(a)
        s.madvise_pageout(a)

    @s.thread
    def writer() -> None:
        s.write(a, "b")

    with s.after():
        s.read(a, into="last")


@scenario
def out_beside_dontneed(s: Recorder) -> None:
    """What is forgotten is forgotten, wherever the page is by then."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def reclaimer() -> None:
        s.madvise_pageout(a)

    @s.thread
    def other() -> None:
        s.madvise_dontneed(a)
        s.read(a, into="seen")


@scenario
def a_device_writes_a_clean_page(s: Recorder) -> None:
    """The page is in swap as it was; its driver says that the device has written to it, so it is written again."""
    a = s.mmap(pages=1)
    s.write(a, "a")
    s.madvise_pageout(a)
    s.read(a)
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.write(a, "d", into="written")

    with s.after():
        s.madvise_pageout(a)
        s.read(a, into="last")


@scenario
def private_copy_in_swap(s: Recorder) -> None:
    """A private mapping of a file is written, its copy goes to swap, and the file gets a hole: the copy stays."""
    fd = s.memfd_create(pages=1)
    a = s.mmap_private(fd)
    s.write(a, "A")
    s.madvise_pageout(a, into="paged_out")
    s.fallocate_punch_hole(fd, page=0)
    s.read(a, into="read")


@scenario
def given_up(s: Recorder) -> None:
    """MADV_FREE: what a page holds stays until reclaim drops it, instead of writing it out; one that is written again is kept; one that was in swap has gone at once."""
    pages = s.mmap(pages=3)
    s.write(pages, "a")
    s.madvise_pageout(pages + 2)
    s.madvise_free(pages, pages=3)
    s.read(pages, into="still_there")
    s.write(pages + 1, "b", pages=1)
    s.madvise_pageout(pages)
    s.read(pages, into="dropped")
    s.read(pages + 1, into="written_again")
    s.read(pages + 2, into="was_in_swap")


@scenario
def given_up_beside_a_store(s: Recorder) -> None:
    """A store beside reclaim of such a page: what it has written stays, whatever comes of the page."""
    page = s.mmap(pages=1)
    s.write(page, "a")
    s.madvise_free(page)

    @s.thread
    def reclaimer() -> None:
        s.madvise_pageout(page)

    @s.thread
    def writer() -> None:
        s.write(page, "b")

    with s.after():
        s.read(page, into="value")


@scenario
def a_memfds_pages(s: Recorder) -> None:
    """A written page comes back as it was, by whatever way; move_pages() finds nothing meanwhile. What a hole takes is gone, in swap too."""
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd, pages=2)
    s.write(a, "A", pages=2)
    s.madvise_pageout(a, pages=2)
    s.move_pages(a, into="moved")
    s.read(a, into="first")
    s.madvise_pageout(a, pages=2)
    b = s.mmap_private(fd, page=1, pages=1)
    s.write(b, "B")
    s.read(a + 1, into="second")
    s.read(b, into="own")
    s.madvise_pageout(a, pages=2)
    s.fallocate_punch_hole(fd, page=0, pages=1)
    s.read(a, into="hole")
    s.read(a + 1, into="third")


@scenario
def a_page_in_swap_is_a_minor_fault(s: Recorder) -> None:
    """UFFDIO_COPY says that it is there, and UFFDIO_CONTINUE maps it; of a page that was clean, and is dropped, it is the other way round."""
    uffd = s.userfaultfd(sigbus=True)
    pages = s.mmap(s.memfd_create(pages=2), pages=2)
    s.write(pages, "A", pages=1)
    s.read(pages + 1)
    s.madvise_pageout(pages, pages=2)
    s.uffd_register_minor(uffd, pages, pages=2, missing=True)
    s.read(pages, into="asked")
    s.uffd_copy(uffd, pages, "B", into="copied")
    s.uffd_continue(uffd, pages, into="continued")
    s.read(pages, into="there")
    s.uffd_continue(uffd, pages + 1, into="no_page")
    s.uffd_copy(uffd, pages + 1, "B", into="filled")
    s.read(pages + 1, into="new")


@scenario
def a_memfds_page_out_beside_a_hole(s: Recorder) -> None:
    """Whoever comes first: the page is gone, and its slot is free."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd, pages=1)
    s.write(a, "A")

    @s.thread
    def reclaimer() -> None:
        s.madvise_pageout(a)
        s.read(a, into="seen")

    @s.thread
    def puncher() -> None:
        s.fallocate_punch_hole(fd, page=0, pages=1)

    with s.after():
        s.read(a, into="last")
