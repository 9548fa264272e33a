"""mm/migrate_device.c beside its model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conform_walks import agreeing_transitions
from conform_world import source_of

from secondsight.conform import build as builder
from secondsight.conform.build import build
from secondsight.conform.side import Side
from secondsight.conform.story import tell
from secondsight.conform.target import Configuration
from secondsight.conform.targets.migrate_device import DEVICE, SYSTEM, MigrateDeviceFile, task
from secondsight.conform.targets.migrate_device_world import Entry, Fault, Op, To, VmaKind
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


@pytest.mark.wide
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


@pytest.mark.parametrize("release", MigrateDeviceFile.releases)
@pytest.mark.parametrize("fault", [Fault.ANY, pytest.param(Fault.UNLOCKED, marks=pytest.mark.wide)])
def test_what_is_no_page_of_a_fault_is_refused_as_the_kernel_does(release: str, fault: Fault) -> None:
    target, source = MigrateDeviceFile(), source_of(release)
    tally = Tally()
    with Side(build(target, source)) as side:
        for one in target.bounded(release):
            if len(one.threads) == 1 and one.threads[0][0].arguments[4] == fault:
                Beside(target, side, release).all_transitions(one, tally, careful=True)
    assert tally.disagreement is None, tell(target, release, tally.disagreement)
    assert tally.walks == 6


@pytest.mark.parametrize(
    ("release", "check", "fault"),
    [("6.12", "!is_device_private_page(args->fault_page)", Fault.ANY), ("7.2", "!is_device_private_page(args->fault_page)", Fault.ANY), ("7.2", "!PageLocked(args->fault_page)", Fault.UNLOCKED)],
)
def test_a_kernel_that_takes_any_page_for_a_faults_is_noticed(release: str, check: str, fault: Fault) -> None:
    target, source = MigrateDeviceFile(), source_of(release)
    text = (source.tree / target.file).read_text()
    assert check in text
    tally = Tally()
    with Side(build(target, source, text.replace(check, "0"))) as side:
        for one in target.bounded(release):
            if tally.disagreement is None and len(one.threads) == 1 and one.threads[0][0].arguments[4] == fault:
                Beside(target, side, release).all_transitions(one, tally)
    assert tally.disagreement is not None


def test_an_edit_of_a_header_that_the_targets_c_includes_makes_a_program_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, source = MigrateDeviceFile(), source_of("6.12")
    program = build(target, source)
    ours = tmp_path / "c"
    shutil.copytree(builder.OURS, ours)
    monkeypatch.setattr(builder, "OURS", ours)
    assert build(target, source) == program
    header = ours / "migrate_device_releases.h"
    header.write_text(header.read_text() + "/* one line more */\n")
    assert build(target, source) != program


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
