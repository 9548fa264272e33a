"""Huge pages: wanted before the first touch, split by what takes a part, and made of small pages."""

from secondsight.scenario import Recorder, scenario


@scenario
def comes_whole_and_goes_in_parts(s: Recorder) -> None:
    """One touch brings both pages, as one. What takes a part away splits them; a page that is touched again is small."""
    a = s.mmap(pages=4)
    s.madvise_hugepage(a)
    s.write(a, "a", pages=1)
    s.page_is_huge(a + 1, into="whole")
    s.page_is_huge(a + 2, into="not_touched")
    s.write(a + 3, "d", pages=1)
    s.madvise_dontneed(a + 1)
    s.page_is_huge(a, into="after_dontneed")
    s.write(a + 1, "b", pages=1)
    s.page_is_huge(a + 1, into="small_again")
    s.munmap(a + 3, pages=1)
    s.page_is_huge(a + 2, into="after_munmap")
    s.read(a, into="first")
    s.read(a + 2, into="third")


@scenario
def what_does_not_split(s: Recorder) -> None:
    """What is done with both pages leaves them one."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.read(a + 1, into="zero")
    s.page_is_huge(a, into="huge_zero_page")
    s.write(a, "a", pages=1)
    s.page_is_huge(a, into="zero_page_written")
    s.madvise_dontneed(a)
    s.write(a, "b", pages=1)
    s.page_is_huge(a, into="no_table_is_left_over")
    b = s.mmap(pages=2)
    s.madvise_hugepage(b)
    s.write(b, "c")
    s.mprotect(b, write=False)
    s.page_is_huge(b, into="read_only")
    s.write(b, "d", into="refused")
    s.mprotect(b, write=True)
    s.write(b + 1, "e")
    s.page_is_huge(b, into="and_back")
    s.madvise_dontneed(b)
    s.write(b, "f")
    s.page_is_huge(b, into="whole_again")


@scenario
def collapse_of_small_pages(s: Recorder) -> None:
    """MADV_COLLAPSE keeps what the pages hold; where nothing was, there are zeros."""
    a = s.mmap(pages=4)
    s.madvise_collapse(a, into="nothing_written")
    s.write(a + 1, "b", pages=1)
    s.page_is_huge(a, into="small")
    s.madvise_collapse(a, pages=2, into="one_written")
    s.page_is_huge(a, into="huge")
    s.read(a, into="first")
    s.read(a + 1, into="second")
    s.madvise_collapse(a, pages=2, into="already")
    s.read(a + 2)
    s.madvise_collapse(a, pages=4, into="only_read")
    s.write(a + 3, "d", pages=1)
    s.mprotect(a + 2, pages=2, write=False)
    s.madvise_collapse(a, pages=4, into="other_mapping")
    s.madvise_collapse(a, pages=1, into="no_pair_of_many")
    s.munmap(a + 1, pages=1)
    s.madvise_collapse(a, pages=1, into="no_pair_of_one")
    s.madvise_collapse(a, pages=4, into="a_gap")


@scenario
def forks_share_huge_pages(s: Recorder) -> None:
    """After a fork who writes first gets a small copy of one page, and the other keeps the huge page."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.write(a, "a")
    child = s.fork()

    @s.thread
    def parent() -> None:
        s.write(a, "p", pages=1)

    @child.thread
    def its() -> None:
        s.read(a + 1, into="its")

    with s.after():
        s.page_is_huge(a, into="mine_huge")
        s.read(a, into="mine")
        s.read(a + 1, into="second")
        with child:
            s.page_is_huge(a, into="its_huge")
            s.read(a, into="its_first")
            s.write(a + 1, "c", pages=1)
            s.page_is_huge(a, into="its_huge_written")


