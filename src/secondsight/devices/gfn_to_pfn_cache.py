"""KVM's gfn-to-pfn cache: a page of the guest's that the host itself reads and writes, by a mapping that it keeps (virt/kvm/pfncache.c).

    activate    on the list that the notifier walks, then active
    use         under the cache's lock: is it active, valid, and of this address? Then by the kernel's mapping of the page; else
    refresh     one at a time (`refresh_lock`): not valid; the page is looked for without the lock, for that may sleep; under the lock
                again: has an invalidation begun or ended since? Then once more; else the cache is valid
    start       one more invalidation is under way; what is valid in its range is valid no more
    end         the sequence goes on, then one less is under way
    deactivate  one at a time with refreshes: not active, not valid, off the list

A cache holds no reference to its page. What makes that right: a page that is looked for while the cache is not valid is not seen by
the notifier, which finds nothing to take away. So whoever looks asks afterwards, under the lock under which the notifier takes away. The
count is raised before the notifier comes to the lock, and lowered after the sequence has gone on: who reads the count first, and the
sequence then, misses no invalidation. KVM's own count for its page tables (`mmu_invalidate_in_progress`) is raised after the caches have been
visited, so it is no use here.

There is a cache for each page here; `GfnToOnePfnCache` has one that goes from address to address, as a caller of Linux's kvm_gpc_refresh() asked until 6.2
and one of kvm_gpc_activate() may in 6.12. Its accesses are those of the process's threads.

Left out, with what it may do: memory slots and their generation: a guest's page is the user's page of the same number, and the sequence
goes on at the end of every invalidation (may hide); the offset in the page; that readers of the cache share its lock (rwlock_t): to read it
twice at a time does nothing more (hides nothing but a deadlock of readers). Otherwise than in Linux: an access that only reads
asks for a page that may be read; Linux asks for one that may be written, always (`GpcAlwaysWrites` in `small/`), and so refuses memory that a
CPU could read. Left out too: a reference to the page from when it is found until it is the cache's (may hide who waits for it). What is written through the mapping is marked dirty when the page is found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import DEVICE_FAULT, Device, Promise, access_begins, access_failed
from secondsight.devices.kvm_main import hva_to_pfn
from secondsight.lang import Array, Char, Errno, Mutex, Record, Ref, SequenceNumber, SpinLock, atomic, hold_point
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_read, device_write
from secondsight.linux.errno import EAGAIN, EINVAL
from secondsight.linux.mm_types import Count, Folio, Mm, Pfn, Pgoff, Range, Result, Va
from secondsight.linux.page_alloc import frames
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["GfnToOnePfnCache", "GfnToPfnCache", "PfnCache"]


class PfnCache(Record):
    """struct gfn_to_pfn_cache. `listed`: the notifier visits it. `khva`: the page that the kernel's mapping is of. `writable`: it may be written by it."""

    lock: SpinLock
    refresh_lock: Mutex
    listed: bool
    active: bool
    valid: bool
    uhva: Va
    khva: Ref[Folio]
    writable: bool


