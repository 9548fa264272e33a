"""drivers/dma-buf/dma-buf.c beside its model."""

from __future__ import annotations

from conform_walks import source_of, transitions, walk

from secondsight.conform.targets.dma_buf import DmaBufFile


def test_walks_of_importers_and_moves_agree() -> None:
    tally = walk(DmaBufFile(), "6.12")
    assert tally.disagreement is None, tally.disagreement
    assert tally.steps > 100


def test_every_transition_of_an_unpin_by_who_is_not_dynamic_agrees() -> None:
    tally = transitions(DmaBufFile(), "6.12", 13)
    assert tally.disagreement is None, tally.disagreement
    assert not tally.cut and tally.broken["not-dynamic"] > 100


def test_importers_told_oldest_first_are_noticed() -> None:
    file = source_of("6.12").tree / DmaBufFile.file
    mutant = file.read_text().replace("list_add(&attach->node", "list_add_tail(&attach->node")
    assert walk(DmaBufFile(), "6.12", 10, mutant).disagreement is not None
