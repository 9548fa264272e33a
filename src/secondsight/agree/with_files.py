"""Drawn scenarios with a file whose pages are a device's memory (device-dax, fs-dax), or with one on a disk."""

from __future__ import annotations

from contextlib import nullcontext

from secondsight.agree.draw import Draw, chance
from secondsight.agree.drawn import Budget, SpaceLeft, World, act, can_be_drawn, map_file
from secondsight.agree.weights import (
    FRAMES,
    PAGES,
    DrawnKind,
    Weights,
    alone,
    beside,
    by_the_device,
    draw_ops,
    draw_thread,
    look,
    racing,
    two_threads,
    weights_of,
)
from secondsight.scenario import Recorder
from secondsight.scenario.ops import OPS

__all__ = ["with_dax", "with_disk_file", "with_fs_dax"]

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


def with_dax(kind: DrawnKind, draw: Draw, s: Recorder) -> None:
    """A scenario with device memory that has a file, and of which others may take it away at any time; or a driver pins it, for what goes while it is pinned
    is no more. What is modelled of it: no advice, no locks, nor what reclaim or migration says to it."""
    w = World(s, draw, Budget(FRAMES if kind == "sequential" else 6, buffers=0), SpaceLeft(PAGES if kind == "sequential" else 6), most=3 if kind == "sequential" else 2)
    w.dax = s.dax(pages=draw.integer(1, 3))
    w.memfds.append((w.dax, False))
    pinned = kind == "forced" and chance(draw, 35)
    names = OF_DAX - {"dax_remove"} | PINS_DAX if pinned else OF_DAX

    def suited(weights: Weights) -> Weights:
        return [(n, op) for n, op in weights if op.name in names]

    map_file(w)
    if kind == "sequential":
        draw_ops(w, draw.integer(3, 15), suited(weights_of(alone)))
    elif kind == "free":
        two_threads(s, w, suited(weights_of(racing)))
    else:
        if chance(draw, 70):
            act(w, OPS["write"])
        if pinned and can_be_drawn(w, OPS["pin"]):
            act(w, OPS["pin"])
        w.device = s.device()
        if chance(draw, 25):
            act(w, OPS["device_read"])
        draw_thread(s, w, "cpu", draw.integer(1, 3), suited(weights_of(beside)))
        draw_thread(s, w, "device", draw.integer(1, 2), weights_of(by_the_device))
    if kind != "sequential" and not pinned and chance(draw, 60):
        draw_thread(s, w, "teardown", 1, [(1, OPS["dax_remove"])])
    if chance(draw, 60):
        with nullcontext() if kind == "sequential" else s.after():
            look(w)


def with_fs_dax(kind: DrawnKind, draw: Draw, s: Recorder) -> None:
    """A scenario with a file whose pages are a device's memory. A hole in it waits for who has pinned a page: so whoever pins some gives them back, in one thread before
    there is a hole, in others whenever it is."""
    few = 15 if kind == "sequential" else 6
    w = World(s, draw, Budget(FRAMES if kind == "sequential" else few, buffers=0), SpaceLeft(PAGES if kind == "sequential" else few), most=3 if kind == "sequential" else 2)
    w.fs_dax = s.fs_dax(pages=draw.integer(1, 3))
    w.memfds.append((w.fs_dax, False))

    def suited(weights: Weights, *but: str) -> Weights:
        return [(n, op) for n, op in weights if op.name in OF_FS_DAX and op.name not in but]

    hole: Weights = [(1, OPS["fs_dax_punch_hole"])]
    map_file(w)
    if kind == "sequential":
        draw_ops(w, draw.integer(2, 9), suited(weights_of(alone)))
        if chance(draw, 60):
            draw_ops(w, draw.integer(1, 4), [*suited(weights_of(alone), "fs_dax_punch_hole", "fork", "exit"), (10, OPS["pin"])])
            for pin in w.pins:
                pin.unpin()
            w.pins.clear()
            draw_ops(w, 1, hole)
        draw_ops(w, draw.integer(1, 6), suited(weights_of(alone)))
    elif kind == "free":
        pins = chance(draw, 60)
        if pins:
            s.mmap(w.fs_dax)  # the file stays mapped, whatever is drawn: nothing is done to this mapping
        two_threads(s, w, suited(weights_of(racing), *(("exit",) if pins else ())))
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
        draw_thread(s, w, "cpu", draw.integer(1, 3), suited(weights_of(beside), "exit", *(("fs_dax_punch_hole",) if held else ())))
        draw_thread(s, w, "device", draw.integer(1, 2), weights_of(by_the_device))
        if held is not None:
            kept = held

            @s.thread
            def user() -> None:
                kept.read(into=w.budget.name())
                kept.unpin()

        if chance(draw, 60):
            draw_thread(s, w, "hole", 1, hole)
    if chance(draw, 60):
        with nullcontext() if kind == "sequential" else s.after():
            look(w)


def with_disk_file(kind: DrawnKind, draw: Draw, s: Recorder) -> None:
    """A scenario with a file on a disk: its pages are written back, and dropped from memory."""
    few = 15 if kind == "sequential" else 6
    w = World(s, draw, Budget(FRAMES if kind == "sequential" else few, buffers=0), SpaceLeft(PAGES if kind == "sequential" else few), most=3 if kind == "sequential" else 2)
    w.disk = s.disk_file(pages=draw.integer(1, 3 if kind == "sequential" else 2))
    w.memfds.append((w.disk, False))

    def suited(weights: Weights, *but: str) -> Weights:
        return [(n, op) for n, op in weights if op.name in OF_DISK_FILES and op.name not in but]

    map_file(w)
    if kind == "sequential":
        draw_ops(w, draw.integer(4, 17), suited(weights_of(alone)))
    elif kind == "free":
        if chance(draw, 60):
            act(w, OPS["write"])
        two_threads(s, w, suited(weights_of(racing)))
    else:
        if chance(draw, 70):
            act(w, OPS["write"])
        w.device = s.device()
        if chance(draw, 25):
            act(w, OPS["device_read"])
        draw_thread(s, w, "cpu", draw.integer(1, 3), suited(weights_of(beside), "exit"))
        draw_thread(s, w, "device", draw.integer(1, 2), weights_of(by_the_device))
    with nullcontext() if kind == "sequential" else s.after():
        if chance(draw, 60):
            look(w)
        for page in range(w.disk.pages):
            s.pread(w.disk, page=page, into=w.budget.name())
