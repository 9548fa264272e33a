"""Implicit on-demand paging (drivers/infiniband/hw/mlx5/odp.c): a region without pages is ended by a worker, and two invalidations may both find it without.

CVE-2025-21714: each had the worker end it. mlx5_ib_invalidate_range() calls destroy_unused_implicit_child_mr() under the region's mutex; who takes it out of its parent's array
(__xa_cmpxchg()) queues the work, and nobody else.
"""

from __future__ import annotations

from typing import Literal

import pytest
from linux_world import A, broken_rule, world

from secondsight.lang import Array, Mutex, Record, Ref, atomic, out_of_records, pool, shared, wait_until
from secondsight.lang.program import Thread
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fault import cpu_write
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.mm_types import Count, IntervalNotifier, Mm, Range, Seq
from secondsight.linux.mmap import do_mmap


class Child(IntervalNotifier):
    """A memory region that the device's faults have made, of one page (struct mlx5_ib_mr with its umem_odp)."""

    umem_mutex: Mutex
    npages: Count

    def invalidate(self, rng: Range, cur_seq: Seq) -> bool:
        """mlx5_ib_invalidate_range()."""
        with self.umem_mutex, atomic:
            mn.mmu_interval_set_seq(self, cur_seq)
            self.npages = 0
            destroy_unused(self)
        return True


class Parent(Record):
    """The implicit region: the children that it has, and those that a worker is to end. `asks`: who queues one looks first whether it is there still."""

    asks: bool
    child: Ref[Child]
    works: Array[Ref[Child], Literal[3]]


children = pool(Child, "subscribers")
parent = shared(Parent)


@atomic
def destroy_unused(child: Child) -> None:
    """destroy_unused_implicit_child_mr()."""
    if parent.asks and parent.child is not child:
        return
    parent.child = None
    for i in range(len(parent.works)):
        if parent.works[i] is None:
            parent.works[i] = child
            return
    out_of_records("subscribers")


def worker() -> None:
    """free_implicit_child_mr_work()."""
    for i in range(len(parent.works)):
        wait_until(parent.works[i] is not None)
        with atomic:
            child = parent.works[i]
            assert child is not None
        mn.mmu_interval_notifier_remove(child)
        children.free(child)


def forgets(mm: Mm) -> None:
    """An invalidation."""
    madvise_dontneed(mm, 0, 1)


@pytest.mark.parametrize("asks, rules", [(True, {None}), (False, {"use-after-free", "removed-twice", "double-free"})])
def test_a_region_is_ended_once(asks: bool, rules: set[str | None]) -> None:
    with world(None, subscribers=1, pages=2) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        child = children.alloc()
        assert mn.mmu_interval_notifier_insert(child, mm, 0, 1) == 0
        child.npages = 1
        parent.child, parent.asks = child, asks
        threads = [Thread("first", forgets, (mm,)), Thread("second", forgets, (mm,)), Thread("worker", worker, (), daemon=True)]
        assert broken_rule(machine, *threads) in rules
