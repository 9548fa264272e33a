"""drivers/dma-buf/dma-buf.c beside `linux.dma_buf`: see c/dma_buf.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.dma_buf_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.lang import Array, Bounds, Errno, Machine, Record, Ref, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import EBUSY, EINVAL, bounds
from secondsight.linux.dma_buf import (
    DmaBuf,
    DmaBufAttachment,
    attachments,
    dma_buf_begin_cpu_access,
    dma_buf_detach,
    dma_buf_dynamic_attach,
    dma_buf_end_cpu_access,
    dma_buf_map_attachment,
    dma_buf_move_notify,
    dma_buf_pin,
    dma_buf_unmap_attachment,
    dma_buf_unpin,
)
from secondsight.linux.mm_types import Count, Driver
from secondsight.linux.page_alloc import frames

__all__ = ["DmaBufFile"]

SLOTS, THREADS = 3, 3

FIXED, CACHING, MOVING = 0, 1, 2


class Op(IntEnum):
    """What a thread does; the numbers are those of c/dma_buf.c."""

    ATTACH = 0
    DETACH = 1
    MAP = 2
    UNMAP = 3
    PIN = 4
    UNPIN = 5
    MOVE = 6
    BEGIN = 7
    END = 8


Number = Annotated[int, Bounds(0, 100)]
Value = Annotated[int, Bounds(-200, 200)]

operation = const("conform.operation", Op)
first = const("conform.first", Number)


class Results(Record):
    """What each thread's last operation returned, and how many callbacks of importers there were."""

    of: Array[Value, Literal[3]]
    turn: Number


results = shared(Results)


class Exporter(DmaBuf):
    """An exporter that never moves its buffer; `frame`: which frame it is now."""

    frame: Number = 1
    maps: Value
    pins: Value
    cpus: Value
    refuses_map: bool
    refuses_pin: bool

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        with atomic:
            ret = -EBUSY
            if not self.refuses_map:
                self.maps += 1
                attach.sgt[0] = frames[self.frame]
                ret = 0
        return ret

    def unmap_dma_buf(self, attach: DmaBufAttachment) -> None:
        self.maps -= 1

    def begin_cpu_access(self, write: bool) -> Errno:
        with atomic:
            ret = -EBUSY if self.refuses_map else 0
            if ret == 0:
                self.cpus += 2 if write else 1
        return ret

    def end_cpu_access(self, write: bool) -> Errno:
        with atomic:
            ret = -EINVAL if self.refuses_pin else 0
            if ret == 0:
                self.cpus -= 2 if write else 1
        return ret


class Caching(Exporter):
    """One that keeps mappings."""

    def cache_sgt_mapping(self) -> bool:
        return True


class Moving(Exporter):
    """One that moves its buffer."""

    def is_dynamic(self) -> bool:
        return True

    def pin(self, attach: DmaBufAttachment) -> Errno:
        with atomic:
            ret = -EINVAL if self.refuses_pin else 0
            if ret == 0:
                self.pins += 1
        return ret

    def unpin(self, attach: DmaBufAttachment) -> None:
        self.pins -= 1


class Importer(Driver):
    """An importer that notes its calls."""

    buffer: Ref[Exporter]
    attach: Ref[DmaBufAttachment]
    dynamic: bool
    obeys: bool
    count: Number
    turn: Number

    def move_notify(self) -> None:
        with atomic:
            results.turn += 1
            self.count += 1
            self.turn = results.turn
            attach = self.attach
            buffer = self.buffer
            gives_back = self.obeys and attach is not None and attach.mapped
        if gives_back:
            assert buffer is not None
            assert attach is not None
            dma_buf_unmap_attachment(buffer, attach)


def attach_one(buffer: Exporter, me: Importer) -> Value:
    """Attach an importer that is not attached."""
    with atomic:
        attached = me.attach is not None
        dynamic = me.dynamic
    if attached:
        return 1
    attach = dma_buf_dynamic_attach(buffer, me, dynamic)
    me.attach = attach
    return 0 if attach is not None else -1


def detach_one(buffer: Exporter, me: Importer) -> Value:
    """Detach an importer."""
    with atomic:
        attach = me.attach
        me.attach = None
    if attach is None:
        return 1
    dma_buf_detach(buffer, attach)
    return 0


