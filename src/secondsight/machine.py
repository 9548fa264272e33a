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
so. The rules of the contract watch; a broken one is raised as `RuleBroken`. Results are in a scenario's words: a page's
character, `0` for a page of zeros, `ok`, `-EINVAL`, `SIGSEGV`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from types import MethodType
from typing import Any, Generic, TypeVar

from secondsight.contract import RULES
from secondsight.devices.device import Device, open_device
from secondsight.lang.errors import LangError
from secondsight.lang.machines import Machine as PlainMachine
from secondsight.lang.standins import Shared, unwrap
from secondsight.lang.types import ArrayType, RecordType
from secondsight.linux import BOUNDS, bounds
from secondsight.linux.dma_buf import dma_buf_mmap
from secondsight.linux.errno import SIGBUS, SIGSEGV
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Mm, Vma
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, get_unmapped_area, vm_munmap
from secondsight.linux.page_alloc import frames, mem_init
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole
from secondsight.linux.udmabuf import Udmabuf, udmabuf_create, udmabufs
from secondsight.scenario.ops import SEALS

__all__ = ["DeviceByHand", "Machine", "Mapped", "Process"]

D = TypeVar("D", bound=Device)

class Mapped(int):
    """The address (page number) that `mmap` returned; `pages` is the mapping's length. `a + 1` is the next page's address."""

    pages: int

    def __new__(cls, address: int, pages: int) -> Mapped:
        made = super().__new__(cls, address)
        made.pages = pages
        return made


class Machine:
    """A whole machine: frames, processes, devices. Keyword arguments raise its bounds: `Machine(frames=4, pages=2)`."""

    def __init__(self, **wanted: int) -> None:
        self._plain = PlainMachine(bounds(**({name: one.usual for name, one in BOUNDS.items()} | wanted)))
        self.processes: list[Process] = []
        self.devices: list[DeviceByHand[Any]] = []
        self._watch()
        with self._plain:
            mem_init()
            proc_caches_init()

    def process(self) -> Process:
        """A new process with an empty address space."""
        with self._plain:
            made = Process(self, mm_alloc(), len(self.processes))
        self.processes.append(made)
        return made

    def device(self, driver: type[D], process: Process) -> DeviceByHand[D]:
        """A device with its driver, opened on the whole address space of a process."""
        pools = self._plain.pools
        if driver not in pools:
            pools[driver] = Shared(ArrayType(RecordType(driver), 4, pool=True), driver.__name__)
        with self._plain:
            record = self._plain.pool(driver).alloc()
            ret = open_device(record, process.mm)
        if ret != 0:
            raise LangError(f"{driver.__name__}.open() failed: {_word(ret)}")
        self._watch(driver)
        made = DeviceByHand(self, record, process, f"{driver.__name__.lower()}{len(self.devices)}")
        self.devices.append(made)
        return made

    def _watch(self, *drivers: type[Device]) -> None:
        """Let the rules watch that are asked of every driver here."""
        promises = {kind.promise for kind in (*(type(unwrap(d.record)) for d in self.devices), *drivers)} or {"mirror"}
        self._plain.rules = [probe for rule in RULES.values() if promises <= set(rule.promises) for probe in rule.probes]

    def __str__(self) -> str:
        with self._plain:
            return "\n".join([*self._tables(), *self._frames()])

    def _tables(self) -> list[str]:
        lines: list[str] = []
        for process in self.processes:
            mm, devices = process.mm, [d for d in self.devices if d.process is process]
            subs = mm.subscriptions
            state = "odd: a watched range is being invalidated" if subs.invalidate_seq & 1 else "even: nothing is being invalidated"
            lines.append(f"{process}: invalidate_seq {int(subs.invalidate_seq)} ({state})")
            for device in devices:
                lines.append(f"  {device}: notifier sequence {int(device.record.notifier.invalidate_seq)}")
            rows = [["page", "mapping", "CPU", *(str(d) for d in devices)]]
            for va, vma in enumerate(mm.mm_mt):
                entries = [d.record.page_table.entries[va] for d in devices]
                if vma is not None or mm.ptes[va].frame is not None or any(e.frame is not None for e in entries):
                    what = _mapping(vma, va)
                    rows.append([str(va), what, _entry(mm.ptes[va]), *(_entry(e) for e in entries)])
            lines += _columns(rows, "  ")
        return lines

    def _frames(self) -> list[str]:
        rows = [["frame", "references", "contents"]]
        for i, frame in enumerate(frames):
            if i == 0:
                rows.append(["P0", "(zero page)", "0"])
            else:
                pins = f" ({frame.pins} pinned)" if frame.pins else ""
                rows.append([f"P{i}", f"{frame.refcount}{pins}" if frame.refcount else "free", _contents(frame.contents)])
        return _columns(rows, "")


