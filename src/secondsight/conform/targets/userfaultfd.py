"""fs/userfaultfd.c beside `linux.userfaultfd`: see c/userfaultfd.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.userfaultfd_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.lang import Array, Bounds, Machine, Record, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.errno import EAGAIN
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_flags import FAULT_FLAG_ALLOW_RETRY, UFFD_MINOR, UFFD_MISSING, UFFD_WP, VM_FAULT_RETRY, VM_UFFD_FLAGS
from secondsight.linux.mm_types import Count, Flags, Mm, UffdEvent, UserfaultfdCtx, Va, VaEnd
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import frames, mem_init
from secondsight.linux.userfaultfd import (
    find_message,
    handle_userfault,
    read_message,
    userfaultfd_armed,
    userfaultfd_remove,
    userfaultfd_unmap_complete,
    userfaultfd_unmap_prep,
    wake_userfault,
)

__all__ = ["UserfaultfdFile"]

PAGES, THREADS = 4, 4


class Op(IntEnum):
    """What a thread does; the numbers are those of c/userfaultfd.c."""

    FAULT = 0
    SET = 1
    WAKE = 2
    READ = 3
    REMOVE = 4
    UNMAP = 5
    RELEASE = 6


Number = Annotated[int, Bounds(0, 100)]
Value = Annotated[int, Bounds(-200, 400)]

operation = const("conform.operation", Op)
first = const("conform.first", Number)
second = const("conform.second", Number)
third = const("conform.third", Number)


class Results(Record):
    """What each thread's last operation returned."""

    of: Array[Value, Literal[4]]


results = shared(Results)


@atomic
def armed(mm: Mm) -> bool:
    """Whether the memory is registered."""
    vma = mm.mm_mt[0]
    assert vma is not None
    return userfaultfd_armed(vma)


def fault(mm: Mm, page: Va, why: Count, may_retry: bool) -> Value:
    """handle_mm_fault() of memory that is registered: 1, the mmap lock was given up; 2, a signal; 0: it is not registered."""
    mm.mmap_lock.read_lock()
    ret: Flags = 0
    registered = armed(mm)
    if registered:
        ret = handle_userfault(mm, page, FAULT_FLAG_ALLOW_RETRY if may_retry else 0, why)
    if ret & VM_FAULT_RETRY == 0:
        mm.mmap_lock.read_unlock()
    return 1 if ret & VM_FAULT_RETRY != 0 else 2 if ret != 0 else 0


@atomic
def set_entry(mm: Mm, page: Va, value: Number) -> None:
    """Somebody answers: 1, the page is there, 2, and may be written; 0: it goes."""
    pte = mm.ptes[page]
    pte.frame = frames[1] if value > 0 else None
    pte.writable = value == 2


@atomic
def read(ctx: UserfaultfdCtx) -> Value:
    """A read of the file descriptor that does not block."""
    at = find_message(ctx)
    if at == 0:
        return -EAGAIN
    message = ctx.waits[at - 1]
    ret: Value = 0
    if message.event == UffdEvent.PAGEFAULT:
        ret = 100 + 3 * message.start + message.why
    else:
        ret = (200 if message.event == UffdEvent.REMOVE else 300) + 10 * message.start + message.end
    read_message(ctx, at - 1)
    return ret


def remove(mm: Mm, start: Va, end: VaEnd) -> Value:
    """MADV_DONTNEED, up to where the pages go: 1: nobody wants to know."""
    mm.mmap_lock.read_lock()
    kept = userfaultfd_remove(mm, start, end)
    if kept:
        mm.mmap_lock.read_unlock()
    return 1 if kept else 0


def unmap(mm: Mm, start: Va, end: VaEnd) -> Value:
    """munmap, but for what goes: 1: somebody was told."""
    mm.mmap_lock.write_lock()
    told = userfaultfd_unmap_prep(mm, start, end)
    mm.mmap_lock.write_unlock()
    if told:
        userfaultfd_unmap_complete(mm, start, end)
    return 1 if told else 0


