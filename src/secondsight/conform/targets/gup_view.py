"""What mm/gup.c and its model have of a state; what the C is told of other files' doings."""

from __future__ import annotations

from collections.abc import Sequence

from secondsight.conform.eyes import Eyes, Read
from secondsight.conform.place import Crossing, stops_of
from secondsight.conform.target import Scene
from secondsight.conform.targets.gup_world import Kind, Special, results
from secondsight.lang.program import Program
from secondsight.linux.fork import vmas
from secondsight.linux.gup_pages import PageArray
from secondsight.linux.memory import FAULT_FLAG_ALLOW_RETRY, FAULT_FLAG_UNSHARE, FAULT_FLAG_WRITE
from secondsight.linux.mm_flags import VM_PRIVATE
from secondsight.linux.mm_types import Mm
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.shmem import ShmemFile

__all__ = ["View"]

NOT_YET, UNLOCKS = 1 << 20, 1 << 21
"""What the C is given in handle_mm_fault(): that the model's has not returned; that it has given the mmap lock up."""

SIGSEGV, COMPLETED = 0x40, 0x4000
"""enum vm_fault_reason (include/linux/mm_types.h): the kernel's numbers."""

FLAGS = {FAULT_FLAG_WRITE: 1, FAULT_FLAG_UNSHARE: 2, FAULT_FLAG_ALLOW_RETRY: 4}
"""How the look writes FAULT_FLAG_."""

AT_ONCE = 6
"""Frames that one command tells of."""

OWN = ("follow_page_pte", "get_one", "gup_fast_pte_range_at_once", "pin_user_pages_fast", "get_user_pages_locked", "get_user_page_vma_remote", "give_back", "script", "pin_memfd")
"""Functions at whose boundaries a step of the file's own begins: what it does to a frame the C does itself."""


