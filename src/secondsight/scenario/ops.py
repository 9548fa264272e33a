"""What an operation of a scenario is: its declaration, and one that was recorded.

An operation is declared once, in `world/operations/`. From its declaration come the recorder's and the handles' methods, the checks,
the JSON form, what is sent to the guest agent and the agent's own table, what the model does and how large its machine
is. `OPS` has all declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import Enum

import secondsight
from secondsight.lang.locks import MAX_THREADS

__all__ = [
    "MAX_DEVICES",
    "MAX_HANDLES",
    "MAX_OPS",
    "MAX_PAGES",
    "MAX_PROCESSES",
    "MAX_RANGES",
    "MAX_THREADS",
    "OPS",
    "REQUIRED",
    "SEALS",
    "Arg",
    "ArgType",
    "Default",
    "HandleType",
    "Needs",
    "Often",
    "Op",
    "Operation",
    "HandleRef",
    "ScenarioError",
    "ArgValue",
    "declare",
    "handle_name",
]

MAX_PAGES = 16  # of one memfd or mapping
MAX_OPS = 64  # of one scenario
MAX_HANDLES = 32
MAX_DEVICES = 4
MAX_PROCESSES = 3
MAX_RANGES = 8  # of one list


# F_SEAL_*, include/uapi/linux/fcntl.h
SEALS = {"seal": 1, "shrink": 2, "grow": 4, "write": 8, "future_write": 16}


class ScenarioError(Exception):
    """A scenario that cannot be recorded or loaded.

    The text is `file:line: reason`, and on a second line what to do about it; the line is the
    user's own. `site`, `reason` and `remedy` hold the parts.
    """

    def __init__(self, reason: str, remedy: str = "", site: tuple[str, int] | None = None) -> None:
        self.reason, self.remedy, self.site = reason, remedy, site
        where = f"{site[0]}:{site[1]}: " if site and site[1] else f"{site[0]}: " if site else ""
        super().__init__(where + reason + (f"\n  {remedy}" if remedy else ""))


class HandleType(Enum):
    """What a handle stands for."""

    MEMFD = "memfd"
    UDMABUF = "udmabuf"
    MAPPING = "mapping"
    DEVICE = "device"
    DAX = "dax device"
    FS_DAX = "dax file"
    DISK_FILE = "file"
    PIN = "pin"
    IMPORTER = "importer"
    BUFFER = "buffer"
    USERFAULTFD = "userfaultfd"
    PROCESS = "process"

    @property
    def is_of_one_process(self) -> bool:
        """Whether it means something in the process that made it alone. A file is for all: they share their descriptors."""
        return self in (HandleType.MAPPING, HandleType.DEVICE, HandleType.PIN, HandleType.USERFAULTFD)


def handle_name(kind: HandleType, before: int) -> str:
    """The name of the next handle of a type, of which there are some before. The first process has no handle, and is number 0."""
    return f"{kind.value}{before + (kind is HandleType.PROCESS)}"


class ArgType(Enum):
    """The type of an operation's argument: in words, how the agent reads it (n a number, h a handle, a an address: handle and
    page, r ranges: their count and three numbers each), and what handles it may be, with the operations that make them."""

    COUNT = "a number of pages", "n"  # int
    PAGE = "a page's number in a file", "n"  # int
    LENGTH = "a number of pages that it is to have", "n"  # int
    SIZE = "a number of pages that a file is to have", "n"  # int
    HALVES = "a number of half pages", "n"  # int
    LIMIT = "a limit", "n"  # int
    VALUE = "a page's value", "n"  # str of one character
    SEALS = "seals", "n"  # str, names joined by |
    FLAG = "yes or no", "n"  # bool
    FD = "a memfd, udmabuf, dax device or file", "h", (HandleType.MEMFD, HandleType.UDMABUF, HandleType.DAX, HandleType.FS_DAX, HandleType.DISK_FILE), "memfd_create() or udmabuf_create()"
    MEMFD = "a memfd", "h", (HandleType.MEMFD,), "memfd_create()"
    UDMABUF = "a udmabuf", "h", (HandleType.UDMABUF,), "udmabuf_create()"
    DAX = "a dax device", "h", (HandleType.DAX,), "dax()"
    FS_DAX = "a dax file", "h", (HandleType.FS_DAX,), "fs_dax()"
    DISK_FILE = "a file on a disk", "h", (HandleType.DISK_FILE,), "disk_file()"
    DEVICE = "a device", "h", (HandleType.DEVICE,), "device()"
    PIN = "a pin", "h", (HandleType.PIN,), "pin()"
    IMPORTER = "an importer", "h", (HandleType.IMPORTER,), "importer()"
    BUFFER = "a buffer", "h", (HandleType.BUFFER,), "buffer()"
    USERFAULTFD = "a userfaultfd", "h", (HandleType.USERFAULTFD,), "userfaultfd()"
    PROCESS = "another process", "a", (HandleType.PROCESS,), "process() or fork()"
    ADDRESS = "an address", "a", (HandleType.MAPPING,), "mmap()"  # Ref with a page
    PLACE = "an address to map over", "a", (HandleType.MAPPING,), "mmap()"  # Ref with a page
    RANGES = "ranges of memfds", "r"  # tuple of (Ref, page, pages)

    def __init__(self, words: str, shape: str, handles: tuple[HandleType, ...] = (), maker: str = "") -> None:
        self.words, self.shape, self.handles, self.maker = words, shape, handles, maker


class Default(Enum):
    """What an argument is that was not given, where that depends on the others."""

    SPAN = "all of a mapping, one page of `a + k`"
    REST = "the file's pages from `page` on; of anonymous memory those at `at`"


REQUIRED = object()


@dataclass(frozen=True)
class Arg:
    """An argument. `default`: of the recorder's method; `keyword`: there it is given by name; `optional`: it may be None in the data too;
    `inside`: pages must lie inside the file; `anonymous`: a flag that is drawn (`agree`) only where no files are mapped."""

    type: ArgType
    default: object = REQUIRED
    keyword: bool = False
    optional: bool = False
    inside: bool = False
    anonymous: bool = False


@dataclass(frozen=True)
class Often:
    """How often an operation is drawn, relative to others, in scenarios that nobody wrote: by a process on its own, in threads that race
    with each other, in threads beside a device, by the device, by one that has memory of its own, by one that takes pages for itself alone, at a buffer
    that moves, by a device to which rare things happen. 0: never."""

    alone: int = 0
    racing: int = 0
    beside_a_device: int = 0
    by_the_device: int = 0
    into_its_memory: int = 0
    for_itself: int = 0
    at_a_buffer: int = 0
    rarely: int = 0


class Needs(Enum):
    """What a real kernel needs for an operation."""

    NOTHING = "nothing"
    UDMABUF = "/dev/udmabuf"
    LIMITS = "parameters of udmabuf that may be written"
    MODULE = "secondsight.ko"
    NODES = "a second NUMA node"
    HUGE = "transparent huge pages, which are made where they are asked for alone (transparent_hugepage=madvise)"
    HUGETLB = "a pool of huge pages (hugepages=)"
    MOVABLE = "a block of memory that can be taken offline"
    DAX = "device memory that has a file (device-dax)"
    FS_DAX = "a file system in a device's memory, whose files' pages are that memory (fs-dax)"
    DISK = "a file system whose files' blocks are on a disk"
    CMA = "an area of contiguous memory (CMA), which secondsight.ko allocates"
    MEMCG = "a memory cgroup of which memory can be wanted back (CONFIG_MEMCG, and memory.reclaim)"
    COMPACTION = "memory that is compacted when that is asked for (CONFIG_COMPACTION)"
    SWAP = "a swap device (secondsight.ko has one)"
    USERFAULTFD = "userfaultfd(2), all of it (CAP_SYS_PTRACE)"


@dataclass(frozen=True)
class HandleRef:
    """A reference to a handle by its name; for an address, with the page counted from the mapping's start."""

    handle: str
    page: int = 0

    def __str__(self) -> str:
        return f"{self.handle}+{self.page}" if self.page else self.handle


