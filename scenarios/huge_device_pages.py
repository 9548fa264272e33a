"""Huge pages of which a device takes a part into its memory."""

from secondsight.scenario import Recorder, scenario


@scenario
def goes_to_a_device(s: Recorder) -> None:
    """A device takes a page of a huge page into its memory: the huge page is split for good, and a page of zeros in it is the zero page."""
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.write(a, "a", pages=1)
    gpu = s.device()
    gpu.migrate(a, pages=1, into="taken")
    s.page_is_huge(a + 1, into="split")
    s.move_pages(a + 1, into="zeros")
    gpu.read(a, into="device")
    s.read(a, into="first")
    b = s.mmap(pages=2)
    s.madvise_hugepage(b)
    s.read(b)
    gpu.migrate(b + 1, pages=1, into="of_the_huge_zero_page")
    s.page_is_huge(b, into="no_more")
    s.read(b + 1, into="third")
    c = s.mmap(pages=2)
    s.madvise_hugepage(c)
    s.write(c, "c")
    pin = s.pin(c)
    gpu.migrate(c, pages=2, into="pinned")
    s.page_is_huge(c, into="stays")
    s.unpin(pin)
    gpu.migrate(c, pages=2, into="both")
    s.read(c + 1, into="fourth")
