"""NUMA balancing: entries by which every access faults, and faults that may move the page."""

from __future__ import annotations

import pytest

from secondsight.contract.check import check
from secondsight.contract.lessons import IgnoresProtection
from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm import vma_is_accessible
from secondsight.scenario import Recorder, scenario
from secondsight.search import Verdict
from secondsight.world.model import outcomes


@scenario
def looked_at(s: Recorder) -> None:
    """Each access after a scan finds what was there, private or shared, moved or not; nothing may be done that could not be done before."""
    private, shared = s.mmap(pages=2), s.mmap(s.memfd_create(pages=1))
    for memory in (private, shared):
        s.write(memory, "a")
        s.numa_scan(memory)
    s.read(private, into="private")
    s.write(private + 1, "b", pages=1)
    s.read(private + 1, into="second")
    s.write(shared, "c")
    s.read(shared, into="shared")
    s.mprotect(private, pages=1, write=False)
    s.numa_scan(private, pages=1)
    s.write(private, "d", pages=1, into="read_only")
    s.numa_scan(private)
    s.munmap(private)
    s.read(private, into="gone")


@scenario
def beside_stores(s: Recorder) -> None:
    """No store is lost where pages move in the middle of others' faults."""
    pages = s.mmap(pages=1)
    s.write(pages, "a")

    @s.thread
    def one() -> None:
        s.write(pages, "b")
        s.read(pages, into="own")

    @s.thread
    def scan() -> None:
        s.numa_scan(pages)
        s.read(pages, into="seen")

    with s.after():
        s.read(pages, into="left")


@scenario
def pinned_or_shared(s: Recorder) -> None:
    """Private pages that are pinned, or that a child has too, are left alone: nothing moves them."""
    pages = s.mmap(pages=1)
    s.write(pages, "a")
    pin = s.pin(pages)
    s.numa_scan(pages)
    s.write(pages, "b")
    pin.read(into="by_pin")


def test_accesses_find_what_was_there() -> None:
    result, possible = outcomes(looked_at)
    assert result.verdict is Verdict.HOLDS
    assert [dict(one) for one in possible] == [{"private": "a", "second": "b", "shared": "c", "read_only": "SIGSEGV", "gone": "SIGSEGV"}]


def test_no_store_is_lost() -> None:
    result, possible = outcomes(beside_stores)
    assert result.verdict is Verdict.HOLDS
    assert {(dict(one)["own"], dict(one)["seen"], dict(one)["left"]) for one in possible} == {("b", "a", "b"), ("b", "b", "b")}


def test_what_is_pinned_stays() -> None:
    _, possible = outcomes(pinned_or_shared)
    assert [dict(one)["by_pin"] for one in possible] == ["b"]


@pytest.mark.parametrize("driver, verdict", [(Mirror, Verdict.HOLDS), (IgnoresProtection, Verdict.BROKEN)])
def test_a_device_is_told_of_hints(driver: type[Mirror], verdict: Verdict) -> None:
    checked = list(check(driver, ["numa-balancing"]))
    assert (Verdict.BROKEN if any(one.result.verdict is Verdict.BROKEN for one in checked) else Verdict.HOLDS) is verdict
    assert any(one.result.violation is not None and one.result.violation.rule == "as-if-cpu" for one in checked) is (verdict is Verdict.BROKEN)


class ReadsWhatMayBeRead(MirrorInParts):
    """Right: where protection changes and the mapping may be read still, it takes the permission to write away and reads on."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            for va in range(rng.start, rng.end):
                vma = mm.mm_mt[va]
                one = mn.Range(va, va + 1, rng.event, True)
                if rng.event == mn.Event.PROTECTION_VMA and vma is not None and vma_is_accessible(vma):
                    self.page_table.protect(one)
                else:
                    self.page_table.unmap(one)


def test_a_device_may_read_a_page_that_is_only_hinted_at() -> None:
    """The page is where it was, and who moves it tells again: get_user_pages() without FOLL_HONOR_NUMA_FAULT takes it by such an entry too."""
    assert {one.result.verdict for one in check(ReadsWhatMayBeRead, ["numa-balancing", "mprotect"])} == {Verdict.HOLDS}
