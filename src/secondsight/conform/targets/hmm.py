"""mm/hmm.c beside `linux.hmm`, on real page tables: see c/hmm.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import product
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes, Read
from secondsight.conform.place import Boundary, Stop, stops_of
from secondsight.conform.target import Configuration, Difference, Operation, Scene, Target
from secondsight.lang import Array, Bounds, Machine, Record, Ref, atomic, choose, const, current, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fork import mm_alloc, proc_caches_init, vmas
from secondsight.linux.memory import (
    FAULT_FLAG_WRITE,
    VM_FAULT_NOPAGE,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    handle_mm_fault,
    insert_page,
    insert_pfn,
    zap_page_range_single,
)
from secondsight.linux.mm_types import (
    VM_DEVMAP,
    VM_PFNMAP,
    AddressSpace,
    Driver,
    Flags,
    Frame,
    Mm,
    Pgoff,
    Range,
    Result,
    Seq,
    Va,
    VaEnd,
)
from secondsight.linux.mmap import link_new_vma
from secondsight.linux.page_alloc import ZERO_PFN, alloc_page, frames, mem_init
from secondsight.linux.vma import do_vmi_align_munmap

__all__ = ["HmmFile"]

PAGES, THREADS, FRAMES = 4, 3, 12

NOT_YET = -1
"""What the C is given in a function of another file until the model's has returned."""

KERNELS_FAULT = {0: 0, VM_FAULT_SIGBUS: 0x2, VM_FAULT_SIGSEGV: 0x40, VM_FAULT_NOPAGE: 0x100}
"""enum vm_fault_reason (include/linux/mm_types.h): the kernel's numbers of the model's."""


class Op(IntEnum):
    """What a thread does; the numbers are those of c/hmm.c."""

    FAULT = 0
    FAULT_UNLOCKED = 1
    ZAP = 2
    TOUCH = 3
    UNMAP = 4
    RANGE = 5


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
    """What the page table has for a page."""

    NONE = 0
    READ = 1
    WRITE = 2
    ZERO = 3


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


class Backing(AddressSpace):
    """A file with the same frame for each page, whose own fault does whatever a file's may do."""

    kind: Kind
    frame: Ref[Frame]

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


def pages_fault(mm: Mm, mirror: Mirror, item: hmm.HmmRange, start: Va, end: VaEnd, default: Flags, mask: Flags, asked: Value) -> Result:
    """Ask for several pages; `asked` has two bits of each."""
    mm.mmap_lock.read_lock()
    with atomic:
        item.start = start
        item.end = end
        item.default_flags = default
        item.pfn_flags_mask = mask
        for i in range(len(item.hmm_pfns)):
            item.hmm_pfns[i] = asked % 4
            asked = asked // 4
    item.notifier_seq = mirror.notifier.invalidate_seq
    ret = hmm.hmm_range_fault_pages(mirror.notifier, item)
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
        elif op == Op.RANGE:
            ret = pages_fault(mm, mirror, item, a, b, third[at], fourth[at], fifth[at])
        elif op == Op.ZAP:
            zap_page_range_single(mm, a, b)
        elif op == Op.TOUCH:
            touch(mm, a, b == 1)
        else:
            ret = do_vmi_align_munmap(mm, a, b)
        results.of[thread] = ret
        at += 1


ELSEWHERE = Stop("elsewhere")


def _of_each(function: str, reason: str, **numbers: tuple[int, ...]) -> dict[str, str]:
    """Mutants of a function that cannot be told from it for one reason: of each rule their numbers."""
    return {f"{function}: {rule.replace('_', ' ')} {number}": reason for rule, those in numbers.items() for number in those}


NO_FLAG = "1 has neither HMM_PFN_VALID nor HMM_PFN_WRITE, as 0"
NO_ORDER = "neither uses what the other writes"
NO_SUCH_ENTRY = "only for migration, device-private, device-exclusive and poisoned entries, which are not in the model"
NO_SUCH_PAGE = "only for an entry without a page in a mapping of pages that have one, which is not in the model"
NO_SUCH_TABLE = "only for huge pages and damaged page tables, which are not in the model"