class View:
    """What both sides have of a state."""

    def __init__(self, program: Program, mm: Mm, file: ShmemFile, special: Special, arrays: Sequence[PageArray], threads: int, boundaries: Sequence[Crossing]) -> None:
        self.program, eyes = program, Eyes(program)
        self.mmap = eyes.semaphore(mm.mmap_lock)
        self.of, self.held = eyes.array(results, "of")[:threads], eyes.array(results, "held")
        self.lists = [eyes.array(array, "folios") for array in arrays]
        self.frame_at = {eyes.offset(frame): i for i, frame in enumerate(frames)}
        self.file_at, self.special_at = eyes.offset(file), eyes.offset(special)
        self.cache = eyes.array(file, "pages")
        self.vma_at = {eyes.offset(vma): (eyes.field(vma, "write"), eyes.field(vma, "vm_file"), eyes.array(vma, "flags")[0]) for vma in vmas}
        self.pages = [
            (vma, eyes.field(pte, "frame"), eyes.field(pte, "writable"), eyes.field(pte, "dirty")) for vma, pte in zip(eyes.array(mm, "mm_mt"), mm.ptes, strict=True)
        ]
        self.frames = [(eyes.field(f, "refcount"), eyes.field(f, "pins"), eyes.array(f, "shared")[0], eyes.field(f, "dirty"), eyes.offset(f)) for f in frames]
        self.functions = {number: place.function for number, place in enumerate(program.code.places, 1)}
        self.counters = [eyes.counter(i) for i in range(threads)]
        self.asks = [tuple(eyes.local(i, "handle_mm_fault", name) for name in ("va", "flags")) for i in range(threads)]
        self.kinds = {number: boundary.stop.kind for number, boundary in stops_of(program, boundaries, "mm/gup.c").items() if boundary.stop}
        self.stepped: tuple[bytes, bytes] | None = None

    def scene(self) -> Scene:
        """Looks, pokes, and what is given."""
        return Scene(self.program, self.look, self.poke, self.given)

    def mapped(self, state: bytes) -> list[tuple[int, int]]:
        """The kind of vma and the entry of each page, as they are poked."""
        return [self._page(state, *page) for page in self.pages]

    def _page(self, state: bytes, vma: Read, frame: Read, writable: Read, dirty: Read) -> tuple[int, int]:
        kind = Kind.NONE
        if vma(state):
            write, file, flags = (read(state) for read in self.vma_at[vma(state)])
            if file == self.special_at:
                kind = Kind.PFNMAP
            else:
                kind = Kind.READ if not file else Kind.PRIVATE_READ if flags & VM_PRIVATE else Kind.FILE_READ
                kind = Kind(kind + bool(write))
        at = frame(state)
        return kind, 1 + 4 * self.frame_at[at] + 2 * dirty(state) + writable(state) if at else 0

    def poke(self, state: bytes) -> list[str]:
        """The page tables and the vmas; the frames, as they were before a step of the file's own."""
        before = state
        if self.stepped is not None and self.stepped[1] is state:
            before = self.stepped[0]
        cache = {read(before) for read in self.cache}
        there = " ".join(str(self.frame_at[read(before)] if read(before) else 0) for read in self.cache)
        commands = ["0 " + " ".join(f"{kind} {entry}" for kind, entry in self.mapped(state)) + f" {there}"]
        for begin in range(0, len(self.frames), AT_ONCE):
            some = self.frames[begin : begin + AT_ONCE]
            words = [
                f"{refs(before)} {pins(before)} {int(begin + i != ZERO_PFN and at not in cache)} {shared(before)} {dirty(before)}"
                for i, (refs, pins, shared, dirty, at) in enumerate(some)
            ]
            commands.append(f"{len(some)} {begin} " + " ".join(words))
        return commands

    def given(self, before: bytes, after: bytes, thread: int) -> int:
        """What handle_mm_fault() returned in this step, in the kernel's numbers; NOT_YET; with UNLOCKS where it gave the mmap lock up."""
        then = self.functions.get(self.counters[thread](before))
        self.stepped = (before if then in OWN else after, after)
        if then == "pin_memfd":
            return next((self.frame_at[read(after)] for read in self.cache if read(after) and not read(before)), 0)
        now = self.kinds.get(self.counters[thread](after))
        at = self.kinds.get(self.counters[thread](before))
        if at not in ("handle_mm_fault", "elsewhere"):
            return 0
        unlocks = UNLOCKS if self.mmap(after) < self.mmap(before) else 0
        if now == "elsewhere":
            return NOT_YET + unlocks
        if then == "handle_mm_fault":
            va, flags = (read(before) for read in self.asks[thread])
            vma = self.pages[va][0](before)
            if not vma or (flags & FAULT_FLAG_WRITE and not self.vma_at[vma][0](before)):
                return SIGSEGV
        return COMPLETED + unlocks if unlocks else 0

    def look(self, state: bytes) -> str:
        """The look that c/gup.c has."""
        text = "".join(f"{read(state)} " for read in self.of) + f"mmap={self.mmap(state)}"
        for kind, entry in self.mapped(state):
            text += f" page={int(kind)}:" + (f"{(entry - 1) // 4}{'rw'[(entry - 1) % 2]}{'d' if (entry - 1) & 2 else ''}" if entry else "")
        for number, (refs, pins, _, dirty, _) in enumerate(self.frames):
            if number != ZERO_PFN and refs(state):
                text += f" frame={number}:{refs(state)}:{pins(state)}{'d' if dirty(state) else ''}"
        text += " file=" + ",".join(str(self.frame_at[read(state)] if read(state) else 0) for read in self.cache)
        for pages, held in zip(self.lists, self.held, strict=True):
            text += " list=" + ",".join(str(self.frame_at.get(read(state), 0)) for read in pages[: held(state)])
        for thread, counter in enumerate(self.counters):
            if self.kinds.get(counter(state)) == "handle_mm_fault":
                va, flags = (read(state) for read in self.asks[thread])
                text += f" fault={thread}:{va}:{sum(number for flag, number in FLAGS.items() if flags & flag)}"
        return text
