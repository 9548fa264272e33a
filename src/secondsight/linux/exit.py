"""kernel/exit.c: a process leaves its address space."""

from __future__ import annotations

from secondsight.lang import wait_until
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import exit_mmap
from secondsight.linux.sched_mm import mmput_testzero

__all__ = ["exit_mm"]


def exit_mm(mm: Mm) -> None:
    """exit_mm() (kernel/exit.c, Linux 6.12): the process's last thread is done with `mm`, and tears it down if nobody else is a user.

    Where somebody leaves by mmput_async(), it is the worker too that mmput_async_fn() runs in. Left out: everything else that an exit closes. Files that nobody can reach any more keep their pages.
    """
    last = mmput_testzero(mm)
    if len(mm.async_put) > 0:
        wait_until(mm.users == 0)
        last = last or mm.async_put[0]
    if last:
        exit_mmap(mm)
