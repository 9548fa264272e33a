"""Mappings that move where there are huge pages: the one entry moves, or is split first."""

from __future__ import annotations

import pytest
from linux_world import A, B, Mirror, device_main, mirror_of, search, world

from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_hugepage, madvise_pageout
from secondsight.linux.migrate import move_page
from secondsight.linux.mm_types import Mm, PmdKind
from secondsight.linux.mmap import do_mmap
from secondsight.linux.mremap import mremap_to
from secondsight.linux.page_alloc import folio_order, page_folio
from secondsight.linux.pgtable import folio_mapcount
from secondsight.scenario import Recorder, ScenarioError
from secondsight.search import Verdict
from secondsight.world.model import outcomes

HUGE = {"huge": 1, "pmds": 3, "pages": 6, "vma_flags": 1, "vmas": 6, "anon_prepared": 1, "anon_vmas": 1, "migrations": 1, "frames": 9, "swap_slots": 4}


def huge_page(mm: Mm) -> None:
    """A huge page at 0, with A and B."""
    do_mmap(mm, 0, 2, None, 0, True)
    madvise_hugepage(mm, 0, 2, 0, 2)
    cpu_write(mm, 0, A)
    cpu_write(mm, 1, B)


@pytest.mark.parametrize("stays", [False, True])
def test_a_huge_page_moves_whole(stays: bool) -> None:
    with world(**HUGE) as (_, mm):
        huge_page(mm)
        folio = mm.ptes[0].frame
        assert mremap_to(mm, 0, 2, 4, 4, 6, stays) == 4
        assert [pmd.kind for pmd in mm.pmds] == [PmdKind.NONE, PmdKind.NONE, PmdKind.HUGE]
        assert folio is not None and mm.ptes[4].frame is folio and (folio.refcount, folio_mapcount(folio)) == (1, 1)
        assert (cpu_read(mm, 4), cpu_read(mm, 5)) == (A, B)
        assert (mm.mm_mt[0] is not None) is stays
        if stays:
            assert cpu_write(mm, 0, A) == 0 and mm.pmds[0].kind == PmdKind.HUGE, "it is as if nobody had touched it"


def test_of_a_part_that_moves_each_page_is_found_again() -> None:
    """By who walks from the folio to its entries: they are in two vmas, one of which counts its pages from where it was."""
    with world(**HUGE) as (_, mm):
        huge_page(mm)
        folio = mm.ptes[0].frame
        assert folio is not None and mremap_to(mm, 1, 1, 5, 5, 6) == 5
        assert [pmd.kind for pmd in mm.pmds] == [PmdKind.TABLE, PmdKind.NONE, PmdKind.TABLE]
        assert folio_order(folio) == 1 and folio_mapcount(folio) == 2 and mm.ptes[5].frame is folio.tail[0]
        assert move_page(mm, 5) == 0
        moved = mm.ptes[5].frame
        assert moved is not None and page_folio(moved) is mm.ptes[0].frame is not folio
        assert (cpu_read(mm, 0), cpu_read(mm, 5)) == (A, B)


def test_a_huge_page_that_has_moved_is_moved_and_swapped_out_as_any() -> None:
    with world(**HUGE) as (_, mm):
        huge_page(mm)
        assert mremap_to(mm, 0, 2, 4, 4, 6) == 4 and move_page(mm, 5) == 0 and mm.pmds[2].kind == PmdKind.HUGE
        assert madvise_pageout(mm, 4, 2) == 0
        assert mm.ptes[4].frame is None and mm.ptes[5].frame is None and (cpu_read(mm, 5), cpu_read(mm, 4)) == (B, A)


def test_a_mirror_beside_a_part_that_moves() -> None:
    small = HUGE | {"pmds": 2, "pages": 4, "swap_slots": 0, "migrations": 0, "anon_vmas": 0, "frames": 6}
    with world({Mirror: 1}, **small) as (machine, mm):
        huge_page(mm)
        mirror = mirror_of(machine, mm)
        found = search(machine, (mremap_to, (mm, 1, 1, 3, 3, 4, False)), (device_main, (mirror, 1, 1)))
        assert found.verdict is Verdict.HOLDS


def test_halves_of_two_huge_pages_do_not_come_into_one() -> None:
    s = Recorder()
    a = s.mmap(pages=2)
    s.madvise_hugepage(a)
    s.write(a, "a")
    s.mremap(a + 1, pages=1)
    with pytest.raises(ScenarioError, match="does not begin as they do"):
        outcomes(s.scenario("uneven", ""))