def with_lock(buffer: Exporter, me: Importer, op: Op) -> Value:
    """What an importer does under the reservation lock."""
    attach = me.attach
    if attach is None:
        return 1
    ret: Value = 0
    buffer.resv.lock()
    if op == Op.MAP:
        ret = dma_buf_map_attachment(buffer, attach)
    elif op == Op.PIN:
        ret = dma_buf_pin(buffer, attach)
    elif op == Op.UNPIN:
        dma_buf_unpin(buffer, attach)
    elif attach.mapped:
        dma_buf_unmap_attachment(buffer, attach)
    else:
        ret = 1
    buffer.resv.unlock()
    return ret


def move(buffer: Exporter) -> None:
    """The exporter moves its buffer."""
    buffer.resv.lock()
    dma_buf_move_notify(buffer)
    buffer.frame = 3 - buffer.frame
    buffer.resv.unlock()


def cpu_access(buffer: Exporter, op: Op, number: Number) -> Value:
    """A CPU begins to use the buffer, or ends: to read, or for an odd number to write."""
    write = number % 2 == 1
    if op == Op.BEGIN:
        ret = dma_buf_begin_cpu_access(buffer, write)
    else:
        ret = dma_buf_end_cpu_access(buffer, write)
    return ret


def script(buffer: Exporter, i0: Importer, i1: Importer, i2: Importer, thread: Count, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        a = first[at]
        ret: Value = 0
        if op == Op.MOVE:
            move(buffer)
        elif op == Op.BEGIN or op == Op.END:
            ret = cpu_access(buffer, op, a)
        elif op == Op.ATTACH:
            ret = attach_one(buffer, i0 if a == 0 else i1 if a == 1 else i2)
        elif op == Op.DETACH:
            ret = detach_one(buffer, i0 if a == 0 else i1 if a == 1 else i2)
        else:
            ret = with_lock(buffer, i0 if a == 0 else i1 if a == 1 else i2, op)
        results.of[thread] = ret
        at += 1


LOCK, UNLOCK, BACK = Stop("resv_lock"), Stop("resv_unlock"), Stop("back")
LOCKED, OPERATION, ENDED = Stop("locked"), Stop("operation"), Stop("result")


class DmaBufFile(Target):
    """drivers/dma-buf/dma-buf.c."""

    file = "drivers/dma-buf/dma-buf.c"
    model = "dma_buf.py"
    c = "dma_buf.c"
    linked = ("lib/list_debug.c",)
    releases = ("6.12",)
    functions = (
        "dma_buf_attach", "dma_buf_dynamic_attach", "dma_buf_detach", "__map_dma_buf", "__unmap_dma_buf", "dma_buf_map_attachment",
        "dma_buf_unmap_attachment", "dma_buf_pin", "dma_buf_unpin", "dma_buf_move_notify", "dma_buf_begin_cpu_access",
        "__dma_buf_begin_cpu_access", "dma_buf_end_cpu_access",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "results.of[thread] = ret", Stop("result")),
        # Attaching and detaching.
        Crossing("attach_one", "with atomic: attached", OPERATION),
        Crossing("dma_buf_dynamic_attach", "with atomic: attach = attachments.alloc()", Stop("attach")),
        Crossing("dma_buf_dynamic_attach", "with atomic: dmabuf.resv.lock()", LOCK),
        Crossing("dma_buf_dynamic_attach", "dmabuf.resv.unlock()", UNLOCK),
        Crossing("dma_buf_dynamic_attach", "dmabuf.resv.lock()", LOCK),
        Crossing("dma_buf_dynamic_attach", "with atomic: dmabuf.resv.unlock()", UNLOCK),
        Crossing("attach_one", "me.attach = attach", Stop("attached")),
        Crossing("detach_one", "with atomic: attach = me.attach", OPERATION),
        Crossing("dma_buf_detach", "with atomic: dmabuf.resv.lock()", LOCK),
        Crossing("dma_buf_detach", "attachments_del(", BACK),
        Crossing("dma_buf_detach", "dmabuf.resv.unlock()", UNLOCK),
        # Under the reservation lock.
        Crossing("with_lock", "attach = me.attach", OPERATION),
        Crossing("with_lock", "buffer.resv.lock()", LOCK),
        Crossing("dma_buf_map_attachment", "with atomic: require(", LOCKED),
        Crossing("dma_buf_map_attachment", "attach.mapped = True", BACK),
        Crossing("dma_buf_pin", "with atomic: require(", LOCKED),
        Crossing("dma_buf_unpin", "with atomic: require(", LOCKED),
        Crossing("with_lock", "elif attach.mapped", LOCKED),
        Crossing("dma_buf_unmap_attachment", "with atomic: require(", Stop("give_back")),
        Crossing("dma_buf_unmap_attachment", "with atomic: attach.mapped = False", BACK),
        Crossing("with_lock", "buffer.resv.unlock()", UNLOCK),
        # The buffer moves.
        Crossing("move", "buffer.resv.lock()", LOCK),
        Crossing("dma_buf_move_notify", "with atomic: require(", LOCKED),
        Crossing("Importer.move_notify", "with atomic:", Stop("move_notify")),
        Crossing("dma_buf_move_notify", "with atomic: at = next_dynamic(", Stop("moved")),
        Crossing("move", "buffer.frame = ", Stop("move")),
        Crossing("move", "buffer.resv.unlock()", UNLOCK),
        # The exporter.
        *(Crossing(f"{kind}.map_dma_buf", "with atomic:", Stop("map")) for kind in ("Exporter", "Caching", "Moving")),
        *(Crossing(f"{kind}.unmap_dma_buf", "self.maps -= 1", Stop("unmap")) for kind in ("Exporter", "Caching", "Moving")),
        *(Crossing(f"{kind}.{edge}_cpu_access", "with atomic:", Stop(edge)) for kind in ("Exporter", "Caching", "Moving") for edge in ("begin", "end")),
        Crossing("Moving.pin", "with atomic:", Stop("pin")),
        Crossing("Moving.unpin", "self.pins -= 1", Stop("unpin")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {BACK: "where our own exporter returns; the way from there to the next place is empty"}
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"not-dynamic": ("warning",)}
    differences = (
        StateDifference(
            "CONFIG_DMABUF_MOVE_NOTIFY",
            "the packaged kernels are built without it; the model, and the file as it is compiled here, have it. Without it a buffer is "
            "pinned for as long as it is mapped, so that nobody is ever told of a move",
            "may raise a false alarm",
        ),
        StateDifference(
            "other releases",
            "Linux 6.1 takes the reservation lock for dynamic importers and exporters alone; in 7.2 an attachment is never mapped when "
            "it is made, a buffer is pinned while an importer that is not dynamic has it mapped, and cache_sgt_mapping is gone. The "
            "model is 6.12 and is asked as that",
            "may hide",
        ),
        StateDifference(
            "dma_buf_map_attachment() of what is mapped and not cached",
            "the kernel makes a second sg table and the first one stays valid; the model forgets the first",
            "may hide",
        ),
        StateDifference("fences", "there are none here: dma_resv_wait_timeout() returns at once, as the model does (drivers/dma-buf/dma-resv.c has them)", "neither"),
        StateDifference("dma_buf_export(), file descriptors, dma_buf_mmap(), vmap", "not run: files and mappings are other files' concern", "neither"),
    )

    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def definitions(self, release: str) -> tuple[str, ...]:
        return ("CONFIG_DMABUF_MOVE_NOTIFY=1",)

    def draw(self, source: random.Random, release: str) -> Configuration:
        kind = source.choice([FIXED, CACHING, MOVING, MOVING, MOVING])
        setup = [kind, int(source.random() < 0.2), int(source.random() < 0.15)]
        dynamic = []
        for _ in range(SLOTS):
            dynamic.append(source.random() < 0.7)
            setup += [int(dynamic[-1]), int(source.random() < 0.6), int(source.random() < 0.4)]
        threads = []
        count = source.randint(2, THREADS)
        for number in range(count):
            mine = [slot for slot in range(SLOTS) if slot % count == number]
            operations = []
            for _ in range(source.randint(1, 5)):
                op = source.choice([Op.ATTACH, Op.ATTACH, Op.DETACH, Op.MAP, Op.MAP, Op.UNMAP, Op.UNMAP, Op.MOVE, Op.MOVE, Op.PIN, Op.UNPIN, Op.BEGIN, Op.END])
                slot = source.choice(mine)
                if op in (Op.PIN, Op.UNPIN) and not dynamic[slot] and source.random() < 0.8:
                    op = Op.MOVE
                operations.append(task(op, slot))
            threads.append(tuple(operations))
        return Configuration(tuple(setup), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        new, there, obeys, plain, plain_there = (1, 0, 0), (1, 0, 1), (1, 1, 1), (0, 0, 0), (0, 0, 1)

        def does(slot: int, *ops: Op) -> tuple[TargetOperation, ...]:
            return tuple(task(op, slot) for op in ops)

        attach, detach, map_, unmap, pin, unpin, moves, begin, end = Op
        for kind in (FIXED, CACHING, MOVING):
            yield Configuration((kind, 0, 0, *new, *plain, *obeys), (does(0, attach, map_, detach), does(1, attach, map_, detach), does(2, moves)))
            yield Configuration((kind, 0, 0, *obeys, *there, *plain_there), (does(0, map_, unmap), does(1, map_, map_, detach), does(2, moves, moves)))
        for refuses in ((1, 0), (0, 1), (1, 1)):
            yield Configuration((MOVING, *refuses, *plain, *there, *new), (does(0, attach, attach), does(1, map_, pin, unpin), does(2, attach, moves)))
            yield Configuration((FIXED, *refuses, *new, *plain, *there), (does(0, attach, map_, detach), does(1, attach, map_), does(2, pin, detach)))
        yield Configuration((MOVING, 0, 0, *there, *obeys, *plain_there), (does(0, pin, unpin, detach), does(1, map_, detach), does(2, map_, unmap, moves)))
        yield Configuration((MOVING, 0, 0, *there, *plain_there, *new), (does(0, detach, attach), does(1, pin), does(2, attach, moves)))
        for refuses in ((0, 0), (1, 0), (0, 1)):
            yield Configuration((MOVING, *refuses, *there, *plain, *new), (does(0, begin, map_, end), does(1, attach, begin, end), does(2, moves, begin)))

    def scene(self, configuration: Configuration) -> Scene:
        kind, refuses_pin, refuses_map = configuration.setup[:3]
        tasks = [task for thread in configuration.threads for task in thread]
        data: dict[str, list[int]] = {
            "conform.operation": [Op(task.code) for task in tasks],
            "conform.first": [task.arguments[0] for task in tasks],
        }
        of_kind: type[Exporter] = (Exporter, Caching, Moving)[kind]
        sizes = bounds(attachments=SLOTS, dmabuf_pages=1)
        machine = Machine(bounds=sizes, pools={of_kind: 1, Importer: SLOTS}, data=data)
        with machine:
            buffer = machine.pool(of_kind).alloc()
            importers = []
            for slot in range(SLOTS):
                importer = machine.pool(Importer).alloc()
                dynamic, obeys, attached = configuration.setup[3 + slot * 3 : 6 + slot * 3]
                importer.buffer, importer.dynamic, importer.obeys = buffer, bool(dynamic), bool(obeys)
                if attached:
                    attach_one(buffer, importer)
                importers.append(importer)
            buffer.refuses_pin, buffer.refuses_map = bool(refuses_pin), bool(refuses_map)
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (buffer, *importers, number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, buffer, importers, len(threads)))


def task(op: Op, argument: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), (argument,))


