"""mm/memremap.c beside its model."""

from __future__ import annotations

from conform_walks import agreeing_walks

from secondsight.conform.targets.memremap import MemremapFile


def test_walks_of_who_takes_a_devices_memory_away_agree() -> None:
    assert agreeing_walks(MemremapFile(), "6.12").walks.broken["killed-pagemap"] > 10
