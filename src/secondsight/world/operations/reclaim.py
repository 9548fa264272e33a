"""Pages that reclaim takes, and that are moved to other frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux import madvise
from secondsight.linux import madvise_free as madvise_free_
from secondsight.linux.mempolicy import task_numa_work
from secondsight.linux.migrate import do_pages_stat, move_page
from secondsight.linux.mm_types import Mm, Result, numa_hints
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.swapops import migrations, swap_slots
from secondsight.linux.vmscan import reclaim_page_at
from secondsight.scenario.ops import Arg, ArgType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import EMPTY_IS_BAD, RowNumber, address, flags, pages

__all__: list[str] = []


def of_reclaim(args: Mapping[str, Any]) -> dict[str, int]:
    """What all of these need: slots of a swap device, a migration, and that folios know what maps them. The same for each, so that their
    programs are of one shape."""
    return {"swap_slots": 3, "migrations": 1, "anon_vmas": 1}


@operation(addr=ADDRESS, pages=SPAN, at_least=of_reclaim, needs=Needs.SWAP, often=Often(6, 5, 4))
def madvise_pageout(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_PAGEOUT: private pages and a memfd's that are mapped here alone are written to swap, if nobody else holds them, and read again when they are touched. Fails
    with -ENOMEM (not mapped), -EINVAL (a udmabuf's mapping)."""
    if len(swap_slots) > 0:
        return madvise.madvise_pageout(mm, address[i], pages[i])
    return 0


@operation(addr=ADDRESS, pages=SPAN, takes_away=True, at_least=lambda args: of_reclaim(args) | {"lazyfree": 1}, needs=Needs.SWAP, often=Often(6, 4, 2))
def madvise_free(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_FREE: what the pages hold may be forgotten, as long as nobody writes them again: reclaim drops them (`madvise_pageout`), and they read as zeros then. Fails with
    -ENOMEM (not mapped), -EINVAL (a file's mapping, a udmabuf's, or locked)."""
    if len(swap_slots) > 0:
        return madvise_free_.madvise_free(mm, address[i], pages[i])
    return 0


@operation(addr=Arg(ArgType.ADDRESS), own=False, model_only=True, at_least=of_reclaim)
def reclaim(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The kernel wants memory (kswapd), and takes the page that is at an address, private or a memfd's, without the mmap lock. On the model only."""
    if len(swap_slots) > 0:
        reclaim_page_at(mm, address[i])
    return 0


@operation(
    pages=Arg(ArgType.COUNT, 1, keyword=True), in_setup=True, named=False, own=False, model_only=True,
    at_least=lambda args: of_reclaim(args) | {"direct_reclaim": 1},
)  # fmt: skip
def memory_pressure(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The machine is so many pages short: as many allocations find no memory, each whenever it likes once the threads run. Who may sleep reclaims then some page of some
    process itself, in the middle of the allocation (direct reclaim); who may not fails. On the model only."""
    return 0


@operation(count=Arg(ArgType.COUNT, 1, keyword=True), in_setup=True, named=False, own=False, model_only=True, at_least=lambda args: {"allocations_fail": 1})
def allocations_fail(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """So many allocations of a driver's (`kmalloc`) fail, whatever they may do to find memory, each whenever it likes once the threads run. What fails for want of memory says
    -ENOMEM. On the model only."""
    return 0


@operation(addr=ADDRESS, takes=lambda args: {"frames": 1}, at_least=of_reclaim, needs=Needs.NODES, often=Often(4, 6, 4))
def move_pages(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """move_pages(2) of one page: its contents move to a frame of another node, if nobody else holds it. Fails with -ENOENT (nothing
    there, or in swap), -EFAULT (not mapped, a udmabuf's mapping, or the zero page), -EACCES (mapped at another place
    too), -EBUSY (being reclaimed or moved), -EAGAIN (somebody holds it). Two system calls: the first asks which node the page is on, and the second says 0 of one that is on the
    other by now."""
    if len(migrations) > 0:
        if len(frames[ZERO_PFN].nid) > 0:
            here = do_pages_stat(mm, address[i], flags[i] & EMPTY_IS_BAD != 0)
            return move_page(mm, address[i], flags[i] & EMPTY_IS_BAD != 0, 0 if here == 1 else 1)
        return move_page(mm, address[i], flags[i] & EMPTY_IS_BAD != 0)
    return 0


@operation(
    addr=ADDRESS, pages=SPAN, model_only=True, takes=lambda args: {"frames": 1},
    at_least=lambda args: of_reclaim(args) | {"vma_flags": 1, "prot_none": 1, "numa_hints": 1},
)  # fmt: skip
def numa_scan(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """NUMA balancing looks at these pages (task_numa_work()): the next access of each faults, and may move it to another node. On the model only: a kernel does it when it
    likes."""
    if len(numa_hints) > 0:
        task_numa_work(mm, address[i], address[i] + pages[i])
    return 0
