"""Bugs that people found in kernels, VMMs and libraries, each with who shows it here: a small driver that is wrong in the same way, and a right one.

Where the wrong code was the kernel's own, a driver plays its part as far as another driver, or the device, can see. What cannot be
played so has a reason. docs/bugs.md is this table (`make docs`); tests run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secondsight.devices.device import Device
from secondsight.devices.gfn_to_pfn_cache import GfnToPfnCache
from secondsight.devices.mirror import Mirror, MirrorDereferencesLater
from secondsight.devices.small import (
    ImporterRevokesItsKey,
    ImporterRevokesItsKeyUnlocked,
    LeavesBeforeTheEnd,
    MarksIfItGetsTheLock,
    MarksUnderThePageLock,
    MarksUnlocked,
    MarksWhenItDrops,
    MayNotSleep,
    PassesOverTheReaper,
    PinsFilesForAMoment,
    RevokesItsKey,
    RevokesItsKeyUnlocked,
    Vcpu,
    VcpuLeftCounting,
    VcpuMayRefuse,
)
from secondsight.devices.small.gfn_to_pfn_cache import GpcCountsTooLate, GpcDeactivatesMeanwhile, GpcUsedInactive
from secondsight.devices.vfio_type1 import VfioType1, VfioWithoutLongterm

__all__ = ["BUGS", "WithAdversary", "Bug", "Cells", "InTest", "page"]


@dataclass(frozen=True)
class WithAdversary:
    """An adversary, the rule that the wrong driver breaks there, and a right driver that keeps it."""

    adversary: str
    rule: str
    wrong: type[Device]
    right: type[Device]


@dataclass(frozen=True)
class Cells:
    """A table, the row and the column of a cell that is broken, and of one that holds."""

    table: str
    wrong: tuple[str, str]
    right: tuple[str, str]


@dataclass(frozen=True)
class InTest:
    """A test that has both: its file and its function."""

    file: str
    test: str


@dataclass(frozen=True)
class Bug:
    """A bug: where it was, its mend (a commit, or where it was told of), what went wrong, and who shows it. `reason`: what is not shown, and why."""

    where: str
    mend: str
    what: str
    shown: tuple[WithAdversary | Cells | InTest, ...]
    reason: str = ""


BUGS: tuple[Bug, ...] = (
    Bug(
        "mm/oom_kill.c, KVM",
        "4d4bbd8526a8",
        "The OOM reaper took memory away, in a context that must not sleep, and told no mmu notifier: a guest went on writing to pages that were free. A callback that "
        "sleeps there is the other half.",
        (WithAdversary("oom-reaper", "as-if-cpu", PassesOverTheReaper, Mirror), WithAdversary("oom-reaper", "sleep-in-atomic", MayNotSleep, Mirror)),
    ),
    Bug(
        "mm/mmu_notifier.c",
        "c2655835fd8c",
        "One subscriber said -EAGAIN, and those that had been told of the beginning were never told of the end: what they count stayed up, and every fault began again.",
        (
            WithAdversary("madvise-dontneed", "livelock", VcpuLeftCounting, Vcpu),
            WithAdversary("oom-reaper", "notifier-failed", VcpuMayRefuse, Vcpu),
            Cells("2026-two-passes", ("fails late", "a later one fails"), ("bracket first", "a later one fails")),
        ),
    ),
    Bug(
        "mm/mmu_notifier.c",
        "319561669a59",
        "mmu_interval_notifier_remove() looked at the sequence without the lock, and returned while the subscription was still on the list.",
        (
            InTest("tests/linux/test_mmu_notifier.py", "test_a_subscription_is_off_the_tree_when_its_removal_returns"),
            WithAdversary("close", "teardown", LeavesBeforeTheEnd, Mirror),
        ),
        "The driver plays a removal that does not wait.",
    ),
    Bug(
        "drivers/gpu/drm/xe/xe_hmm.c",
        "0a98219bcc96",
        "Pages that hmm_range_fault() had found were used, and marked dirty, before the lock was taken and the sequence looked at.",
        (WithAdversary("munmap", "no-use-after-free", MirrorDereferencesLater, Mirror),),
    ),
    Bug(
        "drivers/gpu/drm/xe/xe_hmm.c",
        "2577b202458c",
        "A page was marked dirty by taking its lock, under the lock that the callback takes: migration has the page locked when it calls.",
        (WithAdversary("migration", "deadlock", MarksUnderThePageLock, MarksWhenItDrops),),
    ),
    Bug(
        "drivers/gpu/drm/i915/gem/i915_gem_userptr.c",
        "cb6d7c7dc7ff, 505a8ec7e11a",
        "The page's lock in the callback is a deadlock; only trying to take it loses what the device has written.",
        (
            WithAdversary("migration", "deadlock", MarksUnderThePageLock, MarksWhenItDrops),
            WithAdversary("swap", "lost-write", MarksIfItGetsTheLock, MarksWhenItDrops),
            WithAdversary("writeback", "dirty-unlocked", MarksUnlocked, PinsFilesForAMoment),
        ),
    ),
    Bug(
        "mm/memory.c",
        "16ce101db85d",
        "A CPU's fault on a page in a device's memory had no reference to it when it asked its driver to bring it back.",
        (InTest("tests/linux/test_migrate_device.py", "test_a_fault_holds_the_page_that_it_asks_the_driver_of"),),
        "What the reference costs is the next row.",
    ),
    Bug(
        "mm/memory.c",
        "1afaeb8293c9",
        "Each of two CPUs that fault on a page in a device's memory takes a reference, and neither migration succeeds because of the other's.",
        (InTest("tests/linux/test_migrate_device.py", "test_two_faults_may_keep_each_other_from_it_unless_they_lock_it"),),
    ),
    Bug(
        "mm/migrate_device.c",
        "fd35ca3d12cc",
        "migrate_vma cleared an entry and did not carry its dirty bit to the page: when the migration was called off, a store was lost.",
        (InTest("tests/linux/test_migrate_device.py", "test_a_migration_that_is_called_off_loses_no_store"),),
    ),
    Bug(
        "mm/memremap.c",
        "0dc45ca1ce18",
        "memunmap_pages() dropped references that pages should have held, and did not wait for pages that were still mapped.",
        (InTest("tests/linux/test_migrate_device.py", "test_memory_that_goes_waits_for_pages_that_are_mapped"),),
    ),
    Bug(
        "mm/gup.c, mm/khugepaged.c",
        "70cbc3cc78a9, 2ba99c5e0881",
        "GUP-fast pinned a small page, looked at its entry again and not at the one above, while khugepaged put a huge page in its place; and the page table that it stood on could "
        "be freed.",
        (
            InTest("tests/linux/test_gup_fast.py", "test_a_pin_beside_a_collapse_is_of_the_page_that_stays"),
            InTest("tests/linux/test_gup_fast.py", "test_the_page_table_of_a_collapse_is_not_freed_under_a_walk"),
        ),
    ),
    Bug(
        "mm/gup.c, mm/memory.c",
        "57efa1fe5957",
        "GUP-fast pinned a page by an entry that a fork was about to protect, having asked already whether the page is pinned: the parent's next write went to a copy.",
        (InTest("tests/linux/test_gup_fast.py", "test_a_pin_beside_a_fork_is_of_the_parents_page"),),
    ),
    Bug(
        "mm/gup.c",
        "517f496e1e61",
        "A page that could not be taken off the LRU list, because somebody else had it in hand, was pinned for long where it must stay movable.",
        (
            InTest("tests/linux/test_longterm.py", "test_a_page_that_another_pin_has_in_hand_must_move_all_the_same"),
            WithAdversary("offline", "movable", VfioWithoutLongterm, VfioType1),
        ),
        "The driver plays what came of it.",
    ),
    Bug(
        "virt/kvm/pfncache.c",
        "58cd407ca4c6",
        "The refresh looked at a count that is raised only after the caches were visited: an invalidation that fell in between left an old page behind.",
        (WithAdversary("munmap", "as-if-cpu", GpcCountsTooLate, GfnToPfnCache),),
    ),
    Bug(
        "virt/kvm/pfncache.c",
        "93984f19e7bc",
        "Two refreshes beside each other: the second found the first one's address, and went by the old page.",
        (InTest("tests/devices/test_gfn_to_pfn_cache.py", "test_the_second_refresh_goes_by_the_old_page"),),
    ),
    Bug(
        "virt/kvm/pfncache.c",
        "ecbcf030b456",
        "A cache that was not active, and not on the list that the notifier walks, could be filled and used.",
        (WithAdversary("close", "as-if-cpu", GpcUsedInactive, GfnToPfnCache), WithAdversary("close", "assertion", GpcDeactivatesMeanwhile, GfnToPfnCache)),
    ),
    Bug(
        "drivers/infiniband/hw/mlx5/mr.c",
        "CVE-2025-21732",
        "A memory region was ended, and its key given back, while an invalidation went on that named the key in a command: the queue of the whole device failed.",
        (WithAdversary("close", "assertion", RevokesItsKeyUnlocked, RevokesItsKey),),
    ),
    Bug(
        "drivers/infiniband/hw/mlx5/odp.c",
        "CVE-2025-21714",
        "Two invalidations found an implicit region's child without pages, and each had a worker end it.",
        (InTest("tests/linux/test_implicit_odp.py", "test_a_region_is_ended_once"),),
    ),
    Bug(
        "drivers/infiniband/hw/mlx5/mr.c",
        "cc668a11e6ac",
        "The same beside the exporter of a dma-buf that moves its buffer.",
        (WithAdversary("buffer-moves", "assertion", ImporterRevokesItsKeyUnlocked, ImporterRevokesItsKey),),
    ),
    Bug(
        "drivers/dma-buf/udmabuf.c",
        "9cb189a88273",
        "Seals were looked at, then pages were pinned: a seal against writing that came in between did not keep a device from writing.",
        (InTest("tests/devices/test_udmabuf_seals.py", "test_what_is_sealed_does_not_change"),),
    ),
    Bug(
        "QEMU, hw/vfio and hw/virtio",
        "c65ee433153b, 8947d7fc4e77",
        "A balloon gave back a page that a device had pinned: when the guest touched it again, it and the device had different pages.",
        (
            InTest("tests/devices/test_vmm_discards.py", "test_a_balloon_behind_a_pin_leaves_guest_and_device_with_different_pages"),
            InTest("tests/devices/test_vmm_discards.py", "test_virtio_mem_tells_who_has_the_memory_mapped"),
        ),
    ),
    Bug(
        "handlers of userfaults",
        "Firecracker 4990",
        "A handler tried again at once, or not at all, when a change was in progress (-EAGAIN), whose message it had not read: who touched the page waited for ever.",
        (InTest("tests/linux/test_userfaultfd.py", "test_a_handler_that_may_not_fill_now"),),
    ),
    Bug(
        "libfabric, memory registration cache",
        "pull request 5361",
        "A registration was ended late, when another was of the same address, and the subscription that ended was the other one's.",
        (InTest("tests/devices/test_late_unsubscription.py", "test_a_subscription_is_its_registration_s"),),
    ),
)
"""In the order in which they are told: notifiers, drivers, device memory, pins, KVM, RDMA, buffers, user space."""

HEAD = """\
# Bugs that were found

A model of this machinery is worth something if it can say what went wrong before. Here are bugs that people found in Linux, in VMMs and in
libraries, and for each a small driver that is wrong in the same way, with the right one beside it: `secondsight explain NAME` shows a
driver, and tests run every row. Where the wrong code was the kernel's own, a driver plays its part as far as a device can see. (`make docs`
writes this page from `contract/bugs.py`.)

| where | mended by, or told in | what went wrong | shown by |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The document."""
    return HEAD + "".join(f"| {bug.where} | {bug.mend} | {bug.what} | {'; '.join(_shown(bug))} |\n" for bug in BUGS)


def _shown(bug: Bug) -> Iterator[str]:
    for one in bug.shown:
        match one:
            case WithAdversary(adversary, rule, wrong, right):
                yield f"`{wrong.__name__}` breaks `{rule}` with `{adversary}`, `{right.__name__}` does not"
            case Cells(table, wrong_cell, right_cell):
                yield f"table `{table}`: *{', '.join(wrong_cell)}* is broken, *{', '.join(right_cell)}* holds"
            case InTest(file, test):
                yield f"`{test}` in {file}"
    if bug.reason:
        yield bug.reason if bug.shown else f"Not shown. {bug.reason}"
