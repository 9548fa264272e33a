"""Sections and sub-sections: where a device's memory may lie, and whether one entry can map the memory of two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from linux_world import A, Mirror, device_main, mirror_of, search, world

from secondsight.lang import RuleBroken, atomic
from secondsight.linux import EBUSY, EEXIST, EINVAL, ENOMEM, ENXIO, SIGBUS
from secondsight.linux.dax import DevDax, dax_mmap, dev_dax_probe, unregister_dev_dax
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup_devmap import gup_fast_devmap_pmd_leaf, gup_fast_undo_dev_pagemap
from secondsight.linux.hmm_2019 import hmm_vma_handle_pmd
from secondsight.linux.huge_memory_devmap import insert_pfn_pmd, pmd_devmap
from secondsight.linux.memremap import dev_pagemap_kill, memremap_pages, memremap_pages_at, memunmap_pages, pagemaps
from secondsight.linux.mm_flags import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE
from secondsight.linux.mm_types import Flags, Mm
from secondsight.linux.mmap import vm_munmap
from secondsight.linux.sparse import PAGES_PER_SECTION, memory_present, pfn_valid, remove_pages

ADDRESSES = {"pages": 2, "frames": 12, "file_pages": 4, "pagemaps": 3, "mem_sections": 2, "pgmap_range": 1}
HUGE = {"pages": 2, "frames": 4, "file_pages": 2, "pagemaps": 2, "dax_devices": 1, "dax_align": 1, "huge": 1, "pmds": 2}


def test_device_memory_is_whole_sub_sections() -> None:
    with world(**ADDRESSES):
        assert memremap_pages_at(1, 2) == -EINVAL and memremap_pages_at(0, 1) == -EINVAL and memremap_pages_at(2, 3) == -EINVAL
        assert [pfn_valid(pfn) for pfn in (0, 2, 7, 8)] == [False] * 4
        first = memremap_pages_at(2, 2)
        assert first >= 0 and pagemaps[first].range_start[0] == 2
        assert [pfn_valid(pfn) for pfn in (1, 2, 3, 4)] == [False, True, True, False]
        assert memremap_pages_at(4, 2) >= 0, "another's, beside it and in another section"
        memunmap_pages(pagemaps[first])
        with pytest.raises(RuleBroken, match="sub-section"):
            remove_pages(2, 2)
        assert not pfn_valid(2) and memremap_pages_at(0, 4) >= 0


def test_who_is_there_already_is_seen_by_the_ends_alone_and_what_lies_between_by_the_map() -> None:
    with world(**(ADDRESSES | {"frames": 16})):
        inner = memremap_pages_at(2, 2)
        assert memremap_pages_at(2, 4) == -ENOMEM and memremap_pages_at(0, 4) == -ENOMEM
        assert memremap_pages_at(0, 6) == -EEXIST, "neither end is another's"
        dev_pagemap_kill(pagemaps[inner])
        assert memremap_pages_at(2, 2) == -EEXIST, "who is dying is not looked for, and is there still"


def test_a_section_of_boot_has_struct_pages_for_all_of_it() -> None:
    with world(**ADDRESSES):
        memory_present(0, 2)
        assert [pfn_valid(pfn) for pfn in (0, 3, PAGES_PER_SECTION)] == [True, True, False]
        assert memremap_pages_at(0, 2) == -ENXIO and memremap_pages_at(0, 4) == -ENXIO
        beside = memremap_pages_at(2, 2)
        assert beside >= 0, "the other half of the section"
        memunmap_pages(pagemaps[beside])
        assert pfn_valid(2), "as RAM is there still"


@pytest.mark.parametrize(("bound", "whole"), [("sparse_whole_sections", True), ("sparse_no_alignment", False)])
def test_ranges_were_whole_sections_before_and_could_be_anything(bound: str, whole: bool) -> None:
    with world(**(ADDRESSES | {bound: 1})):
        assert (memremap_pages_at(1, 1) == -EINVAL) is whole and (memremap_pages_at(2, 2) == -EINVAL) is whole
        assert memremap_pages_at(4, 4) >= 0


@pytest.mark.parametrize("spans", [False, True])
def test_one_entry_maps_the_memory_of_two_only_if_nothing_is_aligned(spans: bool) -> None:
    """For each place of two ranges one behind the other: whether a huge page's worth of memory, aligned as an entry is, can be of both."""
    found = False
    for border in range(1, 4):
        with world(**(ADDRESSES | {"sparse_no_alignment": int(spans)})):
            if memremap_pages_at(0, border) >= 0 and memremap_pages_at(border, 4 - border) >= 0:
                found |= border % 2 == 1
    assert found is spans


# One entry for a huge page's worth of a device's memory.


def test_a_device_with_huge_entries_is_mapped_by_them() -> None:
    with world(**(HUGE | {"pages": 4, "pagemaps": 1, "frames": 8, "file_pages": 4})) as (_, mm):
        dax = dev_dax_probe(3, align=2)
        assert dax_mmap(dax, mm, 1, 2, 0, True) == -EINVAL == dax_mmap(dax, mm, 0, 1, 0, True)
        assert dax_mmap(dax, mm, 0, 4, 0, True) == 0
        assert cpu_write(mm, 1, A) == 0 and pmd_devmap(mm, 0) and pmd_devmap(mm, 1)
        assert cpu_read(mm, 0) == 0 and cpu_read(mm, 1) == A
        assert cpu_read(mm, 2) == -SIGBUS, "the device has only a half of it"
        vm_munmap(mm, 0, 1)
        assert not pmd_devmap(mm, 1) and mm.ptes[1].frame is None, "it is not split, but taken away"
        assert cpu_read(mm, 1) == -SIGBUS, "the vma has only a half of it"
        unregister_dev_dax(dax)


