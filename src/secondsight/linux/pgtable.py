"""include/linux/pgtable.h, arch/x86/include/asm/pgtable.h: what a page-table entry is."""

from __future__ import annotations

from secondsight.lang import Ref, atomic
from secondsight.linux.mm_types import Folio, Pte, PteKind
from secondsight.linux.page_alloc import is_zero_page

__all__ = ["folio_kept_by", "pte_none", "pte_present", "vm_normal_folio"]


@atomic
def pte_none(pte: Pte) -> bool:
    """pte_none() (arch/x86/include/asm/pgtable.h, Linux 6.12): nothing was ever put there, or it was cleared."""
    return pte.frame is None and pte.kind == PteKind.PRESENT


@atomic
def pte_present(pte: Pte) -> Ref[Folio]:
    """pte_present() and pte_page() (arch/x86/include/asm/pgtable.h, Linux 6.12): the folio whose page the CPU finds; None: it
    faults."""
    return pte.frame if pte.kind == PteKind.PRESENT else None


@atomic
def vm_normal_folio(pte: Pte) -> Ref[Folio]:
    """vm_normal_folio() (mm/memory.c, Linux 6.12) of an entry that is present: the folio that it holds a reference to.

    None: none, as of the zero page and of an entry that is pte_special or pte_devmap.
    """
    folio = pte_present(pte)
    if folio is None or is_zero_page(folio) or pte.special:
        return None
    return folio


@atomic
def folio_kept_by(pte: Pte) -> Ref[Folio]:
    """The folio that an entry holds a reference to, whether a CPU can reach it or not: that of a device-exclusive entry too."""
    return pte.frame if pte.kind == PteKind.DEVICE_EXCLUSIVE else vm_normal_folio(pte)
