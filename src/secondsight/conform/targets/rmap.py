"""mm/rmap.c beside `linux.rmap`, `linux.rmap_migrate` and `linux.rmap_mkclean`, on the real page tables of two processes: see c/rmap.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import ClassVar

from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.rmap_mutants import EQUIVALENT
from secondsight.conform.targets.rmap_view import View
from secondsight.conform.targets.rmap_world import (
    ANON,
    ANONYMOUS,
    CACHE,
    DEVICE,
    DST,
    FRAMES,
    LENGTH,
    MMS,
    OTHER,
    PAGES,
    PRIVATELY,
    SHARED,
    SLOTS,
    THREADS,
    Entry,
    File,
    How,
    Op,
    entry,
    make_machine,
    make_processes,
    make_program,
    make_world,
    script,
)
from secondsight.linux.releases import differs

__all__ = ["RmapFile", "drawn_operations", "task"]

ELSEWHERE = Stop("elsewhere")
CLOSED = Stop("bracket_closed")
UNLOCK = Stop("up_read")
TABLE = Stop("spin_lock")
END = Stop("end")
BECOME = Stop("become")


class RmapFile(Target):
    """mm/rmap.c, with what it walks by and remove_migration_ptes() of mm/migrate.c."""

    file = "mm/rmap.c"
    model = "rmap.py"
    parts = ("rmap_migrate.py", "rmap_mkclean.py")
    c = "rmap.c"
    linked = ("mm/page_vma_mapped.c", "mm/pgtable-generic.c", "mm/interval_tree.c", "lib/rbtree.c", "mm/migrate.c")
    functions = (
        "try_to_unmap", "try_to_unmap_one", "try_to_migrate", "try_to_migrate_one", "rmap_walk", "rmap_walk_anon", "rmap_walk_file", "folio_lock_anon_vma_read", "folio_not_mapped",
        "folio_mkclean", "page_mkclean_one", "page_vma_mkclean_one", "invalid_mkclean_vma",
    )  # fmt: skip
    model_functions = (
        "try_to_unmap", "try_to_unmap_one", "unmap_entry", "discard_lazyfree", "try_to_migrate", "rmap_walk_to_migrate", "try_to_migrate_one", "set_migration_entry",
        "folio_lock_anon_vma_read", "rmap_walk_lock", "rmap_walk_trylock", "rmap_walk_lock_slowly", "rmap_walk_unlock", "rmap_walk_first", "rmap_walk_next", "vma_address", "page_vma_mapped_walk", "remove_migration_ptes", "rmap_walk_from_migration",
        "remove_migration_pte", "folio_remove_rmap", "folio_mkclean", "page_mkclean_one", "page_vma_mkclean_one", "mkclean_entry",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "world.of[thread] = ret", Stop("result")),
        Crossing("script", "ret = one(", Stop("one")),
        Crossing("script", "ret = unmap(", Stop("start")),
        Crossing("script", "ret = migrate(", Stop("start")),
        Crossing("script", "ret = mkclean(", Stop("start")),
        Crossing("unmap", "locked = begin(", Stop("begin")),
        Crossing("mkclean", "locked = begin(", Stop("begin")),
        Crossing("mkclean", "return end(", END),
        Crossing("migrate", "locked = begin(", Stop("begin")),
        Crossing("unmap", "return end(", END),
        Crossing("migrate", "return end(", END),
        Crossing("migrate", "moved = become(", BECOME),
        Crossing("tree", "file.i_mmap_rwsem.write_lock()", Stop("down_write")),
        Crossing("tree", "anon_vmas[0].rwsem.write_lock()", Stop("down_write")),
        Crossing("tree", "file.i_mmap_rwsem.write_unlock()", Stop("up_write")),
        Crossing("tree", "anon_vmas[0].rwsem.write_unlock()", Stop("up_write")),
        Crossing("rmap_walk_lock", "with atomic:", Stop("walk")),
        Crossing("folio_lock_anon_vma_read", "with atomic:", Stop("walk")),
        Crossing("folio_mkclean", "with atomic: mapping", Stop("walk")),
        Crossing("rmap_walk_lock_slowly", "", Stop("down_read")),
        Crossing("rmap_walk_unlock", "", None, (UNLOCK,)),
        Crossing("try_to_unmap", "vma = rmap_walk_first(", None, (ELSEWHERE, UNLOCK)),
        Crossing("rmap_walk_to_migrate", "vma = rmap_walk_first(", None, (ELSEWHERE, UNLOCK)),
        Crossing("try_to_unmap_one", "with atomic: mm", None, (ELSEWHERE,)),
        Crossing("try_to_migrate_one", "with atomic: mm", None, (ELSEWHERE,)),
        Crossing("try_to_unmap_one", "ret = unmap_entry(", TABLE, (ELSEWHERE,)),
        Crossing("try_to_migrate_one", "ret = set_migration_entry(", TABLE, (ELSEWHERE,)),
        Crossing("try_to_unmap", "with atomic: vma", CLOSED),
        Crossing("rmap_walk_to_migrate", "with atomic: vma", CLOSED),
        Crossing("folio_mkclean", "vma = rmap_walk_first(", None, (ELSEWHERE, UNLOCK)),
        Crossing("folio_mkclean", "with atomic: shared", None, (ELSEWHERE, UNLOCK)),
        Crossing("page_mkclean_one", "with atomic: mm", None, (ELSEWHERE,)),
        Crossing("page_vma_mkclean_one", "changed = mkclean_entry(", TABLE),
        Crossing("folio_mkclean", "with atomic: vma", CLOSED, (ELSEWHERE, UNLOCK)),
        Crossing("rmap_walk_from_migration", "vma = rmap_walk_first(", None, (TABLE, UNLOCK)),
        Crossing("rmap_walk_from_migration", "with atomic:", TABLE),
        *(
            Crossing(function, "", ELSEWHERE)
            for function in ("Gpu.invalidate", "mmu_notifier_invalidate_range_start", "mmu_notifier_invalidate_range_end", "mn_itree_invalidate", "inv_end", "mn_itree_inv_end")
        ),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        ELSEWHERE: "where our own stub for another file's function is left at once",
        CLOSED: "where our own stub for the end of a bracket returns: who gives up does not look whether the folio is mapped still",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    equivalent = EQUIVALENT
    differences: ClassVar[Sequence[StateDifference]] = (
        StateDifference(
            "huge pages, hugetlb, KSM, userfaultfd, flushes that are put off (TTU_BATCH_FLUSH)",
            "folios of one page, walked with the flags 0",
            "may hide",
        ),
        StateDifference(
            "make_device_exclusive(), folio_referenced()",
            "make_device_exclusive() begins with mm/gup.c, whose functions are compared apart; of folio_referenced() the model has one place",
            "may hide",
        ),
        StateDifference(
            "a folio that has a device-exclusive entry and is migrated, before 6.15",
            "it is not mapped, so no caller looks for its migration entries; remove_migration_ptes() would map the device-exclusive one too. Not asked of 6.1 and 6.12",
            "neither",
        ),
        StateDifference(
            "whether a page in a device's memory is dirty",
            "before 7.2 try_to_migrate_one() asks pte_dirty() of an entry that is not present, where the bits say something else; nothing is written by the answer",
            "neither",
        ),
        StateDifference("anon_vmas", "one for both processes, which a fork's have too (their root's lock is one); none comes or goes", "may hide"),
    )

    def definitions(self, release: str) -> tuple[str, ...]:
        return () if release == "7.2" else ("CONFIG_DEVICE_PRIVATE=1",)  # which the packaged configurations of 6.1 and 6.12 have not

    def draw(self, source: random.Random, release: str) -> Configuration:
        kinds = source.choice(((ANONYMOUS, ANONYMOUS), (ANONYMOUS, ANONYMOUS), (SHARED, SHARED), (ANONYMOUS, SHARED), (SHARED, ANONYMOUS), (SHARED, PRIVATELY), (PRIVATELY, SHARED)))
        setup = []
        for kind in kinds:
            setup += [kind, source.randrange(PAGES - LENGTH + 1), source.choice((0, 0, 0, 1)), int(source.random() < 0.1)]
        alone = {number: source.random() < 0.5 for number in range(FRAMES)}
        used: set[int] = set()
        for i, page in product(range(MMS), range(LENGTH)):
            value = _drawn_entry(source, kinds[i], setup[4 * i + 2] + page, alone, used, release)
            setup.append(value)
        setup += [_drawn_folio(source, number, alone) for number in range(1, FRAMES)]
        threads = []
        for number in range(source.randint(1, THREADS)):
            operations = drawn_operations(source, number, lambda: _drawn(source, setup))
            threads.append(tuple(operations or [task(Op.TREE, 0)]))
        return Configuration((*(int(value) for value in setup), _outlives(release)), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        for configuration in (*self._bounded(), *_taken_away(release)):
            yield replace(configuration, setup=(*configuration.setup, _outlives(release)))

    def _bounded(self) -> Iterator[Configuration]:
        both = ((0, 0, 0, 0), (0, 1, 0, 0))
        for how, flags in product((0, How.EXCLUSIVE, How.HELD, How.PINNED | How.EXCLUSIVE, How.DIRTY), (0, 2)):
            for entries in ((entry(Entry.PRESENT, 1, flags), 0, 0, 0), (entry(Entry.PRESENT, 1, flags), 0, entry(Entry.PRESENT, 1), 0)):
                if how & How.EXCLUSIVE and entries[2]:
                    continue
                for kept in (How.CACHED, How.LAZY):
                    yield Configuration(_setup(both, entries, {1: how | kept}), ((task(Op.UNMAP, 1),),))
                for dst in (1, DST):
                    yield Configuration(_setup(both, entries, {1: how}), ((task(Op.MIGRATE, 1, dst),),))
        yield from _beside()
        yield from _cleaned()

    def scene(self, configuration: Configuration) -> Scene:
        machine = make_machine(configuration, File, migrations=1, lazyfree_outlives_holders=configuration.setup[-1], exclusive_is_mapped=configuration.setup[-1])
        with machine:
            file = machine.pool(File).alloc()
            make_processes(machine)
            folios = make_world(machine, file, configuration.setup[:-1])
            program = make_program(machine, configuration, script, file)
            return View(program, file, folios, len(configuration.threads), self.boundaries, self.file, bool(configuration.setup[-1])).scene()


def drawn_operations(source: random.Random, thread: int, draw: Callable[[], TargetOperation]) -> list[TargetOperation]:
    """What a thread does, in which nobody drops what another holds."""
    operations: list[TargetOperation] = []
    for _ in range(source.randint(1, 2 if thread == 0 else 4)):
        drawn = draw()
        held = sum({Op.HOLD: 1, Op.DROP: -1}.get(Op(one.code), 0) for one in operations if one.arguments[0] == drawn.arguments[0])
        if drawn.code != Op.DROP or held > 0:
            operations.append(drawn)
    return operations


def task(op: Op, *arguments: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), arguments)


def _outlives(release: str) -> int:
    """Whether what MADV_FREE has marked stays so while it is held."""
    return int(not differs("held-page-stays-lazyfree", release))


def _setup(of: Sequence[tuple[int, int, int, int]], entries: Sequence[int], hows: Mapping[int, int]) -> tuple[int, ...]:
    """A configuration's numbers: of each process its vma and its entries; of each frame how it is."""
    return (*(number for one in of for number in one), *entries, *(int(hows.get(number, 0)) for number in range(1, FRAMES)))


