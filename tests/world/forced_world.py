"""Small scenarios with a device at random, for forced runs."""

from __future__ import annotations

import random

from secondsight.devices import mirror
from secondsight.scenario import Recorder, Scenario

DRIVERS = [
    mirror.Mirror,
    mirror.MirrorWithoutTest,
    mirror.MirrorTestsBeforeLock,
    mirror.MirrorCallbackWithoutLock,
    mirror.MirrorDereferencesLater,
]


def random_scenario(chance: random.Random) -> Scenario:
    """A few operations of one or two threads of the process, and a device's thread (or two)."""
    s = Recorder()
    memfd = s.memfd_create(pages=2) if chance.random() < 0.4 else None
    a = s.mmap(memfd, pages=2)
    if chance.random() < 0.8:
        s.write(a, "A", pages=2)
    gpu = s.device()

    def process() -> None:
        for _ in range(chance.randrange(1, 4)):
            page = a + chance.randrange(2)
            what = chance.randrange(9)
            if what == 0:
                s.munmap(a, pages=2)
            elif what == 1:
                s.madvise_dontneed(page, pages=1)
            elif what == 2 and memfd is not None:
                s.fallocate_punch_hole(memfd, page=chance.randrange(2))
            elif what == 3:
                s.mmap(None, pages=1, at=page)
            elif what == 4 and chance.random() < 0.4:
                s.exit()
                return
            elif what in (5, 6):
                s.read(page, into=f"v{chance.randrange(10**9)}")
            else:
                s.write(page, chance.choice("BCD"))

    def device() -> None:
        for _ in range(chance.randrange(1, 3)):
            page = a + chance.randrange(2)
            if chance.random() < 0.6:
                gpu.read(page, into=f"v{chance.randrange(10**9)}")
            else:
                gpu.write(page, chance.choice("XYZ"))

    for number in range(chance.choice([1, 1, 2])):
        _named(s, process, f"cpu{number}")
    for number in range(chance.choice([1, 1, 2])):
        _named(s, device, f"engine{number}")
    if chance.random() < 0.5:
        with s.after():
            gpu.compare(a)
    return s.scenario("generated", "")


def _named(s: Recorder, body: object, name: str) -> None:
    def thread() -> None:
        body()  # type: ignore[operator]

    thread.__name__ = name
    s.thread(thread)
