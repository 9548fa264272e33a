"""An IOMMU between a device and memory: when a number is refused, when it is another page's, and which drivers count on what."""

from __future__ import annotations

import pytest

from secondsight.contract import check
from secondsight.devices.device import Device
from secondsight.devices.dma_mirror import DmaMirror, DmaMirrorLazy
from secondsight.devices.mirror import Mirror
from secondsight.devices.small import (
    ForgetsItsTlb,
    ReturnsBeforeTheFlush,
    UnmapsBeforeItStops,
    UnmapsThenUnpins,
    UnpinsBeforeTheSync,
)
from secondsight.lang import Machine, Record, atomic, require, shared
from secondsight.lang.errors import RuleBroken
from secondsight.lang.plain import replay
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.render_c import render_c
from secondsight.linux import bounds
from secondsight.linux.dma_iommu import (
    IommuDomain,
    iommu_dma_init_fq,
    iommu_dma_map_page,
    iommu_dma_unmap_page,
    translate,
)
from secondsight.linux.page_alloc import frames, page_to_pfn
from secondsight.scenario import Recorder, Scenario
from secondsight.search import Request, Verdict, breadth_first
from secondsight.world.model import program

REFERENCE = Request(executor="reference")


class Iommu(Record):
    domain: IommuDomain


iommu = shared(Iommu)


def test_a_number_is_refused_and_the_next_ones_as_soon_as_it_is_unmapped() -> None:
    with Machine(bounds=bounds(iovas=2, frames=3)):
        domain = iommu.domain
        one = iommu_dma_map_page(domain, frames[1])
        assert (one, translate(domain, one)) == (1, frames[1])
        iommu_dma_unmap_page(domain, one)
        assert translate(domain, one) is None
        assert iommu_dma_map_page(domain, frames[2]) == one
        assert translate(domain, one) is frames[2]


def asks_after_it_unmapped(lazily: bool, never: int) -> None:
    """The device goes on with a number that is unmapped, while another page is mapped: it never finds the page `never` (0: none)."""
    domain = iommu.domain
    if lazily:
        iommu_dma_init_fq(domain)
    one = iommu_dma_map_page(domain, frames[1])
    translate(domain, one)
    iommu_dma_unmap_page(domain, one)
    iommu_dma_map_page(domain, frames[2])
    with atomic:
        found = translate(domain, one)
        pfn = 0 if found is None else page_to_pfn(found)
    require(pfn != never, "found", "the device finds it")


def finds(lazily: bool, page: int) -> bool:
    machine = Machine(bounds=bounds(iovas=2, frames=3))
    found = breadth_first(Reference(build(machine, [Thread("device", asks_after_it_unmapped, (lazily, page))])), Request())
    assert found.error is None, found.error
    return found.verdict is Verdict.BROKEN


@pytest.mark.parametrize(("lazily", "pages"), [(False, {2}), (True, {0, 1, 2})])
def test_what_a_number_stands_for_after_it_was_unmapped(lazily: bool, pages: set[int]) -> None:
    """Flushed lazily it is the old page, and nobody else's until the timer has come."""
    assert {page for page in range(3) if finds(lazily, page)} == pages


def test_what_is_not_mapped_is_not_unmapped() -> None:
    with Machine(bounds=bounds(iovas=2, frames=3)):
        one = iommu_dma_map_page(iommu.domain, frames[1])
        iommu_dma_unmap_page(iommu.domain, one)
        for wrong in (one, 0):
            with pytest.raises(RuleBroken, match="is not mapped"):
                iommu_dma_unmap_page(iommu.domain, wrong)


def broken(driver: type[Device], adversary: str) -> tuple[str, str]:
    """The first rule that an adversary finds broken, by the reference, and what is said; its trace replays."""
    for checked in check(driver, [adversary], request=REFERENCE):
        assert checked.result.error is None, checked.result.error
        violation = checked.result.violation
        if violation is not None:
            steps = violation.trace.schedule
            assert len(replay(checked.rebuild(), steps, violation.trace.states)) == len(steps)
            return violation.rule, violation.message
    return "", ""


def test_a_forgotten_tlb_is_refused_if_the_iommu_is_flushed_at_once_and_finds_a_freed_page_if_lazily() -> None:
    assert broken(ForgetsItsTlb, "munmap") == ("", "")
    rule, said = broken(ReturnsBeforeTheFlush, "munmap")
    assert rule == "as-if-cpu" and "stale access" in said
    rule, said = broken(ForgetsItsTlb, "madvise-dontneed")
    assert rule == "as-if-cpu" and "access failed" in said


def test_a_forgotten_tlb_finds_another_page_under_a_number_that_was_given_out_again() -> None:
    rule, said = broken(ForgetsItsTlb, "part")
    assert rule == "as-if-cpu" and "stale access" in said


@pytest.mark.parametrize(
    ("driver", "adversary", "rule"),
    [
        (UnmapsBeforeItStops, "migration", "as-if-cpu"),
        (DmaMirror, "migration", ""),
        (DmaMirrorLazy, "munmap", ""),
        (UnpinsBeforeTheSync, "close", "pinned"),
        (UnmapsThenUnpins, "close", ""),
    ],
)
def test_the_order_in_which_a_page_goes(driver: type[Device], adversary: str, rule: str) -> None:
    assert broken(driver, adversary)[0] == rule


def reads() -> Scenario:
    s = Recorder()
    pages = s.mmap(pages=2)
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.read(pages, into="read")

    return s.scenario("reads", "A device reads.")


def test_a_driver_without_an_iommu_pays_nothing() -> None:
    """Neither a place in the state nor a function."""
    texts = [render_c(program(reads(), driver, [])).text for driver in (Mirror, DmaMirror)]
    assert ["iommu_dma_map_page" in text for text in texts] == [False, True]
