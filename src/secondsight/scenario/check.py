"""Whether a scenario makes sense: the one place that decides.

The recorder runs every operation past a `Checker` as it is called, so that an error names the user's
line; a scenario read from JSON is checked in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from secondsight.scenario.ops import (
    MAX_DEVICES,
    MAX_HANDLES,
    MAX_OPS,
    MAX_PAGES,
    MAX_PROCESSES,
    MAX_RANGES,
    OPS,
    SEALS,
    ArgType,
    HandleRef,
    HandleType,
    Op,
    Operation,
    ScenarioError,
)

__all__ = ["Checker", "CheckedHandle"]

_NUMBERS = {
    ArgType.COUNT: (1, MAX_PAGES), ArgType.LENGTH: (1, MAX_PAGES), ArgType.PAGE: (0, MAX_PAGES - 1), ArgType.HALVES: (0, 2 * MAX_PAGES - 1), ArgType.SIZE: (0, MAX_PAGES - 1),
    ArgType.LIMIT: (0, MAX_PAGES - 1),
}  # fmt: skip
"""What numbers an argument may be."""


@dataclass
class CheckedHandle:
    """What the checker knows of a handle: its type, its size, the section that made it, and its process (None: the first)."""

    name: str
    type: HandleType
    pages: int
    section: str
    process: str | None = None
    of_file: bool = False
    """Of a mapping: whether it is one of a file."""
    inherits: frozenset[str] = frozenset()
    """Of a process that is forked: the mappings of its parent that it has too, if they are there by then."""


@dataclass
class Checker:
    """Checks operations one after another as they are recorded; `check` runs it over a whole scenario.

    `limited`: there may be only so many of everything, as the kernel's agent has room for.
    """

    limited: bool = True

    handles: dict[str, CheckedHandle] = field(default_factory=dict)
    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    processes: dict[str, str | None] = field(default_factory=dict)
    """In which process each section's thread is."""
    ops: int = 0
    closed: set[str] = field(default_factory=set)
    """The devices that have been closed, and not opened again."""

    def add(self, section: str, op: Op) -> CheckedHandle | None:
        """Check the next operation of a section, and remember the handle it makes. Raises ScenarioError."""

        def fail(reason: str, remedy: str = "") -> NoReturn:
            raise ScenarioError(f"{op.kind}: {reason}", remedy, op.site)

        spec = OPS.get(op.kind)
        if spec is None:
            fail("no such operation", f"there are: {', '.join(OPS)}")
        self.ops += 1
        if self.limited and self.ops > MAX_OPS:
            fail(f"a scenario has at most {MAX_OPS} operations", "split it into several scenarios")
        if set(op.args) != set(spec.args):
            fail(f"has arguments {sorted(op.args)}", f"it takes {list(spec.args)}")
        if spec.in_setup and section != "setup":
            fail(f"in {section}", "do it in the setup, before the threads")
        problem = self._process_problem(section, op, spec)
        if problem:
            fail(*problem)
        for name, arg in spec.args.items():
            value = op.args[name]
            if value is None and arg.optional:
                continue
            problem = self._problem(section, op.process, arg.type, value)
            if problem:
                fail(f"{name}: {problem[0]}", problem[1])
        problem = self._range_problem(op, spec) or self._closing_problem(op)
        if problem:
            fail(*problem)
        self._resize(op, spec)
        if op.into is not None:
            self._name(op)
        if (op.makes is None) != (spec.makes is None):
            fail("makes a handle and has no name for it" if spec.makes else "makes no handle")
        if op.makes is None or spec.makes is None:
            return None
        if self.limited and spec.makes is HandleType.DEVICE and sum(h.type is HandleType.DEVICE for h in self.handles.values()) == MAX_DEVICES:
            fail(f"a scenario has at most {MAX_DEVICES} devices", "split it into several scenarios")
        if spec.makes is HandleType.PROCESS:
            if self.limited and sum(h.type is HandleType.PROCESS for h in self.handles.values()) == MAX_PROCESSES - 1:
                fail(f"a scenario has at most {MAX_PROCESSES} processes, the first counted", "split it into several scenarios")
            if op.makes in self.names:
                fail(f"into={op.makes!r} is the name of a result already", "give that result another name")
        if op.makes in self.handles:
            fail(f"handle {op.makes} exists already")
        if self.limited and len(self.handles) == MAX_HANDLES:
            fail(f"a scenario has at most {MAX_HANDLES} handles", "split it into several scenarios")
        inherits = self._inherited(section, op.process) if spec.forks else frozenset[str]()
        moved = op.args.get("addr")
        of_file = spec.makes is HandleType.MAPPING and op.args.get("fd") is not None
        of_file |= isinstance(moved, HandleRef) and spec.makes is HandleType.MAPPING and self.handles[moved.handle].of_file
        handle = CheckedHandle(op.makes, spec.makes, self._pages_made(op, spec), section, op.process, of_file, inherits)
        self.handles[op.makes] = handle
        return handle

    def _process_problem(self, section: str, op: Op, spec: Operation) -> tuple[str, str] | None:
        """What is wrong with the process that an operation is in, and the remedy."""
        process = None if op.process is None else self.handles.get(op.process)
        if op.process is not None and (process is None or process.type is not HandleType.PROCESS):
            return f"{op.process!r} is not a process of this scenario", "give what process() of this scenario returned"
        if spec.makes is HandleType.PROCESS and op.process is not None and not spec.forks:
            return f"in {op.process}", "make every process in the first one: outside of `with`"
        if section not in ("setup", "final") and self.processes.setdefault(section, op.process) != op.process:
            return f"thread {section} is of {_who(self.processes[section])}, not of {_who(op.process)}", "a thread is of one process"
        return None

    def _inherited(self, section: str, process: str | None) -> frozenset[str]:
        """The mappings that a child has which is forked now: its parent's that were made before, there or in the setup."""
        own = {h.name for h in self.handles.values() if h.type is HandleType.MAPPING and h.process == process and h.section in ("setup", section)}
        return frozenset(own) | (self.handles[process].inherits if process is not None else frozenset())

    def _name(self, op: Op) -> None:
        assert op.into is not None
        handle = self.handles.get(op.into)
        if not op.into.isidentifier() or op.into == "process" or (handle is not None and handle.type is HandleType.PROCESS):
            reason = f"{op.kind}: into={op.into!r} is not a name for a result"
            raise ScenarioError(reason, "use a Python identifier other than process", op.site)
        if op.into in self.names:
            file, line = self.names[op.into]
            reason = f"{op.kind}: into={op.into!r} is used already at {file}:{line}"
            raise ScenarioError(reason, "give every result a name of its own", op.site)
        self.names[op.into] = op.site

    def _problem(self, section: str, process: str | None, kind: ArgType, value: object) -> tuple[str, str] | None:
        """What is wrong with one argument by itself, and the remedy."""
        if kind in _NUMBERS:
            low, high = _NUMBERS[kind]
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                return f"{value!r} is not {kind.words}", f"give a number from {low} to {high}"
        elif kind is ArgType.VALUE:
            if not isinstance(value, str) or len(value) != 1 or not "!" <= value <= "~" or value == "0":
                return (
                    f"{value!r} is not {kind.words}",
                    "give one printable ASCII character other than 0 (0 is the zero page)",
                )
        elif kind is ArgType.FLAG:
            if not isinstance(value, bool):
                return f"{value!r} is not {kind.words}", "give True or False"
        elif kind is ArgType.SEALS:
            unknown = [s for s in value.split("|") if s and s not in SEALS] if isinstance(value, str) else [value]
            if unknown:
                return f"unknown seal {unknown[0]!r}", f"join names with |: {', '.join(SEALS)}"
        elif kind is ArgType.RANGES:
            if not isinstance(value, tuple) or not 1 <= len(value) <= MAX_RANGES:
                return f"{value!r} is not a list of ranges", f"give 1 to {MAX_RANGES} of (fd, page, pages)"
            for item in value:
                if not isinstance(item, tuple) or len(item) != 3:
                    return f"{item!r} is not a range", "give (fd, page, pages)"
                for part, inner in zip((ArgType.FD, ArgType.PAGE, ArgType.COUNT), item, strict=True):
                    found = self._problem(section, process, part, inner)
                    if found:
                        return found
        else:
            return self._ref_problem(section, process, kind, value)
        return None

    def _ref_problem(self, section: str, process: str | None, kind: ArgType, value: object) -> tuple[str, str] | None:
        remedy = f"give what {kind.maker} of this scenario returned"
        handle = self.handles.get(value.handle) if isinstance(value, HandleRef) else None
        if not isinstance(value, HandleRef) or handle is None:
            return f"{value!r} is not {kind.words} of this scenario", remedy
        if kind is ArgType.PROCESS:
            if section in ("setup", "final"):
                return f"{value}: in {section}, where nothing goes on beside it", "do it in a thread"
            if process == handle.name:
                return f"{value} is the process that does it", "another one does it, or s.exit()"
        is_mapping = handle.type is HandleType.MAPPING
        if handle.type not in kind.handles:
            return f"{value} is a {handle.type.value}, not {kind.words}", remedy
        if is_mapping and not 0 <= value.page < handle.pages:
            return (
                f"page {value.page} is outside {handle.name} (0 to {handle.pages - 1})",
                "stay inside the mapping",
            )
        if process is not None and handle.name in self.handles[process].inherits:
            return None
        if handle.process != process and handle.type.is_of_one_process:
            return (
                f"{value} is {_who(handle.process)}'s, and this is done in {_who(process)}",
                f"make a {handle.type.value} in {_who(process)}; only files are for every process",
            )
        if handle.section not in ("setup", section) and section != "final":
            return (
                f"{value} is made in thread {handle.section}, and may not exist yet in thread {section}",
                "make handles that threads share in the setup, before the threads",
            )
        return None

    def _range_problem(self, op: Op, spec: Operation) -> tuple[str, str] | None:
        """Ranges that reach past the end of their mapping, or of a file, a pin or an importer inside which they must lie."""
        of = {arg.type: op.args[name] for name, arg in spec.args.items()}
        file = next((ref for kind, ref in of.items() if kind.shape == "h" and isinstance(ref, HandleRef)), None)
        addresses = [ref for name, arg in spec.args.items() if arg.type in (ArgType.ADDRESS, ArgType.PLACE) and isinstance(ref := op.args[name], HandleRef)]
        page, pages = of.get(ArgType.PAGE, 0), of.get(ArgType.COUNT, 1)
        if not isinstance(pages, int) or not isinstance(page, int):
            return None
        length = of.get(ArgType.LENGTH, pages)
        assert isinstance(length, int)
        for reached in addresses:
            size = self.handles[reached.handle].pages
            most = length if reached is of.get(ArgType.PLACE) else pages if ArgType.PLACE in of else max(pages, length)
            if reached.page + most > size:
                return f"{most} pages from {reached} reach past its end ({size} pages)", "stay inside the mapping"
        if file is not None and any(arg.inside for arg in spec.args.values()):
            handle = self.handles[file.handle]
            if page + pages > handle.pages:
                what = "file" if handle.type in ArgType.FD.handles else handle.type.value
                return f"page {page + pages - 1} is outside {file} (0 to {handle.pages - 1})", f"stay inside the {what}"
        return None

    def _closing_problem(self, op: Op) -> tuple[str, str] | None:
        """A device that is closed once more than it is opened, whichever threads do it: of a driver nobody asks that it lives through that."""
        device = op.args.get("device")
        if isinstance(device, HandleRef):
            if op.kind == "device_open":
                self.closed.discard(device.handle)
            elif op.kind == "device_close":
                if device.handle in self.closed:
                    return f"{device} is closed already", "close a device once; without it the contract's scenarios close it at the end"
                self.closed.add(device.handle)
        return None

    def _resize(self, op: Op, spec: Operation) -> None:
        """A file that may have grown is as large from then on as it has ever been, for what must lie inside it."""
        size = next((op.args[name] for name, arg in spec.args.items() if arg.type is ArgType.SIZE), None)
        if spec.grows:
            page, pages = op.args["page"], op.args["pages"]
            assert isinstance(page, int) and isinstance(pages, int)
            size = page + pages
        ref = next((ref for ref in op.args.values() if isinstance(ref, HandleRef)), None)
        if isinstance(size, int) and ref is not None:
            self.handles[ref.handle].pages = max(self.handles[ref.handle].pages, size)

    def _pages_made(self, op: Op, spec: Operation) -> int:
        """The size of the handle that an operation makes."""
        if spec.pages_made is not None:
            return spec.pages_made(op.args)
        source = next((op.args[name] for name, arg in spec.args.items() if arg.type is ArgType.UDMABUF), None)
        if isinstance(source, HandleRef):
            return self.handles[source.handle].pages
        pages = op.args.get("pages", 0)
        assert isinstance(pages, int)
        return pages


def _who(process: str | None) -> str:
    return process or "the first process"
