"""The machinery that Linux shares process memory with devices by, as a model: one file for each kernel source file.

Where to look: who owns what in `mm_types`; a CPU's access in `fault`, faults in `memory`, taking entries away in `memory_zap`; mapping in
`mmap` and `vma`, moving in `mremap`; subscribers in `mmu_notifier`, mirroring in `hmm` (and `hmm_2019`, as it was in Linux 5.3);
memfds in `memfd` and `shmem`; files on a disk in `ext4_inode`; device memory in `memremap` and `dax`; memory that must stay movable in `mmzone`, and who empties it in `memory_hotplug` and `cma`; what is locked in `util`; direct I/O in `bio`; faults and changes that user space is told of in `userfaultfd`; buffers in `dma_buf` and `udmabuf`, the fences of work on them in `dma_resv` and `dma_fence`. Releases
are named by every function; unless it says otherwise, Linux 6.12.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secondsight.lang.errors import LangError
from secondsight.lang.machines import Bound
from secondsight.lang.names import there_are
from secondsight.linux.errno import (
    EACCES,
    EAGAIN,
    EBADF,
    EBADFD,
    EBUSY,
    EEXIST,
    EFAULT,
    EINTR,
    EINVAL,
    ENODEV,
    ENOENT,
    ENOMEM,
    ENXIO,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    ESRCH,
    SIGBUS,
    SIGSEGV,
)

__all__ = [
    "EACCES",
    "EAGAIN",
    "EBADF",
    "EBADFD",
    "EBUSY",
    "EEXIST",
    "EFAULT",
    "EINTR",
    "EINVAL",
    "ENODEV",
    "ENOENT",
    "ENOMEM",
    "ENXIO",
    "EOPNOTSUPP",
    "EOVERFLOW",
    "EPERM",
    "ESRCH",
    "SIGBUS",
    "SIGSEGV",
    "BOUNDS",
    "bounds",
    "by_hand",
]

BOUNDS = Bound.declared
"""Every bound of the machinery by its name: each is declared beside the first array that it sizes."""


def bounds(**wanted: int) -> dict[str, int]:
    """All bounds for `Machine(bounds=...)`: the least of each, which is enough for the reference mirror of anonymous memory, with what
    is wanted instead. What a user decides by hand (`by_hand`) comes before that. There are never more vmas than pages to map.

    Raises `LangError` for an unknown name or a number that is too large.

    >>> bounds(frames=5, pages=3)["pages"]
    3
    """
    for name, number in wanted.items():
        if name not in BOUNDS:
            raise LangError(f"there is no bound {name}; {there_are(name, BOUNDS, 'secondsight list bounds')}")
        least = int(name == "frames")  # the zero page is one, on every machine
        if not least <= number <= BOUNDS[name].most:
            raise LangError(f"{name}={number}: the machine can have {least} to {BOUNDS[name].most}")
    sizes = {name: one.least for name, one in BOUNDS.items()} | wanted | _by_hand
    sizes["vma_locks"] = max(sizes["vma_locks"], sizes["madvise_locks_vma"])
    sizes["anon_prepared"] = max(sizes["anon_prepared"], sizes["huge"], sizes["vma_locks"])
    sizes["hugetlb_vma_lock"] = min(1, sizes["hugetlb_files"])
    return sizes | {"vmas": min((wanted | _by_hand).get("vmas", BOUNDS["vmas"].most), sizes["pages"] * sizes["mms"])}


_by_hand: dict[str, int] = {}


@contextmanager
def by_hand(**decided: int) -> Iterator[None]:
    """Within the block every machine has these bounds, whatever is wanted."""
    bounds(**decided)
    before = dict(_by_hand)
    _by_hand.update(decided)
    try:
        yield
    finally:
        _by_hand.clear()
        _by_hand.update(before)


from secondsight.linux import (  # noqa: E402, F401  all that declare bounds, and what these import
    cma,
    dax,
    dma_iommu,
    ext4_inode,
    fs_dax,
    hmm_2019,
    memory_hotplug,
    migrate_device,
    mmu_notifier,
    udmabuf,
    util,
)