class Process:
    """A process, driven by hand. Addresses are page numbers; each call names what it does in the kernel's words."""

    def __init__(self, machine: Machine, mm: Mm, number: int) -> None:
        self._machine, self.mm, self.number = machine, mm, number

    def __str__(self) -> str:
        return f"process {self.number}"

    __repr__ = __str__

    def _run(self, call: Callable[[], int], load: bool = False) -> str:
        with self._machine._plain:
            result = call()
        return _word(result, signals=True) if result < 0 else _contents(result) if load else "ok"

    def mmap(self, fd: ShmemFile | Udmabuf | None = None, *, pages: int | None = None, page: int = 0, at: int | None = None) -> Mapped:
        """Map `pages` pages of a file (shared; all of it by default) or of anonymous memory (private): the address.

        `at`: map over what is there (MAP_FIXED). Raises `OSError` when the mapping fails.
        """
        with self._machine._plain:
            length = pages if pages is not None else fd.nr_pages - page if fd is not None else 1
            va = at if at is not None else get_unmapped_area(self.mm, length)
            if va < 0:
                ret = va
            elif isinstance(fd, Udmabuf):
                ret = dma_buf_mmap(fd, self.mm, va, length, page, True)
            elif at is not None:
                ret = do_mmap_fixed(self.mm, va, length, fd, page, True)
            else:
                ret = do_mmap(self.mm, va, length, fd, page, True)
        if ret < 0:
            raise OSError(-ret, f"mmap: {_word(ret)}")
        return Mapped(ret, length)

    def munmap(self, addr: int, pages: int | None = None) -> str:
        """Unmap."""
        return self._run(lambda: vm_munmap(self.mm, addr, _span(addr, pages)))

    def read(self, addr: int) -> str:
        """Load one page's value."""
        return self._run(lambda: cpu_read(self.mm, addr), load=True)

    def write(self, addr: int, value: str, pages: int | None = None) -> str:
        """Store a character to each page: to all of a mapping by default, to one page at `a + 1`."""
        for va in range(addr, addr + _span(addr, pages)):
            done = self._run(lambda va=va: cpu_write(self.mm, va, ord(value)))  # type: ignore[misc]
            if done != "ok":
                return done
        return "ok"

    def madvise_dontneed(self, addr: int, pages: int | None = None) -> str:
        """MADV_DONTNEED."""
        return self._run(lambda: madvise_dontneed(self.mm, addr, _span(addr, pages)))

    def memfd_create(self, pages: int, seals: str = "") -> ShmemFile:
        """A memfd of zero pages; `seals` by name, joined by `|`."""
        bits = 0
        for name in filter(None, seals.split("|")):
            if name not in SEALS:
                raise LangError(f"no seal is called {name!r}; there are: {', '.join(SEALS)}")
            bits |= SEALS[name]
        with self._machine._plain:
            return memfd_create(pages, bits)

    def fallocate_punch_hole(self, fd: ShmemFile, page: int, pages: int = 1) -> str:
        """FALLOC_FL_PUNCH_HOLE."""
        return self._run(lambda: shmem_fallocate_punch_hole(fd, page, pages))

    def udmabuf_create(self, fd: ShmemFile, page: int = 0, pages: int | None = None) -> Udmabuf:
        """UDMABUF_CREATE. Raises `OSError` when the kernel refuses."""
        with self._machine._plain:
            ret = udmabuf_create(fd, page, fd.nr_pages - page if pages is None else pages)
            if ret < 0:
                raise OSError(-ret, f"UDMABUF_CREATE: {_word(ret)}")
            return udmabufs[ret]

    def exit(self) -> str:
        """The process ends."""
        with self._machine._plain:
            exit_mm(self.mm)
        return "ok"


class DeviceByHand(Generic[D]):
    """A device driven by hand: `read`, `write`, and the driver's own methods. `record` is the driver's record."""

    def __init__(self, machine: Machine, record: D, process: Process, name: str) -> None:
        self._machine, self.record, self.process, self.name = machine, record, process, name

    def __repr__(self) -> str:
        return self.name

    def read(self, addr: int) -> str:
        """The device loads one page's value; an error is what the driver's `fault` returned."""
        with self._machine._plain:
            result = self.record.read(addr)
        return _word(result) if result < 0 else _contents(result)

    def write(self, addr: int, value: str) -> str:
        """The device stores a character to one page."""
        with self._machine._plain:
            result = self.record.write(addr, ord(value))
        return _word(result) if result < 0 else "ok"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.record, name)
        if not isinstance(value, MethodType):
            return value

        def call(*arguments: Any, **named: Any) -> Any:
            with self._machine._plain:
                return value(*arguments, **named)

        return call


def _span(addr: int, pages: int | None) -> int:
    return pages if pages is not None else addr.pages if isinstance(addr, Mapped) else 1


def _word(result: int, signals: bool = False) -> str:
    if signals and -result in (SIGSEGV, SIGBUS):
        return {SIGSEGV: "SIGSEGV", SIGBUS: "SIGBUS"}[-result]
    return f"-{errno.errorcode.get(-result, str(-result))}"


def _contents(value: int) -> str:
    return chr(value) if value else "0"


def _mapping(vma: Vma | None, va: int) -> str:
    """What is mapped at a page."""
    if vma is None:
        return "-"
    return "anonymous" if vma.vm_file is None else f"{vma.vm_file!r}".strip("<>") + f"+{vma.vm_pgoff + va - vma.vm_start}"


def _entry(entry: Any) -> str:
    if entry.frame is None:
        return "-"
    return f"P{frames.index(entry.frame)} {'rw' if entry.writable else 'ro'} {_contents(entry.frame.contents)}"


def _columns(rows: list[list[str]], indent: str) -> list[str]:
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return [(indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))).rstrip() for row in rows]
