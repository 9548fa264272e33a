"""A machine by hand: the same operations as a scenario's, with the same results, one call after the other."""

from __future__ import annotations

import html
import re

import pytest

from secondsight import Machine
from secondsight.agree.generate import scenario_of
from secondsight.devices import Mirror
from secondsight.devices.mirror import MirrorWithoutTest
from secondsight.scenario import Scenario, ScenarioError
from secondsight.scenario.data import collect
from secondsight.scenario.ops import OPS, ArgType, HandleType, Needs
from secondsight.world.by_hand import ByHand
from secondsight.world.hand_methods import DeviceMethods, ProcessMethods
from secondsight.world.model import only_outcome, value_of


def by_hand(scenario: Scenario) -> object:
    """A scenario's outcome, by a machine that does its operations one by one."""
    is_huge = any(place.op.declared.needs in (Needs.HUGE, Needs.HUGETLB) for place in scenario.places())
    huge = {"huge": 1, "hugetlb_files": 3, "hugetlb_pages": 7} if is_huge else {}
    needs = {place.op.declared.needs for place in scenario.places()}
    block = {"pageblocks": 1, "pageblock_frames": 7} if needs & {Needs.MOVABLE, Needs.CMA} else {}
    block |= {"cma": 1} if Needs.CMA in needs else {}
    hand = ByHand(pages=14, frames=16, vmas=40, files=15, udmabufs=15, file_pages=15, dmabuf_pages=15, create_items=15, **huge, **block)
    hand.begin()
    results: list[str | None] = []
    for place in scenario.places():
        if place.op.declared.makes is HandleType.PROCESS and not place.op.declared.forks:
            hand.begin()
            results.append("ok")
        elif hand._ghost(place.op.process).exiting:
            results.append(None)
        else:
            results.append(value_of(place.op, hand._perform(place.op)))
    return collect(scenario, results)


@pytest.mark.parametrize("index", range(40))
def test_drawn_scenarios_have_the_models_outcome(index: int) -> None:
    scenario = scenario_of("sequential", 3, index)
    if scenario.forks:
        pytest.skip("a machine by hand cannot fork")
    if scenario.chooses:
        pytest.skip("it has several outcomes")
    assert by_hand(scenario) == only_outcome(scenario)


def test_there_is_a_method_for_every_operation_of_the_model() -> None:
    for op in OPS.values():
        if op.kernel_only or op.makes in (HandleType.DEVICE, HandleType.PROCESS) or ArgType.PROCESS in op.types:
            continue
        if op.of is HandleType.DEVICE:
            assert hasattr(DeviceMethods, op.name.removeprefix("device_")), op.name
        else:
            assert hasattr(ProcessMethods, op.name), op.name


def test_huge_pages_by_hand() -> None:
    """A machine has them where it is asked for; else it is a kernel without CONFIG_TRANSPARENT_HUGEPAGE."""
    p = Machine(huge=1).process()
    a = p.mmap(pages=4)
    p.madvise_hugepage(a)
    p.write(a, "x", pages=1)
    assert (p.page_is_huge(a + 1), p.page_is_huge(a + 2), p.read(a + 1)) == ("h", "-", "0")
    p.munmap(a + 1, pages=1)
    assert p.page_is_huge(a) == "-"
    q = Machine().process()
    assert q.madvise_hugepage(q.mmap(pages=2)) == "-EINVAL"


def test_entries_are_marked_by_hand() -> None:
    """What is poisoned, or protected before it is there, has a marker. A machine has none where it has no userfaultfd."""
    p = Machine().process()
    a = p.mmap(pages=2)
    u = p.userfaultfd_wp_unpopulated()
    assert p.uffd_register(u, a, wp=True) == "ok"
    assert p.uffd_poison(u, a) == "ok"
    assert p.uffd_writeprotect(u, a + 1, pages=1) == "ok"
    assert p.read(a) == "SIGBUS"
    assert p.pagemap_wp(a + 1) == "w"
    for sizes in ({"huge": 1}, {"userfaultfd": 0}, {}):
        assert Machine(**sizes)._plain.bounds["pte_markers"] == (not sizes)


