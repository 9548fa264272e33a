"""Mappings that move to another address."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic, require
from secondsight.linux.fork import vmas
from secondsight.linux.mm_types import HPAGE_PMD_NR, Mm, Result, huge_pages
from secondsight.linux.mremap import mremap_to
from secondsight.linux.mremap_in_place import mremap as kernel_mremap
from secondsight.scenario.ops import Arg, ArgType, HandleType, Often
from secondsight.world.declare import also, operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import DONTUNMAP, RowNumber, address, flags, handles, high, low, makes, page, pages

__all__: list[str] = []


@operation(
    addr=ADDRESS,
    pages=SPAN,
    at=Arg(ArgType.PLACE, None, keyword=True, optional=True),
    makes=HandleType.MAPPING,
    remaps=True,
    takes_away=True,
    takes=lambda args: {"vmas": 1},
    at_least=lambda args: {"anon_prepared": 1},
    asks={"mremap_to": "mremap"},
    often=Often(8, 7, 8),
)
def mremap(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mremap(MREMAP_MAYMOVE | MREMAP_FIXED): move `pages` pages to a new address, one that no earlier mapping had, unless `at` gives an address to
    move them over: what is mapped there goes, whatever comes of the rest. What the pages hold stays. Fails with -EFAULT (not mapped, or not all of one mapping),
    -EINVAL (the two places overlap)."""
    if len(vmas[0].anon_prepared) > 0:
        if len(huge_pages) > 0:
            require((address[i] - page[i]) % HPAGE_PMD_NR == 0, "left-out", "huge pages that move to a place which does not begin as they do are not modelled")
        ret = mremap_to(mm, address[i], pages[i], page[i], low[i], high[i], flags[i] & DONTUNMAP != 0)
        if ret < 0:
            return ret
        with atomic:
            handles[makes[i]].made = True
    return 0


@operation(
    addr=ADDRESS,
    pages=SPAN,
    new_pages=Arg(ArgType.LENGTH, keyword=True),
    remaps=True,
    takes_away=True,
    takes=lambda args: {"vmas": 1, "frames": args["new_pages"]},
    at_least=lambda args: {"anon_prepared": 1},
    often=Often(7, 6, 6),
)
def mremap_in_place(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """mremap() with no flags, of `pages` pages that are to be `new_pages` at the same address: the pages behind those go, or the mapping grows over a place where nothing
    is, within the pages that it had in the beginning. Fails with -EFAULT (not mapped; or it is to grow and the pages are not all of one mapping, or a udmabuf's), -ENOMEM (it
    is to grow, and does not end there, or there is something), -EAGAIN (locked, and more than `limit_memlock` allows)."""
    if len(vmas[0].anon_prepared) > 0:
        return kernel_mremap(mm, address[i], pages[i], page[i], low[i], high[i])
    return 0


also(
    "mremap", "mremap_dontunmap",
    """`mremap` with MREMAP_DONTUNMAP: the pages move, and the old place stays mapped: private memory reads as zeros there, a memfd's pages are found in
    the memfd. Fails as `mremap` does, and with -EINVAL (a udmabuf).""",
    DONTUNMAP, takes=lambda args: {"vmas": 1, "frames": args["pages"]}, often=Often(4, 3, 3),
)  # fmt: skip
