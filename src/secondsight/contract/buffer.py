"""Rules for who imports a buffer: the frames that a mapping names must still be the buffer's."""

from __future__ import annotations

from secondsight.devices.job import job_access
from secondsight.lang import atomic, require, rule
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment, importer_access
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Folio, Mm, Pgoff, Va
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.pgtable import pte_present

__all__ = ["job_on_the_buffers_memory", "no_freed_frame"]


@rule("no-freed-frame", on=importer_access)
def no_freed_frame(attach: DmaBufAttachment, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """An importer uses no frame that is free, and none that is a process's anonymous memory by now.

    At no moment: the frame of a page that moves is freed only after move_notify has returned. Source:
    include/linux/dma-buf.h (move_notify) and Documentation/driver-api/dma-buf.rst.
    """
    require(page_folio(frame).refcount > 0, "no-freed-frame", "the importer used a frame that was freed")
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


@rule("no-freed-frame", on=job_access)
def job_on_the_buffers_memory(buffer: DmaBuf, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """Work in flight uses no memory that is not the buffer's any more: the exporter has waited for it.

    Until then it may use what it was given, whatever importers were told. Sources: include/linux/dma-buf.h (dma_buf.resv, DYNAMIC
    IMPORTER RULES), drivers/dma-buf/dma-buf.c of Linux 7.2 (dma_buf_invalidate_mappings()).
    """
    require(page_folio(frame).refcount > 0, "no-freed-frame", "a job used memory that was freed")
    is_storage = buffer.has_storage(frame)
    require(is_storage, "no-freed-frame", "a job used memory that is not the buffer's any more")
