"""Caches of a page's number that go out of step: each is `GfnToPfnCache` with one thing misplaced. Four of them Linux has had."""

from __future__ import annotations

from secondsight.devices.device import DEVICE_FAULT
from secondsight.devices.gfn_to_pfn_cache import GfnToOnePfnCache, GfnToPfnCache, PfnCache
from secondsight.lang import Char, Errno, SequenceNumber, atomic
from secondsight.linux.gup import FOLL_WRITE, pin_user_pages_fast
from secondsight.linux.mm_types import Mm, Pfn, Range, Result, Va
from secondsight.linux.page_alloc import frames, is_zero_page, put_page

__all__ = [
    "GpcAlwaysWrites",
    "GpcChecksFirst",
    "GpcCountsDownFirst",
    "GpcCountsTooLate",
    "GpcDeactivatesMeanwhile",
    "GpcHoldsItsPage",
    "GpcLooksUnderItsLock",
    "GpcReadsTheSequenceFirst",
    "GpcRefreshesUnlocked",
    "GpcUsedInactive",
]


class GpcCountsTooLate(GfnToPfnCache):
    """Raises the count when the caches have been visited: a refresh that ends in between has a page that goes, and nothing to say so."""

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        self.gfn_to_pfn_cache_invalidate_start(rng)
        self.mn_active_invalidate_count += 1
        return 0


class GpcCountsDownFirst(GfnToPfnCache):
    """Lowers the count, then has the sequence go on: in between it looks as if nothing had been."""

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        self.mn_active_invalidate_count -= 1
        self.mmu_invalidate_seq += 1


class GpcReadsTheSequenceFirst(GfnToPfnCache):
    """Asks whether the sequence has gone on, then whether something is under way: what ends in between is missed."""

    def mmu_notifier_retry_cache(self, seq: SequenceNumber) -> bool:
        if self.mmu_invalidate_seq != seq:
            return True
        return self.mn_active_invalidate_count > 0


class GpcUsedInactive(GfnToPfnCache):
    """Does not ask whether a cache is active: one that is deactivated is filled again, and not on the list any more."""

    @atomic
    def kvm_gpc_check(self, gpc: PfnCache, va: Va, write: bool) -> bool:
        return gpc.valid and gpc.uhva == va and (gpc.writable or not write)

    def kvm_gpc_refresh(self, gpc: PfnCache, va: Va, write: bool) -> Errno:
        with gpc.refresh_lock:
            gpc.lock.lock()
            ret: Errno = 0
            if self.is_to_be_looked_up(gpc, va, write):
                ret = self.hva_to_pfn_retry(gpc, va, write)
                if ret != 0:
                    self.unmap_khva(gpc)
            gpc.lock.unlock()
        return ret

    @atomic
    def map_khva(self, gpc: PfnCache, pfn: Pfn, write: bool) -> None:
        self.take(gpc, pfn, write)


class GpcDeactivatesMeanwhile(GfnToPfnCache):
    """Deactivates while a refresh has dropped the lock: the refresh fills a cache that is not active."""

    def kvm_gpc_deactivate(self, gpc: PfnCache) -> None:
        with gpc.lock:
            self.end_use(gpc)
        with self.gpc_lock:
            gpc.listed = False


class GpcLooksUnderItsLock(GfnToPfnCache):
    """Keeps the lock while it looks for the page, which may sleep."""

    def hva_to_pfn_retry(self, gpc: PfnCache, va: Va, write: bool) -> Errno:
        pfn = self.hva_to_pfn(va, write)
        if pfn < 0:
            return pfn
        self.map_khva(gpc, pfn, write)
        return 0


class GpcChecksFirst(GfnToPfnCache):
    """Checks under the lock, and accesses when it has given the lock back."""

    def use(self, va: Va, write: bool, value: Char) -> Result:
        gpc = self.cache_of(va)
        while True:
            done: Result = DEVICE_FAULT
            with gpc.lock:
                checked = self.kvm_gpc_check(gpc, va, write)
            if checked:
                done = self.by_khva(gpc, va, write, value)
            if done != DEVICE_FAULT:
                return done
            ret = self.kvm_gpc_refresh(gpc, va, write)
            if ret != 0:
                return ret


class GpcAlwaysWrites(GfnToPfnCache):
    """Asks for a page that may be written whatever it is for, as Linux 6.12 does: of memory that may only be read there is none."""

    def hva_to_pfn(self, va: Va, write: bool) -> Pfn:
        return GfnToPfnCache.hva_to_pfn(self, va, True)


class GpcHoldsItsPage(GfnToPfnCache):
    """Takes a reference to the page until it is the cache's: beside a file system that unmaps and waits until nobody has one, both may begin again
    and again."""

    def hva_to_pfn(self, va: Va, write: bool) -> Pfn:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        return pin_user_pages_fast(mm, va, FOLL_WRITE if write else 0)

    @atomic
    def release_pfn(self, pfn: Pfn) -> None:
        """kvm_release_pfn_clean() (virt/kvm/kvm_main.c, Linux 6.12): the reference goes; of the zero page there is none."""
        if not is_zero_page(frames[pfn]):
            put_page(frames[pfn])


class GpcRefreshesUnlocked(GfnToOnePfnCache):
    """One refresh beside another, of a cache that stays valid while its lock is dropped: who comes second finds the new address there, and
    goes by the old page."""

    def kvm_gpc_refresh(self, gpc: PfnCache, va: Va, write: bool) -> Errno:
        gpc.lock.lock()
        ret: Errno = 0
        if self.is_to_be_looked_up(gpc, va, write):
            ret = self.hva_to_pfn_retry(gpc, va, write)
            if ret != 0:
                self.unmap_khva(gpc)
        gpc.lock.unlock()
        return ret

    def hva_to_pfn_retry(self, gpc: PfnCache, va: Va, write: bool) -> Errno:
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
