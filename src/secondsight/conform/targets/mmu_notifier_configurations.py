"""What is asked of mm/mmu_notifier.c and its model: random configurations, and small ones of which every transition is tried."""

from __future__ import annotations

import random
from collections.abc import Iterator

from secondsight.conform.target import Configuration, TargetOperation
from secondsight.conform.targets.mmu_notifier_world import (
    ALWAYS_REFUSES,
    ASKS_FOR_SECOND,
    BOTH,
    CLEARS,
    FLUSHES,
    FLUSHES_YOUNG,
    NOTIFIERS,
    PAGES,
    REFUSES,
    SHARED,
    SUBS,
    TELLS_YOUNG,
    TESTS,
    THREADS,
    TWO_PASSES,
    Op,
)
from secondsight.linux.releases import differs

__all__ = ["bounded", "draw", "two_passes"]

def two_passes(release: str) -> bool:
    """Whether a release has two-pass interval notifiers."""
    return not differs("two-pass-interval-notifiers", release)


def draw(source: random.Random, second_passes: bool) -> Configuration:
    """Up to four threads; most subscribers are there from the start, some come and go, each by one thread. Some configurations
    have subscribers that are told of flushes, and no brackets."""
    kind = source.random()
    if kind < 0.15:
        return _draw_flushes(source)
    if kind < 0.35:
        return _draw_shared(source)
    if kind < 0.4:
        return _draw_young(source)
    setup: list[int] = []
    style = second_passes and source.random() < 0.7
    present, registered = [], []
    for _ in range(SUBS):
        kind = source.choice([0, 0, 0, REFUSES, REFUSES, 0])
        if source.random() < 0.03 and not style:
            kind = ALWAYS_REFUSES
        if style:
            kind += source.choice([0, TWO_PASSES, ASKS_FOR_SECOND, ASKS_FOR_SECOND])
        present.append(source.random() < 0.6)
        start = source.randrange(PAGES)
        setup += [kind, start, source.randint(1, PAGES - start) if present[-1] else 0]
    for _ in range(NOTIFIERS):
        both = source.random() < 0.5
        registered.append(source.random() < 0.5)
        setup += [(BOTH if both else 0) + (source.random() < (0.05 if both else 0.3)), int(registered[-1])]
    threads: list[list[TargetOperation]] = [[] for _ in range(source.randint(2, THREADS))]
    there_first = [i for i in range(SUBS) if present[i]]
    for number, operations in enumerate(threads):
        mine = [i for i in range(SUBS) if i % len(threads) == number]
        heard = [i for i in range(NOTIFIERS) if i % len(threads) == number]
        readable = list(there_first)
        for _ in range(source.randint(1, 4)):
            if source.random() < 0.02:  # somebody else's, which may break a rule
                mine, heard = list(range(SUBS)), list(range(NOTIFIERS))
            operations.append(_draw_operation(source, present, registered, mine, heard, readable))
    if source.random() < 0.3:
        threads[0] = [*threads[0][:2], task(Op.EXIT)]
    return Configuration(tuple(setup), tuple(tuple(operations) for operations in threads))


def _draw_flushes(source: random.Random) -> Configuration:
    """Flushes beside subscribers that come and go, of which some are told of them; perhaps the process ends."""
    kinds = [source.choice([0, BOTH, FLUSHES, FLUSHES]) for _ in range(NOTIFIERS)]
    registered = [source.random() < 0.7 for _ in range(NOTIFIERS)]
    setup = [part for kind, there in zip(kinds, registered, strict=True) for part in (kind, int(there))]
    threads: list[list[TargetOperation]] = [[] for _ in range(source.randint(2, THREADS))]
    for number, operations in enumerate(threads):
        for _ in range(source.randint(1, 3)):
            mine = [i for i in range(NOTIFIERS) if i % len(threads) == number]
            if mine and source.random() < 0.4:
                which = source.choice(mine)
                registered[which] = not registered[which]
                operations.append(task(Op.REGISTER if registered[which] else Op.UNREGISTER, which))
            else:
                start = source.randrange(PAGES)
                operations.append(task(Op.FLUSH, start, source.randint(start + 1, PAGES)))
    if source.random() < 0.3:
        threads[0] = [*threads[0][:2], task(Op.EXIT)]
    return Configuration((*NOBODY, *setup), tuple(tuple(operations) for operations in threads))


