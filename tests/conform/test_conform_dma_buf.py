"""drivers/dma-buf/dma-buf.c beside its model."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_transitions, agreeing_walks, noticed

from secondsight.conform.targets.dma_buf import DmaBufFile


@pytest.mark.parametrize("release", DmaBufFile.releases)
def test_walks_of_importers_and_moves_agree(release: str) -> None:
    agreeing_walks(DmaBufFile(), release)


def test_every_transition_of_an_unpin_by_who_is_not_dynamic_agrees() -> None:
    assert agreeing_transitions(DmaBufFile(), "6.12", 13).broken["not-dynamic"] > 100


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("list_add(&attach->node", "list_add_tail(&attach->node"),
        ("goto err_unpin;", "goto err_unlock;"),
        ("if (attach->sgt == sg_table)", "if (0)"),
    ],
    ids=["the oldest is told first", "a pin is left behind", "a mapping that is kept is given back"],
)
def test_a_change_is_noticed(was: str, now: str) -> None:
    noticed(DmaBufFile(), "6.12", was, now)