def _taken_away(release: str) -> Iterator[Configuration]:
    """A page that a device has for itself, alone and beside somebody."""
    both, entries = ((0, 0, 0, 0), (0, 1, 0, 0)), (_taken(1, release), 0, 0, 0)
    for how in (How.EXCLUSIVE, How.EXCLUSIVE | How.HELD, How.EXCLUSIVE | How.PINNED, How.EXCLUSIVE | How.DIRTY):
        ops: list[tuple[TargetOperation, int]] = [(task(Op.UNMAP, 1), kept) for kept in (How.CACHED, How.LAZY)]
        if not differs("exclusive-page-stays-mapped", release):
            ops += [(task(Op.MIGRATE, 1, dst), 0) for dst in (1, DST)]
        for op, kept in ops:
            world = _setup(both, entries, {1: how | kept})
            yield Configuration(world, ((op,),))
            yield Configuration(world, ((op,), (task(Op.ZAP, 0, 0), task(Op.TREE, 0))))


def _beside() -> Iterator[Configuration]:
    """Somebody beside the one who walks."""
    private, shared = ((0, 0, 0, 0), (0, 1, 0, 0)), ((1, 0, 0, 0), (1, 1, 0, 0))
    mapped = (entry(Entry.PRESENT, 1), 0, entry(Entry.PRESENT, 1, 2), 0)
    cached = (entry(Entry.PRESENT, CACHE, 1), 0, entry(Entry.PRESENT, CACHE, 3), 0)
    for op, kept in ((task(Op.UNMAP, 1), How.CACHED), (task(Op.UNMAP, 1), How.LAZY), (task(Op.MIGRATE, 1, DST), 0), (task(Op.MIGRATE, 1, 1), 0)):
        for one in ((task(Op.ZAP, 0, 0), task(Op.ZAP, 1, 1)), (task(Op.HOLD, 1), task(Op.DROP, 1)), (task(Op.TREE, 0),), (task(Op.TREE, 0), task(Op.ZAP, 0, 0))):
            yield Configuration(_setup(private, mapped, {1: kept}), ((op,), one))
        alone = _setup(private, (entry(Entry.PRESENT, 1, 1), 0, 0, 0), {1: kept | How.EXCLUSIVE})
        yield Configuration(alone, ((op,), (task(Op.PIN, 1), task(Op.UNPIN, 1))))
        yield Configuration(alone, ((op,), (task(Op.TREE, 0), task(Op.ZAP, 0, 0), task(Op.TREE, 0))))
    for op in (task(Op.UNMAP, CACHE), task(Op.MIGRATE, CACHE, DST)):
        for one in ((task(Op.ZAP, 0, 0), task(Op.FILL, 0, 0, entry(Entry.PRESENT, CACHE))), (task(Op.TREE, 1),)):
            yield Configuration(_setup(shared, cached, {}), ((op,), one))
    device = _setup(private, (entry(Entry.PRIVATE, DEVICE, 1), 0, 0, 0), {DEVICE: How.EXCLUSIVE})
    yield Configuration(device, ((task(Op.MIGRATE, DEVICE, DST),), (task(Op.ZAP, 0, 0),)))
    yield Configuration(device, ((task(Op.MIGRATE, DEVICE, DEVICE),),))


