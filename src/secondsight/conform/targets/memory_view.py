"""What mm/memory.c and its model have of a state; what the C is told of other files' doings."""

from __future__ import annotations

from collections.abc import Sequence

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, stops_of
from secondsight.conform.target import Scene
from secondsight.conform.targets.memory_world import PAGES, Hears, faults
from secondsight.lang.program import Program
from secondsight.linux.mm_types import Mm, PteKind
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.shmem import ShmemFile
from secondsight.linux.swapops import swap_slots

__all__ = ["FaultView"]

STILL, CALLED = 1, 2
"""What the C is given in mmu_notifier_invalidate_range_start() and _end(): that the model's has not returned; that the subscriber has been called."""

RETURNS, REUSES, HOLDS = 1, 2, 4
"""What the C is given before it looks at the entry: that the model's fault, which has looked before, finds another there and returns; or that the page is the
process's alone by now, marks it so and returns (the access is tried again); that it has a reference to the folio of a device-exclusive entry, and has not tried to lock it yet."""


LETTERS = {PteKind.MIGRATION: "M", PteKind.DEVICE_PRIVATE: "P", PteKind.DEVICE_EXCLUSIVE: "X"}
"""How the look writes entries that are not present."""


LOOKS_AGAIN = ("do_swap_page", "do_device_private_page", "remove_device_exclusive_entry", "migration_entry_wait", "do_swap_entry")
"""Functions of the model that look at an entry that is not present while the C has not looked yet."""

NO_FRAMES = (0,) * (2 + PAGES)
"""No step has allocated any."""

PIN = 1023
"""By how much a pin counts more in the C (GUP_PIN_COUNTING_BIAS) than here."""


