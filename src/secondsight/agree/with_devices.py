"""Drawn scenarios that run freely beside a device: with memory of its own (`migrating`), and what the kind `driven` has."""

from __future__ import annotations

from secondsight.agree.draw import Draw, chance, weighted
from secondsight.agree.drawn import Budget, SpaceLeft, World, act
from secondsight.agree.weights import (
    at_a_buffer,
    beside,
    choosing,
    draw_ops,
    draw_thread,
    for_itself,
    into_its_memory,
    look,
    racing,
    weights_of,
)
from secondsight.scenario import Recorder
from secondsight.scenario.ops import OPS, ArgType

__all__ = ["driven", "migrating"]


def _private_memory(draw: Draw, s: Recorder) -> World:
    """Of a process, and a device that mirrors it."""
    w = World(s, draw, Budget(frames=6, buffers=0), SpaceLeft(5), most=2)
    act(w, OPS["mmap"])
    if chance(draw, 75):
        act(w, OPS["write"])
    w.device = s.device()
    return w


def migrating(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    """Of one process, and no userfaultfd: what those do to pages in a device's memory is not modelled, or not yet compared."""
    w = _private_memory(draw, s)
    if chance(draw, 50):
        act(w, OPS["device_migrate"])
    draw_ops(w, draw.integer(0, 2), weights_of(beside, "exit"))
    for number in range(2 if chance(draw, 20) else 1):
        draw_thread(s, w, f"cpu{number}", draw.integer(1, 3), weights_of(beside))
    draw_thread(s, w, "device", draw.integer(1, 2), weights_of(into_its_memory))
    for child in w.forked:
        draw_thread(s, child, "child", draw.integer(1, 2), weights_of(beside))
    if chance(draw, 60):
        with s.after():
            look(w)


def driven(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    """Of one process, and no userfaultfd. Which of the three, a draw says."""
    weighted(draw, [(4, _at_buffers), (4, _taking_pages), (2, _hearing_of_flushes)])(draw, s)


def _at_buffers(draw: Draw, s: Recorder) -> None:
    """Its exporter and the device's user have a thread each: the model has one who moves a buffer, and one who waits for a device's job."""
    w = World(s, draw, Budget(frames=6, buffers=0), SpaceLeft(0))
    w.buffer = s.buffer(pages=1)
    w.device = s.attached_device(w.buffer)
    weights = weights_of(at_a_buffer)
    draw_thread(s, w, "exporter", draw.integer(1, 4), [(n, op) for n, op in weights if ArgType.BUFFER in op.types])
    draw_thread(s, w, "device", draw.integer(1, 4), [(n, op) for n, op in weights if ArgType.DEVICE in op.types])
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
        draw_thread(s, w, f"cpu{number}", draw.integer(1, 3), weights_of(beside, "exit"))
    draw_thread(s, w, "device", draw.integer(1, 2), weights_of(for_itself))
    if chance(draw, 60):
        with s.after():
            look(w)


def _hearing_of_flushes(draw: Draw, s: Recorder) -> None:
    """One thread; in the end, of each page, whether a flush of it was told."""
    w = World(s, draw, Budget(frames=6), SpaceLeft(6), most=2)
    act(w, OPS["memfd_create"])
    act(w, OPS["mmap"])
    s.watch_flushes(into=w.budget.name())
    draw_thread(s, w, "cpu", draw.integer(2, 8), [*weights_of(racing, "exit", "fork", "offline_pages", "cma_alloc", *choosing()), (8, OPS["flushed"])])
