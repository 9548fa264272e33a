"""include/linux/sched/mm.h, and of kernel/fork.c what it declares: address spaces go with their users.

An mm lives while `users` (mm_users) is not 0: its process, and whoever got hold of it by `mmget_not_zero`. The last one to leave
tears it down, whoever that is: subscribers are called, and locks of the mm are taken, in the middle of its mmput().

Left out: mm_count.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, bound, out_of_records, require, shared_array
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import exit_mmap
from secondsight.linux.page_alloc_slowpath import might_sleep

__all__ = ["last_mmput", "mmget_not_zero", "mmput", "mmput_async", "mmput_testzero"]

last_mmput = shared_array(bool, bound("last_mmput", least=1, most=1))
"""Whether anybody but an ending process may be the last user of an mm: where none ends, nobody is."""


@atomic
def mmget_not_zero(mm: Ref[Mm]) -> bool:
    """mmget_not_zero() (include/linux/sched/mm.h, Linux 6.12): become a user, unless the last one has gone."""
    assert mm is not None
    if mm.users == 0:
        return False
    mm.users += 1
    return True


def mmput(mm: Mm) -> None:
    """mmput(), __mmput() (kernel/fork.c, Linux 6.12): stop being a user; the last one tears the address space down, here and now.

    The caller may hold no lock that the end of an address space takes: not the mm's, and none of a subscriber's callbacks. One in a callback
    is refused as a recursion, which it is: `mmput_async`. It may sleep, the last one or not (might_sleep()).
    """
    with atomic:
        might_sleep()
        last = mmput_testzero(mm)
        if len(last_mmput) == 0:
            if last:
                out_of_records("last_mmput")
    if len(last_mmput) > 0:
        if last:
            exit_mmap(mm)


@atomic
def mmput_async(mm: Mm) -> None:
    """mmput_async() (kernel/fork.c, Linux 6.12): the same where the caller may not sleep; a worker tears down.

    That worker is the process that has ended (`exit.exit_mm`). None has ended: the mm was dropped once too often, and nobody tears it down.
    """
    last = mmput_testzero(mm)
    if len(mm.async_put) == 0:
        out_of_records("async_puts")
    elif last:
        mm.async_put[0] = True


@atomic
def mmput_testzero(mm: Mm) -> bool:
    """atomic_dec_and_test() of mm_users in mmput() (kernel/fork.c, Linux 6.12): whether it was the last user that has left."""
    require(mm.users > 0, "use-after-free", "drops an mm that has no users")
    mm.users -= 1
    return mm.users == 0
