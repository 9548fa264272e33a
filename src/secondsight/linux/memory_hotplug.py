"""mm/memory_hotplug.c: a block of memory is taken offline: emptied by migration, and no memory any more.

Left out: memory that comes; who asks (virtio-mem, ACPI, /sys/devices/system/memory); callbacks (MEM_GOING_OFFLINE).
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone
from secondsight.linux.errno import EINTR
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_isolation import migrate_range, start_isolate_page_range, test_pages_isolated, undo_isolate_page_range

__all__ = ["offline_pages"]


@milestone
def offline_pages() -> Errno:
    """offline_pages() (mm/memory_hotplug.c, Linux 6.12): take the block offline: 0; -EBUSY where it cannot be isolated; -EINTR.

    The kernel goes on for as long as a page that is on a list of reclaim's is left, until a signal comes: user space gives it a time.
    Here the signal comes after the first round: if then a page is held, it could be held for ever.
    """
    ret = start_isolate_page_range(False)
    if ret != 0:
        return ret
    block = pageblocks[0]
    migrate_range(block)
    with atomic:
        block.offline = test_pages_isolated(block)
        undo_isolate_page_range()
        return 0 if block.offline else -EINTR