FileRange = tuple[HandleRef, int, int]
ArgValue = int | str | HandleRef | tuple[FileRange, ...] | None


@dataclass(frozen=True)
class Operation:
    """An operation's declaration. `manual`: what its method's docstring says.

    `model_only`, `kernel_only`: the other side cannot run it yet. `in_setup`: only before the threads. `named`: it takes
    `into=`. `own`: a thread of the process does it; otherwise a device or the rest of the kernel, and a thread of nothing else
    outlives the process. `accesses`: it is a device's load or store. `loads`: its result is a page's value. `faults`: it fails
    with a signal, as a CPU's access does. `forks`: the process that it makes begins as a copy of the one that does it. `remaps`: it changes what is mapped. `takes_away`: it takes pages away that were there. `grows`: it may make its file larger, by pages that it names.
    `serves`: it begins a thread that answers others, and ends with its process. `chooses`: what it does is not decided by what was done before: a scenario without threads that has
    it may have several outcomes, and no setup has it where there are threads.
    `pages_made`: the size of the handle that it makes, if that is not its `pages`. `often`: how often it is drawn; None: see `drawn`.
    """

    name: str
    manual: str
    args: Mapping[str, Arg] = field(default_factory=dict)
    makes: HandleType | None = None
    model_only: bool = False
    kernel_only: bool = False
    in_setup: bool = False
    named: bool = True
    own: bool = True
    accesses: bool = False
    loads: bool = False
    faults: bool = False
    forks: bool = False
    remaps: bool = False
    takes_away: bool = False
    grows: bool = False
    serves: bool = False
    chooses: bool = False
    needs: Needs = Needs.NOTHING
    pages_made: Callable[[Mapping[str, ArgValue]], int] | None = None
    often: Often | None = None

    @property
    def drawn(self) -> Often:
        """How often it is drawn: what it says, or as often as most; never, where only one side can run it, or in the setup alone."""
        if self.model_only or self.kernel_only or self.in_setup:
            return Often()
        return self.often or (Often(by_the_device=3) if not self.own else Often(5, 5, 5))

    @property
    def types(self) -> set[ArgType]:
        """The types of its arguments."""
        return {arg.type for arg in self.args.values()}

    @property
    def shape(self) -> str:
        """How the agent reads the arguments, a letter each."""
        return "".join(arg.type.shape for arg in self.args.values())

    @property
    def of(self) -> HandleType | None:
        """The handle whose method it is, if it is one's: that of a device, a pin or an importer that comes first."""
        first = next(iter(self.args.values()), None)
        kinds = (ArgType.DEVICE, ArgType.PIN, ArgType.IMPORTER)
        return first.type.handles[0] if first is not None and first.type in kinds else None


