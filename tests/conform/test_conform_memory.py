"""mm/memory.c beside its model, on real page tables: walks and transitions agree, and what is made wrong is noticed."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_sample, agreeing_transitions, agreeing_walks, noticed

from secondsight.conform.targets.memory import ABSENT, MemoryFile
from secondsight.conform.targets.memory_world import EntryAs

TARGET = MemoryFile()


@pytest.mark.wide
@pytest.mark.parametrize("release", TARGET.releases)
def test_random_walks_agree(release: str) -> None:
    agreeing_walks(TARGET, release)


def test_faults_and_zaps_of_every_kind_of_entry_agree() -> None:
    assert agreeing_sample(TARGET, "6.12", 61).states > 1_000


@pytest.mark.parametrize("release", ["6.12", pytest.param("7.2", marks=pytest.mark.wide), pytest.param("6.1", marks=pytest.mark.wide)])
def test_forks_of_every_kind_of_entry_agree(release: str) -> None:
    forks = [number for number, one in enumerate(TARGET.bounded(release)) if any(task.name == "fork" for thread in one.threads for task in thread)]
    assert len(forks) > 100
    for which in forks[::40]:
        assert agreeing_transitions(TARGET, release, which).states > 10


@pytest.mark.parametrize(("release", "every"), [("6.12", 4), pytest.param("6.12", 1, marks=pytest.mark.wide), pytest.param("7.2", 1, marks=pytest.mark.wide), pytest.param("6.1", 1, marks=pytest.mark.wide)])
def test_faults_on_entries_that_are_not_present_agree(release: str, every: int) -> None:
    """One of each kind: in swap, its page in the swap cache or locked too, moved, in a device's memory, a device's alone, with its folio locked or not."""
    first: dict[int, int] = {}
    for number, one in enumerate(TARGET.bounded(release)):
        if one.setup[1] in ABSENT and any(task.name == "fault" for thread in one.threads for task in thread):
            first.setdefault(one.setup[1], number)
    assert set(first) == {*ABSENT}
    for which in [*first.values()][::every]:
        assert agreeing_transitions(TARGET, release, which).states > 5


@pytest.mark.wide
def test_two_faults_on_one_absent_entry_agree_where_the_slot_goes_later() -> None:
    """In 7.2 who comes too late frees the slot, and who does not get the lock of a page in a device's memory waits."""
    both = [
        number for number, one in enumerate(TARGET.bounded("7.2"))
        if one.setup[1] in (EntryAs.SWAPPED_ALONE, EntryAs.CACHED, EntryAs.PRIVATE) and [[task.name for task in thread] for thread in one.threads] == [["fault"], ["fault"]]
    ]  # fmt: skip
    assert len(both) > 20
    for which in both[::6]:
        agreeing_transitions(TARGET, "7.2", which)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("	if (folio && folio_test_anon(folio) &&\n	    (PageAnonExclusive", "	if (folio && 0 &&\n	    (PageAnonExclusive"),  # a page of its own is copied all the same
        pytest.param("			folio_remove_rmap_pte(old_folio, vmf->page, vma);\n", "", marks=pytest.mark.wide),  # what was copied counts as mapped still
        pytest.param("		wrprotect_ptes(src_mm, addr, src_pte, nr);\n", "", marks=pytest.mark.wide),  # the parent of a fork may write on
        pytest.param("			get_page(vmf->page);\n			pte_unmap_unlock", "			pte_unmap_unlock", marks=pytest.mark.wide),  # nobody holds what a driver is asked for
        pytest.param("		exclusive = pte_swp_exclusive(vmf->orig_pte);\n", "		exclusive = true;\n", marks=pytest.mark.wide),  # a swapped page is everybody's own
        pytest.param(
            "			WARN_ON_ONCE(!folio_test_anon(folio));\n			rss[mm_counter(folio)]--;\n			if (is_device_private_entry(entry))\n",
            "			rss[mm_counter(folio)]--;\n",
            marks=pytest.mark.wide,
        ),  # a device-exclusive entry counts as a mapping
    ],
)
def test_what_is_made_wrong_is_noticed(was: str, now: str) -> None:
    noticed(TARGET, "6.12", was, now)
