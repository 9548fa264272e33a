"""Scans of reclaim's lists, and compaction: what they can do is what is done to one page at a time, any of them, at any time."""

from __future__ import annotations

import pytest
from linux_world import A, world

from secondsight.contract import rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.devices.small.writeback import MarksUnderThePageLock, MarksWhenItDrops, NeverMarksDirty
from secondsight.devices.small.young import SaysWhatIsMapped, SleepsWhenAsked
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.mm_types import Gather, PteKind
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import get_page, put_page
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.vmscan_lists import shrink_inactive_list
from secondsight.scenario import Recorder, Scenario, ScenarioError, scenario
from secondsight.testing import outcomes
from secondsight.world.model import only_outcome


@scenario
def moves_and_looks(s: Recorder) -> None:
    """Who moves pages sees which are off their lists; who writes one sees whether somebody else holds it."""
    a = s.mmap(pages=2)
    s.write(a, "A", pages=2)

    @s.thread
    def reclaims() -> None:
        s.memory_reclaim()

    @s.thread
    def moves() -> None:
        s.move_pages(a + 1, into="second")
        s.move_pages(a, into="first")


@scenario
def moves_and_looks_beside_two(s: Recorder) -> None:
    """The same, and of each page somebody of its own asks for it alone."""
    a = s.mmap(pages=2)
    s.write(a, "A", pages=2)

    @s.thread
    def reclaims() -> None:
        s.reclaim(a)
        s.reclaim(a)

    @s.thread
    def reclaims_another() -> None:
        s.reclaim(a + 1)
        s.reclaim(a + 1)

    @s.thread
    def moves() -> None:
        s.move_pages(a + 1, into="second")
        s.move_pages(a, into="first")


@scenario
def forgets_a_memfd(s: Recorder) -> None:
    """A pinned page beside a memfd's, of which a hole is made."""
    memfd = s.memfd_create(pages=1)
    shared = s.mmap(memfd)
    s.write(shared, "B")
    own = s.mmap(pages=1)
    s.write(own, "A")
    pin = s.pin(own)

    @s.thread
    def reclaims() -> None:
        s.memory_reclaim()

    @s.thread
    def others() -> None:
        s.move_pages(own, into="own")
        s.fallocate_punch_hole(memfd, page=0, pages=1)
        s.move_pages(shared, into="shared")
        s.unpin(pin)
        s.read(shared, into="hole")


@pytest.mark.parametrize("recorded", [moves_and_looks, pytest.param(forgets_a_memfd, marks=pytest.mark.wide)])
def test_a_batch_does_what_one_folio_at_a_time_does(recorded: Scenario) -> None:
    assert outcomes(recorded, bounds={"lru_batch": 2}) == outcomes(recorded)


@pytest.mark.wide
def test_a_pass_more_shows_nothing_more() -> None:
    assert outcomes(moves_and_looks, bounds={"lru_scans": 3}) == outcomes(moves_and_looks)
    assert outcomes(moves_and_looks, bounds={"lru_batch": 3}) == outcomes(moves_and_looks)


def test_a_scan_does_what_reclaim_of_any_page_at_any_time_does() -> None:
    """Each page is asked for by itself, beside the other, and may have been used lately: these are all."""
    assert outcomes(moves_and_looks) == outcomes(moves_and_looks_beside_two, bounds={"accessed": 1})


def test_a_batch_is_off_its_list_together_and_goes_back_together() -> None:
    with world(frames=6, pages=2, anon_vmas=1, swap_slots=2) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, A)
        folios: Gather = []
        for va in range(2):
            folio = mm.ptes[va].frame
            assert folio is not None
            get_page(folio)
            assert folio_isolate_lru(folio) and not folio_isolate_lru(folio)
            folios.append(folio)
        put_page(folios[1])
        shrink_inactive_list(folios)
        assert mm.ptes[0].kind == mm.ptes[1].kind == PteKind.SWAP
        assert folios[0].swapcache and not folios[0].isolated, "somebody holds it"
        assert folios[1].refcount == 0
        assert cpu_read(mm, 0) == cpu_read(mm, 1) == A
        put_page(folios[0])


