"""The 2023-06 table on real kernels: the row of the udmabuf that a release has.

The guest's memory is a memfd in a block that can be taken offline, the display a mapping of the udmabuf. Linux did as `reference` does until 6.10, and does as `folios` does since
6.11; the other rows are designs that no kernel has. That nothing counts a udmabuf's pages is asked by mlock(2), which counts what it locks: a guest has no
IOMMU, and so no VFIO that would count its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from secondsight.cases.table import FreeRun, Kernels, Question
from secondsight.cases.udmabuf_on_kernel import PINNED, in_order
from secondsight.kernels.real_device import needs_module, needs_movable
from secondsight.scenario import Recorder, Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Violation

__all__ = ["RUN", "on_kernel", "runs_on_kernel"]

_ROWS = {"reference": Kernels(before=(6, 11), abilities=("udmabuf",)), "folios": Kernels(since=(6, 11), abilities=("udmabuf",))}
_WHY = {
    "offline idle": "the udmabuf that holds references is in no kernel that can be booted here",
    "offline shown": "the udmabuf that holds references is in no kernel that can be booted here",
    "VFIO": "the udmabuf that holds references is in no kernel that can be booted here",
    "CMA shown": "a block of CMA is allocated by drivers; a test could by CONFIG_CMA_DEBUGFS, which no kernel here is built with",
    "sub-pages": "the module shows no driver's view (dma_buf_vmap)",
}


def _offline_idle() -> Scenario:
    s = Recorder()
    fd = s.memfd_create(pages=1, seals="shrink")
    memory = s.mmap(fd)
    s.write(memory, "a")
    s.udmabuf_create(fd)

    @s.thread
    def host() -> None:
        s.offline_pages(into="offline")

    @s.thread
    def vcpu() -> None:
        s.write(memory, "d")

    with s.after():
        s.read(memory, into="guest")
    return s.scenario("offline_idle", "A udmabuf is there, and its memory is taken offline.")


def _offline_shown() -> Scenario:
    s = Recorder()
    fd = s.memfd_create(pages=1, seals="shrink")
    memory = s.mmap(fd)
    s.write(memory, "a")
    buffer = s.mmap(s.udmabuf_create(fd))
    s.read(buffer)

    @s.thread
    def host() -> None:
        s.offline_pages(into="offline")

    @s.thread
    def display() -> None:
        s.read(buffer, into="frame")

    with s.after():
        s.write(memory, "d")
        s.read(buffer, into="shown")
    return s.scenario("offline_shown", "A udmabuf is mapped and read, and its memory is taken offline.")


def _vfio(first: bool) -> Scenario:
    s = Recorder()
    fd = s.memfd_create(pages=1, seals="shrink")
    memory = s.mmap(fd)
    s.write(memory, "a")
    if first:
        device = s.pin(memory, longterm=True)
        buffer = s.mmap(s.udmabuf_create(fd))
    else:
        buffer = s.mmap(s.udmabuf_create(fd))
        device = s.pin(memory, longterm=True)

    @s.thread
    def display() -> None:
        s.read(buffer, into="frame")

    with s.after():
        s.write(memory, "d")
        device.read(into="device")
        s.read(buffer, into="shown")
    return s.scenario("vfio_first" if first else "vfio", "A page is pinned for long by a device and by a udmabuf.")


def _dontneed() -> Scenario:
    s = Recorder()
    fd = s.memfd_create(pages=1, seals="shrink")
    memory = s.mmap(fd)
    s.write(memory, "a")
    buffer = s.mmap(s.udmabuf_create(fd))

    @s.thread
    def vmm() -> None:
        s.madvise_dontneed(memory)
        s.write(memory, "c")

    @s.thread
    def display() -> None:
        s.read(buffer, into="frame")

    with s.after():
        s.read(memory, into="guest")
        s.read(buffer, into="shown")
    return s.scenario("dontneed", "MADV_DONTNEED of a memfd's page, then the guest draws: the buffer shows it.")


def _reboot() -> Scenario:
    s = Recorder()
    fd = s.memfd_create(pages=1, seals="shrink")
    memory = s.mmap(fd)
    s.write(memory, "a")
    udmabuf = s.udmabuf_create(fd)
    buffer = s.mmap(udmabuf)
    s.read(buffer, into="before")
    s.munmap(buffer)
    s.close(udmabuf)
    s.fallocate_punch_hole(fd, page=0)
    s.write(memory, "c")
    again = s.mmap(s.udmabuf_create(fd))
    s.read(again, into="shown")
    s.read(memory, into="guest")
    return s.scenario("reboot", "The buffer is given up, the memory discarded and written, the buffer made again.")


def _given_back() -> Scenario:
    s = Recorder()
    fd = s.memfd_create(pages=2, seals="shrink")
    memory = s.mmap(fd)
    s.write(memory, "a")
    udmabuf = s.udmabuf_create(fd)
    s.munmap(memory)
    s.add_seals(fd, "write", into="while_held")
    s.close(udmabuf)
    s.add_seals(fd, "write", into="closed")
    return s.scenario("given_back", "A write seal waits for everybody who holds a page: with the buffer closed there is nobody.")


def _memlock() -> Scenario:
    s = Recorder()
    s.limit_memlock(pages=1)
    fd = s.memfd_create(pages=2, seals="shrink")
    memory = s.mmap(fd)
    s.write(memory, "a")
    s.udmabuf_create(fd, into="udmabuf")
    s.mlock(memory, pages=2, into="more")
    s.munlock(memory)
    s.mlock(memory, pages=1, into="limit")
    return s.scenario("memlock", "One page may be locked. A udmabuf keeps two, and one more can be locked: the two are not counted. Of mlock() itself two are too many.")


def _not_counted(outcome: Mapping[str, str]) -> bool:
    return outcome["udmabuf"] == outcome["limit"] == "ok" and outcome["more"] == "-ENOMEM"


def _same(outcome: Mapping[str, str]) -> bool:
    return outcome["shown"] == outcome["guest"] == "c"


def _offline(outcome: Mapping[str, str]) -> bool:
    return outcome["offline"] == "ok"


def _all_see(outcome: Mapping[str, str]) -> bool:
    return outcome["device"] == outcome["shown"] == "d"


def _nobody(outcome: Mapping[str, str]) -> bool:
    return outcome["while_held"] == "-EBUSY" and outcome["closed"] == "ok"


RUN = {
    "offline idle": (_offline_idle(), _offline),
    "offline shown": (_offline_shown(), _offline),
    "VFIO": (_vfio(False), _all_see),
    "VFIO before": (_vfio(True), _all_see),
    "DONTNEED": (_dontneed(), _same),
    "reboot": (_reboot(), _same),
    "given back": (_given_back(), _nobody),
}
"""For columns that hold: a scenario, and whether an outcome of it has the property."""


def on_kernel(row: str, column: str, violation: Violation) -> Question | FreeRun | CannotForce:
    """A broken cell as a question to a real kernel."""
    if row not in _ROWS:
        return CannotForce("the row is a design that no kernel has")
    if column == "memlock":
        return FreeRun(_memlock(), _not_counted, _ROWS[row])
    if column != "hole":
        return CannotForce(_WHY[column])
    scenario, order = PINNED["reads new data"]
    return Question(in_order(scenario, order.split()), kernels=_ROWS[row])


def runs_on_kernel(row: str, column: str) -> FreeRun | CannotForce:
    """A cell that holds as a question to a real kernel."""
    if row not in _ROWS:
        return CannotForce("the row is a design that no kernel has")
    if column not in RUN:
        return CannotForce(_WHY[column])
    scenario, shows = RUN[column]
    kernels = _ROWS[row]
    more = (("memory offline",) if needs_movable(scenario) else ()) + (("device",) if needs_module(scenario) else ())
    return FreeRun(scenario, shows, replace(kernels, abilities=kernels.abilities + more))