class FaultView:
    """What both sides have of a state. `exclusive_counts`: an entry that is device-exclusive counts as a mapping."""

    def __init__(self, program: Program, mms: Sequence[Mm], file: ShmemFile, hears: Sequence[Hears], threads: int, boundaries: Sequence[Crossing], exclusive_counts: bool) -> None:
        self.program, eyes = program, Eyes(program)
        self.exclusive_counts = exclusive_counts
        self.mmap, self.i_mmap = [eyes.semaphore(mm.mmap_lock) for mm in mms], eyes.semaphore(file.i_mmap_rwsem)
        self.of = eyes.array(faults, "of")[:threads]
        self.frame_at = {eyes.offset(frame): i for i, frame in enumerate(frames)}
        self.cache = eyes.array(file, "pages")
        self.brackets, self.event = [eyes.array(one, "brackets") for one in hears], [eyes.array(one, "event") for one in hears]
        self.ptes = [[tuple(eyes.field(pte, name) for name in ("frame", "writable", "dirty", "kind", "swap", "exclusive")) for pte in mm.ptes] for mm in mms]
        self.second = eyes.offset(mms[-1]) if len(mms) > 1 else 0
        names = ("refcount", "pins", "contents", "dirty", "locked")
        self.frames = [(eyes.array(f, "shared")[0], *(eyes.field(f, name) for name in names)) for f in frames]
        self.slots = [eyes.field(slot, "count") for slot in swap_slots]
        self.kinds = {number: boundary.stop.kind for number, boundary in stops_of(program, boundaries, "mm/memory.c").items() if boundary.stop}
        self.looks = {number for number, place in enumerate(program.code.places, 1) if place.function in LOOKS_AGAIN}
        self.copies = {number for number, place in enumerate(program.code.places, 1) if place.function == "wp_page_copy_user"}
        self.asked = [eyes.local(i, "wp_page_copy_user", "va") if self.copies else None for i in range(threads)]
        self.whose = [eyes.local(i, "wp_page_copy_user", "mm") if self.copies and self.second else None for i in range(threads)]
        self.counters = [eyes.counter(i) for i in range(threads)]
        self.fresh: tuple[int, ...] = NO_FRAMES

    def scene(self) -> Scene:
        """Looks, pokes, and what is given."""
        return Scene(self.program, self.look, self.poke, self.given)

    def poke(self, state: bytes) -> list[str]:
        """The frames that the step allocates: for private memory, for the file, for each page of the child's."""
        fresh = self.fresh
        self.fresh = NO_FRAMES
        return [f"0 {' '.join(map(str, fresh))}"]

    def given(self, before: bytes, after: bytes, thread: int) -> int:
        """What a thread is told that waits for a bracket to be opened or closed."""
        cache = {self.frame_at[read(after)] for read in self.cache if read(after)}
        new = [i for i, (_, refs, *_) in enumerate(self.frames) if refs(after) and not refs(before)]
        mapped = [self.frame_at.get(self.ptes[-1][page][0](after), 0) if self.second else 0 for page in range(PAGES)]
        self.fresh = (sum(i for i in new if i not in cache), sum(i for i in new if i in cache), *(i if i in new else 0 for i in mapped))
        at, now = (self.kinds.get(self.counters[thread](state)) for state in (before, after))
        if self.counters[thread](before) in self.copies and now == "up_read":
            asked = self.asked[thread]
            assert asked is not None
            whose = self.whose[thread]
            who = int(whose is not None and whose(before) == self.second)
            frame, writable, _, kind, *_ = (read(before) for read in self.ptes[who][asked(before)])
            return RETURNS if not frame or writable or kind != PteKind.PRESENT else RETURNS + REUSES
        if self.counters[thread](before) in self.looks:
            return RETURNS * (now == "up_read") + HOLDS * (now == "held")
        if at != "elsewhere":
            return 0
        called = any(read(before) != read(after) for reads in (*self.brackets, *self.event) for read in reads)
        return STILL * (now == "elsewhere") + CALLED * called

    def look(self, state: bytes) -> str:
        """The look that c/memory.c has."""
        text = "".join(f"{read(state)} " for read in self.of) + f"mmap={self.mmap[0](state)} i_mmap={self.i_mmap(state)}"
        mapped = [0] * len(self.frames)
        for who in range(len(self.mmap)):
            if who:
                text += f" child={self.mmap[who](state)}"
            for page in range(PAGES):
                text += self.look_entry(state, who, page, mapped)
        text += " swap=" + "".join(str(read(state)) for read in self.slots)
        cache = {self.frame_at[read(state)] for read in self.cache if read(state)}
        for number, frame_reads in enumerate(self.frames):
            shared, refs, pins, contents, dirty, locked = (read(state) for read in frame_reads)
            if number != ZERO_PFN and refs:
                text += f" frame={number}:{refs + PIN * pins}:{mapped[number]}:{contents}{'f' if number in cache else 's' if shared else 'e'}"
                text += ("d" if dirty else "") + ("l" if locked else "")
        return text

    def look_entry(self, state: bytes, who: int, page: int, mapped: list[int]) -> str:
        """One entry of a process, which counts in `mapped` if it maps a frame."""
        frame, writable, dirty, kind, swap, exclusive = (read(state) for read in self.ptes[who][page])
        text = f" page={self.brackets[who][page](state)}:{self.event[who][page](state)}:"
        if kind == PteKind.PRESENT and frame:
            number = self.frame_at[frame]
            mapped[number] += 1
            text += f"{number}{'rw'[writable]}{'d' if dirty else ''}"
        elif kind == PteKind.SWAP:
            text += f"S{swap}{'x' if exclusive else ''}"
        elif kind != PteKind.PRESENT:
            number = self.frame_at[frame]
            mapped[number] += kind == PteKind.DEVICE_PRIVATE or (kind == PteKind.DEVICE_EXCLUSIVE and self.exclusive_counts)
            text += f"{LETTERS[PteKind(kind)]}{number}{'w' if writable else 'x' if exclusive else 'r'}"
        return text
