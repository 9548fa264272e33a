"""DMA_BUF_IOCTL_SYNC of a udmabuf: where a CPU's access begins and ends."""

from secondsight.scenario import Recorder, scenario


@scenario
def cpu_access_begins_and_ends(s: Recorder) -> None:
    """An access ends that never began; one begins, and ends twice; one begins after the buffer was closed."""
    fd = s.memfd_create(pages=1, seals="shrink")
    buf = s.udmabuf_create(fd)
    s.end_cpu_access(buf, into="early")
    s.begin_cpu_access(buf, write=True, into="begin")
    s.end_cpu_access(buf, into="end")
    s.end_cpu_access(buf, into="twice")
    s.close(buf)
    s.begin_cpu_access(buf, into="closed")


@scenario
def cpu_access_of_another(s: Recorder) -> None:
    """One thread begins an access, another ends one that it did not begin."""
    fd = s.memfd_create(pages=1, seals="shrink")
    buf = s.udmabuf_create(fd)

    @s.thread
    def one() -> None:
        s.begin_cpu_access(buf, write=True)
        s.end_cpu_access(buf, into="end")

    @s.thread
    def two() -> None:
        s.end_cpu_access(buf, into="other")
