"""hmm_range_fault: its answers by hand, and the mirror protocol in every interleaving."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from linux_world import A, B, Mirror, device_main, mirror_of, search, world

from secondsight.lang import RuleBroken, atomic
from secondsight.linux import EBUSY, EFAULT, EPERM, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_buf import dma_buf_mmap
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.hmm import (
    HMM_PFN_ERROR,
    HMM_PFN_NO_PAGE,
    HMM_PFN_NONE,
    HMM_PFN_REQ_FAULT,
    HMM_PFN_REQ_WRITE,
    HMM_PFN_VALID,
    HMM_PFN_WRITE,
    HmmRange,
)
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Mm, Range, Result, Seq, Va
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.linux.page_alloc import ZERO_PFN, frames, page_to_pfn
from secondsight.linux.shmem import F_SEAL_SHRINK, ShmemFile, shmem_fallocate_punch_hole
from secondsight.linux.udmabuf import udmabuf_create, udmabufs


def test_a_read_request_gives_the_zero_page_and_a_write_request_a_frame() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        do_mmap(mm, 0, 1, None, 0, True)
        assert hmm.hmm_range_fault(mirror.notifier, 0, False) == ZERO_PFN
        pfn = hmm.hmm_range_fault(mirror.notifier, 0, True)
        assert pfn == -EBUSY  # replacing the zero page was an invalidation
        pfn = hmm.hmm_range_fault(mirror.notifier, 0, True)
        assert pfn > ZERO_PFN
        assert mm.ptes[0].frame is frames[pfn]
        assert frames[pfn].refcount == 1  # none taken


def test_errors_are_those_of_a_cpu_access() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        assert hmm.hmm_range_fault(mirror.notifier, 0, False) == -EFAULT
        do_mmap(mm, 0, 1, None, 0, False)
        assert hmm.hmm_range_fault(mirror.notifier, 0, False) == ZERO_PFN
        assert hmm.hmm_range_fault(mirror.notifier, 0, True) == -EPERM
        exit_mm(mm)
        assert hmm.hmm_range_fault(mirror.notifier, 0, False) == -EFAULT


def test_a_snapshot_faults_nothing_in() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        assert hmm.hmm_range_snapshot(mirror.notifier, 0) == HMM_PFN_ERROR
        do_mmap(mm, 0, 1, None, 0, True)
        assert hmm.hmm_range_snapshot(mirror.notifier, 0) == HMM_PFN_NONE
        cpu_write(mm, 0, A)
        frame = mm.ptes[0].frame
        assert frame is not None
        assert hmm.hmm_range_snapshot(mirror.notifier, 0) == page_to_pfn(frame)


def test_a_pfn_mapping_cannot_be_mirrored() -> None:
    with world({Mirror: 1}, files=1, file_pages=1, udmabufs=1, dmabuf_pages=1) as (machine, mm):
        mirror = mirror_of(machine, mm)
        buf = udmabufs[udmabuf_create(memfd_create(1, F_SEAL_SHRINK), 0, 1)]
        dma_buf_mmap(buf, mm, 0, 1, 0, True)
        assert cpu_read(mm, 0) == 0
        assert hmm.hmm_range_fault(mirror.notifier, 0, False) == -EFAULT
        assert hmm.hmm_range_snapshot(mirror.notifier, 0) == HMM_PFN_ERROR


def test_a_number_that_has_moved_on_is_busy_and_the_lock_is_wanted() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        do_mmap(mm, 0, 1, None, 0, True)
        with mm.mmap_lock.reading():
            assert hmm.hmm_range_fault_locked(mirror.notifier, 1, 0, HMM_PFN_REQ_FAULT) == ZERO_PFN
            mirror.notifier.invalidate_seq = 3
            assert hmm.hmm_range_fault_locked(mirror.notifier, 1, 0, HMM_PFN_REQ_FAULT) == -EBUSY
        with pytest.raises(RuleBroken, match="lock-not-held"):
            hmm.hmm_range_fault_locked(mirror.notifier, 3, 0, HMM_PFN_REQ_FAULT)
        with pytest.raises(RuleBroken, match="lock-not-held"):  # asked for before the number is looked at
            hmm.hmm_range_fault_locked(mirror.notifier, 1, 0, HMM_PFN_REQ_FAULT)


def test_a_wish_to_write_without_a_wish_for_a_fault_is_a_snapshot() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        do_mmap(mm, 0, 1, None, 0, False)
        with mm.mmap_lock.reading():
            assert hmm.hmm_range_fault_locked(mirror.notifier, 1, 0, HMM_PFN_REQ_WRITE) == HMM_PFN_NONE
        assert cpu_read(mm, 0) == 0
        with mm.mmap_lock.reading():
            assert hmm.hmm_range_fault_locked(mirror.notifier, 1, 0, HMM_PFN_REQ_WRITE) == ZERO_PFN


# Several pages.


def pages(mirror: Mirror, mm: Mm, item: HmmRange, *asked: int, default: int = 0, mask: int = 0) -> list[int] | int:
    """What hmm_range_fault() says of the first pages, or its error."""
    item.start, item.end, item.default_flags, item.pfn_flags_mask = 0, len(asked), default, mask
    item.notifier_seq = mirror.notifier.invalidate_seq
    for i, flags in enumerate(asked):
        item.hmm_pfns[i] = flags
    with mm.mmap_lock.reading():
        ret = hmm.hmm_range_fault_pages(mirror.notifier, item)
    return ret or [item.hmm_pfns[i] for i in range(len(asked))]


def test_several_pages_are_told_of_as_they_are() -> None:
    with world({Mirror: 1, HmmRange: 1}, pages=4) as (machine, mm):
        mirror, item = mirror_of(machine, mm), machine.pool(HmmRange).alloc()
        do_mmap(mm, 0, 2, None, 0, True)
        do_mmap(mm, 2, 1, None, 0, False)
        cpu_write(mm, 1, A)
        assert cpu_read(mm, 2) == 0
        frame = mm.ptes[1].frame
        assert frame is not None
        writable = page_to_pfn(frame) | HMM_PFN_VALID | HMM_PFN_WRITE
        assert pages(mirror, mm, item, 1, 2, 3, 0) == [0, writable, ZERO_PFN | HMM_PFN_VALID, HMM_PFN_NO_PAGE]
        assert pages(mirror, mm, item, 3, 3, 3, 3, mask=HMM_PFN_REQ_WRITE) == [0, writable, ZERO_PFN | HMM_PFN_VALID, HMM_PFN_NO_PAGE]
        assert pages(mirror, mm, item, 0, 0, default=HMM_PFN_REQ_FAULT) == [ZERO_PFN | HMM_PFN_VALID, writable]
        assert pages(mirror, mm, item, 0, 0, 0, 1, mask=HMM_PFN_REQ_FAULT) == -EFAULT
        assert pages(mirror, mm, item, 0, 0, 3, 0, mask=3) == -EPERM
        assert item.hmm_pfns[1] == writable  # what came before is filled in
        assert item.hmm_pfns[2] == 3


def test_a_fault_is_handled_for_the_rest_of_the_range_in_its_vma() -> None:
    with world({Mirror: 1, HmmRange: 1}, pages=4, frames=6) as (machine, mm):
        mirror, item = mirror_of(machine, mm), machine.pool(HmmRange).alloc()
        do_mmap(mm, 0, 4, None, 0, True)
        found = pages(mirror, mm, item, 0, 3, 0, mask=3)
        assert isinstance(found, list)
        assert found[0] == 0
        assert all(pfn & HMM_PFN_WRITE for pfn in found[1:])
        assert mm.ptes[3].frame is None
        madvise_dontneed(mm, 0, 4)
        mm.unstable = True
        assert pages(mirror, mm, item, 0, 1, 0, mask=1) == -EFAULT


def test_the_number_is_looked_at_again_after_a_fault() -> None:
    with world({Mirror: 1, HmmRange: 1}, pages=3, frames=6) as (machine, mm):
        mirror, item = mirror_of(machine, mm), machine.pool(HmmRange).alloc()
        do_mmap(mm, 0, 2, None, 0, True)
        assert cpu_read(mm, 0) == 0
        assert pages(mirror, mm, item, 0, 0, default=3) == -EBUSY  # replacing the zero page was an invalidation
        found = pages(mirror, mm, item, 0, 0, default=3)
        assert isinstance(found, list)
        assert all(pfn & HMM_PFN_WRITE for pfn in found)


# Every interleaving: the right mirror, and three wrong ones.


class NoRetry(Mirror):
    """Does not test whether an invalidation came in between."""

    def map_page(self, va: Va, write: bool) -> Result:
        pfn = hmm.hmm_range_fault(self.notifier, va, write)
        if pfn < 0:
            return pfn
        with self.lock:
            self.table[va].frame = frames[pfn]
        return 0


class EarlyTest(Mirror):
    """Tests before it takes the lock."""

    def map_page(self, va: Va, write: bool) -> Result:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            if mn.mmu_interval_read_retry(self.notifier, seq):
                continue
            with self.lock:
                self.table[va].frame = frames[pfn]
            return 0


class NoLock(Mirror):
    """Invalidates without the lock."""

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        for va in range(rng.start, rng.end):
            self.table[va].frame = None
        mn.mmu_interval_set_seq(self.notifier, seq)
        return True


def munmap_main(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)


def munmap_mmap_main(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)
    do_mmap(mm, 0, 1, None, 0, True)
    cpu_write(mm, 0, B)


def dontneed_main(mm: Mm) -> None:
    madvise_dontneed(mm, 0, 1)
    cpu_read(mm, 0)
    cpu_write(mm, 0, B)


def exit_main(mm: Mm) -> None:
    exit_mm(mm)


def reap_main(mm: Mm) -> None:
    oom_reap_task_mm(mm)


ADVERSARIES = [munmap_main, munmap_mmap_main, dontneed_main, exit_main, reap_main]


def one_page(kind: type[Mirror], adversary: Callable[[Mm], None]) -> Any:
    with world({kind: 1}, pages=1) as (machine, mm):
        mirror = mirror_of(machine, mm, kind)
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        return search(machine, (adversary, (mm,)), (device_main, (mirror, 0, 2)))


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_the_right_mirror_holds(adversary: Callable[[Mm], None]) -> None:
    assert one_page(Mirror, adversary).verdict.value == "holds"


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("kind", [NoRetry, EarlyTest])
def test_wrong_mirrors_are_caught_by_every_adversary(kind: type[Mirror], adversary: Callable[[Mm], None]) -> None:
    found = one_page(kind, adversary)
    assert found.violation is not None
    assert found.violation.rule in ("as-if-cpu", "no-use-after-free")


def test_invalidating_without_the_lock_is_caught() -> None:
    found = [one_page(NoLock, adversary) for adversary in ADVERSARIES[:3]]
    assert any(f.violation is not None and f.violation.rule == "as-if-cpu" for f in found)


@atomic
def set_up_file(file: ShmemFile, mm: Mm) -> None:
    """Map the file and write to it."""
    do_mmap(mm, 0, 1, file, 0, True)
    cpu_write(mm, 0, A)


def punch_main(file: ShmemFile, mm: Mm) -> None:
    shmem_fallocate_punch_hole(file, 0, 1)
    cpu_write(mm, 0, B)


@pytest.mark.parametrize(("kind", "verdict"), [(Mirror, "holds"), (NoRetry, "broken"), (EarlyTest, "broken")])
def test_mirrors_of_a_file_whose_page_is_punched_out(kind: type[Mirror], verdict: str) -> None:
    with world({kind: 1}, pages=1, files=1, file_pages=1) as (machine, mm):
        mirror = mirror_of(machine, mm, kind)
        file = memfd_create(1, F_SEAL_SHRINK)
        set_up_file(file, mm)
        found = search(machine, (punch_main, (file, mm)), (device_main, (mirror, 0, 2)))
    assert found.verdict.value == verdict
