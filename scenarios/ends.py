"""Threads that take something away from under another: the process, a file descriptor."""

from secondsight.scenario import Recorder, scenario


@scenario
def exit_vs_read(s: Recorder) -> None:
    """The process ends while a thread reads: the values so far, then nothing."""
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def ender() -> None:
        s.exit()

    @s.thread
    def reader() -> None:
        s.read(a, into="first")
        s.read(a, into="second")


@scenario
def close_vs_mmap(s: Recorder) -> None:
    """Mapped in time or EBADF, and then there is nothing to read."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    s.write(a, "a")

    @s.thread
    def closer() -> None:
        s.close(fd)

    @s.thread
    def mapper() -> None:
        b = s.mmap(fd, into="mapped")
        s.read(b, into="seen")