def _look(program: Program, buffer: Exporter, importers: list[Importer], threads: int) -> Callable[[bytes], str]:
    """The look that c/dma_buf.c has."""
    eyes = Eyes(program)
    of = eyes.array(results, "of")[:threads]
    turn, owner = eyes.field(results, "turn"), eyes.field(buffer.resv, "owner")
    frame, maps, pins = (eyes.field(buffer, name) for name in ("frame", "maps", "pins"))
    cpus = eyes.field(buffer, "cpus")
    listed = eyes.array(buffer, "attachments")
    importer_at = {eyes.offset(importer): i for i, importer in enumerate(importers)}
    held = [eyes.field(importer, "attach") for importer in importers]
    told = [(eyes.field(importer, "count"), eyes.field(importer, "turn")) for importer in importers]
    frame_at = {eyes.offset(frames[i]): i for i in range(len(frames))} | {0: 0}
    each = {eyes.offset(one): (*(eyes.field(one, n) for n in ("importer", "dynamic", "mapped")), eyes.array(one, "sgt")[0]) for one in attachments}

    def attachment(state: bytes, at: int) -> str:
        importer, dynamic, mapped, sgt = each[at]
        number = importer_at[importer(state)]
        if mapped(state) and (buffer.cache_sgt_mapping() or bool(dynamic(state)) != buffer.is_dynamic()):
            return f"{number}+{frame_at[sgt(state)]}"
        if mapped(state) and held[number](state) == at:
            return f"{number}={frame_at[sgt(state)]}"
        return f"{number}-0"

    def look(state: bytes) -> str:
        order = "".join(attachment(state, at) for at in (read(state) for read in listed) if at)
        return "".join(f"{read(state)} " for read in of) + (
            f"resv={int(owner(state) != 0)} frame={frame(state)} maps={maps(state)} pins={pins(state)} cpus={cpus(state)} turn={turn(state)} list={order}"
            + "".join(f" told={count(state)}:{when(state)}" for count, when in told)
        )

    return look
