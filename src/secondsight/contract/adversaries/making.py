"""How an adversary is made: of what one thread does to two pages while a device uses them in each of several ways, or of a setting of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secondsight.scenario import Address, DeviceHandle, File, Recorder, Scenario

__all__ = ["OnMemory", "Adversaries", "Adversary", "Memory", "come_from_swap", "reads_twice", "two_pages", "writes_once", "writes_twice"]


@dataclass(frozen=True, slots=True)
class Adversary:
    """A named adversary: what it does, and its scenarios, one for each way in which the device uses the pages.

    `promise`: it is only for drivers that promise this. `method`: only for those that write this method of `Device`. `says`: only for those that say this
    of themselves, by an attribute of the class. `calls`: only for those whose code calls the function of this name. `bound`: only for those whose `bounds` have it.
    """

    name: str
    summary: str
    scenarios: tuple[Scenario, ...]
    promise: str | None = None
    method: str | None = None
    says: str | None = None
    calls: str | None = None
    bound: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What an adversary acts on: two pages at `pages`, of a memfd, of device memory, or anonymous; the device."""

    pages: Address
    gpu: DeviceHandle
    memfd: File | None = None
    dax: File | None = None


def _reads(s: Recorder, memory: Memory) -> None:
    @s.thread
    def device() -> None:
        memory.gpu.read(memory.pages + 1, into="first")
        memory.gpu.read(memory.pages + 1, into="second")


def _writes(s: Recorder, memory: Memory) -> None:
    @s.thread
    def device() -> None:
        memory.gpu.read(memory.pages + 1, into="read")
        memory.gpu.write(memory.pages + 1, "D", into="written")


def _two_engines(s: Recorder, memory: Memory) -> None:
    @s.thread
    def engine1() -> None:
        memory.gpu.read(memory.pages, into="one")

    @s.thread
    def engine2() -> None:
        memory.gpu.read(memory.pages, into="two")


def _closes(s: Recorder, memory: Memory) -> None:
    @s.thread
    def device() -> None:
        memory.gpu.read(memory.pages + 1, into="first")
        memory.gpu.close()


_USES: dict[str, Callable[[Recorder, Memory], None]] = {
    "reads": _reads,
    "writes": _writes,
    "two engines": _two_engines,
    "closes": _closes,
}

OnMemory = Callable[[Recorder, Memory], None]


class Adversaries(dict[str, Adversary]):
    """The adversaries of one subject by their names, and the two ways to make one more."""

    def act(self, summary: str, of: str = "", thread: str = "cpu") -> Callable[[OnMemory], OnMemory]:
        """Make an adversary of what the function does, in a thread of its own. `of`: anonymous memory, `memfd` or `dax`; or `swap`: the
        pages were in swap already and have been read again: they are clean, for their slots hold what they hold."""

        def make(act: OnMemory) -> OnMemory:
            name = act.__name__.rstrip("_").replace("_", "-")
            scenarios = tuple(_beside(act, name, summary, of, thread, use) for use in _USES)
            self[name] = Adversary(name, summary, scenarios)
            return act

        return make

    def setting(
        self, adversary: str, summary: str, name: str, promise: str | None = None, method: str | None = None, calls: str | None = None, bound: str | None = None
    ) -> Callable[[Callable[[Recorder], None]], None]:
        """One more scenario of an adversary: all that the function records."""

        def make(record: Callable[[Recorder], None]) -> None:
            before = self.get(adversary, Adversary(adversary, summary, ()))
            s = Recorder()
            record(s)
            scenarios = (*before.scenarios, s.scenario(f"{adversary}: {name}", summary))
            self[adversary] = Adversary(adversary, summary, scenarios, promise, method, calls=calls, bound=bound)

        return make


def _beside(act: OnMemory, name: str, summary: str, of: str, thread: str, use: str) -> Scenario:
    s = Recorder()
    memfd = s.memfd_create(pages=2) if of == "memfd" else None
    dax = s.dax(pages=2) if of == "dax" else None
    pages = s.mmap(memfd or dax, pages=2)
    s.write(pages, "A")
    if of == "swap":
        come_from_swap(s, pages)
    memory = Memory(pages, s.device(), memfd, dax)

    def cpu() -> None:
        act(s, memory)

    cpu.__name__ = thread
    s.thread(cpu)
    _USES[use](s, memory)
    if use != "closes":
        with s.after():
            memory.gpu.compare(memory.pages + 1)
    return s.scenario(f"{name}: {use}", summary)


def two_pages(s: Recorder) -> Address:
    """Two pages of anonymous memory that hold `A`."""
    pages = s.mmap(pages=2)
    s.write(pages, "A")
    return pages


def come_from_swap(s: Recorder, pages: Address) -> None:
    """The pages were in swap already and have been read again: they are clean."""
    s.madvise_pageout(pages)
    s.read(pages)
    s.read(pages + 1)


def reads_twice(s: Recorder, pages: Address, gpu: DeviceHandle) -> None:
    """The device reads the last page two times, and is compared."""

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages + 1)


def writes_once(s: Recorder, pages: Address, gpu: DeviceHandle) -> None:
    """The device writes the last page, and is compared."""

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


def writes_twice(s: Recorder, pages: Address, gpu: DeviceHandle) -> None:
    """The device writes the last page two times, and is compared."""

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "C", into="first")
        gpu.write(pages + 1, "D", into="second")

    with s.after():
        gpu.compare(pages + 1)
