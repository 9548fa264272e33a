"""mm/migrate.c beside `linux.migrate`, on the real page tables of two processes: see c/migrate.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.migrate_mutants import EQUIVALENT
from secondsight.conform.targets.migrate_view import MigrateView
from secondsight.conform.targets.migrate_world import MovableFile, make_movable_world, movers
from secondsight.conform.targets.rmap import RmapFile, drawn_operations, task
from secondsight.conform.targets.rmap_world import (
    ANON,
    CACHE,
    DST,
    FRAMES,
    MMS,
    OTHER,
    PAGES,
    THREADS,
    Entry,
    How,
    Op,
    entry,
    make_machine,
    make_processes,
    make_program,
)
from secondsight.linux.releases import differs

__all__ = ["MigrateFile"]

FREE = 1 + FRAMES - 1 - OTHER
"""Frames that are free when it begins: the one that is to take another's place, and those behind the last that is used."""
BACK = Stop("walk", "remove_migration_ptes")
UNLOCK = (Stop("unlock", "migrate_folio_move"), Stop("unlock", "__migrate_folio_move"))
UNLOCKED = (Stop("unlocked", "migrate_folio_move"), Stop("unlocked", "__migrate_folio_move"))
GIVE_UP = (Stop("unlock", "migrate_folio_undo_src"), Stop("unlock", "__migrate_folio_unmap"))
"""Each in the newer function, and in that of 6.1."""


