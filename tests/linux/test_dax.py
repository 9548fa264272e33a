"""Device memory: references, removal in the right order, and in wrong ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from linux_world import A, Mirror, device_main, free_frames, mirror_of, search, world

from secondsight.lang import ModelError, atomic
from secondsight.linux import EINVAL, ENODEV, ENXIO, SIGBUS, hmm
from secondsight.linux.dax import (
    DevDax,
    dax_mmap,
    dev_dax_invalidate,
    dev_dax_probe,
    dev_dax_unbind,
    kill_dax,
    synchronize_dax,
    unregister_dev_dax,
)
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.memremap import (
    dev_pagemap_drain,
    dev_pagemap_kill,
    dev_pagemap_remove,
    get_dev_pagemap,
    memremap_pages,
    memunmap_pages,
    put_dev_pagemap,
)
from secondsight.linux.mm_types import Folio, Mm
from secondsight.linux.mmap import do_mmap_fixed, vm_munmap
from secondsight.linux.mremap import mremap_to
from secondsight.linux.page_alloc import frame_touch, page_to_pfn

SIZES = {"pages": 1, "file_pages": 1, "pagemaps": 1, "dax_devices": 1}


def test_mapping_writing_and_unmapping_takes_no_reference() -> None:
    with world(**SIZES) as (_, mm):
        dax = dev_dax_probe(1)
        assert dax_mmap(dax, mm, 0, 1, 0, False) == -EINVAL
        assert dax_mmap(dax, mm, 0, 1, 0, True) == 0
        cpu_write(mm, 0, A)
        frame = mm.ptes[0].frame
        assert frame is not None
        assert frame.refcount == 1
        before = free_frames()
        vm_munmap(mm, 0, 1)
        assert (frame.refcount, frame.contents, free_frames()) == (1, A, before)


def test_after_removal_nothing_can_be_mapped_or_reached() -> None:
    with world(**SIZES) as (_, mm):
        dax = dev_dax_probe(1)
        dax_mmap(dax, mm, 0, 1, 0, True)
        cpu_write(mm, 0, A)
        frame = mm.ptes[0].frame
        assert frame is not None
        unregister_dev_dax(dax)
        assert mm.ptes[0].frame is None
        assert frame.refcount == 0
        assert cpu_read(mm, 0) == -SIGBUS
        vm_munmap(mm, 0, 1)
        assert dax_mmap(dax, mm, 0, 1, 0, True) == -ENXIO


def test_mappings_side_by_side_are_of_one_vma() -> None:
    """Seen on a real 6.12 (drawn scenario free_1_1182): what is mapped over a part of a mapping continues the rest, which moves with it. A device that has gone is asked first."""
    with world(**SIZES | {"pages": 4, "file_pages": 2, "vmas": 4}) as (_, mm):
        dax = dev_dax_probe(2)
        assert dax_mmap(dax, mm, 0, 2, 0, True) == 0
        assert do_mmap_fixed(mm, 0, 1, dax, 0, True, high=4) == 0
        assert mm.mm_mt[0] is mm.mm_mt[1]
        assert mremap_to(mm, 0, 2, 2, 0, 4) == 2
        unregister_dev_dax(dax)
        assert do_mmap_fixed(mm, 2, 1, dax, 0, True, high=4) == -ENXIO
        assert mm.mm_mt[2] is None


def test_what_user_space_asks_for_is_all_of_the_removal_and_once() -> None:
    with world(**SIZES) as (_, mm):
        dax = dev_dax_probe(1)
        dax_mmap(dax, mm, 0, 1, 0, True)
        cpu_write(mm, 0, A)
        assert dev_dax_unbind(dax) == 0
        assert mm.ptes[0].frame is None and dax.pgmap is not None and dax.pgmap.nr_pages == 0
        assert cpu_read(mm, 0) == -SIGBUS
        assert dev_dax_unbind(dax) == -ENODEV
        vm_munmap(mm, 0, 1)
        assert [dax_mmap(dax, mm, 0, 1, 0, shared) for shared in (True, False)] == [-ENXIO] * 2  # whether it lives is asked first


def test_a_killed_pagemap_gives_no_references_and_drains_those_it_gave() -> None:
    with world(**SIZES):
        dax = dev_dax_probe(1)
        assert dax.pgmap is not None
        frame = dax.pgmap.pages[0]
        assert frame is not None
        held = get_dev_pagemap(frame)
        assert held is dax.pgmap
        dev_pagemap_kill(held)
        assert get_dev_pagemap(frame) is None
        with pytest.raises(ModelError, match="wait"):
            dev_pagemap_drain(held)
        put_dev_pagemap(held)
        dev_pagemap_drain(held)
        dev_pagemap_remove(held)
        assert frame.refcount == 0


def test_device_memory_can_be_mirrored() -> None:
    with world({Mirror: 1}, **SIZES) as (machine, mm):
        mirror = mirror_of(machine, mm)
        dax = dev_dax_probe(1)
        dax_mmap(dax, mm, 0, 1, 0, True)
        assert dax.pgmap is not None
        frame = dax.pgmap.pages[0]
        assert frame is not None
        assert hmm.hmm_range_fault(mirror.notifier, 0, True) == page_to_pfn(frame)


# Every interleaving of a removal with a CPU and with a right mirror.


def right_order(dax: DevDax) -> None:
    unregister_dev_dax(dax)


def drain_before_invalidate(dax: DevDax) -> None:
    pgmap = dax.pgmap
    kill_dax(dax)
    synchronize_dax(dax)
    if pgmap is not None:
        memunmap_pages(pgmap)
    dev_dax_invalidate(dax)


def invalidate_before_disable(dax: DevDax) -> None:
    pgmap = dax.pgmap
    dev_dax_invalidate(dax)
    kill_dax(dax)
    synchronize_dax(dax)
    if pgmap is not None:
        memunmap_pages(pgmap)


def no_waiting_for_faults(dax: DevDax) -> None:
    pgmap = dax.pgmap
    kill_dax(dax)
    dev_dax_invalidate(dax)
    if pgmap is not None:
        memunmap_pages(pgmap)


def cpu_main(mm: Mm) -> None:
    cpu_read(mm, 0)
    cpu_read(mm, 0)


def nobody(mm: Mm) -> None:
    pass


@pytest.mark.parametrize("order", [right_order, drain_before_invalidate, invalidate_before_disable, no_waiting_for_faults])
@pytest.mark.parametrize("device", [False, True])
def test_only_disable_invalidate_drain_is_safe(order: Callable[[DevDax], None], device: bool) -> None:
    with world({Mirror: 1}, **SIZES) as (machine, mm):
        mirror = mirror_of(machine, mm)
        dax = dev_dax_probe(1)
        dax_mmap(dax, mm, 0, 1, 0, True)
        user = (device_main, (mirror, 0, 2)) if device else (cpu_main, (mm,))
        found = search(machine, (order, (dax,)), user)
    if order is right_order:
        assert found.verdict.value == "holds"
    else:
        assert found.violation is not None
        assert found.violation.rule == "no-use-after-free"


# The caller's own pagemap: pages of two of them in one entry.


def walks(first: Folio, second: Folio) -> None:
    """Right: looks up each page, and has one reference at a time."""
    with atomic:
        pgmap = get_dev_pagemap(first, None)
        if pgmap is not None:
            frame_touch(first, False)
    with atomic:
        pgmap = get_dev_pagemap(second, pgmap)
        if pgmap is not None:
            frame_touch(second, False)
    if pgmap is not None:
        put_dev_pagemap(pgmap)


def looks_up_the_first(first: Folio, second: Folio) -> None:
    """Wrong: takes the pagemap of the first page for that of all."""
    with atomic:
        pgmap = get_dev_pagemap(first, None)
        if pgmap is not None:
            frame_touch(first, False)
    if pgmap is not None:
        frame_touch(second, False)
        put_dev_pagemap(pgmap)


def forgets_the_change(first: Folio, second: Folio) -> None:
    """Wrong: looks up each page anew, and drops the last one's pagemap alone."""
    get_dev_pagemap(first)
    with atomic:
        pgmap = get_dev_pagemap(second)
    if pgmap is not None:
        put_dev_pagemap(pgmap)


