"""The handles that a scenario function gets from its recorder: files, addresses, devices, pins, importers.

A handle's method notes an operation with the recorder that made it, as the recorder's own method of that name does.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from secondsight.scenario.check import Handle
from secondsight.scenario.ops import Ref, ScenarioError

if TYPE_CHECKING:
    from secondsight.scenario.recorder import Recorder

__all__ = ["Address", "DeviceHandle", "File", "Importer", "Mapping", "Pin", "caller", "span"]

INSIDE = {__file__}
"""The files whose frames are not the user's."""


class File:
    """A file descriptor of the scenario: a memfd or a udmabuf of `pages` pages."""

    def __init__(self, recorder: Recorder, handle: Handle) -> None:
        self._recorder, self._handle = recorder, handle
        self.pages = handle.pages

    def __repr__(self) -> str:
        return self._handle.name


class DeviceHandle:
    """A device that mirrors the process's memory: what it reads and writes, it does through a page table of its own.

    Which driver it has is said when the scenario is run (`secondsight check FILE`).
    """

    def __init__(self, recorder: Recorder, handle: Handle) -> None:
        self._recorder, self._handle = recorder, handle

    def __repr__(self) -> str:
        return self._handle.name

    def read(self, addr: Address, *, into: str | None = None) -> None:
        """The device loads one page's value. Fails with what the driver's `fault` returns."""
        self._recorder.device_read(self, addr, into=into)

    def write(self, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to one page."""
        self._recorder.device_write(self, addr, value, into=into)

    def compare(self, addr: Address, *, into: str | None = None) -> None:
        """The CPU reads the page, then the device does: they must end alike. For `after()`."""
        self._recorder.device_compare(self, addr, into=into)

    def open(self, *, into: str | None = None) -> None:
        """Somebody opens the device for the process. Fails with what the driver's `open` returns. On the model only."""
        self._recorder.device_open(self, into=into)

    def close(self, *, into: str | None = None) -> None:
        """The driver's end: the device accesses nothing, and no callback runs, once this has returned."""
        self._recorder.device_close(self, into=into)

    def snapshot(self, addr: Address, *, into: str | None = None) -> None:
        """What the driver finds at the page without a fault: `r`, `w` (writable as well) or `-`. On a real kernel only."""
        self._recorder.device_snapshot(self, addr, into=into)

    def exclusive(self, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device exchanges the page's value while no CPU can reach it (make_device_exclusive); the result is the old
        value. -EOPNOTSUPP on a kernel without CONFIG_DEVICE_PRIVATE. On a real kernel only."""
        self._recorder.device_exclusive(self, addr, value, into=into)


class Pin:
    """Pinned pages: what was at an address when it was pinned, whatever is there later. On a real kernel only."""

    def __init__(self, recorder: Recorder, handle: Handle) -> None:
        self._recorder, self._handle = recorder, handle
        self.pages = handle.pages

    def __repr__(self) -> str:
        return self._handle.name

    def read(self, page: int = 0, *, into: str | None = None) -> None:
        """The device loads the value of the pin's page `page`. -EBADF once it is unpinned."""
        self._recorder.pin_read(self, page, into=into)

    def write(self, page: int, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to the pin's page `page`. -EPERM if it is pinned for reading, or the zero page."""
        self._recorder.pin_write(self, page, value, into=into)

    def unpin(self, *, into: str | None = None) -> None:
        """unpin_user_pages(). -EBADF the second time."""
        self._recorder.unpin(self, into=into)


class Importer:
    """A device that is attached to a udmabuf. On a real kernel only."""

    def __init__(self, recorder: Recorder, handle: Handle) -> None:
        self._recorder, self._handle = recorder, handle
        self.pages = handle.pages

    def __repr__(self) -> str:
        return self._handle.name

    def map(self, *, into: str | None = None) -> None:
        """dma_buf_map_attachment(). -EBUSY when it is mapped."""
        self._recorder.importer_map(self, into=into)

    def unmap(self, *, into: str | None = None) -> None:
        """dma_buf_unmap_attachment(). -EINVAL when it is not mapped."""
        self._recorder.importer_unmap(self, into=into)

    def read(self, page: int = 0, *, into: str | None = None) -> None:
        """Load the value of the dma-buf's page `page` through the mapping. -EFAULT when it is not mapped."""
        self._recorder.importer_read(self, page, into=into)

    def close(self, *, into: str | None = None) -> None:
        """dma_buf_detach(). -EBADF the second time."""
        self._recorder.importer_close(self, into=into)


class Address:
    """A page's address: a mapping's start plus a number of pages. `a + 1` is the address one page on."""

    def __init__(self, recorder: Recorder, handle: Handle, page: int) -> None:
        self._recorder, self._handle, self.page = recorder, handle, page

    def __add__(self, pages: int) -> Address:
        page = self.page + pages
        if not 0 <= page < self._handle.pages:
            name, last = self._handle.name, self._handle.pages - 1
            reason = f"page {page} is outside {name} (0 to {last})"
            raise ScenarioError(reason, "stay inside the mapping, or map more pages", caller())
        return Address(self._recorder, self._handle, page)

    def __repr__(self) -> str:
        return str(Ref(self._handle.name, self.page))

    def _span(self) -> int:
        """How many pages an operation means that gives no number."""
        return 1


class Mapping(Address):
    """What `mmap` returned: the address of its first page. An operation on it that gives no number
    of pages means all of its `pages`; on `a + k`, one page."""

    def __init__(self, recorder: Recorder, handle: Handle) -> None:
        super().__init__(recorder, handle, 0)
        self.pages = handle.pages

    def _span(self) -> int:
        return self.pages


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