class GfnToPfnCache(Device):
    """Right: as KVM does it."""

    promise: ClassVar[Promise] = "process"
    caches: Array[PfnCache, Literal["pages"]]
    gpc_lock: SpinLock
    mn_active_invalidate_count: Count
    mmu_invalidate_seq: SequenceNumber
    notifier: mn.IntervalNotifier
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "mmu_notifiers": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """kvm_create_vm(), kvm_gpc_activate(): be told first, then have caches. The first use of one refreshes it."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_notifier_register(self, mm)
        mmput(mm)
        if ret == 0:
            for gpc in self.caches:
                self.kvm_gpc_activate(gpc)
        return ret

    def close(self) -> None:
        """kvm_gpc_deactivate() of each cache, then no notifier any more."""
        for gpc in self.caches:
            self.kvm_gpc_deactivate(gpc)
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mn.mmu_notifier_unregister(self, mm)

    def read(self, va: Va) -> Result:
        """The host reads the guest's page."""
        hold_point("accessing")
        access_begins(self, va, False)
        return self.use(va, False, 0)

    def write(self, va: Va, value: Char) -> Result:
        """The host writes to it."""
        hold_point("accessing")
        access_begins(self, va, True)
        return self.use(va, True, value)

    def cache_of(self, va: Va) -> PfnCache:
        """The cache by which that page is used."""
        return self.caches[va]

    def use(self, va: Va, write: bool, value: Char) -> Result:
        """What every user of a cache does: check and access under its lock, or refresh it and begin again."""
        gpc = self.cache_of(va)
        while True:
            done: Result = DEVICE_FAULT
            with gpc.lock:
                checked = self.kvm_gpc_check(gpc, va, write)
                if checked:
                    done = self.by_khva(gpc, va, write, value)
            if checked:
                return done
            ret = self.kvm_gpc_refresh(gpc, va, write)
            if ret != 0:
                access_failed(self, va, write, ret)
                return ret

    @atomic
    def by_khva(self, gpc: PfnCache, va: Va, write: bool, value: Char) -> Result:
        """The access by the kernel's mapping."""
        frame = gpc.khva
        assert frame is not None
        if write:
            device_write(self, va, frame, value)
            return 0
        return device_read(self, va, frame)

    @atomic
    def kvm_gpc_check(self, gpc: PfnCache, va: Va, write: bool) -> bool:
        """kvm_gpc_check() (virt/kvm/pfncache.c, Linux 6.12): whether the mapping may be used. The address is compared too, as in Linux 6.1."""
        return gpc.active and gpc.valid and gpc.uhva == va and (gpc.writable or not write)

    def kvm_gpc_refresh(self, gpc: PfnCache, va: Va, write: bool) -> Errno:
        """kvm_gpc_refresh(), __kvm_gpc_refresh() (virt/kvm/pfncache.c, Linux 6.12): 0 once the cache is valid, -EINVAL where it is not active, -EFAULT."""
        with gpc.refresh_lock:
            gpc.lock.lock()
            ret: Errno = 0
            if not gpc.active:
                ret = -EINVAL
            elif self.is_to_be_looked_up(gpc, va, write):
                ret = self.hva_to_pfn_retry(gpc, va, write)
                if ret != 0:
                    self.unmap_khva(gpc)
            gpc.lock.unlock()
        return ret

    @atomic
    def is_to_be_looked_up(self, gpc: PfnCache, va: Va, write: bool) -> bool:
        """Note the address, and say whether there is a page of it. The lock is held."""
        moved = gpc.uhva != va
        gpc.uhva = va
        return moved or not gpc.valid or (write and not gpc.writable)

    @atomic
    def unmap_khva(self, gpc: PfnCache) -> None:
        """The cache has no page, and the kernel's mapping is undone (gpc_unmap(); Linux does that without the lock). The lock is held."""
        gpc.valid = False
        gpc.khva = None
        gpc.writable = False

    def hva_to_pfn_retry(self, gpc: PfnCache, va: Va, write: bool) -> Errno:
        """hva_to_pfn_retry() (virt/kvm/pfncache.c, Linux 6.12): look for the page until nothing was invalidated meanwhile. The lock is held, and
        dropped for a while."""
        gpc.valid = False
        while True:
            seq = self.mmu_invalidate_seq
            gpc.lock.unlock()
            pfn = self.hva_to_pfn(va, write)
            gpc.lock.lock()
            if pfn < 0:
                return pfn
            again = self.mmu_notifier_retry_cache(seq)
            if not again:
                self.map_khva(gpc, pfn, write)
                return 0
            self.release_pfn(pfn)

    def hva_to_pfn(self, va: Va, write: bool) -> Pfn:
        """hva_to_pfn() (virt/kvm/kvm_main.c, Linux 6.12): the page, or an error."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        pfn: Pfn = -EAGAIN
        while pfn == -EAGAIN:
            pfn = hva_to_pfn(mm, va, write)
        return pfn

    @atomic
    def release_pfn(self, pfn: Pfn) -> None:
        """The page was looked for in vain, or is the cache's by now. Nothing is held."""

    @atomic
    def map_khva(self, gpc: PfnCache, pfn: Pfn, write: bool) -> None:
        """The page is the cache's from now on. The lock is held. Of a cache that is not active the mapping would stay for
        ever, and nobody would hear of it that the page goes: kvm_gpc_activate() says so in Linux (KVM_BUG_ON())."""
        assert gpc.active, "a cache that is not active gets a page"
        self.take(gpc, pfn, write)

    @atomic
    def take(self, gpc: PfnCache, pfn: Pfn, write: bool) -> None:
        """Valid, by a mapping of that page."""
        gpc.valid = True
        gpc.khva = frames[pfn]
        gpc.writable = write
        if write:
            set_page_dirty(pfn)
        self.release_pfn(pfn)

    def mmu_notifier_retry_cache(self, seq: SequenceNumber) -> bool:
        """mmu_notifier_retry_cache() (virt/kvm/pfncache.c, Linux 6.12): the count first, the sequence then."""
        if self.mn_active_invalidate_count > 0:
            return True
        return self.mmu_invalidate_seq != seq

    def kvm_gpc_activate(self, gpc: PfnCache) -> None:
        """kvm_gpc_activate() (virt/kvm/pfncache.c, Linux 6.12): on the list, then active. Left out: the refresh at its end."""
        with gpc.refresh_lock:
            with self.gpc_lock:
                gpc.listed = True
            with gpc.lock:
                gpc.active = True

    def kvm_gpc_deactivate(self, gpc: PfnCache) -> None:
        """kvm_gpc_deactivate() (virt/kvm/pfncache.c, Linux 6.12): not active and not valid, then off the list."""
        with gpc.refresh_lock:
            with gpc.lock:
                self.end_use(gpc)
            with self.gpc_lock:
                gpc.listed = False

    @atomic
    def end_use(self, gpc: PfnCache) -> None:
        """From now on nobody uses it. The lock is held."""
        gpc.active = False
        self.unmap_khva(gpc)

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        """kvm_mmu_notifier_invalidate_range_start() (virt/kvm/kvm_main.c, Linux 6.12): the count, then the caches. Left out: KVM's page tables (`small/vcpu.py` has
        those)."""
        self.mn_active_invalidate_count += 1
        self.gfn_to_pfn_cache_invalidate_start(rng)
        return 0

    def gfn_to_pfn_cache_invalidate_start(self, rng: Range) -> None:
        """gfn_to_pfn_cache_invalidate_start() (virt/kvm/pfncache.c, Linux 6.12). Left out: the look under the lock for reading that comes first."""
        with self.gpc_lock:
            for gpc in self.caches:
                if gpc.listed:
                    with gpc.lock:
                        self.invalidate_cache(gpc, rng)

    @atomic
    def invalidate_cache(self, gpc: PfnCache, rng: Range) -> None:
        """What is of these addresses is valid no more. The lock is held."""
        if gpc.valid and gpc.uhva >= rng.start and gpc.uhva < rng.end:
            gpc.valid = False

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        """kvm_mmu_notifier_invalidate_range_end() (virt/kvm/kvm_main.c, Linux 6.12): the sequence, then the count."""
        self.mmu_invalidate_seq += 1
        self.mn_active_invalidate_count -= 1


class GfnToOnePfnCache(GfnToPfnCache):
    """Right too, where its users do not want it at two addresses in turn for ever: one cache, which goes to the address that is asked for."""

    def cache_of(self, va: Va) -> PfnCache:
        return self.caches[0]
