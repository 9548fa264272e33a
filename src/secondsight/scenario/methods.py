"""The recorder's methods, one for each operation. Made from `world/operations/` by `make operations`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secondsight.scenario.handles import Address, DeviceHandle, File, Importer, Mapping, Pin, Process

__all__ = ["RecorderMethods"]


class RecorderMethods(ABC):
    """Each notes an operation; what a handle's method does, too."""

    @abstractmethod
    def _operation(self, kind: str, into: str | None, **args: object) -> Any:
        """Note an operation: what it makes, or nothing."""

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
        made: Mapping = self._operation("mmap", into, fd=fd, page=page, pages=pages, at=at)
        return made

    def mmap_read_only(
        self,
        fd: File | None = None,
        *,
        page: int = 0,
        pages: int | None = None,
        at: Address | None = None,
        into: str | None = None,
    ) -> Mapping:
        """`mmap` with PROT_READ alone: a store to it is SIGSEGV. A write-sealed memfd can be mapped so. Fails as `mmap` does, and with
        -EPERM while a write seal waits for the memfd's pages."""
        made: Mapping = self._operation("mmap_read_only", into, fd=fd, page=page, pages=pages, at=at)
        return made

    def mmap_private(
        self,
        fd: File | None = None,
        *,
        page: int = 0,
        pages: int | None = None,
        at: Address | None = None,
        into: str | None = None,
    ) -> Mapping:
        """`mmap` with MAP_PRIVATE: what the process writes is a copy of its own, which nobody else sees; until then it has the file's
        pages. Of a write-sealed memfd too. Of a memfd of huge pages a hole takes copies away too, and the mapping reserves as many of the pool as it has, whatever the
        file has: -ENOMEM where that has not as many. Fails with -EBADF (closed), -EINVAL (a udmabuf)."""
        made: Mapping = self._operation("mmap_private", into, fd=fd, page=page, pages=pages, at=at)
        return made

    def munmap(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """Unmap. Unmapping what is not mapped succeeds."""
        self._operation("munmap", into, addr=addr, pages=pages)

    def write(self, addr: Address, value: str, *, pages: int | None = None, into: str | None = None) -> None:
        """Store `value` (one printable character, not 0) to each page in turn, one byte a page: a
        store is a single step that nothing can come into the middle of. The first store that faults
        ends it: SIGSEGV (not mapped), SIGBUS (past the end of the file)."""
        self._operation("write", into, addr=addr, value=value, pages=pages)

    def read(self, addr: Address, *, into: str | None = None) -> None:
        """Load one page's value: the last one stored, or `0` for a page of zeros. Fails as `write` does.

        A real kernel's page is also looked at behind its first byte, where nobody writes: anything
        but zeros there is reported as `torn`.
        """
        self._operation("read", into, addr=addr)

    def madvise_dontneed(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_DONTNEED: anonymous pages read as zeros afterwards; a memfd's pages keep their
        contents. Fails with -ENOMEM (not mapped), -EINVAL (a udmabuf's mapping)."""
        self._operation("madvise_dontneed", into, addr=addr, pages=pages)

    def mremap(self, addr: Address, *, pages: int | None = None, at: Address | None = None, into: str | None = None) -> Mapping:
        """mremap(MREMAP_MAYMOVE | MREMAP_FIXED): move `pages` pages to a new address, one that no earlier mapping had, unless `at` gives an address to
        move them over: what is mapped there goes, whatever comes of the rest. What the pages hold stays. Fails with -EFAULT (not mapped, or not all of one mapping),
        -EINVAL (the two places overlap)."""
        made: Mapping = self._operation("mremap", into, addr=addr, pages=pages, at=at)
        return made

    def mremap_in_place(self, addr: Address, *, pages: int | None = None, new_pages: int, into: str | None = None) -> None:
        """mremap() with no flags, of `pages` pages that are to be `new_pages` at the same address: the pages behind those go, or the mapping grows over a place where nothing
        is, within the pages that it had in the beginning. Fails with -EFAULT (not mapped; or it is to grow and the pages are not all of one mapping, or a udmabuf's), -ENOMEM (it
        is to grow, and does not end there, or there is something), -EAGAIN (locked, and more than `limit_memlock` allows)."""
        self._operation("mremap_in_place", into, addr=addr, pages=pages, new_pages=new_pages)

    def mremap_dontunmap(
        self, addr: Address, *, pages: int | None = None, at: Address | None = None, into: str | None = None
    ) -> Mapping:
        """`mremap` with MREMAP_DONTUNMAP: the pages move, and the old place stays mapped: private memory reads as zeros there, a memfd's pages are found in
        the memfd. Fails as `mremap` does, and with -EINVAL (a udmabuf)."""
        made: Mapping = self._operation("mremap_dontunmap", into, addr=addr, pages=pages, at=at)
        return made

    def mremap_resized(
        self, addr: Address, *, pages: int | None = None, new_pages: int, at: Address | None = None, into: str | None = None
    ) -> Mapping:
        """`mremap` of `pages` pages that are to be `new_pages` at the new place: of fewer the rest goes, of more the rest is new memory, or the pages of the memfd that come next.
        Where nothing moves, what was to go behind the new end has gone all the same, but from Linux 6.17 on. Fails as `mremap` does, and with -EFAULT (it is to grow, and is a udmabuf's),
        -EAGAIN (it is to grow, is locked, and would be more than `limit_memlock` allows)."""
        made: Mapping = self._operation("mremap_resized", into, addr=addr, pages=pages, new_pages=new_pages, at=at)
        return made

    def mremap_maymove(self, addr: Address, *, pages: int | None = None, new_pages: int, into: str | None = None) -> Mapping:
        """`mremap_in_place` with MREMAP_MAYMOVE: what cannot grow where it is moves to a place that the kernel chooses, and that is the mapping that comes into being. Where
        it has not moved none has, and the old one is as long as it was to be. A device on a real kernel does not reach the new place. Fails as `mremap_in_place`
        does, but for -ENOMEM."""
        made: Mapping = self._operation("mremap_maymove", into, addr=addr, pages=pages, new_pages=new_pages)
        return made

    def mlock(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """mlock(): the pages are faulted in, and stay in memory. Fails with -ENOMEM (not mapped, locked up to there; more than `limit_memlock` allows; past the end of
        a file; PROT_NONE). MADV_DONTNEED and MADV_PAGEOUT of a locked page fail with -EINVAL."""
        self._operation("mlock", into, addr=addr, pages=pages)

    def munlock(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """munlock(). Fails with -ENOMEM (not mapped, done up to there)."""
        self._operation("munlock", into, addr=addr, pages=pages)

    def limit_memlock(self, pages: int) -> None:
        """setrlimit(RLIMIT_MEMLOCK), in the setup, for a process that has no CAP_IPC_LOCK from then on: so many pages may be locked."""
        self._operation("limit_memlock", None, pages=pages)

    def mprotect(self, addr: Address, *, pages: int | None = None, write: bool, into: str | None = None) -> None:
        """mprotect() to PROT_READ, or with `write` to PROT_READ and PROT_WRITE: where it may not be written a store is SIGSEGV.
        Fails with -ENOMEM (not mapped, done up to there), -EACCES (mapped read-only from a memfd that was write-sealed)."""
        self._operation("mprotect", into, addr=addr, pages=pages, write=write)

    def mprotect_none(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """mprotect() to PROT_NONE: a load is SIGSEGV too. What the pages hold stays. Fails with -ENOMEM (not mapped, done up to there)."""
        self._operation("mprotect_none", into, addr=addr, pages=pages)

    def clear_refs(self, *, into: str | None = None) -> None:
        """Writes 4 to /proc/self/clear_refs: no page of the process is soft-dirty, and each may be written no more until a store faults there."""
        self._operation("clear_refs", into)

    def memfd_create(self, pages: int, seals: str = "", *, into: str | None = None) -> File:
        """A new memfd of `pages` (1 to 16) zero pages. `seals` names the seals it gets, joined by `|`:
        seal, shrink, grow, write, future_write."""
        made: File = self._operation("memfd_create", into, pages=pages, seals=seals)
        return made

    def memfd_create_hugetlb(self, pages: int, seals: str = "", *, into: str | None = None) -> File:
        """A new memfd of huge pages (MFD_HUGETLB), each of two pages. It is mapped, unmapped and cut into parts at pages with even numbers alone: munmap and
        mprotect of a part fail with -EINVAL, MADV_DONTNEED leaves a page alone that is in the range in part. A hole in a part of a huge page makes that zero and
        leaves it in the file. Fails with -EINVAL for an odd number of pages."""
        made: File = self._operation("memfd_create_hugetlb", into, pages=pages, seals=seals)
        return made

    def hugetlb_pool(self, pages: int, *, into: str | None = None) -> None:
        """The pool from which memfds of huge pages get theirs has `pages` pages, of which two are a huge page (/proc/sys/vm/nr_hugepages); an odd number
        leaves a half out. Comes before all else. Without it there are always enough."""
        self._operation("hugetlb_pool", into, pages=pages)

    def mmap_noreserve(
        self,
        fd: File | None = None,
        *,
        page: int = 0,
        pages: int | None = None,
        at: Address | None = None,
        into: str | None = None,
    ) -> Mapping:
        """`mmap` with MAP_NORESERVE, of a memfd of huge pages: none of the pool is reserved for it, so it succeeds where none is left, and a touch may be SIGBUS. A page that
        another mapping has reserved it takes. Fails as `mmap` does, but for that."""
        made: Mapping = self._operation("mmap_noreserve", into, fd=fd, page=page, pages=pages, at=at)
        return made

    def fallocate_punch_hole(self, fd: File, *, page: int, pages: int = 1, into: str | None = None) -> None:
        """Give `pages` pages of a memfd back. They read as zeros afterwards, through every mapping.
        Fails with -EPERM (write-sealed), -EBADF (closed)."""
        self._operation("fallocate_punch_hole", into, fd=fd, page=page, pages=pages)

    def add_seals(self, fd: File, seals: str, *, into: str | None = None) -> None:
        """Add seals (names as in `memfd_create`). Fails with -EPERM (sealed against sealing), -EBUSY
        (a write seal, while the memfd is mapped writable or its pages are pinned), -EBADF (closed)."""
        self._operation("add_seals", into, fd=fd, seals=seals)

    def close(self, fd: File, *, into: str | None = None) -> None:
        """Close a file descriptor. Its mappings stay. Fails with -EBADF (closed already)."""
        self._operation("close", into, fd=fd)

    def udmabuf_create(self, fd: File, *, page: int = 0, pages: int | None = None, into: str | None = None) -> File:
        """A udmabuf of a memfd's pages, by default all of them. Fails with -EINVAL (no shrink seal, a
        write or future_write seal, past the end) and -EBADFD (closed, or not a memfd)."""
        made: File = self._operation("udmabuf_create", into, fd=fd, page=page, pages=pages)
        return made

    def udmabuf_create_halves(self, fd: File, *, offset: int, size: int, into: str | None = None) -> File:
        """`udmabuf_create` with its offset and size counted in half pages. Fails with -EINVAL for an odd one or no page too,
        whatever the file is."""
        made: File = self._operation("udmabuf_create_halves", into, fd=fd, offset=offset, size=size)
        return made

    def udmabuf_create_list(self, ranges: Sequence[tuple[File, int, int]], *, into: str | None = None) -> File:
        """A udmabuf of up to 8 ranges (fd, page, pages), in order. Fails as `udmabuf_create` does."""
        made: File = self._operation("udmabuf_create_list", into, ranges=ranges)
        return made

    def udmabuf_limits(self, *, items: int, mebibytes: int, into: str | None = None) -> None:
        """Somebody writes the parameters of the module udmabuf: from now on a list may have `items` ranges, and a udmabuf `mebibytes` MiB: with none each is refused, one is
        more than any here has. More is -EINVAL, whatever the file is. A real kernel has its own limits back when the next scenario begins."""
        self._operation("udmabuf_limits", into, items=items, mebibytes=mebibytes)

    def vmap_read(self, udmabuf: File, page: int = 0, *, into: str | None = None) -> None:
        """A driver maps all of a udmabuf for its own CPU accesses (dma_buf_vmap), loads the value of its page `page`, and unmaps it. Fails with -EBADF (closed)."""
        self._operation("vmap_read", into, udmabuf=udmabuf, page=page)

    def begin_cpu_access(self, udmabuf: File, *, write: bool = False, into: str | None = None) -> None:
        """DMA_BUF_IOCTL_SYNC with DMA_BUF_SYNC_START, to read, or to read and write. Fails with -EBADF (closed)."""
        self._operation("begin_cpu_access", into, udmabuf=udmabuf, write=write)

    def end_cpu_access(self, udmabuf: File, *, write: bool = False, into: str | None = None) -> None:
        """DMA_BUF_IOCTL_SYNC with DMA_BUF_SYNC_END. Fails with -EBADF (closed), -EINVAL (no access has begun, ever)."""
        self._operation("end_cpu_access", into, udmabuf=udmabuf, write=write)

    def importer(self, udmabuf: File, *, into: str | None = None) -> Importer:
        """A device attached to a udmabuf (dma_buf_attach). -EBADF: closed. On a real kernel only."""
        made: Importer = self._operation("importer", into, udmabuf=udmabuf)
        return made

    def importer_map(self, importer: Importer, *, into: str | None = None) -> None:
        """dma_buf_map_attachment(). -EBUSY when it is mapped. On a real kernel only."""
        self._operation("importer_map", into, importer=importer)

    def importer_unmap(self, importer: Importer, *, into: str | None = None) -> None:
        """dma_buf_unmap_attachment(). -EINVAL when it is not mapped. On a real kernel only."""
        self._operation("importer_unmap", into, importer=importer)

    def importer_read(self, importer: Importer, page: int = 0, *, into: str | None = None) -> None:
        """Load the value of the dma-buf's page `page` through the mapping. -EFAULT when it is not mapped. On a real kernel only."""
        self._operation("importer_read", into, importer=importer, page=page)

    def importer_close(self, importer: Importer, *, into: str | None = None) -> None:
        """dma_buf_detach(). -EBADF the second time. On a real kernel only."""
        self._operation("importer_close", into, importer=importer)

    def process(self) -> Process:
        """Another process (in the setup), with nothing mapped yet. Its setup stands in `with other:`, its threads are `@other.thread`.
        All processes of a scenario have one table of descriptors (CLONE_FILES): a file that is closed is closed for all."""
        made: Process = self._operation("process", None)
        return made

    def exit(self) -> None:
        """End the process and all its threads; other processes go on. Results that are missing then read `exited`."""
        self._operation("exit", None)

    def oom_reap(self) -> None:
        """The OOM reaper takes the process's private memory, without sleeping. On the model only."""
        self._operation("oom_reap", None)

    def kill(self, process: Process, *, into: str | None = None) -> None:
        """kill(SIGKILL) of another process, in a thread: its threads end where they are, what an operation of theirs says then is lost, and its memory
        goes, at some time. Results that are missing then read `exited`."""
        self._operation("kill", into, process=process)

    def process_mrelease(self, process: Process, *, into: str | None = None) -> None:
        """process_mrelease(2), in a thread: take the private memory of a process that is being killed, or ends, as the OOM reaper does. Fails with -EINVAL (it is not
        ending), -ESRCH (it has ended), -EAGAIN (a device would have to sleep: some is left)."""
        self._operation("process_mrelease", into, process=process)

    def fork(self) -> Process:
        """fork(): another process, whose memory is a copy of this one's, and which has the mappings that this one has by then at the same
        addresses. It has no device and none of the threads; its own (`@child.thread`) begin when it is there. It does not come to be (ENOMEM) while a
        device has a page for itself and its driver has that locked; then what it would do reads `exited`."""
        made: Process = self._operation("fork", None)
        return made

    def device(self) -> DeviceHandle:
        """A device that mirrors the process's whole address space (in the setup)."""
        made: DeviceHandle = self._operation("device", None)
        return made

    def closed_device(self) -> DeviceHandle:
        """A device that nobody has opened yet (in the setup); `device.open()` does."""
        made: DeviceHandle = self._operation("closed_device", None)
        return made

    def device_open(self, device: DeviceHandle, *, into: str | None = None) -> None:
        """Somebody opens the device for the process. Fails with what the driver's `open` returns."""
        self._operation("device_open", into, device=device)

    def device_read(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """The device loads one page's value. Fails with what the driver's `fault` returns."""
        self._operation("device_read", into, device=device, addr=addr)

    def device_write(self, device: DeviceHandle, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to one page."""
        self._operation("device_write", into, device=device, addr=addr, value=value)

    def device_compare(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """The CPU reads the page, then the device does: both get the same value, or both fail (rule as-if-cpu). For
        `after()`, when nothing else goes on."""
        self._operation("device_compare", into, device=device, addr=addr)

    def device_close(self, device: DeviceHandle, *, into: str | None = None) -> None:
        """The driver unsubscribes: the device accesses nothing, and no callback runs, once this has returned."""
        self._operation("device_close", into, device=device)

    def device_exclusive(self, device: DeviceHandle, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device exchanges the page's value while no CPU can reach it (make_device_exclusive); the result is the old
        value. -EOPNOTSUPP by a driver that has no such access, and on a kernel without CONFIG_DEVICE_PRIVATE."""
        self._operation("device_exclusive", into, device=device, addr=addr, value=value)

    def make_device_exclusive(self, addr: Address, *, into: str | None = None) -> None:
        """Some other device takes the page for itself, and is done with it: the next access gives it back to the CPU. Fails with -EFAULT
        (not mapped, or not for writing), -EBUSY (in use, or no private memory)."""
        self._operation("make_device_exclusive", into, addr=addr)

    def pin(
        self, addr: Address, *, pages: int | None = None, longterm: bool = False, write: bool = True, into: str | None = None
    ) -> Pin:
        """pin_user_pages_fast(), with FOLL_LONGTERM or without, for writing or for reading only. -EFAULT: not mapped."""
        made: Pin = self._operation("pin", into, addr=addr, pages=pages, longterm=longterm, write=write)
        return made

    def pin_locked(
        self, addr: Address, *, pages: int | None = None, longterm: bool = False, write: bool = True, into: str | None = None
    ) -> Pin:
        """pin_user_pages() of the same: under the mmap lock from the beginning, which no fault gives up."""
        made: Pin = self._operation("pin_locked", into, addr=addr, pages=pages, longterm=longterm, write=write)
        return made

    def pin_read(self, pin: Pin, page: int = 0, *, into: str | None = None) -> None:
        """The device loads the value of the pin's page `page`. -EBADF once it is unpinned."""
        self._operation("pin_read", into, pin=pin, page=page)

    def pin_write(self, pin: Pin, page: int, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to the pin's page `page`. -EPERM if it is pinned for reading; -EBADF once it is unpinned."""
        self._operation("pin_write", into, pin=pin, page=page, value=value)

    def unpin(self, pin: Pin, *, into: str | None = None) -> None:
        """unpin_user_pages(): the device gives the pages back. -EBADF the second time."""
        self._operation("unpin", into, pin=pin)

    def offline_pages(self, *, into: str | None = None) -> None:
        """Somebody takes the block of memory offline that the processes' pages lie in first: they move elsewhere. Fails with -EINTR (somebody holds
        a page: a signal ends the attempt), -EBUSY (offline already, or the block is CMA's). Of up to seven pages."""
        self._operation("offline_pages", into)

    def cma_alloc(self, *, into: str | None = None) -> None:
        """A driver allocates the block as contiguous memory (CMA): pages that lie in it move elsewhere. -EBUSY: somebody holds one, or has the
        block already. A scenario has this or `offline_pages`."""
        self._operation("cma_alloc", into)

    def dax(self, pages: int) -> File:
        """Device memory (`dev_pagemap`) of `pages` pages, with a file to map (in the setup). Taken away by `dax_remove`, or by its parts: `dax_disable`,
        `dax_invalidate` and `dax_drain`. A scenario has one on a real kernel, which is there for all its processes."""
        made: File = self._operation("dax", None, pages=pages)
        return made

    def dax_remove(self, dax: File, *, into: str | None = None) -> None:
        """Somebody takes device memory away (the driver's `unbind` in sysfs): no new faults, every mapping is zapped, and when the last reference has gone the memory
        is. What is touched then is SIGBUS, and it can be mapped no more (-ENXIO). Fails with -ENODEV: that was done before."""
        self._operation("dax_remove", into, dax=dax)

    def dax_disable(self, dax: File) -> None:
        """Teardown of device memory: no new faults, no new references to its dev_pagemap. On the model only."""
        self._operation("dax_disable", None, dax=dax)

    def dax_invalidate(self, dax: File) -> None:
        """Teardown of device memory: every mapping of it is zapped. On the model only."""
        self._operation("dax_invalidate", None, dax=dax)

    def dax_drain(self, dax: File) -> None:
        """Teardown of device memory: wait for the last reference, then the memory is gone. On the model only."""
        self._operation("dax_drain", None, dax=dax)

    def madvise_pageout(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_PAGEOUT: private pages and a memfd's that are mapped here alone are written to swap, if nobody else holds them, and read again when they are touched. Fails
        with -ENOMEM (not mapped), -EINVAL (a udmabuf's mapping)."""
        self._operation("madvise_pageout", into, addr=addr, pages=pages)

    def madvise_free(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_FREE: what the pages hold may be forgotten, as long as nobody writes them again: reclaim drops them (`madvise_pageout`), and they read as zeros then. Fails with
        -ENOMEM (not mapped), -EINVAL (a file's mapping, a udmabuf's, or locked)."""
        self._operation("madvise_free", into, addr=addr, pages=pages)

    def reclaim(self, addr: Address, *, into: str | None = None) -> None:
        """The kernel wants memory (kswapd), and takes the page that is at an address, private or a memfd's, without the mmap lock. On the model only."""
        self._operation("reclaim", into, addr=addr)

    def memory_pressure(self, *, pages: int = 1) -> None:
        """The machine is so many pages short: as many allocations find no memory, each whenever it likes once the threads run. Who may sleep reclaims then some page of some
        process itself, in the middle of the allocation (direct reclaim); who may not fails. On the model only."""
        self._operation("memory_pressure", None, pages=pages)

    def allocations_fail(self, *, count: int = 1) -> None:
        """So many allocations of a driver's (`kmalloc`) fail, whatever they may do to find memory, each whenever it likes once the threads run. What fails for want of memory says
        -ENOMEM. On the model only."""
        self._operation("allocations_fail", None, count=count)

    def move_pages(self, addr: Address, *, into: str | None = None) -> None:
        """move_pages(2) of one page: its contents move to a frame of another node, if nobody else holds it. Fails with -ENOENT (nothing
        there, or in swap), -EFAULT (not mapped, a udmabuf's mapping, or the zero page), -EACCES (mapped at another place
        too), -EBUSY (being reclaimed or moved), -EAGAIN (somebody holds it). Two system calls: the first asks which node the page is on, and the second says 0 of one that is on the
        other by now."""
        self._operation("move_pages", into, addr=addr)

    def numa_scan(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """NUMA balancing looks at these pages (task_numa_work()): the next access of each faults, and may move it to another node. On the model only: a kernel does it when it
        likes."""
        self._operation("numa_scan", into, addr=addr, pages=pages)

    def buffer(self, pages: int) -> File:
        """A dma-buf of `pages` pages (in the setup), whose exporter moves it, takes it away and gives it back."""
        made: File = self._operation("buffer", None, pages=pages)
        return made

    def attached_device(self, buffer: File) -> DeviceHandle:
        """A device that is attached to a buffer (in the setup): its driver is an importer."""
        made: DeviceHandle = self._operation("attached_device", None, buffer=buffer)
        return made

    def device_job(self, device: DeviceHandle, value: str, *, into: str | None = None) -> None:
        """The device's driver queues a job that stores `value` to the first page of its buffer; ends when the job is done. Fails
        with what the driver's `submit` returns."""
        self._operation("device_job", into, device=device, value=value)

    def device_job_read(self, device: DeviceHandle, *, into: str | None = None) -> None:
        """The same with a job that loads the first page of the buffer."""
        self._operation("device_job_read", into, device=device)

    def buffer_move(self, buffer: File) -> None:
        """The exporter puts the buffer somewhere else; ends when that is done."""
        self._operation("buffer_move", None, buffer=buffer)

    def buffer_revoke(self, buffer: File) -> None:
        """The exporter takes the buffer's memory away; ends when nobody uses it any more."""
        self._operation("buffer_revoke", None, buffer=buffer)

    def buffer_restore(self, buffer: File) -> None:
        """The exporter gives a buffer that was revoked memory again."""
        self._operation("buffer_restore", None, buffer=buffer)

    def buffer_begin_cpu_access(self, buffer: File, *, write: bool = False, into: str | None = None) -> None:
        """DMA_BUF_IOCTL_SYNC of the buffer with DMA_BUF_SYNC_START, to read, or to read and write."""
        self._operation("buffer_begin_cpu_access", into, buffer=buffer, write=write)

    def buffer_end_cpu_access(self, buffer: File, *, write: bool = False, into: str | None = None) -> None:
        """DMA_BUF_IOCTL_SYNC of the buffer with DMA_BUF_SYNC_END."""
        self._operation("buffer_end_cpu_access", into, buffer=buffer, write=write)

    def write_half(self, addr: Address, value: str, *, into: str | None = None) -> None:
        """Store `value` to the second half of the page. What `write` and `read` use is the first."""
        self._operation("write_half", into, addr=addr, value=value)

    def read_half(self, addr: Address, *, into: str | None = None) -> None:
        """Load the value of the second half of the page."""
        self._operation("read_half", into, addr=addr)

    def direct_read(self, addr: Address, value: str, *, into: str | None = None) -> None:
        """read(2) of a disk that is opened with O_DIRECT, into the second half of the page: `value` is what is read. -EFAULT: not mapped,
        or not to be written."""
        self._operation("direct_read", into, addr=addr, value=value)

    def pin_read_half(self, pin: Pin, page: int = 0, *, into: str | None = None) -> None:
        """The device loads the value of the second half of the pin's page `page`. -EBADF once it is unpinned."""
        self._operation("pin_read_half", into, pin=pin, page=page)

    def pin_write_half(self, pin: Pin, page: int, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to the second half of the pin's page `page`. Fails as `pin_write` does."""
        self._operation("pin_write_half", into, pin=pin, page=page, value=value)

    def device_read_half(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """The device loads the value of the second half of one page."""
        self._operation("device_read_half", into, device=device, addr=addr)

    def device_write_half(self, device: DeviceHandle, addr: Address, value: str, *, into: str | None = None) -> None:
        """The device stores `value` to the second half of one page."""
        self._operation("device_write_half", into, device=device, addr=addr, value=value)

    def device_compare_half(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """As `device_compare`, of the second half of the page."""
        self._operation("device_compare_half", into, device=device, addr=addr)

    def device_migrate(self, device: DeviceHandle, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """The device takes pages into its own memory, where no CPU can reach them (migrate_vma_setup); the result is how many have come, `0`
        to `9`.     Private pages move, and places that nobody has touched, if nobody holds them and there is memory. Fails with -EINVAL (not mapped,
        a udmabuf's mapping), -EFAULT (the process has gone), -EOPNOTSUPP by a driver without memory."""
        self._operation("device_migrate", into, device=device, addr=addr, pages=pages)

    def device_evict(self, device: DeviceHandle, *, into: str | None = None) -> None:
        """The device gives everything in its memory back (migrate_device_range); the result is how many pages have gone, `0` to `9`. -EOPNOTSUPP by a
        driver without memory."""
        self._operation("device_evict", into, device=device)

    def madvise_hugepage(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_HUGEPAGE: the next page that is touched there comes together with the other one of its pair, as a huge page, if the mapping has
        both and neither was touched before. A pair is a page with an even number in its mapping and the next. Fails with -ENOMEM (not mapped).

        On a real kernel a page of the scenario is half a huge page, 1 MiB, of which its first 4 KiB are used.
        """
        self._operation("madvise_hugepage", into, addr=addr, pages=pages)

    def page_is_huge(self, addr: Address, *, into: str | None = None) -> None:
        """Whether one entry maps the page and the other of its pair, as PAGEMAP_SCAN (PAGE_IS_HUGE) tells a process: `h`, or `-`."""
        self._operation("page_is_huge", into, addr=addr)

    def madvise_collapse(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_COLLAPSE: each pair of pages in the range becomes a huge page, with what the pages hold. Fails with -EINVAL (nothing there was
        written, or may be; or the mapping has no such pair), -EAGAIN (somebody holds a page), -ENOMEM (not mapped). Of private
        anonymous memory."""
        self._operation("madvise_collapse", into, addr=addr, pages=pages)

    def userfaultfd(self, *, sigbus: bool = False, events: bool = False, forks: bool = False) -> File:
        """userfaultfd(2), and UFFDIO_API: one for a process, in the setup. With `sigbus` (UFFD_FEATURE_SIGBUS) who touches what is missing or
        protected gets a signal, else it waits. With `events` (UFFD_FEATURE_EVENT_REMOVE, _UNMAP and _REMAP) who unmaps registered memory, forgets
        it by MADV_DONTNEED, or moves it, waits until somebody has read that message. With `forks` (UFFD_FEATURE_EVENT_FORK) so does who forks: the child's memory is
        registered with a userfaultfd of its own, which comes with the message (`uffd_serve` answers that too)."""
        made: File = self._operation("userfaultfd", None, sigbus=sigbus, events=events, forks=forks)
        return made

    def userfaultfd_wp_unpopulated(self, *, sigbus: bool = False, events: bool = False, forks: bool = False) -> File:
        """`userfaultfd` with UFFD_FEATURE_WP_UNPOPULATED (Linux 6.4 on; -EINVAL before): of private memory `uffd_writeprotect` protects pages that are not there, too."""
        made: File = self._operation("userfaultfd_wp_unpopulated", None, sigbus=sigbus, events=events, forks=forks)
        return made

    def uffd_register(
        self,
        uffd: File,
        addr: Address,
        *,
        pages: int | None = None,
        missing: bool = True,
        wp: bool = False,
        into: str | None = None,
    ) -> None:
        """UFFDIO_REGISTER: pages that are `missing`, and those that are write-protected (`wp`; not of huge pages). Fails with -EINVAL (not
        mapped, a udmabuf's mapping; neither mode), -EPERM (mapped read-only from a write-sealed memfd), -EBADF (closed)."""
        self._operation("uffd_register", into, uffd=uffd, addr=addr, pages=pages, missing=missing, wp=wp)

    def uffd_register_minor(
        self, uffd: File, addr: Address, *, pages: int | None = None, missing: bool = False, into: str | None = None
    ) -> None:
        """UFFDIO_REGISTER of pages that a memfd has and that are not mapped (UFFDIO_REGISTER_MODE_MINOR), and of those that are `missing`. Fails as `uffd_register`
        does, and with -EINVAL (private memory)."""
        self._operation("uffd_register_minor", into, uffd=uffd, addr=addr, pages=pages, missing=missing)

    def uffd_register_ioctls(
        self,
        uffd: File,
        addr: Address,
        *,
        missing: bool = False,
        wp: bool = False,
        minor: bool = False,
        into: str | None = None,
    ) -> None:
        """UFFDIO_REGISTER of one page, with any of the three modes, and which ioctls it says are allowed: `w` UFFDIO_WRITEPROTECT, `c` UFFDIO_CONTINUE, `a` both, `-` neither; beside UFFDIO_WAKE,
        UFFDIO_COPY and UFFDIO_ZEROPAGE. Fails as `uffd_register` and `uffd_register_minor` do."""
        self._operation("uffd_register_ioctls", into, uffd=uffd, addr=addr, missing=missing, wp=wp, minor=minor)

    def uffd_unregister(self, uffd: File, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """UFFDIO_UNREGISTER. Who waits for a page there tries again. Fails with -EINVAL (not mapped, a udmabuf's mapping), -EBADF (closed)."""
        self._operation("uffd_unregister", into, uffd=uffd, addr=addr, pages=pages)

    def uffd_copy(self, uffd: File, addr: Address, value: str, *, into: str | None = None) -> None:
        """UFFDIO_COPY of one page that holds `value`; who waits for it goes on. Fails with -EEXIST (a page is there), -ENOENT (not registered),
        -EAGAIN (a change is in progress, whose message nobody has read yet), -EFAULT (past the end of the file), -EBADF (closed)."""
        self._operation("uffd_copy", into, uffd=uffd, addr=addr, value=value)

    def uffd_copy_wp(self, uffd: File, addr: Address, value: str, *, into: str | None = None) -> None:
        """`uffd_copy` of a page that is write-protected from the beginning (UFFDIO_COPY_MODE_WP). Fails as that does, and with -EINVAL (not registered for write protection)."""
        self._operation("uffd_copy_wp", into, uffd=uffd, addr=addr, value=value)

    def uffd_poison(self, uffd: File, addr: Address, *, into: str | None = None) -> None:
        """UFFDIO_POISON of one page (Linux 6.6 on; -EINVAL before): every access to it fails with SIGBUS from now on, until it is filled or forgotten. Fails with -EEXIST (a page is there, or it is poisoned or
        write-protected), -ENOENT (not registered), -EAGAIN (a change is in progress), -EFAULT (past the end of the file), -EBADF (closed)."""
        self._operation("uffd_poison", into, uffd=uffd, addr=addr)

    def uffd_zeropage(self, uffd: File, addr: Address, *, into: str | None = None) -> None:
        """UFFDIO_ZEROPAGE of one page. Fails as `uffd_copy` does."""
        self._operation("uffd_zeropage", into, uffd=uffd, addr=addr)

    def uffd_continue(self, uffd: File, addr: Address, *, into: str | None = None) -> None:
        """UFFDIO_CONTINUE of one page: the page that the memfd has is mapped; who waits for it goes on. Fails with -EEXIST (mapped already), -EFAULT (the memfd has
        none), -EINVAL (past its end; not a memfd's), -ENOENT (not registered), -EAGAIN (a change is in progress), -EBADF (closed)."""
        self._operation("uffd_continue", into, uffd=uffd, addr=addr)

    def uffd_continue_wp(self, uffd: File, addr: Address, *, into: str | None = None) -> None:
        """`uffd_continue` of a page that is write-protected from the beginning (UFFDIO_CONTINUE_MODE_WP; Linux 6.4 on, -EINVAL before). Fails as that does, and with -EINVAL (not registered for write
        protection)."""
        self._operation("uffd_continue_wp", into, uffd=uffd, addr=addr)

    def uffd_move(self, uffd: File, addr: Address, source: Address, *, into: str | None = None) -> None:
        """UFFDIO_MOVE (Linux 6.8 on): the page at `source` is taken from there, and put to `addr`; who waits for that goes on. Both are private memory. Fails with
        -ENOENT (not mapped; no page is there), -EEXIST (a page is at `addr`), -EBUSY (a child has the page too, or it is pinned), -EINVAL (`addr` is not registered;
        not private memory, or it may not be written; an older kernel), -EAGAIN (a change is in progress), -EBADF (closed)."""
        self._operation("uffd_move", into, uffd=uffd, addr=addr, source=source)

    def uffd_writeprotect(
        self, uffd: File, addr: Address, *, pages: int | None = None, protect: bool = True, into: str | None = None
    ) -> None:
        """UFFDIO_WRITEPROTECT: the pages that are there are write-protected, or with `protect=False` no more, and who waits goes on. Fails with
        -ENOENT (not registered for that), -EAGAIN (a change is in progress), -EBADF (closed)."""
        self._operation("uffd_writeprotect", into, uffd=uffd, addr=addr, pages=pages, protect=protect)

    def uffd_wake(self, uffd: File, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """UFFDIO_WAKE: who waits for one of the pages tries again. -EBADF: closed."""
        self._operation("uffd_wake", into, uffd=uffd, addr=addr, pages=pages)

    def uffd_read(self, uffd: File, *, into: str | None = None) -> None:
        """Wait for a message and read it: `f` a page is missing, `w` one is written that is protected, `n` one is not mapped that the memfd has, `r` REMOVE, `u` UNMAP, `m` REMAP, `k` FORK. Faults come first.
        Who waits for the reading of an event goes on. -EBADF: closed."""
        self._operation("uffd_read", into, uffd=uffd)

    def uffd_read_now(self, uffd: File, *, into: str | None = None) -> None:
        """`uffd_read` that does not wait: -EAGAIN, there is no message."""
        self._operation("uffd_read_now", into, uffd=uffd)

    def uffd_close(self, uffd: File, *, into: str | None = None) -> None:
        """close() of a userfaultfd that nobody reads: nothing is registered any more, who waits goes on. -EBADF the second time. (While somebody
        waits in a read a real kernel keeps it until that returns: with a handler's thread it is not to be closed.)"""
        self._operation("uffd_close", into, uffd=uffd)

    def pagemap_wp(self, addr: Address, *, into: str | None = None) -> None:
        """Whether a page, or what is to come there, is write-protected by a userfaultfd, as /proc/PID/pagemap tells the process (bit 57): `w`, or `-`."""
        self._operation("pagemap_wp", into, addr=addr)

    def uffd_serve(self, uffd: File, value: str) -> None:
        """A thread of the process that answers all messages from the end of the setup on: what is missing is filled with a page that holds
        `value`, what is protected may be written again, what a memfd has is mapped, events are read. What cannot be filled while a change is in progress (-EAGAIN) is
        tried again; for anything else, who waits tries again."""
        self._operation("uffd_serve", None, uffd=uffd, value=value)

    def uffd_monitor(self, uffd: File, value: str) -> None:
        """`uffd_serve` as the kernel's own tests do it: what MADV_DONTNEED takes away (the message REMOVE) is registered no more; nothing is tried again."""
        self._operation("uffd_monitor", None, uffd=uffd, value=value)

    def uffd_monitor_wp(self, uffd: File, value: str) -> None:
        """`uffd_monitor` that fills with pages which are write-protected (UFFDIO_COPY_MODE_WP), until somebody writes them."""
        self._operation("uffd_monitor_wp", None, uffd=uffd, value=value)

    def device_forget(self, device: DeviceHandle, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """The hook that an allocator calls before it gives pages back: the device's library forgets them, if it has such a hook. On the model only."""
        self._operation("device_forget", into, device=device, addr=addr, pages=pages)

    def device_snapshot(self, device: DeviceHandle, addr: Address, *, into: str | None = None) -> None:
        """What the driver finds at the page without a fault (hmm_range_fault): `r`, `w` (writable as well), `R` and `W` of a page in
        the device's own memory, `h` and `H` of a part of a huge page that one entry maps, or `-` (nothing that it can reach). Fails with -EFAULT (not mapped, PROT_NONE, a udmabuf's mapping)."""
        self._operation("device_snapshot", into, device=device, addr=addr)

    def fs_dax(self, pages: int) -> File:
        """A file of `pages` pages on a file system that lies in a device's memory (fs-dax), to be mapped (in the setup): its pages are the memory."""
        made: File = self._operation("fs_dax", None, pages=pages)
        return made

    def fs_dax_punch_hole(self, file: File, *, page: int, pages: int = 1, into: str | None = None) -> None:
        """fallocate(FALLOC_FL_PUNCH_HOLE) of such a file: waits until nobody uses one of its pages (direct I/O, a pin); what is touched there next is zero.
        Nobody may hold such a page for long: `pin(longterm=True)` fails with -EOPNOTSUPP.
        Fails with -EBADF (closed)."""
        self._operation("fs_dax_punch_hole", into, file=file, page=page, pages=pages)

    def disk_file(self, pages: int) -> File:
        """A new file of `pages` zero pages on a file system with a disk (ext4), to be mapped (in the setup). What is written to its pages is in memory until it is
        written back."""
        made: File = self._operation("disk_file", None, pages=pages)
        return made

    def fsync(self, file: File, *, into: str | None = None) -> None:
        """fsync(): all dirty pages of the file are written to its blocks. Fails with -EBADF (closed)."""
        self._operation("fsync", into, file=file)

    def msync(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """msync(MS_SYNC): what has been written to these pages of shared mappings is written to their files' blocks. Fails with -ENOMEM (not mapped)."""
        self._operation("msync", into, addr=addr, pages=pages)

    def fadvise_dontneed(self, file: File, *, page: int, pages: int = 1, into: str | None = None) -> None:
        """posix_fadvise(POSIX_FADV_DONTNEED): pages of the file are written back, and those that nobody maps or holds are dropped from memory: the next touch reads their blocks.
        Fails with -EBADF (closed)."""
        self._operation("fadvise_dontneed", into, file=file, page=page, pages=pages)

    def disk_file_punch_hole(self, file: File, *, page: int, pages: int = 1, into: str | None = None) -> None:
        """fallocate(FALLOC_FL_PUNCH_HOLE) of such a file: what is touched there next is zero. Nobody waits for pins. Fails with -EBADF (closed)."""
        self._operation("disk_file_punch_hole", into, file=file, page=page, pages=pages)

    def pread(self, file: File, *, page: int, into: str | None = None) -> None:
        """pread() of one page of the file: its value, in memory or from its block. Fails with -EBADF (closed)."""
        self._operation("pread", into, file=file, page=page)

    def madvise_dontfork(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_DONTFORK: a child that is forked from now on has nothing at these addresses. Fails with -ENOMEM (not mapped)."""
        self._operation("madvise_dontfork", into, addr=addr, pages=pages)

    def madvise_dofork(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_DOFORK: a child has these pages again. Fails with -ENOMEM (not mapped)."""
        self._operation("madvise_dofork", into, addr=addr, pages=pages)

    def madvise_wipeonfork(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_WIPEONFORK: a child that is forked from now on finds zeros in these pages. Fails with -ENOMEM (not mapped), -EINVAL (not anonymous)."""
        self._operation("madvise_wipeonfork", into, addr=addr, pages=pages)

    def madvise_keeponfork(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_KEEPONFORK: a child gets what these pages hold again. Fails with -ENOMEM (not mapped)."""
        self._operation("madvise_keeponfork", into, addr=addr, pages=pages)

    def madvise_populate_read(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_POPULATE_READ: the pages are faulted in as for a load, and nobody has looked at them. Fails with -ENOMEM (not mapped), -EINVAL (PROT_NONE, or a udmabuf's
        mapping), -EFAULT (past the end of the file)."""
        self._operation("madvise_populate_read", into, addr=addr, pages=pages)

    def madvise_populate_write(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_POPULATE_WRITE: the same as for a store; the pages hold what they held. Fails with -ENOMEM (not mapped), -EINVAL (may not be written, or a udmabuf's mapping),
        -EFAULT (past the end of the file)."""
        self._operation("madvise_populate_write", into, addr=addr, pages=pages)

    def madvise_remove(self, addr: Address, *, pages: int | None = None, into: str | None = None) -> None:
        """MADV_REMOVE: a hole in the file that is mapped there, as `fallocate_punch_hole` makes one. Fails with -ENOMEM (not mapped), -EINVAL (no file's, or
        locked), -EACCES (a private mapping), -EPERM (write-sealed), -ENODEV (a udmabuf)."""
        self._operation("madvise_remove", into, addr=addr, pages=pages)

    def device_reset(self, device: DeviceHandle, *, into: str | None = None) -> None:
        """The device is reset, and goes on; what its engines do meanwhile fails. -EOPNOTSUPP by a driver without `reset`."""
        self._operation("device_reset", into, device=device)

    def watch_flushes(self, *, into: str | None = None) -> None:
        """Hear of flushes of the process's TLBs from now on. -EBUSY the second time."""
        self._operation("watch_flushes", into)

    def flushed(self, addr: Address, *, into: str | None = None) -> None:
        """Whether the subscriber has been told of a flush of the page since that was asked last: `f`, or `-`. Of a page that was mapped and zapped it has. Of others
        the model leaves it open. -EINVAL: nobody hears of flushes."""
        self._operation("flushed", into, addr=addr)

    def page_is_idle(self, addr: Address, *, into: str | None = None) -> None:
        """Idle page tracking asks whether a device has used the page at an address since that was asked last: `-`, or `y`. On the model only."""
        self._operation("page_is_idle", into, addr=addr)

    def page_is_young(self, addr: Address, *, into: str | None = None) -> None:
        """DAMON asks the same, and changes nothing: `-`, or `y`. The caller holds the mmap lock. On the model only."""
        self._operation("page_is_young", into, addr=addr)

    def ftruncate(self, fd: File, pages: int, *, into: str | None = None) -> None:
        """A memfd has `pages` pages (0 to 15) from now on. What was behind goes, with the copies that private mappings have made of it, and a touch there is SIGBUS; what it gets is holes.
        Fails with -EPERM (smaller: sealed with shrink; larger: sealed with grow), -EINVAL (within a huge page), -EBADF (closed)."""
        self._operation("ftruncate", into, fd=fd, pages=pages)

    def fallocate(self, fd: File, *, page: int, pages: int = 1, keep_size: bool = False, into: str | None = None) -> None:
        """Put zero pages into a memfd where it has holes, `pages` of them from `page` on (up to 15 in all). It is as large as that then, if it was smaller, but with `keep_size`.
        Fails with -EPERM (past the end, sealed with grow), -ENOSPC (the pool has no huge page left), -EBADF (closed)."""
        self._operation("fallocate", into, fd=fd, page=page, pages=pages, keep_size=keep_size)

    def memory_reclaim(self, *, into: str | None = None) -> None:
        """Somebody wants all memory of the processes back, which are in a cgroup of their own (a write to its memory.reclaim): of their pages, and those of their memfds, any may go to swap,
        unless somebody holds it."""
        self._operation("memory_reclaim", into)

    def compact_memory(self, *, into: str | None = None) -> None:
        """Somebody has all of memory compacted (/proc/sys/vm/compact_memory): any page of a process or a memfd may move to another frame of its node, unless somebody holds it."""
        self._operation("compact_memory", into)