def _cleaned() -> Iterator[Configuration]:
    """Who makes a file's page clean, alone and beside somebody; one that maps it privately is passed over."""
    shared, one_of_two, privately = ((1, 0, 0, 0), (1, 1, 0, 0)), ((1, 0, 0, 0), (0, 1, 0, 0)), ((PRIVATELY, 0, 0, 0), (1, 0, 0, 0))
    clean = task(Op.MKCLEAN, CACHE)
    for how in range(4):
        yield Configuration(_setup(one_of_two, (entry(Entry.PRESENT, CACHE, how), 0, 0, 0), {CACHE: How.DIRTY}), ((clean,),))
        yield Configuration(_setup(privately, (entry(Entry.PRESENT, CACHE), 0, entry(Entry.PRESENT, CACHE, how), 0), {}), ((clean,),))
    cached = (entry(Entry.PRESENT, CACHE, 1), 0, entry(Entry.PRESENT, CACHE, 3), 0)
    for beside in ((task(Op.ZAP, 0, 0), task(Op.FILL, 0, 0, entry(Entry.PRESENT, CACHE))), (task(Op.TREE, 1),), (task(Op.UNMAP, CACHE),)):
        yield Configuration(_setup(shared, cached, {}), ((clean,), beside))
    for entries in ((0, 0, 0, 0), (entry(Entry.PRESENT, CACHE), 0, 0, 0)):
        yield Configuration(_setup(privately, entries, {}), ((clean,), (task(Op.TREE, 1), task(Op.ZAP, 0, 0))))


