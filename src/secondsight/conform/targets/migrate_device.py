"""mm/migrate_device.c beside `linux.migrate_device`, on real page tables: see c/migrate_device.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import ClassVar

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop, stops_of
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.migrate_device_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.conform.targets.migrate_device_world import (
    COLUMNS,
    EXCLUSIVE,
    LOG,
    PAGES,
    PINNED,
    THREADS,
    Entry,
    Fault,
    File,
    Gpu,
    Memory,
    Op,
    To,
    VmaKind,
    make_world,
    script,
    world,
)
from secondsight.lang import Machine
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.migrate_device import MIGRATE_VMA_SELECT_DEVICE_PRIVATE, MIGRATE_VMA_SELECT_SYSTEM
from secondsight.linux.mm_types import Folio, Mm, PteKind
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.releases import differs

__all__ = ["MigrateDeviceFile"]

LEVELS = 3
NOT_YET = -1
"""What the C is given in a function of mm/mmu_notifier.c until the model's has returned; 1: its subscriber was called."""
ELSEWHERE = Stop("elsewhere")
SYSTEM, DEVICE = MIGRATE_VMA_SELECT_SYSTEM, MIGRATE_VMA_SELECT_DEVICE_PRIVATE
GIVE = Stop("give")
FINALIZE = Stop("page", "migrate_device_finalize")
MOVES = Stop("page", "__migrate_device_pages")
UNMAPS = Stop("page", "migrate_device_unmap")
UNLOCK = Stop("folio_unlock", "migrate_device_finalize")


