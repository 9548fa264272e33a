"""mm/memremap.c beside `linux.memremap` and `linux.memremap_private`: see c/memremap.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.memremap_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.lang import Array, Bounds, Machine, Record, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.memremap import DevPagemap, get_dev_pagemap, memremap_pages, memunmap_pages, put_dev_pagemap
from secondsight.linux.memremap_private import PrivatePagemap, memremap_private, memunmap_private, zone_device_page_init
from secondsight.linux.mm_types import Count, Driver, Folio
from secondsight.linux.page_alloc import frames, mem_init

__all__ = ["MemremapFile"]

PAGES, THREADS = 2, 4


class Op(IntEnum):
    """What a thread does; the numbers are those of c/memremap.c."""

    GET = 0
    PUT = 1
    GIVE = 2
    UNLOCK = 3
    FREE = 4
    UNMAP = 5
    GET_CACHED = 6


Number = Annotated[int, Bounds(0, 100)]

operation = const("conform.operation", Op)
first = const("conform.first", Number)


class Memory(PrivatePagemap):
    """A device's memory, whose driver counts what it is given back."""

    freed: Array[Count, Literal[2]]

    @atomic
    def page_free(self, folio: Folio) -> None:
        self.freed[0 if folio is self.pages[0] else 1] += 1


class Owner(Driver):
    """The driver that the memory is of."""


class World(Record):
    """What each thread's last operation returned, how many references to the pagemap it has, and the memory that is private."""

    of: Array[Count, Literal[4]]
    held: Array[Count, Literal[4]]
    memory: Memory
    owner: Owner


world = shared(World)


@atomic
def get(pgmap: DevPagemap, thread: Number, page: Number) -> Count:
    """A reference by the number of a page's frame."""
    if get_dev_pagemap(frames[1 + page]) is None:
        return 0
    world.held[thread] += 1
    return 1


@atomic
def get_cached(pgmap: DevPagemap, thread: Number, page: Number) -> Count:
    """The same by who has a reference, and gives it: 2 if it is the answer, 1 if there is none any more. The last page is not the pagemap's."""
    if world.held[thread] == 0:
        return 0
    if get_dev_pagemap(frames[1 + page], pgmap) is not None:
        return 2
    world.held[thread] -= 1
    return 1


@atomic
def put(pgmap: DevPagemap, thread: Number) -> Count:
    """Drop a reference, if the thread has one."""
    if world.held[thread] == 0:
        return 0
    world.held[thread] -= 1
    put_dev_pagemap(pgmap)
    return 1


@atomic
def give(page: Number) -> None:
    """A driver gives a page out, unless its memory has gone."""
    folio = world.memory.pages[page]
    if folio is not None:
        zone_device_page_init(folio, world.memory)


@atomic
def unlock(page: Number) -> None:
    """Who has the page unlocks it."""
    folio = world.memory.pages[page]
    if folio is not None:
        folio.locked = False


@atomic
def free(page: Number) -> None:
    """The last reference to a page goes."""
    folio = world.memory.pages[page]
    if folio is not None:
        folio.refcount = 0
        world.memory.free_zone_device_folio(folio)


