"""lib/percpu-refcount.c: a reference count that can be killed: from then on no new references, and its end can be
awaited.

Left out: the per-CPU counters. Getting, killing and putting are one step each, as they are with the atomic counter
it becomes when killed; the grace period of the switch, which lets a getter that has begun finish, is part of that
step.
"""

from __future__ import annotations

from secondsight.lang import Record, atomic, milestone, require, wait_until
from secondsight.linux.mm_types import Count

__all__ = [
    "PercpuRef",
    "percpu_ref_init",
    "percpu_ref_is_zero_wait",
    "percpu_ref_kill",
    "percpu_ref_put",
    "percpu_ref_tryget_live",
]


class PercpuRef(Record):
    """struct percpu_ref."""

    count: Count
    dying: bool


@atomic
def percpu_ref_init(ref: PercpuRef) -> None:
    """percpu_ref_init() (lib/percpu-refcount.c, Linux 6.12): alive, with the initial reference."""
    ref.count = 1
    ref.dying = False


@atomic
def percpu_ref_tryget_live(ref: PercpuRef) -> bool:
    """percpu_ref_tryget_live() (include/linux/percpu-refcount.h, Linux 6.12): a reference, unless it was killed."""
    if ref.dying:
        return False
    ref.count += 1
    return True


@atomic
def percpu_ref_put(ref: PercpuRef) -> None:
    """percpu_ref_put() (include/linux/percpu-refcount.h, Linux 6.12).

    The initial reference is dropped by `percpu_ref_kill` alone: before that the kernel counts on each CPU and does not
    notice an end.
    """
    require(ref.count > 1 or (ref.dying and ref.count > 0), "refcount", "drops a reference that nobody holds")
    ref.count -= 1


@milestone
@atomic
def percpu_ref_kill(ref: PercpuRef) -> None:
    """percpu_ref_kill() (lib/percpu-refcount.c, Linux 6.12): no new references; the initial one is dropped."""
    require(not ref.dying, "refcount", "kills a reference count twice")
    require(ref.count > 0, "refcount", "kills a reference count that nobody has begun")
    ref.dying = True
    ref.count -= 1


def percpu_ref_is_zero_wait(ref: PercpuRef) -> None:
    """Wait for the last reference to go: what the release callback of the count is used for."""
    wait_until(ref.count == 0)
