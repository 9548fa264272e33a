"""Drawing one operation of a scenario: its arguments from their declaration, within what is left of the machine.

How often an operation is drawn, and where, its declaration says (`scenario.ops.Often`). Nothing here knows an operation by its name.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from secondsight.agree.draw import Draw, chance, choice
from secondsight.scenario import Address, DeviceHandle, File, Mapping, Process, Recorder
from secondsight.scenario.handles import Pin
from secondsight.scenario.ops import OPS, Arg, ArgType, HandleType, Needs, Op, Operation
from secondsight.world.declare import model_of, on_model
from secondsight.world.encoder import MOVES
from secondsight.world.tables import CLOSES

__all__ = ["Budget", "SpaceLeft", "World", "act", "can_be_drawn", "map_file"]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"  # each store has a value of its own
SEALS = ("shrink", "", "shrink|grow", "seal|shrink", "write", "shrink|write", "future_write", "shrink|future_write", "seal", "grow")
ADDED = ("write", "shrink", "future_write", "seal", "grow", "shrink|write", "")
MOST_MEMFDS = 3
MOST_PINS = 3
PAST_THE_END = {HandleType.MAPPING: 20, HandleType.UDMABUF: 15}
"""In how many of 100 draws the pages of a file reach past its end, by what an operation makes of them."""
GROWS = 50
"""The same of what may make the file larger."""
MOST_OF_A_FILE = 8


@dataclass
class Budget:
    """What is left of the machine; one for the whole scenario."""

    frames: int
    buffers: int = 3
    values: int = 0
    names: int = 0

    def value(self) -> str:
        """A page's value that no other store has, as long as there are such."""
        self.values += 1
        return LETTERS[(self.values - 1) % len(LETTERS)]

    def name(self) -> str:
        """A result's name."""
        self.names += 1
        return f"r{self.names}"

    def allows(self, takes: MappingOf[str, int]) -> bool:
        """Whether it has what an operation takes."""
        return takes.get("frames", 0) <= self.frames and takes.get("udmabufs", 0) <= self.buffers

    def spend(self, takes: MappingOf[str, int]) -> None:
        """Take it."""
        self.frames = max(0, self.frames - takes.get("frames", 0))
        self.buffers -= takes.get("udmabufs", 0)


@dataclass
class SpaceLeft:
    """What is left of an address space."""

    pages: int
    continued: tuple[File, int] | None = None
    """The file and the page that the last mapping ends with: one that goes on there costs a page more (`world.encoder`)."""
    places: int = 0
    """How many mappings have a place of their own that are not a file's: where mappings move more than once each costs a page more."""
    moves: int = 0
    """How often a mapping has moved."""

    def gap(self, fd: File | None, page: int) -> int:
        """The page that lies between the last mapping and one of `fd` from `page` on, if one must."""
        if fd is None:
            return int(self.moves > 1)
        return int((fd, page) == self.continued)

    def move(self) -> None:
        """A mapping moves: from the second time on there are the gaps, those between what there is too."""
        self.moves += 1
        if self.moves == 2:
            self.pages -= self.places


def _even(pages: int) -> int:
    return pages + pages % 2


