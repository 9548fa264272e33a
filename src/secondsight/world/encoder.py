"""A scenario as the interpreter's tables, and the bounds of the machine that it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang.errors import LangError
from secondsight.lang.named import bounds_named_by, records_of
from secondsight.lang.names import there_are
from secondsight.linux import BOUNDS, bounds
from secondsight.linux.mm_types import HPAGE_PMD_NR, MmuNotifier
from secondsight.linux.releases import differs
from secondsight.scenario.data import Place, Scenario, ScenarioThread
from secondsight.scenario.ops import SEALS, ArgType, ArgValue, HandleRef, HandleType, Op, Operation, ScenarioError
from secondsight.world import tables
from secondsight.world.declare import ALREADY_DONE, COLUMNS, model_of, on_model, with_families, without_device
from secondsight.world.fitting import fitting

__all__ = ["MOVES", "NOT_HUGE", "RESIZES", "Encoder", "SpaceLayout", "suits_huge_pages"]

MOST_PAGES = BOUNDS["pages"].most


def _size(frames: int, vmas: int, files: int, dax: int, buffers: int, rows: int) -> dict[str, int]:
    pages, items = 2 * files, buffers and max(2, buffers)
    return {
        "frames": frames, "vmas": vmas, "files": files, "file_pages": min(15, pages), "pagemaps": dax, "dax_devices": dax, "udmabufs": buffers,
        "dmabuf_pages": min(15, 2 * items), "create_items": items, "ops": rows, "handles": rows // 2,
    }  # fmt: skip


_LARGE = _size(16, 40, 15, 2, 15, 64)
_SIZES = (_size(8, 4, 2, 0, 2, 16), _size(16, 10, 4, 1, 4, 32), _LARGE)
_DRIVEN = (_size(10, 3, 1, 1, 0, 12), _size(16, 10, 4, 1, 4, 32), _LARGE)
"""
Bounds are rounded up to the first of these sizes that is enough, without a device and with one, so that many scenarios share
one shape. What is not used of them adds bytes to a state and no states. Only bounds of which that is true are here: a
larger address space (`pages`) has more steps, so it is as large as the scenario's own. With a device a bound of which the scenario
needs nothing stays 0: which families of operations it has tells shapes apart already.
"""
_ENOUGH = {"frames": (9, ("private_memory",)), "handles": (3, ("files", "pagemaps", "dax_devices", "udmabufs"))}
"""What is enough, within the first size with a device, for all adversaries' scenarios without those bounds, which tell shapes apart already: so there is no
shape more for it."""
_OF_EACH = ("private_pages", "migrate_pages", "iovas")
"""Bounds of what each device has for itself: they are no larger where there are more devices."""
NOT_HUGE = {"dma_buf_vmaps", "memlock", "pageblocks", "halves", "userfaultfd", "lazyfree", "numa_hints", "writes_back"}
"""What operations need that are not modelled for folios of two pages."""
NOT_OF_FILES = {"swap_slots", "migrations"}
"""The same for those of files."""
MOVES = ("mremap", "mremap_dontunmap", "mremap_resized", "mremap_maymove")
ENDS = ("exit", "kill")
"""What ends a process, so that a driver may be the last user of its address space."""
PROTECTS = ("mprotect", "mprotect_none")
RESIZES = ("mremap_in_place",)
POPULATES = ("madvise_populate_read", "madvise_populate_write")
SHARES = ("mmap", "mmap_read_only")
"""What may map a memfd so that it is written: mprotect() lets one be written that was not."""
RECLAIMS = ("madvise_pageout", "reclaim", "memory_pressure", "memory_reclaim")
"""What may take a memfd's page away."""
CAME_LATER = {
    "uffd_move": "userfaultfd-moves-pages",
    "uffd_poison": "userfaultfd-poisons-pages",
    "uffd_continue_wp": "userfaultfd-protects-what-is-to-come",
    "userfaultfd_wp_unpopulated": "userfaultfd-protects-what-is-to-come",
}
"""Operations that a kernel may not know, and the difference that says so."""
WP_REGISTERS = ("uffd_register", "uffd_register_ioctls")
"""What registers memory for write protection, if its `wp` says so."""
PARTS_VMAS = (
    "madvise_hugepage", "mlock", "munlock", "madvise_dontfork", "madvise_dofork", "madvise_wipeonfork", "madvise_keeponfork",
    "uffd_register", "uffd_register_minor", "uffd_register_ioctls", "uffd_unregister", "uffd_close", "fork",
)  # fmt: skip
"""What may let two neighbours have an anon_vma each, which stay two when their flags are equal again."""
WHEREVER = ("mremap_maymove",)
"""What moves to a place that the kernel chooses."""
_ROWS = ("handles", "devices", "other_processes")


