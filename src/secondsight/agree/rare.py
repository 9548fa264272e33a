"""Drawn scenarios of the kind `rare`: what the others never draw. A new operation of devices is drawn here, so that the others stay what they were, and campaigns add up."""

from __future__ import annotations

from secondsight.agree.draw import Draw, chance, weighted
from secondsight.agree.drawn import Budget, SpaceLeft, World, act, map_file
from secondsight.agree.weights import Weights, beside, by_the_device, choosing, draw_thread, look, racing, rarely, weights_of
from secondsight.scenario import Recorder
from secondsight.scenario.ops import OPS

__all__ = ["rare"]


def rare(draw: Draw, s: Recorder, several: bool, with_uffd: bool) -> None:
    """Of one process. Which of the five, a draw says."""
    weighted(draw, [(4, _opened_late), (3, _reset), (3, _in_second_halves), (2, _with_a_limit), (5, _marked)])(draw, s)


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
            look(w)
            for name in names:
                act(w, OPS[name])


def _opened_late(draw: Draw, s: Recorder) -> None:
    """The device's user opens it and goes on, or another one does: then what it asks for before that is skipped."""
    w = _some_memory(draw, s)
    w.device = s.closed_device()
    draw_thread(s, w, "cpu", draw.integer(1, 3), weights_of(beside, "fork", "kill", "process_mrelease"))
    opens: Weights = [(1, OPS["device_open"])]
    if chance(draw, 30):
        draw_thread(s, w, "opener", 1, opens)
        opens = []
    draw_thread(s, w, "device", draw.integer(1, 2), weights_of(by_the_device), opens)
    _look_in_the_end(w, 60, "device_read")


def _reset(draw: Draw, s: Recorder) -> None:
    """Somebody resets it beside its user."""
    w = _some_memory(draw, s)
    w.device = s.device()
    if chance(draw, 70):
        act(w, OPS["device_read"])
    if chance(draw, 60):
        draw_thread(s, w, "cpu", draw.integer(1, 2), weights_of(beside, "fork", "exit", "kill", "process_mrelease"))
    draw_thread(s, w, "resets", 1, [(1, OPS["device_reset"])])
    draw_thread(s, w, "device", draw.integer(1, 2), [*weights_of(by_the_device), (1, OPS["device_reset"])])
    _look_in_the_end(w, 70, "device_read")


def _in_second_halves(draw: Draw, s: Recorder) -> None:
    """The CPU and the device use both halves of pages."""
    w = _some_memory(draw, s)
    w.device = s.device()
    halves = [(25, OPS["write_half"]), (25, OPS["read_half"]), *weights_of(beside, "fork", "kill", "process_mrelease")]
    draw_thread(s, w, "cpu", draw.integer(1, 3), halves)
    draw_thread(s, w, "device", draw.integer(1, 3), [(n, op) for n, op in weights_of(rarely) if op.accesses] + [(2, OPS["device_read"]), (2, OPS["device_write"])])
    _look_in_the_end(w, 60, "read_half", "device_read_half")


def _with_a_limit(draw: Draw, s: Recorder) -> None:
    """Of how many pages may be locked."""
    w = World(s, draw, Budget(frames=9), SpaceLeft(9), most=3)
    act(w, OPS["memfd_create"])
    act(w, OPS["mmap"])
    act(w, OPS["mmap"])
    s.limit_memlock(pages=draw.integer(1, 3))
    weights = [*weights_of(racing, "exit", "fork", "offline_pages", "cma_alloc", *choosing()), (60, OPS["mlock"]), (20, OPS["munlock"]), (20, OPS["mremap_resized"])]
    for number in range(2 if chance(draw, 30) else 1):
        draw_thread(s, w, f"cpu{number}", draw.integer(2, 4), weights)


MARKS = [
    (8, "uffd_writeprotect"), (6, "uffd_copy_wp"), (6, "uffd_continue_wp"), (6, "uffd_poison"), (3, "pagemap_wp"), (2, "uffd_register_ioctls"), (2, "clear_refs"),
]  # fmt: skip


def _marked(draw: Draw, s: Recorder) -> None:
    """Of a file and private memory what is there and what is to come is write-protected by a userfaultfd, filled so, or poisoned; beside a device, perhaps. Who touches it gets a signal."""
    w = World(s, draw, Budget(frames=7, buffers=0), SpaceLeft(6), most=2)
    act(w, OPS["memfd_create"])
    map_file(w)
    if chance(draw, 50):
        act(w, OPS["mmap"])
    if chance(draw, 70):
        act(w, OPS["write"])
    w.userfaultfd = s.userfaultfd_wp_unpopulated(sigbus=True) if chance(draw, 50) else s.userfaultfd(sigbus=True)
    for mapping in w.mappings:
        s.uffd_register(w.userfaultfd, mapping, missing=chance(draw, 50), wp=True)
    marks: Weights = [(often, OPS[name]) for often, name in MARKS]
    but = ("madvise_populate_read", "madvise_populate_write", "fork", "offline_pages", "cma_alloc", *choosing())
    if chance(draw, 40):
        w.device = s.device()
        draw_thread(s, w, "cpu", draw.integer(1, 3), [*weights_of(beside, *but), *marks])
        draw_thread(s, w, "device", draw.integer(1, 2), weights_of(by_the_device))
    else:
        for number in range(2):
            draw_thread(s, w, f"cpu{number}", draw.integer(1, 3), [*weights_of(racing, *but), *marks])
    _look_in_the_end(w, 60, "pagemap_wp")
