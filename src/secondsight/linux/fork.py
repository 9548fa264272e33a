"""kernel/fork.c: address spaces come and go with their users.

An mm lives while `users` (mm_users) is not 0: its process, and whoever got hold of it by `mmget_not_zero`. The
last one to leave tears it down (`mmap.exit_mmap`).

Left out: fork itself; mm_count. The teardown is always run by the exiting process (see `exit.exit_mm`), which
waits for the others to leave, where in the kernel the last to leave runs it. So an mmput() under a lock that a
callback takes is not found to deadlock: may hide a bug.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, pool, require, tracepoint
from secondsight.linux.mm_types import Mm

__all__ = ["mm_alloc", "mm_touch", "mmget_not_zero", "mmput", "mms"]

mms = pool(Mm, "mms")


@tracepoint
def mm_touch(mm: Mm) -> None:
    """Somebody walks the page tables of an mm, or changes them, who must be a user of it."""


@atomic
def mm_alloc() -> Mm:
    """mm_alloc() (kernel/fork.c, Linux 6.12): an empty address space with one user."""
    mm = mms.alloc()
    mm.users = 1
    return mm


@atomic
def mmget_not_zero(mm: Ref[Mm]) -> bool:
    """mmget_not_zero() (include/linux/sched/mm.h, Linux 6.12): become a user, unless the last one has gone."""
    assert mm is not None
    if mm.users == 0:
        return False
    mm.users += 1
    return True


@atomic
def mmput(mm: Mm) -> None:
    """mmput() (kernel/fork.c, Linux 6.12): stop being a user; as mmput_async(), never tears down in the caller."""
    require(mm.users > 0, "use-after-free", "drops an mm that has no users")
    mm.users -= 1
