"""The machinery that Linux shares process memory with devices by, as a model: one file for each kernel source file.

Where to look: who owns what in `mm_types`; a CPU's access in `fault`, faults and zaps in `memory`; mapping in
`mmap` and `vma`; subscribers in `mmu_notifier`, mirroring in `hmm` (and `hmm_2019`, as it was in Linux 5.3);
memfds in `memfd` and `shmem`; device memory in `memremap` and `dax`; buffers in `dma_buf` and `udmabuf`. Releases
are named by every function; unless it says otherwise, Linux 6.12.
"""

from __future__ import annotations

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
    "subscribers": 1,
    "mmu_notifiers": 0,
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
}
"""Every bound of the machinery, and the least that the reference mirror of anonymous memory needs."""


def bounds(**wanted: int) -> dict[str, int]:
    """All bounds for `Machine(bounds=...)`: `SMALLEST` with what is wanted instead. An unknown name is an error.

    >>> bounds(frames=5, pages=3)["pages"]
    3
    """
    unknown = set(wanted) - set(SMALLEST)
    if unknown:
        raise ValueError(f"no such bound: {', '.join(sorted(unknown))}; there are {', '.join(SMALLEST)}")
    return SMALLEST | wanted
