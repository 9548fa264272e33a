"""Flushes of TLBs, of which a subscriber is told: after a zap, before the pages are given back."""

from secondsight.scenario import Recorder, scenario


@scenario
def zaps_are_flushed(s: Recorder) -> None:
    """Whatever takes entries away: of each page that was there the subscriber is told of a flush. Before that a kernel may tell of more."""
    s.watch_flushes()
    forgotten, unmapped, over = s.mmap(pages=2), s.mmap(pages=1), s.mmap(pages=1)
    fd = s.memfd_create(pages=2)
    file = s.mmap(fd)
    for memory in (forgotten, unmapped, over, file):
        s.write(memory, "a")
    s.flushed(forgotten, into="before")
    s.madvise_dontneed(forgotten)
    s.flushed(forgotten, into="forgotten_1")
    s.flushed(forgotten + 1, into="forgotten_2")
    s.munmap(unmapped)
    s.flushed(unmapped, into="unmapped")
    s.mmap(pages=1, at=over)
    s.flushed(over, into="mapped_over")
    s.fallocate_punch_hole(fd, page=1, pages=1)
    s.flushed(file + 1, into="punched")
    s.watch_flushes(into="twice")


@scenario
def zap_beside_a_question(s: Recorder) -> None:
    """Who has seen that the page is gone may still be there before the flush; when munmap has returned the subscriber has been told."""
    s.watch_flushes()
    page = s.mmap(pages=1)
    s.write(page, "a")

    @s.thread
    def cpu() -> None:
        s.munmap(page)

    @s.thread
    def other() -> None:
        s.read(page, into="seen")

    with s.after():
        s.flushed(page, into="told")


@scenario
def nobody_hears_of_flushes(s: Recorder) -> None:
    """Who has not subscribed is told of nothing."""
    page = s.mmap(pages=1)
    s.write(page, "a")
    s.munmap(page)
    s.flushed(page, into="told")
