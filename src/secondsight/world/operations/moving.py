"""Mappings that move to another address."""

from __future__ import annotations

from collections.abc import Mapping

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic, require
from secondsight.linux.fork import vmas
from secondsight.linux.mm_types import HPAGE_PMD_NR, Mm, Result, huge_pages
from secondsight.linux.mremap import mremap_to
from secondsight.linux.mremap_in_place import mremap as kernel_mremap
from secondsight.linux.mremap_resized import mremap_resized as kernel_mremap_resized
from secondsight.scenario.ops import Arg, ArgType, ArgValue, HandleType, Often
from secondsight.world.declare import also, operation
from secondsight.world.operations.memory import ADDRESS, SPAN
from secondsight.world.tables import DONTUNMAP, RowNumber, address, flags, handles, high, low, makes, page, pages, value

__all__: list[str] = []


@atomic
def starts_alike(i: RowNumber) -> None:
    """Refuses what is not modelled of huge pages."""
    require((address[i] - page[i]) % HPAGE_PMD_NR == 0, "left-out", "huge pages that move to a place which does not begin as they do are not modelled")


def pages_of(args: Mapping[str, ArgValue], name: str) -> int:
    """An argument that is a number of pages."""
    pages = args[name]
    assert isinstance(pages, int)
    return pages


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
            starts_alike(i)
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
        return kernel_mremap(mm, address[i], pages[i], value[i], low[i], high[i])
    return 0


also(
    "mremap", "mremap_dontunmap",
    """`mremap` with MREMAP_DONTUNMAP: the pages move, and the old place stays mapped: private memory reads as zeros there, a memfd's pages are found in
    the memfd. Fails as `mremap` does, and with -EINVAL (a udmabuf).""",
    DONTUNMAP, takes=lambda args: {"vmas": 1, "frames": args["pages"]}, often=Often(4, 3, 3),
)  # fmt: skip


@operation(
    addr=ADDRESS,
    pages=SPAN,
    new_pages=Arg(ArgType.LENGTH, keyword=True),
    at=Arg(ArgType.PLACE, None, keyword=True, optional=True),
    makes=HandleType.MAPPING,
    pages_made=lambda args: pages_of(args, "new_pages"),
    remaps=True,
    takes_away=True,
    takes=lambda args: {"vmas": 1, "frames": args["new_pages"]},
    at_least=lambda args: {"anon_prepared": 1},
    asks={"mremap_resized": "mremap"},
    often=Often(6, 5, 6),
)
def mremap_resized(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`mremap` of `pages` pages that are to be `new_pages` at the new place: of fewer the rest goes, of more the rest is new memory, or the pages of the memfd that come next.
    Where nothing moves, what was to go behind the new end has gone all the same, but from Linux 6.17 on. Fails as `mremap` does, and with -EFAULT (it is to grow, and is a udmabuf's),
    -EAGAIN (it is to grow, is locked, and would be more than `limit_memlock` allows)."""
    if len(vmas[0].anon_prepared) > 0:
        if len(huge_pages) > 0:
            starts_alike(i)
        ret = kernel_mremap_resized(mm, address[i], pages[i], page[i], value[i], low[i], high[i])
        if ret < 0:
            return ret
        with atomic:
            handles[makes[i]].made = True
    return 0


@operation(
    addr=ADDRESS,
    pages=SPAN,
    new_pages=Arg(ArgType.LENGTH, keyword=True),
    makes=HandleType.MAPPING,
    pages_made=lambda args: pages_of(args, "new_pages"),
    remaps=True,
    takes_away=True,
    takes=lambda args: {"vmas": 1, "frames": args["new_pages"]},
    at_least=lambda args: {"anon_prepared": 1},
    often=Often(6, 5, 0),
)
def mremap_maymove(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """`mremap_in_place` with MREMAP_MAYMOVE: what cannot grow where it is moves to a place that the kernel chooses, and that is the mapping that comes into being. Where
    it has not moved none has, and the old one is as long as it was to be. A device on a real kernel does not reach the new place. Fails as `mremap_in_place`
    does, but for -ENOMEM."""
    if len(vmas[0].anon_prepared) > 0:
        ret = kernel_mremap(mm, address[i], pages[i], value[i], low[i], high[i], True, page[i])
        if ret < 0:
            return ret
        with atomic:
            handles[makes[i]].made = ret == page[i]
    return 0