class MigrateDeviceFile(Target):
    """mm/migrate_device.c, with mm/pagewalk.c on real page tables."""

    file = "mm/migrate_device.c"
    model = "migrate_device.py"
    parts = ("migrate_device_pages.py",)
    c = "migrate_device.c"
    linked = ("mm/pagewalk.c",)
    releases = ("6.1", "6.12", "7.2")
    functions = (
        "migrate_vma_setup", "migrate_vma_collect", "migrate_vma_collect_hole", "migrate_vma_collect_skip", "migrate_vma_collect_pmd", "migrate_vma_unmap",
        "migrate_device_unmap", "migrate_vma_check_page", "migrate_vma_pages", "__migrate_device_pages", "migrate_vma_insert_page", "migrate_vma_finalize",
        "migrate_device_finalize", "__migrate_device_finalize",
    )  # fmt: skip
    model_functions = (
        "migrate_vma_setup", "migrate_vma_problem", "migrate_vma_collect_pmd", "populates", "selected", "migrate_device_unmap", "isolates", "migrate_vma_check_page",
        "migrate_vma_pages", "migrate_one", "may_go", "folio_migrate_mapping", "migrate_vma_insert_page", "migrate_vma_finalize",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "world.of[thread] = ret", Stop("result")),
        Crossing("script", "ret = one(", Stop("one")),
        Crossing("migrate", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("migrate", "with migrate_vmas.on_stack()", Stop("stack")),
        Crossing("migrate", "faulted = prepare(", Stop("prepare")),
        Crossing("migrate", "ret = give(", GIVE),
        Crossing("migrate", "ret += moved(", Stop("moved")),
        Crossing("migrate", "with atomic: if faulted", Stop("end")),
        Crossing("migrate", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("migrate_vma_setup", "refused = ", Stop("setup")),
        Crossing("migrate_vma_setup", "with atomic: mm = args.mm", None, (ELSEWHERE,)),
        Crossing("migrate_vma_setup", "cpages = migrate_vma_collect_pmd(", Stop("find_vma")),
        Crossing("migrate_device_unmap", "npages = ", Stop("lru_add_drain")),
        Crossing("migrate_device_unmap", "with atomic: folio = args.src[i] mapped", UNMAPS),
        Crossing("migrate_device_unmap", "try_to_migrate(", ELSEWHERE),
        Crossing("migrate_device_unmap", "remove_migration_ptes(", Stop("rmap")),
        Crossing("migrate_device_unmap", "migrate_vma_check_page(", Stop("folio_mapping", "migrate_vma_check_page"), (UNMAPS, GIVE)),
        Crossing("migrate_device_unmap", "with atomic: folio = args.src[i] restores", UNMAPS, (GIVE,)),
        Crossing("migrate_device_unmap", "with atomic: args.src[i] = None", Stop("folio_unlock", "migrate_device_unmap"), (Stop("folio_put", "migrate_device_unmap"),)),
        Crossing("migrate_vma_pages", "npages = ", Stop("pages")),
        Crossing("migrate_vma_pages", "inserts = migrate_one(", MOVES),
        Crossing("migrate_vma_pages", "with atomic: mm = args.mm owner = args.pgmap_owner va", None, (ELSEWHERE, Stop("page_table"))),
        Crossing("migrate_vma_pages", "migrate_vma_insert_page(", Stop("page_table"), (MOVES, ELSEWHERE)),
        Crossing("migrate_vma_pages", "with atomic: mm = args.mm owner = args.pgmap_owner end", None, (ELSEWHERE,)),
        Crossing("migrate_vma_finalize", "npages = ", Stop("finalize")),
        Crossing("migrate_vma_finalize", "with atomic: src, dst", FINALIZE),
        Crossing("migrate_vma_finalize", "with atomic: folio_unlock(dst)", UNLOCK),
        Crossing("migrate_vma_finalize", "with atomic: if not is_locked_for_us", UNLOCK, (Stop("folio_put", "migrate_device_finalize"),)),
        Crossing("rmap_walk_lock", "with atomic:", Stop("rmap_folio")),
        Crossing("rmap_walk_lock_slowly", "", ELSEWHERE),
        Crossing("rmap_walk_from_migration", "vma = rmap_walk_first(", Stop("rmap_first")),
        Crossing("rmap_walk_from_migration", "with atomic:", Stop("rmap_one")),
        Crossing("rmap_walk_unlock", "with atomic:", Stop("rmap_unlock")),
        Crossing("rmap_walk_unlock", "anon_vma.rwsem.read_unlock()", Stop("rmap_unlocked")),
        *(
            Crossing(function, "", ELSEWHERE)
            for function in (
                "Gpu.invalidate", "mmu_notifier_invalidate_range_start", "mmu_notifier_invalidate_range_end", "mn_itree_invalidate", "mn_itree_inv_end", "inv_end",
                "rmap_walk_lock", "folio_lock_anon_vma_read", "rmap_walk_unlock", "rmap_walk_to_migrate", "try_to_migrate_one", "try_to_migrate",
            )
        ),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        ELSEWHERE: "where our own stub for another file's function is left at once",
        Stop("find_vma"): "the vma after the one that is looked at: under the mmap lock nothing is mapped or taken out",
        Stop("page_table"): "nothing is done between the vma and the lock of its page table",
        Stop("rmap"): "where our own remove_migration_ptes() begins",
        Stop("folio_mapping"): "a look at the folio, which is locked",
        Stop("folio_put"): "what is given back first is no business of whoever has the second (Linux 7.2)",
        Stop("folio_unlock"): "a folio's lock is tried and not waited for here, and what is unlocked first is no business of whoever has the second",
    }
    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    differences = (
        StateDifference(
            "rmap and migration of folios",
            "remove_migration_ptes(), folio_migrate_mapping() and folio_isolate_lru() are stubs of our own that do what the model's do, step by step",
            "may hide",
        ),
        StateDifference(
            "what is mapped elsewhere too",
            "one mm, and one entry for a page: try_to_migrate() is not called, nor is there migrate_device_range(). Neither are huge pages, pages in swap, "
            "coherent memory, userfaultfd",
            "may hide",
        ),
        StateDifference("several entries in one look", "the kernel holds the page table's lock; so does the C here, and the model makes one step of it", "neither"),
    )

    def definitions(self, release: str) -> tuple[str, ...]:
        return () if release == "7.2" else ("CONFIG_DEVICE_PRIVATE=1",)  # which the packaged configurations of 6.1 and 6.12 have not

    def draw(self, source: random.Random, release: str) -> Configuration:
        kind = source.choice((VmaKind.WRITE, VmaKind.WRITE, VmaKind.WRITE, VmaKind.READ, VmaKind.FILE, VmaKind.PFNMAP))
        setup = [source.randrange(LEVELS + 1), kind, int(source.random() < 0.1), _locks(release)]
        for _ in range(PAGES):
            entry = source.choice(_entries(kind))
            setup += [entry, source.choice(_states(entry))]
        threads = [[_drawn_migration(source)]]
        for _ in range(source.randint(0, THREADS - 1)):
            if source.random() < 0.4:
                threads.append([_drawn_migration(source)])
            else:
                threads.append([task(source.choice(list(Op)[1:]), source.randrange(PAGES)) for _ in range(source.randint(1, 4))])
        return Configuration(tuple(setup), tuple(tuple(operations) for operations in threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        locks = _locks(release)
        for entry, kind, to, fault in product(Entry, (VmaKind.WRITE, VmaKind.READ), To, (Fault.NONE, Fault.DEVICE)):
            for how, flags in product(_states(entry), (SYSTEM, DEVICE)):
                if entry in _entries(kind) and (not fault or entry >= Entry.DEVICE_READ):
                    yield Configuration(_setup(locks, kind, (entry, how)), ((task(Op.MIGRATE, 0, 1, flags, to, fault),),))
        for entry, flags, fault in product((Entry.WRITE, Entry.DEVICE_WRITE, Entry.OTHERS), (SYSTEM, DEVICE), (Fault.ANY, Fault.UNLOCKED)):
            yield Configuration(_setup(locks, VmaKind.WRITE, (entry, EXCLUSIVE)), ((task(Op.MIGRATE, 0, 1, flags, To.SYSTEM, fault),),))
        for kind in (VmaKind.FILE, VmaKind.PFNMAP):
            yield Configuration(_setup(locks, kind, (Entry.NONE, 0)), ((task(Op.MIGRATE, 0, 2, SYSTEM, To.DEVICE, 0),),))
        for levels in range(LEVELS):
            for kind, to in ((VmaKind.FILE, To.DEVICE), (VmaKind.WRITE, To.NOTHING)):
                yield Configuration((levels, kind, 0, locks, Entry.NONE, 0, Entry.NONE, 0), ((task(Op.MIGRATE, 0, 2, SYSTEM, to, Fault.NONE),),))
        for levels, unstable in product(range(LEVELS + 1), (0, 1)):
            setup = (levels, VmaKind.WRITE, unstable, locks, Entry.NONE, 0, Entry.NONE, 0)
            yield Configuration(setup, ((task(Op.MIGRATE, 0, 2, SYSTEM, To.DEVICE, 0),), (task(Op.FILL, 1),)))
        yield from _beside(locks)

    def scene(self, configuration: Configuration) -> Scene:
        _, kind, unstable, locks, *pages = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        columns = [(*task.arguments, 0, 0, 0, 0, 0)[:5] for task in tasks]
        data: dict[str, Sequence[int]] = {"conform.migrate_device.operation": [Op(task.code) for task in tasks]}
        data |= {f"conform.migrate_device.{name}": [column[i] for column in columns] for i, name in enumerate(COLUMNS)}
        sizes = bounds(
            pages=PAGES, vmas=1, frames=1 + PAGES * (2 + 2 * THREADS), subscribers=1, private_memory=1, owners=2, anon_vmas=1, cow=1,
            migrations=1, migrate_pages=PAGES, migrate_vmas=THREADS, locks_the_device_page=locks,
        )  # fmt: skip
        machine = Machine(bounds=sizes, pools={Gpu: 1, Memory: 2, File: 1}, data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            mm.unstable = unstable == 1
            mn.mmu_interval_notifier_insert(machine.pool(Gpu).alloc().notifier, mm, 0, PAGES)
            frames = make_world(machine, mm, VmaKind(kind), [(Entry(pages[2 * i]), pages[2 * i + 1]) for i in range(PAGES)])
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (mm, number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            view = _View(program, mm, frames, len(threads), self.boundaries)
            return Scene(program, view.look, given=view.given)


def _beside(locks: int) -> Iterator[Configuration]:
    """Two pages, and somebody beside the one who moves them."""
    both = task(Op.MIGRATE, 0, 2, SYSTEM, To.DEVICE, 0)
    back = task(Op.MIGRATE, 0, 2, DEVICE, To.SYSTEM, 0)
    ordinary, device = _setup(locks, VmaKind.WRITE, (Entry.WRITE, EXCLUSIVE), (Entry.READ, 0)), _setup(locks, VmaKind.WRITE, (Entry.DEVICE_WRITE, EXCLUSIVE), (Entry.WRITE, EXCLUSIVE))
    for one in (
        (task(Op.HOLD, 0), task(Op.DROP, 0)), (task(Op.LOCK, 0), task(Op.UNLOCK, 0)), (task(Op.ISOLATE, 0), task(Op.PUTBACK, 0)),
        (task(Op.HOLD, 1), task(Op.DROP, 1)), (task(Op.LOCK, 1), task(Op.UNLOCK, 1)), (task(Op.ISOLATE, 1), task(Op.PUTBACK, 1)),
        (task(Op.ZAP, 0), task(Op.FILL, 0)), (task(Op.ZAP, 1), task(Op.FILL, 1)),
    ):  # fmt: skip
        yield Configuration(ordinary, ((both,), one))
        yield Configuration(device, ((back,), one))
    yield Configuration(_setup(locks, VmaKind.WRITE, (Entry.ZERO, 0), (Entry.WRITE, EXCLUSIVE)), ((both,),))
    mixed = _setup(locks, VmaKind.WRITE, (Entry.NONE, 0), (Entry.WRITE, EXCLUSIVE))
    yield Configuration(mixed, ((both,), (task(Op.FILL, 0), task(Op.ZAP, 0))))
    yield Configuration(mixed, ((both,), (task(Op.MIGRATE, 0, 2, SYSTEM, To.SYSTEM, 0),)))
    yield Configuration(ordinary, ((both,), (task(Op.MIGRATE, 1, 2, SYSTEM, To.SYSTEM, 0),)))
    yield Configuration(device, ((back,), (task(Op.MIGRATE, 0, 1, DEVICE, To.SYSTEM, Fault.DEVICE),)))


def task(op: Op, *arguments: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), arguments)


def _locks(release: str) -> int:
    """Whether a fault locks the page in device memory that it is for."""
    return int(not differs("a-fault-locks-a-page-in-device-memory", release))


def _setup(locks: int, kind: VmaKind, one: tuple[Entry, int], other: tuple[Entry, int] = (Entry.NONE, 0)) -> tuple[int, ...]:
    return (LEVELS, kind, 0, locks, *one, *other)


def _entries(kind: VmaKind) -> tuple[Entry, ...]:
    """What the page table can have where something is mapped."""
    if kind == VmaKind.WRITE:
        return tuple(Entry)
    return (Entry.NONE, Entry.ZERO, Entry.READ, Entry.DEVICE_READ) if kind == VmaKind.READ else (Entry.NONE,)


def _states(entry: Entry) -> tuple[int, ...]:
    """How a page may be: one that may be written is of this process alone."""
    if entry in (Entry.NONE, Entry.ZERO):
        return (0,)
    if entry in (Entry.READ, Entry.DEVICE_READ):
        return (0, EXCLUSIVE, PINNED, EXCLUSIVE | PINNED) if entry == Entry.READ else (0, EXCLUSIVE)
    return (EXCLUSIVE, EXCLUSIVE | PINNED) if entry == Entry.WRITE else (EXCLUSIVE,)


def _drawn_migration(source: random.Random) -> TargetOperation:
    start = source.randrange(PAGES)
    return task(Op.MIGRATE, start, source.randint(start + 1, PAGES), source.choice((SYSTEM, SYSTEM, DEVICE, SYSTEM | DEVICE)), source.choice(list(To)), Fault.NONE if source.random() < 0.7 else source.choice((Fault.DEVICE, Fault.DEVICE, Fault.ANY)))


class _View:
    """What both sides have of a state."""

    def __init__(self, program: Program, mm: Mm, frames: list[Folio], threads: int, boundaries: Sequence[Crossing]) -> None:
        eyes = Eyes(program)
        self.of, self.mmap = eyes.array(world, "of")[:threads], eyes.semaphore(mm.mmap_lock)
        self.number = {eyes.offset(frame): i for i, frame in enumerate(frames)}
        self.shared = {eyes.offset(frame): eyes.array(frame, "shared")[0] for frame in frames}
        self.folios = [(eyes.field(f, "refcount"), eyes.field(f, "locked"), eyes.field(f, "isolated")) for f in frames]
        self.ptes = [tuple(eyes.field(pte, name) for name in ("frame", "kind", "writable", "exclusive")) for pte in mm.ptes]
        self.calls, self.told = eyes.field(world, "calls"), [eyes.array(world, name) for name in ("starts", "ends", "owned")]
        self.counters = [eyes.counter(i) for i in range(threads)]
        self.elsewhere = {number for number, boundary in stops_of(program, boundaries, "mm/migrate_device.c").items() if boundary.stop == ELSEWHERE}

    def given(self, before: bytes, after: bytes, thread: int) -> int:
        """Whether the model's thread is in a function of mm/mmu_notifier.c still, and whether the subscriber was called."""
        if self.calls(after) != self.calls(before):
            return 1
        return NOT_YET if self.counters[thread](after) in self.elsewhere else 0

    def look(self, state: bytes) -> str:
        """The look that c/migrate_device.c has."""
        text = "".join(f"{read(state)} " for read in self.of) + f"mmap={self.mmap(state)}"
        text += "".join(f" page={self._entry(state, pte)}" for pte in self.ptes)
        for i, (refcount, locked, isolated) in enumerate(self.folios[1:], 1):
            text += f" {refcount(state)}{'l' * locked(state)}{'i' * isolated(state) if i <= 2 * PAGES else ''}"
        for i in range(min(self.calls(state), LOG)):
            start, end, owned = (column[i](state) for column in self.told)
            text += f" call={start}:{end}{'mo' if owned else '?'}"
        return text

    def _entry(self, state: bytes, pte: tuple[Callable[[bytes], int], ...]) -> str:
        frame, kind, writable, exclusive = (read(state) for read in pte)
        if not frame:
            return ""
        letter = "w" if writable else "r"
        number = self.number[frame]
        if kind == PteKind.MIGRATION:
            return f"{number}m{'x' if exclusive and not writable else letter}"
        alone = "x" if number and not self.shared[frame](state) else ""
        return f"{number}{'d' if kind == PteKind.DEVICE_PRIVATE else ''}{letter}{alone}"