class _Operations(MutableMapping[str, Operation]):
    """The operations by name. They are declared when somebody looks first: what needs none does not load the model that does them."""

    def __init__(self) -> None:
        self._known: dict[str, Operation] = {}
        self._is_filled = False

    @property
    def _all(self) -> dict[str, Operation]:
        if not self._is_filled:
            self._is_filled = True
            secondsight.declare_operations()
        return self._known

    def __getitem__(self, name: str) -> Operation:
        return self._all[name]

    def __setitem__(self, name: str, operation: Operation) -> None:
        self._known[name] = operation

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


OPS = _Operations()
"""Every operation by its name."""


def declare(operation: Operation) -> Operation:
    """Add an operation to `OPS`."""
    if operation.name in OPS:
        raise ValueError(f"there is an operation {operation.name} already")
    OPS[operation.name] = operation
    return operation


@dataclass(frozen=True)
class Op:
    """One operation: its kind (a name in `OPS`), its arguments, the outcome name its result goes
    into, the handle it makes, the file and line where the user wrote it, and the handle of the process
    that does it (None: the first)."""

    kind: str
    args: Mapping[str, ArgValue]
    into: str | None = None
    makes: str | None = None
    site: tuple[str, int] = ("", 0)
    process: str | None = None

    @property
    def declared(self) -> Operation:
        """Its declaration."""
        return OPS[self.kind]

    def __str__(self) -> str:
        def show(value: ArgValue) -> str:
            if isinstance(value, tuple):
                return "[" + ", ".join(f"({r}, {page}, {pages})" for r, page, pages in value) + "]"
            return repr(value) if isinstance(value, str) else str(value)

        args = ", ".join(f"{name}={show(v)}" for name, v in self.args.items() if v is not None)
        target = self.into or self.makes
        where = f"{self.process}: " if self.process else ""
        return where + (f"{target} = " if target else "") + f"{self.kind}({args})"