def _draw_shared(source: random.Random) -> Configuration:
    """Users of a driver that get its mmu notifier and put it, beside brackets and one that is registered; a thread that frees; perhaps the process ends."""
    shared = source.randint(1, 2)
    setup = [*([SHARED + int(source.random() < 0.2), 0] * shared), *([source.choice([0, BOTH]), int(source.random() < 0.7)] * (NOTIFIERS - shared))]
    threads: list[list[TargetOperation]] = [[task(Op.WORK)]]
    for _ in range(source.randint(1, THREADS - 1)):
        operations: list[TargetOperation] = []
        held = 0
        for _ in range(source.randint(2, 4)):
            if (held and source.random() < 0.5) or source.random() < 0.05:  # somebody may put more than it got
                operations.append(task(Op.PUT))
                held -= 1
            elif source.random() < 0.6:
                operations.append(task(Op.GET))
                held += 1
            else:
                start = source.randrange(PAGES)
                operations.append(source.choice((task(Op.SYNCHRONIZE), task(Op.BRACKET, start, start + 1, source.randint(0, 1), 1, source.randint(0, 1)))))
        threads.append(operations)
    if source.random() < 0.2:
        threads[1] = [*threads[1][:2], task(Op.EXIT)]
    return Configuration((*NOBODY, *setup), tuple(tuple(operations) for operations in threads))


def _draw_young(source: random.Random) -> Configuration:
    """Who asks whether pages are young, beside subscribers that come and go."""
    setup = [part for _ in range(NOTIFIERS) for part in (source.choice([TELLS_YOUNG, TELLS_YOUNG + 1, TELLS_YOUNG, BOTH]), int(source.random() < 0.8))]
    asks = [task(Op.YOUNG, at, source.randint(at + 1, PAGES), source.choice((FLUSHES_YOUNG, CLEARS, TESTS))) for at in range(source.randint(1, 3))]
    which = source.randrange(NOTIFIERS)
    other = task(Op.UNREGISTER if setup[2 * which + 1] else Op.REGISTER, which)
    return Configuration((*NOBODY, *setup), (tuple(asks), (other,)))


def _draw_operation(
    source: random.Random, present: list[bool], registered: list[bool], mine: list[int], heard: list[int], readable: list[int]
) -> TargetOperation:
    """One operation that has a meaning when it is drawn. `mine`, `heard`: which a thread may add and remove."""
    kind = source.choice(["read", "read", "bracket", "bracket", "bracket", "nested", "sub", "sub", "notifier"])
    if kind == "read" and readable:
        return task(Op.READ, source.choice(readable))
    if kind == "sub" and mine:
        which = source.choice(mine)
        if present[which] and which in readable:
            present[which] = False
            return task(Op.REMOVE, which)
        start = source.randrange(PAGES)
        length = 0 if source.random() < 0.05 else source.randint(1, PAGES - start)
        present[which] = length > 0
        if length:
            readable.append(which)
        return task(Op.INSERT, which, start, length)
    if kind == "notifier" and heard:
        which = source.choice(heard)
        registered[which] = not registered[which]
        return task(Op.REGISTER if registered[which] else Op.UNREGISTER, which)
    start = source.randrange(PAGES)
    op = Op.NESTED if kind == "nested" else Op.BRACKET
    return task(
        op, start, source.randint(start + 1, PAGES), int(source.random() < 0.6), source.randint(0, 1), source.randint(0, 1)
    )


