"""Mutants of what tables are about (2011, 2021, 2023, 2026): what is noticed is told, and nothing survives but what may.

A sample here; all of them with `SECONDSIGHT_CONTRACT=all` (`make adversaries`).
"""

from __future__ import annotations

import os

import pytest

from secondsight.cases.design_mutants import mutants_of, try_design
from secondsight.cases.table_mutants import DESIGNS, HARMLESS_IN_DESIGNS
from secondsight.search import Verdict


def fates(name: str, mutants: list[str]) -> list[tuple[str, str]]:
    known = {one.name: one for one in mutants_of(DESIGNS[name])}
    return [(trial.fate, trial.by) for trial in (try_design(DESIGNS[name], known[f"{name}.{one}"]) for one in mutants)]


def test_what_comes_of_some() -> None:
    kept, untold = fates("UdmabufKeepOld", ["map_dma_buf: negate 1", "changed: drop 1"])
    assert kept == ("broken", "no freed frame, none-followed")
    assert untold == ("survives", "")
    (forgets,) = fates("UdmabufPrepare", ["changed: drop 1"])
    assert forgets == ("broken", "reads new data, reads-new-data")


def test_an_importer_that_gets_at_no_page_is_idle() -> None:
    assert fates("UdmabufHmmUnderResv", ["map_dma_buf: negate 2"]) == [("idle", "what the cells are about does not happen")]


def test_what_columns_of_a_table_do_not_ask_is_asked_of_mutants() -> None:
    """That memory is given back; that a buffer is closed which was never revoked; that a page is saved which a device has only written to."""
    assert fates("SkipsThePut", ["close: drop 6", "close: drop 7"]) == [("broken", "closed unmapped, no-freed-frame"), ("broken", "closed at once, assertion")]
    assert fates("OdpIn2011", ["flush_page: negate 2"]) == [("broken", "only writes, lost-write")]


def test_what_a_table_s_column_does_not_come_to_is_asked_of_mutants() -> None:
    """That a buffer which was shown is given back, and once alone, and that nobody is attached to it any more."""
    assert fates("UdmabufHeld", ["unmap_dma_buf: drop 1", "let_all_go: drop 3"]) == [("broken", "shown and closed, balance"), ("broken", "made again, pins")]
    assert fates("Display", ["hide: drop 1"]) == [("broken", "shown and closed, balance")]


def test_what_a_device_with_two_passes_is_asked_beside_its_columns() -> None:
    """That a structure which is in use is left alone."""
    assert fates("TwoPassGpu", ["begin: negate 3"]) == [("broken", "none for two, finish-in-use")]


def test_what_a_device_that_begins_again_is_asked_beside_its_columns() -> None:
    """That the second page alone may be mirrored; that an access is over when its time is up."""
    assert fates("RangeMirror", ["open: drop 2", "counts: drop 4"]) == [("broken", "second page, access"), ("broken", "waited, time")]


def test_pages_that_a_device_shares_which_can_have_them_alone() -> None:
    """That a page is saved which it has written to in the ordinary way."""
    assert fates("ExclusiveByOwner", ["take: drop 2"]) == [("broken", "swap: writes at once, lost-write")]


def test_a_record_within_a_driver_is_changed_there() -> None:
    assert fates("Second", ["invalidate_finish: drop 1"]) == [("broken", "two subscriptions, as-if-cpu")]
    assert fates("Watch", ["invalidate: drop 5"]) == [("broken", "no freed frame, lock-not-held")]


def test_what_goes_wrong_while_a_machine_is_set_up_is_told() -> None:
    assert fates("UdmabufPinsAddress", ["hold: negate 1"]) == [("broken", "offline idle, assertion while the machine is set up")]


def test_a_mutant_outside_the_language_is_refused() -> None:
    (refused,) = fates("ImporterFaultsFirst", ["map: drop 1"])
    assert refused[0] == "refused" and "exporter is not defined" in refused[1]


def test_each_design_holds_somewhere_and_what_may_survive_is_of_one() -> None:
    assert set(HARMLESS_IN_DESIGNS) == set(DESIGNS)
    for name, design in DESIGNS.items():
        assert design.cells
        asked = [cell for cell in design.cells if (cell.row, cell.column) in cell.table.expected]
        assert [cell for cell in asked if cell.table.expected[cell.row, cell.column] is not Verdict.HOLDS] == []
        assert set(HARMLESS_IN_DESIGNS[name]) <= {one.name.removeprefix(f"{name}.") for one in mutants_of(design)}


@pytest.mark.skipif(os.environ.get("SECONDSIGHT_CONTRACT") != "all", reason="minutes: make adversaries runs it")
@pytest.mark.parametrize("name", DESIGNS)
def test_every_mutant_is_noticed_unless_it_is_harmless(name: str) -> None:
    trials = [try_design(DESIGNS[name], one) for one in mutants_of(DESIGNS[name])]
    living = {trial.mutant.name.removeprefix(f"{name}.") for trial in trials if trial.fate == "survives"}
    assert living == set(HARMLESS_IN_DESIGNS[name])
    assert [trial for trial in trials if trial.fate == "not finished"] == []
