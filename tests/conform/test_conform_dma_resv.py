"""drivers/dma-buf/dma-resv.c, with dma-fence.c, beside its model."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_transitions, agreeing_walks, noticed

from secondsight.conform.targets.dma_resv import DmaResvFile


def test_walks_of_fences_that_come_and_are_waited_for_agree() -> None:
    report = agreeing_walks(DmaResvFile(), "6.12")
    assert report.walks.broken["not-reserved"] > 0  # the kernel's BUG_ON()


def test_every_transition_of_callbacks_and_a_wait_agrees() -> None:
    agreeing_transitions(DmaResvFile(), "6.12", 2)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("cursor->num_fences = cursor->fences->num_fences;", "cursor->num_fences = cursor->fences->max_fences;"),
        ("old_usage >= usage", "old_usage > usage"),
        ("cursor->usage >= cursor->fence_usage", "cursor->usage > cursor->fence_usage"),
    ],
    ids=["it walks on behind the last", "a usage that is the same is another", "those of the usage itself are not waited for"],
)
def test_a_change_is_noticed(was: str, now: str) -> None:
    noticed(DmaResvFile(), "6.12", was, now)