def _drawn_entry(source: random.Random, kind: int, index: int, alone: Mapping[int, bool], used: set[int], release: str) -> int:
    """What is at the page `index` of what a vma maps: the page that belongs there, if any, or another."""
    if kind:
        return entry(Entry.PRESENT, CACHE, source.randrange(4) if kind == SHARED else 0) if index == 0 and source.random() < 0.8 else 0
    choices = [OTHER, 0]
    if index < len(ANON):
        choices += [ANON[index]] * 5
    if index == 0:
        choices += [DEVICE] * 2
    number = source.choice(choices)
    if number == 0:
        return source.choice((0, 0, entry(Entry.SWAP, SLOTS - 1, source.choice((0, 4)))))
    if alone[number] and number in used:
        return 0
    used.add(number)
    write = int(alone[number] and source.random() < 0.5)
    if number == DEVICE:
        return entry(Entry.PRIVATE, number, write)
    if alone[number] and number in ANON and not differs("exclusive-page-stays-mapped", release) and source.random() < 0.3:
        return _taken(number, release)
    return entry(Entry.PRESENT, number, write + 2 * source.randrange(2))


def _taken(number: int, release: str) -> int:
    """A device-exclusive entry, of a page that was writable; since 6.15 it does not say so."""
    return entry(Entry.EXCLUSIVE, number, int(differs("exclusive-page-stays-mapped", release)))


