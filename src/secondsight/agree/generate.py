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
* `rare`: what the others never draw: a device that somebody opens while threads run, one that is reset meanwhile, one that uses the second halves of pages, and a process
  that may lock few pages; they run freely.

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
from typing import Literal, get_args

from secondsight.agree.draw import Draw, Seeded, chance, weighted
from secondsight.agree.drawn import Budget, SpaceLeft, World, act, can_be_drawn, map_file
from secondsight.devices.coherent_gpu import CoherentGpu
from secondsight.devices.device import Device
from secondsight.linux import BOUNDS
from secondsight.scenario import Recorder, Scenario
from secondsight.scenario.ops import OPS, ArgType, HandleType, Needs, Often, Operation
from secondsight.world.encoder import suits_huge_pages

__all__ = ["KINDS", "WITH_DAX", "WITH_DISK", "WITH_FS_DAX", "DrawnKind", "driver_of", "fingerprint", "generate", "scenario_of"]

DrawnKind = Literal["sequential", "free", "forced", "migrating", "driven", "rare"]
KINDS: tuple[DrawnKind, ...] = get_args(DrawnKind)

WITH_HUGE = (Needs.HUGE, Needs.HUGETLB)
PAGES = BOUNDS["pages"].most  # of address space
FRAMES = BOUNDS["frames"].most - 2  # that the operations may come to hold, beside the zero page and one in flight

_Weights = list[tuple[int, Operation]]


def _weights(often: Callable[[Often], int], *but: str) -> _Weights:
    """How often each operation is drawn in some place, by its declaration; without some, and without huge pages."""
    return [(count, op) for op in OPS.values() if (count := often(op.drawn)) and op.name not in but and op.needs not in WITH_HUGE]


def _huge_weights(often: Callable[[Often], int], of_files: bool, *but: str) -> _Weights:
    """The same where pages are huge, of files or of private memory: what is modelled together with that. Not udmabufs: they take huge pages that
    mappings have reserved, and what is reserved is not modelled; nor pins of files: for long they move what is movable, and those are not moved here."""
    kinds = (HandleType.UDMABUF, HandleType.PIN) if of_files else (HandleType.UDMABUF, HandleType.MEMFD)
    own = (Needs.HUGETLB,) if of_files else (Needs.HUGE, Needs.SWAP, Needs.NODES, Needs.MEMCG, Needs.COMPACTION)
    needs = (Needs.NOTHING, *own, *([Needs.MODULE] if often in (_beside, _by_the_device) else []))
    return [
        (count, op) for op in OPS.values()
        if (count := often(op.drawn)) and op.name not in but and op.needs in needs and op.makes not in kinds and suits_huge_pages(op, of_files)
    ]  # fmt: skip


def _alone(often: Often) -> int:
    return often.alone


def _racing(often: Often) -> int:
    return often.racing


def _beside(often: Often) -> int:
    return often.beside_a_device


def _by_the_device(often: Often) -> int:
    return often.by_the_device


def _into_its_memory(often: Often) -> int:
    return often.into_its_memory


def _for_itself(often: Often) -> int:
    return often.for_itself


def _rarely(often: Often) -> int:
    return often.rarely


def _at_a_buffer(often: Often) -> int:
    return often.at_a_buffer


def _draw_ops(w: World, count: int, weights: _Weights) -> None:
    for _ in range(count):
        here = w.either()
        act(here, weighted(w.draw, [(n, op) for n, op in weights if can_be_drawn(here, op)]))


def _other_blocks(draw: Draw) -> tuple[str, ...]:
    """What is not done to the block of memory that pages come from first: it is to go, or contiguous memory, or there is none and all of memory is looked at."""
    return weighted(draw, [(4, ("cma_alloc", *_choosing())), (2, ("offline_pages", *_choosing())), (4, ("offline_pages", "cma_alloc"))])


def _choosing() -> tuple[str, ...]:
    """What a setup has not: what was done before does not decide what it does."""
    return tuple(name for name, op in OPS.items() if op.chooses)


def _look(w: World) -> None:
    """Read every page of every mapping."""
    for here in filter(None, (w, w.other, *w.forked)):
        with here.process or nullcontext():
            for mapping in here.mappings:
                for page in range(mapping.pages):
                    w.s.read(mapping + page, into=w.budget.name())


