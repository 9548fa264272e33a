"""Whether subscribers are told of flushes of TLBs (`arch_invalidate_secondary_tlbs`), which a device has that walks the process's page tables itself."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic, choose, shared_array
from secondsight.linux.errno import EBUSY, EINVAL
from secondsight.linux.mm_types import Mm, MmuNotifier, PageBits, Result, Va, VaEnd
from secondsight.linux.mmu_notifier import mmu_notifier_register
from secondsight.linux.tlb import flushes_due
from secondsight.scenario.ops import Arg, ArgType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.tables import RowNumber, address

__all__: list[str] = []

NOT_TOLD, TOLD = ord("-"), ord("f")


class FlushWatch(MmuNotifier):
    """A subscriber that hears of flushes. `told`: the pages that were zapped, and then flushed, since that was asked last."""

    told: PageBits

    @atomic
    def arch_invalidate_secondary_tlbs(self, mm: Mm, start: Va, end: VaEnd) -> None:
        """Note what was due. What else is flushed, a kernel decides."""
        for va in range(start, end):
            if va in flushes_due[0].pages:
                self.told |= {va}
                flushes_due[0].pages -= {va}


flush_watches = shared_array(FlushWatch, "flush_watches")
"""The one that `watch_flushes` subscribes; the bound is 0 where no scenario does."""


# Both are drawn by name (agree/with_devices.py): a subscriber that nobody asks changes nothing.
@operation(needs=Needs.MODULE, often=Often(), takes=lambda args: {"mmu_notifiers": 1}, at_least=lambda args: {"flush_watches": 1, "secondary_tlbs": 1})
def watch_flushes(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Hear of flushes of the process's TLBs from now on. -EBUSY the second time."""
    if len(flush_watches) > 0:
        with atomic:
            taken = flushes_due[0].mm is not None
            if not taken:
                flushes_due[0].mm = mm
        if taken:
            return -EBUSY
        return mmu_notifier_register(flush_watches[0], mm)
    return 0


@operation(addr=Arg(ArgType.ADDRESS), needs=Needs.MODULE, loads=True, often=Often(), at_least=lambda args: {"flush_watches": 1, "mmu_notifiers": 1, "secondary_tlbs": 1})
def flushed(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Whether the subscriber has been told of a flush of the page since that was asked last: `f`, or `-`. Of a page that was mapped and zapped it has. Of others
    the model leaves it open. -EINVAL: nobody hears of flushes."""
    if len(flush_watches) > 0:
        return asked(address[i])
    return 0


@atomic
def asked(va: Va) -> Result:
    """What it heard, which is forgotten."""
    watch = flush_watches[0]
    if flushes_due[0].mm is None:
        return -EINVAL
    if va in watch.told:
        watch.told -= {va}
        return TOLD
    return TOLD if choose(2) == 1 else NOT_TOLD
