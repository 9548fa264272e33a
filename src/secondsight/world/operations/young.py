"""Who asks whether a device has used a page lately, and takes none."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.mmu_notifier_young import damon_young, page_idle_clear_pte_refs, young_callbacks
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.pgtable import vm_normal_folio
from secondsight.scenario.ops import Arg, ArgType
from secondsight.world.declare import operation
from secondsight.world.operations.reclaim import of_reclaim
from secondsight.world.tables import RowNumber, address

__all__: list[str] = []

IDLE, YOUNG = ord("-"), ord("y")


@operation(addr=Arg(ArgType.ADDRESS), own=False, model_only=True, loads=True, at_least=of_reclaim)
def page_is_idle(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Idle page tracking asks whether a device has used the page at an address since that was asked last: `-`, or `y`. On the model only."""
    if len(young_callbacks.any) > 0:
        with atomic:
            page = vm_normal_folio(mm.ptes[address[i]])
            young = page is not None and page_idle_clear_pte_refs(page_folio(page), mm, address[i])
        return YOUNG if young else IDLE
    return IDLE


@operation(addr=Arg(ArgType.ADDRESS), own=False, model_only=True, loads=True)
def page_is_young(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """DAMON asks the same, and changes nothing: `-`, or `y`. The caller holds the mmap lock. On the model only."""
    if len(young_callbacks.any) > 0:
        mm.mmap_lock.read_lock()
        young = damon_young(mm, address[i])
        mm.mmap_lock.read_unlock()
        return YOUNG if young else IDLE
    return IDLE
