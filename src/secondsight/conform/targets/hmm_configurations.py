"""What is asked of mm/hmm.c and its model: random configurations, and small ones of which every transition is tried."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

from secondsight.conform.target import Configuration, TargetOperation
from secondsight.conform.targets.hmm_world import PAGES, THREADS, Entry, Kind, Op
from secondsight.linux import hmm

__all__ = ["bounded", "draw"]

LEVELS = 3
"""Levels of page tables below the first. Where one is missing the kernel asks what any page of the hole wants, and the model,
which has no page tables, what the first does: so each page is asked for alike there."""

ABSENT = (1, 2)
"""What the C has for the model's absent entry in a vma, beside an empty one: a page in swap, a marker."""
UNMIRRORED = (1, 2)
"""What the C has for the model's VM_PFNMAP, beside that: VM_IO, and a vma that may not be read."""

ONE_PAGE, ALIKE, OF_EACH = range(3)
"""What threads ask for: one page, several that are asked for alike, several of which something of its own is asked."""

SNAPSHOT, READING, WRITING = 0, hmm.HMM_PFN_REQ_FAULT, hmm.HMM_PFN_REQ_FAULT | hmm.HMM_PFN_REQ_WRITE
REQUESTS = (SNAPSHOT, READING, hmm.HMM_PFN_REQ_WRITE, WRITING)


def task(op: Op, *arguments: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), arguments)


def _entries(kind: Kind) -> tuple[Entry, ...]:
    """What the page table can have where something is mapped."""
    if kind is Kind.READ:
        return Entry.NONE, Entry.READ, Entry.ZERO, Entry.OWN_READ
    if kind is Kind.WRITE:
        return Entry.NONE, Entry.READ, Entry.WRITE, Entry.ZERO, Entry.OWN_READ, Entry.OWN_WRITE, Entry.OTHER_WRITE
    if kind in (Kind.NONE, Kind.FILE_READ):
        return Entry.NONE, Entry.READ, Entry.ZERO
    return Entry.NONE, Entry.READ, Entry.WRITE, Entry.ZERO


def _asserts(release: str) -> bool:
    """Whether mmap_assert_locked() looks at the lock in a kernel without lockdep."""
    return release != "6.1"


def draw(source: random.Random, release: str) -> Configuration:
    """One to three threads over four pages."""
    style = source.choice((ONE_PAGE, ALIKE, OF_EACH, OF_EACH))
    levels = LEVELS if style == OF_EACH else source.randrange(LEVELS + 1)
    divided = int(style == ONE_PAGE and source.random() < 0.5)
    setup = [levels, divided, int(source.random() < 0.1), source.choice((0, *ABSENT)), source.choice((0, *UNMIRRORED))]
    kinds = [source.choice([*Kind, Kind.WRITE, Kind.WRITE, Kind.READ]) for _ in range(PAGES)]
    if style != ONE_PAGE and source.random() < 0.5:
        kinds[1:3] = [kinds[0], kinds[3]]
    for kind in kinds:
        setup += [kind, source.choice(_entries(kind))]
    threads: list[list[TargetOperation]] = [[] for _ in range(source.randint(1, THREADS))]
    for number, operations in enumerate(threads):
        for _ in range(source.randint(1, 4)):
            start = source.randrange(PAGES)
            end = source.randint(start + 1, PAGES)
            what = "fault" if number == 0 else source.choice(["fault", "fault", "zap", "zap", "touch", "unmap"])
            if what == "fault" and style != ONE_PAGE:
                each = (source.choice((0, 0, *REQUESTS)), source.choice((WRITING, WRITING, *REQUESTS)))
                op = Op.RANGE_UNLOCKED if len(threads) == 1 and _asserts(release) and source.random() < 0.05 else Op.RANGE
                operations.append(task(op, start, end, *(each if style == OF_EACH else (source.choice(REQUESTS), 0)), source.randrange(4**PAGES)))
            elif what == "fault":
                op = Op.FAULT_UNLOCKED if len(threads) == 1 and _asserts(release) and source.random() < 0.1 else Op.FAULT
                operations.append(task(op, start, source.choice(REQUESTS)))
            elif what == "touch":
                operations.append(task(Op.TOUCH, start, source.randint(0, 1)))
            else:
                operations.append(task(Op.ZAP if what == "zap" else Op.UNMAP, start, end))
    return Configuration(tuple(setup), tuple(tuple(operations) for operations in threads))


PAIRED = (
    (Kind.NONE, Entry.NONE), (Kind.READ, Entry.NONE), (Kind.READ, Entry.READ), (Kind.WRITE, Entry.NONE), (Kind.WRITE, Entry.ZERO),
    (Kind.WRITE, Entry.WRITE), (Kind.WRITE, Entry.OWN_READ), (Kind.WRITE, Entry.OTHER_WRITE), (Kind.PFNMAP, Entry.WRITE), (Kind.DEVICE, Entry.WRITE), (Kind.FILE_WRITE, Entry.NONE),
)  # fmt: skip
"""What two neighbours are, of which every pair is tried."""