class MigrateFile(Target):
    """mm/migrate.c, with mm/rmap.c as it is: migrate_pages() of one folio, in one pass or in all that it makes."""

    file = "mm/migrate.c"
    model = "migrate.py"
    parts = ("rmap_migrate.py",)
    c = "migrate.c"
    linked = ("mm/page_vma_mapped.c", "mm/pgtable-generic.c", "mm/interval_tree.c", "lib/rbtree.c", "mm/rmap.c")
    functions = (
        "migrate_pages", "migrate_pages_sync", "migrate_pages_batch", "migrate_folio_unmap", "migrate_folio_move", "move_to_new_folio", "migrate_folio", "__folio_migrate_mapping", "folio_migrate_mapping", "__migrate_folio_unmap", "__migrate_folio_move", "migrate_folio_extra", "folio_migrate_flags", "migrate_folio_done",
        "migrate_folio_undo_src", "migrate_folio_undo_dst", "remove_migration_ptes", "remove_migration_pte", "putback_movable_pages",
    )  # fmt: skip
    model_functions = (
        "migrate_one", "migrate_in_passes", "migrate_misplaced_folio", "migrate_locked", "migrate_folio_move", "migration_begins", "migration_ends", "copy_folio", "folio_migrate_mapping", "folio_expected_refs",
        "remove_migration_ptes", "rmap_walk_from_migration", "remove_migration_pte", "try_to_migrate",
    )  # fmt: skip
    boundaries = (
        Crossing("movers", "world.of[thread] = ret", Stop("result")),
        Crossing("movers", "ret = one(", Stop("one")),
        Crossing("movers", "ret = move(", Stop("start")),
        Crossing("movers", "ret = use(", Stop("start")),
        Crossing("move", "isolated = isolate(", Stop("isolate")),
        Crossing("use", "begun = begin_use(", Stop("begin")),
        Crossing("use", "end_use(", Stop("release")),
        Crossing("migrate_one", "with atomic: wait_until(", Stop("pass")),
        Crossing("migrate_in_passes", "with atomic: wait_until(", Stop("pass")),
        Crossing("migrate_in_passes", "with atomic: unmapped =", None, (Stop("move"), BACK, *GIVE_UP)),
        Crossing("migrate_in_passes", "with atomic: migration_ends(", UNLOCKED[0], (UNLOCKED[1], *GIVE_UP)),
        Crossing("migrate_in_passes", "with atomic: folio_putback_lru(", Stop("putback")),
        Crossing("migrate_misplaced_folio", "with atomic:", Stop("pass")),
        Crossing("migrate_folio_move", "ret = copy_folio(", Stop("move"), (BACK, *GIVE_UP)),
        Crossing("migrate_folio_move", "ret = folio_migrate_mapping(", Stop("copied")),
        Crossing("migrate_folio_move", "with atomic: dst =", None, (BACK, *UNLOCK, *GIVE_UP)),
        Crossing("migrate_folio_move", "folio_unlock(dst)", UNLOCK[0], (UNLOCK[1], *GIVE_UP)),
        Crossing("migrate_locked", "with atomic: migration_ends(", UNLOCKED[0], (UNLOCKED[1], *GIVE_UP)),
        *(crossing for crossing in RmapFile.boundaries if crossing.function not in ("script", "unmap", "migrate", "mkclean")),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        **RmapFile.merged,
        Stop("unlock"): "the old folio is unlocked in one step with what comes before and after: nobody has it any more, or it is as it was",
        Stop("unlocked"): "as `unlock`",
        Stop("move"): "another attempt within a stage, of a folio that nothing maps and whose references nobody has changed since the last: it fails as that did",
        Stop("spin_lock", "folio_migrate_mapping"): "as of the function that it is called in later releases, below",
        Stop("spin_lock", "__folio_migrate_mapping"): "the lock of the cache's tree, which nobody else takes here: what was looked at before is looked at again under it",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    differences: ClassVar[Sequence[StateDifference]] = (
        StateDifference(
            "several folios, and several passes but in worlds that have them (the bound `migration_passes`)",
            "one folio; one attempt of the model's, at any time, does what the last of several does",
            "neither",
        ),
        StateDifference(
            "what a pass does before it waits for the folio's lock, or for the end of a write",
            "the C has looked by then whether the folio was freed, and has the new one; the model does so when it need not wait. A pass begins when it need not",
            "neither",
        ),
        StateDifference(
            "when a folio is copied, in 6.1",
            "after it has taken the old one's place in the cache, locked and not up to date, so that nobody reads it; the model copies before, as later releases do",
            "neither",
        ),
        StateDifference(
            "who takes a reference to private memory in no cache while it is moved, in 6.1",
            "references are looked at once there, with the move itself; the model, and the C since 6.11, look before they copy. Nobody finds such a folio any more. Not asked of 6.1",
            "neither",
        ),
        StateDifference("in which order both folios are unlocked after an error", "the new one is nobody's: whether it is locked is not looked at", "neither"),
        StateDifference("whether private memory is dirty that nothing maps", "the old folio keeps the bit in the C, and is freed", "neither"),
        StateDifference("huge pages, hugetlb, buffers, folios of drivers", "folios of one page, whose file moves them by migrate_folio()", "may hide"),
    )
    equivalent = EQUIVALENT

    def definitions(self, release: str) -> tuple[str, ...]:
        return RmapFile().definitions(release)

    def draw(self, source: random.Random, release: str) -> Configuration:
        drawn = RmapFile().draw(source, release)
        hows = [how & ~How.HELD if source.random() < 0.7 else how for how in drawn.setup[-FRAMES:-1]]
        hows = [0 if number == DST or number > OTHER else how for number, how in enumerate(hows, 1)]
        movable = (*ANON, CACHE)
        threads = []
        for number in range(source.randint(1, THREADS)):
            operations = drawn_operations(source, number, lambda: _drawn(source, movable))
            threads.append(tuple(operations or [task(Op.MOVE, ANON[0])]))
        threads = _as_many_as_frames_are_free(threads)
        if release == "6.1":
            threads = [tuple(task(Op.TREE, 0) if _takes_reference(one, hows) else one for one in thread) for thread in threads]
        return Configuration((*drawn.setup[:-FRAMES], *hows, drawn.setup[-1], _passes(release) * int(source.random() < 0.3)), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        outlives = int(not differs("held-page-stays-lazyfree", release))
        for passes, configurations in ((0, _bounded()), (_passes(release), _bounded_in_passes())):
            for configuration in configurations:
                hows = configuration.setup[-(FRAMES - 1) :]
                if release != "6.1" or not any(_takes_reference(one, hows) for thread in configuration.threads for one in thread):
                    yield replace(configuration, setup=(*configuration.setup, outlives, passes))

    def scene(self, configuration: Configuration) -> Scene:
        *setup, outlives, passes = configuration.setup
        machine = make_machine(configuration, MovableFile, migrations=2, lazyfree_outlives_holders=outlives, exclusive_is_mapped=outlives, migration_passes=passes)
        with machine:
            file = machine.pool(MovableFile).alloc()
            make_processes(machine)
            folios = make_movable_world(machine, file, setup)
            program = make_program(machine, configuration, movers, file)
            return MigrateView(program, file, folios, len(configuration.threads), self.boundaries, self.file, bool(outlives)).scene()


def _takes_reference(one: TargetOperation, hows: Sequence[int]) -> bool:
    """Whether somebody takes a reference to private memory in no cache, or gives back one of his own: see `MigrateFile.differences`."""
    return one.code in (Op.HOLD, Op.DROP, Op.PIN, Op.UNPIN) and one.arguments[0] in ANON and not hows[one.arguments[0] - 1] & How.CACHED


def _passes(release: str) -> int:
    """The bound `migration_passes` where all of them are there."""
    return 2 if differs("a-migration-unmaps-once-a-stage", release) else 1


def _setup(kinds: Sequence[int], entries: Sequence[int], hows: Mapping[int, int]) -> tuple[int, ...]:
    """A configuration's numbers: two vmas of anonymous memory (0) or the file (1), their entries, and how frames are."""
    vmas = [number for i, kind in enumerate(kinds) for number in (kind, i, 0, 0)]
    return (*vmas, *entries, *(int(hows.get(number, 0)) for number in range(1, FRAMES)))


def _bounded() -> Iterator[Configuration]:
    """One who moves a folio, and somebody beside."""
    private, shared = (0, 0), (1, 1)
    twice = (entry(Entry.PRESENT, 1), 0, entry(Entry.PRESENT, 1, 2), 0)
    alone = (entry(Entry.PRESENT, 1, 3), 0, 0, 0)
    cached = (entry(Entry.PRESENT, CACHE, 1), 0, entry(Entry.PRESENT, CACHE, 3), 0)
    nobody = (0, 0, 0, 0)
    for op in (Op.MOVE, Op.MISPLACED):
        for how in (0, How.HELD, How.CACHED, How.CACHED | How.HELD, How.DIRTY, How.LAZY, How.PINNED):
            yield Configuration(_setup(private, alone, {1: how | How.EXCLUSIVE}), ((task(op, 1),),))
        yield Configuration(_setup(private, twice, {}), ((task(op, 1),),))
        yield Configuration(_setup(private, nobody, {1: How.CACHED}), ((task(op, 1),), (task(Op.TREE, 0),)))
        yield Configuration(_setup(shared, nobody, {CACHE: How.DIRTY}), ((task(op, CACHE),), (task(Op.TREE, 1),)))
        for beside in ((task(Op.ZAP, 0, 0), task(Op.ZAP, 1, 1)), (task(Op.HOLD, 1), task(Op.DROP, 1)), (task(Op.TREE, 0),), (task(Op.LOCK, 1),), (task(Op.WRITEBACK, 1),)):
            yield Configuration(_setup(private, twice, {}), ((task(op, 1),), beside))
            yield Configuration(_setup(private, alone, {1: How.CACHED | How.EXCLUSIVE}), ((task(op, 1),), beside))
        for beside in ((task(Op.ZAP, 0, 0), task(Op.FILL, 0, 0, entry(Entry.PRESENT, CACHE))), (task(Op.HOLD, CACHE), task(Op.DROP, CACHE)), (task(Op.TREE, 1),)):
            yield Configuration(_setup(shared, cached, {}), ((task(op, CACHE),), beside))
        yield Configuration(_setup(private, alone, {1: How.EXCLUSIVE}), ((task(op, 1),), (task(Op.PIN, 1), task(Op.UNPIN, 1))))
        yield Configuration(_setup(private, alone, {1: How.EXCLUSIVE}), ((task(op, 1),), (task(Op.MOVE, 1),)))
    yield Configuration(_setup((0, 1), (entry(Entry.PRESENT, 1), 0, entry(Entry.PRESENT, CACHE), 0), {}), ((task(Op.MOVE, 1),), (task(Op.MOVE, CACHE),)))


def _bounded_in_passes() -> Iterator[Configuration]:
    """Who tries it as often as the kernel does, and somebody beside."""
    alone = (entry(Entry.PRESENT, 1, 3), 0, 0, 0)
    nobody = (0, 0, 0, 0)
    for how in (0, How.HELD, How.CACHED | How.HELD, How.PINNED):
        yield Configuration(_setup((0, 0), alone, {1: how | How.EXCLUSIVE}), ((task(Op.MOVE, 1),),))
    yield Configuration(_setup((0, 0), nobody, {1: How.CACHED}), ((task(Op.MOVE, 1),), (task(Op.LOCK, 1),)))
    for beside in ((task(Op.HOLD, 1), task(Op.DROP, 1)), (task(Op.LOCK, 1),), (task(Op.WRITEBACK, 1),), (task(Op.PIN, 1), task(Op.UNPIN, 1)), (task(Op.ZAP, 0, 0),)):
        yield Configuration(_setup((0, 0), alone, {1: How.CACHED | How.EXCLUSIVE}), ((task(Op.MOVE, 1),), beside))


def _as_many_as_frames_are_free(threads: list[tuple[TargetOperation, ...]]) -> list[tuple[TargetOperation, ...]]:
    """Without the moves for which there may be no frame any more: each takes one, and what somebody holds is not given back."""
    kept, left = [], FREE
    for thread in threads:
        mine = []
        for one in thread:
            moves = one.code in (Op.MOVE, Op.MISPLACED)
            if not moves or left > 0:
                mine.append(one)
            left -= moves
        kept.append(tuple(mine or [task(Op.TREE, 0)]))
    return kept


def _drawn(source: random.Random, movable: Sequence[int]) -> TargetOperation:
    op = source.choice((Op.MOVE, Op.MOVE, Op.MISPLACED, *(op for op in Op if Op.HOLD <= op <= Op.WRITEBACK)))
    if op == Op.ZAP:
        return task(op, source.randrange(MMS), source.randrange(PAGES))
    if op == Op.FILL:
        return task(op, source.randrange(MMS), source.randrange(PAGES), entry(Entry.PRESENT, CACHE, 0))
    if op == Op.TREE:
        return task(op, source.randrange(2))
    return task(op, source.choice(movable))
