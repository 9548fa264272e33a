"""kernel/exit.c: a process leaves its address space."""

from __future__ import annotations

from secondsight.lang import wait_until
from secondsight.linux.fork import mmput
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import exit_mmap

__all__ = ["exit_mm"]


def exit_mm(mm: Mm) -> None:
    """exit_mm() (kernel/exit.c, Linux 6.12): the process's last thread is done with `mm`; see `fork` for who tears
    it down.

    Left out: everything else that an exit closes. Files that nobody can reach any more keep their pages.
    """
    mmput(mm)
    wait_until(mm.users == 0)
    exit_mmap(mm)
