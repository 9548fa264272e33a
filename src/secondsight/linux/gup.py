"""mm/gup.c: pinning a memfd's pages. A pin keeps a page from being freed; it does not keep it in the file.

Left out: pinning by address (pin_user_pages), moving pages out of movable zones first.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone, require
from secondsight.linux.errno import EINVAL
from secondsight.linux.mm_types import Folio, Pgoff
from secondsight.linux.page_alloc import get_page, put_page
from secondsight.linux.shmem import ShmemFile, shmem_get_folio

__all__ = ["memfd_pin_folio", "memfd_pin_valid", "try_grab_folio", "unpin_folio"]


@atomic
def try_grab_folio(folio: Folio) -> None:
    """try_grab_folio(FOLL_PIN) (mm/gup.c, Linux 6.12): one pin, and the reference that goes with it."""
    get_page(folio)
    folio.pins += 1


@milestone
@atomic
def unpin_folio(folio: Folio) -> None:
    """unpin_folio() (mm/gup.c, Linux 6.12): give a pin back."""
    require(folio.pins > 0, "pins", "unpins a page that is not pinned")
    folio.pins -= 1
    put_page(folio)


@atomic
def memfd_pin_valid(file: ShmemFile, start: Pgoff, length: Pgoff) -> Errno:
    """The checks of memfd_pin_folios() (mm/gup.c, Linux 6.12): 0, or -EINVAL beyond the end of the file."""
    if length <= 0 or start + length > file.nr_pages:
        return -EINVAL
    return 0


@milestone
@atomic
def memfd_pin_folio(file: ShmemFile, pgoff: Pgoff) -> Folio:
    """memfd_pin_folios() (mm/gup.c, Linux 6.12) for one page: find it, or fill the hole, and pin it.

    A page found in the file is taken without its lock, even while it is being truncated.
    """
    folio = file.pages[pgoff]
    if folio is None:
        folio = shmem_get_folio(file, pgoff)
    try_grab_folio(folio)
    return folio
