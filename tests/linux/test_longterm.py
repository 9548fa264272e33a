"""Memory that must stay movable: a long-term pin moves pages out of it first, and then it can be taken offline or allocated by CMA."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import A, broken_rule, search, world

from secondsight.lang import Machine, atomic, require
from secondsight.lang.program import Thread
from secondsight.linux import EBUSY, EINTR, ENOMEM
from secondsight.linux.cma import cma_alloc, cma_release
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, pin_user_pages_remote, unpin_user_page
from secondsight.linux.memfd import memfd_create
from secondsight.linux.memory_hotplug import offline_pages
from secondsight.linux.mm_types import Flags, Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.mmzone import in_pageblock, pageblocks
from secondsight.linux.page_alloc import frames, get_page, put_page, zone
from secondsight.linux.shmem import F_SEAL_SHRINK, ShmemFile
from secondsight.linux.udmabuf import udmabuf_create, udmabufs
from secondsight.linux.util import account_locked_vm, locked_vm

PIN = FOLL_PIN | FOLL_WRITE


@contextmanager
def block_world(cma: bool = False, **more: int) -> Iterator[tuple[Machine, Mm, ShmemFile]]:
    """A process with a page of a memfd at 0 and a private one at 1, both in the block."""
    room = {
        "frames": 6, "pages": 2, "files": 1, "file_pages": 1, "pageblocks": 1, "pageblock_frames": 2, "migrations": 2, "anon_vmas": 1,
        "dmabuf_pages": 1, "udmabufs": 1, "cma": int(cma),
    }  # fmt: skip
    with world(None, **(room | more)) as (machine, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, file, 0, True)
        do_mmap(mm, 1, 1, None, 0, True)
        for va in range(2):
            cpu_write(mm, va, A + va)
            assert in_pageblock(mm.ptes[va].frame)
        yield machine, mm, file


def test_a_block_is_taken_offline_and_its_pages_are_elsewhere() -> None:
    with block_world() as (_, mm, file):
        assert offline_pages() == 0
        assert [cpu_read(mm, va) for va in range(2)] == [A, A + 1]
        assert not in_pageblock(file.pages[0]) and not any(in_pageblock(pte.frame) for pte in mm.ptes)
        assert zone.nr_free == 1 and pageblocks[0].offline
        assert offline_pages() == -EBUSY


def test_cma_gets_its_block_and_gives_it_back() -> None:
    with block_world(cma=True) as (_, mm, _file):
        assert offline_pages() == -EBUSY, "a block of CMA is CMA's to empty"
        assert cma_alloc() == 0 and cma_alloc() == -EBUSY
        cpu_write(mm, 1, A)
        assert zone.nr_free == 1
        cma_release()
        assert zone.nr_free == 3


@pytest.mark.parametrize("va", [0, 1])
def test_a_reference_or_a_short_pin_keeps_a_block_where_it_is(va: int) -> None:
    with block_world() as (_, mm, _file):
        folio = mm.ptes[va].frame
        assert folio is not None
        get_page(folio)
        assert offline_pages() == -EINTR
        put_page(folio)
        pfn = pin_user_pages_fast(mm, va, PIN)
        assert in_pageblock(frames[pfn]) and offline_pages() == -EINTR
        unpin_user_page(frames[pfn])
        assert offline_pages() == 0


@pytest.mark.parametrize("va", [0, 1])
@pytest.mark.parametrize("remote", [False, True])
def test_a_long_term_pin_moves_the_page_away_first(va: int, remote: bool) -> None:
    with block_world(cma=True) as (_, mm, _file):
        if remote:
            mm.mmap_lock.read_lock()
            pfn = pin_user_pages_remote(mm, va, PIN | FOLL_LONGTERM)
            mm.mmap_lock.read_unlock()
        else:
            pfn = pin_user_pages_fast(mm, va, PIN | FOLL_LONGTERM)
        assert not in_pageblock(frames[pfn]) and mm.ptes[va].frame is frames[pfn] and frames[pfn].pins == 1
        assert cpu_read(mm, va) == A + va
        assert cma_alloc() == 0


def test_a_long_term_pin_fails_where_somebody_holds_the_page() -> None:
    """The 2023-06 thread: udmabuf's reference, then VFIO's pin."""
    with block_world() as (_, mm, _file):
        folio = mm.ptes[0].frame
        assert folio is not None
        get_page(folio)
        assert pin_user_pages_fast(mm, 0, PIN | FOLL_LONGTERM) == -ENOMEM
        assert folio.pins == 0 and not folio.isolated and not folio.locked and mm.ptes[0].frame is folio


def test_memfd_pin_folios_moves_pages_away_too() -> None:
    with block_world() as (_, mm, file):
        at = udmabuf_create(file, 0, 1)
        folio = udmabufs[at].folios[0]
        assert folio is file.pages[0] and folio is not None and not in_pageblock(folio) and folio.pins == 1
        assert offline_pages() == 0 and cpu_read(mm, 0) == A
    with block_world() as (_, mm, file):
        held = file.pages[0]
        assert held is not None
        get_page(held)
        assert udmabuf_create(file, 0, 1) == -ENOMEM and held.pins == 0


def test_locked_memory_is_limited() -> None:
    with block_world(memlock=1) as (_, mm, _file):
        locked_vm(mm).limit = 2
        assert account_locked_vm(mm, 2, True) == 0 and account_locked_vm(mm, 1, True) == -ENOMEM
        assert account_locked_vm(mm, 1, False) == 0 and account_locked_vm(mm, 1, True) == 0 and account_locked_vm(mm, 0, True) == 0
        assert locked_vm(mm).pages == 2
        assert mm.mmap_lock.owner == 0


def pin_for_long(mm: Mm, va: int) -> None:
    """Pin a page for long; what is pinned then is not in the block, and is the process's."""
    pfn = pin_user_pages_fast(mm, va, LONG)
    with atomic:
        require(pfn == -ENOMEM or pfn >= 0, "pins", "a long-term pin fails in another way")
        if pfn >= 0:
            require(not in_pageblock(frames[pfn]), "movable", "pinned for long where memory has to stay movable")
            require(frames[pfn] is mm.ptes[va].frame, "pins", "what is pinned is not what the process has")


def take_offline() -> None:
    """Take the block offline; nothing is left in it then."""
    ret = offline_pages()
    with atomic:
        block = pageblocks[0]
        empty = not any(block.folios[k].refcount > 0 for k in range(len(block.folios)))  # type: ignore[union-attr]
        require((ret == 0) == pageblocks[0].offline and (ret != 0 or empty), "movable", "an offline block is in use")


LONG: Flags = PIN | FOLL_LONGTERM


@pytest.mark.parametrize("va", [0, 1])
def test_pins_and_offlining_beside_each_other(va: int) -> None:
    with block_world() as (machine, mm, _file):
        found = search(machine, (pin_for_long, (mm, va)), (take_offline, ()), (cpu_write, (mm, va, A)))
        assert found.violation is None and found.states > 100


@pytest.mark.parametrize("form, rule", [({}, None), ({"passes_over_isolated": 1}, "movable")])
def test_a_page_that_another_pin_has_in_hand_must_move_all_the_same(form: dict[str, int], rule: str | None) -> None:
    """517f496e1e61: what could not be taken off its list, for another has, is not what may stay."""
    with block_world(**{"migrations": 3, **form}) as (machine, mm, _file):
        assert broken_rule(machine, *[Thread(f"pins{i}", pin_for_long, (mm, 1)) for i in range(2)]) == rule
