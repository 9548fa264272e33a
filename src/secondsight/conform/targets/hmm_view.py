"""What mm/hmm.c and its model have of a state; what the C is told of other files' doings."""

from __future__ import annotations

from collections.abc import Sequence

from secondsight.conform.eyes import Eyes, Read
from secondsight.conform.place import Crossing, stops_of
from secondsight.conform.target import Scene
from secondsight.conform.targets.hmm_world import Backing, Kind, Memory, Mirror, results
from secondsight.lang.program import Program
from secondsight.linux import hmm
from secondsight.linux.fork import vmas
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_NOPAGE, VM_FAULT_SIGBUS, VM_FAULT_SIGSEGV
from secondsight.linux.mm_types import Mm, PteKind
from secondsight.linux.page_alloc import frames

__all__ = ["View"]

NOT_YET = -1
"""What the C is given in a function of another file until the model's has returned."""

PRIVATE = 64
"""Added to an entry as it is poked: once for a page in the driver's own memory, twice for one in another's."""

KERNELS_FAULT = {0: 0, VM_FAULT_SIGBUS: 0x2, VM_FAULT_SIGSEGV: 0x40, VM_FAULT_NOPAGE: 0x100}
"""enum vm_fault_reason (include/linux/mm_types.h): the kernel's numbers of the model's."""


class View:
    """What both sides have of a state."""

    def __init__(self, program: Program, mm: Mm, mirror: Mirror, backings: list[Backing], memories: list[Memory], items: list[hmm.HmmRange], threads: int, boundaries: Sequence[Crossing]) -> None:
        self.program, eyes = program, Eyes(program)
        self.mmap, self.seq = eyes.semaphore(mm.mmap_lock), eyes.field(mirror.notifier, "invalidate_seq")
        self.of, self.fault = eyes.array(results, "of")[:threads], eyes.array(results, "fault")
        self.pfns = [eyes.array(item, "hmm_pfns") for item in items]
        self.unstable = eyes.field(mm, "unstable")
        self.frame_at = {eyes.offset(frame): i for i, frame in enumerate(frames)}
        self.kind_at = {eyes.offset(backing): backing.kind for backing in backings}
        self.vma_at = {eyes.offset(vma): (eyes.field(vma, "write"), eyes.field(vma, "vm_file")) for vma in vmas}
        self.private_at = {eyes.offset(frame): eyes.array(frame, "pgmap")[0] for frame in frames}
        self.number_of = {eyes.offset(memory): number for number, memory in enumerate(memories, 1)}
        self.pages = [
            (vma, eyes.field(pte, "frame"), eyes.field(pte, "writable"), eyes.field(pte, "kind")) for vma, pte in zip(eyes.array(mm, "mm_mt"), mm.ptes, strict=True)
        ]
        self.functions = {number: place.function for number, place in enumerate(program.code.places, 1)}
        self.private_begins = min((n for n, f in self.functions.items() if f == "do_device_private_page"), default=0)
        self.last, self.last_mapped = b"", [(0, 0)]
        self.counters = [eyes.counter(i) for i in range(threads)]
        self.asks = [tuple(eyes.local(i, "handle_mm_fault", name) for name in ("va", "flags")) for i in range(threads)]
        self.kinds = {number: boundary.stop.kind for number, boundary in stops_of(program, boundaries, "mm/hmm.c").items() if boundary.stop}

    def scene(self) -> Scene:
        """Looks, pokes, and what is given."""
        return Scene(self.program, self.look, self.poke, self.given)

    def mapped(self, state: bytes) -> list[tuple[int, int]]:
        """The kind of vma and the entry of each page, as they are poked."""
        if state != self.last:
            self.last, self.last_mapped = state, [self._page(state, *page) for page in self.pages]
        return self.last_mapped

    def _page(self, state: bytes, vma: Read, frame: Read, writable: Read, what: Read) -> tuple[int, int]:
        kind = 0
        if vma(state):
            write, file = self.vma_at[vma(state)]
            backing = self.kind_at.get(file(state))
            kind = backing if backing is not None else Kind.WRITE if write(state) else Kind.READ
        at = frame(state)
        if not at:
            return kind, 0
        private = PRIVATE * self.number_of[self.private_at[at](state)] if what(state) == PteKind.DEVICE_PRIVATE else 0
        return kind, private + 1 + 2 * self.frame_at[at] + writable(state)

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
        if then == "do_device_private_page":
            begins = self.counters[thread](before) == self.private_begins  # and ends at once: the entry has gone
            return 0 if begins else KERNELS_FAULT[self.fault[thread](after)]
        if then == "handle_mm_fault":
            vma, frame, *_ = self.pages[self.asks[thread][0](before)]
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
            text += f" page={int(kind)}:" + (_entry(entry) if entry else "")
        for pfns in self.pfns:
            text += " range=" + ",".join(_pfn(read(state)) for read in pfns)
        for thread, counter in enumerate(self.counters):
            if self.kinds.get(counter(state)) == "handle_mm_fault":
                va, flags = self.asks[thread]
                text += f" fault={thread}:{va(state)}:{'w' if flags(state) & FAULT_FLAG_WRITE else 'r'}"
        return text


def _entry(entry: int) -> str:
    """An entry of the page table as c/hmm.c writes it."""
    private, there = divmod(entry, PRIVATE)
    letters = "RW" if private else "rw"
    return f"{(there - 1) // 2}{letters[(there - 1) % 2]}{'other' if private == 2 else ''}"


def _pfn(entry: int) -> str:
    """An entry of hmm_pfns as c/hmm.c writes it."""
    if entry == hmm.HMM_PFN_NO_PAGE:
        return "E"
    if entry & hmm.HMM_PFN_VALID:
        return f"{entry % 16}{'w' if entry & hmm.HMM_PFN_WRITE else 'r'}"
    return f"-{entry}"
