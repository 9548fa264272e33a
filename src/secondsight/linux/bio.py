"""block/bio.c: direct I/O, which reads from a disk into the pages of a process without a copy.

    bio_iov_iter_get_pages()    the pages of the buffer are pinned, for writing
    (the disk writes to them)   at any time, whatever is mapped at the address by then
    bio_release_pages()         each is set dirty under its lock, and unpinned

A buffer need not be whole pages: here it is the second half of one (`highmem`). Before pages were pinned direct I/O took references
to them (see `releases`, direct-io-by-reference), which a fork does not look at. Left out: writing to the disk; buffers of several
pages; a file's mapping as the disk; who waits for the disk being killed.
"""

from __future__ import annotations

from secondsight.lang import Char, Errno, atomic, milestone, tracepoint
from secondsight.linux.gup import FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, unpin_user_page
from secondsight.linux.mm_types import Mm, Pfn, Va
from secondsight.linux.page_alloc import frame_touch, frames, put_page
from secondsight.linux.page_writeback import set_page_dirty_lock

__all__ = ["bio_iov_iter_get_pages", "bio_release_pages", "blkdev_direct_read", "directly_read"]


@tracepoint
def directly_read(mm: Mm, va: Va, value: Char) -> None:
    """A direct read of `value` into the second half of the page at `va` is about to return."""


@milestone(quiet=True)
def blkdev_direct_read(mm: Mm, va: Va, value: Char, by_reference: bool) -> Errno:
    """__blkdev_direct_IO_simple() (block/fops.c, Linux 6.12) of a read: 0, or -EFAULT.

    `by_reference`: see `releases` (direct-io-by-reference).
    """
    pfn = bio_iov_iter_get_pages(mm, va, by_reference)
    if pfn < 0:
        return pfn
    fill(pfn, value)
    bio_release_pages(pfn, by_reference)
    directly_read(mm, va, value)
    return 0


def bio_iov_iter_get_pages(mm: Mm, va: Va, by_reference: bool) -> Pfn:
    """bio_iov_iter_get_pages() (block/bio.c), iov_iter_extract_user_pages() (lib/iov_iter.c, Linux 6.12): the page, or -EFAULT."""
    return pin_user_pages_fast(mm, va, FOLL_WRITE if by_reference else FOLL_PIN | FOLL_WRITE)


@milestone(quiet=True)
@atomic
def fill(pfn: Pfn, value: Char) -> None:
    """The disk writes to the second half of the page."""
    frame_touch(frames[pfn], True)
    frames[pfn].second[0] = value


def bio_release_pages(pfn: Pfn, by_reference: bool) -> None:
    """__bio_release_pages(mark_dirty) (block/bio.c, Linux 6.12)."""
    set_page_dirty_lock(frames[pfn])
    with atomic:
        if by_reference:
            put_page(frames[pfn])
        else:
            unpin_user_page(frames[pfn])