def _drawn_folio(source: random.Random, number: int, alone: Mapping[int, bool]) -> int:
    how = source.choice((0, 0, 0, How.HELD)) | source.choice((0, 0, How.DIRTY))
    if number in (*ANON, DEVICE, OTHER) and alone[number]:
        how |= How.EXCLUSIVE | (source.choice((0, 0, How.PINNED)) if number != DEVICE else 0)
    if number in ANON:
        how |= source.choice((0, How.LAZY, How.CACHED))
    return how


def _drawn(source: random.Random, setup: Sequence[int]) -> TargetOperation:
    """An operation; reclaim asks of private memory what is in the swap cache, or may be dropped."""
    hows = setup[-(FRAMES - 1) :]
    kept = [number for number in ANON if hows[number - 1] & (How.LAZY | How.CACHED)] + [CACHE]
    op = source.choice((Op.UNMAP, Op.UNMAP, Op.MIGRATE, Op.MIGRATE, Op.MKCLEAN, *(op for op in Op if op <= Op.TREE)))
    if op == Op.UNMAP:
        return task(op, source.choice(kept))
    if op == Op.MKCLEAN:
        return task(op, CACHE)
    if op == Op.MIGRATE:
        number = source.choice((*ANON, CACHE, DEVICE))
        return task(op, number, source.choice((number, DST)))
    if op == Op.ZAP:
        return task(op, source.randrange(MMS), source.randrange(PAGES))
    if op == Op.FILL:
        return task(op, source.randrange(MMS), source.randrange(PAGES), entry(Entry.PRESENT, source.choice((CACHE, OTHER)), 0))
    if op == Op.TREE:
        return task(op, source.randrange(2))
    return task(op, source.choice((*ANON, CACHE)))