def release(mm: Mm) -> None:
    """userfaultfd_release(), where one vma is registered."""
    mm.userfaultfd[0].released = True
    mm.mmap_lock.write_lock()
    with atomic:
        vma = mm.mm_mt[0]
        assert vma is not None
        vma.flags[0] = 0
        mm.mmap_lock.write_unlock()
    wake_userfault(mm.userfaultfd[0], 0, len(mm.ptes))


def script(mm: Mm, thread: Number, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        ret: Value = 0
        if op == Op.FAULT:
            ret = fault(mm, first[at], second[at], third[at] == 1)
        elif op == Op.SET:
            set_entry(mm, first[at], second[at])
        elif op == Op.WAKE:
            wake_userfault(mm.userfaultfd[0], first[at], second[at])
        elif op == Op.READ:
            ret = read(mm.userfaultfd[0])
        elif op == Op.REMOVE:
            ret = remove(mm, first[at], second[at])
        elif op == Op.UNMAP:
            ret = unmap(mm, first[at], second[at])
        else:
            release(mm)
        results.of[thread] = ret
        at += 1


class UserfaultfdFile(Target):
    """fs/userfaultfd.c."""

    file = "fs/userfaultfd.c"
    model = "userfaultfd.py"
    c = "userfaultfd.c"
    releases = ("6.12",)
    functions = (
        "handle_userfault", "userfaultfd_must_wait", "userfaultfd_wake_function", "userfaultfd_event_wait_completion", "userfaultfd_event_complete",
        "userfaultfd_remove", "has_unmap_ctx", "userfaultfd_unmap_prep", "userfaultfd_unmap_complete", "userfaultfd_release", "find_userfault_in",
        "find_userfault", "find_userfault_evt", "userfaultfd_ctx_read", "__wake_userfault", "wake_userfault", "userfault_msg",
    )  # fmt: skip
    model_functions = (
        "handle_userfault", "userfaultfd_must_wait", "add_wait", "remove_wait", "end_wait", "find_message", "read_message", "wake_userfault",
        "userfaultfd_event_wait_completion", "mmap_changes", "userfaultfd_remove", "userfaultfd_unmap_prep", "userfaultfd_unmap_complete", "is_registered",
        "userfaultfd_armed",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "results.of[thread] = ret", Stop("result")),
        Crossing("script", "set_entry(", Stop("set")),
        Crossing("script", "wake_userfault(", Stop("wake")),
        Crossing("script", "ret = read(", Stop("read")),
        Crossing("fault", "mm.mmap_lock.read_lock()", Stop("down_read", "do_fault")),
        Crossing("fault", "registered = armed(", Stop("registered")),
        Crossing("fault", "mm.mmap_lock.read_unlock()", Stop("up_read", "do_fault")),
        Crossing("handle_userfault", "with atomic: ctx = mm.userfaultfd[0]", Stop("fault")),
        Crossing("handle_userfault", "with atomic: must_wait =", Stop("entry", "userfaultfd_must_wait")),
        Crossing("handle_userfault", "wait_until(", Stop("schedule", "handle_userfault")),
        Crossing("handle_userfault", "end_wait(", Stop("spin_lock", "handle_userfault"), (Stop("result"),)),
        Crossing("remove", "mm.mmap_lock.read_lock()", Stop("down_read", "do_remove")),
        Crossing("remove", "mm.mmap_lock.read_unlock()", Stop("up_read", "do_remove")),
        Crossing("userfaultfd_remove", "with atomic: ctx = mm.userfaultfd[0]", Stop("remove")),
        Crossing("userfaultfd_remove", "with atomic: ctx.map_changing_lock", Stop("down_write", "userfaultfd_remove")),
        Crossing("userfaultfd_event_wait_completion", "i = add_wait(", Stop("spin_lock", "userfaultfd_event_wait_completion")),
        Crossing("userfaultfd_event_wait_completion", "wait_until(", Stop("schedule", "userfaultfd_event_wait_completion"), (Stop("event_unlock"),)),
        Crossing(
            "userfaultfd_event_wait_completion", "with atomic: end_wait(", Stop("spin_lock", "userfaultfd_event_wait_completion"), (Stop("event_unlock"),)
        ),
        Crossing("unmap", "mm.mmap_lock.write_lock()", Stop("down_write", "do_unmap")),
        Crossing("unmap", "mm.mmap_lock.write_unlock()", Stop("up_write", "do_unmap")),
        Crossing("userfaultfd_unmap_prep", "with atomic: ctx = mm.userfaultfd[0]", Stop("unmap")),
        Crossing("mmap_changes", "with atomic: ctx.map_changing_lock", Stop("down_write", "userfaultfd_unmap_prep")),
        Crossing("release", "mm.userfaultfd[0].released = True", Stop("release")),
        Crossing("release", "mm.mmap_lock.write_lock()", Stop("down_write", "userfaultfd_release_all")),
        Crossing("release", "with atomic: vma = mm.mm_mt[0]", Stop("up_write", "userfaultfd_release_all")),
        Crossing("release", "wake_userfault(", Stop("spin_lock", "userfaultfd_release")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("spin_lock", "handle_userfault"): "before it there is only a look at `released`, which is looked at again before the thread would wait",
        Stop("up_read", "handle_userfault"): "the entry was looked at before it, `released` after it: whoever releases wakes those who wait by then",
        Stop("spin_lock", "userfaultfd_ctx_read"): "see `reading`, below",
        Stop("spin_lock", "__wake_userfault"): "before it there is only a look whether anybody waits at all",
        Stop("up_write", "userfaultfd_remove"): "nobody reads what it guards without the lock and minds",
        Stop("up_read", "userfaultfd_remove"): "the mmap lock is held for reading a moment longer",
        Stop("up_write", "userfaultfd_unmap_prep"): "the mmap lock is held for writing meanwhile",
        Stop("schedule", "userfaultfd_event_wait_completion"): "woken already",
        Stop("spin_lock", "userfaultfd_event_wait_completion"): "what it waited for does not come back",
        Stop("event_unlock"): "the same: nothing is left to do but to count",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    differences = (
        StateDifference(
            "reading",
            "the kernel looks for faults and then, under another lock, for events; the model looks at both at once. In the kernel a read may so "
            "return an event though a fault that came a moment before it is still to be read",
            "may hide",
        ),
        StateDifference(
            "a read that blocks",
            "the kernel wakes it where a fault goes to sleep; the model where there is a message, also that of a fault that will not sleep",
            "neither",
        ),
        StateDifference("fork, mremap", "not in this conformer: their messages are made by other functions of the file, and wait by the same", "may hide"),
        StateDifference("several vmas, several userfaultfds of a process", "one of each here; a model's process has one", "may hide"),
        StateDifference("fatal signals", "not in this conformer", "may hide"),
    )

    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def draw(self, source: random.Random, release: str) -> Configuration:
        setup = (int(source.random() < 0.06), int(source.random() < 0.85), *(source.choice([0, 0, 1, 2]) for _ in range(PAGES)))
        threads = [tuple(_operation(source) for _ in range(source.randint(1, 5))) for _ in range(source.randint(2, THREADS))]
        if source.random() < 0.4:  # who has the file descriptor closes it, and nobody else reads
            others = [tuple(o for o in thread if o.code not in (Op.READ, Op.WAKE)) for thread in threads[1:]]
            threads = [(*threads[0], task(Op.RELEASE)), *(thread or (task(Op.FAULT, 1, 0, 1),) for thread in others)]
        return Configuration(setup, tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        touch, write, read, closed = task(Op.FAULT, 1, 0, 1), task(Op.FAULT, 2, 1, 1), task(Op.READ), task(Op.RELEASE)
        fills, wakes, remove, unmap = task(Op.SET, 1, 2), task(Op.WAKE, 1, 2), task(Op.REMOVE, 1, 3), task(Op.UNMAP, 0, 2)
        yield Configuration((0, 1, 0, 0, 1, 0), ((touch,), (touch, read), (fills, wakes, read)))
        yield Configuration((0, 1, 0, 0, 1, 0), ((write,), (touch,), (read, task(Op.SET, 2, 2), task(Op.WAKE, 0, 3), read)))
        yield Configuration((0, 1, 0, 0, 1, 0), ((remove,), (touch,), (read, read, wakes)))
        yield Configuration((0, 1, 0, 0, 1, 0), ((unmap,), (remove,), (read, read)))
        yield Configuration((0, 1, 0, 0, 1, 0), ((remove,), (touch,), (read, closed)))
        yield Configuration((0, 1, 0, 0, 1, 0), ((unmap,), (write, remove), (closed,)))
        yield Configuration((0, 0, 0, 0, 1, 0), ((unmap, remove), (touch,), (task(Op.FAULT, 1, 0, 0), fills, wakes)))
        yield Configuration((1, 1, 0, 0, 1, 0), ((unmap,), (touch,), (read,)))

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        data: dict[str, list[int]] = {
            "conform.operation": [Op(task.code) for task in tasks],
            **{f"conform.{name}": [task.arguments[i] for task in tasks] for i, name in enumerate(("first", "second", "third"))},
        }
        wanted = bounds(pages=PAGES, vmas=1, frames=2, userfaultfd=1, userfaults=THREADS, vma_flags=1)
        machine = Machine(bounds=wanted, data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            link_new_vma(mm, 0, PAGES, None, 0, True)
            vma = mm.mm_mt[0]
            assert vma is not None
            vma.flags[0] = VM_UFFD_FLAGS
            ctx = mm.userfaultfd[0]
            ctx.opened = ctx.handed = True
            ctx.sigbus, ctx.events = bool(setup[0]), bool(setup[1])
            for i in range(PAGES):
                set_entry(mm, i, setup[2 + i])
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (mm, number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, mm, len(threads)))


def task(op: Op, one: int = 0, two: int = 0, three: int = 0) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), (one, two, three))


def _operation(source: random.Random) -> TargetOperation:
    op = source.choice([Op.FAULT, Op.FAULT, Op.FAULT, Op.SET, Op.SET, Op.WAKE, Op.READ, Op.READ, Op.REMOVE, Op.UNMAP])
    page = source.randrange(PAGES)
    if op == Op.FAULT:
        return task(op, page, source.choice([UFFD_MISSING, UFFD_MISSING, UFFD_WP, UFFD_WP, UFFD_MINOR]), int(source.random() < 0.9))
    if op == Op.SET:
        return task(op, page, source.choice([0, 1, 2, 2]))
    end = PAGES if op == Op.WAKE and source.random() < 0.5 else source.randint(page + 1, PAGES)
    return task(op, page, end) if op != Op.READ else task(op)


def _look(program: Program, mm: Mm, threads: int) -> Callable[[bytes], str]:
    """The look that c/userfaultfd.c has."""
    eyes = Eyes(program)
    ctx = mm.userfaultfd[0]
    of = eyes.array(results, "of")[:threads]
    mmap, changing, released = eyes.semaphore(mm.mmap_lock), eyes.field(ctx, "mmap_changing"), eyes.field(ctx, "released")
    queue = eyes.array(ctx, "queue")
    waits = [tuple(eyes.field(wait, name) for name in ("event", "start", "end", "why", "waken")) for wait in ctx.waits]

    def look(state: bytes) -> str:
        now = [tuple(read(state) for read in wait) for wait in waits]
        order = [read(state) - 1 for read in queue if read(state)]
        pending = [_message(*now[i][:4]) for i in order if now[i][0] == UffdEvent.PAGEFAULT]
        events = [_message(*now[i][:4]) for i in order if now[i][0] != UffdEvent.PAGEFAULT and not released(state)]
        waiting = sorted(_message(*one[:4]) for i, one in enumerate(now) if one[0] == UffdEvent.PAGEFAULT and not one[4] and i not in order)
        parts = [f"mmap={mmap(state)} changing={changing(state)} released={released(state)}"]
        parts += [f"{name}={''.join(f':{one}' for one in some)}" for name, some in (("pending", pending), ("read", waiting), ("events", events))]
        return "".join(f"{read(state)} " for read in of) + " ".join(parts)

    return look


def _message(event: Count, start: Va, end: VaEnd, why: Count) -> int:
    """A message as a number."""
    if event == UffdEvent.PAGEFAULT:
        return 100 + 3 * start + why
    return (200 if event == UffdEvent.REMOVE else 300) + 10 * start + end
