"""The machinery that Linux shares process memory with devices by, as a model: one file for each kernel source file.

Where to look: who owns what in `mm_types`; a CPU's access in `fault`, faults and zaps in `memory`; mapping in
`mmap` and `vma`; subscribers in `mmu_notifier`, mirroring in `hmm` (and `hmm_2019`, as it was in Linux 5.3);
memfds in `memfd` and `shmem`; device memory in `memremap` and `dax`; buffers in `dma_buf` and `udmabuf`. Releases
are named by every function; unless it says otherwise, Linux 6.12.
"""

from __future__ import annotations

from secondsight.lang.errors import LangError
from secondsight.linux.errno import (
    EAGAIN,
    EBADF,
    EBADFD,
    EBUSY,
    EEXIST,
    EFAULT,
    EINVAL,
    ENOENT,
    ENOMEM,
    ENXIO,
    EPERM,
    SIGBUS,
    SIGSEGV,
)

__all__ = [
    "EAGAIN",
    "EBADF",
    "EBADFD",
    "EBUSY",
    "EEXIST",
    "EFAULT",
    "EINVAL",
    "ENOENT",
    "ENOMEM",
    "ENXIO",
    "EPERM",
    "SIGBUS",
    "SIGSEGV",
    "bounds",
]

SMALLEST = {
    "frames": 4,
    "mms": 1,
    "pages": 2,
    "vmas": 2,
    "subscribers": 1,
    "mmu_notifiers": 0,
    "finishes": 0,
    "non_blocks": 1,
    "files": 0,
    "file_pages": 0,
    "pagemaps": 0,
    "dax_devices": 0,
    "hmms": 0,
    "hmm_ranges": 0,
    "mirrors": 0,
    "udmabufs": 0,
    "dmabuf_pages": 0,
    "attachments": 0,
    "create_items": 0,
    "quarantine": 0,
}
"""Every bound of the machinery, and the least that the reference mirror of anonymous memory needs. There are never more vmas
than pages to map; `vmas` is for a machine with fewer."""


LARGEST = {"frames": 16, "pages": 14, "vmas": 56, "file_pages": 15, "dmabuf_pages": 15, "mmu_notifiers": 8, "subscribers": 15}
"""What a bound may be at most: frames and pages of an address space are kept in bit masks, counts end at 15."""


def bounds(**wanted: int) -> dict[str, int]:
    """All bounds for `Machine(bounds=...)`: `SMALLEST` with what is wanted instead.

    Raises `LangError` for an unknown name or a number that is too large.

    >>> bounds(frames=5, pages=3)["pages"]
    3
    """
    for name, number in wanted.items():
        if name not in SMALLEST:
            raise LangError(f"there is no bound {name}; there are {', '.join(SMALLEST)}")
        largest = LARGEST.get(name, 15)
        if not 0 <= number <= largest:
            raise LangError(f"{name}={number}: the machine can have 0 to {largest}")
    sizes = SMALLEST | wanted
    return sizes | {"vmas": min(wanted.get("vmas", LARGEST["vmas"]), sizes["pages"] * sizes["mms"])}
