"""Recording a scenario: the `@scenario` decorator, the recorder `s` it passes, and loading files of them.

A scenario function is called once, when it is decorated. Nothing happens to memory then: each call on
`s` only notes an operation, and the decorated name becomes a `Scenario`, which is data. The model and
the real kernels run that data.
"""

from __future__ import annotations

import difflib
import hashlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from secondsight.lang.errors import LangError
from secondsight.lang.modules import load
from secondsight.scenario.check import Checker, Handle
from secondsight.scenario.data import Scenario, Thread
from secondsight.scenario.handles import INSIDE, Address, DeviceHandle, File, Importer, Mapping, Pin, caller, span
from secondsight.scenario.ops import MAX_THREADS, OPS, HandleType, Op, Ref, ScenarioError, Value

__all__ = ["Address", "DeviceHandle", "File", "Importer", "Mapping", "Pin", "Recorder", "load_scenarios", "scenario"]

INSIDE.add(__file__)


class _After:
    """`s.after()`: its operations run after every thread has ended. A context, or a decorator."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        self._recorder._enter("final", "after()")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._recorder._section = "done"

    def __call__(self, body: Callable[[], object]) -> Callable[[], object]:
        with self:
            body()
        return body


class Recorder:
    """The `s` of a scenario function.

    Every operation takes `into="name"`: the name under which its result appears in the outcome (a
    page's value for a read, `ok` for the others, or the errno or signal it failed with). Without it,
    a result appears only when the operation fails, as `thread[index].operation`.

    Calls outside a thread, before the first thread, are the setup: they run first, alone. Handles
    that threads share must be made there. All errors are ScenarioError and name the caller's line.
    """

    def __init__(self) -> None:
        self._checker = Checker()
        self._setup: list[Op] = []
        self._final: list[Op] = []
        self._threads: dict[str, list[Op]] = {}
        self._section = "setup"
        self._made = dict.fromkeys(HandleType, 0)

    # Structure

    def thread(self, body: Callable[[], object]) -> Callable[[], object]:
        """Decorator: the operations that `body` calls are a thread of that name, run together with
        the other threads once the setup is done."""
        name = body.__name__
        if not name.isidentifier():
            raise ScenarioError(f"thread {name}: not a name", "give s.thread a function made with def", caller())
        if name in self._threads or name in ("setup", "final"):
            raise ScenarioError(f"thread {name}: the name is taken", "name the thread differently", caller())
        self._count(f"thread {name}", len(self._threads) + bool(self._final))
        self._enter(name, f"thread {name}")
        self._threads[name] = []
        body()
        self._section = "done"
        return body

    def _count(self, what: str, others: int) -> None:
        """Refuse a thread too many; what runs after them is one."""
        if others >= MAX_THREADS:
            counted = f"there are {MAX_THREADS} threads already, what runs after them counted"
            raise ScenarioError(f"{what}: {counted}", "use fewer threads", caller())

    def after(self, body: Callable[[], object] | None = None) -> _After:
        """What runs when every thread has ended: `with s.after():`, or a decorator on a function."""
        block = _After(self)
        if body is not None:
            block(body)
        return block

    # Operations

    def memfd_create(self, pages: int, seals: str = "", *, into: str | None = None) -> File:
        """A new memfd of `pages` (1 to 16) zero pages. `seals` names the seals it gets, joined by `|`:
        seal, shrink, grow, write, future_write."""
        return self._file("memfd_create", into, pages=pages, seals=seals)

    def mmap(
        self,
        fd: File | None = None,
        *,
        page: int = 0,
        pages: int | None = None,
        at: Address | None = None,
        into: str | None = None,
    ) -> Mapping:
        """Map `pages` pages, readable and writable: shared, of `fd` from its page `page` on (by
        default to its end), or without `fd` private anonymous memory.

        The address is new, one that no earlier mapping had, unless `at` gives an address to map over
        (MAP_FIXED): what is mapped there goes. A mapping may reach past the end of its memfd; a
        touch there is SIGBUS. Fails with -EBADF (closed), -EINVAL (past the end of a udmabuf),
        -EPERM (a write-sealed memfd).
        """
        return self._mapping("mmap", fd, page, pages, at, into)

    def mmap_read_only(
        self,
        fd: File | None = None,
        *,
        page: int = 0,
        pages: int | None = None,
        at: Address | None = None,
        into: str | None = None,
    ) -> Mapping:
        """`mmap` with PROT_READ alone: a store to it is SIGSEGV. On the model only."""
        return self._mapping("mmap_read_only", fd, page, pages, at, into)

    def _mapping(
        self, kind: str, fd: File | None, page: int, pages: int | None, at: Address | None, into: str | None
    ) -> Mapping:
        if pages is None:
            if isinstance(fd, File):
                pages = fd.pages - page
            elif at is not None:
                pages = span(at)
            elif fd is None:
                raise ScenarioError(f"{kind}: how many pages?", "give pages= for anonymous memory", caller())
        return Mapping(self, self._record(kind, into, fd=fd, page=page, pages=pages, at=at))

    def munmap(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """Unmap. Unmapping what is not mapped succeeds."""
        self._call("munmap", into, addr=addr, pages=span(addr, pages))

    def write(self, addr: Address, value: str, *, pages: int | None = None, into: str | None = None) -> None:
        """Store `value` (one printable character, not 0) to each page in turn, one byte a page: a
        store is a single step that nothing can come into the middle of. The first store that faults
        ends it: SIGSEGV (not mapped), SIGBUS (past the end of the file)."""
        self._call("write", into, addr=addr, value=value, pages=span(addr, pages))

    def read(self, addr: Address, *, into: str | None = None) -> None:
        """Load one page's value: the last one stored, or `0` for a page of zeros. Fails as `write` does.

        A real kernel's page is also looked at behind its first byte, where nobody writes: anything
        but zeros there is reported as `torn`.
        """
        self._call("read", into, addr=addr)

    def fallocate_punch_hole(self, fd: File, *, page: int, pages: int = 1, into: str | None = None) -> None:
        """Give `pages` pages of a memfd back. They read as zeros afterwards, through every mapping.
        Fails with -EPERM (write-sealed), -EBADF (closed)."""
        self._call("fallocate_punch_hole", into, fd=fd, page=page, pages=pages)

    def madvise_dontneed(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_DONTNEED: anonymous pages read as zeros afterwards; a memfd's pages keep their
        contents. Fails with -ENOMEM (not mapped), -EINVAL (a udmabuf's mapping)."""
        self._call("madvise_dontneed", into, addr=addr, pages=span(addr, pages))

    def udmabuf_create(self, fd: File, *, page: int = 0, pages: int | None = None, into: str | None = None) -> File:
        """A udmabuf of a memfd's pages, by default all of them. Fails with -EINVAL (no shrink seal, a
        write or future_write seal, past the end) and -EBADFD (closed, or not a memfd)."""
        if pages is None and isinstance(fd, File):
            pages = fd.pages - page
        return self._file("udmabuf_create", into, fd=fd, page=page, pages=pages)

    def udmabuf_create_halves(self, fd: File, *, offset: int, size: int, into: str | None = None) -> File:
        """`udmabuf_create` with its offset and size counted in half pages. Fails with -EINVAL for an odd one too,
        whatever the file is."""
        return self._file("udmabuf_create_halves", into, fd=fd, offset=offset, size=size)

    def udmabuf_create_list(self, ranges: Sequence[tuple[File, int, int]], *, into: str | None = None) -> File:
        """A udmabuf of up to 8 ranges (fd, page, pages), in order. Fails as `udmabuf_create` does."""
        return self._file("udmabuf_create_list", into, ranges=ranges)

    def add_seals(self, fd: File, seals: str, *, into: str | None = None) -> None:
        """Add seals (names as in `memfd_create`). Fails with -EPERM (sealed against sealing), -EBUSY
        (a write seal, while the memfd is mapped writable or its pages are pinned), -EBADF (closed)."""
        self._call("add_seals", into, fd=fd, seals=seals)

    def close(self, fd: File, *, into: str | None = None) -> None:
        """Close a file descriptor. Its mappings stay. Fails with -EBADF (closed already)."""
        self._call("close", into, fd=fd)

    def device(self) -> DeviceHandle:
        """A device that mirrors the process's whole address space (in the setup)."""
        return DeviceHandle(self, self._record("device", None))

    def closed_device(self) -> DeviceHandle:
        """A device that nobody has opened yet (in the setup); `device.open()` does. On the model only."""
        return DeviceHandle(self, self._record("closed_device", None))

    def device_open(self, device: DeviceHandle, *, into: str | None = None) -> None:
        """`device.open()`: somebody opens the device for the process. On the model only."""
        self._call("device_open", into, device=device)

    def device_read(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """`device.read(addr)`: the device loads one page's value."""
        self._call("device_read", into, device=device, addr=addr)

    def device_write(self, device: DeviceHandle, addr: Address, value: str, *, into: str | None = None) -> None:
        """`device.write(addr, value)`: the device stores `value` to one page."""
        self._call("device_write", into, device=device, addr=addr, value=value)

    def device_compare(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """The CPU reads the page, then the device does: both get the same value, or both fail (rule as-if-cpu). For
        `after()`, when nothing else goes on."""
        self._call("device_compare", into, device=device, addr=addr)

    def device_close(self, device: DeviceHandle, *, into: str | None = None) -> None:
        """`device.close()`: the driver unsubscribes."""
        self._call("device_close", into, device=device)

    def pin(
        self, addr: Address, *, pages: int | None = None, longterm: bool = False, write: bool = True, into: str | None = None
    ) -> Pin:
        """pin_user_pages(), with FOLL_LONGTERM or without, for writing or for reading only. -EFAULT: not mapped."""
        args: dict[str, object] = {"addr": addr, "pages": span(addr, pages), "longterm": longterm, "write": write}
        return Pin(self, self._record("pin", into, **args))

    def importer(self, udmabuf: File, *, into: str | None = None) -> Importer:
        """A device attached to a udmabuf (dma_buf_attach). -EBADF: closed."""
        return Importer(self, self._record("importer", into, udmabuf=udmabuf))

    def device_snapshot(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """`device.snapshot(addr)`: what the driver finds at the page without a fault. On a real kernel only."""
        self._call("device_snapshot", into, device=device, addr=addr)

    def device_exclusive(self, device: DeviceHandle, addr: Address, value: str, *, into: str | None = None) -> None:
        """`device.exclusive(addr, value)`: the device exchanges a page's value while no CPU can reach it. On a real
        kernel only."""
        self._call("device_exclusive", into, device=device, addr=addr, value=value)

    def pin_read(self, pin: Pin, page: int, *, into: str | None = None) -> None:
        """`pin.read(page)`: the device loads the value of a pinned page. On a real kernel only."""
        self._call("pin_read", into, pin=pin, page=page)

    def pin_write(self, pin: Pin, page: int, value: str, *, into: str | None = None) -> None:
        """`pin.write(page, value)`: the device stores `value` to a pinned page. On a real kernel only."""
        self._call("pin_write", into, pin=pin, page=page, value=value)

    def unpin(self, pin: Pin, *, into: str | None = None) -> None:
        """`pin.unpin()`: the device gives the pages back. On a real kernel only."""
        self._call("unpin", into, pin=pin)

    def importer_map(self, importer: Importer, *, into: str | None = None) -> None:
        """`importer.map()`: dma_buf_map_attachment(). On a real kernel only."""
        self._call("importer_map", into, importer=importer)

    def importer_unmap(self, importer: Importer, *, into: str | None = None) -> None:
        """`importer.unmap()`: dma_buf_unmap_attachment(). On a real kernel only."""
        self._call("importer_unmap", into, importer=importer)

    def importer_read(self, importer: Importer, page: int, *, into: str | None = None) -> None:
        """`importer.read(page)`: load the value of one page of the dma-buf. On a real kernel only."""
        self._call("importer_read", into, importer=importer, page=page)

    def importer_close(self, importer: Importer, *, into: str | None = None) -> None:
        """`importer.close()`: dma_buf_detach(). On a real kernel only."""
        self._call("importer_close", into, importer=importer)

    def oom_reap(self) -> None:
        """The OOM reaper takes the process's private memory, without sleeping. On the model only."""
        self._call("oom_reap", None)

    def dax_disable(self, dax: File) -> None:
        """Teardown of device memory: no new faults, no new references to its dev_pagemap. On the model only."""
        self._call("dax_disable", None, dax=dax)

    def dax_invalidate(self, dax: File) -> None:
        """Teardown of device memory: every mapping of it is zapped. On the model only."""
        self._call("dax_invalidate", None, dax=dax)

    def dax_drain(self, dax: File) -> None:
        """Teardown of device memory: wait for the last reference, then the memory is gone. On the model only."""
        self._call("dax_drain", None, dax=dax)

    def dax(self, pages: int) -> File:
        """Device memory (`dev_pagemap`) of `pages` pages, with a file to map. Taken away by `dax_disable`,
        `dax_invalidate` and `dax_drain`."""
        return self._file("dax", None, pages=pages)

    def exit(self) -> None:
        """End the process and all its threads. Results that are missing then read `exited`."""
        self._call("exit", None)

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        """An operation of the table that has no method of its own takes its arguments by keyword."""
        if kind.startswith("_"):
            raise AttributeError(kind)
        if kind not in OPS:
            near = difflib.get_close_matches(kind, OPS, n=1)
            remedy = f"did you mean {near[0]}?" if near else f"there are: {', '.join(OPS)}"
            raise ScenarioError(f"no operation {kind}", remedy, caller())

        def record(*, into: str | None = None, **args: object) -> object:
            handle = self._call(kind, into, **args)
            if handle is None:
                return None
            return Mapping(self, handle) if handle.type is HandleType.MAPPING else File(self, handle)

        return record

    # Recording

    def _enter(self, section: str, what: str) -> None:
        if self._section not in ("setup", "done"):
            raise ScenarioError(f"{what} inside {self._section}", "threads and after() do not nest", caller())
        self._section = section

    def _file(self, kind: str, into: str | None, **args: object) -> File:
        return File(self, self._record(kind, into, **args))

    def _record(self, kind: str, into: str | None, **args: object) -> Handle:
        handle = self._call(kind, into, **args)
        assert handle is not None, f"{kind} makes no handle"
        return handle

    def _call(self, kind: str, into: str | None, **args: object) -> Handle | None:
        site = caller()
        if self._section == "done":
            reason = f"{kind}: after a thread, outside every thread"
            raise ScenarioError(reason, "put what runs after the threads in `with s.after():`", site)
        made = OPS[kind].makes
        makes = None if made is None else f"{made.value}{self._made[made]}"
        values: dict[str, Value] = {name: self._value(kind, value, site) for name, value in args.items()}
        if self._section == "final" and not self._final:
            self._count("after()", len(self._threads))
        op = Op(kind, values, into, makes, site)
        handle = self._checker.add(self._section, op)
        if made is not None:
            self._made[made] += 1
        self._ops().append(op)
        return handle

    def _ops(self) -> list[Op]:
        if self._section in ("setup", "final"):
            return self._setup if self._section == "setup" else self._final
        return self._threads[self._section]

    def _value(self, kind: str, value: Any, site: tuple[str, int]) -> Any:
        """The argument as data. What is no Value is left for the checker to refuse."""
        if isinstance(value, File | Address | DeviceHandle | Pin | Importer):
            if value._recorder is not self:
                reason = f"{kind}: {value!r} belongs to another scenario"
                raise ScenarioError(reason, "make the handle in this scenario", site)
            return Ref(value._handle.name, value.page if isinstance(value, Address) else 0)
        if isinstance(value, list | tuple):
            return tuple(
                tuple(self._value(kind, part, site) for part in item) if isinstance(item, list | tuple) else item
                for item in value
            )
        return value

    def scenario(self, name: str, doc: str) -> Scenario:
        """What was recorded so far, as data. (`@scenario` does this for you.)"""
        threads = tuple(Thread(name, tuple(ops)) for name, ops in self._threads.items())
        return Scenario(name, doc, tuple(self._setup), threads, tuple(self._final))


def scenario(body: Callable[[Recorder], object]) -> Scenario:
    """Decorator: record a scenario. The function is called once, with a `Recorder`; its name becomes
    the `Scenario`, its docstring the scenario's."""
    recorder = Recorder()
    body(recorder)
    return recorder.scenario(body.__name__, (body.__doc__ or "").strip())


def load_scenarios(path: str | Path) -> list[Scenario]:
    """The scenarios that a Python file defines, in its order. Raises ScenarioError, naming the file's
    own line, when it cannot be read, does not run, or defines none."""
    path = Path(path)
    if not path.is_file():
        raise ScenarioError("no such file", "give the path of a Python file with @scenario functions", (str(path), 0))
    name = f"_secondsight_scenarios_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    try:
        module = load(name, path)
    except ScenarioError:
        raise
    except LangError as error:
        raise ScenarioError(str(error), "", (str(path), 0)) from error
    except SyntaxError as error:
        raise ScenarioError(f"syntax error: {error.msg}", "", (str(path), error.lineno or 0)) from error
    except (Exception, SystemExit) as error:
        raise ScenarioError(f"{type(error).__name__}: {error}", "", (str(path), _line_in(path, error))) from error
    found = {id(value): value for value in vars(module).values() if isinstance(value, Scenario)}
    if not found:
        raise ScenarioError("defines no scenario", "decorate a function with @scenario", (str(path), 0))
    return list(found.values())


def _line_in(path: Path, error: BaseException) -> int:
    """The last line of `path` on the way to the error."""
    wanted = path.resolve()
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == wanted]
    return (lines[-1] or 0) if lines else 0
