"""mm/sparse.c: sections of memory, and the sub-sections by which a device's memory is added to one.

    section       what has struct pages at all, of 128 MiB on x86; here `PAGES_PER_SECTION` pages
    sub-section   what memremap_pages() can add and take away, of 2 MiB: as much as one entry of the middle level maps

A range that is added is whole sub-sections (`check_pfn_span`), and each belongs to one owner (`fill_subsection_map`). So an entry of the middle level maps
pages of one dev_pagemap: who walks over it may look up the first page's alone. Without SPARSEMEM_VMEMMAP, and before Linux 5.3, ranges are whole sections
(`sparse_whole_sections`), which is stricter. `sparse_no_alignment` is what no kernel does: there an entry can map pages of two.

A machine without sections (the bound is 0) has none of this: its device memory has no addresses, and `memremap_pages` always succeeds.

Left out: the memory of struct pages itself (altmap, hugetlb_vmemmap); memory that is onlined (`memory_hotplug`); nodes.
"""

from __future__ import annotations

from typing import Final, Literal

from secondsight.lang import Array, Errno, Record, atomic, bound, require, shared_array
from secondsight.linux.errno import EEXIST, EINVAL
from secondsight.linux.mm_types import HPAGE_PMD_NR, Count, Pgoff

__all__ = [
    "PAGES_PER_SECTION",
    "PAGES_PER_SUBSECTION",
    "MemSection",
    "add_pages",
    "check_pfn_span",
    "mem_sections",
    "memory_present",
    "pfn_valid",
    "remove_pages",
    "sparse_no_alignment",
    "sparse_whole_sections",
]

PAGES_PER_SUBSECTION: Final = HPAGE_PMD_NR
"""PAGES_PER_SUBSECTION (include/linux/mmzone.h, Linux 6.12) is what a huge page has, here as there."""
SUBSECTIONS_PER_SECTION: Final = 2
PAGES_PER_SECTION: Final = PAGES_PER_SUBSECTION * SUBSECTIONS_PER_SECTION


class MemSection(Record):
    """struct mem_section and its mem_section_usage (include/linux/mmzone.h, Linux 6.12). `early`: it was there at boot, with struct pages for all of it."""

    subsection_map: Array[bool, Literal[2]]
    early: bool


mem_sections = shared_array(MemSection, bound("mem_sections", most=3))
sparse_whole_sections = shared_array(bool, bound("sparse_whole_sections", most=1))
"""Of size 1: what is added is whole sections, as without SPARSEMEM_VMEMMAP and before ba72b4c8cf60 (Linux 5.3)."""
sparse_no_alignment = shared_array(bool, bound("sparse_no_alignment", most=1))
"""Of size 1: any page may begin a range, to see what rests on that none does."""


@atomic
def memory_present(start: Pgoff, nr_pages: Count) -> None:
    """memory_present() (mm/sparse.c, Linux 6.12), and its sub-sections: RAM that is there at boot. Part of setting a machine up."""
    for pfn in range(start, start + nr_pages):
        section = mem_sections[pfn // PAGES_PER_SECTION]
        section.early = True
        section.subsection_map[pfn % PAGES_PER_SECTION // PAGES_PER_SUBSECTION] = True


@atomic
def check_pfn_span(pfn: Pgoff, nr_pages: Count) -> Errno:
    """check_pfn_span() (mm/memory_hotplug.c, Linux 6.12): 0, or -EINVAL of a range that does not begin and end with a sub-section."""
    least = PAGES_PER_SUBSECTION
    if len(sparse_whole_sections) > 0:
        least = PAGES_PER_SECTION
    if len(sparse_no_alignment) > 0:
        least = 1
    return 0 if pfn % least == 0 and nr_pages % least == 0 and nr_pages > 0 else -EINVAL


@atomic
def fill_subsection_map(pfn: Pgoff, nr_pages: Count) -> Errno:
    """fill_subsection_map() (mm/sparse.c, Linux 6.12): the range's sub-sections are there from now on. -EEXIST: one is there already."""
    if len(sparse_no_alignment) > 0:
        return 0
    for at in range(pfn, pfn + nr_pages):
        if mem_sections[at // PAGES_PER_SECTION].subsection_map[at % PAGES_PER_SECTION // PAGES_PER_SUBSECTION]:
            return -EEXIST
    set_subsection_map(pfn, nr_pages, True)
    return 0


@atomic
def set_subsection_map(pfn: Pgoff, nr_pages: Count, there: bool) -> None:
    """subsection_mask_set() (mm/sparse.c, Linux 6.12), and what is done with the mask."""
    for at in range(pfn, pfn + nr_pages):
        mem_sections[at // PAGES_PER_SECTION].subsection_map[at % PAGES_PER_SECTION // PAGES_PER_SUBSECTION] = there


@atomic
def add_pages(pfn: Pgoff, nr_pages: Count) -> Errno:
    """__add_pages() (mm/memory_hotplug.c), sparse_add_section(), section_activate() (mm/sparse.c, Linux 6.12): 0, -EINVAL or -EEXIST. The kernel adds section
    by section, and those before the one that is there already stay added (its caller leaves them so); here none is added."""
    ret = check_pfn_span(pfn, nr_pages)
    return ret if ret != 0 else fill_subsection_map(pfn, nr_pages)


@atomic
def remove_pages(pfn: Pgoff, nr_pages: Count) -> None:
    """__remove_pages() (mm/memory_hotplug.c), sparse_remove_section(), section_deactivate(), clear_subsection_map() (mm/sparse.c, Linux 6.12). A section
    that is empty now is one of boot no more."""
    if len(sparse_no_alignment) > 0:
        return
    for at in range(pfn, pfn + nr_pages):
        there = mem_sections[at // PAGES_PER_SECTION].subsection_map[at % PAGES_PER_SECTION // PAGES_PER_SUBSECTION]
        require(there, "sub-section", "takes away a sub-section that is not there")
    set_subsection_map(pfn, nr_pages, False)
    for section in mem_sections:
        if not section.subsection_map[0] and not section.subsection_map[1]:
            section.early = False


@atomic
def pfn_valid(pfn: Pgoff) -> bool:
    """pfn_valid(), pfn_section_valid() (include/linux/mmzone.h, Linux 6.12): whether there is a struct page. In a section of boot there is one for all of it,
    RAM or not."""
    if pfn // PAGES_PER_SECTION >= len(mem_sections):
        return False
    section = mem_sections[pfn // PAGES_PER_SECTION]
    return section.early or section.subsection_map[pfn % PAGES_PER_SECTION // PAGES_PER_SUBSECTION]