def test_which_anon_vma_is_not_asked_where_it_is_not_asked_whether() -> None:
    assert [Machine(**sizes)._plain.bounds["anon_ids"] for sizes in ({}, {"anon_prepared": 0})] == [1, 0]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"pte_markers": 1, "userfaultfd": 0}, "a machine by hand: pte_markers=1 and userfaultfd=0: .*\n  decide userfaultfd too, or leave pte_markers out"),
        ({"pte_markers": 1, "huge": 1}, "pte_markers=1 and userfaultfd=0"),
        ({"vma_flags": 0}, "userfaultfd=1 and vma_flags=0: .*\n  leave vma_flags out, or decide userfaultfd=0 too"),
        ({"numa_hints": 1, "prot_none": 0}, "numa_hints=1 and prot_none=0"),
        ({"huge": 1, "pmds": 0}, "huge=1 and pmds=0"),
        ({"anon_ids": 1, "anon_prepared": 0}, "anon_ids=1 and anon_prepared=0"),
    ],
)  # fmt: skip
def test_bounds_that_do_not_fit_each_other_are_refused(wanted: dict[str, int], says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        Machine(**wanted)


def test_a_child_has_a_copy_at_the_same_addresses() -> None:
    m = Machine()
    p = m.process()
    a = p.mmap(pages=1)
    p.write(a, "x")
    q = p.fork()
    assert (q.read(a), p.write(a, "y"), q.read(a), p.read(a)) == ("x", "ok", "x", "y")
    assert "process 1" in str(m)
    q.exit()
    with pytest.raises(OSError, match="the process has exited"):
        q.fork()


def test_two_processes_share_a_file_and_nothing_else() -> None:
    m = Machine()
    p, q = m.process(), m.process()
    fd = p.memfd_create(2)
    a, b = p.mmap(fd), q.mmap(fd)
    assert (p.write(a + 1, "x"), q.read(b + 1), q.read(b)) == ("ok", "x", "0")
    with pytest.raises(ScenarioError, match="is the first process's"):
        q.read(a)
    assert p.exit() == "ok"
    assert (p.read(a), q.read(b + 1)) == ("exited", "x")


def test_devices_of_two_processes() -> None:
    m = Machine()
    p, q = m.process(), m.process()
    fd = p.memfd_create(1)
    a, b = p.mmap(fd), q.mmap(fd)
    one, other = m.device(Mirror, p), m.device(Mirror, q)
    assert (p.write(a, "x"), one.read(a), other.read(b)) == ("ok", "x", "x")
    assert other.write(b, "y") == "ok"
    assert (one.read(a), p.read(a)) == ("y", "y")
    assert q.fallocate_punch_hole(fd, page=0) == "ok"
    assert (one.read(a), other.read(b)) == ("0", "0")
    shown = str(m)
    assert "mirror0" in shown and "mirror1" in shown and repr(m) == shown
    tables = m._repr_html_()
    words = " ".join(re.sub(r"<[^>]*>", " ", tables).split())
    assert html.unescape(words) == " ".join(shown.split())
    assert tables.count("<table") == tables.count("</table>") and "<script" not in tables


def test_a_device_that_is_opened_later() -> None:
    m = Machine()
    p = m.process()
    a = p.mmap(pages=1)
    gpu = m.device(MirrorWithoutTest, p, opened=False)
    assert gpu.read(a) == "skipped"
    assert gpu.open() == "ok"
    assert gpu.read(a) == "0"
    assert gpu.close() == "ok"


def test_addresses_are_new_until_there_are_no_more() -> None:
    m = Machine(pages=4)
    p = m.process()
    first = p.mmap(pages=2)
    assert p.munmap(first) == "ok"
    second = p.mmap(pages=2)
    assert m.page(second) == 2
    third = p.mmap(pages=2)  # there is no new one
    assert m.page(third) == m.page(first)
    assert p.write(third + 1, "x") == "ok"
    with pytest.raises(OSError, match="no room for 1 pages"):
        p.mmap(pages=1)
    over = p.mmap(pages=1, at=third)
    assert (p.read(over), p.read(third + 1)) == ("0", "x")


def test_more_calls_than_a_scenario_may_have() -> None:
    m = Machine(pages=2)
    p = m.process()
    for _ in range(100):
        assert p.munmap(p.mmap(pages=1)) == "ok"


def test_what_makes_no_sense_is_refused_with_the_callers_line() -> None:
    m = Machine()
    p = m.process()
    a = p.mmap(pages=1)
    with pytest.raises(ScenarioError, match=r"test_by_hand\.py:\d+: write: value: 'xx' is not"):
        p.write(a, "xx")
    with pytest.raises(OSError, match="EBADF"):
        fd = p.memfd_create(1)
        p.close(fd)
        p.mmap(fd)


def test_a_pin_by_hand_keeps_the_page() -> None:
    p = Machine().process()
    a = p.mmap(pages=1)
    p.write(a, "x")
    pin = p.pin(a)
    assert p.madvise_dontneed(a) == "ok" and p.read(a) == "0"
    assert (p.pin_read(pin), p.pin_write(pin, 0, "y"), p.pin_read(pin)) == ("x", "ok", "y")
    assert (p.unpin(pin), p.unpin(pin), p.pin_read(pin)) == ("ok", "-EBADF", "-EBADF")
    p.munmap(a)
    with pytest.raises(OSError, match="EFAULT"):
        p.pin(a)


def test_anonymous_memory_that_is_mapped_over_is_one_with_what_lies_beside_it() -> None:
    """Forced scenario 393 of seed 1: the kernel called a subscriber once for both pages, the model twice."""
    hand = ByHand()
    hand.begin()
    pages = hand.mmap(pages=2)
    alone = hand.mmap_read_only(page=0, pages=1, at=pages)
    (mm,) = hand.spaces.values()
    assert mm.mm_mt[0] is not mm.mm_mt[1]
    hand.mmap(pages=1, at=alone)
    assert mm.mm_mt[0] is mm.mm_mt[1] is not None


def test_huge_pages_of_files_are_not_moved_by_hand() -> None:
    hand = ByHand(pages=4, huge=1, hugetlb_files=1, hugetlb_pages=2)
    hand.begin()
    page = hand.mmap(hand.memfd_create_hugetlb(2), pages=2)
    with pytest.raises(ScenarioError, match="move_pages where there are huge pages of files is not modelled"):
        hand.move_pages(page)
