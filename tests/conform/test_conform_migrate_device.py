"""mm/migrate_device.c beside its model."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_transitions
from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.side import Side
from secondsight.conform.target import Configuration
from secondsight.conform.targets.migrate_device import DEVICE, SYSTEM, MigrateDeviceFile, task
from secondsight.conform.targets.migrate_device_world import Entry, Op, To, VmaKind
from secondsight.conform.walk import Beside, Tally

TWO_PAGES = (3, VmaKind.WRITE, 0, 0, Entry.WRITE, 1, Entry.NONE, 0)
"""A page of this process alone, and nothing."""


@pytest.mark.parametrize("release", MigrateDeviceFile.releases)
def test_every_transition_of_pages_that_move_while_somebody_holds_one_agrees(release: str) -> None:
    target = MigrateDeviceFile()
    held = next(i for i, one in enumerate(target.bounded(release)) if one.threads[-1][0].code == Op.HOLD)
    assert agreeing_transitions(target, release, held).states > 100


@pytest.mark.parametrize("release", MigrateDeviceFile.releases)
def test_a_page_that_a_fault_brings_back_agrees(release: str) -> None:
    """In 7.2 the fault has locked it, and unlocks it."""
    target = MigrateDeviceFile()
    fault = next(i for i, one in enumerate(target.bounded(release)) if _is_fault(one))
    assert agreeing_transitions(target, release, fault).states > 20


def _is_fault(one: Configuration) -> bool:
    *_, flags, to, fault = one.threads[0][0].arguments or (0, 0, 0)
    return fault == 1 and to == To.SYSTEM and flags == DEVICE


@pytest.mark.parametrize(
    ("was", "now"),
    [("if (fault_folio != src)", "if (1)"), ("if (fault_folio == folio || folio_trylock(folio))", "if (folio_trylock(folio))"), ("!PageLocked(args->fault_page)", "PageLocked(args->fault_page)")],
)
def test_a_change_of_who_locks_the_page_of_a_fault_is_noticed(was: str, now: str) -> None:
    target, source = MigrateDeviceFile(), source_of("7.2")
    text = (source.tree / target.file).read_text()
    assert was in text
    program, tally = build(target, source, text.replace(was, now)), Tally()
    with Side(program) as side:
        Beside(target, side, "7.2").all_transitions(next(one for one in target.bounded("7.2") if _is_fault(one)), tally)
    assert tally.disagreement is not None


def test_a_change_is_noticed() -> None:
    """Two in one text: what somebody holds moves all the same; what a fault put there meanwhile is not looked at."""
    target, source = MigrateDeviceFile(), source_of("6.12")
    text = (source.tree / target.file).read_text()
    changes = {"folio_ref_count(folio) - extra": "0 * extra", "if (!is_zero_pfn(pfn))": "if (0)"}
    for was, now in changes.items():
        assert was in text
        text = text.replace(was, now)
    program = build(target, source, text)
    migrates = task(Op.MIGRATE, 0, 2, SYSTEM, To.DEVICE, 0)
    for beside in (Op.HOLD, Op.FILL):
        tally, page = Tally(), int(beside == Op.FILL)
        with Side(program) as side:
            Beside(target, side, "6.12").all_transitions(Configuration(TWO_PAGES, ((migrates,), (task(beside, page),))), tally)
        assert tally.disagreement is not None, beside