def script(pgmap: DevPagemap, private: Number, thread: Number, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        ret: Count = 0
        if op == Op.GET:
            ret = get(pgmap, thread, first[at])
        elif op == Op.GET_CACHED:
            ret = get_cached(pgmap, thread, first[at])
        elif op == Op.PUT:
            ret = put(pgmap, thread)
        elif op == Op.GIVE:
            give(first[at])
        elif op == Op.UNLOCK:
            unlock(first[at])
        elif op == Op.FREE:
            free(first[at])
        elif private == 1:
            memunmap_private(world.memory)
        else:
            memunmap_pages(pgmap)
        world.of[thread] = ret
        at += 1


class MemremapFile(Target):
    """mm/memremap.c."""

    file = "mm/memremap.c"
    model = "memremap.py"
    parts = ("memremap_private.py",)
    c = "memremap.c"
    linked = ("lib/percpu-refcount.c", "lib/xarray.c")
    releases = ("6.12",)
    functions = (
        "get_dev_pagemap", "memunmap_pages", "pageunmap_range", "pgmap_array_delete", "dev_pagemap_percpu_release", "free_zone_device_folio",
        "zone_device_page_init", "pfn_first", "pfn_end", "pfn_len",
    )  # fmt: skip
    model_functions = (
        "get_dev_pagemap", "put_dev_pagemap", "memunmap_pages", "dev_pagemap_kill", "dev_pagemap_drain", "dev_pagemap_remove",
        "zone_device_page_init", "memunmap_private", "remove_private_pages",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "world.of[thread] = ret", Stop("result")),
        Crossing("script", "ret = get(", Stop("one")),
        Crossing("script", "ret = get_cached(", Stop("one")),
        Crossing("script", "ret = put(", Stop("one")),
        Crossing("script", "give(", Stop("one")),
        Crossing("script", "unlock(", Stop("one")),
        Crossing("script", "free(", Stop("one")),
        Crossing("memunmap_pages", "dev_pagemap_kill(", Stop("one")),
        Crossing("memunmap_private", "with atomic: percpu_ref_kill(", Stop("one")),
        Crossing("percpu_ref_is_zero_wait", "wait_until(", Stop("wait_for_completion", "memunmap_pages")),
        Crossing("memunmap_pages", "dev_pagemap_remove(", Stop("mem_hotplug", "pageunmap_range")),
        Crossing("memunmap_private", "remove_private_pages(", Stop("mem_hotplug", "pageunmap_range")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("spin_lock", "percpu_ref_kill_and_confirm"): "nothing is done before it, and it is held for one step",
        Stop("spin_lock", "percpu_ref_exit"): "nobody has the count any more",
        Stop("spin_lock", "xa_store_range"): "the lock of the tree of all pagemaps: that of one that was killed is found and left, or not found",
        Stop("synchronize_rcu", "pgmap_array_delete"): "the memory is out of the tree already, and nothing is read behind it",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"killed-pagemap": ("warning",)}
    differences = (
        StateDifference(
            "a reference for each page",
            "memory that is not private holds one for each of its pages from the beginning until memunmap_pages(); the model has them as one with the initial",
            "neither",
        ),
        StateDifference("memory hotplug", "stubs that do nothing but say when the memory has gone", "neither"),
        StateDifference("coherent memory, fs-dax, several ranges", "not in this conformer", "may hide"),
        StateDifference("put_page()", "free_zone_device_folio() is called as mm/swap.c does it, when the last reference has gone", "neither"),
    )

    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def definitions(self, release: str) -> tuple[str, ...]:
        return ("CONFIG_DEVICE_PRIVATE=1",)  # which the packaged configuration of 6.12 has not

    def draw(self, source: random.Random, release: str) -> Configuration:
        private = source.random() < 0.5
        threads: list[tuple[TargetOperation, ...]] = []
        for number in range(source.randint(2, THREADS)):
            operations: list[TargetOperation] = []
            for _ in range(source.randint(1, 4)):
                if not private:
                    operations.append(task(source.choice([Op.GET, Op.GET, Op.PUT, Op.GET_CACHED]), source.randrange(PAGES)))
                elif number < PAGES:  # who has a page of its own
                    operations += [task(Op.GIVE, number), task(Op.UNLOCK, number), task(Op.FREE, number)]
            operations += [task(Op.PUT)] * sum(o.code == Op.GET for o in operations)
            threads.append(tuple(operations))
        taker = source.randrange(len(threads))
        at = source.randint(0, len(threads[taker])) if not private else source.choice(range(0, len(threads[taker]) + 1, 3))
        if any(o.code == Op.PUT for o in threads[taker][at:]):
            at = len(threads[taker])  # it would wait for itself
        threads[taker] = (*threads[taker][:at], task(Op.UNMAP), *(() if private else threads[taker][at:]))
        return Configuration((int(private),), tuple(thread for thread in threads if thread))

    def bounded(self, release: str) -> Iterator[Configuration]:
        get, put, unmap = task(Op.GET, 1), task(Op.PUT), task(Op.UNMAP)
        yield Configuration((0,), ((get, put), (task(Op.GET, 0), put, get, put), (unmap, get)))
        yield Configuration((0,), ((get, get, put, put), (unmap,), (get, put)))
        cached = tuple(task(Op.GET_CACHED, page) for page in (1, PAGES, 0))
        yield Configuration((0,), ((get, *cached, put), (unmap, get), (get, get, *cached[:2], put, put)))
        one, other = ((task(Op.GIVE, i), task(Op.UNLOCK, i), task(Op.FREE, i)) for i in range(PAGES))
        yield Configuration((1,), ((*one, unmap), other))
        yield Configuration((1,), ((*one,), (*other, unmap)))

    def scene(self, configuration: Configuration) -> Scene:
        (private,) = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        data: dict[str, list[int]] = {
            "conform.operation": [Op(task.code) for task in tasks],
            "conform.first": [task.arguments[0] for task in tasks],
        }
        wanted = bounds(pages=2, frames=1 + 2 * PAGES, pagemaps=1, file_pages=PAGES, private_memory=1, private_pages=PAGES, owners=1)
        machine = Machine(bounds=wanted, data=data)
        with machine:
            mem_init()
            pgmap = memremap_pages(PAGES)
            memremap_private(world.memory, world.owner)
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (pgmap, private, number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, pgmap, bool(private), len(threads)))


def task(op: Op, argument: int = 0) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), (argument,))


def _look(program: Program, pgmap: DevPagemap, private: bool, threads: int) -> Callable[[bytes], str]:
    """The look that c/memremap.c has."""
    eyes = Eyes(program)
    of = eyes.array(world, "of")[:threads]
    ref = world.memory.ref if private else pgmap.ref
    count, dying = eyes.field(ref, "count"), eyes.field(ref, "dying")
    there = eyes.array(world.memory if private else pgmap, "pages")[0]
    folios = [folio for folio in world.memory.pages if folio is not None]
    pages = [(eyes.field(folio, "refcount"), eyes.field(folio, "locked")) for folio in folios]
    freed = eyes.array(world.memory, "freed")

    def look(state: bytes) -> str:
        text = "".join(f"{read(state)} " for read in of) + f"count={count(state)} dying={dying(state)} gone={int(not there(state))}"
        if private:
            text += "".join(f" page={refs(state)}:{locked(state)}:{freed[i](state)}" for i, (refs, locked) in enumerate(pages))
        return text

    return look
