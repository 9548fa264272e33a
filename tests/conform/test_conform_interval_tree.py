"""mm/interval_tree.c beside its model."""

from __future__ import annotations

import pytest
from conform_walks import agreeing_walks, noticed

from secondsight.conform.targets.mm_interval_tree import MmIntervalTreeFile


@pytest.mark.parametrize("release", ("6.12", "7.2"))
def test_walks_of_vmas_that_come_and_go_agree(release: str) -> None:
    agreeing_walks(MmIntervalTreeFile(), release)


def test_a_change_is_noticed() -> None:
    noticed(MmIntervalTreeFile(), "6.12", "link = &parent->shared.rb.rb_left;", "link = &parent->shared.rb.rb_right;")
