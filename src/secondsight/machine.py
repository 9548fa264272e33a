"""A machine to drive by hand, call by call, that shows itself.

>>> from secondsight import Machine
>>> from secondsight.devices import Mirror
>>> m = Machine(frames=4)
>>> p = m.process()
>>> a = p.mmap(pages=2)
>>> p.write(a, "A")
'ok'
>>> gpu = m.device(Mirror, p)
>>> gpu.read(a)
'A'

Each call runs to its end at once, in plain Python: `pdb` steps through it. What would have to wait for somebody else says
so. The rules of the contract watch; a broken one is raised as `RuleBroken`. There is a method for every operation that a scenario has
(docs/reference.md), with a scenario's arguments, and results in its words: a page's character, `0` for a page of zeros, `ok`, `-EINVAL`,
`SIGSEGV`.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType
from typing import Any, Generic, TypeVar

from secondsight.contract import RULES
from secondsight.devices.device import Device
from secondsight.lang.standins import unwrap
from secondsight.linux.mm_types import Mm, PteKind, Vma
from secondsight.linux.page_alloc import frames
from secondsight.linux.pgtable import pte_none
from secondsight.linux.swapops import swap_slots
from secondsight.scenario.handles import INSIDE, Address, DeviceHandle
from secondsight.world import hand_methods
from secondsight.world.by_hand import ByHand
from secondsight.world.hand_methods import DeviceMethods, ProcessMethods

__all__ = ["DeviceByHand", "Machine", "ProcessByHand"]

INSIDE |= {__file__, hand_methods.__file__}

D = TypeVar("D", bound=Device)


class Machine:
    """A whole machine: frames, processes, devices. Keyword arguments raise its bounds: `Machine(frames=4, pages=2)`."""

    def __init__(self, **wanted: int) -> None:
        self._hand = ByHand(**wanted)
        self._plain = self._hand.machine
        self.processes: list[ProcessByHand] = []
        self.devices: list[DeviceByHand[Any]] = []
        self._watch()

    def process(self) -> ProcessByHand:
        """A new process with an empty address space."""
        made = ProcessByHand(self, self._hand.begin(), len(self.processes))
        self.processes.append(made)
        return made

    def device(self, driver: type[D], process: ProcessByHand, opened: bool = True) -> DeviceByHand[D]:
        """A device with its driver, on the whole address space of a process. Not `opened`: its `open` is still to be called.

        Raises `OSError` where its `open` fails.
        """
        handle = self._hand.device_of(driver, process.name, opened)
        self._watch(driver)
        made = DeviceByHand[D](self, handle, process, f"{driver.__name__.lower()}{len(self.devices)}")
        self.devices.append(made)
        return made

    def page(self, addr: Address) -> int:
        """The page number of an address, as the tables that are shown have it."""
        return self._hand.page(addr)

    def _watch(self, *drivers: type[Device]) -> None:
        """Let the rules watch that are asked of every driver here."""
        kinds = [*(type(unwrap(d.record)) for d in self.devices), *drivers] or [Device]
        self._plain.rules = [probe for rule in RULES.values() if all(rule.is_asked_of(kind) for kind in kinds) for probe in rule.probes]

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        with self._plain:
            lines: list[str] = []
            for heading, rows in self._tables():
                lines += [*heading, *_columns(rows, "  " * bool(heading))]
            return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: what is printed, as tables."""
        from secondsight.report.notebook import html_table  # here: who drives a machine in a program has no use for reports

        with self._plain:
            return "".join(html_table(heading, rows) for heading, rows in self._tables())

    def _tables(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        """Each process's page tables under what is said of it, then the frames under nothing: rows of words, the first is the head."""
        for process in self.processes:
            mm, devices = process.mm, [d for d in self.devices if d.process is process]
            subs = mm.subscriptions
            state = "odd: a watched range is being invalidated" if subs.invalidate_seq & 1 else "even: nothing is being invalidated"
            heading = [f"{process}: invalidate_seq {int(subs.invalidate_seq)} ({state})"]
            for device in devices:
                heading.append(f"  {device}: notifier sequence {int(device.record.notifier.invalidate_seq)}")
            rows = [["page", "mapping", "CPU", *(str(d) for d in devices)]]
            for va, vma in enumerate(mm.mm_mt):
                entries = [d.record.page_table.entries[va] for d in devices]
                if vma is not None or not pte_none(mm.ptes[va]) or any(e.frame is not None for e in entries):
                    what = _mapping(vma, va)
                    rows.append([str(va), what, _entry(mm.ptes[va]), *(_entry(e) for e in entries)])
            yield heading, rows
        yield [], self._frames()

    def _frames(self) -> list[list[str]]:
        rows = [["frame", "references", "contents"]]
        for i, frame in enumerate(frames):
            if i == 0:
                rows.append(["P0", "(zero page)", "0"])
            else:
                pins = f" ({frame.pins} pinned)" if frame.pins else ""
                rows.append([f"P{i}", f"{frame.refcount}{pins}" if frame.refcount else "free", _halves(frame)])
        return rows


class ProcessByHand(ProcessMethods):
    """A process, driven by hand: a method for each operation of a scenario's process, and `mm`, its address space."""

    def __init__(self, machine: Machine, name: str | None, number: int) -> None:
        self._machine, self.name, self.number = machine, name, number

    def fork(self) -> ProcessByHand:
        """fork(): a child, whose memory is a copy of this process's, at the same addresses. Raises `OSError` once it has exited."""
        machine = self._machine
        made = ProcessByHand(machine, machine._hand.begin_child(self.name), len(machine.processes))
        machine.processes.append(made)
        return made

    @property
    def mm(self) -> Mm:
        """Its address space."""
        return self._machine._hand.spaces[self.name]

    def __repr__(self) -> str:
        return f"process {self.number}"

    def _do(self, kind: str, **args: object) -> Any:
        return self._machine._hand.within(self.name, kind, **args)


class DeviceByHand(DeviceMethods, Generic[D]):
    """A device driven by hand: a method for each operation of a scenario's device, and the driver's own. `record` is the driver's record."""

    def __init__(self, machine: Machine, handle: DeviceHandle, process: ProcessByHand, name: str) -> None:
        self._machine, self._handle, self.process, self.name = machine, handle, process, name

    @property
    def record(self) -> D:
        """The driver's record."""
        return self._machine._hand.devices[self._handle._handle.name]  # type: ignore[return-value]

    def __repr__(self) -> str:
        return self.name

    def _do(self, kind: str, **args: object) -> Any:
        return self._machine._hand.within(self.process.name, kind, device=self._handle, **args)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        value = getattr(self.record, name)
        if not isinstance(value, MethodType):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            with self._machine._plain:
                return value(*arguments, **named)

        return call


def _contents(value: int) -> str:
    return chr(value) if value else "0"


def _halves(frame: Any) -> str:
    """What a frame holds: one value, or that of its first half and that of its second, if that was ever written."""
    second = frame.second[0] if len(frame.second) > 0 else 0
    return _contents(frame.contents) + (f" {_contents(second)}" if second else "")


def _mapping(vma: Vma | None, va: int) -> str:
    """What is mapped at a page."""
    if vma is None:
        return "-"
    return "anonymous" if vma.vm_file is None else f"{vma.vm_file!r}".strip("<>") + f"+{vma.vm_pgoff + va - vma.vm_start}"


def _entry(entry: Any) -> str:
    kind = getattr(entry, "kind", PteKind.PRESENT)
    if kind == PteKind.SWAP:
        return f"swap {entry.swap} {_contents(swap_slots[entry.swap].contents)}"
    if entry.frame is None:
        return "-"
    where = {PteKind.DEVICE_PRIVATE: " (in a device's memory)", PteKind.DEVICE_EXCLUSIVE: " (a device's alone)", PteKind.MIGRATION: " (being moved)"}
    return f"P{frames.index(entry.frame)} {'rw' if entry.writable else 'ro'} {_halves(entry.frame)}{where.get(kind, '')}"


def _columns(rows: list[list[str]], indent: str) -> list[str]:
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return [(indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip() for row in rows]
