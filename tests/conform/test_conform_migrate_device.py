"""mm/migrate_device.c beside its model."""

from __future__ import annotations

from conform_walks import agreeing_transitions
from conform_world import source_of

from secondsight.conform.build import build
from secondsight.conform.side import Side
from secondsight.conform.target import Configuration
from secondsight.conform.targets.migrate_device import SYSTEM, MigrateDeviceFile, task
from secondsight.conform.targets.migrate_device_world import Entry, Op, To, VmaKind
from secondsight.conform.walk import Beside, Tally

TWO_PAGES = (3, VmaKind.WRITE, 0, 0, Entry.WRITE, 1, Entry.NONE, 0)
"""A page of this process alone, and nothing."""


def test_every_transition_of_pages_that_move_while_somebody_holds_one_agrees() -> None:
    target = MigrateDeviceFile()
    held = next(i for i, one in enumerate(target.bounded("6.12")) if one.threads[-1][0].code == Op.HOLD)
    assert agreeing_transitions(target, "6.12", held).states > 100


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
