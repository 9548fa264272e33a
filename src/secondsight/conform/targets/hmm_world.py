"""The world in which mm/hmm.c is compared, in the language: what is mapped, and what a thread does."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Literal

from secondsight.lang import Array, Bounds, Machine, Record, Ref, atomic, choose, const, current, shared
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.memory import (
    FAULT_FLAG_WRITE,
    VM_FAULT_NOPAGE,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    handle_mm_fault,
    insert_page,
    insert_pfn,
)
from secondsight.linux.memory_zap import zap_page_range_single
from secondsight.linux.mm_flags import VM_DEVMAP, VM_PFNMAP
from secondsight.linux.mm_types import (
    AddressSpace,
    Driver,
    Flags,
    Folio,
    Mm,
    Owner,
    Pagemap,
    Pgoff,
    PteKind,
    Range,
    Result,
    Seq,
    Va,
)
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames
from secondsight.linux.swapops import is_device_private_entry
from secondsight.linux.vma import do_vmi_align_munmap

__all__ = [
    "Backing", "COLUMNS", "Entry", "FRAMES", "Kind", "Memory", "Mirror", "Op", "PAGES", "THREADS", "map_pages", "memories_of", "results", "script",
]  # fmt: skip

PAGES, THREADS, FRAMES = 4, 3, 12



class Op(IntEnum):
    """What a thread does; the numbers are those of c/hmm.c."""

    FAULT = 0
    FAULT_UNLOCKED = 1
    ZAP = 2
    TOUCH = 3
    UNMAP = 4
    RANGE = 5
    RANGE_UNLOCKED = 6


class Kind(IntEnum):
    """What is mapped at a page; the numbers are those of c/hmm.c."""

    NONE = 0
    READ = 1
    WRITE = 2
    PFNMAP = 3
    DEVICE = 4
    FILE_READ = 5
    FILE_WRITE = 6


class Entry(IntEnum):
    """What the page table has for a page: none, one that may be read or written, the zero page; one in the driver's own memory, or in another's."""

    NONE = 0
    READ = 1
    WRITE = 2
    ZERO = 3
    OWN_READ = 4
    OWN_WRITE = 5
    OTHER_WRITE = 6


Value = Annotated[int, Bounds(-200, 255)]
Index = Annotated[int, Bounds(0, 200)]

operation = const("conform.hmm.operation", Op)
first = const("conform.hmm.first", Value)
second = const("conform.hmm.second", Value)
third = const("conform.hmm.third", Value)
fourth = const("conform.hmm.fourth", Value)
fifth = const("conform.hmm.fifth", Value)
COLUMNS = ("first", "second", "third", "fourth", "fifth")


class Results(Record):
    """What each thread's last operation returned, and what the file's own fault did that it asked for last."""

    of: Array[Value, Literal[3]]
    fault: Array[Flags, Literal[3]]


results = shared(Results)


class Mirror(Driver):
    """A driver that keeps nothing: its notifier's number moves on, and that is all."""

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        with atomic:
            mn.mmu_interval_set_seq(self.notifier, seq)
        return True

    def dev_private_owner(self) -> Ref[Owner]:
        return mn.owners[0]


class Memory(Pagemap):
    """Memory of a device that no CPU can reach. A CPU's fault has the page brought back, or not, or fails."""

    def migrate_to_ram(self, mm: Mm, va: Va, folio: Folio) -> Flags:
        with atomic:
            what = choose(3)
            pte = mm.ptes[va]
            ret: Flags = 0
            if what == 0:
                if is_device_private_entry(pte) and pte.frame is folio:
                    pte.kind = PteKind.PRESENT
                    folio.pgmap[0] = None
            elif what == 1:
                ret = VM_FAULT_SIGBUS
            results.fault[current() - 1] = ret
        return ret


class Backing(AddressSpace):
    """A file with the same frame for each page, whose own fault does whatever a file's may do."""

    kind: Kind
    frame: Ref[Folio]

    def fault(self, mm: Mm, va: Va, pgoff: Pgoff, flags: Flags) -> Flags:
        with atomic:
            what = choose(4)
            ret: Flags = 0
            frame = self.frame
            assert frame is not None
            if what == 0:
                ret = insert_page(mm, va, frame) if self.vm_flags() == 0 else insert_pfn(mm, va, frame)
            elif what == 1:
                ret = VM_FAULT_NOPAGE
            elif what == 2:
                ret = VM_FAULT_SIGBUS
            else:
                ret = VM_FAULT_SIGSEGV
            results.fault[current() - 1] = ret
        return ret

    def vm_flags(self) -> Flags:
        return VM_PFNMAP if self.kind == Kind.PFNMAP else VM_DEVMAP if self.kind == Kind.DEVICE else 0


