"""Whether a scenario makes sense: the one place that decides.

The recorder runs every operation past a `Checker` as it is called, so that an error names the user's
line; a scenario read from JSON is checked in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from secondsight.scenario.ops import (
    MAX_HANDLES,
    MAX_OPS,
    MAX_PAGES,
    OPS,
    SEALS,
    Arg,
    ArgType,
    HandleType,
    Op,
    Ref,
    ScenarioError,
)

__all__ = ["Checker", "Handle"]

_ALLOWED = {
    ArgType.ADDRESS: ((HandleType.MAPPING,), "mmap()"),
    ArgType.MEMFD: ((HandleType.MEMFD,), "memfd_create()"),
    ArgType.FD: ((HandleType.MEMFD, HandleType.UDMABUF, HandleType.DAX), "memfd_create() or udmabuf_create()"),
    ArgType.DEVICE: ((HandleType.DEVICE,), "device()"),
    ArgType.DAX: ((HandleType.DAX,), "dax()"),
    ArgType.PIN: ((HandleType.PIN,), "pin()"),
    ArgType.UDMABUF: ((HandleType.UDMABUF,), "udmabuf_create()"),
    ArgType.IMPORTER: ((HandleType.IMPORTER,), "importer()"),
}
"""What an argument may refer to, and the operations that make it."""


@dataclass
class Handle:
    """What the checker knows of a handle: its type, its size, and the section that made it."""

    name: str
    type: HandleType
    pages: int
    section: str


@dataclass
class Checker:
    """Checks operations one after another as they are recorded; `check` runs it over a whole scenario."""

    handles: dict[str, Handle] = field(default_factory=dict)
    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    ops: int = 0

    def add(self, section: str, op: Op) -> Handle | None:
        """Check the next operation of a section, and remember the handle it makes. Raises ScenarioError."""

        def fail(reason: str, remedy: str = "") -> NoReturn:
            raise ScenarioError(f"{op.kind}: {reason}", remedy, op.site)

        spec = OPS.get(op.kind)
        if spec is None:
            fail("no such operation", f"there are: {', '.join(OPS)}")
        self.ops += 1
        if self.ops > MAX_OPS:
            fail(f"a scenario has at most {MAX_OPS} operations", "split it into several scenarios")
        if set(op.args) != {arg.name for arg in spec.args}:
            fail(f"has arguments {sorted(op.args)}", f"it takes {[arg.name for arg in spec.args]}")
        for arg in spec.args:
            value = op.args[arg.name]
            if value is None and arg.optional:
                continue
            problem = self._problem(section, arg, value)
            if problem:
                fail(f"{arg.name}: {problem[0]}", problem[1])
        problem = self._range_problem(op)
        if problem:
            fail(*problem)
        if op.into is not None:
            self._name(op)
        if (op.makes is None) != (spec.makes is None):
            fail("makes a handle and has no name for it" if spec.makes else "makes no handle")
        if op.makes is None or spec.makes is None:
            return None
        if spec.makes is HandleType.DEVICE and any(h.type is HandleType.DEVICE for h in self.handles.values()):
            fail("there is a device already", "use one device: a scenario has one so far")
        if op.makes in self.handles:
            fail(f"handle {op.makes} exists already")
        if len(self.handles) == MAX_HANDLES:
            fail(f"a scenario has at most {MAX_HANDLES} handles", "split it into several scenarios")
        pages = self._pages_made(op)
        udmabuf = op.args.get("udmabuf")
        if isinstance(udmabuf, Ref):
            pages = self.handles[udmabuf.handle].pages
        handle = Handle(op.makes, spec.makes, pages, section)
        self.handles[op.makes] = handle
        return handle

    def _name(self, op: Op) -> None:
        assert op.into is not None
        if not op.into.isidentifier() or op.into == "process":
            reason = f"{op.kind}: into={op.into!r} is not a name for a result"
            raise ScenarioError(reason, "use a Python identifier other than process", op.site)
        if op.into in self.names:
            file, line = self.names[op.into]
            reason = f"{op.kind}: into={op.into!r} is used already at {file}:{line}"
            raise ScenarioError(reason, "give every result a name of its own", op.site)
        self.names[op.into] = op.site

    def _problem(self, section: str, arg: Arg, value: object) -> tuple[str, str] | None:
        """What is wrong with one argument by itself, and the remedy."""
        kind = arg.type
        if kind in (ArgType.COUNT, ArgType.PAGE):
            low, high = (1, MAX_PAGES) if kind is ArgType.COUNT else (0, MAX_PAGES - 1)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                return f"{value!r} is not {kind.value}", f"give a number from {low} to {high}"
        elif kind is ArgType.HALVES:
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2 * MAX_PAGES:
                return f"{value!r} is not {kind.value}", f"give a number from 0 to {2 * MAX_PAGES - 1}"
        elif kind is ArgType.VALUE:
            if not isinstance(value, str) or len(value) != 1 or not "!" <= value <= "~" or value == "0":
                return (
                    f"{value!r} is not {kind.value}",
                    "give one printable ASCII character other than 0 (0 is the zero page)",
                )
        elif kind is ArgType.FLAG:
            if not isinstance(value, bool):
                return f"{value!r} is not {kind.value}", "give True or False"
        elif kind is ArgType.SEALS:
            unknown = [s for s in value.split("|") if s and s not in SEALS] if isinstance(value, str) else [value]
            if unknown:
                return f"unknown seal {unknown[0]!r}", f"join names with |: {', '.join(SEALS)}"
        elif kind is ArgType.RANGES:
            if not isinstance(value, tuple) or not 1 <= len(value) <= 8:
                return f"{value!r} is not a list of ranges", "give 1 to 8 of (fd, page, pages)"
            parts = (Arg("fd", ArgType.FD), Arg("page", ArgType.PAGE), Arg("pages", ArgType.COUNT))
            for item in value:
                if not isinstance(item, tuple) or len(item) != 3:
                    return f"{item!r} is not a range", "give (fd, page, pages)"
                for part, inner in zip(parts, item, strict=True):
                    found = self._problem(section, part, inner)
                    if found:
                        return found
        else:
            return self._ref_problem(section, kind, value)
        return None

    def _ref_problem(self, section: str, kind: ArgType, value: object) -> tuple[str, str] | None:
        allowed, maker = _ALLOWED[kind]
        remedy = f"give what {maker} of this scenario returned"
        handle = self.handles.get(value.handle) if isinstance(value, Ref) else None
        if not isinstance(value, Ref) or handle is None:
            return f"{value!r} is not {kind.value} of this scenario", remedy
        is_mapping = handle.type is HandleType.MAPPING
        if handle.type not in allowed:
            return f"{value} is a {handle.type.value}, not {kind.value}", remedy
        if is_mapping and not 0 <= value.page < handle.pages:
            return (
                f"page {value.page} is outside {handle.name} (0 to {handle.pages - 1})",
                "stay inside the mapping",
            )
        if handle.section not in ("setup", section) and section != "final":
            return (
                f"{value} is made in thread {handle.section}, and may not exist yet in thread {section}",
                "make handles that threads share in the setup, before the threads",
            )
        return None

    def _range_problem(self, op: Op) -> tuple[str, str] | None:
        """Ranges that reach past the end of their mapping, file or pin."""
        for arg, page in (("pin", op.args.get("page")), ("importer", op.args.get("page"))):
            ref = op.args.get(arg)
            if isinstance(ref, Ref) and isinstance(page, int) and page >= self.handles[ref.handle].pages:
                return f"page {page} is outside {ref} (0 to {self.handles[ref.handle].pages - 1})", f"stay inside the {arg}"
        pages, addr, fd = op.args.get("pages", 1), op.args.get("addr") or op.args.get("at"), op.args.get("fd")
        if not isinstance(pages, int):
            return None
        if isinstance(addr, Ref):
            size = self.handles[addr.handle].pages
            if addr.page + pages > size:
                return (
                    f"{pages} pages from {addr} reach past its end ({size} pages)",
                    "stay inside the mapping",
                )
        if op.kind == "fallocate_punch_hole" and isinstance(fd, Ref):
            size, page = self.handles[fd.handle].pages, op.args["page"]
            assert isinstance(page, int)
            if page + pages > size:
                return f"page {page + pages - 1} is outside {fd} (0 to {size - 1})", "stay inside the file"
        return None

    @staticmethod
    def _pages_made(op: Op) -> int:
        ranges = op.args.get("ranges")
        pages = sum(r[2] for r in ranges) if isinstance(ranges, tuple) else op.args.get("pages", 0)
        if op.kind == "udmabuf_create_halves":
            size = op.args["size"]
            assert isinstance(size, int)
            pages = (size + 1) // 2  # there is none: it is refused
        assert isinstance(pages, int)
        return pages
