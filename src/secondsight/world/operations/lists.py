"""What is done to all memory that is on reclaim's lists: some of it goes to swap, or moves. Which, nobody can say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux import vmscan_lists
from secondsight.linux.compaction import compact_nodes
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.swapops import migrations, swap_slots
from secondsight.linux.vmscan_lists import lru_scans
from secondsight.scenario.ops import Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.reclaim import of_reclaim
from secondsight.world.tables import RowNumber

__all__: list[str] = []


def _of_a_scan(args: Mapping[str, Any]) -> dict[str, int]:
    return of_reclaim(args) | {"lru_scans": 1}


# Neither is drawn where runs are forced: which pages go, and when, no schedule decides.
@operation(own=False, chooses=True, at_least=lambda args: _of_a_scan(args) | {"accessed": 1}, needs=Needs.MEMCG, often=Often(1, 2, 0))
def memory_reclaim(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Somebody wants all memory of the processes back, which are in a cgroup of their own (a write to its memory.reclaim): of their pages, and those of their memfds, any may go to swap,
    unless somebody holds it."""
    if len(lru_scans) > 0:  # two questions: one that says `and` is not answered before the search, and what it guards is in every program then
        if len(swap_slots) > 0:
            vmscan_lists.memory_reclaim()
    return 0


@operation(own=False, chooses=True, takes=lambda args: {"frames": 1}, at_least=_of_a_scan, needs=Needs.COMPACTION, often=Often(1, 2, 0))
def compact_memory(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Somebody has all of memory compacted (/proc/sys/vm/compact_memory): any page of a process or a memfd may move to another frame of its node, unless somebody holds it."""
    if len(lru_scans) > 0:
        if len(migrations) > 0:
            compact_nodes()
    return 0
