"""kernel/rcu/srcutree.c, include/linux/srcu.h: sleepable read-copy-update, of which there is one domain here.

    idx = srcu_read_lock()      what is read from here on stays
    srcu_read_unlock(idx)
    synchronize_srcu()          all who were reading when it was called have ended

Left out: the kernel's counters of each CPU.
"""

from __future__ import annotations

from typing import Annotated, Literal

from secondsight.lang import Array, Bounds, Mutex, Record, atomic, shared, wait_until
from secondsight.linux.mm_types import Count

__all__ = ["SrcuIndex", "srcu", "srcu_read_lock", "srcu_read_unlock", "synchronize_srcu"]

SrcuIndex = Annotated[int, Bounds(0, 1)]


class Srcu(Record):
    """struct srcu_struct: walks over lists of mmu notifiers in all mms, in two generations. `idx` is that of new ones.

    `grace_period` is held while those of the other generation are waited for.
    """

    grace_period: Mutex
    idx: SrcuIndex
    readers: Array[Count, Literal[2]]


srcu = shared(Srcu)


@atomic
def srcu_read_lock() -> SrcuIndex:
    """srcu_read_lock() (include/linux/srcu.h, Linux 6.12): which of the two counters the reader is in."""
    srcu.readers[srcu.idx] += 1
    return srcu.idx


@atomic
def srcu_read_unlock(idx: SrcuIndex) -> None:
    """srcu_read_unlock() (include/linux/srcu.h, Linux 6.12)."""
    srcu.readers[idx] -= 1


def synchronize_srcu() -> None:
    """synchronize_srcu() (kernel/rcu/srcutree.c, Linux 6.12): wait for the readers that are there now.

    As there, readers that come later use the other counter, and one grace period runs at a time. Left out: the kernel
    looks at both counters a second time, for the sake of memory order, and lets waiters share a grace period.
    """
    with atomic:
        srcu.grace_period.lock()
        wait_until(srcu.readers[1 - srcu.idx] == 0)
        old = srcu.idx
        srcu.idx = 1 - old
    with atomic:
        wait_until(srcu.readers[old] == 0)
        srcu.grace_period.unlock()
