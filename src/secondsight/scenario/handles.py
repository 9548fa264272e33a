"""The handles that a scenario function gets from its recorder: files, addresses, devices, pins, importers, processes.

A handle's method notes an operation with the recorder that made it (`handle_methods.py`), as the recorder's own method does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from secondsight.scenario import handle_methods, methods
from secondsight.scenario.check import CheckedHandle
from secondsight.scenario.handle_methods import DeviceMethods, ImporterMethods, PinMethods
from secondsight.scenario.ops import HandleRef, HandleType, ScenarioError

if TYPE_CHECKING:
    from secondsight.scenario.recorder import Recorder

__all__ = ["Address", "DeviceHandle", "File", "Importer", "Mapping", "Pin", "Process", "caller", "handle_for", "span"]

INSIDE = {__file__, handle_methods.__file__, methods.__file__}
"""The files whose frames are not the user's."""


class File:
    """A file descriptor of the scenario: a memfd, a udmabuf, a device of memory or another buffer, of `pages` pages; or a userfaultfd."""

    def __init__(self, recorder: Recorder, handle: CheckedHandle) -> None:
        self._recorder, self._handle = recorder, handle

    @property
    def pages(self) -> int:
        """How many pages it has; of one whose size changes, how many it has had at most."""
        return self._handle.pages

    def __repr__(self) -> str:
        return self._handle.name


class DeviceHandle(DeviceMethods):
    """A device that mirrors the process's memory: what it reads and writes, it does through a page table of its own.

    Which driver it has is said when the scenario is run (`secondsight check FILE`).
    """

    def __init__(self, recorder: Recorder, handle: CheckedHandle) -> None:
        self._recorder, self._handle = recorder, handle

    def __repr__(self) -> str:
        return self._handle.name


class Pin(PinMethods):
    """Pinned pages: what was at an address when it was pinned, whatever is there later."""

    def __init__(self, recorder: Recorder, handle: CheckedHandle) -> None:
        self._recorder, self._handle = recorder, handle
        self.pages = handle.pages

    def __repr__(self) -> str:
        return self._handle.name


class Importer(ImporterMethods):
    """A device that is attached to a udmabuf. On a real kernel only."""

    def __init__(self, recorder: Recorder, handle: CheckedHandle) -> None:
        self._recorder, self._handle = recorder, handle
        self.pages = handle.pages

    def __repr__(self) -> str:
        return self._handle.name


class Process:
    """Another process of the scenario, with memory and devices of its own.

    What the setup, or `after()`, does in it stands in a `with` block; its threads are decorated with its `thread`:

        other = s.process()
        with other:
            b = s.mmap(file)

        @other.thread
        def reader():
            s.read(b)
    """

    def __init__(self, recorder: Recorder, handle: CheckedHandle) -> None:
        self._recorder, self._handle = recorder, handle

    def __repr__(self) -> str:
        return self._handle.name

    def __enter__(self) -> Process:
        self._recorder._begin_process(self._handle.name)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._recorder._process = None

    def thread(self, body: Callable[[], object]) -> Callable[[], object]:
        """Decorator: a thread of this process, as `s.thread` makes one of the first."""
        return self._recorder._thread(body, self._handle.name)


class Address:
    """A page's address: a mapping's start plus a number of pages. `a + 1` is the address one page on."""

    def __init__(self, recorder: Recorder, handle: CheckedHandle, page: int) -> None:
        self._recorder, self._handle, self.page = recorder, handle, page

    def __add__(self, pages: int) -> Address:
        page = self.page + pages
        if not 0 <= page < self._handle.pages:
            name, last = self._handle.name, self._handle.pages - 1
            reason = f"page {page} is outside {name} (0 to {last})"
            raise ScenarioError(reason, "stay inside the mapping, or map more pages", caller())
        return Address(self._recorder, self._handle, page)

    def __repr__(self) -> str:
        return str(HandleRef(self._handle.name, self.page))

    def _span(self) -> int:
        """How many pages an operation means that gives no number."""
        return 1


class Mapping(Address):
    """What `mmap` returned: the address of its first page. An operation on it that gives no number
    of pages means all of its `pages`; on `a + k`, one page."""

    def __init__(self, recorder: Recorder, handle: CheckedHandle) -> None:
        super().__init__(recorder, handle, 0)
        self.pages = handle.pages

    def _span(self) -> int:
        return self.pages


AnyHandle = File | DeviceHandle | Pin | Importer | Mapping | Process


def handle_for(recorder: Recorder, handle: CheckedHandle) -> AnyHandle:
    """The object that stands for a handle in a scenario function."""
    return _CLASSES[handle.type](recorder, handle)


_CLASSES: dict[HandleType, Callable[[Recorder, CheckedHandle], AnyHandle]] = {
    HandleType.MEMFD: File,
    HandleType.UDMABUF: File,
    HandleType.DAX: File,
    HandleType.FS_DAX: File,
    HandleType.DISK_FILE: File,
    HandleType.BUFFER: File,
    HandleType.USERFAULTFD: File,
    HandleType.MAPPING: Mapping,
    HandleType.DEVICE: DeviceHandle,
    HandleType.PIN: Pin,
    HandleType.IMPORTER: Importer,
    HandleType.PROCESS: Process,
}


def span(addr: object, pages: int | None = None) -> int:
    if pages is not None:
        return pages
    return addr._span() if isinstance(addr, Address) else 1


def caller() -> tuple[str, int]:
    """The file and line of the nearest caller outside the recorder's files: the user's."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename in INSIDE and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