@scenario
def dontneed_of_a_part_beside_a_store(s: Recorder) -> None:
    """The store goes to the huge page, or to a small one; what the other page holds stays."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.write(a, "a")

    @s.thread
    def forgets() -> None:
        s.madvise_dontneed(a + 1)

    @s.thread
    def stores() -> None:
        s.write(a, "b")

    with s.after():
        s.read(a, into="first")
        s.read(a + 1, into="second")


@scenario
def collapse_beside_a_store(s: Recorder) -> None:
    """The store comes before the copy, or waits for the huge page."""
    a = s.mmap(pages=2)
    s.write(a, "a")

    @s.thread
    def collapses() -> None:
        s.madvise_collapse(a, into="collapsed")

    @s.thread
    def stores() -> None:
        s.write(a + 1, "b", pages=1)

    with s.after():
        s.read(a, into="first")
        s.read(a + 1, into="second")
        s.page_is_huge(a, into="huge")


@scenario
def pins_and_collapse(s: Recorder) -> None:
    """What somebody has pinned is not collapsed; a pin of a huge page's part outlives the part."""
    a = s.mmap(pages=2)
    s.write(a, "a")
    pin = s.pin(a, pages=1)
    s.madvise_collapse(a, into="pinned")
    s.page_is_huge(a, into="small")
    pin.unpin()
    s.madvise_collapse(a, into="unpinned")
    part = s.pin(a + 1, pages=1)
    s.page_is_huge(a, into="pinned_huge")
    s.madvise_dontneed(a + 1)
    s.write(a + 1, "c", pages=1)
    part.read(into="of_the_pin")
    s.read(a, into="first")
    s.read(a + 1, into="second")


@scenario
def collapse_beside_a_first_touch(s: Recorder) -> None:
    """A page that came since MADV_COLLAPSE began may be in a CPU's batch of new pages, which holds it: -EAGAIN."""
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)

    @s.thread
    def collapses() -> None:
        s.madvise_collapse(a, into="collapsed")

    @s.thread
    def touches() -> None:
        s.write(a + 1, "b", pages=1)

    with s.after():
        s.read(a, into="first")
        s.read(a + 1, into="second")
        s.page_is_huge(a, into="huge")


@scenario
def moves_as_a_whole(s: Recorder) -> None:
    """A huge page is moved as one, and stays one. What is mapped in part alone is split, and each page is moved by itself then."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.write(a, "a", pages=1)
    s.move_pages(a + 1, into="zeros_of_a_huge_page_move_with_it")
    s.page_is_huge(a, into="still_huge")
    s.madvise_dontneed(a + 1)
    s.move_pages(a, into="split_and_moved")
    s.move_pages(a + 1, into="nothing_there")
    s.read(a, into="first")
    b = s.mmap(pages=2)
    s.madvise_hugepage(b)
    s.read(b)
    s.move_pages(b, into="huge_zero_page")


@scenario
def goes_to_swap_whole_or_in_parts(s: Recorder) -> None:
    """MADV_PAGEOUT of a huge page writes all of it, of a part splits it first. Of what is split a page of zeros is the zero page."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.write(a, "a")
    s.madvise_pageout(a)
    s.page_is_huge(a, into="out")
    s.move_pages(a, into="in_swap")
    s.read(a + 1, into="second")
    s.read(a, into="first")
    s.page_is_huge(a, into="back")
    b = s.mmap(pages=2)
    s.madvise_hugepage(b)
    s.write(b, "b", pages=1)
    s.madvise_pageout(b, pages=1)
    s.page_is_huge(b + 1, into="split")
    s.move_pages(b + 1, into="zeros_of_a_split_page")
    s.read(b, into="third")


@scenario
def a_split_page_that_nobody_may_access(s: Recorder) -> None:
    """Found by agreement (sequential_32_0): the zero page that a split maps in the place of zeros is as accessible as its mapping. So is a huge page that is
    made of what may not be accessed, where one is (Linux 7.2)."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.write(a, "a", pages=1)
    s.mprotect_none(a)
    s.madvise_pageout(a, pages=1)
    s.read(a + 1, into="zeros")
    s.read(a, into="in_swap")
    b = s.mmap(pages=2)
    s.write(b, "b")
    s.mprotect_none(b)
    s.madvise_collapse(b, into="made")
    s.read(b, into="collapsed")


@scenario
def a_child_has_no_entries_of_what_was_never_written(s: Recorder) -> None:
    """Found by agreement (sequential_34_74): fork leaves them to the child's faults. A huge page that was read has had an anon_vma made for it."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.read(a)
    b = s.mmap(pages=1)
    s.read(b)
    child = s.fork()
    with child:
        s.move_pages(a, into="of_the_huge_zero_page")
        s.move_pages(b, into="of_the_zero_page")
    s.move_pages(b, into="of_the_parents")
