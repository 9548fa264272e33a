"""Operations that happen at once, on a machine of plain objects: a recorder that does what it notes.

Everything comes from the operations' declarations (`operations/`): what arguments they take, what they do, in what words their result is.
A call that would have to wait for somebody else raises `WouldBlock`.
"""

from __future__ import annotations

import errno
from typing import Any

import secondsight.world.operations  # noqa: F401  what is interpreted has been declared
from secondsight.devices.device import Device
from secondsight.lang.machines import Machine
from secondsight.lang.standins import Shared, unwrap
from secondsight.lang.types import ArrayType, RecordType, error_name
from secondsight.linux import BOUNDS, bounds
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.hugetlb import hugetlb_files
from secondsight.linux.mm_types import HPAGE_PMD_NR, Mm
from secondsight.linux.mmap import get_unmapped_area
from secondsight.linux.page_alloc import mem_init
from secondsight.scenario.check import Checker
from secondsight.scenario.data import EXITED, show_value
from secondsight.scenario.handles import INSIDE, Address, DeviceHandle, handle_for
from secondsight.scenario.ops import HandleRef, HandleType, Op, ScenarioError
from secondsight.scenario.recorder import Recorder
from secondsight.world import tables
from secondsight.world.declare import on_model
from secondsight.world.encoder import MOVES, NOT_HUGE, NOT_OF_FILES, Encoder, SpaceLayout
from secondsight.world.fitting import fitting
from secondsight.world.interpreter import run_op
from secondsight.world.model import value_of

__all__ = ["ByHand"]

INSIDE.add(__file__)

MOST_HANDLES = 10_000
MOST_PROCESSES = 8
MOST_DEVICES = 4
"""Of one driver."""


class ByHand(Recorder):
    """A recorder whose operations are done when they are called; see the module.

    `bounds` decides bounds of the machine; what is not given is as usual. `spaces` are the processes' address spaces, `devices` the records
    of devices by their handles' names.
    """

    def __init__(self, **wanted: int) -> None:
        super().__init__()
        self._checker = Checker(limited=False)
        rows = {"ops": 64, "results": 0, "successes": 0, "handles": MOST_HANDLES, "devices": 0, "other_processes": MOST_PROCESSES - 1}
        usual = {name: one.usual for name, one in BOUNDS.items()}
        more = {"mms": MOST_PROCESSES, "anon_vmas": MOST_PROCESSES, "memlock": MOST_PROCESSES, "migrations": 1, "swap_slots": 8}
        more["anon_ids"] = int(wanted.get("anon_prepared", 1) > 0)
        more["pte_markers"] = int(wanted.get("userfaultfd", 1) > 0)
        more["swapped_pages"] = wanted.get("file_pages", usual["file_pages"])
        if wanted.get("huge"):  # what is not modelled beside huge pages: see the encoder
            more |= dict.fromkeys(NOT_HUGE & usual.keys(), 0) | {"pte_markers": 0, "detached_tables": 1, "swap_slots": 15}
            if wanted.get("hugetlb_files"):
                pool = int(wanted.get("hugetlb_pool", 0) > 0)
                more |= {"hugetlb_private": 1, "hugetlb_private_pool": pool, "hugetlb_private_regions": pool * wanted.get("hugetlb_pages", 0)}
            more["pmds"] = (wanted.get("pages", usual["pages"]) + 1) // HPAGE_PMD_NR
        sizes = bounds(**(usual | more | wanted))
        fitting(sizes, wanted, 1, "a machine by hand")
        self.machine = Machine(sizes | rows, data={"program.counts": [0], "program.closes": [0], "program.forks": [1]})
        self.spaces: dict[str | None, Mm] = {}
        self.devices: dict[str, Device] = {}
        self._rows = _Rows(self)
        with self.machine:
            mem_init()
            proc_caches_init()

    def begin(self) -> str | None:
        """A process with an empty address space; its name, None for the first."""
        name = self.within(None, "process")._handle.name if self.spaces else None
        with self.machine:
            self.spaces[name] = mm_alloc()
            self._ghost(name).running = 1
        return name

    def begin_child(self, process: str | None) -> str:
        """A child of a process; its name. Raises `OSError` where the process has gone."""
        made = self.within(process, "fork")
        if made == EXITED:
            raise OSError(errno.ESRCH, "fork: ESRCH: the process has exited")
        return str(made._handle.name)

    def within(self, process: str | None, kind: str, **args: object) -> Any:
        """An operation of a process: the handle that it makes, or its result in a scenario's words.

        Raises `ScenarioError` for what makes no sense, `OSError` where a handle does not come into being.
        """
        if process in self.spaces and self._ghost(process).exiting:
            return EXITED
        self._process = process
        try:
            return self._operation(kind, None, **args)
        finally:
            self._process = None

    def device_of(self, driver: type[Device], process: str | None, opened: bool = True) -> DeviceHandle:
        """A device with its driver, on the whole address space of a process. Raises `OSError` where its `open` fails."""
        pools = self.machine.pools
        if driver not in pools:
            pools[driver] = Shared(ArrayType(RecordType(driver), MOST_DEVICES, pool=True), driver.__name__)
        with self.machine:
            self._opening = self.machine.pool(driver).alloc()
        made: DeviceHandle = self.within(process, "device" if opened else "closed_device")
        return made

    def page(self, addr: Address) -> int:
        """The page number of an address."""
        return self._rows.address[addr._handle.name] + addr.page

    def _ghost(self, process: str | None) -> tables.ProcessState:
        number = list(self.spaces).index(process)
        with self.machine:
            ghost: tables.ProcessState = unwrap(tables.other_processes[number - 1] if number else tables.process)
            return ghost

    def _operation(self, kind: str, into: str | None, **args: object) -> Any:
        op, handle = self._checked(kind, into, args)
        value = self._perform(op)
        if handle is None:
            return show_value(value_of(op, value) or "ok")  # no result: the process's own end
        if value < 0:
            raise OSError(-value, f"{kind}: {error_name(-value) if value != tables.SKIPPED else value_of(op, value)}")
        return handle_for(self, handle)

    def _perform(self, op: Op) -> int:
        model = on_model(op)
        self._rows.take(op)
        mm = self.spaces.get(op.process)
        device = next((v.handle for v in op.args.values() if isinstance(v, HandleRef) and v.handle in self.devices), None)
        with self.machine:
            if op.declared.forks:
                self.spaces[op.makes] = mm_alloc()
                self._ghost(op.makes).running = 1
            if NOT_OF_FILES & model.at_least(op.args).keys() and any(hugetlb_files.is_used(file) for file in hugetlb_files):
                said = f"{op.kind} where there are huge pages of files is not modelled: those are not moved, nor swapped out"
                raise ScenarioError(said, "leave out one of them", op.site)
            if model.begins is None:
                return int(run_op(0, mm, None if device is None else self.devices[device]))  # type: ignore[arg-type]
            assert op.makes is not None
            record = None
            if op.declared.makes is HandleType.DEVICE:
                record = self.devices[op.makes] = self._opening
            return model.begins(tables.handles[self._rows.numbers[op.makes]], op, mm, record)


