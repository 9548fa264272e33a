"""Memory that must stay movable, and who empties it: one block of memory, from which the processes' pages come first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux import cma, memory_hotplug
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.mmzone import pageblocks
from secondsight.scenario.ops import Needs, Often
from secondsight.world.declare import operation
from secondsight.world.tables import RowNumber

__all__: list[str] = []

def _of_a_block(args: Mapping[str, Any]) -> dict[str, int]:
    return {"pageblocks": 1, "migrations": 2, "anon_vmas": 1}


# Neither is drawn beside a device, where runs are forced: a process of its own asks sysfs to take the block offline, and nobody would hold that; and forced guests have
# no area of contiguous memory.
@operation(own=False, at_least=_of_a_block, needs=Needs.MOVABLE, often=Often(3, 2, 0))
def offline_pages(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Somebody takes the block of memory offline that the processes' pages lie in first: they move elsewhere. Fails with -EINTR (somebody holds
    a page: a signal ends the attempt), -EBUSY (offline already, or the block is CMA's). Of up to seven pages."""
    if len(pageblocks) > 0:
        return memory_hotplug.offline_pages()
    return 0


@operation(own=False, at_least=lambda args: _of_a_block(args) | {"cma": 1}, needs=Needs.CMA, often=Often(3, 2, 0))
def cma_alloc(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A driver allocates the block as contiguous memory (CMA): pages that lie in it move elsewhere. -EBUSY: somebody holds one, or has the
    block already. A scenario has this or `offline_pages`."""
    if len(pageblocks) > 0:
        if len(pageblocks[0].allocated) > 0:
            return cma.cma_alloc()
    return 0
