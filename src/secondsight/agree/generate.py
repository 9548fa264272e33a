"""Scenarios that nobody wrote: drawn operation by operation over what the model and the kernels both have.

`scenario_of(kind, seed, index)` is always the same scenario. Kinds:

* `sequential`: one thread, 4 to 18 operations with what they may fail of: closed files, seals, holes in mappings, pages
  beyond a file's end. Often everything that is mapped is read at the end.
* `free`: a setup, two or three threads of one to three operations on shared files and mappings, and a look at the end.
* `forced`: memory and a device that mirrors it; one or two threads of the process beside one of the device. With it goes a
  driver and a schedule (`forced.py`): both sides run that one interleaving.
* `migrating`: private memory and a device with memory of its own, into which pages go and come back: one that no CPU reaches, or (`driver_of`) one that CPUs do;
  one or two threads of the process beside one of the device, which run freely.
* `driven`: what else runs freely beside a device: a buffer that its exporter moves and takes away, and a device that does jobs on it; private memory, and a
  device that takes pages of it for itself alone, beside another that does; memory of one thread, and a subscriber that hears of flushes.
* `rare`: what the others never draw: a device that somebody opens while threads run, one that is reset meanwhile, one that uses the second halves of pages, a process
  that may lock few pages, and memory of which a userfaultfd protects or poisons what is to come; they run freely.

A process may fork. One scenario in five has two processes from the start: they map the same files, and each does some of the operations; in a forced one the device
may be either's. One in eight has huge pages, of private memory or of files, and one in thirteen device memory that has a file (device-dax), which goes; one in
seventeen a file whose pages are a device's memory (fs-dax), and holes in it; one in nineteen a file on a disk, which is written back and dropped from memory. Of the others one in seven has a userfaultfd: touches of missing pages are signals where there is one thread; else a thread answers, and reads of changes. (Which, says the number: all others are
what they were before there were any.)

A drawn scenario always fits the model: pages of address space, frames and buffers are counted while it is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache

from secondsight.agree.draw import Draw, Seeded, chance
from secondsight.agree.drawn import Budget, SpaceLeft, World, act, map_file
from secondsight.agree.rare import rare
from secondsight.agree.weights import (
    FRAMES,
    KINDS,
    PAGES,
    DrawnKind,
    alone,
    beside,
    by_the_device,
    choosing,
    draw_ops,
    draw_thread,
    huge_weights_of,
    look,
    other_blocks,
    racing,
    weights_of,
)
from secondsight.agree.with_devices import driven, migrating
from secondsight.agree.with_files import with_dax, with_disk_file, with_fs_dax
from secondsight.devices.coherent_gpu import CoherentGpu
from secondsight.devices.device import Device
from secondsight.scenario import Recorder, Scenario
from secondsight.scenario.ops import OPS

__all__ = ["KINDS", "WITH_DAX", "WITH_DISK", "WITH_FS_DAX", "DrawnKind", "driver_of", "fingerprint", "generate", "scenario_of"]


def _sequential(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    w = World(s, draw, Budget(FRAMES), SpaceLeft(PAGES))
    act(w, OPS["memfd_create"])
    if with_uffd:  # nobody waits: there is nobody to answer
        w.userfaultfd = s.userfaultfd(sigbus=True)
        act(w, OPS["mmap"])
        act(w, OPS["uffd_register"])
    if several:
        w.add_process(PAGES)
    draw_ops(w, draw.integer(3, 17), weights_of(alone, *other_blocks(draw)))
    if chance(draw, 60):
        look(w)


def _free(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    w = World(s, draw, Budget(frames=9, buffers=2), SpaceLeft(8), most=2)
    act(w, OPS["memfd_create"])
    map_file(w)
    if several:
        w.add_process(6)
        assert w.other is not None
        map_file(w.other)
    if chance(draw, 60):
        act(w, OPS["write"])
    but = other_blocks(draw)
    draw_ops(w, draw.integer(0, 3), weights_of(alone, "exit", *but, *choosing()))
    if with_uffd:
        w.userfaultfd = s.userfaultfd(events=True, forks=chance(draw, 50))
        act(w, OPS["mmap"])
        act(w, OPS["uffd_register"])
        act(w, OPS["uffd_register"])
        s.uffd_serve(w.userfaultfd, w.budget.value())
    threads = 3 if chance(draw, 25) else 2
    for number in range(threads):
        here = w if number == 0 else w.either(often=25)
        draw_thread(s, here, f"t{number}", draw.integer(1, 3 if threads == 2 else 2), weights_of(racing, *but))
    for child in w.forked:
        draw_thread(s, child, "child", draw.integer(1, 2), weights_of(racing, *but))
    if chance(draw, 60):
        with s.after():
            look(w)


def _huge(kind: DrawnKind, draw: Draw, s: Recorder) -> None:
    """A scenario with huge pages: mappings of private memory that mostly want them, or of a file of them."""
    of_files = chance(draw, 40)
    w = World(s, draw, Budget(FRAMES // 2 if kind == "sequential" else 6, buffers=0), SpaceLeft(PAGES if kind == "sequential" else 6), most=4, huge=True)
    limited = of_files and chance(draw, 50)
    kept = ("close",) if limited else ()  # the end of a file gives back what is reserved for it, which the model does not
    if limited:
        s.hugetlb_pool(2 * draw.integer(1, 3))
    if of_files:
        act(w, OPS["memfd_create_hugetlb"])
        if chance(draw, 35):
            act(w, OPS["mmap_private"])
        else:
            map_file(w)
    else:
        act(w, OPS["mmap"])
        if chance(draw, 75):
            s.madvise_hugepage(w.mappings[0])
    if kind == "sequential":
        draw_ops(w, draw.integer(4, 17), huge_weights_of(alone, of_files, *kept))
    elif kind == "forced":
        s.write(w.mappings[0], w.budget.value())  # the huge zero page is a frame of its own on a kernel, and not here
        w.device = s.device()
        if chance(draw, 25):
            act(w, OPS["device_read"])
        draw_thread(s, w, "cpu", draw.integer(1, 3), huge_weights_of(beside, of_files, *kept))
        draw_thread(s, w, "device", draw.integer(1, 2), huge_weights_of(by_the_device, of_files))
    else:
        if chance(draw, 80):
            act(w, OPS["write"])
        for number in range(2):
            draw_thread(s, w, f"t{number}", draw.integer(1, 3), huge_weights_of(racing, of_files, *kept))
        for child in w.forked:
            draw_thread(s, child, "child", draw.integer(1, 2), huge_weights_of(racing, of_files, *kept))
    if kind == "sequential":
        if chance(draw, 60):
            look(w)
    elif chance(draw, 60):
        with s.after():
            look(w)


def _forced(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    w = World(s, draw, Budget(frames=6, buffers=1), SpaceLeft(5), most=2)
    if several or chance(draw, 50):
        act(w, OPS["memfd_create"])
        map_file(w)
    else:
        act(w, OPS["mmap"])
    if chance(draw, 70):
        act(w, OPS["write"])
    if several:
        w.add_process(4)
        assert w.other is not None
        map_file(w.other)
    draw_ops(w, draw.integer(0, 2), weights_of(beside, "exit"))
    owner = w.either(often=50)
    with owner.process or nullcontext():
        owner.device = s.device()
    if chance(draw, 25):
        act(owner, OPS["device_read"])
    for number in range(2 if chance(draw, 20) else 1):
        draw_thread(s, w.either(often=30), f"cpu{number}", draw.integer(1, 3), weights_of(beside))
    draw_thread(s, owner, "device", draw.integer(1, 2), weights_of(by_the_device))
    if chance(draw, 60):
        with s.after():
            look(w)


WITH_DAX = 13
"""Of so many scenarios the last has such memory, unless it has huge pages."""
WITH_FS_DAX = 17
"""Of so many scenarios the last has a file whose pages are such memory, unless it has huge pages or is one of the former."""
WITH_DISK = 19
"""Of so many scenarios the last has a file on a disk, unless it is one of the others."""
SEVERAL = 5
"""Of so many scenarios the last has two processes."""
HUGE = 8
"""Of so many scenarios the last has huge pages instead."""
WATCHED = 7
"""Of so many scenarios the last has a userfaultfd, unless it is a forced one."""
_DRAWN: dict[DrawnKind, Callable[[Draw, Recorder, bool, bool], None]] = {"sequential": _sequential, "free": _free, "forced": _forced, "migrating": migrating, "driven": driven, "rare": rare}


def generate(kind: DrawnKind, draw: Draw, name: str = "drawn", several: bool = False, with_uffd: bool = False) -> Scenario:
    """A scenario of a kind, from the choices of `draw`. `several`: with two processes. `with_uffd`: with a userfaultfd."""
    s = Recorder()
    _DRAWN[kind](draw, s, several, with_uffd)
    return s.scenario(name, "")


def scenario_of(kind: DrawnKind, seed: int, index: int) -> Scenario:
    """Scenario `index` of a seed: always the same one, whatever was drawn before."""
    name, draw = f"{kind}_{seed}_{index}", Seeded(f"{kind}/{seed}/{index}")
    if index % HUGE == HUGE - 1 and kind not in ("migrating", "driven", "rare"):
        s = Recorder()
        _huge(kind, draw, s)
        return s.scenario(name, "")
    if index % WITH_DAX == WITH_DAX - 1 and kind not in ("migrating", "driven", "rare"):
        s = Recorder()
        with_dax(kind, draw, s)
        return s.scenario(name, "")
    if index % WITH_FS_DAX == WITH_FS_DAX - 1 and kind not in ("migrating", "driven", "rare"):
        s = Recorder()
        with_fs_dax(kind, draw, s)
        return s.scenario(name, "")
    if index % WITH_DISK == WITH_DISK - 1 and kind not in ("migrating", "driven", "rare"):
        s = Recorder()
        with_disk_file(kind, draw, s)
        return s.scenario(name, "")
    return generate(kind, draw, name, index % SEVERAL == SEVERAL - 1, index % WATCHED == WATCHED - 1)


def driver_of(kind: DrawnKind, index: int) -> type[Device] | None:
    """The driver of the device in scenario `index`, where it is not drawn with a schedule; None: what the scenario's operations need."""
    return CoherentGpu if kind == "migrating" and index % 2 == 1 else None


@cache
def fingerprint(kind: DrawnKind) -> str:
    """What tells one version of this generator from another: its first 50 scenarios of seed 0, hashed."""
    hashed = hashlib.sha256()
    for index in range(50):
        made = scenario_of(kind, 0, index)
        for place in made.places():
            hashed.update(f"{place.section} {place.op}\n".encode())
    return hashed.hexdigest()[:16]