def range_fault(mm: Mm, mirror: Mirror, va: Va, request: Flags, locked: bool) -> Result:
    """Ask for one page, as a driver does."""
    if locked:
        mm.mmap_lock.read_lock()
    seq = mirror.notifier.invalidate_seq
    pfn = hmm.hmm_range_fault_locked(mirror.notifier, seq, va, request)
    if locked:
        mm.mmap_lock.read_unlock()
    return pfn


def pages_fault(mm: Mm, mirror: Mirror, item: hmm.HmmRange, at: Index) -> Result:
    """Ask for several pages; `fifth` has two bits of each."""
    locked = operation[at] == Op.RANGE
    if locked:
        mm.mmap_lock.read_lock()
    with atomic:
        item.start = first[at]
        item.end = second[at]
        item.default_flags = third[at]
        item.pfn_flags_mask = fourth[at]
        asked = fifth[at]
        for i in range(len(item.hmm_pfns)):
            item.hmm_pfns[i] = asked % 4
            asked = asked // 4
    item.notifier_seq = mirror.notifier.invalidate_seq
    ret = hmm.hmm_range_fault_pages(mirror.notifier, item)
    if locked:
        mm.mmap_lock.read_unlock()
    return ret


def touch(mm: Mm, va: Va, write: bool) -> None:
    """A CPU's fault."""
    mm.mmap_lock.read_lock()
    handle_mm_fault(mm, va, FAULT_FLAG_WRITE if write else 0)
    mm.mmap_lock.read_unlock()


def script(mm: Mm, mirror: Mirror, item: hmm.HmmRange, thread: Index, at: Index, end: Index) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        a = first[at]
        b = second[at]
        ret: Value = 0
        if op == Op.FAULT or op == Op.FAULT_UNLOCKED:
            ret = range_fault(mm, mirror, a, b, op == Op.FAULT)
        elif op == Op.RANGE or op == Op.RANGE_UNLOCKED:
            ret = pages_fault(mm, mirror, item, at)
        elif op == Op.ZAP:
            zap_page_range_single(mm, a, b)
        elif op == Op.TOUCH:
            touch(mm, a, b == 1)
        else:
            ret = do_vmi_align_munmap(mm, a, b)
        results.of[thread] = ret
        at += 1


def memories_of(machine: Machine) -> list[Memory]:
    """The driver's own memory, and another's."""
    memories = [machine.pool(Memory).alloc() for _ in range(2)]
    for number, memory in enumerate(memories):
        memory.owner = mn.owners[number]
    return memories


def map_pages(machine: Machine, mm: Mm, pages: Sequence[tuple[Kind, Entry]], memories: list[Memory]) -> list[Backing]:
    """Map pages, with or without an entry for each; neighbours of a kind are of one vma. The files."""
    backings: list[Backing] = []
    kinds = [kind for kind, _ in pages]
    for page, (kind, entry) in enumerate(pages):
        pte = mm.ptes[page]
        if kind != Kind.NONE and (not page or kinds[page - 1] != kind):
            length = next((i for i in range(page, len(pages)) if kinds[i] != kind), len(pages)) - page
            file = None
            if kind > Kind.WRITE:
                backings.append(machine.pool(Backing).alloc())
                file = backings[-1]
                file.kind = kind
                file.frame = alloc_page()
            link_new_vma(mm, page, length, file, page, kind not in (Kind.READ, Kind.FILE_READ))
        if entry != Entry.NONE:
            folio = frames[ZERO_PFN] if entry == Entry.ZERO else alloc_page()
            pte.frame = folio
            pte.writable = entry in (Entry.WRITE, Entry.OWN_WRITE, Entry.OTHER_WRITE)
            if entry >= Entry.OWN_READ:
                pte.kind = PteKind.DEVICE_PRIVATE
                folio.pgmap[0] = memories[entry == Entry.OTHER_WRITE]
    return backings