@pytest.mark.parametrize(
    ("walker", "pagemaps", "rule"),
    [
        (walks, (1, 1), None),
        (walks, (2,), None),
        (looks_up_the_first, (1, 1), "no-use-after-free"),
        (looks_up_the_first, (2,), None),
        (forgets_the_change, (1, 1), "deadlock"),
        (forgets_the_change, (2,), "deadlock"),
    ],
)
def test_an_entry_that_spans_two_pagemaps(walker: Callable[[Folio, Folio], None], pagemaps: tuple[int, ...], rule: str | None) -> None:
    with world(None, **(SIZES | {"frames": 4, "file_pages": 2, "pagemaps": len(pagemaps)})) as (machine, _):
        made = [memremap_pages(pages) for pages in pagemaps]
        first, second = [frame for pgmap in made for frame in pgmap.pages if frame is not None]
        threads = [(walker, (first, second)), *((memunmap_pages, (pgmap,)) for pgmap in made)]
        found = search(machine, *threads)
    assert (found.violation.rule if found.violation is not None else None) == rule


def test_the_callers_pagemap_is_the_answer_without_a_new_reference() -> None:
    with world(None, **(SIZES | {"frames": 4, "file_pages": 2, "pagemaps": 2})):
        both, other = memremap_pages(2), memremap_pages(1)
        first, second, third = (frame for frame in (*both.pages, other.pages[0]) if frame is not None)
        assert get_dev_pagemap(first) is both
        before = both.ref.count
        assert get_dev_pagemap(second, both) is both and both.ref.count == before
        dev_pagemap_kill(both)
        assert get_dev_pagemap(first) is None
        assert get_dev_pagemap(first, both) is both, "who has a reference goes on"
        assert get_dev_pagemap(third, both) is other, "and has dropped it at the change"
        dev_pagemap_drain(both)