EQUIVALENT = {
    **_of_each("hmm_vma_fault", "nobody calls it without a required fault", drop=(1,)),
    **_of_each("hmm_vma_fault", NO_ORDER, swap=(1,)),
    **_of_each("hmm_vma_walk_hole", NO_ORDER, swap=(1, 2)),
    **_of_each("hmm_vma_walk_hole", NO_FLAG, off_by_one=(1,)),
    **_of_each("pte_to_hmm_pfn_flags", f"only for a NUMA hint, which is not in the model; {NO_FLAG}", off_by_one=(1,)),
    **_of_each("hmm_vma_handle_pte", NO_FLAG, off_by_one=(1, 5)),
    **_of_each(
        "hmm_vma_handle_pte", NO_SUCH_ENTRY, drop=(4, 5, 6, 10, 11, 12, 13, 14, 15), swap=(2, 3, 4), negate=(5, 8, 9, 10), turn_round=(1,),
        off_by_one=(4,),
    ),
    **_of_each("hmm_vma_handle_pte", NO_SUCH_PAGE, drop=(19, 20), negate=(13,), off_by_one=(8, 9)),
    **_of_each("hmm_vma_walk_pmd", NO_SUCH_TABLE, drop=(2, 3, 4, 5), swap=(1,), negate=(3, 5, 7, 9), off_by_one=(2, 3, 4, 5)),
    **_of_each("hmm_vma_walk_pmd", "only where a page table goes while it is walked, which another CPU would have to do", drop=(7,), off_by_one=(1,)),
    **_of_each("hmm_vma_walk_pmd", "pte_unmap() does not look at the address", off_by_one=(8,)),
    **_of_each("hmm_vma_walk_test", NO_FLAG, off_by_one=(2,)),
    **_of_each("hmm_vma_walk_test", "any positive number skips the vma", off_by_one=(3,)),
    **_of_each("hmm_range_fault", "walk_page_range() asserts the same", drop=(1,)),
}  # fmt: skip
"""Mutants of Linux 6.12's file that nothing here can notice, with the reason."""


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
        "segment_end", "mmu_interval_check_retry",
    )  # fmt: skip
    boundaries = (
        Boundary("script", "results.of[thread] = ret", Stop("result")),
        Boundary("range_fault", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Boundary("range_fault", "seq = ", Stop("read_seq")),
        Boundary("range_fault", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Boundary("pages_fault", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Boundary("pages_fault", "with atomic:", Stop("fill_in")),
        Boundary("pages_fault", "item.notifier_seq = ", Stop("read_seq")),
        Boundary("pages_fault", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Boundary("hmm_range_fault_locked", "with atomic: mm = notifier.mm", Stop("enter"), (Stop("fault_handled", "hmm_vma_fault"),)),
        Boundary("hmm_range_fault_locked", "pfn = hmm_vma_walk(", Stop("find_vma")),
        Boundary("hmm_range_fault_pages", "with atomic: mm = notifier.mm", Stop("enter")),
        Boundary("hmm_range_fault_pages", "collided = mmu_interval_check_retry(", Stop("fault_handled", "hmm_vma_fault")),
        Boundary("hmm_range_fault_pages", "found = hmm_walk(", Stop("find_vma")),
        Boundary("touch", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Boundary("touch", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        # Functions of other files: the thread waits where it called them.
        Boundary("handle_mm_fault", "with atomic: require(", Stop("handle_mm_fault")),
        Boundary("do_vmi_align_munmap", "mm.mmap_lock.write_lock()", Stop("down_write")),
        Boundary("do_vmi_align_munmap", "with atomic: detached = ", Stop("gather")),
        Boundary("do_vmi_align_munmap", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        *(
            Boundary(function, "", ELSEWHERE)
            for function in (
                "Backing.fault", "Mirror.invalidate", "wp_page_copy", "replace_zero_page", "zap_page_range_single", "zap_pte_range",
                "tlb_finish_mmu", "unmap_vmas", "do_vmi_align_munmap", "free_pgtables", "mmu_notifier_invalidate_range_start",
                "mmu_notifier_invalidate_range_end", "mn_itree_invalidate",
            )
        ),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("find_vma"): "the vma after the one that is looked at: under the mmap lock nothing is mapped or taken out",
        Stop("fault_handled"): "where our own handle_mm_fault() returns",
        ELSEWHERE: "where our own stub for another file's function is left at once",
    }
    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"lock-not-held": ("warning",)}
    differences = (
        Difference(
            "handle_mm_fault()",
            "a function of another file: the model's changes the page tables and says what it returns, and the C side is given both",
            "neither",
        ),
        Difference(
            "several entries in one look",
            "the C, too, is left only where another file is asked; on a machine with several CPUs an entry may change after the one "
            "before it was read. It changes under an invalidation, so mmu_interval_read_retry() says so",
            "may hide",
        ),
        Difference(
            "page tables that are missing",
            "for a hole of several pages without a page table the kernel goes by what is asked of any of them, the model, which has no "
            "page tables, by the first that wants a fault: compared where all are asked for alike",
            "may hide",
        ),
        Difference(
            "entries that are not empty and have no page",
            "a page in swap and a marker are to hmm_range_fault() what an empty entry is: the C is run with each. Migration entries, "
            "huge pages, NUMA hints and poisoned pages are not in the model",
            "may hide",
        ),
        Difference(
            "calling hmm_range_fault() without the mmap lock",
            "the kernel warns if nobody at all holds it (6.1: only with CONFIG_DEBUG_VM, which packaged kernels lack); the model breaks a "
            "rule if the caller does not",
            "neither",
        ),
    )

    def draw(self, source: random.Random, release: str) -> Configuration:
        return _draw(source, release)

    def bounded(self, release: str) -> Iterator[Configuration]:
        return _bounded(release)

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        tasks = [task for thread in configuration.threads for task in thread]
        columns = [(*task.arguments, 0, 0, 0, 0, 0)[:5] for task in tasks]
        data: dict[str, Sequence[int]] = {"conform.hmm.operation": [Op(task.code) for task in tasks]}
        data |= {f"conform.hmm.{name}": [column[i] for column in columns] for i, name in enumerate(COLUMNS)}
        sizes = bounds(pages=PAGES, vmas=PAGES + 1, frames=FRAMES, subscribers=1)
        machine = Machine(bounds=sizes, pools={Mirror: 1, Backing: PAGES, hmm.HmmRange: THREADS}, data=data)
        with machine:
            mem_init()
            proc_caches_init()
            mm = mm_alloc()
            mm.unstable = setup[2] == 1
            mirror = machine.pool(Mirror).alloc()
            mn.mmu_interval_notifier_insert(mirror, mm, 0, PAGES)
            backings = _map(machine, mm, [(Kind(setup[5 + 2 * page]), Entry(setup[6 + 2 * page])) for page in range(PAGES)])
            items = [machine.pool(hmm.HmmRange).alloc() for _ in range(THREADS)]
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (mm, mirror, items[number], number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return _View(program, mm, mirror, backings, items, len(threads)).scene()


def _map(machine: Machine, mm: Mm, pages: Sequence[tuple[Kind, Entry]]) -> list[Backing]:
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
            pte.frame = frames[ZERO_PFN] if entry == Entry.ZERO else alloc_page()
            pte.writable = entry == Entry.WRITE
    return backings


class _View:
    """What both sides have of a state."""

    def __init__(self, program: Program, mm: Mm, mirror: Mirror, backings: list[Backing], items: list[hmm.HmmRange], threads: int) -> None:
        self.program, eyes = program, Eyes(program)
        self.mmap, self.seq = eyes.semaphore(mm.mmap_lock), eyes.field(mirror.notifier, "invalidate_seq")
        self.of, self.fault = eyes.array(results, "of")[:threads], eyes.array(results, "fault")
        self.pfns = [eyes.array(item, "hmm_pfns") for item in items]
        self.unstable = eyes.field(mm, "unstable")
        self.frame_at = {eyes.offset(frame): i for i, frame in enumerate(frames)}
        self.kind_at = {eyes.offset(backing): backing.kind for backing in backings}
        self.vma_at = {eyes.offset(vma): (eyes.field(vma, "write"), eyes.field(vma, "vm_file")) for vma in vmas}
        self.pages = [
            (vma, eyes.field(pte, "frame"), eyes.field(pte, "writable")) for vma, pte in zip(eyes.array(mm, "mm_mt"), mm.ptes, strict=True)
        ]
        self.last, self.last_mapped = b"", [(0, 0)]
        self.counters = [eyes.counter(i) for i in range(threads)]
        self.asks = [tuple(eyes.local(i, "handle_mm_fault", name) for name in ("va", "flags")) for i in range(threads)]
        self.kinds = {number: boundary.stop.kind for number, boundary in stops_of(program, HmmFile.boundaries, HmmFile.file).items() if boundary.stop}
        self.functions = {number: place.function for number, place in enumerate(program.code.places, 1)}

    def scene(self) -> Scene:
        """Looks, pokes, and what is given."""
        return Scene(self.program, self.look, self.poke, self.given)

    def mapped(self, state: bytes) -> list[tuple[int, int]]:
        """The kind of vma and the entry of each page, as they are poked."""
        if state != self.last:
            self.last, self.last_mapped = state, [self._page(state, *page) for page in self.pages]
        return self.last_mapped

    def _page(self, state: bytes, vma: Read, frame: Read, writable: Read) -> tuple[int, int]:
        kind = 0
        if vma(state):
            write, file = self.vma_at[vma(state)]
            backing = self.kind_at.get(file(state))
            kind = backing if backing is not None else Kind.WRITE if write(state) else Kind.READ
        at = frame(state)
        return kind, 1 + 2 * self.frame_at[at] + writable(state) if at else 0

    def poke(self, state: bytes) -> list[str]:
        """The page tables, the vmas and the notifier's number."""
        return [f"0 {self.seq(state)} " + " ".join(f"{kind} {entry}" for kind, entry in self.mapped(state))]

    def given(self, before: bytes, after: bytes, thread: int) -> int:
        """What handle_mm_fault() returned in this step, in the kernel's numbers; `NOT_YET`."""
        now = self.kinds.get(self.counters[thread](after))
        if now == "elsewhere":
            return NOT_YET
        then = self.functions.get(self.counters[thread](before))
        if then == "Backing.fault":
            return KERNELS_FAULT[self.fault[thread](after)]
        if then == "handle_mm_fault":
            vma, frame, _ = self.pages[self.asks[thread][0](before)]
            if not vma(before):
                return KERNELS_FAULT[VM_FAULT_SIGSEGV]
            write, file = self.vma_at[vma(before)]
            if self.asks[thread][1](before) & FAULT_FLAG_WRITE and not write(before):
                return KERNELS_FAULT[VM_FAULT_SIGSEGV]
            if not frame(before) and not file(before) and self.unstable(before):
                return KERNELS_FAULT[VM_FAULT_SIGBUS]
        return 0

    def look(self, state: bytes) -> str:
        """The look that c/hmm.c has."""
        text = "".join(f"{read(state)} " for read in self.of) + f"mmap={self.mmap(state)} seq={self.seq(state)}"
        for kind, entry in self.mapped(state):
            text += f" page={int(kind)}:" + (f"{(entry - 1) // 2}{'rw'[(entry - 1) % 2]}" if entry else "")
        for pfns in self.pfns:
            text += " range=" + ",".join(_pfn(read(state)) for read in pfns)
        for thread, counter in enumerate(self.counters):
            if self.kinds.get(counter(state)) == "handle_mm_fault":
                va, flags = self.asks[thread]
                text += f" fault={thread}:{va(state)}:{'w' if flags(state) & FAULT_FLAG_WRITE else 'r'}"
        return text


def _pfn(entry: int) -> str:
    """An entry of hmm_pfns as c/hmm.c writes it."""
    if entry == hmm.HMM_PFN_NO_PAGE:
        return "E"
    if entry & hmm.HMM_PFN_VALID:
        return f"{entry % 16}{'w' if entry & hmm.HMM_PFN_WRITE else 'r'}"
    return f"-{entry}"


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


def task(op: Op, *arguments: int) -> Operation:
    """An operation of a thread."""
    return Operation(op, op.name.lower(), arguments)


def _entries(kind: Kind) -> tuple[Entry, ...]:
    """What the page table can have where something is mapped."""
    if kind in (Kind.NONE, Kind.READ, Kind.FILE_READ):
        return Entry.NONE, Entry.READ, Entry.ZERO
    return Entry.NONE, Entry.READ, Entry.WRITE, Entry.ZERO


def _asserts(release: str) -> bool:
    """Whether mmap_assert_locked() looks at the lock in a kernel without lockdep."""
    return release != "6.1"


def _draw(source: random.Random, release: str) -> Configuration:
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
    threads: list[list[Operation]] = [[] for _ in range(source.randint(1, THREADS))]
    for number, operations in enumerate(threads):
        for _ in range(source.randint(1, 4)):
            start = source.randrange(PAGES)
            end = source.randint(start + 1, PAGES)
            what = "fault" if number == 0 else source.choice(["fault", "fault", "zap", "zap", "touch", "unmap"])
            if what == "fault" and style != ONE_PAGE:
                each = (source.choice((0, 0, *REQUESTS)), source.choice((WRITING, WRITING, *REQUESTS)))
                operations.append(task(Op.RANGE, start, end, *(each if style == OF_EACH else (source.choice(REQUESTS), 0)), source.randrange(4**PAGES)))
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
    (Kind.WRITE, Entry.WRITE), (Kind.PFNMAP, Entry.WRITE), (Kind.DEVICE, Entry.WRITE), (Kind.FILE_WRITE, Entry.NONE),
)  # fmt: skip
"""What two neighbours are, of which every pair is tried."""


def _bounded(release: str) -> Iterator[Configuration]:
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