@scenario
def memory_is_wanted_back(s: Recorder) -> None:
    """One after the other: there is no thread, and there are four outcomes."""
    a = s.mmap(pages=3)
    s.write(a, "A", pages=3)
    s.pin(a + 2)
    s.memory_reclaim()
    s.move_pages(a, into="first")
    s.move_pages(a + 1, into="second")
    s.move_pages(a + 2, into="pinned")
    s.read(a, into="a")


def test_any_page_may_go_and_one_that_is_pinned_stays() -> None:
    expected = {f"a=A, first={first}, pinned=-EAGAIN, second={second}" for first in ("ok", "-ENOENT") for second in ("ok", "-ENOENT")}
    assert outcomes(memory_is_wanted_back) == expected
    assert isinstance(memory_is_wanted_back, Scenario)
    with pytest.raises(ValueError, match="nothing decides"):
        only_outcome(memory_is_wanted_back)


def test_a_setup_leaves_one_state_behind() -> None:
    s = Recorder()
    a = s.mmap(pages=1)
    s.memory_reclaim()

    @s.thread
    def reads() -> None:
        s.read(a, into="a")

    with pytest.raises(ScenarioError, match="memory_reclaim in the setup"):
        outcomes(s.scenario("early", ""))


def test_not_beside_a_block_that_is_to_be_emptied() -> None:
    s = Recorder()
    s.mmap(pages=1)
    s.compact_memory()
    s.offline_pages()
    with pytest.raises(ScenarioError, match="compact_memory and a block of memory"):
        outcomes(s.scenario("both", ""))


@scenario
def is_compacted(s: Recorder) -> None:
    """Whatever moves, each page holds what it held, and a frame that has moved is nobody's to keep."""
    a = s.mmap(pages=2)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def compacts() -> None:
        s.compact_memory()

    @s.thread
    def device() -> None:
        gpu.read(a, into="read")
        gpu.write(a + 1, "D", into="written")

    with s.after():
        gpu.compare(a)
        gpu.compare(a + 1)


@scenario
def is_wanted_back(s: Recorder) -> None:
    """The same of pages that go to swap. One was there before: it is clean."""
    a = s.mmap(pages=2)
    s.write(a, "A", pages=2)
    s.madvise_pageout(a, pages=2)
    s.read(a)
    s.read(a + 1)
    gpu = s.device()

    @s.thread
    def reclaims() -> None:
        s.memory_reclaim()

    @s.thread
    def device() -> None:
        gpu.read(a, into="read")
        gpu.write(a + 1, "D", into="written")

    with s.after():
        gpu.compare(a + 1)


@pytest.mark.parametrize(
    ("driver", "compacted", "wanted_back"),
    [
        (Mirror, "", ""),
        (NeverMarksDirty, "", "lost-write"),
        *(
            pytest.param(*one, marks=pytest.mark.wide)
            for one in (
                (MirrorWithoutTest, "as-if-cpu", "as-if-cpu"),
                (MarksWhenItDrops, "", ""),
                (MarksUnderThePageLock, "deadlock", "deadlock"),
                (SaysWhatIsMapped, "", ""),
            )
        ),
        (SleepsWhenAsked, "", "sleep-in-atomic"),
    ],
)
def test_drivers_fail_as_where_one_page_is_taken_or_moved(driver: type[Device], compacted: str, wanted_back: str) -> None:
    """So neither needs an adversary of its own: `migration`, `swap` and `reclaim` break the same (contract/lessons.py)."""
    for recorded, rule in ((is_compacted, compacted), (is_wanted_back, wanted_back)):
        assert isinstance(recorded, Scenario)
        result = check_scenario(driver, "swap", recorded, rules_for(driver)).result
        assert result.error is None, result.error
        assert (result.violation.rule if result.violation is not None else "") == rule, recorded.name