def test_removal_and_a_mirror_of_huge_entries() -> None:
    with world({Mirror: 1}, **(HUGE | {"pagemaps": 1})) as (machine, mm):
        dax = dev_dax_probe(2, align=2)
        dax_mmap(dax, mm, 0, 2, 0, True)
        mirror = mirror_of(machine, mm)
        assert search(machine, (unregister_dev_dax, (dax,)), (device_main, (mirror, 1, 1))).verdict.value == "holds"


def takes(mm: Mm, flags: Flags) -> None:
    """Who takes both pages, and does not touch them."""
    grabbed = gup_fast_devmap_pmd_leaf(mm, 0, 2, flags)
    gup_fast_undo_dev_pagemap(grabbed, flags)


def takes_for_good(mm: Mm, flags: Flags) -> None:
    """Who takes both pages, and never gives them back; the walk does, if it finds that it may not have them all."""
    gup_fast_devmap_pmd_leaf(mm, 0, 2, flags)


def looks(mm: Mm) -> None:
    """The look of Linux 5.3 at the entry."""
    ret = hmm_vma_handle_pmd(mm, 0, 2)
    with atomic:
        assert ret in (0, -EBUSY)


def spanning(mm: Mm, pagemaps_: tuple[int, ...]) -> list[Any]:
    """A huge page's worth of memory at address 0, by one entry: of as many pagemaps as there are numbers."""
    made = [memremap_pages(pages) for pages in pagemaps_]
    dax = dev_dax_probe(0, align=2)
    assert dax_mmap(dax, mm, 0, 2, 0, True) == 0
    first, second = [frame for pgmap in made for frame in pgmap.pages if frame is not None]
    insert_pfn_pmd(mm, 0, first, second)
    return made


def drains_alone(dax: DevDax) -> None:
    """A removal that does not take entries away."""
    assert dax.pgmap is not None
    memunmap_pages(dax.pgmap)


@pytest.mark.parametrize("pagemaps_", [(1, 1), (2,)])
def test_a_walk_takes_all_of_what_an_entry_maps_or_nothing(pagemaps_: tuple[int, ...]) -> None:
    with world(**(HUGE | {"pagemaps": 3})) as (_, mm):
        made = spanning(mm, pagemaps_)
        folios = [mm.ptes[va].frame for va in range(2)]
        assert all(folio is not None for folio in folios)
        grabbed = gup_fast_devmap_pmd_leaf(mm, 0, 2, FOLL_PIN | FOLL_WRITE)
        assert list(grabbed) == folios and [folio.refcount for folio in grabbed] == [2, 2]
        gup_fast_undo_dev_pagemap(grabbed, FOLL_PIN | FOLL_WRITE)
        assert gup_fast_devmap_pmd_leaf(mm, 0, 2, FOLL_PIN | FOLL_LONGTERM) == []
        assert hmm_vma_handle_pmd(mm, 0, 2) == 0
        dev_pagemap_kill(made[-1])
        assert gup_fast_devmap_pmd_leaf(mm, 0, 2, FOLL_PIN) == [] and hmm_vma_handle_pmd(mm, 0, 2) == -EBUSY
        assert [folio.refcount for folio in folios if folio is not None] == [1, 1] and made[0].ref.count == (1 if len(made) == 2 else 0)


@pytest.mark.parametrize("walker", [takes_for_good, looks])
@pytest.mark.parametrize("pagemaps_", [(1, 1), (2,)])
def test_what_alignment_is_for(walker: Callable[..., None], pagemaps_: tuple[int, ...]) -> None:
    """Beside removal of the memory. Behind a border the kernel's own walk gives pages back whose pagemap it holds no more; the look of 5.3 takes no page."""
    with world(**(HUGE | {"pagemaps": 3})) as (machine, mm):
        made = spanning(mm, pagemaps_)
        found = search(machine, (walker, (mm, FOLL_PIN) if walker is takes_for_good else (mm,)), *((memunmap_pages, (pgmap,)) for pgmap in made))
    rule = "use-after-free" if walker is takes_for_good and len(pagemaps_) == 2 else None
    assert (found.violation.rule if found.violation is not None else None) == rule


@pytest.mark.parametrize("order", [unregister_dev_dax, drains_alone])
def test_a_pin_of_device_memory_is_not_waited_for(order: Callable[[DevDax], None]) -> None:
    """In whatever order it is taken away: the pagemap is held while the walk looks, and no longer."""
    with world(**(HUGE | {"pagemaps": 1})) as (machine, mm):
        dax = dev_dax_probe(2, align=2)
        dax_mmap(dax, mm, 0, 2, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (takes, (mm, FOLL_PIN | FOLL_WRITE)), (order, (dax,)))
    assert found.violation is not None and found.violation.rule == "use-after-free"
