"""Rules for who imports a buffer: the frames that a mapping names must still be the buffer's."""

from __future__ import annotations

from secondsight.lang import atomic, require, rule
from secondsight.linux.dma_buf import DmaBufAttachment, importer_access
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Folio, Mm, Pgoff, Va
from secondsight.linux.pgtable import pte_present

__all__ = ["no_freed_frame"]


@rule("no-freed-frame", on=importer_access)
def no_freed_frame(attach: DmaBufAttachment, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """An importer uses no frame that is free, and none that is a process's anonymous memory by now.

    At no moment: the frame of a page that moves is freed only after move_notify has returned. Source:
    include/linux/dma-buf.h (move_notify) and Documentation/driver-api/dma-buf.rst.
    """
    require(frame.refcount > 0, "no-freed-frame", "the importer used a frame that was freed")
    for mm in mms:
        require(not is_anonymous(mm, frame), "no-freed-frame", "the importer used a frame that is somebody's anonymous memory")


def is_anonymous(mm: Mm, frame: Folio) -> bool:
    """Whether the process has the frame as anonymous memory."""
    return any(pte_present(mm.ptes[va]) is frame and is_private(mm, va) for va in range(len(mm.ptes)))


@atomic
def is_private(mm: Mm, va: Va) -> bool:
    """Whether anonymous memory is mapped at a page."""
    vma = mm.mm_mt[va]
    return vma is not None and vma.vm_file is None
