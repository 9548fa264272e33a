"""mm/gup.c beside `linux.gup`, on real page tables: see c/gup.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import ClassVar

from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.gup_mutants import EQUIVALENT
from secondsight.conform.targets.gup_view import View
from secondsight.conform.targets.gup_world import FRAMES, PAGES, THREADS, Entry, Kind, Op, Special, map_pages, script
from secondsight.lang import Machine
from secondsight.lang.program import Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.gup_pages import PageArray
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_flags import FOLL_LONGTERM, FOLL_WRITE
from secondsight.linux.page_alloc import mem_init

__all__ = ["GupFile"]

ELSEWHERE = Stop("elsewhere")
GOES_ON = (Stop("spin_lock"),)
"""Where the C is where the model looks for the vma once more: it keeps it from page to page, and over a fault."""


class GupFile(Target):
    """mm/gup.c."""

    file = "mm/gup.c"
    model = "gup.py"
    parts = ("gup_pages.py", "gup_fast.py")
    c = "gup.c"
    linked = ("mm/pgtable-generic.c",)
    functions = (
        "pin_user_pages", "get_user_pages", "pin_user_pages_fast", "pin_user_pages_remote", "get_user_pages_remote", "unpin_user_pages", "__get_user_pages",
        "__get_user_pages_locked", "__gup_longterm_locked", "check_vma_flags", "follow_page_pte", "faultin_page", "gup_must_unshare", "try_grab_folio", "gup_fast_pte_range", "memfd_pin_folios", "unpin_folios",
    )  # fmt: skip
    model_functions = (
        "pin_user_pages", "get_user_pages", "pin_user_pages_fast", "pin_user_pages_remote", "get_user_page_vma_remote", "unpin_user_pages", "unpin_user_page", "unpin_folio",
        "get_user_pages_locked", "get_one", "check_vma_flags", "follow_page_pte", "faultin_flags", "gup_must_unshare", "try_grab_folio", "gup_fast_pte_range_at_once",
        "try_grab_folio_fast", "gup_fast_must_unshare", "gup_put_folio", "kept", "if_permitted", "memfd_pin_valid", "memfd_pin_folio",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "results.of[thread] = ret", Stop("result")),
        Crossing("script", "give_back(", Stop("give_back")),
        Crossing("script", "keep(", Stop("keep")),
        Crossing("pin_memfd", "ret: Result = memfd_pin_valid(", Stop("enter")),
        Crossing("pin_memfd", "pin_one(", Stop("find_folio")),
        Crossing("pin_memfd", "keep(", Stop("keep")),
        Crossing("take", "keep(", Stop("keep")),
        Crossing("take", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("take", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("get_one", "refused = check_vma_flags(", Stop("find_vma"), GOES_ON),
        Crossing("get_one", "with atomic: pfn = follow_page_pte(", Stop("spin_lock")),
        Crossing("get_user_page_vma_remote", "refused = check_vma_flags(", Stop("find_vma")),
        Crossing("get_user_page_vma_remote", "pfn = follow_page_pte(", Stop("spin_lock")),
        Crossing("pin_user_pages_fast", "pfn = gup_fast_pte_range_at_once(", Stop("enter")),
        Crossing("get_user_pages_locked", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("get_user_pages_locked", "refused = check_vma_flags(", Stop("find_vma"), GOES_ON),
        Crossing("get_user_pages_locked", "pfn = follow_page_pte(", Stop("spin_lock")),
        Crossing("get_user_pages_locked", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("touch", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("touch", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        # Functions of other files: the thread waits where it called them.
        Crossing("handle_mm_fault", "with atomic: require(", Stop("handle_mm_fault")),
        Crossing("do_vmi_align_munmap", "mm.mmap_lock.write_lock()", Stop("down_write")),
        Crossing("do_vmi_munmap", "with atomic: detached = ", Stop("gather")),
        Crossing("do_vmi_munmap", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        *(
            Crossing(function, "", ELSEWHERE)
            for function in (
                "ShmemFile.fault", "shmem_map_folio", "do_swap_page", "do_swap_entry", "mn_itree_invalidate", "inv_end", "release_fault_lock", "wp_page_copy", "wp_page_copy_user", "zap_page_range_single", "zap_range", "zap_pte_range",
                "tlb_finish_mmu", "unmap_vmas", "do_vmi_munmap", "free_pgtables", "mmu_notifier_invalidate_range_start", "mmu_notifier_invalidate_range_end",
            )
        ),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("fault_handled"): "where our own handle_mm_fault() returns",
        ELSEWHERE: "where our own stub for another file's function is left at once",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    equivalent = EQUIVALENT
    differences: ClassVar[Sequence[StateDifference]] = (
        StateDifference(
            "handle_mm_fault()",
            "a function of another file: the model's changes the page tables and says what it returns, and the C side is given both",
            "neither",
        ),
        StateDifference(
            "pin_user_pages_fast(FOLL_LONGTERM) in 6.1",
            "its slow path takes the mmap lock and keeps it over every fault (__gup_longterm_unlocked()); the model's gives it up, as since 6.3. Not asked of 6.1",
            "may hide",
        ),
        StateDifference(
            "FOLL_LONGTERM for reading in 6.1",
            "it pins the zero page and a file's page of private memory, which since 6.2 are replaced first (`releases`). Not asked of 6.1",
            "neither",
        ),
        StateDifference("several pages without a lock", "interrupts are off for all of them in the C, the model has a step for each page: one page is compared", "neither"),
        StateDifference(
            "memory that has to be moved before it is pinned for long; huge pages; memory of devices",
            "not in this world: no frame is movable",
            "may hide",
        ),
        StateDifference(
            "several folios that memfd_pin_folios() finds at once",
            "it looks for up to 15 pages that follow each other, holds them, and then pins each; the model, and our own filemap_get_folios_contig(), find one page at a time. What happens between the holds of two of them, and giving up after some, is not seen",
            "may hide",
        ),
        StateDifference("faults that give the mmap lock up and wait (VM_FAULT_RETRY)", "no fault waits here; VM_FAULT_COMPLETED goes the same way", "may hide"),
        StateDifference("references to the zero page", "the C counts those that get_user_pages() takes, the model none", "neither"),
    )

    def draw(self, source: random.Random, release: str) -> Configuration:
        kinds = [source.choice([*Kind, Kind.WRITE, Kind.WRITE, Kind.FILE_WRITE]) for _ in range(PAGES)]
        if source.random() < 0.5:
            kinds[1] = kinds[0]
            kinds[2] = kinds[3]
        setup = [number for kind in kinds for number in (kind, source.choice(entries(kind)))]
        threads: list[tuple[TargetOperation, ...]] = []
        for number in range(source.randint(1, THREADS)):
            operations = []
            for _ in range(source.randint(1, 4)):
                start = source.randrange(PAGES)
                end = source.randint(start + 1, PAGES)
                flags = source.choice((0, FOLL_WRITE, FOLL_LONGTERM, FOLL_WRITE | FOLL_LONGTERM))
                what = source.choice((*TAKES, *MEMFD[release != "6.1"]) if number == 0 or source.random() < 0.5 else (Op.PUT, Op.ZAP, Op.ZAP, Op.TOUCH, Op.UNMAP))
                operations.append(task(what, start, end, asked(what, flags, release)))
            threads.append(tuple(operations))
        return Configuration(tuple(int(number) for number in setup), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        for kind in Kind:
            for entry, op, flags in product(entries(kind), TAKES, ALL_FLAGS):
                if asked(op, flags, release) == flags:
                    yield Configuration(_setup({0: (kind, entry)}), ((task(op, 0, 1, flags), task(Op.PUT, 0, 1, 0)),))
        for kind, op, flags in product((Kind.WRITE, Kind.FILE_WRITE, Kind.PRIVATE_WRITE), TAKES, (0, FOLL_WRITE)):
            take = (task(op, 0, 1, flags), task(Op.PUT, 0, 1, 0))
            for entry in entries(kind):
                world = _setup({0: (kind, entry)})
                yield Configuration(world, (take, (task(Op.ZAP, 0, 1, 0),)))
                yield Configuration(world, (take, (task(Op.TOUCH, 0, 1, FOLL_WRITE),)))
            yield Configuration(_setup({0: (kind, Entry.NONE)}), (take, (task(Op.UNMAP, 0, 1, 0),)))
        if MEMFD[release != "6.1"]:
            yield from _of_memfd()
        both = _setup({0: (Kind.FILE_WRITE, Entry.CACHE_READ), 1: (Kind.FILE_WRITE, Entry.CACHE_WRITE)})
        for op, flags in product((Op.PIN, Op.GET), (0, FOLL_WRITE)):
            yield Configuration(both, ((task(op, 0, 2, flags), task(Op.PUT, 0, 1, 0)), (task(Op.ZAP, 1, 2, 0),)))

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        data: dict[str, Sequence[int]] = {"conform.gup.operation": [Op(task.code) for task in tasks]}
        data |= {f"conform.gup.{name}": [task.arguments[i] for task in tasks] for i, name in enumerate(("first", "second", "third"))}
        sizes = bounds(pages=PAGES, vmas=PAGES, frames=FRAMES, files=1, file_pages=PAGES, pin_pages=PAGES, cow=1, vma_flags=1, swap_slots=1, completed_faults=1)
        machine = Machine(bounds=sizes, pools={PageArray: THREADS, Special: 1}, data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            file, special = memfd_create(PAGES, 0), machine.pool(Special).alloc()
            map_pages(mm, file, special, [(Kind(setup[2 * page]), Entry(setup[1 + 2 * page])) for page in range(PAGES)])
            arrays = [machine.pool(PageArray).alloc() for _ in range(THREADS)]
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (mm, file, arrays[number], number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return View(program, mm, file, special, arrays, len(threads), self.boundaries).scene()


TAKES = (Op.PIN, Op.GET, Op.PIN_FAST, Op.PIN_REMOTE, Op.GET_REMOTE)
ALL_FLAGS = (0, FOLL_WRITE, FOLL_LONGTERM, FOLL_WRITE | FOLL_LONGTERM)


MEMFD = ((), (Op.PIN_MEMFD, Op.PIN_MEMFD))
"""memfd_pin_folios(), before and since 6.11."""


def _of_memfd() -> Iterator[Configuration]:
    """Pages of the file, some of which are there, and beside somebody who fills holes, pins them too, or maps them no more."""
    world = _setup({0: (Kind.FILE_WRITE, Entry.CACHE_WRITE), 1: (Kind.FILE_WRITE, Entry.NONE), 3: (Kind.PRIVATE_WRITE, Entry.CACHE_READ)})
    for start, end in ((0, 1), (0, 2), (1, 4), (3, PAGES + 1), (0, 0)):
        yield Configuration(world, ((task(Op.PIN_MEMFD, start, end, 0), task(Op.PUT, 0, 1, 0)),))
    take = (task(Op.PIN_MEMFD, 0, 2, 0), task(Op.PUT, 0, 1, 0))
    for beside in (take, (task(Op.ZAP, 0, 1, 0),), (task(Op.TOUCH, 1, 2, FOLL_WRITE),), (task(Op.PIN, 0, 2, FOLL_WRITE), task(Op.PUT, 0, 1, 0)), (task(Op.UNMAP, 0, 1, 0),)):
        yield Configuration(world, (take, beside))


def entries(kind: Kind) -> tuple[Entry, ...]:
    """What the page table can have where something is mapped."""
    of = {
        Kind.NONE: (Entry.NONE,),
        Kind.READ: (Entry.NONE, Entry.READ, Entry.SHARED, Entry.ZERO),
        Kind.WRITE: (Entry.NONE, Entry.READ, Entry.SHARED, Entry.WRITE, Entry.WRITTEN, Entry.ZERO),
        Kind.PFNMAP: (Entry.NONE,),
        Kind.FILE_READ: (Entry.NONE, Entry.CACHE_READ),
        Kind.FILE_WRITE: (Entry.NONE, Entry.CACHE_READ, Entry.CACHE_WRITE),
        Kind.PRIVATE_READ: (Entry.NONE, Entry.CACHE_READ, Entry.READ, Entry.SHARED),
        Kind.PRIVATE_WRITE: (Entry.NONE, Entry.CACHE_READ, Entry.READ, Entry.SHARED, Entry.WRITE, Entry.WRITTEN),
    }
    return of[kind]


def asked(op: Op, flags: int, release: str) -> int:
    """The flags that a call may have: a reference is not for long; nor, in 6.1, a pin that is another there (`GupFile.differences`)."""
    if op in (Op.GET, Op.GET_REMOTE) or (release == "6.1" and (op == Op.PIN_FAST or flags & FOLL_WRITE == 0)):
        return flags & ~FOLL_LONGTERM
    return flags


def task(op: Op, first: int, second: int, flags: int) -> TargetOperation:
    """An operation of a thread on the pages `first` to before `second`."""
    number = second if op in (Op.ZAP, Op.UNMAP) else second - first
    return TargetOperation(op, op.name.lower(), (first, number, flags))


def _setup(pages: Mapping[int, tuple[Kind, Entry]]) -> tuple[int, ...]:
    """A configuration's numbers: what is at each page."""
    return tuple(int(number) for page in range(PAGES) for number in pages.get(page, (Kind.NONE, Entry.NONE)))