def bounded(release: str) -> Iterator[Configuration]:
    """Every request for every kind of page and of every pair of pages, alone; and small worlds of two and three threads."""
    for kind, request, levels in product(Kind, REQUESTS, range(LEVELS + 1)):
        for entry in _entries(kind):
            page = 2 * (levels % 2)
            yield Configuration(_setup(levels, {page: (kind, entry)}, divided=levels % 2), ((task(Op.FAULT, page, request),),))
    for request in REQUESTS:
        for kind, absent in product((Kind.READ, Kind.WRITE, Kind.FILE_WRITE), ABSENT):
            yield Configuration(_setup(0, {0: (kind, Entry.NONE)}, absent=absent), ((task(Op.FAULT, 0, request),),))
        for unmirrored in UNMIRRORED:
            yield Configuration(_setup(0, {0: (Kind.PFNMAP, Entry.READ)}, unmirrored=unmirrored), ((task(Op.FAULT, 0, request),),))
        yield Configuration(_setup(0, {0: (Kind.WRITE, Entry.NONE)}, unstable=1), ((task(Op.FAULT, 0, request),),))
        if _asserts(release):
            yield Configuration(_setup(0, {0: (Kind.WRITE, Entry.WRITE)}), ((task(Op.FAULT_UNLOCKED, 0, request),),))
            yield Configuration(_setup(0, {0: (Kind.WRITE, Entry.WRITE)}), ((task(Op.RANGE_UNLOCKED, 0, 1, request, 0, 0),),))
    yield from _bounded_ranges()
    for kind, request in product((Kind.WRITE, Kind.READ, Kind.FILE_WRITE, Kind.DEVICE), REQUESTS):
        for entry in _entries(kind):
            world = _setup(0, {0: (kind, entry)})
            ask = task(Op.FAULT, 0, request)
            yield Configuration(world, ((ask,), (task(Op.ZAP, 0, 1),)))
            yield Configuration(world, ((ask,), (task(Op.UNMAP, 0, 1),)))
            yield Configuration(world, ((ask,), (task(Op.TOUCH, 0, 1),)))
    for request in (READING, WRITING):
        world = _setup(LEVELS, {0: (Kind.WRITE, Entry.NONE), 1: (Kind.WRITE, Entry.ZERO), 2: (Kind.FILE_WRITE, Entry.NONE)})
        ask = task(Op.RANGE, 0, 3, request, 0, 0)
        yield Configuration(world, ((ask,), (task(Op.ZAP, 1, 2),), (task(Op.TOUCH, 0, 1),)))
        yield Configuration(world, ((ask,), (task(Op.UNMAP, 1, 2),), (task(Op.TOUCH, 0, 0),)))
    empty = _setup(LEVELS, dict.fromkeys(range(PAGES), (Kind.WRITE, Entry.NONE)))
    second = task(Op.RANGE, 0, 2, SNAPSHOT, WRITING, 4 * READING)
    yield Configuration(empty, ((second,), (task(Op.TOUCH, 0, 1),)))
    yield Configuration(empty, ((second,), (task(Op.TOUCH, 0, 0), task(Op.ZAP, 1, 2))))


def _bounded_ranges() -> Iterator[Configuration]:
    """Calls for several pages by one thread."""
    for (one, two), request in product(product(PAIRED, PAIRED), REQUESTS):
        yield Configuration(_setup(LEVELS * (request % 2), {0: one, 1: two}), ((task(Op.RANGE, 0, 2, request, 0, 0),),))
    worlds = [{1: (Kind.WRITE, first), 2: (Kind.WRITE, second)} for first, second in product((Entry.NONE, Entry.ZERO), (Entry.NONE, Entry.WRITE))]
    worlds += [{1: (Kind.PFNMAP, Entry.WRITE), 2: (Kind.PFNMAP, Entry.WRITE)}, {}, {1: (Kind.READ, Entry.READ), 2: (Kind.FILE_READ, Entry.NONE)}]
    for world, default, mask, first, second in product(worlds, (SNAPSHOT, READING), REQUESTS, REQUESTS, REQUESTS):
        yield Configuration(_setup(LEVELS, world), ((task(Op.RANGE, 1, 3, default, mask, first + 4 * second),),))
    everything = dict(enumerate(((Kind.WRITE, Entry.WRITE), (Kind.WRITE, Entry.READ), (Kind.WRITE, Entry.NONE), (Kind.WRITE, Entry.ZERO))))
    for levels, present in product(range(LEVELS + 1), ({}, everything, {1: (Kind.READ, Entry.READ)}, {3: (Kind.READ, Entry.READ)})):
        for start, end in ((0, 4), (1, 3), (1, 4), (2, 4)):
            yield Configuration(_setup(levels, present, divided=1), ((task(Op.RANGE, start, end, SNAPSHOT, 0, 255),),))


def _setup(
    levels: int, pages: dict[int, tuple[Kind, Entry]], divided: int = 0, unstable: int = 0, absent: int = 0, unmirrored: int = 0
) -> tuple[int, ...]:
    """A configuration's numbers: how many levels of page tables there are already, whether the pages lie in two of them, whether
    an anonymous fault fails, what the C has for an absent entry and for a vma that is not mirrored, and what is at each page."""
    found = [levels, divided, unstable, absent, unmirrored]
    for page in range(PAGES):
        found += pages.get(page, (Kind.NONE, Entry.NONE))
    return tuple(int(number) for number in found)
