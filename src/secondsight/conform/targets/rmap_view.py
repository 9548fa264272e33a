"""What mm/rmap.c and its model have of a state; what the C is told of it before a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, stops_of
from secondsight.conform.target import Scene
from secondsight.conform.targets.rmap_world import DEVICE, LOG, SLOTS, Entry, world
from secondsight.lang.program import Program
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import AddressSpace, Folio, PteKind, anon_vmas
from secondsight.linux.swapops import swap_slots

__all__ = ["Values", "View"]

CALLED, NOT_YET = 1, -1
"""What the C is given in a function of mm/mmu_notifier.c: its subscriber is called; the model's has not returned."""

ENTRIES = {PteKind.PRESENT: Entry.PRESENT, PteKind.MIGRATION: Entry.MIGRATION, PteKind.DEVICE_PRIVATE: Entry.PRIVATE, PteKind.DEVICE_EXCLUSIVE: Entry.EXCLUSIVE, PteKind.SWAP: Entry.SWAP}

AT_ONCE = 7
"""Frames that one command tells of."""

Values = Mapping[str, int]


class View:
    """What both sides have of a state. `exclusive_counts`: an entry that is device-exclusive counts as a mapping."""

    def __init__(self, program: Program, file: AddressSpace, folios: Sequence[Folio], threads: int, boundaries: Sequence[Crossing], kernel_file: str, exclusive_counts: bool) -> None:
        self.program, eyes = program, Eyes(program)
        self.exclusive_counts = exclusive_counts
        self.of = eyes.array(world, "of")[:threads]
        self.calls, self.told = eyes.field(world, "calls"), eyes.array(world, "told")
        self.locks = (eyes.semaphore(anon_vmas[0].rwsem), eyes.semaphore(file.i_mmap_rwsem))
        self.number = {eyes.offset(folio): i for i, folio in enumerate(folios, 1)}
        names = ("refcount", "pins", "dirty", "locked", "swapcache", "swap", "index", "anon_vma", "mapping")
        self.folios = [{name: eyes.field(f, name) for name in names} | {"shared": eyes.array(f, "shared")[0], "lazyfree": eyes.array(f, "lazyfree")[0]} for f in folios]
        fields = ("frame", "kind", "writable", "dirty", "exclusive", "swap")
        self.ptes = [{name: eyes.field(pte, name) for name in fields} for mm in mms for pte in mm.ptes]
        self.slots = [eyes.field(slot, "count") for slot in swap_slots]
        self.counters = [eyes.counter(i) for i in range(threads)]
        self.elsewhere = {number for number, boundary in stops_of(program, boundaries, kernel_file).items() if boundary.stop is not None and boundary.stop.kind == "elsewhere"}
        self.stepped: tuple[bytes, bytes] | None = None

    def scene(self) -> Scene:
        """Looks, pokes, and what is given."""
        return Scene(self.program, self.look, self.poke, self.given)

    def more(self, folio: Values) -> str:
        """What is seen of a folio besides."""
        return ""

    def shared(self, folio: Values, mapped: int) -> int:
        """Whether the C is told that an anonymous folio is not its process's alone."""
        return folio["shared"]

    def how(self, folio: Values) -> int:
        """What the C is told of a folio besides: bits of c/rmap_world.h."""
        return 0

    def _entries(self, state: bytes) -> list[Values]:
        """Every entry: its kind, its frame or slot, and what more it says."""
        found: list[Values] = []
        for pte in self.ptes:
            kind, at = PteKind(pte["kind"](state)), pte["frame"](state)
            if not at and kind != PteKind.SWAP:
                found.append({"kind": Entry.NONE})
                continue
            more = {name: pte[name](state) for name in ("writable", "dirty", "exclusive")}
            found.append({"kind": ENTRIES[kind], "number": self.number[at] if at else pte["swap"](state), **more})
        return found

    def _mapcounts(self, entries: Sequence[Values]) -> list[int]:
        counts = [0] * (len(self.folios) + 1)
        for entry in entries:
            if entry["kind"] in (Entry.PRESENT, Entry.PRIVATE) or (entry["kind"] == Entry.EXCLUSIVE and self.exclusive_counts):
                counts[entry["number"]] += 1
        return counts

    def poke(self, state: bytes) -> list[str]:
        """Entries and folios as they were before the step, which the C does itself."""
        before = self.stepped[0] if self.stepped is not None and self.stepped[1] is state else state
        entries = self._entries(before)
        values = [
            entry["kind"] + 8 * (entry["writable"] + 2 * entry["dirty"] + 4 * entry["exclusive"]) + 64 * entry["number"] if entry["kind"] else 0 for entry in entries
        ]
        commands = ["0 " + " ".join(str(int(value)) for value in (*values, *(read(before) for read in self.slots[:SLOTS])))]
        mapped = self._mapcounts(entries)
        for begin in range(0, len(self.folios), AT_ONCE):
            some = self.folios[begin : begin + AT_ONCE]
            words = [self._folio({name: read(before) for name, read in folio.items()}, mapped[begin + i + 1]) for i, folio in enumerate(some)]
            commands.append(f"{len(some)} {begin + 1} " + " ".join(words))
        return commands

    def _folio(self, folio: Values, mapped: int) -> str:
        how = (
            bool(self.shared(folio, mapped)) + 2 * bool(folio["dirty"]) + 4 * bool(folio["locked"]) + 8 * bool(folio["lazyfree"]) + 16 * bool(folio["swapcache"])
            + 32 * bool(folio["anon_vma"]) + 64 * bool(folio["mapping"]) + self.how(folio)
        )  # fmt: skip
        return f"{folio['refcount'] + 64 * folio['pins']} {mapped} {how} {folio['index'] + 8 * folio['swap']}"

    def given(self, before: bytes, after: bytes, thread: int) -> int:
        """Whether the model's thread is in a function of mm/mmu_notifier.c still, and whether the subscriber was called."""
        self.stepped = (before, after)
        if self.calls(after) != self.calls(before):
            return CALLED
        return NOT_YET if self.counters[thread](after) in self.elsewhere else 0

    def look(self, state: bytes) -> str:
        """The look that c/rmap_world.h has."""
        text = "".join(f"{read(state)} " for read in self.of) + "anon={} file={}".format(*(lock(state) for lock in self.locks))
        entries = self._entries(state)
        text += "".join(f" pte={_entry(entry)}" for entry in entries)
        mapped = self._mapcounts(entries)
        for i, folio in enumerate(self.folios, 1):
            is_ = {name: read(state) for name, read in folio.items()}
            alone = mapped[i] and is_["anon_vma"] and not is_["shared"]
            belongs = bool(is_["anon_vma"] or is_["mapping"])
            known = bool(mapped[i] or is_["mapping"] or is_["swapcache"])
            text += f" frame={is_['refcount']}:{mapped[i]}" + "d" * (is_["dirty"] and i != DEVICE and known) + "l" * (is_["locked"] and belongs) + "z" * (is_["lazyfree"] and belongs) + "c" * is_["swapcache"] + self.more(is_) + ("x" if alone else "")
        text += "".join(f" slot={read(state)}" for read in self.slots[:SLOTS])
        for read in self.told[: min(self.calls(state), LOG)]:
            told = read(state)
            text += f" call={told // 128}:{told // 32 % 4}:{told // 8 % 4}{'ce?'[told // 2 % 4]}{'o' * (told % 2)}"
        return text


def _entry(entry: Values) -> str:
    kind = entry["kind"]
    if kind == Entry.NONE:
        return ""
    letter, number = "w" if entry["writable"] else "r", entry["number"]
    if kind == Entry.PRESENT:
        return f"{number}{letter}{'d' * entry['dirty']}"
    if kind == Entry.SWAP:
        return f"s{number}{'x' * entry['exclusive']}"
    if kind == Entry.MIGRATION:
        return f"m{number}{'x' if entry['exclusive'] and not entry['writable'] else letter}{'d' * entry['dirty']}"
    return f"{'p' if kind == Entry.PRIVATE else 'e'}{number}{letter}"
