"""Who meets whom in the cells of the table about helpers that fault in a range: the device, and a process that takes pages away beside it."""

from __future__ import annotations

from secondsight.devices.hmm_retry import RangeMirror, signals
from secondsight.lang import U8, atomic, require
from secondsight.linux.fault import cpu_write
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap

__all__ = ["THREADS", "forgets", "forgets_for_ever", "gets_the_page", "is_killed", "maps_again", "uses_both"]


# The device.


def uses_both(gpu: RangeMirror) -> None:
    """The device reads both pages, and writes the first; whether it may is not asked."""
    gpu.read(1)
    gpu.read(0)
    gpu.write(0, 100)


def gets_the_page(gpu: RangeMirror) -> None:
    """The device reads the second page, and gets it."""
    ret = gpu.read(1)
    require(ret >= 0, "access", "the device's access fails, and a CPU's would not")


def tries_the_page(gpu: RangeMirror) -> None:
    """The device reads the second page, or there is an error: it comes to an end."""
    gpu.read(1)


# What happens beside it.


def forgets(mm: Mm, times: U8) -> None:
    """The first page's contents are forgotten, and it is written again, so many times."""
    for _ in range(times):
        madvise_dontneed(mm, 0, 1)
        cpu_write(mm, 0, 98)


def forgets_for_ever(mm: Mm) -> None:
    """The first page is taken away again and again."""
    while True:
        madvise_dontneed(mm, 0, 1)


def maps_again(mm: Mm) -> None:
    """Both pages are unmapped, and others mapped there."""
    vm_munmap(mm, 0, 2)
    do_mmap(mm, 0, 2, None, 0, True)
    cpu_write(mm, 0, 98)


def is_killed(mm: Mm) -> None:
    """A fatal signal comes."""
    with atomic:
        signals.fatal = True
        mm.userfaultfd[0].dying = True


THREADS = (uses_both, gets_the_page, tries_the_page, forgets, forgets_for_ever, maps_again, is_killed)
"""All of them: the cells share their code."""
