"""mm/memfd.c beside its model."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_transitions, agreeing_walks, noticed

from secondsight.conform.targets.memfd import MemfdFile


@pytest.mark.parametrize("release", MemfdFile.releases)
def test_walks_of_seals_and_holders_agree(release: str) -> None:
    agreeing_walks(MemfdFile(), release)


def test_every_transition_of_a_seal_that_waits_for_pins_agrees() -> None:
    assert agreeing_transitions(MemfdFile(), "6.12", 0).states > 400


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("xas_clear_mark(&xas, MEMFD_TAG_PINNED);", ";"),
        ("LAST_SCAN               4", "LAST_SCAN               3"),
        ("mapping_allow_writable(file->f_mapping);", ";"),
    ],
    ids=["a page is looked at again", "one look less", "writing stays denied"],
)
def test_a_change_of_the_wait_is_noticed(was: str, now: str) -> None:
    noticed(MemfdFile(), "6.12", was, now)
