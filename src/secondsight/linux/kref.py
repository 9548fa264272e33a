"""include/linux/kref.h, lib/refcount.c: a count of references whose end somebody is told of.

What the kernel warns of, and what its count then does not survive (it stays where it is for ever), is the broken rule `refcount`.
"""

from __future__ import annotations

from secondsight.lang import Record, atomic, require
from secondsight.linux.mm_types import Count

__all__ = ["Kref", "kref_get", "kref_init", "kref_put"]


class Kref(Record):
    """struct kref."""

    refcount: Count


@atomic
def kref_init(kref: Kref) -> None:
    """kref_init() (include/linux/kref.h, Linux 6.12): one reference, whatever there was."""
    kref.refcount = 1


@atomic
def kref_get(kref: Kref) -> None:
    """kref_get() (include/linux/kref.h, Linux 6.12). "addition on 0": what it counts is gone."""
    require(kref.refcount > 0, "refcount", "takes a reference to what has none")
    kref.refcount += 1


@atomic
def kref_put(kref: Kref) -> bool:
    """kref_put() (include/linux/kref.h, Linux 6.12): whether it was the last, so that the caller has to do what `release` does."""
    require(kref.refcount > 0, "refcount", "drops a reference that nobody holds")
    kref.refcount -= 1
    return kref.refcount == 0
