"""Pages that go into a device's own memory and come back, while a CPU or the device uses them."""

from secondsight.scenario import Recorder, scenario


@scenario
def device_memory_written_by_both(s: Recorder) -> None:
    """The device takes a page and writes it; a CPU writes it and reads it back."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.migrate(a, into="moved")
        gpu.write(a, "D")

    @s.thread
    def cpu() -> None:
        s.write(a, "B")
        s.read(a, into="seen")

    with s.after():
        s.read(a, into="last")


@scenario
def device_memory_evicted_beside_a_cpu(s: Recorder) -> None:
    """The driver empties its memory while a CPU reads the page that is in it."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()
    gpu.migrate(a)

    @s.thread
    def driver() -> None:
        gpu.evict(into="gone")

    @s.thread
    def cpu() -> None:
        s.read(a, into="seen")


@scenario
def device_memory_unmapped_meanwhile(s: Recorder) -> None:
    """The process unmaps a page that the device takes and writes."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.migrate(a, into="moved")
        gpu.write(a, "D", into="written")

    @s.thread
    def cpu() -> None:
        s.munmap(a)


@scenario
def device_memory_moved_on(s: Recorder) -> None:
    """Memory that nobody has touched comes first into the device's; its mapping moves, and a CPU reads there while the driver empties its memory."""
    a = s.mmap(pages=1)
    gpu = s.device()
    gpu.migrate(a)
    moved = s.mremap(a, pages=1)

    @s.thread
    def driver() -> None:
        gpu.evict(into="gone")

    @s.thread
    def cpu() -> None:
        s.read(moved, into="seen")
