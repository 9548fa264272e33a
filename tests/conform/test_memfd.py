"""mm/memfd.c beside its model."""

from __future__ import annotations

import pytest
from conform_walks import source_of, transitions, walk

from secondsight.conform.targets.memfd import MemfdFile

RELEASES = MemfdFile.releases


@pytest.mark.parametrize("release", RELEASES)
def test_walks_of_seals_and_holders_agree(release: str) -> None:
    tally = walk(MemfdFile(), release)
    assert tally.disagreement is None, tally.disagreement
    assert tally.steps > 100


def test_every_transition_of_a_seal_that_waits_for_pins_agrees() -> None:
    tally = transitions(MemfdFile(), "6.12", 0)
    assert tally.disagreement is None, tally.disagreement
    assert not tally.cut and tally.states > 400


def test_a_page_that_is_looked_at_again_is_noticed() -> None:
    file = source_of("6.12").tree / MemfdFile.file
    mutant = file.read_text().replace("xas_clear_mark(&xas, MEMFD_TAG_PINNED);", ";")
    assert walk(MemfdFile(), "6.12", 10, mutant).disagreement is not None
