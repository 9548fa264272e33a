"""The handles' methods, one for each operation of one. Made from `world/operations/` by `make operations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secondsight.scenario.handles import Address
    from secondsight.scenario.recorder import Recorder

__all__ = ["DeviceMethods", "ImporterMethods", "PinMethods"]


class DeviceMethods:
    """What a device does."""

    _recorder: Recorder

    def open(self, *, into: str | None = None) -> None:
        """Somebody opens the device for the process. Fails with what the driver's `open` returns."""
        self._recorder._operation("device_open", into, device=self)

    def read(self, addr: Address, *, into: str | None = None) -> None:
        """The device loads one page's value. Fails with what the driver's `fault` returns."""
        self._recorder._operation("device_read", into, device=self, addr=addr)

    def write(self, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to one page."""
        self._recorder._operation("device_write", into, device=self, addr=addr, value=value)

    def compare(self, addr: Address, *, into: str | None = None) -> None:
        """The CPU reads the page, then the device does: both get the same value, or both fail (rule as-if-cpu). For
        `after()`, when nothing else goes on."""
        self._recorder._operation("device_compare", into, device=self, addr=addr)

    def close(self, *, into: str | None = None) -> None:
        """The driver unsubscribes: the device accesses nothing, and no callback runs, once this has returned."""
        self._recorder._operation("device_close", into, device=self)

    def exclusive(self, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device exchanges the page's value while no CPU can reach it (make_device_exclusive); the result is the old
        value. -EOPNOTSUPP by a driver that has no such access, and on a kernel without CONFIG_DEVICE_PRIVATE."""
        self._recorder._operation("device_exclusive", into, device=self, addr=addr, value=value)

    def job(self, value: str, *, into: str | None = None) -> None:
        """The device's driver queues a job that stores `value` to the first page of its buffer; ends when the job is done. Fails
        with what the driver's `submit` returns."""
        self._recorder._operation("device_job", into, device=self, value=value)

    def job_read(self, *, into: str | None = None) -> None:
        """The same with a job that loads the first page of the buffer."""
        self._recorder._operation("device_job_read", into, device=self)

    def read_half(self, addr: Address, *, into: str | None = None) -> None:
        """The device loads the value of the second half of one page."""
        self._recorder._operation("device_read_half", into, device=self, addr=addr)

    def write_half(self, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to the second half of one page."""
        self._recorder._operation("device_write_half", into, device=self, addr=addr, value=value)

    def compare_half(self, addr: Address, *, into: str | None = None) -> None:
        """As `device_compare`, of the second half of the page."""
        self._recorder._operation("device_compare_half", into, device=self, addr=addr)

    def migrate(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """The device takes pages into its own memory, where no CPU can reach them (migrate_vma_setup); the result is how many have come, `0`
        to `9`.     Private pages move, and places that nobody has touched, if nobody holds them and there is memory. Fails with -EINVAL (not mapped,
        a udmabuf's mapping), -EFAULT (the process has gone), -EOPNOTSUPP by a driver without memory."""
        self._recorder._operation("device_migrate", into, device=self, addr=addr, pages=pages)

    def evict(self, *, into: str | None = None) -> None:
        """The device gives everything in its memory back (migrate_device_range); the result is how many pages have gone, `0` to `9`. -EOPNOTSUPP by a
        driver without memory."""
        self._recorder._operation("device_evict", into, device=self)

    def forget(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """The hook that an allocator calls before it gives pages back: the device's library forgets them, if it has such a hook. On the model only."""
        self._recorder._operation("device_forget", into, device=self, addr=addr, pages=pages)

    def snapshot(self, addr: Address, *, into: str | None = None) -> None:
        """What the driver finds at the page without a fault (hmm_range_fault): `r`, `w` (writable as well), `R` and `W` of a page in
        the device's own memory, `h` and `H` of a part of a huge page that one entry maps, or `-` (nothing that it can reach). Fails with -EFAULT (not mapped, PROT_NONE, a udmabuf's mapping)."""
        self._recorder._operation("device_snapshot", into, device=self, addr=addr)

    def reset(self, *, into: str | None = None) -> None:
        """The device is reset, and goes on; what its engines do meanwhile fails. -EOPNOTSUPP by a driver without `reset`."""
        self._recorder._operation("device_reset", into, device=self)


class PinMethods:
    """What a pin does."""

    _recorder: Recorder

    def read(self, page: int = 0, *, into: str | None = None) -> None:
        """The device loads the value of the pin's page `page`. -EBADF once it is unpinned."""
        self._recorder._operation("pin_read", into, pin=self, page=page)

    def write(self, page: int, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to the pin's page `page`. -EPERM if it is pinned for reading; -EBADF once it is unpinned."""
        self._recorder._operation("pin_write", into, pin=self, page=page, value=value)

    def unpin(self, *, into: str | None = None) -> None:
        """unpin_user_pages(): the device gives the pages back. -EBADF the second time."""
        self._recorder._operation("unpin", into, pin=self)

    def read_half(self, page: int = 0, *, into: str | None = None) -> None:
        """The device loads the value of the second half of the pin's page `page`. -EBADF once it is unpinned."""
        self._recorder._operation("pin_read_half", into, pin=self, page=page)

    def write_half(self, page: int, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to the second half of the pin's page `page`. Fails as `pin_write` does."""
        self._recorder._operation("pin_write_half", into, pin=self, page=page, value=value)


class ImporterMethods:
    """What an importer does."""

    _recorder: Recorder

    def map(self, *, into: str | None = None) -> None:
        """dma_buf_map_attachment(). -EBUSY when it is mapped. On a real kernel only."""
        self._recorder._operation("importer_map", into, importer=self)

    def unmap(self, *, into: str | None = None) -> None:
        """dma_buf_unmap_attachment(). -EINVAL when it is not mapped. On a real kernel only."""
        self._recorder._operation("importer_unmap", into, importer=self)

    def read(self, page: int = 0, *, into: str | None = None) -> None:
        """Load the value of the dma-buf's page `page` through the mapping. -EFAULT when it is not mapped. On a real kernel only."""
        self._recorder._operation("importer_read", into, importer=self, page=page)

    def close(self, *, into: str | None = None) -> None:
        """dma_buf_detach(). -EBADF the second time. On a real kernel only."""
        self._recorder._operation("importer_close", into, importer=self)
