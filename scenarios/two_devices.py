"""Two devices mirror one address space: each hears of every change, and what one stores the other loads."""

from secondsight.scenario import Recorder, scenario


@scenario
def two_mirrors(s: Recorder) -> None:
    """One device reads and another writes a page that the process unmaps."""
    first, second = s.device(), s.device()
    page = s.mmap(pages=1)
    s.write(page, "A")

    @s.thread
    def reader() -> None:
        first.read(page, into="seen")

    @s.thread
    def writer() -> None:
        second.write(page, "B", into="stored")

    @s.thread
    def cpu() -> None:
        s.munmap(page)


@scenario
def one_thread_two_devices(s: Recorder) -> None:
    """What one device stores another loads; one that is closed does neither."""
    first, second = s.device(), s.device()
    page = s.mmap(pages=1)
    s.write(page, "A")

    @s.thread
    def both() -> None:
        first.write(page, "B")
        second.read(page, into="seen")
        second.close()
        first.read(page, into="again")
        second.read(page, into="closed")
