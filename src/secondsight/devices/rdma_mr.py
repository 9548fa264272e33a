"""A memory region of RDMA that is pinned when it is registered: no page fault, and nothing that is told.

    reg_mr     ibv_reg_mr(): ib_umem_get() counts the pages and pins them all; then the region has a key, by which the device finds them
    close      ibv_dereg_mr(): the key goes first, then ib_umem_release() marks dirty, unpins and counts down

The pattern of ib_umem_get() and ib_umem_release() (drivers/infiniband/core/umem.c, Linux 6.12), and of mlx5's mr.c, which destroys the key before it releases the memory. A library that keeps registrations for
later use has to learn by itself of what the process maps anew (`registration_cache`).

`fault` stands for the application, which registers what its device is about to use: two pages as one region, or one where two cannot be had. Nobody is told of anything:
the device goes on with what was there.

It counts in mm->pinned_vm, and not, as VFIO does, in mm->locked_vm: to each of the two a process may have as much as RLIMIT_MEMLOCK.

Left out: CAP_IPC_LOCK; several regions; that the scatter list may not be allocated; a region whose key is changed while it is in use (ibv_rereg_mr()).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.lang import Array, Errno, Mutex, Ref, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT, ENOENT, ENOMEM
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, unpin_user_page, unpin_user_page_range_dirty_lock
from secondsight.linux.gup_pages import PageArray, gup_fast_fallback
from secondsight.linux.mm_types import Flags, Folio, Mm, Pgoff, Va, VaEnd
from secondsight.linux.page_alloc import page_to_pfn
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.linux.util import locked_vm

__all__ = ["RdmaMr", "RdmaMrForgetsAPart", "RdmaMrForRemoteRead", "RdmaMrMarksNothing", "RdmaMrReleasedFirst", "RdmaMrUncounted"]

LONG: Flags = FOLL_PIN | FOLL_LONGTERM


class RdmaMr(Device):
    """Right: pinned and counted from the registration on until the device has no key any more."""

    promise: ClassVar[Promise] = "pinned"
    gup_flags: ClassVar[Flags] = FOLL_WRITE
    """FOLL_WRITE: IB_ACCESS_LOCAL_WRITE, REMOTE_WRITE, REMOTE_ATOMIC or MW_BIND; 0: for reading alone."""

    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    page_list: PageArray
    pages: Array[Ref[Folio], Literal["pages"]]
    lock: Mutex
    closed: bool
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "pin_pages": 2, "memlock": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return 0

    def fault(self, va: Va, write: bool) -> Errno:
        mm = self.notifier.mm
        assert mm is not None
        if write and self.gup_flags == 0:
            return -EFAULT
        alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        with self.lock:
            ret: Errno = 0
            if self.closed:
                ret = -ENOENT
            elif self.pages[va] is None:
                length = self.wanted(va)
                ret = self.reg_mr(mm, va, length)
                if ret == -EFAULT:
                    ret = self.reg_mr(mm, va, 1)
        mmput(mm)
        return ret

    def wanted(self, va: Va) -> Pgoff:
        """How many pages from `va` on are not registered yet, two at most."""
        return 2 if va + 1 < len(self.pages) and self.pages[va + 1] is None else 1

    def reg_mr(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """mlx5_ib_reg_user_mr(): 0; -EFAULT: not all of it can be pinned; -ENOMEM: beyond RLIMIT_MEMLOCK, or a page that cannot be moved to where it may stay."""
        ret = self.ib_umem_get(mm, start, length)
        if ret == 0:
            self.create_mkey(start, start + length)
        return ret

    def ib_umem_get(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """ib_umem_get() (drivers/infiniband/core/umem.c, Linux 6.12): all of it or nothing."""
        counted = self.count(mm, length)
        if not counted:
            return -ENOMEM
        end: VaEnd = start + length
        at: VaEnd = start
        while at < end:
            ret = gup_fast_fallback(mm, at, min(end - at, len(self.page_list.folios)), LONG | self.gup_flags, self.page_list)
            if ret < 0:
                self.give_part_back(start, at)
                self.count_down(mm, length)
                return ret
            self.append(at, ret)
            at += ret
        return 0

    @atomic
    def append(self, at: Va, pinned: Pgoff) -> None:
        """sg_alloc_append_table_from_pages()."""
        for k in range(pinned):
            self.pages[at + k] = self.page_list.folios[k]
            self.page_list.folios[k] = None

    def give_part_back(self, start: Va, end: VaEnd) -> None:
        """What is done where a page cannot be pinned: the device has written to none of those before it."""
        self.unpin(start, end, False)

    def count(self, mm: Mm, length: Pgoff) -> bool:
        """atomic64_add_return(&mm->pinned_vm), and down again if that is more than may be: in between somebody else may be refused."""
        with atomic:
            locked_vm(mm).pinned += length
            allowed = locked_vm(mm).pinned <= locked_vm(mm).limit
        if not allowed:
            self.count_down(mm, length)
        return allowed

    @atomic
    def count_down(self, mm: Mm, length: Pgoff) -> None:
        """atomic64_sub(&mm->pinned_vm)."""
        locked_vm(mm).pinned -= length

    @atomic
    def create_mkey(self, start: Va, end: VaEnd) -> None:
        """The device knows the region: its table is written before the key is."""
        for va in range(start, end):
            folio = self.pages[va]
            assert folio is not None, "a region without a page"
            self.page_table.map(va, page_to_pfn(folio), self.gup_flags != 0)

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.destroy_mkey()
            self.ib_umem_release()

    def destroy_mkey(self) -> None:
        """DESTROY_MKEY: when the device has answered, nothing by that key is under way."""
        self.page_table.disable()

    def ib_umem_release(self) -> None:
        """ib_umem_release() (drivers/infiniband/core/umem.c, Linux 6.12)."""
        mm = self.notifier.mm
        assert mm is not None
        pages = self.unpin(0, len(self.pages), self.gup_flags != 0)
        self.count_down(mm, pages)

    def unpin(self, start: Va, end: VaEnd, dirty: bool) -> Pgoff:
        """__ib_umem_release(): give back what is pinned there, `dirty` if the device may have written to it. How many pages that were."""
        pages: Pgoff = 0
        for va in range(start, end):
            folio = self.pages[va]
            if folio is not None:
                self.pages[va] = None
                if dirty:
                    unpin_user_page_range_dirty_lock(folio)
                else:
                    unpin_user_page(folio)
                pages += 1
        return pages


class RdmaMrForRemoteRead(RdmaMr):
    """Right: a region that peers may read, and nobody may write. It is pinned without FOLL_WRITE, so memory that the process may not write can be registered."""

    gup_flags: ClassVar[Flags] = 0


class RdmaMrForgetsAPart(RdmaMr):
    """Wrong: where a page cannot be pinned it gives none of the others back."""

    def give_part_back(self, start: Va, end: VaEnd) -> None:
        for va in range(start, end):
            self.pages[va] = None


class RdmaMrReleasedFirst(RdmaMr):
    """Wrong: unpins while the device has the key."""

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.ib_umem_release()
            self.destroy_mkey()


class RdmaMrUncounted(RdmaMr):
    """Wrong: does not count."""

    def count(self, mm: Mm, length: Pgoff) -> bool:
        return True

    def count_down(self, mm: Mm, length: Pgoff) -> None:
        pass


class RdmaMrMarksNothing(RdmaMr):
    """Wrong: unpins, and says nothing of what the device has written."""

    def unpin(self, start: Va, end: VaEnd, dirty: bool) -> Pgoff:
        return RdmaMr.unpin(self, start, end, False)
