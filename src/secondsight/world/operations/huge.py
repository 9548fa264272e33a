"""Huge pages of private memory: wanted, and made of what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux import madvise
from secondsight.linux.errno import EINVAL
from secondsight.linux.khugepaged import detached_tables
from secondsight.linux.khugepaged import madvise_collapse as collapse
from secondsight.linux.mm_types import Mm, Result, huge_pages
from secondsight.linux.pgtable import pmd_trans_huge
from secondsight.scenario.ops import Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import RowNumber, address, high, low, pages

__all__: list[str] = []


def of_huge_pages(args: Mapping[str, Any]) -> dict[str, int]:
    """What all of these need: folios of two pages, and flags of vmas. (Entries for them: as many as the pages ask for.) Without them they
    answer as a kernel without CONFIG_TRANSPARENT_HUGEPAGE."""
    return {"huge": 1, "vma_flags": 1}


@operation(addr=ADDRESS, pages=SPAN, remaps=True, at_least=of_huge_pages, needs=Needs.HUGE, often=Often(8, 3, 3))
def madvise_hugepage(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_HUGEPAGE: the next page that is touched there comes together with the other one of its pair, as a huge page, if the mapping has
    both and neither was touched before. A pair is a page with an even number in its mapping and the next. Fails with -ENOMEM (not mapped).

    On a real kernel a page of the scenario is half a huge page, 1 MiB, of which its first 4 KiB are used."""
    if len(huge_pages) > 0:
        return madvise.madvise_hugepage(mm, address[i], pages[i], low[i], high[i])
    return -EINVAL


@operation(addr=ADDRESS, loads=True, at_least=of_huge_pages, needs=Needs.HUGE, often=Often(14, 5, 3))
def page_is_huge(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Whether one entry maps the page and the other of its pair, as PAGEMAP_SCAN (PAGE_IS_HUGE) tells a process: `h`, or `-`."""
    if len(huge_pages) > 0:
        mm.mmap_lock.read_lock()
        is_huge = pmd_trans_huge(mm, address[i])
        mm.mmap_lock.read_unlock()
        return ord("h") if is_huge else ord("-")
    return ord("-")


@operation(
    addr=ADDRESS,
    pages=SPAN,
    takes=lambda args: {"frames": args["pages"]},
    at_least=lambda args: of_huge_pages(args) | {"detached_tables": 1},
    needs=Needs.HUGE,
    often=Often(8, 6, 8),
)
def madvise_collapse(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """MADV_COLLAPSE: each pair of pages in the range becomes a huge page, with what the pages hold. Fails with -EINVAL (nothing there was
    written, or may be; or the mapping has no such pair), -EAGAIN (somebody holds a page), -ENOMEM (not mapped). Of private
    anonymous memory."""
    if len(detached_tables) > 0:
        return collapse(mm, address[i], pages[i])
    return -EINVAL
