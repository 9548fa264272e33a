"""A scenario: all its possible outcomes. Run it: secondsight run FILE_NAME"""

from secondsight import scenario
from secondsight.scenario import Recorder


@scenario
def function_name(s: Recorder) -> None:
    """One thread forgets a page, another writes and reads it."""
    page = s.mmap(pages=1)
    s.write(page, "a")

    @s.thread
    def forgets() -> None:
        s.madvise_dontneed(page)

    @s.thread
    def writes() -> None:
        s.write(page, "b")
        s.read(page, into="seen")