@dataclass
class World:
    """What a section may use: handles by what they are. `memfds` are (file, does a udmabuf take its seals), `hugetlb` those of them that have huge pages.

    `most`: pages of one file or mapping. `files_mapped`: any mapping of the process is a file's. `process`: in whose block its operations are recorded; `other`: what another process may use.
    `forked`: what children may use that threads have forked; of all threads and sections one list. `around`: of a thread what there was
    before it. `huge`: pages of files come in twos, and so do addresses of mappings, but of those (`odd`) that were made over the second half of one.
    """

    s: Recorder
    draw: Draw
    budget: Budget
    space: SpaceLeft
    memfds: list[tuple[File, bool]] = field(default_factory=list)
    hugetlb: list[File] = field(default_factory=list)
    udmabufs: list[File] = field(default_factory=list)
    mappings: list[Mapping] = field(default_factory=list)
    pins: list[Pin] = field(default_factory=list)
    device: DeviceHandle | None = None
    is_closed: bool = False
    buffer: File | None = None
    dax: File | None = None
    fs_dax: File | None = None
    disk: File | None = None
    userfaultfd: File | None = None
    files_mapped: bool = False
    most: int = 3
    process: Process | None = None
    other: World | None = None
    huge: bool = False
    odd: set[str] = field(default_factory=set)
    forked: list[World] = field(default_factory=list)
    around: World | None = None

    @property
    def is_thread(self) -> bool:
        """Whether it is a thread's."""
        return self.around is not None

    def add_process(self, pages: int) -> None:
        """Another process, which has the same files."""
        self.other = replace(self, space=SpaceLeft(pages), mappings=[], pins=[], userfaultfd=None, files_mapped=False, process=self.s.process())

    def add_child(self, child: Process) -> None:
        """A process that was forked: it has the same mappings, and what it writes of them is its own. Of files it uses those that a thread
        that forks has not made."""
        before = self.around or self
        world = replace(
            self, space=replace(self.space), memfds=list(before.memfds), hugetlb=list(before.hugetlb), udmabufs=list(before.udmabufs), mappings=list(self.mappings), pins=[],
            process=child, other=None, around=None, userfaultfd=None,
        )  # fmt: skip
        if self.is_thread:
            self.forked.append(world)
        else:
            self.other = world

    def either(self, often: int = 60) -> World:
        """Itself, in `often` of 100 draws, or what the other process may use."""
        return self if self.other is None or self.is_thread or chance(self.draw, often) else self.other

    def victim(self) -> Process | None:
        """A process that it may kill: of a thread of the first one the other, or a child that was there before."""
        before = self.around
        return before.other.process if before is not None and before.other is not None and self.process is None else None

    def inside(self) -> World:
        """For a thread: what it makes is its own, what there was it shares."""
        return replace(
            self, memfds=list(self.memfds), hugetlb=list(self.hugetlb), udmabufs=list(self.udmabufs), mappings=list(self.mappings), pins=list(self.pins), process=None,
            around=self,
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

    def is_odd(self, address: Address) -> bool:
        """Whether an address is that of a second half, where pages are huge."""
        return (address.page + (address._handle.name in self.odd)) % 2 == 1

    def part(self, fd: File, past: int) -> tuple[int, int]:
        """Pages of a file, in `past` of 100 draws reaching past its end. One that never came into being may have no page."""
        if fd.pages == 0:
            return 0, 1
        page = self.draw.integer(0, fd.pages - 1)
        if chance(self.draw, past):
            return page, self.draw.integer(1, self.most)
        return page, self.draw.integer(1, fd.pages - page)


FILES = (ArgType.FD, ArgType.MEMFD, ArgType.UDMABUF, ArgType.FS_DAX, ArgType.DISK_FILE, ArgType.RANGES)


def can_be_drawn(w: World, op: Operation) -> bool:
    """Whether there is now what an operation needs, and enough is left for a small one."""
    kinds = [arg.type for arg in op.args.values() if not arg.optional]
    if any(kind in FILES for kind in kinds) and not (_buffers(w, op) if ArgType.UDMABUF in kinds else w.memfds):
        return False
    if (ArgType.ADDRESS in kinds and not w.mappings) or (ArgType.DEVICE in kinds and w.device is None):
        return False
    if model_of(op.name).turns == CLOSES and w.is_closed:  # a second time is the driver's fault, or its user's
        return False
    if (ArgType.BUFFER in kinds and w.buffer is None) or (ArgType.DAX in kinds and w.dax is None) or (ArgType.FS_DAX in kinds and w.fs_dax is None) or (op.needs is Needs.DISK and w.disk is None):
        return False
    if ArgType.PROCESS in kinds and w.victim() is None:
        return False
    if ArgType.USERFAULTFD in kinds and w.userfaultfd is None:
        return False
    if (ArgType.PIN in kinds and not w.pins) or (op.makes is HandleType.PIN and len(w.pins) >= MOST_PINS):
        return False
    if op.forks and (w.other is not None or w.forked or w.process is not None or sum(m.pages for m in w.mappings) > w.budget.frames):
        return False
    if op.makes is HandleType.MEMFD and (len(w.memfds) >= MOST_MEMFDS or (w.huge and w.budget.frames < 2)):
        return False
    if ArgType.FD in op.types and op.needs is Needs.HUGETLB and not w.hugetlb:
        return False
    if op.makes is HandleType.MAPPING and w.space.pages < (4 if w.huge else 2):  # one may be a gap
        return False
    if op.name in MOVES and w.space.moves > 0 and w.space.pages < (w.space.places if w.space.moves == 1 else 0) * (2 if w.huge else 1) + (5 if w.huge else 3):
        return False
    return w.budget.allows(_takes(op, _smallest(op, bool(w.memfds))))


def act(w: World, op: Operation) -> None:
    """One operation, with drawn arguments, in its process."""
    with w.process or nullcontext():
        _record(w, op, _Arguments(w, op).draw())


def map_file(w: World) -> None:
    """A mapping of a file, in its process."""
    with w.process or nullcontext():
        _record(w, OPS["mmap"], _Arguments(w, OPS["mmap"], of_file=True).draw())


def _record(w: World, op: Operation, args: dict[str, Any]) -> None:
    takes = _takes(op, args)
    least = 2 if w.huge and (op.makes is HandleType.MEMFD or (op.makes is HandleType.MAPPING and args.get("fd") is not None)) else 1
    of = next((name for name, arg in op.args.items() if arg.type is ArgType.LENGTH), "pages")
    while not w.budget.allows(takes) and args[of] > least:
        args[of] -= least
        takes = _takes(op, args)
    w.budget.spend(takes)
    named = op.named and (op.loads or op.of is HandleType.DEVICE)
    w.is_closed |= model_of(op.name).turns == CLOSES
    made = w.s._operation(op.name, w.budget.name() if named else None, **args)
    if op.makes is HandleType.MEMFD:
        w.memfds.append((made, "shrink" in args["seals"] and "write" not in args["seals"]))
        if op.needs is Needs.HUGETLB:
            w.hugetlb.append(made)
    elif op.makes is HandleType.UDMABUF:
        w.udmabufs.append(made)
    elif op.makes is HandleType.MAPPING:
        w.mappings.append(made)
        if w.huge and args.get("at") is not None and w.is_odd(args["at"]):
            w.odd.add(made._handle.name)
        w.files_mapped |= args.get("fd") is not None
    elif op.makes is HandleType.PIN:
        w.pins.append(made)
    elif op.forks:
        w.budget.frames -= sum(m.pages for m in w.mappings)
        w.add_child(made)


class _Arguments:
    """The arguments of one operation, drawn in the order in which they depend on each other: a file or an address, then its pages."""

    def __init__(self, w: World, op: Operation, of_file: bool = False) -> None:
        self.w, self.op, self.of_file = w, op, of_file
        self.args: dict[str, Any] = {}

    def draw(self) -> dict[str, Any]:
        """All of them."""
        w, of = self.w, {arg.type: name for name, arg in self.op.args.items()}
        file = self._file(of)
        pages = room = w.most
        for kind in (ArgType.PLACE, ArgType.ADDRESS):
            if kind in of:
                optional = self.op.args[of[kind]].optional
                if not optional or (w.mappings and chance(w.draw, 25)):
                    self.args[of[kind]], pages = w.span()
                    room = pages if kind is ArgType.PLACE else room
        if self.op.name in MOVES:
            if w.huge:
                pages, room = self._evenly(of, pages, room)
            self._move(of, pages, room)
        elif ArgType.PIN in of:
            pin = choice(w.draw, w.pins)
            self.args[of[ArgType.PIN]] = pin
            if ArgType.PAGE in of:
                self.args[of[ArgType.PAGE]] = w.draw.integer(0, pin.pages - 1)
        elif ArgType.PAGE in of:
            self._part(of, file, pages, self.args.get(of.get(ArgType.PLACE, "")) is not None)
        elif w.huge and self.op.makes is HandleType.MEMFD:
            self.args[of[ArgType.COUNT]] = 2 * w.draw.integer(1, max(1, min(w.most, w.budget.frames) // 2))
        elif ArgType.COUNT in of:
            at = self.op.makes is not None and ArgType.ADDRESS not in of
            self.args[of[ArgType.COUNT]] = w.draw.integer(1, min(w.most, w.budget.frames)) if at else pages
        for name, arg in self.op.args.items():
            if name not in self.args:
                self.args[name] = self._alone(arg, file)
        return {name: self.args[name] for name in self.op.args}

    def _file(self, of: dict[ArgType, str]) -> File | None:
        """The file that it is about, if it is about one."""
        kind = next((k for k in of if k in FILES and k is not ArgType.RANGES), None)
        if kind is None:
            return None
        w, arg = self.w, self.op.args[of[kind]]
        if self.op.needs is Needs.HUGETLB:
            file = choice(w.draw, w.hugetlb)
        elif arg.optional and not self.of_file and (not w.memfds or (w.budget.frames >= 1 and chance(w.draw, 33))):
            file = None
        elif self.op.makes is HandleType.UDMABUF:
            file = w.buffer_of()
        elif kind is ArgType.FS_DAX:
            file = w.fs_dax
        elif kind is ArgType.DISK_FILE:
            file = w.disk
        elif kind is ArgType.MEMFD:
            file = choice(w.draw, w.memfds)[0]
        else:
            file = choice(w.draw, _buffers(w, self.op)) if kind is ArgType.UDMABUF else w.file()
        self.args[of[kind]] = file
        return file

    def _move(self, of: dict[ArgType, str], pages: int, room: int) -> None:
        """What moves `pages` pages needs as many at the new place, or as many as it is to have there; over another mapping there is `room`."""
        space, there = self.w.space, pages
        space.move()
        if ArgType.LENGTH in of:
            there = self.w.draw.integer(1, self.w.most) if ArgType.PLACE in of else self._length()
        if self.args.get(of.get(ArgType.PLACE, "")) is not None:
            there = min(there, room)
        else:
            gap = space.gap(None, 0) * (2 if self.w.huge else 1)
            there = min(there, space.pages - gap)
            space.pages -= gap + (_even(there) if self.w.huge else there)
            space.continued, space.places = None, space.places + 1
        if ArgType.LENGTH in of:
            self.args[of[ArgType.LENGTH]] = there
        self.args[of[ArgType.COUNT]] = pages if ArgType.LENGTH in of else there

    def _length(self) -> int:
        """How long something is to be, within the mapping that it is in."""
        at = next(value for name, value in self.args.items() if self.op.args[name].type is ArgType.ADDRESS)
        whole = next(mapping.pages for mapping in self.w.mappings if mapping._handle.name == at._handle.name)
        return self.w.draw.integer(1, whole - at.page)

    def _evenly(self, of: dict[ArgType, str], pages: int, room: int) -> tuple[int, int]:
        """Of huge pages what moves begins as its new place does: with the first half of one, or with the second. How many pages, and for how many
        there is room."""
        w, at = self.w, self.args.get(of[ArgType.PLACE])
        if w.is_odd(self.args[of[ArgType.ADDRESS]]) != (at is not None and w.is_odd(at)):
            first = next(mapping for mapping in w.mappings if not w.is_odd(mapping))
            self.args[of[ArgType.ADDRESS]], self.args[of[ArgType.PLACE]] = first, None
            return first.pages, w.most
        return pages, room

    def _part(self, of: dict[ArgType, str], file: File | None, room: int, over: bool) -> None:
        """Pages of a file, or of anonymous memory; of a new mapping as many as there is room for."""
        w, space = self.w, self.w.space
        if file is None:
            page, pages = 0, w.draw.integer(1, max(1, min(w.most, w.budget.frames)))
        else:
            inside = file is w.dax or any(arg.inside for arg in self.op.args.values())  # a real one goes on behind its end
            past = GROWS if self.op.grows else 0 if inside or self.op.makes is None else PAST_THE_END.get(self.op.makes, 0)
            page, pages = w.part(file, past)
            if self.op.grows:
                pages = max(1, min(pages, MOST_OF_A_FILE - page))
        if w.huge and file is not None and self.op.makes is HandleType.MAPPING:
            page, pages = page - page % 2, max(2, pages - pages % 2)
            left = file.pages - page  # odd, where ftruncate() has said so
            pages = min(pages, max(2, left - left % 2))
            if over and room < pages:
                self.args[of[ArgType.PLACE]], over = None, False
        if self.op.makes is HandleType.MAPPING:
            if over:
                pages = min(pages, room)
            else:
                gap = space.gap(file, page) * (2 if w.huge else 1)
                pages = min(pages, space.pages - gap)
                space.pages -= gap + (_even(pages) if w.huge else pages)
                space.continued = None if file is None else (file, page + pages)
                space.places += file is None
        self.args[of[ArgType.PAGE]] = page
        if ArgType.COUNT in of:  # else it is about one page
            self.args[of[ArgType.COUNT]] = pages

    def _alone(self, arg: Arg, file: File | None) -> Any:
        """An argument that no other depends on."""
        w = self.w
        if arg.type is ArgType.VALUE:
            return w.budget.value()
        if arg.type is ArgType.SEALS:
            return choice(w.draw, ADDED) if self.op.makes is None else choice(w.draw, SEALS) if chance(w.draw, 50) else "shrink"
        if arg.type is ArgType.FLAG:
            return chance(w.draw, 50) and not (arg.anonymous and w.files_mapped)
        if arg.type is ArgType.USERFAULTFD:
            return w.userfaultfd
        if arg.type is ArgType.PROCESS:
            return w.victim()
        if arg.type is ArgType.ADDRESS:
            return w.span()[0]
        if arg.type is ArgType.DEVICE:
            return w.device
        if arg.type is ArgType.BUFFER:
            return w.buffer
        if arg.type is ArgType.DAX:
            return w.dax
        if arg.type is ArgType.LENGTH:
            return self._length()
        if arg.type is ArgType.SIZE:
            assert file is not None
            pages = w.draw.integer(0, min(MOST_OF_A_FILE, max(w.most, file.pages)))
            return pages + pages % 2 if w.huge and chance(w.draw, 80) else pages
        if arg.type is ArgType.HALVES:
            return w.draw.integer(0, 2 * (file.pages if file is not None else w.most) - 1)
        if arg.type is ArgType.LIMIT:
            return w.draw.integer(0, 3)
        if arg.type is ArgType.RANGES:
            return [self._range() for _ in range(w.draw.integer(1, 3))]
        return None

    def _range(self) -> tuple[File, int, int]:
        fd = self.w.buffer_of()
        return (fd, *self.w.part(fd, 10))


def _buffers(w: World, op: Operation) -> list[File]:
    """The udmabufs that an operation may be about: of one that is refused there may be no page."""
    return [buffer for buffer in w.udmabufs if buffer.pages > 0] if any(arg.inside for arg in op.args.values()) else w.udmabufs


def _takes(op: Operation, args: dict[str, Any]) -> dict[str, int]:
    """What an operation takes of the machine."""
    return on_model(Op(op.name, args)).takes(args)


def _smallest(op: Operation, has_file: bool) -> dict[str, Any]:
    """Arguments of the smallest form of an operation, of which what it takes can be asked."""
    small = {ArgType.SIZE: 0, ArgType.COUNT: 1, ArgType.LENGTH: 1, ArgType.PAGE: 0, ArgType.HALVES: 0, ArgType.LIMIT: 0, ArgType.RANGES: ((None, 0, 1),), ArgType.SEALS: "", ArgType.VALUE: "a"}
    return {name: small.get(arg.type, None if arg.optional and not has_file else "a handle") for name, arg in op.args.items()}
