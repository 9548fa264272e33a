"""mm/memory.c beside `linux.memory_zap`, `linux.memory`, `linux.memory_wp`, `linux.memory_swap` and the part of `linux.fork_dup` that is its, on real page tables: see c/memory.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import ClassVar

from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.memory_view import FaultView
from secondsight.conform.targets.memory_world import (
    FRAMES,
    OF_CHILD,
    PAGES,
    THREADS,
    Brings,
    EntryAs,
    FaultOp,
    Hears,
    MappedAs,
    fault_script,
    fill_pages,
    make_child,
)
from secondsight.lang import Machine
from secondsight.lang.program import Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mmu_notifier_hlist import hlist_add
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.releases import differs

__all__ = ["MemoryFile"]

ELSEWHERE = Stop("elsewhere")
CLOSED = (Stop("bracket_closed"),)
NOT_YET = (Stop("enter"),)
"""Where the C is while the model has looked at the entry once and will look again."""


class MemoryFile(Target):
    """mm/memory.c."""

    file = "mm/memory.c"
    model = "memory.py"
    parts = ("memory_zap.py", "memory_wp.py", "memory_swap.py", "fork_dup.py")
    c = "memory.c"
    linked = ("mm/pgtable-generic.c", "mm/mmu_gather.c")
    functions = (
        "handle_mm_fault", "__handle_mm_fault", "handle_pte_fault", "do_pte_missing", "do_anonymous_page", "do_fault", "do_read_fault", "do_fault_around", "do_cow_fault", "do_shared_fault",
        "finish_fault", "set_pte_range", "do_wp_page", "wp_can_reuse_anon_folio", "wp_page_reuse", "wp_page_shared", "wp_page_copy", "fault_dirty_shared_page", "zap_page_range_single",
        "unmap_vmas", "unmap_page_range", "zap_pte_range", "should_zap_folio", "unmap_mapping_pages", "unmap_mapping_range_tree", "copy_page_range", "vma_needs_copy", "copy_pte_range",
        "copy_present_ptes", "copy_present_page", "copy_nonpresent_pte", "try_restore_exclusive_pte", "restore_exclusive_pte", "do_swap_page", "remove_device_exclusive_entry", "do_set_pte", "should_zap_page", "copy_present_pte",
    )  # fmt: skip
    model_functions = (
        "handle_mm_fault", "handle_pte_fault", "do_anonymous_page", "do_fault_around", "finish_fault", "insert_page", "insert_cow_page", "do_wp_page", "fault_dirty_shared_page",
        "wp_can_reuse_anon_folio", "map_new_page", "wp_page_copy", "wp_page_copy_user", "zap_nonpresent_pte", "held_for_copy", "replace_page", "drop_copied", "zap_page_range_single", "zap_range", "zap_file_pages",
        "zap_pte_range", "zap_entry", "is_cow_page", "tlb_finish_mmu", "unmap_vmas", "unmap_mapping_range", "unmap_mapping_range_tree", "copy_page_range", "copy_pte_range", "is_exclusive_and_locked", "copy_nonpresent_pte", "copy_present_pte",
        "copy_present_page", "do_swap_page", "do_swap_entry", "map_swapped_page", "should_try_to_free_swap", "keeps_slot", "comes_too_late", "do_device_private_page", "remove_device_exclusive_entry", "restore_exclusive_pte",
    )  # fmt: skip
    boundaries = (
        Crossing("fault_script", "faults.of[thread] = ret", Stop("result")),
        Crossing("fault", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("fault", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("zap", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("zap", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("unmap", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("unmap", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("copy_memory", "parent.mmap_lock.write_lock()", Stop("down_write")),
        Crossing("copy_memory", "parent.mmap_lock.write_unlock()", Stop("up_write")),
        Crossing("copy_memory", "with atomic: start = ", Stop("looks_for_vma")),
        Crossing("copy_page_range", "with atomic: vma = ", Stop("copies_vma")),
        Crossing("copy_page_range", "copied = copy_pte_range(", Stop("spin_lock")),
        Crossing("handle_mm_fault", "with atomic: require(", None, NOT_YET),
        Crossing("wp_page_copy_user", "with atomic: old = held_for_copy(", None, NOT_YET),
        Crossing("wp_page_copy_user", "with atomic: copied = replace_page(", Stop("spin_lock")),
        Crossing("wp_page_copy_user", "if not is_zero_page(old): drop_copied(", None, CLOSED),
        Crossing("wp_page_copy_user", "drop_copied(", None, CLOSED),
        Crossing("ShmemFile.fault", "", None, (Stop("shmem_fault"),)),
        Crossing("shmem_wait_and_map", "with atomic: held = ", None, (Stop("shmem_fault"),)),
        Crossing("shmem_wait_and_map", "with atomic: folio_put_unlocked(", Stop("never")),  # nobody has a folio locked over a step
        Crossing("zap_range", "gather = zap_pte_range(", Stop("spin_lock")),
        Crossing("zap_file_pages", "gather = zap_pte_range(", Stop("spin_lock")),
        Crossing("unmap_vmas", "gather = zap_pte_range(", Stop("spin_lock")),
        *(Crossing(function, "tlb_finish_mmu(gather)", Stop("free_pages")) for function in ("zap_range", "zap_file_pages", "unmap")),
        # Faults on entries that are not present: the model looks several times what there is.
        Crossing("do_swap_page", "with atomic:", None, NOT_YET),
        Crossing("do_device_private_page", "with atomic: pte = ", None, NOT_YET),
        Crossing("do_device_private_page", "wait_until(", Stop("device_wait")),
        Crossing("do_device_private_page", "ret = pgmap.migrate_to_ram(", Stop("migrate_to_ram")),
        Crossing("Brings.migrate_to_ram", "", Stop("migrate_to_ram")),
        Crossing("do_device_private_page", "with atomic: device_page_wanted(", Stop("has_migrated")),
        Crossing("remove_device_exclusive_entry", "there = folio_try_get(", None, NOT_YET),
        Crossing("folio_lock_or_retry", "locked = folio_trylock(", Stop("held")),
        Crossing("folio_lock_or_retry", "release_fault_lock(", Stop("up_read")),
        Crossing("folio_lock_or_retry", "wait_until(", Stop("folio_wait")),
        Crossing("folio_lock_or_retry", "folio_lock(", Stop("folio_lock")),
        Crossing("release_fault_lock", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("remove_device_exclusive_entry", "put_page(folio) return ret", Stop("folio_waited")),
        Crossing("remove_device_exclusive_entry", "rng = Range(", None, (ELSEWHERE,)),
        Crossing("remove_device_exclusive_entry", "restore_exclusive_pte(", Stop("spin_lock")),
        Crossing("remove_device_exclusive_entry", "folio_unlock(", Stop("folio_unlock")),
        Crossing("remove_device_exclusive_entry", "put_page(folio) mmu", Stop("folio_unlocked")),
        Crossing("migration_entry_wait", "with atomic: pte = ", None, NOT_YET),
        Crossing("migration_entry_wait", "wait_until(", Stop("migration_wait")),
        Crossing("do_swap_entry", "with atomic: pte = ", None, NOT_YET),
        Crossing("do_swap_entry", "if map_swapped_page(", Stop("found")),
        Crossing("do_swap_entry", "release_fault_lock(", Stop("up_read")),
        Crossing("do_swap_entry", "wait_until(", Stop("folio_wait")),
        Crossing("do_swap_entry", "put_page(folio) return", Stop("folio_waited")),
        Crossing("fault_script", "folio_unlock(", Stop("folio_unlock")),
        Crossing("unmap_mapping_range_tree", "mapping.i_mmap_rwsem.read_lock()", Stop("down_read")),
        Crossing("unmap_mapping_range_tree", "with atomic: vma = ", Stop("next_vma")),
        Crossing("unmap_mapping_range_tree", "mapping.i_mmap_rwsem.read_unlock()", Stop("up_read")),
        *(
            Crossing(function, "", ELSEWHERE)
            for function in (
                "mn_hlist_invalidate_range_start", "mn_hlist_invalidate_end", "mmu_notifier_invalidate_range_start", "mmu_notifier_invalidate_range_end",
                "Hears.invalidate_range_start", "Hears.invalidate_range_end", "srcu_read_unlock",
            )
        ),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("spin_lock"): "a fault looks at the entry and at what it needs, and once more under the page-table lock: the model does all of it in one step",
        Stop("bracket_closed"): "where our own mmu_notifier_invalidate_range_end() returns",
        ELSEWHERE: "where our own stub for another file's function is left at once",
        Stop("folio_unlock"): "a folio is unlocked in the step in which it was locked",
        Stop("folio_unlocked"): "as it is unlocked",
        Stop("held"): "where our own stub has not tried the lock of a device-exclusive entry's folio yet",
        Stop("up_read"): "a fault that has made a page dirty gives the mmap lock up",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    differences: ClassVar[Sequence[StateDifference]] = (
        StateDifference(
            "zaps of a file's dirty pages",
            "the C drops what their entries held before the bracket ends (force_flush), the model after it: our stub keeps them until then",
            "neither",
        ),
        StateDifference(
            "what comes between a fault's look at an entry and the page-table lock",
            "the C looks once more under the lock (pte_same()); in the model, and here, nothing comes between. Of a copy on write the model looks a second time: if the entry "
            "is another by then that has no page, or may be written, both return",
            "may hide",
        ),
        StateDifference(
            "a write on a page in swap that is shared",
            "the C goes on to do_wp_page() under the same lock, in the model the access is tried again: such a write is not asked",
            "may hide",
        ),
        StateDifference(
            "what changes a device-exclusive or a migration entry while a fault on it begins",
            "the model looks at the entry steps before it holds its folio, the C at once: beside such a fault the folio is unlocked and nothing else",
            "may hide",
        ),
        StateDifference(
            "a fork that copies a pinned page",
            "the C gives both page-table locks up to allocate the copy, and goes on at the same page; in the model, and here, nothing comes between",
            "may hide",
        ),
        StateDifference(
            "FAULT_FLAG_UNSHARE of what is no anonymous memory, in 6.1",
            "it does nothing there, and mm/gup.c does not ask for it (`releases`: longterm-pin-of-the-zero-page). Not asked of 6.1",
            "neither",
        ),
        StateDifference(
            "when a fault that has copied a page gives the entry's reference back, in 6.1",
            "under the page-table lock, before the bracket ends; it has one of its own until after it, as the model has both",
            "neither",
        ),
        StateDifference("userfaultfd; huge pages; PFN mappings; write_protect_seq; hardware poison", "not in this world", "may hide"),
    )

    def definitions(self, release: str) -> tuple[str, ...]:
        return () if release == "7.2" else ("CONFIG_DEVICE_PRIVATE=1",)  # which the packaged configurations of 6.1 and 6.12 have not

    def draw(self, source: random.Random, release: str) -> Configuration:
        kinds = [source.choice([*MappedAs]) for _ in range(PAGES)]
        if source.random() < 0.6:
            kinds[1] = kinds[0]
            kinds[2] = kinds[3]
        entries = [source.choice(entries_of(kind, release)) for kind in kinds]
        threads: list[tuple[TargetOperation, ...]] = []
        for _ in range(source.randint(1, THREADS)):
            operations = []
            for _ in range(source.randint(1, 5)):
                what = source.choice((FaultOp.FAULT, FaultOp.FAULT, FaultOp.FAULT, FaultOp.ZAP, FaultOp.UNMAP, FaultOp.PUNCH))
                page = source.randrange(PAGES)
                end = source.randint(page + 1, PAGES)
                if what == FaultOp.ZAP:
                    end = next((i for i in range(page, end) if kinds[i] != kinds[page]), end)
                if what == FaultOp.FAULT and entries[page] in ABSENT:
                    what, end = FaultOp.UNMAP, page + 1
                if what in (FaultOp.ZAP, FaultOp.UNMAP) and kinds[page] == MappedAs.NONE:
                    what = FaultOp.FAULT
                asks = source.choice((0, 1, 1, 4, 5) if release == "6.1" else (0, 1, 1, 2, 4, 5)) if what == FaultOp.FAULT else source.randrange(2)
                operations.append(task(what, page, end, asks))
            threads.append(tuple(operations))
        forks = source.random() < 0.4
        if forks:
            at = source.randint(0, len(threads[0]))
            then = (replace(one, arguments=(*one.arguments[:2], one.arguments[2] | OF_CHILD)) if source.random() < 0.5 else one for one in threads[0][at:])
            threads[0] = (*threads[0][:at], task(FaultOp.FORK, 0, PAGES, 0), *then)
        return Configuration((*setup(kinds, entries, source.randrange(1 << PAGES), forks), _age(release)), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        for configuration in self._bounded(release):
            yield replace(configuration, setup=(*configuration.setup, _age(release)))

    def _bounded(self, release: str) -> Iterator[Configuration]:
        for kind in MappedAs:
            for entry in entries_of(kind, release):
                yield from forked(kind, entry)
            for entry, asks, cached in product(entries_of(kind, release), (0, 1, 2, 5), (0, 1) if kind >= MappedAs.FILE_READ else (0,)):
                fault = (task(FaultOp.FAULT, 0, 1, asks),)
                if release == "6.1" and asks == 2 and entry in (EntryAs.NONE, EntryAs.ZERO, EntryAs.CACHE_READ, EntryAs.CACHE_WRITE, EntryAs.CACHE_WRITTEN):
                    continue
                rest = [MappedAs.NONE] * (PAGES - 1)
                world = setup([kind, *rest], [entry, *([EntryAs.NONE] * (PAGES - 1))], cached)
                if entry in ABSENT:
                    if asks < 2:
                        yield Configuration(world, ((task(FaultOp.ZAP, 0, 1, 0),), (task(FaultOp.UNMAP, 0, 1, 0),)))
                        yield Configuration(world, ((task(FaultOp.PUNCH, 0, PAGES, asks),),))
                    yield from absent_faults(world, entry, asks)
                    continue
                yield Configuration(world, (fault, fault))
                if kind != MappedAs.NONE:
                    yield Configuration(world, (fault, (task(FaultOp.ZAP, 0, 1, 0),)))
                if kind >= MappedAs.FILE_READ:
                    yield Configuration(world, (fault, (task(FaultOp.PUNCH, 0, PAGES, asks & 1),)))

    def scene(self, configuration: Configuration) -> Scene:
        numbers = configuration.setup
        forks, age = numbers[2 * PAGES + 1 :]
        newer, older = int(age == NEWER), int(age == OLDER)
        tasks = [task for thread in configuration.threads for task in thread]
        data: dict[str, Sequence[int]] = {"conform.memory.operation": [FaultOp(task.code) for task in tasks]}
        data |= {f"conform.memory.{name}": [task.arguments[i] for task in tasks] for i, name in enumerate(("first", "second", "third"))}
        sizes = bounds(
            pages=PAGES, vmas=PAGES * (1 + forks), frames=FRAMES, files=1, file_pages=PAGES, cow=1, vma_flags=1, swap_slots=PAGES, migrations=1, owners=1, shmem_swap=1, anon_vmas=1, completed_faults=1, mmu_notifiers=1, subscribers=0, mms=1 + forks, anon_prepared=1, private_memory=1,
            exclusive_is_mapped=newer, restores_by_clear=newer, locks_the_device_page=newer, slot_goes_after_mapping=newer, swapped_in_read_only=older,
        )  # fmt: skip
        machine = Machine(bounds=sizes, pools={Hears: 1 + forks, Brings: 1}, data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            file = memfd_create(PAGES, 0)
            pages = [(MappedAs(numbers[2 * page]), EntryAs(numbers[1 + 2 * page])) for page in range(PAGES)]
            fill_pages(mm, file, pages, numbers[2 * PAGES], machine.pool(Brings).alloc())
            mms = (mm, make_child(mm)) if forks else (mm,)
            hears = [machine.pool(Hears).alloc() for _ in mms]
            for one, hearing in zip(mms, hears, strict=True):
                hlist_add(one.subscriptions, hearing)
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", fault_script, (mm, mms[-1], file, number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (fault_script,)))
            return FaultView(program, mms, file, hears, len(threads), self.boundaries, bool(newer)).scene()


ABSENT = (EntryAs.SWAPPED, EntryAs.SWAPPED_ALONE, EntryAs.MOVED, EntryAs.PRIVATE, EntryAs.TAKEN, EntryAs.TAKEN_LOCKED, EntryAs.CACHED, EntryAs.CACHED_LOCKED)
"""Entries that are not present: they are zapped, and faults on them are asked of the bounded configurations."""


OLDER, NEWER = 2, 1
"""Releases that differ from 6.12 here: what comes back from swap for a read may not be written; a device-exclusive entry counts as a mapping, a fault locks the page in a device's memory
that it asks for, and a slot of swap goes after its page is mapped."""


def _age(release: str) -> int:
    """Which of these it is, or 0."""
    if not differs("exclusive-page-stays-mapped", release):
        return NEWER
    return OLDER if differs("swapped-in-for-reading-may-be-written", release) else 0


def entries_of(kind: MappedAs, release: str) -> tuple[EntryAs, ...]:
    """What the page table can have where something is mapped."""
    taken = (EntryAs.TAKEN, EntryAs.TAKEN_LOCKED)
    absent = [entry for entry in ABSENT if entry not in taken]
    own = (EntryAs.READ, EntryAs.SHARED, EntryAs.PINNED, *absent, *(() if release == "7.2" else taken))  # there they can be written
    written = (EntryAs.WRITE, EntryAs.WRITTEN, EntryAs.PINNED_WRITE, *(taken if release == "7.2" else ()))
    of = {
        MappedAs.NONE: (),
        MappedAs.READ: (*own, EntryAs.ZERO),
        MappedAs.WRITE: (*own, *written, EntryAs.ZERO),
        MappedAs.FILE_READ: (EntryAs.CACHE_READ,),
        MappedAs.FILE_WRITE: (EntryAs.CACHE_READ, EntryAs.CACHE_WRITE, EntryAs.CACHE_WRITTEN),
        MappedAs.PRIVATE_READ: (*own, EntryAs.CACHE_READ),
        MappedAs.PRIVATE_WRITE: (*own, *written, EntryAs.CACHE_READ),
    }
    return (EntryAs.NONE, *of[kind])


def absent_faults(world: tuple[int, ...], entry: EntryAs, asks: int) -> Iterator[Configuration]:
    """Faults on an entry that is not present, beside who changes it, and beside who unlocks its folio."""
    fault, unlock = task(FaultOp.FAULT, 0, 1, asks), (task(FaultOp.UNLOCK, 0, 1, 0),)
    locked = entry in (EntryAs.MOVED, EntryAs.TAKEN_LOCKED, EntryAs.CACHED_LOCKED)
    if asks & 1 and entry == EntryAs.SWAPPED:
        return  # the C goes on to do_wp_page(), in the model the access is tried again
    for retries in (fault, task(FaultOp.FAULT, 0, 1, asks | 4)):
        yield Configuration(world, ((retries,), *([unlock] if locked else [])))
        if entry not in (EntryAs.MOVED, EntryAs.TAKEN, EntryAs.TAKEN_LOCKED):
            yield Configuration(world, ((retries,), (fault,), *([unlock] if locked else [])))
            yield Configuration(world, ((retries,), (task(FaultOp.ZAP, 0, 1, 0),), *([unlock] if locked else [])))


def forked(kind: MappedAs, entry: EntryAs) -> Iterator[Configuration]:
    """Forks of a process that has the entry, beside a page of the same vma; then either process writes, or unmaps."""
    rest = [MappedAs.NONE] * (PAGES - 2)
    beside = EntryAs.NONE if kind == MappedAs.NONE else EntryAs.CACHE_READ if kind in (MappedAs.FILE_READ, MappedAs.FILE_WRITE) else EntryAs.PINNED
    world = setup([kind, kind, *rest], [entry, beside, *([EntryAs.NONE] * (PAGES - 2))], 1, forks=True)
    fork = task(FaultOp.FORK, 0, PAGES, 0)
    if entry in ABSENT:
        yield Configuration(world, ((fork, task(FaultOp.UNMAP, 0, 1, OF_CHILD)), (task(FaultOp.ZAP, 0, 1, 0),)))
        yield Configuration(world, ((fork,), (task(FaultOp.PUNCH, 0, PAGES, 1),)))
        return
    yield Configuration(world, ((fork, task(FaultOp.FAULT, 0, 1, 1 | OF_CHILD)), (task(FaultOp.FAULT, 0, 1, 1),)))
    if kind != MappedAs.NONE:
        yield Configuration(world, ((fork, task(FaultOp.UNMAP, 0, 2, OF_CHILD)), (task(FaultOp.FAULT, 0, 1, 1),)))
    if kind >= MappedAs.FILE_READ:
        yield Configuration(world, ((fork,), (task(FaultOp.PUNCH, 0, PAGES, 1),)))


def task(op: FaultOp, first: int, end: int, asks: int) -> TargetOperation:
    """An operation of a thread on the pages `first` to before `end`."""
    return TargetOperation(op, op.name.lower(), (first, end, asks))


def setup(kinds: Sequence[MappedAs], entries: Sequence[EntryAs], cached: int, forks: bool = False) -> tuple[int, ...]:
    """A configuration's numbers. A page of the file that is mapped is in it."""
    numbers: list[int] = []
    for page, (kind, entry) in enumerate(zip(kinds, entries, strict=True)):
        numbers += [kind, entry]
        if EntryAs.CACHE_READ <= entry <= EntryAs.CACHE_WRITTEN:
            cached |= 1 << page
    return (*(int(number) for number in numbers), cached, int(forks))