@dataclass
class SpaceLayout:
    """An address space: its size so far, where its mappings lie, and the file and page that the last one would go on at."""

    pages: int = 0
    windows: list[tuple[int, int]] = field(default_factory=list)
    continued: tuple[str, int] | None = None


class Encoder:
    """A scenario as the interpreter's tables, and the bounds that it needs.

    `results`: those of all operations are asked for. Else what there is to ask is whether an access of a device succeeded, or opening
    or closing one.
    """

    def __init__(self, scenario: Scenario, release: str | None = None, results: bool = True) -> None:
        self.scenario = scenario
        self.release = release
        self.places = list(scenario.places())
        self.types: dict[str, HandleType] = {}
        self.numbers: dict[str, int] = {}
        self.address: dict[str, int] = {}
        self.processes = scenario.processes
        self.spaces = [SpaceLayout() for _ in self.processes]
        self.parents = list(range(len(self.processes)))
        self.rows: dict[str, list[int]] = {name: [] for name in tables.TABLES}
        self.ranges: dict[str, list[int]] = {"handle": [], "is_memfd": [], "page": [], "pages": []}
        self.devices = [p.op.makes for p in self.places if p.op.declared.makes is HandleType.DEVICE]
        self.is_huge = any(on_model(p.op).at_least(p.op.args).get("huge") for p in self.places)
        self.moves_often = sum(p.op.kind in MOVES for p in self.places) > 1
        self.told: set[str | None] = set()
        self.large_memfds = {p.op.makes for p in self.places if p.op.kind == "memfd_create_hugetlb"}
        self.opened = {p.op.makes for p in self.places if p.op.kind == "closed_device"}
        for place in self.places:
            made = place.op.declared.makes
            if place.op.makes is not None and made is not None:
                self.numbers[place.op.makes] = len(self.numbers)
                self.types[place.op.makes] = made
        self._section, self._forked_in = "setup", dict[int, str]()
        for place in self.places:
            self._section = place.section
            self._row(place.op)
        self.are_whole = results
        asked = [place.op.declared.accesses or turns != 0 for place, turns in zip(self.places, self.rows["turns"], strict=True)]
        self.keeps = [tables.WHOLE if results else tables.SUCCESS if one else 0 for one in asked]

    def _row(self, op: Op) -> None:
        """The operation's row: each argument in the column of its type, handles by what they are for."""
        model = on_model(op)
        file = next((op.args[name] for name, arg in op.declared.args.items() if arg.type is ArgType.FD), None)
        row = dict.fromkeys(tables.TABLES, 0) | {"needs": -1, "needs_at": -1, "makes": -1, "pages": 1, "flags": model.flags, "turns": model.turns}
        if op.declared.chooses and self._section == "setup" and self.scenario.threads:
            raise ScenarioError(f"{op.kind} in the setup, which is to leave one state behind", "do it in a thread", op.site)
        row["kind"] = model.number(self.types[file.handle] if isinstance(file, HandleRef) else None)
        if op.makes is not None:
            row["makes"] = self.numbers[op.makes]
        if op.declared.makes is HandleType.DEVICE:
            row["device"] = self.devices.index(op.makes)
        row["process"] = self.processes.index(op.process)
        if op.declared.forks:
            child = row["value"] = self.processes.index(op.makes)
            self.parents[child], self.spaces[child] = row["process"], deepcopy(self._space(op))
            self._forked_in[child] = self._section
        if op.declared.makes is HandleType.USERFAULTFD:
            if op.process in self.told:
                raise ScenarioError("userfaultfd: a second one of the process; the model has one for each", "register all memory with one", op.site)
            self.told.add(op.process)
        if op.kind == "mmap_noreserve" and not self._is_of_large(op):
            raise ScenarioError("mmap_noreserve: not of a memfd of huge pages; of others the model knows no reservation", "use mmap", op.site)
        columns: Counter[ArgType] = Counter()
        for name, arg in op.declared.args.items():
            value = op.args[name]
            moves_over = arg.type is ArgType.PLACE and "addr" in op.args  # it has a column of its own
            if arg.type in COLUMNS and value is not None and not moves_over:
                row[COLUMNS[arg.type][columns[arg.type]]] = self._number(arg.type, value)
                columns[arg.type] += 1
            if isinstance(value, HandleRef) and columns[ArgType.ADDRESS] > 1:  # a second handle that it needs
                row["range_first"], row["ranges"] = len(self.ranges["handle"]), 1
                self._range(value, 0, 1)
            elif isinstance(value, HandleRef):
                self._handle(row, arg.type, value, model.turns)
            if arg.type is ArgType.RANGES and isinstance(value, tuple):
                row["range_first"], row["ranges"] = len(self.ranges["handle"]), len(value)
                for ref, first, count in value:
                    self._range(ref, first, count)
        if op.kind == "move_pages" and (differs("empty-page-is-a-bad-address", self.release) or differs("protected-page-is-not-found", self.release)):
            row["flags"] |= tables.EMPTY_IS_BAD
        if op.kind in CAME_LATER and differs(CAME_LATER[op.kind], self.release):
            row["flags"] |= tables.IS_UNKNOWN
        if op.kind == "direct_read" and differs("direct-io-by-reference", self.release):
            row["flags"] |= tables.BY_REFERENCE
        if op.declared.makes is HandleType.MAPPING:
            to = self._place_mapping(op, pages_made(op, row["pages"]))
            row["page" if "addr" in op.args else "address"] = to
            late = differs("future-write-seal-is-asked-late", self.release) or differs("merged-mapping-ignores-the-seal", self.release)
            row["flags"] = (tables.SEALS_LATE if late else 0) | model.flags
            at = op.args.get("at")
            if at is not None or "addr" in op.args:
                row["low"], row["high"] = self._window(op, row["address"] if op.kind in WHEREVER else to)
            if at is not None:
                row["flags"] |= tables.FIXED
        elif op.declared.remaps:
            row["low"], row["high"] = self._window(op, row["address"])
        for name in tables.TABLES:
            self.rows[name].append(row[name])

    def _range(self, ref: HandleRef, first: int, count: int) -> None:
        self.ranges["handle"].append(self.numbers[ref.handle])
        self.ranges["is_memfd"].append(int(self.types[ref.handle] is HandleType.MEMFD))
        self.ranges["page"].append(first)
        self.ranges["pages"].append(count)

    def _number(self, kind: ArgType, value: ArgValue) -> int:
        if isinstance(value, HandleRef):
            return self.processes.index(value.handle) if kind is ArgType.PROCESS else self.address[value.handle] + value.page
        if kind is ArgType.SEALS:
            return sum(SEALS[name] for name in set(str(value).split("|")) if name)
        return ord(value) if isinstance(value, str) else int(value)  # type: ignore[arg-type]

    def _handle(self, row: dict[str, int], kind: ArgType, ref: HandleRef, turns: int) -> None:
        """What a handle is to an operation: what it needs, what it maps over, the device that it opens or that somebody opens."""
        if kind in (ArgType.PLACE, ArgType.USERFAULTFD):
            row["needs_at"] = self.numbers[ref.handle]
        elif kind is not ArgType.DEVICE:
            row["needs"] = self.numbers[ref.handle]
        else:
            row["device"] = self.devices.index(ref.handle)
        if kind is ArgType.DEVICE and ref.handle in self.opened:
            row["makes" if turns == tables.OPENS else "needs_at"] = self.numbers[ref.handle]

    def _place_mapping(self, op: Op, pages: int) -> int:
        """Each mapping has an address of its own, unless it is made over another."""
        assert op.makes is not None
        at = op.args.get("at")
        if isinstance(at, HandleRef):
            self.address[op.makes] = self.address[at.handle] + at.page
        else:
            fd, page = op.args.get("fd"), op.args.get("page")
            first = (fd.handle, page) if isinstance(fd, HandleRef) and isinstance(page, int) else None
            space = self._space(op)
            if first is not None and first == space.continued:
                space.pages += HPAGE_PMD_NR if self.is_huge else 1  # a gap: the kernel keeps mappings apart, and these two would be one vma
            elif first is None and self.moves_often and space.pages:
                space.pages += 1  # what moves keeps its page numbers: the last of one mapping and the first of the next are not to meet elsewhere
            space.continued = None if first is None else (first[0], first[1] + pages)
            if self.is_huge:  # no huge page, and no page table, is two mappings'
                space.pages += space.pages % HPAGE_PMD_NR
            children = self._may_have_it(self.processes.index(op.process))
            space.pages = max(one.pages for one in (space, *children))
            self.address[op.makes] = space.pages
            space.windows.append((space.pages, space.pages + pages))
            space.pages += pages
            for child in children:
                child.pages = space.pages
        return self.address[op.makes]

    def _may_have_it(self, process: int) -> list[SpaceLayout]:
        """The address spaces of children that may have a mapping which their parent makes now: another thread forks them, before or after that."""
        return [self.spaces[child] for child, section in self._forked_in.items() if self.parents[child] == process and section not in ("setup", self._section)]

    def _window(self, op: Op, address: int) -> tuple[int, int]:
        """Where the mapping that an address lies in begins and ends."""
        return next(w for w in self._space(op).windows if w[0] <= address < w[1])

    def _space(self, op: Op) -> SpaceLayout:
        """The address space of the process that does an operation."""
        return self.spaces[self.processes.index(op.process)]

    def data(self, waits: bool, closes: bool = False) -> dict[str, Sequence[int]]:
        """The `const` tables."""
        rows: dict[str, Sequence[int]] = {f"op.{name}": row for name, row in self.rows.items()}
        rows["op.kind"] = self.kinds()
        rows["op.keeps"] = self.keeps
        rows |= {f"range.{name}": row or [0] for name, row in self.ranges.items()}
        turning = [[i for i, turns in enumerate(self.rows["turns"]) if turns and self.rows["device"][i] == n] for n in range(max(1, len(self.devices)))]
        rows |= {"turn.first": [0, *accumulate(map(len, turning))], "turn.row": [i for own in turning for i in own]}
        return rows | {"program.counts": [int(waits)], "program.closes": [int(closes)], "program.parents": self.parents, "program.forks": [int(self.forks)]}

    @property
    def forks(self) -> bool:
        """Whether a process comes into being by fork."""
        return self.parents != list(range(len(self.parents)))

    def only(self, has_device: bool, beside: Iterable[int] = ()) -> dict[str, Iterable[int]]:
        """What may be in the tables of a program of this shape: what the scenario does, with its families (see `declare`), or with what
        is done `beside` it, if that is given and has all that it does."""
        kept = (tables.WHOLE,) if self.are_whole else (0, tables.SUCCESS)
        rest: dict[str, Iterable[int]] = {"op.keeps": kept, "program.forks": (int(self.forks),)}
        if not has_device:
            return rest | {"op.kind": without_device(), "program.closes": (0,)}
        known = frozenset(beside)
        return rest | {"op.kind": known if known.issuperset(self.kinds()) else self.families, "program.closes": (0, 1)}

    @property
    def families(self) -> tuple[int, ...]:
        """What the scenario does, with its families."""
        return with_families(self.rows["kind"])

    def kinds(self) -> list[int]:
        """What the rows are to the threads: the setup is over by then, unless there are none and it is all that there is."""
        over = bool(self.scenario.threads)
        numbers = zip(self.rows["kind"], self.places, strict=True)
        return [ALREADY_DONE if over and place.section == "setup" else number for number, place in numbers]

    def bounds(self, driver: type[Device] | None, wanted: dict[str, int]) -> dict[str, int]:
        """Enough of everything for this scenario; `wanted` overrides. Raises `ScenarioError` for more pages than there can be."""
        largest_space = max(self.spaces, key=lambda space: space.pages)
        if largest_space.pages > MOST_PAGES:
            gaps = largest_space.pages - sum(end - start for start, end in largest_space.windows)
            between = f", {gaps} of them between mappings of one file that would be one" if gaps else ""
            said = f"{self.scenario.name}: takes {largest_space.pages} pages of address space{between}; the model's limit is {MOST_PAGES}"
            raise ScenarioError(said, "map fewer pages")
        takes: Counter[str] = Counter()
        largest: dict[str, int] = {}
        for place in self.places:
            model = on_model(place.op)
            takes.update(model.takes(place.op.args))
            for name, number in model.at_least(place.op.args).items():
                largest[name] = max(number, largest.get(name, 0))
        tells = largest.pop(tables.READS_ONLY, 0) & largest.pop(tables.SEALS_WRITES, 0)
        largest["vma_flags"] = max(tells, largest.get("vma_flags", 0))
        if self.forks and any(place.op.kind == "move_pages" for place in self.places):  # it tells the zero page from none, and a shared page from one that is not
            largest["anon_prepared"] = 1
        if not self._shares_a_file():
            largest.pop("completed_faults", None)
        if self.are_whole and self._moves_between_nodes():
            largest["nodes"] = 1
        derived = dict.fromkeys(_LARGE, 0) | {"mms": len(self.processes), "subscribers": 0, **largest, **takes}
        derived["last_mmput"] = int(driver is not None and any(place.op.kind in ENDS for place in self.places))
        cut = largest["file_pages"] if any(ArgType.SIZE in place.op.declared.types for place in self.places) else 0
        derived["frames"] = min(16, max(3, 1 + takes["frames"] + sum(_in_flight(thread, cut) for thread in self.scenario.threads)))
        derived["pages"] = max(1, largest_space.pages)
        if takes["files"] and any(place.op.kind in RECLAIMS for place in self.places):
            derived["shmem_swap"] = 1
        if largest.get("fallocated_pages"):
            derived["fallocated_pages"] = derived["file_pages"]
        if any(place.op.kind in POPULATES for place in self.places):
            derived["populates_behind_gaps"] = int(differs("populate-ends-at-a-gap", self.release))
        if takes.get("dax_devices"):
            derived["prepares_dax"] = int(self.release is not None and not differs("dax-refuses-before-it-maps", self.release))
        if largest.get("userfaultfd"):
            if any(place.op.kind in WP_REGISTERS and place.op.args["wp"] for place in self.places) and self._maps_files():
                derived["pte_markers"] = 1
            if derived.get("pte_markers"):
                derived["swap_slots"] = max(1, derived.get("swap_slots", 0))  # dirty entries are told from clean ones: who lifts a protection looks (`can_change_pte_writable`)
                self._suits_poison()
            derived["no_memory_past_the_end"] = int(self.release is not None and not differs("userfaultfd-past-the-end-is-no-memory", self.release))
        if wanted.get("gup_fast_steps") and self.is_huge:
            derived["gup_walks"] = min(BOUNDS["gup_walks"].most, max(1, len(self.scenario.threads)) + len(self.devices))
        if largest.get("pageblocks"):  # all pages come from the block first, and all may move out of it
            derived["pageblock_frames"] = min(BOUNDS["pageblock_frames"].most, max(1, takes["frames"]))
            derived["frames"] = min(16, derived["frames"] + derived["pageblock_frames"])
        if largest.get("lru_scans"):
            self._scans_lists(derived, largest, takes["frames"])
        if largest.get("migrations"):
            derived["migrations"] = max(largest["migrations"], self._racing_migrations(largest["migrations"]))
        if self.is_huge:
            self._suits_huge_pages(largest)
            if largest.get("hugetlb_pages") and largest.get("resizes"):
                derived["file_pages"] += derived["file_pages"] % HPAGE_PMD_NR
                derived["hugetlb_pages"] = derived["file_pages"] // HPAGE_PMD_NR
                largest["hugetlb_pages"] = derived["hugetlb_pages"]
            derived["pages"] += derived["pages"] % HPAGE_PMD_NR
            derived["frames"] = min(16, derived["frames"] + takes["frames"])  # a half that has gone keeps its frame with the other one
            derived["huge_zero_replaced"] = int(self.release is not None and not differs("huge-zero-page-is-replaced", self.release))
            derived["no_memory_to_unmap"] = int(differs("mapping-over-a-part-of-a-huge-page", self.release))
            private = any(place.op.kind == "mmap_private" and self._is_of_large(place.op) for place in self.places)
            derived["hugetlb_private"] = int(private)
            if largest.get("hugetlb_pool"):
                derived["hugetlb_regions"] = largest.get("hugetlb_pages", 0)
                derived["hugetlb_private_pool"] = int(private)
                derived["hugetlb_private_regions"] = derived["hugetlb_regions"] * private
                derived["loses_reserve"] = int(private and differs("reservation-of-a-page-that-goes", self.release))
            if largest.get("swap_slots"):  # a folio of two pages takes two slots side by side; rounded up to fours, as `_SIZES` are
                enough = max(largest["swap_slots"], 2 + 2 * takes["frames"])
                derived["swap_slots"] = min(BOUNDS["swap_slots"].most, -(-enough // 4) * 4)
                derived["split_keeps_zeros"] = int(differs("split-maps-the-zero-page", self.release))
            if largest.get("detached_tables"):
                derived["collapses_read_only"] = int(self.release is not None and not differs("collapse-of-what-may-not-be-written", self.release))
            derived["pmds"] = derived["pages"] // HPAGE_PMD_NR
        if largest.get("swap_slots"):
            derived["swapped_in_read_only"] = int(differs("swapped-in-for-reading-may-be-written", self.release))
            derived["slot_goes_after_mapping"] = int(self.release is not None and not differs("slot-goes-after-mapping", self.release))
        if takes.get("dax_devices") and any(place.op.declared.makes is HandleType.PIN for place in self.places):
            derived["dax_pins"] = 1
        if takes.get("fs_dax_files") and differs("hole-is-written-back-first", self.release):
            derived["dax_tags"] = derived["file_pages"]
        if largest.get("writes_back"):
            derived["longterm_pins_write_files"] = int(differs("longterm-pin-of-a-file", self.release))
            derived["hole_is_written_back"] = int(differs("hole-is-written-back-first", self.release))
            self._suits_writeback()
        if takes.get("pins") or driver is not None:
            derived["longterm_pins_zero_page"] = int(differs("longterm-pin-of-the-zero-page", self.release))
        derived["vmas"] += 2 * sum(map(self._splits, self.places))
        if largest.get("anon_prepared"):
            derived["moves_several"] = int(self.release is not None and not differs("mremap-of-several-vmas", self.release))
            derived["anon_ids"] = int(any(place.op.kind in PARTS_VMAS for place in self.places))
            derived["joins_untouched"] = int(self.release is not None and not differs("touched-memory-joins-untouched", self.release))
        if (self.is_huge or largest.get("anon_prepared")) and any(place.op.kind in PROTECTS for place in self.places):
            derived["more_flags"] = 1  # which vmas are one shows in what collapses and in what moves
            derived["stays_accounted"] = int(differs("untouched-memory-stays-accounted", self.release))
        if largest.get("more_flags"):
            derived["no_dofork_of_special"] = int(self.release is not None and not differs("dofork-of-special-memory", self.release))
        if driver is not None:
            if driver.bounds.get("finishes") and differs("two-pass-interval-notifiers", self.release):
                raise ScenarioError(
                    f"{driver.__name__} has two passes (the bound `finishes`), which Linux {self.release} has not",
                    "ask for --release 7.2, or give the driver `invalidate` alone",
                )
            theirs = records_of(driver)
            derived["young_callbacks"] = int(any(_overrides(theirs, name) for name in ("clear_flush_young", "clear_young", "test_young")))
            derived["page_notifiers"] = int(any(_overrides(theirs, name) for name in ("invalidate_page", "change_pte")))
            needed = {n: min(BOUNDS[n].most, k * len(self.devices)) if n in BOUNDS and n not in _OF_EACH else k for n, k in driver.bounds.items()}
            if _overrides(theirs, "arch_invalidate_secondary_tlbs"):
                needed["secondary_tlbs"] = 1
            theirs_alone = own_bounds(driver)
            derived |= dict.fromkeys(theirs_alone, 1) | needed
            if derived.get("private_memory"):
                derived["frames"] = min(16, derived["frames"] + derived["private_pages"] * len(self.devices))
                derived["locks_the_device_page"] = int(self.release is not None and not differs("a-fault-locks-a-page-in-device-memory", self.release))
        if derived.get("owners") and self.release is not None and not differs("exclusive-page-stays-mapped", self.release):
            derived |= {"exclusive_is_mapped": 1, "restores_by_clear": 1}
        if derived.get("lazyfree"):
            derived["lazyfree_outlives_holders"] = int(self.release is not None and not differs("held-page-stays-lazyfree", self.release))
        if derived.get("memlock"):  # by an operation or by the driver: each process has its own count
            derived["memlock"] = len(self.processes)
        if derived.get("secondary_tlbs"):  # by the driver: of each process
            derived["secondary_tlbs"] = derived["mms"]
        if derived.get("anon_vmas"):
            derived["anon_vmas"] = derived["mms"]
        self._fork(derived, takes["frames"])
        derived |= {"ops": max(1, len(self.places)), "handles": max(1, len(self.numbers))}
        size = next((s for s in (_DRIVEN if driver is not None else _SIZES) if all(derived[n] <= s[n] for n in s)), {})
        rounded = derived | {name: number for name, number in size.items() if derived[name] or driver is None}
        if _DRIVEN and size is _DRIVEN[0]:
            rounded |= {name: most for name, (most, but) in _ENOUGH.items() if derived[name] <= most and not any(derived.get(n) for n in but)}
        rounded["devices"] = len(self.devices) if len(self.devices) > 1 else 0
        rounded["other_processes"] = len(self.processes) - 1
        own = {name: rounded.pop(name) for name in _ROWS}
        rows = rounded.pop("ops")
        own |= {"ops": rows, "results": rows * self.are_whole, "successes": rows * (not self.are_whole)}
        sizes = rounded | wanted
        if sizes.get("shmem_swap"):
            sizes["swapped_pages"] = sizes["file_pages"]
        drivers: dict[str, int] = {}
        if driver is not None:
            _all_there(driver, theirs_alone, wanted)
            drivers = {name: sizes.pop(name) for name in theirs_alone if name in sizes}
        made = bounds(**sizes)
        fitting(made, wanted, len(self.processes), self.scenario.name)
        return made | own | drivers

    def _maps_files(self) -> bool:
        """Whether there is a mapping of a file."""
        return any(place.op.declared.makes is HandleType.MAPPING and place.op.args.get("fd") is not None for place in self.places)

    def _shares_a_file(self) -> bool:
        """Whether a thread may have a memfd mapped to write, and another changes what is mapped."""
        kinds = {place.op.kind for place in self.places}
        return "memfd_create" in kinds and not kinds.isdisjoint(SHARES) and len(self.scenario.threads) > 1

    def _moves_between_nodes(self) -> bool:
        """Whether a page that a thread is about to move may meanwhile have come to the node that it is to go to: another thread runs, and something else moves pages."""
        moves = Counter(place.op.kind for place in self.places)
        return moves["move_pages"] > 0 and moves["move_pages"] + moves["offline_pages"] > 1 and len(self.scenario.threads) > 1

    def _racing_migrations(self, else_needed: int) -> int:
        """How many migrations may go on at a time, where a thread moves pages beside another that moves or reclaims some; 0: there are no such two."""
        kinds = [{op.kind for op in thread.ops} for thread in self.scenario.threads]
        movers = sum("move_pages" in of for of in kinds)
        others = sum("move_pages" not in of and any("migrations" in on_model(op).at_least(op.args) for op in thread.ops)
                     for of, thread in zip(kinds, self.scenario.threads, strict=True))  # fmt: skip
        if movers == 0 or movers + others == 1:
            return 0
        return min(BOUNDS["migrations"].most, max(2, movers) + else_needed - 1)

    def _suits_writeback(self) -> None:
        """Raises `ScenarioError` for what files on a disk are not modelled together with: a block holds one character."""
        for place in self.places:
            if on_model(place.op).at_least(place.op.args).get("halves"):
                raise ScenarioError(f"{place.op.kind} and files on a disk in one scenario are not modelled: a block has no halves", "leave out one of them", place.op.site)

    def _suits_poison(self) -> None:
        """Raises `ScenarioError` for what poisoned pages are not modelled together with: MADV_POPULATE_* of one is -EHWPOISON."""
        poisons = any(place.op.kind == "uffd_poison" for place in self.places)
        for place in self.places:
            if poisons and place.op.kind in POPULATES:
                raise ScenarioError(f"{place.op.kind} and uffd_poison in one scenario are not modelled: it may come to a poisoned page", "leave out one of them", place.op.site)

    def _scans_lists(self, derived: dict[str, int], largest: Mapping[str, int], frames: int) -> None:
        """What those need that look at all of memory: each page may have a slot in swap; and where others go on meanwhile, one that has come back may go again. Raises `ScenarioError` for what
        they are not modelled together with."""
        for place in self.places:
            if largest.get("pageblocks") and place.op.declared.chooses:
                said = f"{place.op.kind} and a block of memory that is to be emptied in one scenario are not modelled: pages that have moved may lie in the block or not"
                raise ScenarioError(said, "leave out one of them", place.op.site)
        derived["lru_scans"] = 2 if self.scenario.threads else 1
        if any(place.op.kind == "memory_reclaim" for place in self.places):
            derived["swap_slots"] = min(BOUNDS["swap_slots"].most, max(largest["swap_slots"], frames))

    def _suits_huge_pages(self, largest: Mapping[str, int]) -> None:
        """Raises `ScenarioError` for what huge pages are not modelled together with."""
        for number, place in enumerate(self.places):
            op = place.op
            if op.kind == "hugetlb_pool" and number > 0:
                raise ScenarioError("hugetlb_pool comes after something else: a pool that is in use is not modelled", "begin with it", op.site)
            if largest.get("hugetlb_pool") and (op.kind == "close" or op.declared.makes is HandleType.UDMABUF):
                said = f"{op.kind} and a limited pool of huge pages in one scenario are not modelled: the end of a file, or its device, changes what is reserved"
                raise ScenarioError(said, "leave out one of them", op.site)
            if NOT_HUGE & on_model(op).at_least(op.args).keys():
                said = f"{op.kind} and huge pages in one scenario are not modelled: what must stay movable, is used by halves or told to user space is one page here"
                raise ScenarioError(said, "leave out one of them", op.site)
            if op.kind in RESIZES and largest.get("hugetlb_pages"):
                raise ScenarioError(f"{op.kind} and huge pages of files in one scenario are not modelled", "leave out one of them", op.site)
            if op.kind in MOVES:
                self._suits_moves(op, number, largest)
            elif op.declared.makes is HandleType.MAPPING and isinstance(fd := op.args["fd"], HandleRef) and self._is_hugetlb(fd.handle):
                self._suits_hugetlb(op, fd)
            if largest.get("hugetlb_pages") and NOT_OF_FILES & on_model(op).at_least(op.args).keys():
                said = f"{op.kind} and huge pages of files in one scenario are not modelled: those are not moved, nor swapped out"
                raise ScenarioError(said, "leave out one of them", op.site)
            if largest.get("hugetlb_pages") and op.kind in ("device_exclusive", "make_device_exclusive"):
                raise ScenarioError("device-exclusive access and huge pages of files in one scenario are not modelled", "leave out one of them", op.site)
            collapses = largest.get("detached_tables")
            if collapses and op.declared.makes is HandleType.MAPPING and op.args.get("fd") is not None:
                said = "MADV_COLLAPSE where files are mapped is not modelled: it is of private anonymous memory"
                raise ScenarioError(said, "leave out one of them", op.site)

    def _suits_moves(self, op: Op, number: int, largest: Mapping[str, int]) -> None:
        """Raises `ScenarioError` for a mapping that moves in a way that is not modelled together with huge pages."""
        if op.kind in WHEREVER:
            raise ScenarioError(f"{op.kind} and huge pages in one scenario are not modelled: where huge pages begin is the kernel's choice", "use mremap_resized", op.site)
        if largest.get("hugetlb_pages"):
            raise ScenarioError(f"{op.kind} and huge pages of files in one scenario are not modelled", "leave out one of them", op.site)
        if (self.rows["address"][number] - self.rows["page"][number]) % HPAGE_PMD_NR != 0:
            said = f"{op.kind} of huge pages to a place that does not begin as they do is not modelled: halves of two huge pages would share a page table"
            raise ScenarioError(said, "move from an even page to an even page, or from an odd one to an odd one", op.site)

    def _is_hugetlb(self, memfd: str) -> bool:
        return memfd in self.large_memfds

    def _is_of_large(self, op: Op) -> bool:
        """Whether what it maps is a memfd of huge pages."""
        return isinstance(fd := op.args["fd"], HandleRef) and self._is_hugetlb(fd.handle)

    def _suits_hugetlb(self, op: Op, fd: HandleRef) -> None:
        """Raises `ScenarioError` for a mapping of a memfd of huge pages that the model has not."""
        count = op.args["pages"]
        size = self._largest_size(fd)
        page = op.args["page"]
        assert isinstance(count, int) and isinstance(page, int)
        if count % HPAGE_PMD_NR or page + count > size:
            raise ScenarioError(
                f"mmap of {count} pages from page {page} of a memfd of {size}, which are huge: the kernel would map another number of pages, or make it larger",
                "map an even number of pages that the memfd has", op.site,
            )  # fmt: skip

    def _largest_size(self, fd: HandleRef) -> int:
        """How many pages a memfd of huge pages has at most: one may end within a page."""
        sizes = [0]
        for place in self.places:
            op, pages = place.op, place.op.args.get("pages")
            resizes = op.args.get("fd") == fd and (op.declared.grows or ArgType.SIZE in op.declared.types)
            if isinstance(pages, int) and (op.makes == fd.handle or resizes):
                first = op.args["page"] if op.declared.grows else 0
                assert isinstance(first, int)
                sizes.append(first + pages)
        return max(sizes) + max(sizes) % HPAGE_PMD_NR

    def _fork(self, derived: dict[str, int], pages: int) -> None:
        """What forks need more: a child may have each vma of its parent, and copies of all its `pages`."""
        count = sum(child != parent for child, parent in enumerate(self.parents))
        if count == 0:
            return
        derived["vmas"] *= 1 + count
        derived["frames"] = min(BOUNDS["frames"].most, derived["frames"] + pages * count)

    def _splits(self, place: Place) -> int:
        """Of how many mappings an operation takes only a part away: then a vma is split, or two are."""
        op, count = place.op, 0
        for name in ("addr", "at"):
            address, pages = op.args.get(name), op.args.get("pages", 1)
            if name == "at" and isinstance(pages, int):
                pages = pages_made(op, pages)
            if op.declared.remaps and isinstance(address, HandleRef) and isinstance(pages, int):
                start = self.address[address.handle] + address.page
                count += (start, start + pages) not in self._space(op).windows
        return count


def pages_made(op: Op, pages: int) -> int:
    """The size of the mapping that an operation makes of `pages` pages."""
    return op.declared.pages_made(op.args) if op.declared.pages_made is not None else pages


def _in_flight(thread: ScenarioThread, cut: int) -> int:
    """The frames that a thread may have taken away and not given back yet: a zap takes entries away first and drops their frames
    later; meanwhile others may be given new ones. `cut`: how many who changes the size of a file may take away."""
    most = 1
    for op in thread.ops:
        number = cut if ArgType.SIZE in op.declared.types else op.args.get("pages")
        if op.declared.takes_away and isinstance(number, int):
            most = max(most, number)
    return most


def suits_huge_pages(operation: Operation, of_files: bool) -> bool:
    """Whether an operation may be in a scenario with huge pages, of files or of private memory."""
    model = model_of(operation.name)
    if operation.name in (*MOVES, *RESIZES) and (of_files or operation.name in WHEREVER):
        return False
    small = dict.fromkeys(operation.args, 1) | {"seals": "", "ranges": ()}
    if (NOT_HUGE | (NOT_OF_FILES if of_files else set())) & model.at_least(small).keys():
        return False
    return of_files or not any(arg.type in (ArgType.MEMFD, ArgType.UDMABUF) for arg in operation.args.values())


def _all_there(driver: type[Device], own: Iterable[str], wanted: Iterable[str]) -> None:
    """Raises `LangError` for a bound that neither the machinery nor a driver's own arrays have, with the nearest that there is."""
    there = [*own, *BOUNDS]
    for name in (*driver.bounds, *wanted):
        if name not in there:
            whose = f"{driver.__name__}.bounds: " if name in driver.bounds else ""
            raise LangError(f"{whose}there is no bound {name}; {there_are(name, there, 'secondsight list bounds')}")


def has_callback(driver: type[Device], name: str) -> bool:
    """Whether the driver, or a notifier of its own beside it, has one of mmu_notifier_ops that the machinery calls only where somebody has it."""
    return _overrides(records_of(driver), name)


def _overrides(records: Iterable[type[Any]], name: str) -> bool:
    """Whether a notifier among some records has a callback of its own."""
    return any(issubclass(record, MmuNotifier) and getattr(record, name) is not getattr(MmuNotifier, name) for record in records)


def own_bounds(driver: type[Device]) -> list[str]:
    """The bounds of a driver's own arrays, which the machinery does not have."""
    return [name for name in bounds_named_by(driver) if name not in BOUNDS and name not in _ROWS]
