"""mm/hmm.c beside `linux.hmm`, on real page tables: see c/hmm.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target
from secondsight.conform.targets.hmm_configurations import bounded, draw
from secondsight.conform.targets.hmm_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.conform.targets.hmm_view import View
from secondsight.conform.targets.hmm_world import (
    COLUMNS,
    FRAMES,
    PAGES,
    THREADS,
    Backing,
    Entry,
    Kind,
    Memory,
    Mirror,
    Op,
    map_pages,
    memories_of,
    script,
)
from secondsight.lang import Machine
from secondsight.lang.program import Room, Thread, build
from secondsight.linux import bounds, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.page_alloc import mem_init

__all__ = ["HmmFile"]

ELSEWHERE = Stop("elsewhere")


class HmmFile(Target):
    """mm/hmm.c, with mm/pagewalk.c on real page tables."""

    file = "mm/hmm.c"
    model = "hmm.py"
    c = "hmm.c"
    linked = ("mm/pagewalk.c", "mm/pgtable-generic.c")
    functions = (
        "hmm_range_fault", "hmm_vma_walk_test", "hmm_vma_walk_hole", "hmm_vma_walk_pmd", "hmm_vma_handle_pte", "hmm_vma_fault",
        "hmm_pte_need_fault", "hmm_range_need_fault", "hmm_pfns_fill", "pte_to_hmm_pfn_flags",
    )  # fmt: skip
    model_functions = (
        "hmm_range_fault_locked", "hmm_range_fault_pages", "hmm_vma_walk", "hmm_walk", "requested", "faults_wanted", "is_mirrored",
        "segment_end", "own_private_page", "own_pfn",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "results.of[thread] = ret", Stop("result")),
        Crossing("range_fault", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("range_fault", "seq = ", Stop("read_seq")),
        Crossing("range_fault", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("pages_fault", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Crossing("pages_fault", "with atomic:", Stop("fill_in")),
        Crossing("pages_fault", "item.notifier_seq = ", Stop("read_seq")),
        Crossing("pages_fault", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Crossing("hmm_range_fault_locked", "with atomic: mm = notifier.mm", Stop("enter"), (Stop("fault_handled", "hmm_vma_fault"),)),
        Crossing("hmm_range_fault_locked", "pfn = hmm_vma_walk(", Stop("find_vma")),
        Crossing("hmm_range_fault_pages", "with atomic: mm = notifier.mm", Stop("enter")),
        Crossing("hmm_range_fault_pages", "collided = mmu_interval_check_retry(", Stop("fault_handled", "hmm_vma_fault")),
        Crossing("hmm_range_fault_pages", "found = hmm_walk(", Stop("find_vma")),
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
                "Backing.fault", "Memory.migrate_to_ram", "do_device_private_page", "do_swap_page", "remove_device_exclusive_entry", "folio_lock_or_retry", "Mirror.invalidate", "wp_page_copy", "replace_zero_page", "zap_page_range_single", "zap_range", "zap_pte_range",
                "tlb_finish_mmu", "unmap_vmas", "do_vmi_munmap", "free_pgtables", "mmu_notifier_invalidate_range_start",
                "mmu_notifier_invalidate_range_end", "mn_itree_invalidate", "inv_end",
            )
        ),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("find_vma"): "the vma after the one that is looked at: under the mmap lock nothing is mapped or taken out",
        Stop("fault_handled"): "where our own handle_mm_fault() returns",
        ELSEWHERE: "where our own stub for another file's function is left at once",
    }
    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"lock-not-held": ("warning",)}
    differences = (
        StateDifference(
            "handle_mm_fault()",
            "a function of another file: the model's changes the page tables and says what it returns, and the C side is given both",
            "neither",
        ),
        StateDifference(
            "several entries in one look",
            "the C, too, is left only where another file is asked; on a machine with several CPUs an entry may change after the one "
            "before it was read. It changes under an invalidation, so mmu_interval_read_retry() says so",
            "may hide",
        ),
        StateDifference(
            "page tables that are missing",
            "for a hole of several pages without a page table the kernel goes by what is asked of any of them, the model, which has no "
            "page tables, by the first that wants a fault: compared where all are asked for alike",
            "may hide",
        ),
        StateDifference(
            "entries that are not empty and have no page",
            "a page in swap and a marker are to hmm_range_fault() what an empty entry is: the C is run with each. Migration entries are not "
            "compared; NUMA hints and poisoned pages are not in the model",
            "may hide",
        ),
        StateDifference(
            "calling hmm_range_fault() without the mmap lock",
            "the kernel warns if nobody at all holds it (6.1: only with CONFIG_DEBUG_VM, which packaged kernels lack); the model breaks a "
            "rule if the caller does not",
            "neither",
        ),
    )

    def definitions(self, release: str) -> tuple[str, ...]:
        return () if release == "7.2" else ("CONFIG_DEVICE_PRIVATE=1",)

    def draw(self, source: random.Random, release: str) -> Configuration:
        return draw(source, release)

    def bounded(self, release: str) -> Iterator[Configuration]:
        return bounded(release)

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        columns = [(*task.arguments, 0, 0, 0, 0, 0)[:5] for task in tasks]
        data: dict[str, Sequence[int]] = {"conform.hmm.operation": [Op(task.code) for task in tasks]}
        data |= {f"conform.hmm.{name}": [column[i] for column in columns] for i, name in enumerate(COLUMNS)}
        sizes = bounds(pages=PAGES, vmas=PAGES, frames=FRAMES, subscribers=1, private_memory=1, owners=2)
        machine = Machine(bounds=sizes, pools={Mirror: 1, Memory: 2, Backing: PAGES, hmm.HmmRange: THREADS}, data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            mm.unstable = setup[2] == 1
            mirror = machine.pool(Mirror).alloc()
            mn.mmu_interval_notifier_insert(mirror.notifier, mm, 0, PAGES)
            memories = memories_of(machine)
            pages = [(Kind(setup[5 + 2 * page]), Entry(setup[6 + 2 * page])) for page in range(PAGES)]
            backings = map_pages(machine, mm, pages, memories)
            items = [machine.pool(hmm.HmmRange).alloc() for _ in range(THREADS)]
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (mm, mirror, items[number], number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return View(program, mm, mirror, backings, memories, items, len(threads), self.boundaries).scene()
