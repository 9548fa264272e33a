"""Two processes: one maps a file and lends it to a device, the other maps it too, changes it, or is gone."""

from secondsight.scenario import Recorder, scenario


@scenario
def hole_punched_by_another(s: Recorder) -> None:
    """One process's device reads a page of a file, of which another process takes the page away and writes a new one."""
    gpu = s.device()
    file = s.memfd_create(pages=1)
    mine = s.mmap(file)
    s.write(mine, "A")
    other = s.process()
    with other:
        its = s.mmap(file)

    @s.thread
    def device() -> None:
        gpu.read(mine, into="seen")

    @other.thread
    def vmm() -> None:
        s.fallocate_punch_hole(file, page=0)
        s.write(its, "B")

    with s.after():
        gpu.compare(mine, into="same")
        with other:
            s.read(its, into="there")


@scenario
def one_file_two_views(s: Recorder) -> None:
    """A store by one process is a load by the other, and memory that is private is nobody else's."""
    file = s.memfd_create(pages=2)
    mine = s.mmap(file)
    private = s.mmap(pages=1)
    s.write(private, "x")
    other = s.process()
    with other:
        its = s.mmap(file, page=1, pages=1)
        hidden = s.mmap(pages=1)

    @s.thread
    def writer() -> None:
        s.write(mine, "a")
        s.munmap(mine)

    @other.thread
    def reader() -> None:
        s.read(its, into="its")
        s.read(hidden, into="hidden")

    with s.after():
        s.read(private, into="private")
        s.read(mine, into="mine")
        with other:
            s.read(its, into="its_after")


@scenario
def one_exits(s: Recorder) -> None:
    """A process ends; another one's mapping of its file goes on, and its own writable mapping no longer stands in a seal's way."""
    file = s.memfd_create(pages=1)
    mine = s.mmap(file)
    other = s.process()
    with other:
        its = s.mmap(file)
        s.munmap(its)

    @s.thread
    def ends() -> None:
        s.write(mine, "a")
        s.exit()

    @other.thread
    def seals() -> None:
        s.add_seals(file, "write", into="early")

    with s.after():
        s.read(mine, into="gone")
        with other:
            s.add_seals(file, "write", into="late")


@scenario
def two_devices_of_two_processes(s: Recorder) -> None:
    """Each process has a device. One of them ends: its device finds nothing any more, the other one's goes on."""
    other = s.process()
    file = s.memfd_create(pages=1)
    mine, first = s.mmap(file), s.device()
    with other:
        its, second = s.mmap(file), s.device()

    @s.thread
    def device() -> None:
        first.write(mine, "A", into="stored")

    @s.thread
    def cpu() -> None:
        s.exit()

    @other.thread
    def its_device() -> None:
        second.read(its, into="seen")


@scenario
def fork_beside_an_exclusive_page(s: Recorder) -> None:
    """A process forks while a device has a page for itself, which its driver keeps locked until the device has made its access."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()
    children = []

    @s.thread
    def device() -> None:
        gpu.exclusive(a, "D", into="before")

    @s.thread
    def parent() -> None:
        children.append(s.fork())

    @children[0].thread
    def child() -> None:
        s.read(a, into="its")

    with s.after():
        s.read(a, into="mine")