def _sequential(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    w = World(s, draw, Budget(FRAMES), SpaceLeft(PAGES))
    act(w, OPS["memfd_create"])
    if with_uffd:  # nobody waits: there is nobody to answer
        w.userfaultfd = s.userfaultfd(sigbus=True)
        act(w, OPS["mmap"])
        act(w, OPS["uffd_register"])
    if several:
        w.add_process(PAGES)
    _draw_ops(w, draw.integer(3, 17), _weights(_alone, *_other_blocks(draw)))
    if chance(draw, 60):
        _look(w)


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
    but = _other_blocks(draw)
    _draw_ops(w, draw.integer(0, 3), _weights(_alone, "exit", *but, *_choosing()))
    if with_uffd:
        w.userfaultfd = s.userfaultfd(events=True, forks=chance(draw, 50))
        act(w, OPS["mmap"])
        act(w, OPS["uffd_register"])
        act(w, OPS["uffd_register"])
        s.uffd_serve(w.userfaultfd, w.budget.value())
    threads = 3 if chance(draw, 25) else 2
    for number in range(threads):
        here = w if number == 0 else w.either(often=25)
        _thread(s, here, f"t{number}", draw.integer(1, 3 if threads == 2 else 2), _weights(_racing, *but))
    for child in w.forked:
        _thread(s, child, "child", draw.integer(1, 2), _weights(_racing, *but))
    if chance(draw, 60):
        with s.after():
            _look(w)


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
        _draw_ops(w, draw.integer(4, 17), _huge_weights(_alone, of_files, *kept))
    elif kind == "forced":
        s.write(w.mappings[0], w.budget.value())  # the huge zero page is a frame of its own on a kernel, and not here
        w.device = s.device()
        if chance(draw, 25):
            act(w, OPS["device_read"])
        _thread(s, w, "cpu", draw.integer(1, 3), _huge_weights(_beside, of_files, *kept))
        _thread(s, w, "device", draw.integer(1, 2), _huge_weights(_by_the_device, of_files))
    else:
        if chance(draw, 80):
            act(w, OPS["write"])
        for number in range(2):
            _thread(s, w, f"t{number}", draw.integer(1, 3), _huge_weights(_racing, of_files, *kept))
        for child in w.forked:
            _thread(s, child, "child", draw.integer(1, 2), _huge_weights(_racing, of_files, *kept))
    if kind == "sequential":
        if chance(draw, 60):
            _look(w)
    elif chance(draw, 60):
        with s.after():
            _look(w)


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
    _draw_ops(w, draw.integer(0, 2), _weights(_beside, "exit"))
    owner = w.either(often=50)
    with owner.process or nullcontext():
        owner.device = s.device()
    if chance(draw, 25):
        act(owner, OPS["device_read"])
    for number in range(2 if chance(draw, 20) else 1):
        _thread(s, w.either(often=30), f"cpu{number}", draw.integer(1, 3), _weights(_beside))
    _thread(s, owner, "device", draw.integer(1, 2), _weights(_by_the_device))
    if chance(draw, 60):
        with s.after():
            _look(w)


def _with_dax(kind: DrawnKind, draw: Draw, s: Recorder) -> None:
    """A scenario with device memory that has a file, and of which others may take it away at any time; or a driver pins it, for what goes while it is pinned
    is no more. What is modelled of it: no advice, no locks, nor what reclaim or migration says to it."""
    w = World(s, draw, Budget(FRAMES if kind == "sequential" else 6, buffers=0), SpaceLeft(PAGES if kind == "sequential" else 6), most=3 if kind == "sequential" else 2)
    w.dax = s.dax(pages=draw.integer(1, 3))
    w.memfds.append((w.dax, False))
    pinned = kind == "forced" and chance(draw, 35)
    names = OF_DAX - {"dax_remove"} | PINS_DAX if pinned else OF_DAX

    def suited(weights: _Weights) -> _Weights:
        return [(n, op) for n, op in weights if op.name in names]

    map_file(w)
    if kind == "sequential":
        _draw_ops(w, draw.integer(3, 15), suited(_weights(_alone)))
    elif kind == "free":
        _two_threads(s, w, suited(_weights(_racing)))
    else:
        if chance(draw, 70):
            act(w, OPS["write"])
        if pinned and can_be_drawn(w, OPS["pin"]):
            act(w, OPS["pin"])
        w.device = s.device()
        if chance(draw, 25):
            act(w, OPS["device_read"])
        _thread(s, w, "cpu", draw.integer(1, 3), suited(_weights(_beside)))
        _thread(s, w, "device", draw.integer(1, 2), _weights(_by_the_device))
    if kind != "sequential" and not pinned and chance(draw, 60):
        _thread(s, w, "teardown", 1, [(1, OPS["dax_remove"])])
    if chance(draw, 60):
        with nullcontext() if kind == "sequential" else s.after():
            _look(w)


def _with_fs_dax(kind: DrawnKind, draw: Draw, s: Recorder) -> None:
    """A scenario with a file whose pages are a device's memory. A hole in it waits for who has pinned a page: so whoever pins some gives them back, in one thread before
    there is a hole, in others whenever it is."""
    few = 15 if kind == "sequential" else 6
    w = World(s, draw, Budget(FRAMES if kind == "sequential" else few, buffers=0), SpaceLeft(PAGES if kind == "sequential" else few), most=3 if kind == "sequential" else 2)
    w.fs_dax = s.fs_dax(pages=draw.integer(1, 3))
    w.memfds.append((w.fs_dax, False))

    def suited(weights: _Weights, *but: str) -> _Weights:
        return [(n, op) for n, op in weights if op.name in OF_FS_DAX and op.name not in but]

    hole: _Weights = [(1, OPS["fs_dax_punch_hole"])]
    map_file(w)
    if kind == "sequential":
        _draw_ops(w, draw.integer(2, 9), suited(_weights(_alone)))
        if chance(draw, 60):
            _draw_ops(w, draw.integer(1, 4), [*suited(_weights(_alone), "fs_dax_punch_hole", "fork", "exit"), (10, OPS["pin"])])
            for pin in w.pins:
                pin.unpin()
            w.pins.clear()
            _draw_ops(w, 1, hole)
        _draw_ops(w, draw.integer(1, 6), suited(_weights(_alone)))
    elif kind == "free":
        pins = chance(draw, 60)
        if pins:
            s.mmap(w.fs_dax)  # the file stays mapped, whatever is drawn: nothing is done to this mapping
        _two_threads(s, w, suited(_weights(_racing), *(("exit",) if pins else ())))
        if pins and not w.forked:

            @s.thread
            def user() -> None:
                pin = s.pin(*w.span()[:1], into=w.budget.name())
                pin.read(into=w.budget.name())
                pin.unpin()
    else:
        if chance(draw, 70):
            act(w, OPS["write"])
        held = s.pin(w.mappings[0], into=w.budget.name()) if chance(draw, 35) else None
        if held is not None:
            s.mmap(w.fs_dax)  # as above
        w.device = s.device()
        if chance(draw, 25):
            act(w, OPS["device_read"])
        _thread(s, w, "cpu", draw.integer(1, 3), suited(_weights(_beside), "exit", *(("fs_dax_punch_hole",) if held else ())))
        _thread(s, w, "device", draw.integer(1, 2), _weights(_by_the_device))
        if held is not None:
            kept = held

            @s.thread
            def user() -> None:
                kept.read(into=w.budget.name())
                kept.unpin()

        if chance(draw, 60):
            _thread(s, w, "hole", 1, hole)
    if chance(draw, 60):
        with nullcontext() if kind == "sequential" else s.after():
            _look(w)


def _with_disk_file(kind: DrawnKind, draw: Draw, s: Recorder) -> None:
    """A scenario with a file on a disk: its pages are written back, and dropped from memory."""
    few = 15 if kind == "sequential" else 6
    w = World(s, draw, Budget(FRAMES if kind == "sequential" else few, buffers=0), SpaceLeft(PAGES if kind == "sequential" else few), most=3 if kind == "sequential" else 2)
    w.disk = s.disk_file(pages=draw.integer(1, 3 if kind == "sequential" else 2))
    w.memfds.append((w.disk, False))

    def suited(weights: _Weights, *but: str) -> _Weights:
        return [(n, op) for n, op in weights if op.name in OF_DISK_FILES and op.name not in but]

    map_file(w)
    if kind == "sequential":
        _draw_ops(w, draw.integer(4, 17), suited(_weights(_alone)))
    elif kind == "free":
        if chance(draw, 60):
            act(w, OPS["write"])
        _two_threads(s, w, suited(_weights(_racing)))
    else:
        if chance(draw, 70):
            act(w, OPS["write"])
        w.device = s.device()
        if chance(draw, 25):
            act(w, OPS["device_read"])
        _thread(s, w, "cpu", draw.integer(1, 3), suited(_weights(_beside), "exit"))
        _thread(s, w, "device", draw.integer(1, 2), _weights(_by_the_device))
    with nullcontext() if kind == "sequential" else s.after():
        if chance(draw, 60):
            _look(w)
        for page in range(w.disk.pages):
            s.pread(w.disk, page=page, into=w.budget.name())


def _private_memory(draw: Draw, s: Recorder) -> World:
    """Of a process, and a device that mirrors it."""
    w = World(s, draw, Budget(frames=6, buffers=0), SpaceLeft(5), most=2)
    act(w, OPS["mmap"])
    if chance(draw, 75):
        act(w, OPS["write"])
    w.device = s.device()
    return w


def _migrating(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    """Of one process, and no userfaultfd: what those do to pages in a device's memory is not modelled, or not yet compared."""
    w = _private_memory(draw, s)
    if chance(draw, 50):
        act(w, OPS["device_migrate"])
    _draw_ops(w, draw.integer(0, 2), _weights(_beside, "exit"))
    for number in range(2 if chance(draw, 20) else 1):
        _thread(s, w, f"cpu{number}", draw.integer(1, 3), _weights(_beside))
    _thread(s, w, "device", draw.integer(1, 2), _weights(_into_its_memory))
    for child in w.forked:
        _thread(s, child, "child", draw.integer(1, 2), _weights(_beside))
    if chance(draw, 60):
        with s.after():
            _look(w)


def _driven(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    """Of one process, and no userfaultfd. Which of the three, a draw says."""
    weighted(draw, [(4, _at_buffers), (4, _taking_pages), (2, _hearing_of_flushes)])(draw, s)


def _at_buffers(draw: Draw, s: Recorder) -> None:
    """Its exporter and the device's user have a thread each: the model has one who moves a buffer, and one who waits for a device's job."""
    w = World(s, draw, Budget(frames=6, buffers=0), SpaceLeft(0))
    w.buffer = s.buffer(pages=1)
    w.device = s.attached_device(w.buffer)
    weights = _weights(_at_a_buffer)
    _thread(s, w, "exporter", draw.integer(1, 4), [(n, op) for n, op in weights if ArgType.BUFFER in op.types])
    _thread(s, w, "device", draw.integer(1, 4), [(n, op) for n, op in weights if ArgType.DEVICE in op.types])
    if chance(draw, 60):
        with s.after():
            w.device.job_read(into=w.budget.name())
            if chance(draw, 50):  # once: of a device that is closed nothing is asked but a job
                w.device.close(into=w.budget.name())
                w.device.job_read(into=w.budget.name())


def _taking_pages(draw: Draw, s: Recorder) -> None:
    """Private memory alone: the driver takes no file's pages."""
    w = _private_memory(draw, s)
    if chance(draw, 50):
        act(w, OPS["device_exclusive"])
    for number in range(2 if chance(draw, 20) else 1):
        _thread(s, w, f"cpu{number}", draw.integer(1, 3), _weights(_beside, "exit"))
    _thread(s, w, "device", draw.integer(1, 2), _weights(_for_itself))
    if chance(draw, 60):
        with s.after():
            _look(w)


def _hearing_of_flushes(draw: Draw, s: Recorder) -> None:
    """One thread; in the end, of each page, whether a flush of it was told."""
    w = World(s, draw, Budget(frames=6), SpaceLeft(6), most=2)
    act(w, OPS["memfd_create"])
    act(w, OPS["mmap"])
    s.watch_flushes(into=w.budget.name())
    _thread(s, w, "cpu", draw.integer(2, 8), [*_weights(_racing, "exit", "fork", "offline_pages", "cma_alloc", *_choosing()), (8, OPS["flushed"])])


def _rare(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    """Of one process, and no userfaultfd. Which of the four, a draw says."""
    weighted(draw, [(4, _opened_late), (3, _reset), (3, _in_second_halves), (2, _with_a_limit)])(draw, s)


def _some_memory(draw: Draw, s: Recorder) -> World:
    """Of a file or private, which somebody has perhaps written."""
    w = World(s, draw, Budget(frames=6, buffers=0), SpaceLeft(5), most=2)
    if chance(draw, 50):
        act(w, OPS["memfd_create"])
        map_file(w)
    else:
        act(w, OPS["mmap"])
    if chance(draw, 70):
        act(w, OPS["write"])
    return w


def _look_in_the_end(w: World, often: int, *names: str) -> None:
    """In `often` of 100 draws, when all threads have ended: read every page, and then do what is named."""
    if chance(w.draw, often):
        with w.s.after():
            _look(w)
            for name in names:
                act(w, OPS[name])


def _opened_late(draw: Draw, s: Recorder) -> None:
    """The device's user opens it and goes on, or another one does: then what it asks for before that is skipped."""
    w = _some_memory(draw, s)
    w.device = s.closed_device()
    _thread(s, w, "cpu", draw.integer(1, 3), _weights(_beside, "fork", "kill", "process_mrelease"))
    opens: _Weights = [(1, OPS["device_open"])]
    if chance(draw, 30):
        _thread(s, w, "opener", 1, opens)
        opens = []
    _thread(s, w, "device", draw.integer(1, 2), _weights(_by_the_device), opens)
    _look_in_the_end(w, 60, "device_read")


def _reset(draw: Draw, s: Recorder) -> None:
    """Somebody resets it beside its user."""
    w = _some_memory(draw, s)
    w.device = s.device()
    if chance(draw, 70):
        act(w, OPS["device_read"])
    if chance(draw, 60):
        _thread(s, w, "cpu", draw.integer(1, 2), _weights(_beside, "fork", "exit", "kill", "process_mrelease"))
    _thread(s, w, "resets", 1, [(1, OPS["device_reset"])])
    _thread(s, w, "device", draw.integer(1, 2), [*_weights(_by_the_device), (1, OPS["device_reset"])])
    _look_in_the_end(w, 70, "device_read")


def _in_second_halves(draw: Draw, s: Recorder) -> None:
    """The CPU and the device use both halves of pages."""
    w = _some_memory(draw, s)
    w.device = s.device()
    halves = [(25, OPS["write_half"]), (25, OPS["read_half"]), *_weights(_beside, "fork", "kill", "process_mrelease")]
    _thread(s, w, "cpu", draw.integer(1, 3), halves)
    _thread(s, w, "device", draw.integer(1, 3), [(n, op) for n, op in _weights(_rarely) if op.accesses] + [(2, OPS["device_read"]), (2, OPS["device_write"])])
    _look_in_the_end(w, 60, "read_half", "device_read_half")


def _with_a_limit(draw: Draw, s: Recorder) -> None:
    """Of how many pages may be locked."""
    w = World(s, draw, Budget(frames=9), SpaceLeft(9), most=3)
    act(w, OPS["memfd_create"])
    act(w, OPS["mmap"])
    act(w, OPS["mmap"])
    s.limit_memlock(pages=draw.integer(1, 3))
    weights = [*_weights(_racing, "exit", "fork", "offline_pages", "cma_alloc", *_choosing()), (60, OPS["mlock"]), (20, OPS["munlock"]), (20, OPS["mremap_resized"])]
    for number in range(2 if chance(draw, 30) else 1):
        _thread(s, w, f"cpu{number}", draw.integer(2, 4), weights)


def _thread(s: Recorder, w: World, name: str, count: int, weights: _Weights, first: _Weights | None = None) -> None:
    inner, of = w.inside(), w.process or s

    def body() -> None:
        if first:
            _draw_ops(inner, 1, first)
        _draw_ops(inner, count, weights)

    body.__name__ = name
    of.thread(body)


def _two_threads(s: Recorder, w: World, weights: _Weights) -> None:
    """Of the process, and one of each child."""
    for number in range(2):
        _thread(s, w, f"t{number}", w.draw.integer(1, 3), weights)
    for child in w.forked:
        _thread(s, child, "child", w.draw.integer(1, 2), weights)


OF_DAX = frozenset({
    "mmap", "mmap_read_only", "mmap_private", "munmap", "read", "write", "madvise_dontneed", "madvise_populate_read", "madvise_populate_write", "mprotect",
    "mprotect_none", "mremap", "mremap_dontunmap", "fork", "exit", "close", "dax_remove",
})  # fmt: skip
"""What is drawn beside device memory that has a file."""
PINS_DAX = frozenset({"pin", "pin_locked", "pin_read", "pin_write", "unpin"})
"""The same, where it does not go."""

OF_FS_DAX = OF_DAX - {"mmap_private", "dax_remove"} | {"fs_dax_punch_hole"}
"""What is drawn beside a file whose pages are a device's memory."""

OF_DISK_FILES = OF_FS_DAX - {"fs_dax_punch_hole"} | {
    "mmap_private", "fsync", "msync", "fadvise_dontneed", "disk_file_punch_hole", "pread", "madvise_pageout", "madvise_remove", "move_pages", "mlock", "munlock",
    "pin", "pin_locked", "pin_read", "pin_write", "unpin",
}  # fmt: skip
"""What is drawn beside a file on a disk."""

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

_DRAWN: dict[DrawnKind, Callable[[Draw, Recorder, bool, bool], None]] = {"sequential": _sequential, "free": _free, "forced": _forced, "migrating": _migrating, "driven": _driven, "rare": _rare}


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
        _with_dax(kind, draw, s)
        return s.scenario(name, "")
    if index % WITH_FS_DAX == WITH_FS_DAX - 1 and kind not in ("migrating", "driven", "rare"):
        s = Recorder()
        _with_fs_dax(kind, draw, s)
        return s.scenario(name, "")
    if index % WITH_DISK == WITH_DISK - 1 and kind not in ("migrating", "driven", "rare"):
        s = Recorder()
        _with_disk_file(kind, draw, s)
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
