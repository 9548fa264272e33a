"""The world in which mm/migrate.c is compared, in the language: that of mm/rmap.c, with somebody who moves folios, and folios that are locked or written for a while."""

from __future__ import annotations

from collections.abc import Sequence

from secondsight.conform.targets.rmap_world import (
    ANON,
    CACHE,
    DST,
    OTHER,
    Index,
    Op,
    Value,
    first,
    frame,
    make_world,
    one,
    operation,
    tree,
    world,
)
from secondsight.lang import Machine, Ref, atomic
from secondsight.linux.filemap import folio_trylock, folio_unlock
from secondsight.linux.migrate import migrate_folio, migrate_misplaced_folio
from secondsight.linux.mm_types import AddressSpace, Folio, Pgoff
from secondsight.linux.page_alloc import get_page, put_page
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.swapops import migrations

__all__ = ["MovableFile", "make_movable_world", "movers"]


class MovableFile(AddressSpace):
    """A file of one page, which may be in another folio afterwards."""

    page: Ref[Folio]

    def migrate_folio(self, pgoff: Pgoff, folio: Folio) -> None:
        self.page = folio


@atomic
def isolate(folio: Folio) -> bool:
    """Take the folio off its list; false: it is free by now, or somebody has, or it is on none yet: somebody has taken it for a new one."""
    if any(migration.dst is folio for migration in migrations):
        return False
    return folio.refcount > 0 and folio_isolate_lru(folio)


def move(folio: Folio, waits: bool) -> Value:
    """As move_pages(2) has it moved, or (`waits` is false) a fault."""
    isolated = isolate(folio)
    if not isolated:
        return -1
    ret: Value = 0
    if waits:
        ret = migrate_folio(folio)
    else:
        ret = migrate_misplaced_folio(folio)
    return 0 if ret == 0 else 1


@atomic
def begin_use(folio: Folio, writes: bool) -> bool:
    """Lock a folio, or begin to write it; false: it is free, locked, or written."""
    if folio.refcount == 0 or (writes and (folio.locked or folio.writeback)):
        return False
    if writes:
        folio.writeback = True
    else:
        locked = folio_trylock(folio)
        if not locked:
            return False
    get_page(folio)
    return True


@atomic
def end_use(folio: Folio, writes: bool) -> None:
    """Unlock it, or end the write."""
    if writes:
        folio.writeback = False
    else:
        folio_unlock(folio)
    put_page(folio)


def use(folio: Folio, writes: bool) -> Value:
    """A folio is locked, or written, for a while."""
    begun = begin_use(folio, writes)
    if not begun:
        return 0
    end_use(folio, writes)
    return 1


def movers(file: MovableFile, thread: Index, at: Index, last: Index) -> None:
    """What a thread does: the operations from `at` to before `last`."""
    while at < last:
        op = operation[at]
        ret: Value = 0
        if op == Op.MOVE or op == Op.MISPLACED:
            ret = move(frame(first[at]), op == Op.MOVE)
        elif op == Op.LOCK or op == Op.WRITEBACK:
            ret = use(frame(first[at]), op == Op.WRITEBACK)
        elif op == Op.TREE:
            tree(file, first[at])
        else:
            ret = one(op, at)
        world.of[thread] = ret
        at += 1


def make_movable_world(machine: Machine, file: MovableFile, setup: Sequence[int]) -> list[Folio]:
    """As `make_world`; but private memory is held by what maps it alone, some frames are free, and of each page it can be told which it was."""
    folios = make_world(machine, file, setup)
    for number, folio in enumerate(folios, 1):
        if number in (*ANON, OTHER):
            folio.refcount -= 0 if folio.lazyfree[0] else 1
        elif number == DST or number > OTHER:
            put_page(folio)
        if number in (*ANON, CACHE):
            folio.contents = number
    file.page = folios[CACHE - 1]
    return folios