class _Rows(Encoder):
    """One operation after another as the only row of the tables. A mapping lies where there is room."""

    def __init__(self, hand: ByHand) -> None:
        self.hand, self.release = hand, None
        self.is_huge = hand.machine.bounds["huge"] > 0
        self.moves_often = False
        self.types, self.numbers, self.address = {}, {}, {}
        self.processes: tuple[str | None, ...] = (None,)
        self.opened: set[str | None] = set()
        self.told: set[str | None] = set()
        self.large_memfds: set[str | None] = set()
        self.devices: list[str | None] = []
        self.spaces, self.parents = [SpaceLayout()], [0]
        self._section, self._forked_in = "setup", {}  # one call after the other

    def take(self, op: Op) -> None:
        """Make it the row."""
        self.rows = {name: [] for name in tables.TABLES}
        self.ranges = {"handle": [], "is_memfd": [], "page": [], "pages": []}
        made = op.declared.makes
        self.moves_often |= op.kind in MOVES
        if op.makes is not None and made is not None:
            self.numbers[op.makes], self.types[op.makes] = len(self.numbers), made
            if made is HandleType.DEVICE:
                self.devices.append(op.makes)
            if op.kind == "closed_device":
                self.opened.add(op.makes)
            if op.kind == "memfd_create_hugetlb":
                self.large_memfds.add(op.makes)
            if made is HandleType.PROCESS:
                self.processes = (*self.processes, op.makes)
                self.parents.append(len(self.spaces))
                self.spaces.append(SpaceLayout())
        self._row(op)
        data = self.hand.machine.data
        data.update({f"op.{name}": tuple(row) for name, row in self.rows.items()})
        data.update({f"range.{name}": tuple(row) or (0,) for name, row in self.ranges.items()})

    def _place_mapping(self, op: Op, pages: int) -> int:
        """At an address that no earlier mapping had; where the address space is too small for that, at the lowest that is free."""
        assert op.makes is not None
        mm, space = self.hand.spaces[op.process], self._space(op)
        before = space.pages, list(space.windows), space.continued
        va = super()._place_mapping(op, pages)
        if isinstance(op.args.get("at"), HandleRef) or va + pages <= len(mm.ptes):
            return va
        space.pages, space.windows, space.continued = before[0], before[1], None
        with self.hand.machine:
            va = int(get_unmapped_area(mm, pages))
        if va < 0:
            raise OSError(-va, f"{op.kind}: {error_name(-va)}: no room for {pages} pages; Machine(pages=...) gives more")
        space.windows = [w for w in space.windows if w[1] <= va or va + pages <= w[0]] + [(va, va + pages)]
        self.address[op.makes] = va
        return va
