"""Drivers that keep something for all of their devices together."""

from __future__ import annotations

from typing import Literal

from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Array, Errno, Record, Ref, atomic, shared_array
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Folio, Mm, Pfn, Pgoff, Va
from secondsight.linux.page_alloc import frames, page_to_pfn
from secondsight.linux.page_writeback import set_page_dirty

__all__ = ["RemembersByAddress", "RemembersByProcess", "SubscribesForItsFirst"]


class Pages(Record):
    """What was found at each address, until it changes."""

    found: Array[Ref[Folio], Literal["pages"]]


remembered = shared_array(Pages, "mms")


class RemembersByProcess(MirrorInParts):
    """Right: what one device has found, another one of the process need not look for."""

    def collect(self, seq: mn.Seq, va: Va, write: bool) -> Pfn:
        """What is remembered is looked up after the sequence number: if it goes, the number changes."""
        with atomic:
            frame = remembered[self.number()].found[va]
        if frame is not None and not write:
            return page_to_pfn(frame)
        return hmm.hmm_range_fault(self.notifier, va, write)

    @atomic
    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        self.page_table.map(va, pfn, write)
        if write:
            set_page_dirty(pfn)
        remembered[self.number()].found[va] = frames[pfn]
        return 0

    @atomic
    def drop(self, rng: mn.Range) -> None:
        self.page_table.unmap(rng)
        for va in range(rng.start, rng.end):
            remembered[self.number()].found[va] = None

    @atomic
    def number(self) -> int:
        """Whose memory it is."""
        mm = self.notifier.mm
        assert mm is not None
        return mms.index(mm)


class RemembersByAddress(RemembersByProcess):
    """Wrong: another process has something else at the address."""

    @atomic
    def number(self) -> int:
        return 0


subscribed = shared_array(bool, "mms")


class SubscribesForItsFirst(MirrorInParts):
    """Wrong: a process for which the driver has subscribed has its subscription; but what is told is told to that device's table alone."""

    subscribes: bool

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        with atomic:
            self.subscribes = not subscribed[mms.index(mm)]
            subscribed[mms.index(mm)] = True
        if not self.subscribes:
            return 0
        ret = MirrorInParts.open(self, mm, start, length)
        if ret != 0:
            subscribed[mms.index(mm)] = False
        return ret

    def close(self) -> None:
        if self.subscribes:
            MirrorInParts.close(self)
        else:
            self.page_table.disable()
