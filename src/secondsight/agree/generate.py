"""Scenarios that nobody wrote: drawn operation by operation over what the model and the kernels both have.

`scenario_of(kind, seed, index)` is always the same scenario. Kinds:

* `sequential`: one thread, 4 to 18 operations with what they may fail of: closed files, seals, holes in mappings, pages
  beyond a file's end. Often everything that is mapped is read at the end.
* `free`: a setup, two or three threads of one to three operations on shared files and mappings, and a look at the end.
* `forced`: memory and a device that mirrors it; one or two threads of the process beside one of the device. With it goes a
  driver and a schedule (`forced.py`): both sides run that one interleaving.

One scenario in five has two processes: they map the same files, and each does some of the operations; in a forced one the device
may be either's. (Which, says the number: all others are what they were before there were any.)

A drawn scenario always fits the model: pages of address space, frames and buffers are counted while it is drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, get_args

from secondsight.agree.draw import Draw, Seeded, chance, choice, weighted
from secondsight.linux import BOUNDS
from secondsight.scenario import Address, DeviceHandle, File, Mapping, Process, Recorder, Scenario

__all__ = ["KINDS", "Kind", "fingerprint", "generate", "scenario_of"]

Kind = Literal["sequential", "free", "forced"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PAGES = BOUNDS["pages"].most  # of address space
FRAMES = BOUNDS["frames"].most - 2  # that the operations may come to hold, beside the zero page and one in flight
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # each store has a value of its own
SEALS = ("shrink", "", "shrink|grow", "seal|shrink", "write", "shrink|write", "future_write", "shrink|future_write", "seal", "grow")
ADDED = ("write", "shrink", "future_write", "seal", "grow", "shrink|write", "")


@dataclass
class _Budget:
    """What is left of the machine; one for the whole scenario."""

    frames: int = FRAMES
    buffers: int = 3
    values: int = 0
    names: int = 0

    def value(self) -> str:
        self.values += 1
        return LETTERS[(self.values - 1) % len(LETTERS)]

    def name(self) -> str:
        self.names += 1
        return f"r{self.names}"


@dataclass
class _Space:
    """What is left of an address space."""

    pages: int
    continued: tuple[File, int] | None = None
    """The file and the page that the last mapping ends with: one that goes on there costs a page more (`world.encoder`)."""


@dataclass
class _World:
    """What a section may use: handles by what they are. `memfds` are (file, does a udmabuf take its seals).

    `process`: in whose block its operations are recorded; `other`: what another process may use.
    """

    s: Recorder
    draw: Draw
    budget: _Budget
    space: _Space
    memfds: list[tuple[File, bool]] = field(default_factory=list)
    udmabufs: list[File] = field(default_factory=list)
    mappings: list[Mapping] = field(default_factory=list)
    device: DeviceHandle | None = None
    most: int = 3  # pages of one file or mapping
    process: Process | None = None
    other: _World | None = None

    def add_process(self, pages: int) -> None:
        """Another process, which has the same files."""
        self.other = replace(self, space=_Space(pages), mappings=[], process=self.s.process())

    def either(self, often: int = 60) -> _World:
        """Itself, in `often` of 100 draws, or what the other process may use."""
        return self if self.other is None or chance(self.draw, often) else self.other

    def inside(self) -> _World:
        """For a thread: what it makes is its own, what there was it shares."""
        return replace(
            self, memfds=list(self.memfds), udmabufs=list(self.udmabufs), mappings=list(self.mappings), process=None, other=None,
        )  # fmt: skip

    def file(self) -> File:
        """Any file; mostly a memfd."""
        if self.udmabufs and chance(self.draw, 25):
            return choice(self.draw, self.udmabufs)
        return choice(self.draw, self.memfds)[0]

    def buffer_of(self) -> File:
        """A memfd for a udmabuf: mostly one whose seals are right, now and then any file."""
        good = [fd for fd, right in self.memfds if right]
        return choice(self.draw, good) if good and chance(self.draw, 80) else self.file()

    def span(self) -> tuple[Address, int]:
        """Pages of a mapping: where from and how many."""
        mapping = choice(self.draw, self.mappings)
        first = self.draw.integer(0, mapping.pages - 1)
        return mapping + first, self.draw.integer(1, mapping.pages - first)

    def part(self, fd: File, past: int) -> tuple[int, int]:
        """Pages of a file, in `past` of 100 draws reaching past its end."""
        page = self.draw.integer(0, fd.pages - 1)
        if chance(self.draw, past):
            return page, self.draw.integer(1, self.most)
        return page, self.draw.integer(1, fd.pages - page)


# The operations. Each draws its arguments; those that cannot be drawn now are left out by `possible`.


def _memfd_create(w: _World) -> None:
    pages = w.draw.integer(1, min(w.most, w.budget.frames))
    seals = choice(w.draw, SEALS) if chance(w.draw, 50) else "shrink"
    w.budget.frames -= pages
    w.memfds.append((w.s.memfd_create(pages, seals), "shrink" in seals and "write" not in seals))


def _map(w: _World, fd: File | None) -> None:
    if fd is None:
        page, pages = 0, w.draw.integer(1, min(w.most, w.budget.frames))
        w.budget.frames -= pages
    else:
        page, pages = w.part(fd, 20)
    if w.mappings and chance(w.draw, 25):
        at, room = w.span()
        w.mappings.append(w.s.mmap(fd, page=page, pages=min(pages, room), at=at))
        return
    gap = int(fd is not None and (fd, page) == w.space.continued)
    pages = min(pages, w.space.pages - gap)
    w.space.pages -= gap + pages
    w.space.continued = None if fd is None else (fd, page + pages)
    w.mappings.append(w.s.mmap(fd, page=page, pages=pages))


def _mmap_file(w: _World) -> None:
    _map(w, w.file())


def _mmap_anonymous(w: _World) -> None:
    _map(w, None)


def _munmap(w: _World) -> None:
    addr, pages = w.span()
    w.s.munmap(addr, pages=pages)


def _write(w: _World) -> None:
    addr, pages = w.span()
    w.s.write(addr, w.budget.value(), pages=pages)


def _read(w: _World) -> None:
    w.s.read(w.span()[0], into=w.budget.name())


def _punch(w: _World) -> None:
    fd = choice(w.draw, w.memfds)[0]
    page, pages = w.part(fd, 0)
    pages = min(pages, w.budget.frames)
    w.budget.frames -= pages
    w.s.fallocate_punch_hole(fd, page=page, pages=pages)


def _dontneed(w: _World) -> None:
    addr, pages = w.span()
    w.s.madvise_dontneed(addr, pages=pages)


def _udmabuf_create(w: _World) -> None:
    fd = w.buffer_of()
    page, pages = w.part(fd, 15)
    w.budget.buffers -= 1
    w.udmabufs.append(w.s.udmabuf_create(fd, page=page, pages=pages))


def _udmabuf_create_list(w: _World) -> None:
    ranges = []
    for _ in range(w.draw.integer(1, 3)):
        fd = w.buffer_of()
        ranges.append((fd, *w.part(fd, 10)))
    w.budget.buffers -= 1
    w.udmabufs.append(w.s.udmabuf_create_list(ranges))


def _add_seals(w: _World) -> None:
    w.s.add_seals(choice(w.draw, w.memfds)[0], choice(w.draw, ADDED))


def _close(w: _World) -> None:
    w.s.close(w.file())


def _exit(w: _World) -> None:
    w.s.exit()


def _device_read(w: _World) -> None:
    assert w.device is not None
    w.device.read(w.span()[0], into=w.budget.name())


def _device_write(w: _World) -> None:
    assert w.device is not None
    w.device.write(w.span()[0], w.budget.value(), into=w.budget.name())


_Weights = list[tuple[int, Callable[[_World], None]]]

_ANY: _Weights = [
    (6, _memfd_create),
    (12, _mmap_file),
    (6, _mmap_anonymous),
    (10, _munmap),
    (16, _write),
    (14, _read),
    (9, _punch),
    (9, _dontneed),
    (9, _udmabuf_create),
    (4, _udmabuf_create_list),
    (8, _add_seals),
    (5, _close),
    (1, _exit),
]
_RACES: _Weights = [
    (4, _mmap_file),
    (2, _mmap_anonymous),
    (9, _munmap),
    (16, _write),
    (16, _read),
    (12, _punch),
    (9, _dontneed),
    (6, _udmabuf_create),
    (4, _add_seals),
    (2, _close),
    (1, _exit),
]

_AGAINST_A_DEVICE: _Weights = [
    (5, _mmap_file),
    (5, _mmap_anonymous),
    (12, _munmap),
    (14, _write),
    (8, _read),
    (8, _punch),
    (12, _dontneed),
    (2, _udmabuf_create),
    (3, _add_seals),
    (1, _close),
]
_BY_THE_DEVICE: _Weights = [(3, _device_read), (2, _device_write)]


def _possible(w: _World, act: Callable[[_World], None]) -> bool:
    left = w.budget
    if act is _memfd_create:
        return left.frames >= 1 and len(w.memfds) < 3
    if act is _mmap_anonymous:
        return left.frames >= 1 and w.space.pages >= 1
    if act is _mmap_file:
        return bool(w.memfds) and w.space.pages >= 2  # one may be a gap
    if act in (_munmap, _write, _read, _dontneed):
        return bool(w.mappings)
    if act is _punch:
        return bool(w.memfds) and left.frames >= 1
    if act in (_udmabuf_create, _udmabuf_create_list):
        return bool(w.memfds) and left.buffers >= 1
    if act in (_add_seals, _close):
        return bool(w.memfds)
    return True


def _draw_ops(w: _World, count: int, weights: _Weights) -> None:
    for _ in range(count):
        here = w.either()
        _do(here, weighted(w.draw, [(n, act) for n, act in weights if _possible(here, act)]))


def _do(w: _World, act: Callable[[_World], None]) -> None:
    """One operation, in its process."""
    with w.process or nullcontext():
        act(w)


def _look(w: _World) -> None:
    """Read every page of every mapping."""
    for here in filter(None, (w, w.other)):
        with here.process or nullcontext():
            for mapping in here.mappings:
                for page in range(mapping.pages):
                    w.s.read(mapping + page, into=w.budget.name())


def _sequential(draw: Draw, s: Recorder, several: bool) -> None:
    w = _World(s, draw, _Budget(), _Space(PAGES))
    _memfd_create(w)
    if several:
        w.add_process(PAGES)
    _draw_ops(w, draw.integer(3, 17), _ANY)
    if chance(draw, 60):
        _look(w)


def _free(draw: Draw, s: Recorder, several: bool) -> None:
    w = _World(s, draw, _Budget(frames=9, buffers=2), _Space(8), most=2)
    _memfd_create(w)
    _mmap_file(w)
    if several:
        w.add_process(6)
        assert w.other is not None
        _do(w.other, _mmap_file)
    if chance(draw, 60):
        _write(w)
    _draw_ops(w, draw.integer(0, 3), _ANY[:-1])
    threads = 3 if chance(draw, 25) else 2
    for number in range(threads):
        here = w if number == 0 else w.either(often=25)
        _thread(s, here, f"t{number}", draw.integer(1, 3 if threads == 2 else 2), _RACES)
    if chance(draw, 60):
        with s.after():
            _look(w)


def _forced(draw: Draw, s: Recorder, several: bool) -> None:
    w = _World(s, draw, _Budget(frames=6, buffers=1), _Space(5), most=2)
    if several or chance(draw, 50):
        _memfd_create(w)
        _mmap_file(w)
    else:
        _mmap_anonymous(w)
    if chance(draw, 70):
        _write(w)
    if several:
        w.add_process(4)
        assert w.other is not None
        _do(w.other, _mmap_file)
    _draw_ops(w, draw.integer(0, 2), [(2, _write), (1, _read), (1, _dontneed), (1, _mmap_anonymous), (1, _munmap)])
    owner = w.either(often=50)
    with owner.process or nullcontext():
        owner.device = s.device()
    if chance(draw, 25):
        _do(owner, _device_read)
    for number in range(2 if chance(draw, 20) else 1):
        _thread(s, w.either(often=30), f"cpu{number}", draw.integer(1, 3), _AGAINST_A_DEVICE)
    _thread(s, owner, "device", draw.integer(1, 2), _BY_THE_DEVICE)
    if chance(draw, 60):
        with s.after():
            _look(w)


def _thread(s: Recorder, w: _World, name: str, count: int, weights: _Weights) -> None:
    inner, of = w.inside(), w.process or s

    def body() -> None:
        _draw_ops(inner, count, weights)

    body.__name__ = name
    of.thread(body)


SEVERAL = 5
"""Of so many scenarios the last has two processes."""

_DRAWN: dict[Kind, Callable[[Draw, Recorder, bool], None]] = {"sequential": _sequential, "free": _free, "forced": _forced}


def generate(kind: Kind, draw: Draw, name: str = "drawn", several: bool = False) -> Scenario:
    """A scenario of a kind, from the choices of `draw`. `several`: with two processes."""
    s = Recorder()
    _DRAWN[kind](draw, s, several)
    return s.scenario(name, "")


def scenario_of(kind: Kind, seed: int, index: int) -> Scenario:
    """Scenario `index` of a seed: always the same one, whatever was drawn before."""
    return generate(kind, Seeded(f"{kind}/{seed}/{index}"), f"{kind}_{seed}_{index}", index % SEVERAL == SEVERAL - 1)


@cache
def fingerprint(kind: Kind) -> str:
    """What tells one version of this generator from another: its first 50 scenarios of seed 0, hashed."""
    hashed = hashlib.sha256()
    for index in range(50):
        made = scenario_of(kind, 0, index)
        for place in made.places():
            hashed.update(f"{place.section} {place.op}\n".encode())
    return hashed.hexdigest()[:16]
