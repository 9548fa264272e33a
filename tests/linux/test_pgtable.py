"""What a page-table entry is: kinds, and that those which nothing makes cost nothing."""

from __future__ import annotations

import pytest

from secondsight.contract.adversaries import ADVERSARIES
from secondsight.contract.check import driver_program
from secondsight.devices.mirror import Mirror
from secondsight.lang import Machine
from secondsight.linux import bounds
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_types import Folio, Pte, PteKind
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import ZERO_PFN, frames, mem_init
from secondsight.linux.pgtable import pte_none, pte_present, vm_normal_folio


def test_the_tests_of_an_entry() -> None:
    with Machine(bounds(pages=3)):
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        assert do_mmap(mm, 0, 3, None, 0, True) == 0
        assert pte_none(mm.ptes[0]) and pte_present(mm.ptes[0]) is None
        assert cpu_read(mm, 0) == 0
        assert pte_present(mm.ptes[0]) is frames[ZERO_PFN] and vm_normal_folio(mm.ptes[0]) is None
        assert cpu_write(mm, 1, ord("a")) == 0
        one = mm.ptes[1].frame
        assert one is not None and vm_normal_folio(mm.ptes[1]) is one and pte_present(mm.ptes[1]) is one
        mm.ptes[1].special = True
        assert vm_normal_folio(mm.ptes[1]) is None and pte_present(mm.ptes[1]) is one


@pytest.mark.parametrize("kind", [k for k in PteKind if k is not PteKind.PRESENT])
def test_what_is_not_present_is_neither_empty_nor_found(kind: PteKind) -> None:
    with Machine(bounds(pages=2)):
        mem_init()
        proc_caches_init()
        pte = mm_alloc().ptes[0]
        pte.kind = kind
        assert not pte_none(pte)
        pte.frame = frames[1]
        assert pte_present(pte) is None and vm_normal_folio(pte) is None


def test_what_nothing_makes_is_no_part_of_a_state() -> None:
    program = driver_program(Mirror, ADVERSARIES["munmap"].scenarios[0])
    layout = program.layout
    assert layout.is_constant(Pte, "kind") and layout.is_constant(Folio, "pins")
    assert (layout.record_size(Pte), layout.record_size(Folio)) == (1, 2)
    assert program.size < 160