def task(op: Op, *arguments: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), arguments)


NOBODY = (0, 0, 0) * SUBS
SILENT = (0, 0) * NOTIFIERS


def bounded(second_passes: bool) -> Iterator[Configuration]:
    """Small worlds of each kind, of which every transition is tried."""
    everything, low, high = (0, PAGES, 1, 1, 0), (0, 1, 1, 1, 0), (2, PAGES, 1, 1, 1)
    one, two = (0, 0, PAGES, *NOBODY[3:]), (0, 1, 2, 0, 0, 2, *NOBODY[6:])
    weak = (REFUSES, 1, 2, 0, 0, 2, *NOBODY[6:])
    try_low = (0, 2, 0, 0, 0)
    yield Configuration(
        (*one, *SILENT), ((task(Op.READ, 0), task(Op.READ, 0)), (task(Op.BRACKET, *everything),), (task(Op.BRACKET, *low),))
    )
    yield Configuration((*two, *SILENT), ((task(Op.READ, 1),), (task(Op.BRACKET, *low),), (task(Op.BRACKET, *high),)))
    yield Configuration(
        (*NOBODY, *SILENT), ((task(Op.INSERT, 0, 0, 2), task(Op.READ, 0)), (task(Op.INSERT, 1, 1, 2),), (task(Op.BRACKET, *low),))
    )
    yield Configuration(
        (*one, *SILENT), ((task(Op.INSERT, 1, 0, 2), task(Op.REMOVE, 1)), (task(Op.INSERT, 2, 0, 1),), (task(Op.BRACKET, *low),))
    )
    yield Configuration(
        (*two, *SILENT), ((task(Op.REMOVE, 0), task(Op.INSERT, 0, 0, 1)), (task(Op.REMOVE, 1),), (task(Op.BRACKET, *everything),))
    )
    yield Configuration((*weak, *SILENT), ((task(Op.BRACKET, *try_low),), (task(Op.READ, 0),), (task(Op.BRACKET, *everything),)))
    yield Configuration((*one, *SILENT), ((task(Op.NESTED, *everything),), (task(Op.READ, 0),), (task(Op.INSERT, 1, 0, 1),)))
    yield Configuration(
        (*NOBODY, BOTH, 1, 0, 1, 0, 0), ((task(Op.BRACKET, *low),), (task(Op.UNREGISTER, 0),), (task(Op.UNREGISTER, 1),))
    )
    yield Configuration((*NOBODY, BOTH, 1, REFUSES, 1, 0, 0), ((task(Op.BRACKET, *try_low),), (task(Op.BRACKET, *low),)))
    yield Configuration(
        (*NOBODY, BOTH, 1, 0, 0, 0, 0), ((task(Op.REGISTER, 1),), (task(Op.UNREGISTER, 0),), (task(Op.BRACKET, *high),))
    )
    yield Configuration((*NOBODY, BOTH, 1, 0, 0, 0, 0), ((task(Op.UNREGISTER, 0), task(Op.REGISTER, 0)), (task(Op.BRACKET, *low),)))
    yield Configuration((*NOBODY, BOTH, 1, 0, 1, 0, 0), ((task(Op.EXIT),), (task(Op.UNREGISTER, 1),), (task(Op.UNREGISTER, 0),)))
    yield Configuration((*two, BOTH, 1, 0, 0, 0, 0), ((task(Op.EXIT),), (task(Op.READ, 0),), (task(Op.REMOVE, 1),)))
    all_deferred = (task(Op.INSERT, 1, 0, 1), task(Op.INSERT, 2, 2, 1), task(Op.INSERT, 3, 1, 1), task(Op.REMOVE, 1))
    yield Configuration((*one, *SILENT), (all_deferred, (task(Op.REMOVE, 0),), (task(Op.BRACKET, *everything),)))
    never = (ALWAYS_REFUSES, 0, 2, 0, 0, 2, *NOBODY[6:])
    yield Configuration((*never, *SILENT), ((task(Op.EXIT),), (task(Op.READ, 1),)))
    yield Configuration((*never[:3], *NOBODY[3:], *SILENT), ((task(Op.EXIT),), (task(Op.READ, 0),)))
    yield Configuration((*NOBODY, ALWAYS_REFUSES, 1, 0, 1, 0, 0), ((task(Op.BRACKET, *low),), (task(Op.BRACKET, *try_low),)))
    yield Configuration((*never, *SILENT), ((task(Op.BRACKET, *low),), (task(Op.READ, 1),)))
    told = (FLUSHES, 1, BOTH, 1, FLUSHES, 1)
    yield Configuration((*NOBODY, *told), ((task(Op.FLUSH, 0, 2),), (task(Op.UNREGISTER, 2),), (task(Op.UNREGISTER, 0),)))
    yield Configuration((*NOBODY, *told), ((task(Op.FLUSH, 1, 4),), (task(Op.EXIT),), (task(Op.UNREGISTER, 0),)))
    yield Configuration((*NOBODY, BOTH, 1, FLUSHES, 0, 0, 0), ((task(Op.FLUSH, 0, 1), task(Op.FLUSH, 3, 4)), (task(Op.REGISTER, 1),)))
    yield from _shared()
    for by in (FLUSHES_YOUNG, CLEARS, TESTS):
        young = (TELLS_YOUNG, 1, TELLS_YOUNG + 1, 1, TELLS_YOUNG, 1)
        yield Configuration((*NOBODY, *young), ((task(Op.YOUNG, 1, 3, by),), (task(Op.UNREGISTER, 0),)))
        yield Configuration((*NOBODY, *young[4:], 0, 0, 0, 0), ((task(Op.YOUNG, 1, 3, by),), (task(Op.YOUNG, 0, 1, by),)))
        yield Configuration((*NOBODY, BOTH, 1, 0, 0, 0, 0), ((task(Op.YOUNG, 1, 3, by),),))
    if second_passes:
        both = (ASKS_FOR_SECOND, 0, 2, ASKS_FOR_SECOND + REFUSES, 1, 2, 0, 0, 1, *NOBODY[9:])
        yield Configuration((*both, *SILENT), ((task(Op.BRACKET, *everything),), (task(Op.READ, 0),), (task(Op.BRACKET, *low),)))
        alone = (ASKS_FOR_SECOND, 0, 2, TWO_PASSES + REFUSES, 1, 2, *NOBODY[6:])
        yield Configuration((*alone, *SILENT), ((task(Op.BRACKET, *everything),), (task(Op.READ, 0),), (task(Op.BRACKET, *try_low),)))
        yield Configuration(
            (*both, *SILENT), ((task(Op.BRACKET, *try_low),), (task(Op.REMOVE, 1),), (task(Op.BRACKET, *everything),))
        )


def _shared() -> Iterator[Configuration]:
    """Users of a driver that share its mmu notifier, beside the thread that frees."""
    low = task(Op.BRACKET, 0, 1, 1, 1, 0)
    one, two = (*NOBODY, SHARED, 0, 0, 0, 0, 0), (*NOBODY, SHARED, 0, SHARED, 0, 0, 1)
    work, gets, puts = (task(Op.WORK),), task(Op.GET), task(Op.PUT)
    yield Configuration(one, (work, (gets, puts, task(Op.SYNCHRONIZE)), (gets, puts)))
    yield Configuration(one, (work, (gets, gets, puts, puts), (low,)))
    yield Configuration(two, (work, (gets, puts, gets, puts, task(Op.SYNCHRONIZE)), (low,)))
    yield Configuration(two, (work, (gets, puts), (gets, task(Op.EXIT), puts)))
    yield Configuration((*NOBODY, BOTH, 1, SHARED, 0, 0, 0), (work, (gets, puts), (task(Op.UNREGISTER, 0),)))
