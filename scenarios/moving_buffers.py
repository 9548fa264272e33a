"""A dma-buf whose exporter moves it and takes its memory away, and a device that does jobs on it."""

from secondsight.scenario import Recorder, scenario


@scenario
def a_buffer_that_moves_and_is_revoked(s: Recorder) -> None:
    """One after another: the contents move along, and are gone with the memory; while there is none, and after the end, there is no job."""
    buffer = s.buffer(pages=1)
    gpu = s.attached_device(buffer)
    gpu.job_read(into="new")
    gpu.job("D", into="written")
    s.buffer_move(buffer)
    gpu.job_read(into="moved")
    s.buffer_revoke(buffer)
    gpu.job("E", into="revoked")
    s.buffer_restore(buffer)
    gpu.job_read(into="restored")
    gpu.close()
    gpu.job("F", into="closed")


@scenario
def a_cpu_that_asks(s: Recorder) -> None:
    """Before there is a job, and after one."""
    buffer = s.buffer(pages=1)
    gpu = s.attached_device(buffer)
    s.buffer_begin_cpu_access(buffer, into="new")
    s.buffer_end_cpu_access(buffer)
    gpu.job("D", into="written")
    s.buffer_begin_cpu_access(buffer, write=True, into="begin")
    s.buffer_end_cpu_access(buffer, write=True, into="end")


@scenario
def jobs_beside_a_move(s: Recorder) -> None:
    """What a job has written is there wherever the buffer is."""
    buffer = s.buffer(pages=1)
    gpu = s.attached_device(buffer)

    @s.thread
    def exporter() -> None:
        s.buffer_move(buffer)

    @s.thread
    def device() -> None:
        gpu.job("D")
        gpu.job_read(into="seen")


@scenario
def jobs_beside_a_revocation(s: Recorder) -> None:
    """A job is done as a whole or not at all, and what is restored is other memory."""
    buffer = s.buffer(pages=1)
    gpu = s.attached_device(buffer)

    @s.thread
    def exporter() -> None:
        s.buffer_revoke(buffer)
        s.buffer_restore(buffer)

    @s.thread
    def device() -> None:
        gpu.job("D", into="written")
        gpu.job_read(into="seen")


@scenario
def two_importers_beside_a_move(s: Recorder) -> None:
    """The copy waits for the jobs of both: each device's fences are of a context of their own."""
    buffer = s.buffer(pages=1)
    one, two = s.attached_device(buffer), s.attached_device(buffer)

    @s.thread
    def exporter() -> None:
        s.buffer_move(buffer)

    @s.thread
    def first() -> None:
        one.job("D", into="first")

    @s.thread
    def second() -> None:
        two.job_read(into="second")
