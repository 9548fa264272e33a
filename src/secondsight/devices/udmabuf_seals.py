"""A buffer of a memfd's pages that may be written by a device, and a seal that forbids writing to the file.

    udmabuf_create              looks at the seals and pins under the inode's lock; who adds a seal takes it for writing (Linux 6.12)
    create_unlocked             wrong: looks, then pins, without the lock: a seal that comes in between finds no page held

Whoever trusts the seal reads the file twice and finds the same.
"""

from __future__ import annotations

from secondsight.lang import Char, require
from secondsight.linux.memfd import memfd_add_seals
from secondsight.linux.mm_types import Result
from secondsight.linux.shmem import F_SEAL_WRITE, ShmemFile
from secondsight.linux.udmabuf import check_memfd_seals, udmabuf_add_folio, udmabuf_create, udmabufs

__all__ = ["create_and_write", "create_unlocked", "create_unlocked_and_write", "trust_the_seal"]


def create_unlocked(memfd: ShmemFile) -> Result:
    """A buffer of the memfd's first page: its place in `udmabufs`, or an error."""
    ret = check_memfd_seals(memfd)
    if ret != 0:
        return ret
    ubuf = udmabufs.alloc()
    ubuf.f_count = 1
    udmabuf_add_folio(ubuf, memfd, 0)
    return udmabufs.index(ubuf)


def write_by_device(at: Result, value: Char) -> None:
    """A device writes to the buffer."""
    if at >= 0:
        folio = udmabufs[at].folios[0]
        assert folio is not None
        folio.contents = value


def create_and_write(memfd: ShmemFile, value: Char) -> None:
    """Somebody makes a buffer and has a device write to it."""
    at = udmabuf_create(memfd, 0, 1)
    write_by_device(at, value)


def create_unlocked_and_write(memfd: ShmemFile, value: Char) -> None:
    """The same by `create_unlocked`."""
    at = create_unlocked(memfd)
    write_by_device(at, value)


def trust_the_seal(memfd: ShmemFile) -> None:
    """Seal the file against writing, and read it twice."""
    ret = memfd_add_seals(memfd, F_SEAL_WRITE)
    if ret == 0:
        first = read_file(memfd)
        second = read_file(memfd)
        require(first == second, "sealed", "a file that is sealed against writing has changed")


def read_file(memfd: ShmemFile) -> Result:
    """What the first page of the file has."""
    folio = memfd.pages[0]
    assert folio is not None
    return folio.contents
