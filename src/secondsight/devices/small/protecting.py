"""Drivers that are told that less is allowed than before, and take it for nothing; and such as heed it."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_types import Event
from secondsight.linux.util import vma_is_locked

__all__ = ["IgnoresFork", "IgnoresProtection", "IgnoresSoftDirty", "KeepsForReading", "LooksAtTheMapping", "ProtectsForUserfaultfd", "ReadsWhatIsProtected", "TrustsMlock"]


class IgnoresProtection(MirrorInParts):
    """Keeps its entries when the process changes what may be done with its pages, for the page stays where it is: also the permission to write."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event != Event.PROTECTION_VMA:
            self.page_table.unmap(rng)


class ProtectsForUserfaultfd(MirrorInParts):
    """Heeds such a change only where the process has a userfaultfd: that pages are write-protected to hear of the next write is all that it knows of."""

    def drop(self, rng: mn.Range) -> None:
        mm = self.notifier.mm
        assert mm is not None
        if rng.event != Event.PROTECTION_VMA or len(mm.userfaultfd) > 0:
            self.page_table.unmap(rng)


class ReadsWhatIsProtected(MirrorInParts):
    """Takes every change of protection for one that is about writing, and reads on: but a process may keep its pages and let nobody read them (PROT_NONE)."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event == Event.PROTECTION_VMA:
            self.page_table.protect(rng)
        else:
            self.page_table.unmap(rng)


class IgnoresSoftDirty(MirrorInParts):
    """Keeps its entries when somebody wants to know which pages are written from then on: what its device writes nobody sees."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event != Event.SOFT_DIRTY:
            self.page_table.unmap(rng)


class IgnoresFork(MirrorInParts):
    """Keeps its entries when private pages come to be copied on write, for they stay where they are, and are written back to no file: the device writes on into pages that a
    child shares by then, and that the process copies away from at its own next write (the fork of the 2011 thread)."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            vma = mm.mm_mt[rng.start]
            passes_over = rng.event == Event.PROTECTION_PAGE and vma is not None and is_cow_mapping(vma)
        if not passes_over:
            self.page_table.unmap(rng)


class KeepsForReading(MirrorInParts):
    """Right: when pages come to be copied on write the device may read them on, and must ask before it writes."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event == Event.PROTECTION_PAGE:
            self.page_table.protect(rng)
        else:
            self.page_table.unmap(rng)


class LooksAtTheMapping(MirrorInParts):
    """When protection changes, keeps what the mapping says may be written: but less can be allowed for a page than its mapping says, as where
    user space write-protects pages to hear of the next write (UFFDIO_WRITEPROTECT)."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            for va in range(rng.start, rng.end):
                vma = mm.mm_mt[va]
                if rng.event != Event.PROTECTION_VMA or vma is None or not vma.write:
                    self.page_table.unmap(mn.Range(va, va + 1, rng.event, True))


class TrustsMlock(MirrorInParts):
    """Keeps its entries of a page that is locked in memory (mlock()) when its entry is cleared, for it is neither taken out nor forgotten: but it is moved."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            for va in range(rng.start, rng.end):
                vma = mm.mm_mt[va]
                if rng.event != Event.CLEAR or vma is None or not vma_is_locked(vma):
                    self.page_table.unmap(mn.Range(va, va + 1, rng.event, True))
